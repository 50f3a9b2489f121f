#include "packages/packages_web.h"

#include "base/codec.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/mirror.h"
#include "packages/packages.h"
#include "packages/pages.h"
#include "packages/render.h"
#include "packages/state.h"

#include <errno.h>
#include <strings.h>

#define PATH_MAX_REDIRECT (PROJECT_NAME_MAX + 16)

/* What `Accept` and ?format= may name (PEP 691, "Version + Format Selection"), and what it means.
 */
static const struct {
    const char *type;
    enum page_kind kind;
} formats[] = {
    {"text/html", PAGE_HTML},
    {"application/vnd.pypi.simple.v1+html", PAGE_V1_HTML},
    {"application/vnd.pypi.simple.v1+json", PAGE_V1_JSON},
    {"application/vnd.pypi.simple.latest+html", PAGE_V1_HTML},
    {"application/vnd.pypi.simple.latest+json", PAGE_V1_JSON},
};

static int choose_kind(struct web_request *req, enum page_kind *ret)
{
    const char *offers[array_size(formats) + 1] = {0};
    const char *format = web_query(req, "format");
    char *type = format != NULL ? op_strdup(req->op, format) : NULL;

    for (char *c = type; c != NULL && *c != 0; c++)
        if (*c == ' ')
            *c = '+'; /* a client that did not write it %2B */
    for (size_t i = 0; i < array_size(formats); i++)
        offers[i] = formats[i].type;
    if (type == NULL)
        type = (char *)(uintptr_t)web_negotiate(req, offers);
    for (size_t i = 0; type != NULL && i < array_size(formats); i++)
        if (strcasecmp(type, formats[i].type) == 0) {
            *ret = formats[i].kind;
            return 0;
        }
    return op_fail(req->op, EPROTONOSUPPORT,
                   "none of the formats asked for is served; there are text/html, "
                   "application/vnd.pypi.simple.v1+html and application/vnd.pypi.simple.v1+json");
}

static void page_headers(struct web_request *req, struct web_response *resp)
{
    web_set_header(req, resp, "Vary", "Accept, Accept-Encoding");
    /* Kept, but asked about each time: what was published a moment ago must be found. */
    web_set_header(req, resp, "Cache-Control", "private, no-cache");
}

/* Relative, so that it is right behind a proxy that adds a prefix. The form that was asked for stays
 * asked for. */
static int redirect(struct web_request *req, struct web_response *resp, const char *to)
{
    const char *format = web_query(req, "format");
    autobuf query = {0};

    if (format != NULL && format[0] != 0) {
        percent_encode(&query, slice_str(format), "/");
        to = op_printf(req->op, "%s?format=%s", to, query.data);
    }
    resp->status = 301;
    web_set_header(req, resp, "Location", to);
    web_set_header(req, resp, "Cache-Control", "private, max-age=600");
    return 0;
}

static int get_root(struct web_request *req, struct web_response *resp)
{
    struct packages *pk = req->self;
    enum page_kind kind;
    struct web_page *page;
    autobuf text = {0};
    int r;

    if (identity_may(req->op, POLICY_LIST, "packages/")) {
        r = choose_kind(req, &kind);
        if (r == 0)
            r = pages_get(req->op, pk, "", kind, req->may_wait, &page);
        if (r < 0)
            return r;
        web_reply_page(resp, page);
        page_headers(req, resp);
        return 0;
    }
    if (!identity_touches(req->op->who, SLICE("packages/")))
        return identity_check(req->op, POLICY_LIST, "packages/");
    if (!req->may_wait)
        return -EINPROGRESS;
    r = choose_kind(req, &kind);
    if (r == 0)
        r = render_root(req->op, pk, kind, true, &text);
    if (r < 0)
        return r;
    web_reply_buf(req, resp, 200, page_types[kind], &text);
    resp->compress = true;
    page_headers(req, resp);
    return 0;
}

static int redirect_root(struct web_request *req, struct web_response *resp)
{
    return redirect(req, resp, "simple/");
}

