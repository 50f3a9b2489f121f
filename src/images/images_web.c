#include "images/images_web.h"

#include "base/codec.h"
#include "base/json.h"
#include "identity/identity.h"
#include "images/hooks.h"
#include "images/mirror.h"
#include "images/upload.h"

#include <errno.h>

#define PAGE_AT_ONCE  1000u               /* names that the server's thread lists itself */
#define BLOB_BODY_MAX (UINT64_C(1) << 40) /* upload.c keeps the configured limit */

int web_repo(struct web_request *req, unsigned rights, const char **ret)
{
    const char *repo = web_param(req, "name"), *meant = repo;
    int r;

    r = images_check_name(req->op, repo);
    if (r < 0)
        return r;
    if (rights == POLICY_READ)
        meant = mirror_meant(req->op, req->self, repo, web_query(req, "ns"));
    /* A scope, or a right, to push to a new name does not open the mirror. */
    if (meant != repo && identity_may(req->op, rights, "images/%s", meant))
        repo = meant;
    r = identity_check(req->op, rights, "images/%s", repo);
    if (r == 0)
        *ret = repo;
    return r;
}

bool web_may_be_new(struct web_request *req, const char *repo)
{
    return strcmp(web_param(req, "name"), repo) != 0 && web_query(req, "ns") == NULL;
}

int web_repo_to_push(struct web_request *req, const char **ret)
{
    int r = web_repo(req, POLICY_CREATE, ret);

    if (r == 0 && mirror_of(req->self, *ret) != NULL)
        return op_fail(req->op, EACCES, "'%s' is a mirror of another registry; push there", *ret);
    return r;
}

int web_paging(struct web_request *req, size_t *ret_n, const char **ret_last)
{
    const char *n = web_query(req, "n"), *last = web_query(req, "last");
    uint64_t value = IMAGES_PAGE_MAX;

    /* A number too large for us is as good as the largest. */
    if (n != NULL && parse_u64(slice_str(n), UINT64_MAX, &value) < 0 &&
        (n[0] == 0 || n[strspn(n, "0123456789")] != 0))
        return op_fail(req->op, EINVAL, "n is not a number: '%.32s'", n);
    if (last != NULL && strlen(last) > IMAGES_NAME_MAX)
        return op_fail(req->op, EINVAL, "last is too long");
    *ret_n = value > IMAGES_PAGE_MAX ? IMAGES_PAGE_MAX : (size_t)value;
    *ret_last = last != NULL ? last : "";
    return 0;
}

void web_next_link(struct web_request *req, struct web_response *resp, size_t n, const char *last,
                   const char *extra)
{
    autobuf out = {0};

    buf_add_char(&out, '<');
    percent_encode(&out, slice_str(req->path), "/:");
    buf_add_char(&out, '?');
    if (n > 0)
        buf_printf(&out, "n=%zu&", n);
    buf_add_str(&out, "last=");
    percent_encode(&out, slice_str(last), "/:");
    if (extra != NULL)
        buf_add_str(&out, extra);
    buf_add_str(&out, ">; rel=\"next\"");
    web_set_header(req, resp, "Link", out.data);
}

void web_set_digest(struct web_request *req, struct web_response *resp, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];

    web_set_header(req, resp, "Docker-Content-Digest", digest_print(d, text));
}

/* The ping, and what `docker login` asks. Nobody in particular is sent to log in, unless nobody in
 * particular may push: clients decide here whether they send a password at all. */
static int base_get(struct web_request *req, struct web_response *resp)
{
    if (req->op->who->kind == IDENTITY_ANONYMOUS && req->op->who->within == NULL) {
        int r = identity_check(req->op, POLICY_READ | POLICY_CREATE, "images/");

        if (r < 0)
            return r;
    }
    web_set_header(req, resp, "Docker-Distribution-Api-Version", "registry/2.0");
    web_reply_str(req, resp, 200, "application/json", "{}");
    return 0;
}

/* Lists. */

struct list {
    struct web_request *req;
    struct json json;
    size_t left;
    const char *last; /* of those given */
    bool more;
};

