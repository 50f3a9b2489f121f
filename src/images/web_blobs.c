#include "identity/identity.h"
#include "images/images_web.h"

#include <errno.h>

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
        r = link_get(req->op, im, repo, &d, &size);
    if (r == 0)
        r = blob_open(im->store, &d, &blob);
    if (r < 0)
        return r;
    /* Before a push, a client asks what is here; what he is told is here must stay. */
    if (strcmp(req->method, "HEAD") == 0 && identity_may(req->op, POLICY_CREATE, "images/%s", repo))
        link_touch(req->op, im, repo, &d);
    web_set_digest(req, resp, &d);
    web_reply_blob(resp, blob, "application/octet-stream", req);
    return 0;
}

/* OCI distribution-spec 1.1, "Deleting Blobs": from this repository; others keep theirs. */
int blobs_delete(struct web_request *req, struct web_response *resp)
{
    struct digest d;
    const char *repo;
    int r;

    r = web_repo(req, POLICY_DELETE, &repo);
    if (r == 0)
        r = images_parse_digest(req->op, web_param(req, "digest"), &d);
    if (r == 0)
        r = link_delete(req->op, req->self, repo, &d);
    if (r < 0)
        return r;
    web_set_digest(req, resp, &d);
    resp->status = 202;
    return 0;
}
