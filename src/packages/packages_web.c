#include "packages/packages_web.h"

#include "base/scope.h"
#include "identity/identity.h"
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

/* Relative, so that it is right behind a proxy that adds a prefix. */
static int redirect(struct web_request *req, struct web_response *resp, const char *to)
{
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
    if (!policy_set_touches(req->op->who->policies, SLICE("packages/")))
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

/* Checks the name and the right to see it. *ret is normalised, in the op. */
static int read_project(struct web_request *req, const char **ret)
{
    const char *name = web_param(req, "project");
    char normal[PROJECT_NAME_MAX + 1];

    if (!project_name_valid(slice_str(name)))
        return op_fail(req->op, ENOENT, "'%.100s' is not the name of a project", name);
    project_name_normalise(slice_str(name), normal);
    *ret = op_strdup(req->op, normal);
    return identity_check(req->op, POLICY_READ, "packages/%s", normal);
}

static int get_project(struct web_request *req, struct web_response *resp)
{
    enum page_kind kind;
    struct web_page *page;
    const char *project;
    int r;

    r = read_project(req, &project);
    if (r < 0)
        return r;
    if (strcmp(project, web_param(req, "project")) != 0)
        return redirect(req, resp, op_printf(req->op, "../%s/", project));
    r = choose_kind(req, &kind);
    if (r == 0)
        r = pages_get(req->op, req->self, project, kind, req->may_wait, &page);
    if (r < 0)
        return r;
    web_reply_page(resp, page);
    page_headers(req, resp);
    return 0;
}

static int redirect_project(struct web_request *req, struct web_response *resp)
{
    const char *project;
    int r = read_project(req, &project);

    return r < 0 ? r : redirect(req, resp, op_printf(req->op, "%s/", project));
}

static const char *media_type(enum package_kind kind)
{
    return kind == PACKAGE_SDIST_TAR ? "application/gzip" : "application/zip";
}

/* The file, or with the suffix ".metadata" its core metadata (PEP 658). */
static int get_file(struct web_request *req, struct web_response *resp)
{
    static const char suffix[] = ".metadata";
    const char *name = web_param(req, "file");
    size_t len = strlen(name), n = sizeof suffix - 1;
    bool metadata = len > n && strcmp(name + len - n, suffix) == 0;
    const char *file = metadata ? op_strndup(req->op, name, len - n) : name;
    struct packages *pk = req->self;
    struct package_file f;
    struct blob *blob;
    int r;

    /* Who is not known hears that first, whether there is such a file or not. */
    if (!policy_set_touches(req->op->who->policies, SLICE("packages/")))
        return identity_check(req->op, POLICY_READ, "packages/");
    r = package_find(req->op, pk, file, &f);
    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "packages/%s", f.project);
    if (r < 0)
        return r;
    if (metadata && f.metadata_bytes == 0)
        return op_fail(req->op, ENOENT, "there is no core metadata of '%s'", file);
    r = blob_open(pk->store, metadata ? &f.metadata : &f.digest, &blob);
    if (r < 0)
        return op_fail(req->op, r == -ENOENT ? EIO : -r, "the content of '%s' cannot be read",
                       file);
    web_reply_blob(resp, blob, metadata ? "text/plain; charset=utf-8" : media_type(f.kind), req);
    web_set_header(req, resp, "Cache-Control", "private, max-age=31536000, immutable");
    return 0;
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
    UPLOAD("/"),
    UPLOAD("/legacy"),
    UPLOAD("/legacy/"),
    UPLOAD("/simple/"),
    {0},
};
