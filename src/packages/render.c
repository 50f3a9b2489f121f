/* render.c: the text of the index pages. HTML as PEP 503, 592, 629, 658, 714 and 792, JSON as PEP
 * 691 and 700 have it; api-version 1.4 is claimed, and all of its mandatory fields are there. */
#include "packages/render.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/listing.h"
#include "packages/mirror.h"
#include "packages/state.h"

#include <errno.h>

#define API_VERSION "1.4"

/* The page of a project: its files, and how it stands. */
struct page {
    const char *project;
    struct project_status status;
    bool any_signed, any_unsized;
    struct listing files;
};

static void html_escape(struct buf *out, const char *s)
{
    for (; *s != 0; s++) {
        const char *text = *s == '&'    ? "&amp;"
                           : *s == '<'  ? "&lt;"
                           : *s == '>'  ? "&gt;"
                           : *s == '"'  ? "&quot;"
                           : *s == '\'' ? "&#x27;"
                                        : NULL;

        if (text != NULL)
            buf_add_str(out, text);
        else
            buf_add_char(out, *s);
    }
}

static void hex(struct buf *out, const struct digest *d)
{
    char text[65];

    hex_encode(slice_of(d->bytes, 32), text);
    buf_add_str(out, text);
}

/* Where the provenance is: relative, as all links here. */
static void add_provenance(struct buf *out, const struct package_file *f)
{
    buf_printf(out, "../../integrity/%s/", f->project);
    percent_encode(out, slice_str(f->version), "");
    buf_add_char(out, '/');
    percent_encode(out, slice_str(f->name), "");
    buf_add_str(out, "/provenance");
}

/* Relative to /simple/<project>/, so that it survives any proxy in front. */
static void add_url(struct buf *out, const char *file)
{
    buf_add_str(out, "../../packages/");
    percent_encode(out, slice_str(file), "");
}

static int collect(void *ctx, const struct package_file *file)
{
    struct page *p = ctx;

    p->any_signed |= file->signature.size_bytes > 0;
    p->any_unsized |= file->size_bytes == 0;
    return listing_add(&p->files, file);
}

static void html_status(struct buf *out, const struct project_status *status)
{
    if (status->state == PROJECT_ACTIVE && status->reason[0] == 0)
        return;
    buf_printf(out, "    <meta name=\"pypi:project-status\" content=\"%s\">\n",
               project_state_names[status->state]);
    if (status->reason[0] == 0)
        return;
    buf_add_str(out, "    <meta name=\"pypi:project-status-reason\" content=\"");
    html_escape(out, status->reason);
    buf_add_str(out, "\">\n");
}

static void html_head(struct buf *out, const char *title, const struct project_status *status)
{
    buf_add_str(out, "<!DOCTYPE html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n"
                     "    <meta name=\"pypi:repository-version\" content=\"" API_VERSION "\">\n");
    html_status(out, status);
    buf_add_str(out, "    <title>");
    html_escape(out, title);
    buf_add_str(out, "</title>\n  </head>\n  <body>\n");
}

static void html_file(struct buf *out, const struct package_file *f, bool any_signed)
{
    buf_add_str(out, "    <a href=\"");
    add_url(out, f->name);
    buf_add_str(out, "#sha256=");
    hex(out, &f->digest);
    buf_add_char(out, '"');
    if (f->requires_python[0] != 0) {
        buf_add_str(out, " data-requires-python=\"");
        html_escape(out, f->requires_python);
        buf_add_char(out, '"');
    }
    if (f->metadata.size_bytes > 0) {
        buf_add_str(out, " data-core-metadata=\"sha256=");
        hex(out, &f->metadata.digest);
        buf_add_str(out, "\" data-dist-info-metadata=\"sha256="); /* pip before 23.3 */
        hex(out, &f->metadata.digest);
        buf_add_char(out, '"');
    }
    if (any_signed) /* PEP 503: on each link or on none */
        buf_printf(out, " data-gpg-sig=\"%s\"", f->signature.size_bytes > 0 ? "true" : "false");
    if (f->provenance.size_bytes > 0) {
        buf_add_str(out, " data-provenance=\"");
        add_provenance(out, f);
        buf_add_char(out, '"');
    }
    if (f->yanked != NULL) {
        buf_add_str(out, " data-yanked=\"");
        html_escape(out, f->yanked);
        buf_add_char(out, '"');
    }
    buf_add_char(out, '>');
    html_escape(out, f->name);
    buf_add_str(out, "</a><br>\n");
}

static void html_project(struct buf *out, const struct page *p)
{
    autobuf title = {0};

    buf_printf(&title, "Links for %s", p->project);
    html_head(out, title.data, &p->status);
    buf_add_str(out, "    <h1>");
    html_escape(out, title.data);
    buf_add_str(out, "</h1>\n");
    for (size_t i = 0; i < p->files.n; i++)
        html_file(out, &p->files.items[i].file, p->any_signed);
    buf_add_str(out, "  </body>\n</html>\n");
}

static void json_meta(struct json *j, const char *version)
{
    json_key(j, "meta");
    json_object(j);
    json_kstr(j, "api-version", version);
    json_object_end(j);
}

static void json_hash(struct json *j, const char *key, const struct digest *d)
{
    char text[65];

    hex_encode(slice_of(d->bytes, 32), text);
    json_key(j, key);
    json_object(j);
    json_kstr(j, "sha256", text);
    json_object_end(j);
}

