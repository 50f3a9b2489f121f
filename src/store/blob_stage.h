/* blob_stage.h: a stage, between the files that fill it and seal it. Private to src/store. */
#ifndef STORE_BLOB_STAGE_H
#define STORE_BLOB_STAGE_H

#include "store/blob_catalog.h"

struct blob_pipe;

struct blob_stage {
    UT_hash_handle hh; /* in the store's table, by id; under its lock, as is `open` */
    struct store *store;
    uint8_t id[BLOB_ID];
    bool open;    /* false: suspended, remembered for its hash */
    bool has_row; /* a suspended state of it is durable */
    enum digest_algorithm algorithm;
    /* Invariant: hash covers exactly size_bytes, unless it is spent: then the digest has been
     * taken, at spent_at_bytes, and another one needs the content to be read again. */
    struct hash *hash;
    bool hash_spent;
    struct digest digest;
    uint64_t spent_at_bytes;
    uint64_t size_bytes;
    int err; /* a write failed: nothing more can be done with it */
    struct staging *staging;
    struct blob_pipe *pipe; /* NULL: none, all of size_bytes is in hash and staging */
};

/* All of it is in hash and staging, whose turn it is now; or stage->err. */
int stage_settle(struct blob_stage *stage);

int stage_hash(struct blob_stage *stage, struct hash *h); /* reads all of it back */

#endif