static int list_add(struct list *l, struct slice name)
{
    if (l->left == 0) {
        l->more = true;
        return 1;
    }
    l->left--;
    json_slice(&l->json, name);
    if (l->left == 0)
        l->last = op_strndup(l->req->op, name.data, name.len);
    return 0;
}

static int list_tag(void *ctx, const struct tag_view *tag)
{
    return list_add(ctx, tag->name);
}

/* Of a mirror: what is there, and what is here. */
static int list_mirrored(struct web_request *req, struct mirror *m, const char *repo,
                         const char *last, struct list *l)
{
    const char *const *tags;
    size_t n, i = 0;
    int r = mirror_tags(req->op, req->self, m, repo, &tags, &n);

    if (r < 0)
        return r;
    while (i < n && last[0] != 0 && strcmp(tags[i], last) <= 0)
        i++;
    while (i < n && list_add(l, slice_str(tags[i])) == 0)
        i++;
    return 0;
}

/* OCI distribution-spec 1.1, "Listing Tags". */
static int tags_get(struct web_request *req, struct web_response *resp)
{
    struct images *im = req->self;
    struct list l = {.req = req};
    const char *repo, *last;
    autobuf out = {0};
    struct mirror *m;
    size_t n;
    int r;

    r = web_repo(req, POLICY_READ, &repo);
    if (r == 0)
        r = web_paging(req, &n, &last);
    if (r < 0)
        return r;
    m = mirror_of(im, repo);
    if (m == NULL)
        r = images_check_repo(req->op, im, repo);
    if (r < 0)
        return r;
    if (strlen(last) > IMAGES_TAG_MAX)
        return op_fail(req->op, EINVAL, "last is too long");
    if (!req->may_wait &&
        (n > PAGE_AT_ONCE || (m != NULL && !mirror_tags_are_fresh(req->op, m, repo))))
        return -EINPROGRESS;
    json_init(&l.json, &out);
    json_object(&l.json);
    json_kstr(&l.json, "name", repo);
    json_key(&l.json, "tags");
    json_array(&l.json);
    l.left = n;
    if (m != NULL)
        r = list_mirrored(req, m, repo, last, &l);
    else
        r = n > 0 ? tag_each(req->op, im, repo, last, list_tag, &l) : 0;
    if (r < 0)
        return r;
    json_array_end(&l.json);
    json_object_end(&l.json);
    if (l.more && n > 0)
        web_next_link(req, resp, n, l.last, NULL);
    web_reply_buf(req, resp, 200, "application/json", &out);
    return 0;
}

/* Who may read it; with a token for the catalog, who was given it. */
static bool may_list(struct op *op, const char *repo)
{
    const struct identity *who = op->who;
    const char *path;

    if (who->within == NULL)
        return identity_may(op, POLICY_READ, "images/%s", repo);
    path = op_printf(op, "images/%s", repo);
    return (identity_rights(who->within, slice_str(path)) & POLICY_READ) != 0 &&
           (policy_set_rights(identity_policies(who), slice_str(path)) &
            (POLICY_READ | POLICY_LIST)) != 0;
}

static int list_repo(void *ctx, const char *repo, const char **seek)
{
    struct list *l = ctx;

    (void)seek;
    if (!may_list(l->req->op, repo))
        return 0;
    return list_add(l, slice_str(repo));
}

/* Docker's own (distribution, "Listing Repositories"): what the caller may read. */
static int catalog_get(struct web_request *req, struct web_response *resp)
{
    struct list l = {.req = req};
    const char *last, *from;
    autobuf out = {0};
    size_t n;
    int r;

    if (!identity_touches(req->op->who, SLICE("images/"))) {
        r = identity_check(req->op, POLICY_READ, "images/");
        if (r < 0)
            return r;
    }
    r = web_paging(req, &n, &last);
    if (r < 0)
        return r;
    json_init(&l.json, &out);
    json_object(&l.json);
    json_key(&l.json, "repositories");
    json_array(&l.json);
    l.left = n;
    from = last[0] != 0 ? op_printf(req->op, "%s\001", last) : ""; /* the first name behind it */
    r = n > 0 ? repo_each(req->op, req->self, from, list_repo, &l) : 0;
    if (r < 0)
        return r;
    json_array_end(&l.json);
    json_object_end(&l.json);
    if (l.more)
        web_next_link(req, resp, n, l.last, NULL);
    web_reply_buf(req, resp, 200, "application/json", &out);
    return 0;
}