static void json_file(struct json *j, const struct package_file *f, bool any_signed)
{
    char time[CLOCK_TEXT_MAX];
    autobuf url = {0}, provenance = {0};

    add_url(&url, f->name);
    json_object(j);
    json_kstr(j, "filename", f->name);
    json_kslice(j, "url", buf_slice(&url));
    json_hash(j, "hashes", &f->digest);
    if (f->requires_python[0] != 0)
        json_kstr(j, "requires-python", f->requires_python);
    if (f->size_bytes > 0)
        json_ku64(j, "size", f->size_bytes);
    if (f->uploaded_unix_ns > 0)
        json_kstr(j, "upload-time", clock_print_ns(f->uploaded_unix_ns, 6, time));
    if (f->metadata.size_bytes > 0)
        json_hash(j, "core-metadata", &f->metadata.digest);
    else
        json_kbool(j, "core-metadata", false);
    /* An empty reason is not allowed in JSON (PEP 691). */
    if (f->yanked != NULL && f->yanked[0] != 0)
        json_kstr(j, "yanked", f->yanked);
    else
        json_kbool(j, "yanked", f->yanked != NULL);
    if (any_signed)
        json_kbool(j, "gpg-sig", f->signature.size_bytes > 0);
    if (f->provenance.size_bytes > 0)
        add_provenance(&provenance, f);
    if (f->provenance.size_bytes > 0)
        json_kslice(j, "provenance", buf_slice(&provenance));
    json_object_end(j);
}

static void json_versions(struct json *j, const struct listing *l)
{
    json_key(j, "versions");
    json_array(j);
    for (size_t i = 0; i < l->n; i++)
        if (i == 0 || strcmp(l->items[i - 1].file.version, l->items[i].file.version) != 0)
            json_str(j, l->items[i].file.version);
    json_array_end(j);
}

static void json_project(struct buf *out, const struct page *p)
{
    struct json j;

    json_init(&j, out);
    json_object(&j);
    /* Sizes are mandatory from 1.1 on; a mirrored page of HTML has none. */
    json_meta(&j, p->any_unsized ? "1.0" : API_VERSION);
    json_kstr(&j, "name", p->project);
    json_versions(&j, &p->files);
    json_key(&j, "files");
    json_array(&j);
    for (size_t i = 0; i < p->files.n; i++)
        json_file(&j, &p->files.items[i].file, p->any_signed);
    json_array_end(&j);
    json_key(&j, "project-status");
    json_object(&j);
    json_kstr(&j, "status", project_state_names[p->status.state]);
    if (p->status.reason[0] != 0)
        json_kstr(&j, "reason", p->status.reason);
    json_object_end(&j);
    json_object_end(&j);
}

int render_project(struct op *op, struct packages *pk, const char *project, bool mirrored,
                   enum page_kind kind, struct buf *out)
{
    struct page p = {.project = project, .status.reason = ""};
    int r = mirrored ? 0 : project_status_get(op, pk, project, &p.status);

    if (r == 0)
        r = (mirrored ? mirror_each : package_each)(op, pk, project, collect, &p);
    if (r == 0 && p.files.n == 0 && !mirrored)
        r = op_fail(op, ENOENT, "there is no project '%s'", project);
    if (p.status.state == PROJECT_QUARANTINED)
        p.files.n = 0; /* shown, and nothing offered */
    if (r == 0) {
        listing_sort(&p.files);
        if (kind == PAGE_V1_JSON)
            json_project(out, &p);
        else
            html_project(out, &p);
    }
    listing_done(&p.files);
    return r;
}

struct root {
    struct op *op;
    struct buf *out;
    struct json json;
    enum page_kind kind;
    bool filtered;
};

static int add_project(void *ctx, const char *project, const char *display, bool has_files)
{
    struct root *root = ctx;

    if (!has_files ||
        (root->filtered && !identity_may(root->op, POLICY_READ, "packages/%s", project)))
        return 0;
    if (root->kind == PAGE_V1_JSON) {
        json_object(&root->json);
        json_kstr(&root->json, "name", display);
        json_object_end(&root->json);
        return 0;
    }
    buf_printf(root->out, "    <a href=\"%s/\">", project);
    html_escape(root->out, display);
    buf_add_str(root->out, "</a><br>\n");
    return 0;
}

int render_root(struct op *op, struct packages *pk, enum page_kind kind, bool filtered,
                struct buf *out)
{
    struct root root = {.op = op, .out = out, .kind = kind, .filtered = filtered};
    int r;

    if (kind == PAGE_V1_JSON) {
        json_init(&root.json, out);
        json_object(&root.json);
        json_meta(&root.json, API_VERSION);
        json_key(&root.json, "projects");
        json_array(&root.json);
    } else {
        html_head(out, "Simple index", &(struct project_status){PROJECT_ACTIVE, ""});
    }
    r = project_each(op, pk, add_project, &root);
    if (kind == PAGE_V1_JSON) {
        json_array_end(&root.json);
        json_object_end(&root.json);
    } else {
        buf_add_str(out, "  </body>\n</html>\n");
    }
    return r;
}

static int add_sum(void *ctx, const struct package_file *f)
{
    struct buf *out = ctx;

    hex(out, &f->digest);
    buf_printf(out, "  %s\n", f->name);
    return 0;
}

int render_sums(struct op *op, struct packages *pk, const char *project, struct buf *out)
{
    return package_each(op, pk, project, add_sum, out);
}