int packages_read_project(struct web_request *req, const char **ret)
{
    const char *name = web_param(req, "project");
    char normal[PROJECT_NAME_MAX + 1];

    if (!project_name_valid(slice_str(name)))
        return op_fail(req->op, ENOENT, "'%.100s' is not the name of a project", name);
    project_name_normalise(slice_str(name), normal);
    *ret = op_strdup(req->op, normal);
    return identity_check(req->op, POLICY_READ, "packages/%s", normal);
}

/* The team's own page; of a name that is not the team's, perhaps one from the mirror. */
static int find_page(struct web_request *req, const char *project, enum page_kind kind,
                     struct web_page **ret)
{
    struct packages *pk = req->self;
    int r;

    if (pk->mirror != NULL && pages_peek_mirrored(pk, project, kind, ret) == 0)
        return 0;
    r = pages_get(req->op, pk, project, kind, req->may_wait, ret);
    if (r != -ENOENT || !mirror_covers(req->op, pk, project))
        return r;
    op_forgive(req->op);
    return pages_mirrored(req->op, pk, project, kind, web_header_all(req, "Via"), req->may_wait,
                          ret);
}

static int get_project(struct web_request *req, struct web_response *resp)
{
    enum page_kind kind;
    struct web_page *page;
    const char *project;
    int r;

    r = packages_read_project(req, &project);
    if (r < 0)
        return r;
    if (strcmp(project, web_param(req, "project")) != 0)
        return redirect(req, resp, op_printf(req->op, "../%s/", project));
    r = choose_kind(req, &kind);
    if (r == 0)
        r = find_page(req, project, kind, &page);
    if (r < 0)
        return r;
    web_reply_page(resp, page);
    page_headers(req, resp);
    return 0;
}

static int redirect_project(struct web_request *req, struct web_response *resp)
{
    const char *project;
    int r = packages_read_project(req, &project);

    return r < 0 ? r : redirect(req, resp, op_printf(req->op, "%s/", project));
}

static const char *media_type(enum package_kind kind)
{
    return kind == PACKAGE_SDIST_TAR ? "application/gzip" : "application/zip";
}

/* The file that a name asks for, if the caller may have it. */
static int find_file(struct web_request *req, const char *file, struct package_file *ret)
{
    struct packages *pk = req->self;
    int r;

    /* Who is not known hears that first, whether there is such a file or not. */
    if (!identity_touches(req->op->who, SLICE("packages/")))
        return identity_check(req->op, POLICY_READ, "packages/");
    r = package_find(req->op, req->self, file, ret);
    if (r == -ENOENT && pk->mirror != NULL) {
        if (!req->may_wait)
            return -EINPROGRESS;
        op_forgive(req->op);
        return mirror_find(req->op, pk, file, web_header_all(req, "Via"), ret);
    }
    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "packages/%s", ret->project);
    return r < 0 ? r : project_offers_files(req->op, pk, ret->project);
}

static int open_blob(struct web_request *req, const struct digest *digest, struct blob **ret)
{
    return blob_open(((struct packages *)req->self)->store, digest, ret);
}

/* `r` is what came of opening the blob. */
static int reply_opened(struct web_request *req, struct web_response *resp, int r,
                        struct blob *blob, const char *type)
{
    if (r < 0)
        return op_fail(req->op, r == -ENOENT ? EIO : -r, "the content cannot be read");
    web_reply_blob(resp, blob, type, req);
    web_set_header(req, resp, "Cache-Control", "private, max-age=31536000, immutable");
    return 0;
}

static int reply_blob(struct web_request *req, struct web_response *resp,
                      const struct digest *digest, const char *type)
{
    struct blob *blob = NULL;
    int r = open_blob(req, digest, &blob);

    return reply_opened(req, resp, r, blob, type);
}

