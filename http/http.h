/* http.h: the web routes over libmicrohttpd. Knows the web and node seams, no domain. The only user
 * of libmicrohttpd. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/buf.h"

struct audit;
struct config;
struct domain_instance;
struct feed;
struct http;
struct identities;
struct tree;

struct http_options {
    const struct config *config;
    struct domain_instance *domains;
    size_t n_domains;
    struct tree *tree;
    struct identities *identities;
    struct audit *audit;
    struct feed *feed;
};

/* Opens every listener of the configuration and serves. -errno with a reason in why: "listen on
 * 127.0.0.1:8080: address already in use". */
int http_start(const struct http_options *options, struct http **ret, struct buf *why);
/* Appends the addresses it listens on, with the ports the kernel chose, separated by commas. */
void http_addresses(const struct http *h, struct buf *out);
/* Ends accepting, lets requests under way finish for up to grace_ms, closes, frees. NULL is fine. */
void http_stop(struct http *h, unsigned grace_ms);

#endif