/* Errors: OCI distribution-spec 1.1, "Error Codes". */

enum area { OF_NONE, OF_MANIFEST, OF_BLOB, OF_UPLOAD };

static enum area area_of(const struct web_request *req)
{
    const char *pattern = req->route != NULL ? req->route->pattern : "";

    if (strstr(pattern, "/manifests/") != NULL)
        return OF_MANIFEST;
    if (strstr(pattern, "/uploads") != NULL)
        return OF_UPLOAD;
    return strstr(pattern, "/blobs/") != NULL ? OF_BLOB : OF_NONE;
}

struct refusal {
    int err;
    enum area area; /* OF_NONE: any */
    int status;     /* 0: web_status() */
    const char *code;
};

static const struct refusal refusals[] = {
    {EPERM, OF_NONE, 401, "UNAUTHORIZED"},
    {EACCES, OF_NONE, 403, "DENIED"},
    {ENXIO, OF_NONE, 404, "NAME_UNKNOWN"},
    {ENOENT, OF_MANIFEST, 404, "MANIFEST_UNKNOWN"},
    {ENOENT, OF_BLOB, 404, "BLOB_UNKNOWN"},
    {ENOENT, OF_UPLOAD, 404, "BLOB_UPLOAD_UNKNOWN"},
    {ENOENT, OF_NONE, 404, "NAME_UNKNOWN"},
    {EDOM, OF_NONE, 400, "NAME_INVALID"},
    {EILSEQ, OF_NONE, 400, "DIGEST_INVALID"},
    {EBADMSG, OF_NONE, 400, "DIGEST_INVALID"},
    {ENODATA, OF_NONE, 400, "MANIFEST_BLOB_UNKNOWN"},
    {EINVAL, OF_MANIFEST, 400, "MANIFEST_INVALID"},
    {EINVAL, OF_UPLOAD, 400, "BLOB_UPLOAD_INVALID"},
    {EINVAL, OF_NONE, 400, "UNSUPPORTED"},
    {EFBIG, OF_MANIFEST, 413, "MANIFEST_INVALID"},
    {EFBIG, OF_NONE, 413, "SIZE_INVALID"},
    {ERANGE, OF_UPLOAD, 416, "BLOB_UPLOAD_INVALID"},
    {EBUSY, OF_UPLOAD, 409, "BLOB_UPLOAD_INVALID"},
    {EAGAIN, OF_NONE, 503, "TOOMANYREQUESTS"},
    {ENOTSUP, OF_NONE, 405, "UNSUPPORTED"},
    {EHOSTUNREACH, OF_NONE, 502, "UNKNOWN"},
    {ENOSPC, OF_NONE, 507, "DENIED"},
    {0, OF_NONE, 0, "UNKNOWN"},
};

static const struct refusal *refusal_of(int err, enum area area)
{
    size_t i = 0;

    while (refusals[i].err != 0 &&
           (refusals[i].err != err || (refusals[i].area != OF_NONE && refusals[i].area != area)))
        i++;
    return &refusals[i];
}

static void images_render(void *self, struct web_request *req, int err, struct web_response *resp)
{
    const struct refusal *refusal = refusal_of(-err, area_of(req));
    int status = refusal->status != 0 ? refusal->status : web_status(err);
    const char *repo = web_param(req, "name"), *id = web_param(req, "id");
    autobuf out = {0};
    struct json json;
    uint64_t size;

    json_init(&json, &out);
    json_object(&json);
    json_key(&json, "errors");
    json_array(&json);
    json_object(&json);
    json_kstr(&json, "code", refusal->code);
    json_kstr(&json, "message", op_why(req->op, err));
    json_key(&json, "detail");
    json_object(&json);
    if (repo[0] != 0)
        json_kstr(&json, "name", repo);
    json_object_end(&json);
    json_object_end(&json);
    json_array_end(&json);
    json_object_end(&json);
    web_set_header(req, resp, "Docker-Distribution-Api-Version", "registry/2.0");
    if (status == 401)
        web_challenge(req, resp);
    if (status == 503)
        web_set_header(req, resp, "Retry-After", "1");
    if (status == 416 && id[0] != 0 && image_upload_stat(req->op, self, repo, id, &size) == 0)
        uploads_status_headers(req, resp, repo, id, size);
    web_reply_buf(req, resp, status, "application/json", &out);
}

