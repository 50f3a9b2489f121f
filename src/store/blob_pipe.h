/* blob_pipe.h: a large stage is hashed and stored beside the thread that receives it. Private to
 * src/store.
 *
 * What is written is copied into slots of a chunk. It is hashed once as it comes, and stored once a
 * slot is full, in order, by a helper or by the writing thread while it has to wait: so two cores
 * share whatever there is to do, and there is never more in memory than PIPE_SLOTS chunks. One
 * thread uses a pipe, as it does a stage. */
#ifndef STORE_BLOB_PIPE_H
#define STORE_BLOB_PIPE_H

#include "store/blob_stage.h"

#define PIPE_SLOTS 3u
#define PIPE_SLOT  ((size_t)1 << 20) /* a chunk of the engine: it stores it without another copy */
#define PIPE_STEP  ((size_t)128 << 10) /* is worth waking somebody to hash it */

struct blob_pipe;

/* Borrows the stage, whose content so far is hashed and stored. NULL: every core has its helper, or
 * no thread is to be had; then the stage goes on alone. */
struct blob_pipe *pipe_new(struct blob_stage *stage);
/* The error may be that of what was written before: then the stage is spoilt. */
int pipe_write(struct blob_pipe *p, const void *bytes, size_t n);
/* Comes back when all of it is hashed and stored, or with what went wrong. */
int pipe_drain(struct blob_pipe *p);
void pipe_free(struct blob_pipe *p); /* what is not stored yet never will be; NULL is fine */

#endif