/* A file of the mirror: what is kept, or what is arriving. A part of it waits for the whole. */
static int reply_mirrored(struct web_request *req, struct web_response *resp,
                          const struct package_file *f)
{
    struct download *d = NULL;
    struct blob *blob = NULL;
    char etag[DIGEST_TEXT_MAX];
    int r = open_blob(req, &f->digest, &blob);

    if (r == 0) {
        mirror_asked(req->self, f, false);
    } else if (r == -ENOENT) {
        r = mirror_content(req->op, req->self, f, web_header_all(req, "Via"),
                           web_header(req, "Range") != NULL, &d);
        if (r < 0)
            return r;
        if (d == NULL)
            r = open_blob(req, &f->digest, &blob);
    }
    if (d == NULL)
        return reply_opened(req, resp, r, blob, media_type(f->kind));
    resp->body = WEB_STREAM;
    resp->generate = download_read;
    resp->wait = download_wait;
    resp->generate_free = download_close;
    resp->generate_ctx = d;
    resp->stream_bytes = f->size_bytes;
    resp->etag = op_printf(req->op, "\"%s\"", digest_print(&f->digest, etag));
    web_set_header(req, resp, "Content-Type", media_type(f->kind));
    web_set_header(req, resp, "Cache-Control", "private, max-age=31536000, immutable");
    return 0;
}

static int reply_mirrored_metadata(struct web_request *req, struct web_response *resp,
                                   const struct package_file *f, const char *type)
{
    struct blob *blob = NULL;
    int r = open_blob(req, &f->metadata.digest, &blob);

    if (r == 0) {
        mirror_asked(req->self, f, true);
    } else if (r == -ENOENT) {
        r = mirror_metadata(req->op, req->self, f, web_header_all(req, "Via"));
        if (r < 0)
            return r;
        r = open_blob(req, &f->metadata.digest, &blob);
    }
    return reply_opened(req, resp, r, blob, type);
}

/* What is served beside a file, under its name and a suffix. */
enum beside { BESIDE_NOTHING, BESIDE_METADATA, BESIDE_SIGNATURE };
static const struct {
    const char *suffix, *what, *type;
} besides[] = {
    [BESIDE_METADATA] = {".metadata", "core metadata", "text/plain; charset=utf-8"}, /* PEP 658 */
    [BESIDE_SIGNATURE] = {".asc", "signature", "application/pgp-signature"},         /* PEP 503 */
};

static enum beside beside_of(const char *name, size_t *ret_len)
{
    size_t len = strlen(name);

    for (enum beside b = BESIDE_METADATA; b < array_size(besides); b++) {
        size_t n = strlen(besides[b].suffix);

        if (len > n && strcmp(name + len - n, besides[b].suffix) == 0) {
            *ret_len = len - n;
            return b;
        }
    }
    *ret_len = len;
    return BESIDE_NOTHING;
}

static int get_file(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "file");
    size_t len;
    enum beside beside = beside_of(name, &len);
    const char *file = op_strndup(req->op, name, len);
    const struct package_part *part;
    struct package_file f;
    int r = find_file(req, file, &f);

    if (r < 0)
        return r;
    if (beside == BESIDE_NOTHING)
        return f.url != NULL ? reply_mirrored(req, resp, &f)
                             : reply_blob(req, resp, &f.digest, media_type(f.kind));
    part = beside == BESIDE_METADATA ? &f.metadata : &f.signature;
    if (part->size_bytes == 0)
        return op_fail(req->op, ENOENT, "there is no %s of '%s'", besides[beside].what, file);
    if (f.url != NULL) /* which has no signature */
        return reply_mirrored_metadata(req, resp, &f, besides[beside].type);
    return reply_blob(req, resp, &part->digest, besides[beside].type);
}

