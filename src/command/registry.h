/* registry.h: another registry, read over HTTP, with what it asks for to let us in: a name and a
 * password ($SOURCE_USER, $SOURCE_PASSWORD, or ~/.netrc), by way of Basic or of a token. Private to
 * src/command/. */
#ifndef COMMAND_REGISTRY_H
#define COMMAND_REGISTRY_H

#include "base/buf.h"
#include "base/digest.h"

#include <curl/curl.h>
#include <stdio.h>

#define REGISTRY_TEXT_MAX 1024

struct registry {
    CURL *curl;
    char *base;  /* "https://host", without a slash at the end */
    char *login; /* "name:password"; or NULL */
    struct buf authorization; /* the header that opens what was asked for last; or empty */
    /* Of the last answer: */
    long status;
    struct buf body;
    char content_type[REGISTRY_TEXT_MAX], link[REGISTRY_TEXT_MAX], challenge[2 * REGISTRY_TEXT_MAX];
    /* Where the body of a 200 goes instead, and what it hashes to. */
    FILE *file;
    struct hash *hash;
};

/* An exit code; the reason was printed. Close it in any case. */
int registry_open(struct registry *r, const char *url);
void registry_close(struct registry *r);
/* GET of base + target, which is encoded. An exit code, EX_OK for any status that is told in
 * r->status; with a 401 it logs in and asks again. `accept` NULL: anything. */
int registry_get(struct registry *r, const char *target, const char *accept);
/* The same, of a blob: a file at its beginning, gone when it is closed; NULL, and why was printed. */
FILE *registry_blob(struct registry *r, const char *repo, const struct digest *d);
/* The target of the next page (Link), in `out`; false: this was the last. */
bool registry_next(const struct registry *r, struct buf *out);

#endif
