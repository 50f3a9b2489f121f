/* chunks.h: pieces of indexes and of unpacked layers that were used last, up to a number of bytes.
 * A piece that several ask for at once is loaded once. Any thread. */
#ifndef IMAGES_ROOTFS_CHUNKS_H
#define IMAGES_ROOTFS_CHUNKS_H

#include <stddef.h>
#include <stdint.h>

struct chunk {
    unsigned refs; /* atomic */
    size_t len;
    uint8_t data[];
};
struct chunk *chunk_new(size_t len); /* returns new, or NULL: no memory */
void chunk_unref(struct chunk *c);   /* NULL is fine */

struct chunks;
struct chunks *chunks_new(size_t limit_bytes); /* returns new */
void chunks_free(struct chunks *c);

/* Makes the piece: 0 and a new one, or a negative errno, which all that wait get. */
typedef int chunk_load_fn(void *ctx, uint64_t number, struct chunk **ret);
/* *ret is a reference. */
int chunks_get(struct chunks *c, uint64_t owner, uint64_t number, chunk_load_fn *load, void *ctx,
               struct chunk **ret);
/* One more that came by: takes the reference. */
void chunks_put(struct chunks *c, uint64_t owner, uint64_t number, struct chunk *chunk);

#endif
