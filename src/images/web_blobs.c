#include "base/alloc.h"
#include "identity/identity.h"
#include "images/hooks.h"
#include "images/images_web.h"
#include "images/mirror.h"

#include <errno.h>
#include <stdlib.h>

static ssize_t promise_read(struct op *op, struct node_file *f, uint64_t offset, void *buf,
                            size_t n)
{
    (void)op;
    (void)f;
    (void)offset;
    (void)buf;
    (void)n;
    return -EIO;
}

static void promise_close(struct node_file *f)
{
    free(f);
}

/* For the answer to a HEAD: a size, and nothing to read. */
static struct node_file *promise_new(uint64_t size_bytes)
{
    static const struct node_file_ops ops = {.read = promise_read, .close = promise_close};
    struct node_file *f = xcalloc(1, sizeof *f);

    *f = (struct node_file){.ops = &ops, .size_bytes = size_bytes};
    return f;
}

/* A blob of a mirror that is not here yet. 0: answered; 1: it is here now. */
static int get_mirrored(struct web_request *req, struct web_response *resp, const char *repo,
                        const struct digest *d)
{
    struct images *im = req->self;
    struct mirror *m = mirror_of(im, repo);
    char text[DIGEST_TEXT_MAX];
    struct node_file *file = NULL;
    struct blob_stat st;
    uint64_t size;
    int r;

    op_forgive(req->op);
    if (!req->may_wait)
        return -EINPROGRESS;
    if (strcmp(req->method, "HEAD") == 0 && blob_stat(im->store, d, &st) < 0) {
        r = mirror_blob_size(req->op, m, repo, d, &size);
        if (r == 0)
            file = promise_new(size);
    } else {
        r = mirror_blob(req->op, im, m, repo, d, &file);
    }
    if (r < 0)
        return r;
    if (file == NULL)
        return 1;
    if (strcmp(req->method, "GET") == 0)
        hooks_emit_blob(im, req->op, WEBHOOK_PULL, repo, d, file->size_bytes, NULL, req);
    web_set_digest(req, resp, d);
    web_set_header(req, resp, "Content-Type", "application/octet-stream");
    resp->etag = op_printf(req->op, "\"%s\"", digest_print(d, text));
    resp->body = WEB_FILE;
    resp->file = file;
    return 0;
}

/* Of a name that may be new, what was pushed to it is there before it has a manifest; and with a HEAD
 * a client asks what it need not push: what only the mirror has must be. */
static int find_blob(struct web_request *req, const char **repo, const struct digest *d,
                     uint64_t *ret_size)
{
    const char *name = web_param(req, "name");
    int r = -ENOENT;

    if (web_may_be_new(req, *repo)) {
        if (identity_may(req->op, POLICY_READ, "images/%s", name))
            r = link_get(req->op, req->self, name, d, ret_size);
        if (r == 0 || strcmp(req->method, "HEAD") == 0)
            *repo = name;
        if (r != -ENOENT || *repo == name)
            return r;
        op_forgive(req->op);
    }
    return link_get(req->op, req->self, *repo, d, ret_size);
}

/* OCI distribution-spec 1.1, "Pulling blobs"; Range is the front end's. */
int blobs_get(struct web_request *req, struct web_response *resp)
{
    struct images *im = req->self;
    struct blob *blob;
    struct digest d;
    const char *repo;
    uint64_t size;
    int r;

    r = web_repo(req, POLICY_READ, &repo);
    if (r == 0)
        r = images_parse_digest(req->op, web_param(req, "digest"), &d);
    if (r == 0)
        r = find_blob(req, &repo, &d, &size);
    if (r == -ENOENT && mirror_of(im, repo) != NULL) {
        r = get_mirrored(req, resp, repo, &d);
        if (r != 1)
            return r;
        r = 0;
    }
    if (r == 0)
        r = blob_open(im->store, &d, &blob);
    if (r < 0)
        return r;
    /* Before a push, a client asks what is here; what he is told is here must stay. */
    if (strcmp(req->method, "HEAD") == 0 && identity_may(req->op, POLICY_CREATE, "images/%s", repo))
        link_touch(req->op, im, repo, &d);
    if (strcmp(req->method, "GET") == 0)
        hooks_emit_blob(im, req->op, WEBHOOK_PULL, repo, &d, blob_size(blob), NULL, req);
    web_set_digest(req, resp, &d);
    web_reply_blob(resp, blob, "application/octet-stream", req);
    return 0;
}

/* OCI distribution-spec 1.1, "Deleting Blobs": from this repository; others keep theirs. */
int blobs_delete(struct web_request *req, struct web_response *resp)
{
    struct digest d;
    const char *repo;
    uint64_t size;
    int r;

    r = web_repo(req, POLICY_DELETE, &repo);
    if (r == 0)
        r = images_parse_digest(req->op, web_param(req, "digest"), &d);
    if (r == 0)
        r = link_get(req->op, req->self, repo, &d, &size);
    if (r == 0)
        r = link_delete(req->op, req->self, repo, &d);
    if (r < 0)
        return r;
    hooks_emit_blob(req->self, req->op, WEBHOOK_DELETE, repo, &d, size, NULL, req);
    web_set_digest(req, resp, &d);
    resp->status = 202;
    return 0;
}