/* PEP 740; the path is that of PyPI's Integrity API. */
static int get_provenance(struct web_request *req, struct web_response *resp)
{
    static const char *const types[] = {"application/vnd.pypi.integrity.v1+json",
                                        "application/json", NULL};
    const char *file = web_param(req, "file"), *type = web_negotiate(req, types);
    char normal[PROJECT_NAME_MAX + 1] = "";
    struct package_file f;
    int r = find_file(req, file, &f);

    if (r < 0)
        return r;
    if (project_name_valid(slice_str(web_param(req, "project"))))
        project_name_normalise(slice_str(web_param(req, "project")), normal);
    if (strcmp(normal, f.project) != 0 ||
        !version_same(slice_str(web_param(req, "version")), slice_str(f.version)))
        return op_fail(req->op, ENOENT, "'%s' is not a file of %.100s %.100s", file,
                       web_param(req, "project"), web_param(req, "version"));
    if (f.provenance.size_bytes == 0)
        return op_fail(req->op, ENOENT, "there is no provenance of '%s'", file);
    if (type == NULL)
        return op_fail(req->op, EPROTONOSUPPORT, "provenance is served as %s", types[0]);
    return reply_blob(req, resp, &f.provenance.digest, type);
}

void packages_render(void *self, struct web_request *req, int err, struct web_response *resp)
{
    bool upload = req->method != NULL && strcmp(req->method, "POST") == 0;
    autobuf text = {0};
    int status = web_status(err);

    (void)self;
    if (err == -EPROTONOSUPPORT)
        status = 406;
    else if (err == -EDQUOT)
        status = 507;
    else if (err == -EHOSTUNREACH)
        status = 502;
    /* twine, pdm and poetry know the words with 400; uv takes 409 for a failure too. */
    else if (upload && (err == -EEXIST || err == -EBADMSG))
        status = 400;
    buf_printf(&text, "%s\n", op_why(req->op, err));
    web_reply_buf(req, resp, status, "text/plain; charset=utf-8", &text);
    web_set_header(req, resp, "Cache-Control", "no-store");
    if (status == 401)
        web_set_header(req, resp, "WWW-Authenticate", "Basic realm=\"pypi\"");
}

#define UPLOAD(path)                                                                               \
    {                                                                                              \
        .methods = "POST", .pattern = path, .begin = upload_begin, .data = upload_data,            \
        .handle = upload_handle, .end = upload_end, .flags = ROUTE_STREAM | ROUTE_AUDIT,           \
        .body_limit_bytes = UINT64_MAX                                                             \
    }

#define SEARCH(path)                                                                               \
    {                                                                                              \
        .methods = "POST", .pattern = path, .handle = api_search,                                  \
        .body_limit_bytes = SEARCH_BODY_MAX                                                        \
    }

const struct route packages_routes[] = {
    {.methods = "GET", .pattern = "/simple/", .handle = get_root, .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = "/simple", .handle = redirect_root, .flags = ROUTE_INLINE},
    {.methods = "GET",
     .pattern = "/simple/{project}/",
     .handle = get_project,
     .flags = ROUTE_INLINE},
    {.methods = "GET",
     .pattern = "/simple/{project}",
     .handle = redirect_project,
     .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = "/packages/{file}", .handle = get_file, .flags = ROUTE_INLINE},
    {.methods = "GET",
     .pattern = "/integrity/{project}/{version}/{file}/provenance",
     .handle = get_provenance,
     .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = "/pypi/{project}/json", .handle = api_project_json},
    {.methods = "GET", .pattern = "/pypi/{project}/{version}/json", .handle = api_project_json},
    SEARCH("/RPC2"),
    SEARCH("/RPC2/"),
    SEARCH("/pypi"),
    SEARCH("/pypi/"),
    {.methods = "PATCH",
     .pattern = "/packages/{file}",
     .handle = api_patch_file,
     .flags = ROUTE_AUDIT,
     .body_limit_bytes = API_BODY_MAX},
    {.methods = "DELETE",
     .pattern = "/packages/{file}",
     .handle = api_delete_file,
     .flags = ROUTE_AUDIT,
     .body_limit_bytes = API_BODY_MAX},
    {.methods = "PATCH",
     .pattern = "/simple/{project}/",
     .handle = api_patch_project,
     .flags = ROUTE_AUDIT,
     .body_limit_bytes = API_BODY_MAX},
    UPLOAD("/"),
    UPLOAD("/legacy"),
    UPLOAD("/legacy/"),
    UPLOAD("/simple/"),
    {0},
};
