/* upstream.h: requests to another registry, with what it asks for to let us in. A password goes to
 * the registry's own host and to the realm that the configuration names, nowhere else; libcurl
 * drops it at a redirect to another host. Calls wait; any thread. */
#ifndef IMAGES_UPSTREAM_H
#define IMAGES_UPSTREAM_H

#include "base/buf.h"
#include "config.h"

#define UPSTREAM_TEXT_MAX 512

struct upstream;

struct upstream *upstream_new(const struct config_mirror *config); /* borrows; returns new */
void upstream_free(struct upstream *u); /* no request is under way */
/* Refuses further ones; ends those that stall, and after a few seconds all. */
void upstream_stop(struct upstream *u);

struct upstream_request {
    const char *repo;      /* there */
    const char *path;      /* below /v2/<repo>/: "manifests/latest" */
    const char *query;     /* as it stands behind "?"; NULL: none */
    bool head;
    const char *accept;    /* NULL: anything */
    uint64_t body_max;     /* of `body` */
    /* For a body that streams: `begin` when the headers of a 200 are there, `data` for each piece;
     * either may end it with a negative errno. NULL: it is collected in `body`. */
    int (*begin)(void *ctx, const struct upstream_request *rq);
    int (*data)(void *ctx, const void *bytes, size_t n);
    void *ctx;
    /* out */
    long status;           /* 0: no answer */
    uint64_t length;       /* UINT64_MAX: not said */
    char content_type[UPSTREAM_TEXT_MAX];
    char digest[UPSTREAM_TEXT_MAX];
    char challenge[4096];
    char link[4096];
    struct buf body;       /* the caller frees it */
    int err;               /* of begin or data */
};

/* 0: an answer of any status. -EHOSTUNREACH: none, or it broke off, with a reason in why; the errno
 * of begin or data. */
int upstream_ask(struct upstream *u, struct upstream_request *rq, struct buf *why);

#endif
