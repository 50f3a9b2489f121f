/* packages_json.c: what a project is, as one JSON document: PyPI's "JSON API", which tools beside
 * the installers ask (what is the newest version, what does it need). Of the team's own projects;
 * what it says comes from the files' own metadata. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/listing.h"
#include "packages/metadata.h"
#include "packages/packages_web.h"
#include "packages/state.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

static bool is_pre(const struct version *v)
{
    return v->pre != 0 || v->has_dev;
}

/* The newest that an installer would choose by itself; else the newest not yanked; else the last. */
static const struct listed *newest(const struct listing *l)
{
    const struct listed *kept = NULL;

    for (size_t i = l->n; i-- > 0;) {
        const struct listed *it = &l->items[i];

        if (it->file.yanked == NULL && !is_pre(&it->version))
            return it;
        if (it->file.yanked == NULL && kept == NULL)
            kept = it;
    }
    return kept != NULL ? kept : &l->items[l->n - 1];
}

static const struct listed *of_version(const struct listing *l, const char *text)
{
    struct version v;

    if (version_parse(slice_str(text), &v) < 0)
        return NULL;
    for (size_t i = 0; i < l->n; i++)
        if (version_cmp(&l->items[i].version, &v) == 0)
            return &l->items[i];
    return NULL;
}

/* "py3" of "x-1.0-py3-none-any.whl". */
static struct slice python_tag(const struct package_file *f)
{
    const char *end = f->name + strlen(f->name), *start;

    if (f->kind != PACKAGE_WHEEL)
        return SLICE("source");
    for (int dashes = 0; end > f->name && dashes < 2; dashes++)
        while (end > f->name && *--end != '-')
            ;
    for (start = end; start > f->name && start[-1] != '-'; start--)
        ;
    return slice_of(start, (size_t)(end - start));
}

static void json_file(struct json *j, const char *base, const struct package_file *f)
{
    char time[CLOCK_TEXT_MAX], digest[65];
    autobuf url = {0};

    buf_printf(&url, "%s/packages/", base);
    percent_encode(&url, slice_str(f->name), "");
    hex_encode(slice_of(f->digest.bytes, 32), digest);
    json_object(j);
    json_kstr(j, "filename", f->name);
    json_kslice(j, "url", buf_slice(&url));
    json_key(j, "digests");
    json_object(j);
    json_kstr(j, "sha256", digest);
    json_object_end(j);
    json_kstr(j, "packagetype", f->kind == PACKAGE_WHEEL ? "bdist_wheel" : "sdist");
    json_kslice(j, "python_version", python_tag(f));
    json_kstr(j, "requires_python", f->requires_python[0] != 0 ? f->requires_python : NULL);
    json_ku64(j, "size", f->size_bytes);
    json_kbool(j, "has_sig", f->signature.size_bytes > 0);
    clock_print_ns(f->uploaded_unix_ns, 6, time);
    json_kstr(j, "upload_time_iso_8601", time);
    clock_print_ns(f->uploaded_unix_ns, 0, time);
    time[strlen(time) - 1] = 0; /* without the Z: so PyPI writes it */
    json_kstr(j, "upload_time", time);
    json_kbool(j, "yanked", f->yanked != NULL);
    json_kstr(j, "yanked_reason", f->yanked != NULL && f->yanked[0] != 0 ? f->yanked : NULL);
    json_object_end(j);
}

/* The files of one version; `at` is the first of them. Returns the one behind. */
static size_t json_release(struct json *j, const char *base, const struct listing *l, size_t at)
{
    size_t i = at;

    json_array(j);
    for (; i < l->n && version_cmp(&l->items[i].version, &l->items[at].version) == 0; i++)
        json_file(j, base, &l->items[i].file);
    json_array_end(j);
    return i;
}

/* The first field of that name from *text on, which moves behind it. */
static bool next_field(struct slice *text, const char *name, struct slice *ret)
{
    struct slice got;
    unsigned line = 1;

    while (metadata_next(text, &got, ret, &line) == 1)
        if (got.len == strlen(name) && strncasecmp(got.data, name, got.len) == 0)
            return true;
    return false;
}

static const struct field {
    const char *key, *name;
} ones[] = {
    {"author", "Author"},
    {"author_email", "Author-email"},
    {"description_content_type", "Description-Content-Type"},
    {"download_url", "Download-URL"},
    {"home_page", "Home-page"},
    {"keywords", "Keywords"},
    {"license", "License"},
    {"license_expression", "License-Expression"},
    {"maintainer", "Maintainer"},
    {"maintainer_email", "Maintainer-email"},
    {"summary", "Summary"},
}, lists[] = {
    {"classifiers", "Classifier"},
    {"dynamic", "Dynamic"},
    {"license_files", "License-File"},
    {"provides_extra", "Provides-Extra"},
    {"requires_dist", "Requires-Dist"},
};

static void json_list(struct json *j, const struct field *f, struct slice text)
{
    struct slice value;

    json_key(j, f->key);
    json_array(j);
    while (next_field(&text, f->name, &value))
        json_slice(j, value);
    json_array_end(j);
}

/* "Label, URL". */
static void json_urls(struct json *j, struct slice text)
{
    struct slice value;

    json_key(j, "project_urls");
    json_object(j);
    while (next_field(&text, "Project-URL", &value)) {
        const char *comma = memchr(value.data, ',', value.len);
        size_t n = comma != NULL ? (size_t)(comma - (const char *)value.data) : value.len;
        struct slice url = comma != NULL ? slice_skip(value, n + 1) : value;

        while (url.len > 0 && *(const char *)url.data == ' ')
            url = slice_skip(url, 1);
        json_key_slice(j, slice_of(value.data, n));
        json_slice(j, url);
    }
    json_object_end(j);
}

