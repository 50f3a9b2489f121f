/* simple_index.h: reads the pages of another package index, HTML (PEP 503, 592, 714) or JSON (PEP
 * 691, 700): whatever a server out there may send. Pure. */
#ifndef BASE_SIMPLE_INDEX_H
#define BASE_SIMPLE_INDEX_H

#include "base/buf.h"
#include "base/digest.h"

/* One file of a project. Slices live until the callback returns; empty where nothing is said. */
struct simple_file {
    struct slice name; /* the last part of the URL, decoded, or what JSON calls it */
    struct slice url;  /* perhaps relative to the page; without its fragment */
    bool has_sha256, has_metadata, is_yanked;
    struct digest sha256;
    struct digest metadata; /* SHA-256 of the core metadata beside it */
    struct slice requires_python;
    struct slice yanked;      /* the reason */
    uint64_t size_bytes;      /* 0: not said */
    int64_t uploaded_unix_ns; /* 0: not said */
};

/* Calls f for each file; its non-zero result ends it and is returned. -EINVAL with a reason in why:
 * that is no page of an index. */
int simple_index_files(struct slice page, const char *content_type,
                       int (*f)(void *ctx, const struct simple_file *file), void *ctx,
                       struct buf *why);
/* The same for the names of the projects on the page at the root. */
int simple_index_projects(struct slice page, const char *content_type,
                          int (*f)(void *ctx, struct slice name), void *ctx, struct buf *why);

#endif
