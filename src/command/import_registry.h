/* import_registry.h: what is taken over of another registry, on its way into the daemon; whatever it is
 * read from. Private to src/command/. */
#ifndef COMMAND_IMPORT_REGISTRY_H
#define COMMAND_IMPORT_REGISTRY_H

#include "base/digest.h"
#include "command/client.h"

#include <jansson.h>
#include <stdio.h>

struct import {
    struct client client;
    CURL *curl;
    const char *repo;      /* that is read */
    char location[1024];   /* of the last answer */
    struct buf answer;
    unsigned repos, manifests, tags, blobs, there, failed;
    /* A blob of the source, at its beginning; NULL: there is none, and why was printed. */
    FILE *(*open_blob)(struct import *im, const struct digest *d);
    void *source;
};

/* Is the manifest in the daemon already? Counts it, if so. */
bool import_is_there(struct import *im, const struct digest *d);
/* The blobs that an image names. */
void import_blobs(struct import *im, const json_t *json);
/* A manifest as `reference`: its digest, or a tag. */
void import_manifest(struct import *im, const char *reference, const json_t *json,
                     struct slice bytes);
bool import_is_index(const json_t *json);

/* import_registry_url.c: all of a registry that runs. An exit code. */
int import_registry_url(struct import *im, const char *url);

#endif
