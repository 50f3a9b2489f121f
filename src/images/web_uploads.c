/* Pushing blobs (OCI distribution-spec 1.1, "Pushing blobs"): bodies go into the stage as they
 * arrive. */
#include "identity/identity.h"
#include "images/hooks.h"
#include "images/images_web.h"
#include "images/upload.h"

#include <errno.h>

/* A body on its way in; in the op. */
struct transfer {
    struct upload *upload; /* taken; NULL: a POST that only begins a session */
    bool at_once;          /* the session is this request's own, and ends with it */
    bool has_want;
    struct digest want;
    uint64_t room; /* bytes that the chunk said it has, and that are to come */
    int err;       /* found before the body; told after it, so that the client hears it */
};

void uploads_status_headers(struct web_request *req, struct web_response *resp, const char *repo,
                            const char *id, uint64_t size_bytes)
{
    web_add_header(req, resp, "Location", "/v2/%s/blobs/uploads/%s", repo, id);
    /* At zero bytes it is 0-0 all the same (docker distribution, "Starting An Upload"). */
    web_add_header(req, resp, "Range", "0-%" PRIu64, size_bytes > 0 ? size_bytes - 1 : 0);
    web_set_header(req, resp, "Docker-Upload-UUID", id);
}

static int query_digest(struct web_request *req, struct transfer *t)
{
    const char *digest = web_query(req, "digest");
    int r;

    if (digest == NULL)
        return 0;
    r = images_parse_digest(req->op, digest, &t->want);
    t->has_want = r == 0;
    return r;
}

static uint64_t hint(const struct web_request *req)
{
    return req->content_length == UINT64_MAX ? 0 : req->content_length;
}

static int keep(struct web_request *req, const struct transfer *t)
{
    struct transfer *copy = op_alloc(req->op, sizeof *copy);

    *copy = *t;
    req->state = copy;
    return 0;
}

/* POST …/uploads/: with ?digest= the body is the blob. */
int uploads_post_begin(struct web_request *req)
{
    struct transfer t = {.room = UINT64_MAX};
    const char *repo;
    int r;

    r = web_repo_to_push(req, &repo);
    if (r == 0)
        r = query_digest(req, &t);
    if (r == 0 && t.has_want && web_query(req, "mount") == NULL) {
        r = image_upload_begin(req->op, req->self, repo, t.want.algorithm, hint(req), &t.upload);
        t.at_once = true;
    }
    return r < 0 ? r : keep(req, &t);
}

/* Does the chunk fit where the upload stands? */
static int check_chunk(struct web_request *req, struct transfer *t)
{
    const char *text = web_header(req, "Content-Range");
    uint64_t size = image_upload_size(t->upload), length;
    struct chunk_range range;

    if (text == NULL || text[0] == 0)
        return 0;
    if (chunk_range_parse(slice_str(text), &range) < 0)
        return op_fail(req->op, EINVAL, "Content-Range is not START-END: '%.64s'", text);
    length = range.end - range.start + 1;
    if (req->content_length == 0) /* the last PUT of some clients names what was there */
        return 0;
    if (range.start != size)
        return op_fail(req->op, ERANGE,
                       "the chunk begins at %" PRIu64 ", the upload is at %" PRIu64, range.start,
                       size);
    if (req->content_length != UINT64_MAX && req->content_length != length)
        return op_fail(req->op, EINVAL, "Content-Range names %" PRIu64 " bytes, %" PRIu64 " come",
                       length, req->content_length);
    t->room = length;
    return 0;
}

/* PATCH and PUT …/uploads/ID. */
int uploads_chunk_begin(struct web_request *req)
{
    struct transfer t = {.room = UINT64_MAX};
    const char *repo;
    int r;

    r = web_repo_to_push(req, &repo);
    if (r < 0)
        return r;
    r = image_upload_take(req->op, req->self, repo, web_param(req, "id"), &t.upload);
    if (r < 0)
        return r;
    t.err = strcmp(req->method, "PUT") == 0 ? query_digest(req, &t) : 0;
    if (t.err == 0)
        t.err = check_chunk(req, &t);
    if (t.err == 0)
        image_upload_expect(t.upload, hint(req));
    return keep(req, &t);
}

int uploads_data(struct web_request *req, const void *bytes, size_t n)
{
    struct transfer *t = req->state;

    if (t->err == 0 && t->upload != NULL && n > t->room)
        t->err = op_fail(req->op, EINVAL, "more bytes come than Content-Range names");
    if (t->err == 0 && t->upload != NULL)
        t->err = image_upload_write(req->op, t->upload, bytes, n);
    t->room -= t->err == 0 && t->room != UINT64_MAX ? n : 0;
    return t->err;
}

void uploads_end(struct web_request *req)
{
    struct transfer *t = req->state;

    req->state = NULL;
    if (t->upload == NULL)
        return;
    if (t->at_once)
        image_upload_drop(t->upload);
    else
        image_upload_give(t->upload);
}