static void json_metadata(struct json *j, struct slice text)
{
    struct slice rest = text, name, value;
    unsigned line = 1;

    for (size_t i = 0; i < array_size(ones); i++) {
        rest = text;
        if (next_field(&rest, ones[i].name, &value))
            json_kslice(j, ones[i].key, value);
        else
            json_knull(j, ones[i].key);
    }
    for (size_t i = 0; i < array_size(lists); i++)
        json_list(j, &lists[i], text);
    json_urls(j, text);
    rest = text;
    while (metadata_next(&rest, &name, &value, &line) == 1)
        ;
    if (rest.len == 0)
        next_field(&text, "Description", &rest);
    json_kslice(j, "description", rest);
}

/* The metadata of a version's first file that has some; empty if none has. */
static int read_metadata(struct op *op, struct packages *pk, const struct listing *l,
                         const struct listed *of, struct buf *ret)
{
    const struct package_file *f = NULL;
    struct blob *blob;
    ssize_t n;
    int r;

    for (size_t i = 0; f == NULL && i < l->n; i++)
        if (version_cmp(&l->items[i].version, &of->version) == 0 &&
            l->items[i].file.metadata.size_bytes > 0)
            f = &l->items[i].file;
    if (f == NULL)
        return 0;
    r = blob_open(pk->store, &f->metadata.digest, &blob);
    if (r < 0)
        return op_fail(op, EIO, "the metadata of '%s' cannot be read", f->name);
    buf_reserve(ret, f->metadata.size_bytes);
    n = blob_read(blob, 0, ret->data, f->metadata.size_bytes);
    blob_close(blob);
    if (n < 0)
        return op_fail(op, EIO, "the metadata of '%s' cannot be read", f->name);
    ret->len += (size_t)n;
    return 0;
}

int project_brief(struct op *op, struct packages *pk, const char *project,
                  struct project_brief *ret)
{
    const struct listed *of;
    struct slice rest, summary = {0};
    struct listing l = {0};
    autobuf metadata = {0};
    int r = package_each(op, pk, project, listing_add, &l);

    if (r == 0 && l.n == 0)
        r = op_fail(op, ENOENT, "there is no project '%s'", project);
    if (r == 0) {
        listing_sort(&l);
        of = newest(&l);
        r = read_metadata(op, pk, &l, of, &metadata);
    }
    if (r == 0) {
        rest = buf_slice(&metadata);
        next_field(&rest, "Summary", &summary);
        *ret = (struct project_brief){of->file.display, of->file.version,
                                      op_strndup(op, summary.data, summary.len)};
    }
    listing_done(&l);
    return r;
}

/* Of the version: yanked where all of its files are. */
static void json_yanked(struct json *j, const struct listing *l, const struct listed *of)
{
    const char *reason = NULL;
    bool yanked = true;

    for (size_t i = 0; i < l->n; i++)
        if (version_cmp(&l->items[i].version, &of->version) == 0) {
            yanked &= l->items[i].file.yanked != NULL;
            reason = l->items[i].file.yanked;
        }
    json_kbool(j, "yanked", yanked);
    json_kstr(j, "yanked_reason", yanked && reason != NULL && reason[0] != 0 ? reason : NULL);
}

/* `of`: the first file of the version. */
static int render(struct web_request *req, const struct listing *l, const struct listed *of,
                  bool releases, struct buf *out)
{
    const char *base = web_base_url(req), *project = of->file.project;
    autobuf metadata = {0};
    struct json j;
    int r = read_metadata(req->op, req->self, l, of, &metadata);

    if (r < 0)
        return r;
    json_init(&j, out);
    json_object(&j);
    json_key(&j, "info");
    json_object(&j);
    json_kstr(&j, "name", of->file.display);
    json_kstr(&j, "version", of->file.version);
    json_kstr(&j, "requires_python",
              of->file.requires_python[0] != 0 ? of->file.requires_python : NULL);
    json_kstr(&j, "package_url", op_printf(req->op, "%s/simple/%s/", base, project));
    json_yanked(&j, l, of);
    json_metadata(&j, buf_slice(&metadata));
    json_object_end(&j);
    if (releases) {
        json_key(&j, "releases");
        json_object(&j);
        for (size_t i = 0; i < l->n;) {
            json_key(&j, l->items[i].file.version);
            i = json_release(&j, base, l, i);
        }
        json_object_end(&j);
    }
    json_key(&j, "urls");
    json_release(&j, base, l, (size_t)(of - l->items));
    json_key(&j, "vulnerabilities");
    json_array(&j);
    json_array_end(&j);
    json_object_end(&j);
    return 0;
}

int api_project_json(struct web_request *req, struct web_response *resp)
{
    const char *version = web_param(req, "version"), *project;
    struct packages *pk = req->self;
    const struct listed *of;
    struct listing l = {0};
    autobuf text = {0};
    int r = packages_read_project(req, &project);

    if (r == 0)
        r = project_offers_files(req->op, pk, project);
    if (r == 0)
        r = package_each(req->op, pk, project, listing_add, &l);
    if (r == 0 && l.n == 0)
        r = op_fail(req->op, ENOENT, "there is no project '%s'", project);
    if (r == 0) {
        listing_sort(&l);
        of = of_version(&l, version[0] != 0 ? version : newest(&l)->file.version);
        r = of != NULL ? render(req, &l, of, version[0] == 0, &text)
                       : op_fail(req->op, ENOENT, "project '%s' has no version '%.100s'", project,
                                 version);
    }
    listing_done(&l);
    if (r < 0)
        return r;
    web_reply_buf(req, resp, 200, "application/json", &text);
    resp->compress = true;
    web_set_header(req, resp, "Cache-Control", "private, no-cache");
    return 0;
}
