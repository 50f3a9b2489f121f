/* server.h: what the files of http/ share. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/pool.h"
#include "config.h"
#include "domain.h"
#include "feed.h"
#include "http/http.h"
#include "http/pieces.h"
#include "identity/audit.h"
#include "identity/identity.h"
#include "web_router.h"

#include <pthread.h>

struct listener;
struct request;

struct turns {
    pthread_mutex_t lock; /* guards all below */
    unsigned taken;
    struct request *first, **last; /* who waits */
};

struct http {
    struct http_options options; /* borrowed, all of it */
    const struct config_limits *limits;
    struct domain_instance own;  /* /tree/ and the page */
    struct pool *workers;        /* handlers that may wait */
    struct pool *readers;        /* content that may be slow to come */
    struct pool *hashers;        /* password hashes: few at a time, they only burn CPU */
    struct listener **listeners;
    size_t n_listeners;
    struct turns turns;
    unsigned under_way; /* atomic: requests whose headers have arrived, and not answered */
    unsigned parked;    /* atomic: suspended connections, and requests not yet freed */
    unsigned lingering; /* atomic: see linger.c */
    bool stopping;      /* atomic: answers close their connections */
    bool refusing;      /* atomic: nothing is served any more */
    struct web_page *page;   /* the web page */
    char *page_policy;       /* its Content-Security-Policy */
    struct pieces pieces;
    unsigned large_streams; /* atomic: that have two of them */
    uint64_t body_bytes; /* atomic: held in memory for collected bodies, of all requests */
};

/* One socket: a libmicrohttpd daemon with two threads. */
struct listener {
    struct http *http;
    struct MHD_Daemon *daemon;
    struct web_router *router;
    struct tls *tls; /* NULL: plain */
    char *address;   /* as it is reported */
};

/* listener.c: -errno with a reason in why. */
int listener_open(struct http *http, const struct config_listen *config, struct listener **ret,
                  struct buf *why);
void listener_quiesce(struct listener *l); /* accepts no more */
void listener_close(struct listener *l);   /* none of its connections may be suspended */

/* tree_routes.c */
extern const struct domain http_domain;

#endif