static void stored(struct web_request *req, struct web_response *resp, const char *repo,
                   const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];

    web_add_header(req, resp, "Location", "/v2/%s/blobs/%s", repo, digest_print(d, text));
    web_set_digest(req, resp, d);
    resp->status = 201;
}

static int finish(struct web_request *req, struct web_response *resp)
{
    struct transfer *t = req->state;
    uint64_t size = image_upload_size(t->upload);
    int r;

    r = image_upload_finish(req->op, t->upload, &t->want);
    if (r != -EBADMSG)
        t->upload = NULL;
    if (r < 0)
        return r;
    hooks_emit_blob(req->self, req->op, WEBHOOK_PUSH, web_param(req, "name"), &t->want, size, NULL,
                    req);
    stored(req, resp, web_param(req, "name"), &t->want);
    return 0;
}

/* ?mount=D&from=R: a blob that is here already, from where the caller may read. What cannot be
 * mounted is uploaded: 0. */
static int mount(struct web_request *req, struct web_response *resp, const char *repo)
{
    const char *mount_digest = web_query(req, "mount"), *from = web_query(req, "from");
    struct images *im = req->self;
    struct digest d;
    uint64_t size;
    bool found;

    if (digest_parse(slice_str(mount_digest), &d) < 0)
        return 0;
    found = link_get(req->op, im, repo, &d, &size) == 0;
    if (!found && from != NULL && from[0] != 0)
        found = repository_name_valid(slice_str(from)) &&
                identity_may(req->op, POLICY_READ, "images/%s", from) &&
                link_get(req->op, im, from, &d, &size) == 0;
    else if (!found)
        found = (from = link_find(req->op, im, &d, &size)) != NULL;
    if (!found || link_put(req->op, im, repo, &d, size) < 0) {
        op_forgive(req->op);
        return 0;
    }
    op_forgive(req->op);
    hooks_emit_blob(im, req->op, WEBHOOK_MOUNT, repo, &d, size, from, req);
    stored(req, resp, repo, &d);
    return 1;
}

/* ?digest-algorithm= (distribution-spec, "Post then Put"). */
static int algorithm_of(struct web_request *req, enum digest_algorithm *ret)
{
    const char *name = web_query(req, "digest-algorithm");

    if (name == NULL || strcmp(name, "sha256") == 0)
        *ret = DIGEST_SHA256;
    else if (strcmp(name, "sha512") == 0)
        *ret = DIGEST_SHA512;
    else
        return op_fail(req->op, EILSEQ,
                       "digest algorithm '%.32s' is not known; sha256 and sha512 are", name);
    return 0;
}

int uploads_post(struct web_request *req, struct web_response *resp)
{
    struct transfer *t = req->state;
    const char *repo = web_param(req, "name");
    enum digest_algorithm algorithm;
    struct upload *u;
    int r;

    if (t->err < 0)
        return t->err;
    if (t->upload != NULL)
        return finish(req, resp);
    if (web_query(req, "mount") != NULL && mount(req, resp, repo))
        return 0;
    r = algorithm_of(req, &algorithm);
    if (r == 0)
        r = image_upload_begin(req->op, req->self, repo, algorithm, 0, &u);
    if (r < 0)
        return r;
    uploads_status_headers(req, resp, repo, image_upload_id(u), 0);
    image_upload_give(u);
    resp->status = 202;
    return 0;
}

int uploads_patch(struct web_request *req, struct web_response *resp)
{
    struct transfer *t = req->state;

    if (t->err == 0)
        t->err = image_upload_rest(req->op, t->upload);
    if (t->err < 0)
        return t->err;
    uploads_status_headers(req, resp, web_param(req, "name"), image_upload_id(t->upload),
                           image_upload_size(t->upload));
    resp->status = 202;
    return 0;
}

int uploads_put(struct web_request *req, struct web_response *resp)
{
    struct transfer *t = req->state;

    if (t->err < 0)
        return t->err;
    if (!t->has_want)
        return op_fail(req->op, EILSEQ, "the last PUT of an upload needs ?digest=");
    return finish(req, resp);
}

int uploads_get(struct web_request *req, struct web_response *resp)
{
    const char *repo, *id = web_param(req, "id");
    uint64_t size;
    int r;

    r = web_repo_to_push(req, &repo);
    if (r == 0)
        r = image_upload_stat(req->op, req->self, repo, id, &size);
    if (r < 0)
        return r;
    uploads_status_headers(req, resp, repo, id, size);
    resp->status = 204;
    return 0;
}

int uploads_delete(struct web_request *req, struct web_response *resp)
{
    struct upload *u;
    const char *repo;
    int r;

    r = web_repo_to_push(req, &repo);
    if (r == 0)
        r = image_upload_take(req->op, req->self, repo, web_param(req, "id"), &u);
    if (r < 0)
        return r;
    image_upload_drop(u);
    resp->status = 204;
    return 0;
}
