/* mem.h: shared between the files of the engine in memory. */
#ifndef STORE_MEM_H
#define STORE_MEM_H

#include "store/engine.h"
#include "store/mem_map.h"

struct mem_blob;
struct mem {
    pthread_mutex_t lock; /* guards all below */
    struct mem_map maps[SPACE_CHUNKS];
    uint64_t seq;
    struct mem_blob *blobs; /* sealed and suspended, by id */
};

void mem_blobs_free(struct mem *m);

int mem_staging_new(struct store *s, const uint8_t id[BLOB_ID], uint64_t hint,
                    struct staging **ret);
int mem_staging_write(struct staging *g, const void *bytes, size_t n);
ssize_t mem_staging_read(struct staging *g, uint64_t offset, void *buf, size_t n);
int mem_staging_suspend(struct staging *g, struct buf *state, uint64_t *ret_durable_bytes);
int mem_staging_resume(struct store *s, const uint8_t id[BLOB_ID], struct slice state,
                       struct staging **ret, uint64_t *ret_durable_bytes);
int mem_staging_finish(struct staging *g, struct store_batch *b, struct buf *layout);
void mem_staging_free(struct staging *g, enum staging_end end);
void mem_staging_discard(struct store *s, const uint8_t id[BLOB_ID], struct slice state);
int mem_content_open(struct store *s, const uint8_t id[BLOB_ID], uint64_t size_bytes,
                     struct slice layout, struct content **ret);
ssize_t mem_content_read(struct content *c, uint64_t offset, void *buf, size_t n);
int mem_content_lend(struct content *c, uint64_t offset, size_t n, struct blob_loan *ret);
void mem_content_close(struct content *c);
int mem_content_delete(struct store *s, const uint8_t id[BLOB_ID], struct slice layout);

#endif