#define NAME "/v2/{name...}"
#define UPLOAD_ROUTE(method, handler)                                                              \
    {                                                                                              \
        .methods = method, .pattern = NAME "/blobs/uploads/{id}", .handle = handler,               \
        .begin = uploads_chunk_begin, .data = uploads_data, .end = uploads_end,                    \
        .flags = ROUTE_STREAM | ROUTE_AUDIT, .body_limit_bytes = BLOB_BODY_MAX                     \
    }
#define POST_ROUTE(path)                                                                           \
    {                                                                                              \
        .methods = "POST", .pattern = path, .handle = uploads_post, .begin = uploads_post_begin,   \
        .data = uploads_data, .end = uploads_end, .flags = ROUTE_STREAM | ROUTE_AUDIT,             \
        .body_limit_bytes = BLOB_BODY_MAX                                                          \
    }

static const struct route images_routes[] = {
    {.methods = "GET",
     .pattern = "/token",
     .handle = token_get,
     .flags = ROUTE_SECRET | ROUTE_AUDIT},
    {.methods = "POST",
     .pattern = "/token",
     .handle = token_post,
     .flags = ROUTE_SECRET | ROUTE_AUDIT,
     .body_limit_bytes = 64u << 10},
    {.methods = "GET", .pattern = "/v2/", .handle = base_get, .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = "/v2", .handle = base_get, .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = "/v2/_catalog", .handle = catalog_get},
    {.methods = "GET", .pattern = NAME "/tags/list", .handle = tags_get, .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = NAME "/referrers/{digest}", .handle = referrers_get},
    {.methods = "GET",
     .pattern = NAME "/manifests/{reference}",
     .handle = manifests_get,
     .flags = ROUTE_INLINE},
    {.methods = "PUT",
     .pattern = NAME "/manifests/{reference}",
     .handle = manifests_put,
     .flags = ROUTE_AUDIT,
     .body_limit_bytes = MANIFEST_BYTES_MAX},
    {.methods = "DELETE",
     .pattern = NAME "/manifests/{reference}",
     .handle = manifests_delete,
     .flags = ROUTE_AUDIT},
    {.methods = "GET",
     .pattern = NAME "/blobs/{digest}",
     .handle = blobs_get,
     .flags = ROUTE_INLINE},
    {.methods = "DELETE",
     .pattern = NAME "/blobs/{digest}",
     .handle = blobs_delete,
     .flags = ROUTE_AUDIT},
    POST_ROUTE(NAME "/blobs/uploads/"),
    POST_ROUTE(NAME "/blobs/uploads"),
    UPLOAD_ROUTE("PATCH", uploads_patch),
    UPLOAD_ROUTE("PUT", uploads_put),
    {.methods = "GET", .pattern = NAME "/blobs/uploads/{id}", .handle = uploads_get},
    {.methods = "DELETE", .pattern = NAME "/blobs/uploads/{id}", .handle = uploads_delete},
    {0},
};

static void images_status(void *self, struct buf *out)
{
    struct images *im = self;

    buf_printf(out, "images: %zu uploads open\n", uploads_open(im->uploads));
}

static void images_metrics(void *self, struct buf *out)
{
    struct images *im = self;

    buf_printf(out,
               "# HELP infrafs_images_uploads_open Uploads of blobs that are under way.\n"
               "# TYPE infrafs_images_uploads_open gauge\ninfrafs_images_uploads_open %zu\n",
               uploads_open(im->uploads));
    hooks_metrics(im->hooks, out);
}

extern const struct domain images_domain;
const struct domain images_domain = {
    .name = "images",
    .open = images_open,
    .stopping = images_stopping,
    .close = images_close,
    .tree = &images_tree,
    .routes = images_routes,
    .render = images_render,
    .metrics = images_metrics,
    .status = images_status,
    .tidy = images_tidy,
};
