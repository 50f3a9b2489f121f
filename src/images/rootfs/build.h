/* build.h: makes the index of a layer, in one pass over it. */
#ifndef IMAGES_ROOTFS_BUILD_H
#define IMAGES_ROOTFS_BUILD_H

#include "images/rootfs/index.h"
#include "images/rootfs/tar.h"

#define LAYER_SPAN_BYTES (1u << 20) /* from one point to the next, at least */

/* What a layer may make us hold and do. */
struct layer_limits {
    unsigned entries;
    size_t texts_bytes;   /* names, targets of links, extended attributes */
    unsigned ratio;       /* unpacked to packed, */
    uint64_t free_bytes;  /* beyond this much */
    uint64_t block_bytes; /* of gzip between two places where it can be entered */
};
extern const struct layer_limits layer_limits; /* those of the daemon */

/* The names of a layer while it is read. */
struct sapling;
struct sapling *sapling_new(const struct layer_limits *limits); /* returns new; borrows */
void sapling_free(struct sapling *s);
int sapling_add(void *self, const struct tar_entry *e, struct buf *why); /* a tar_entry_fn */

/* Where the index goes: appended. */
struct layer_index_sink {
    int (*write)(void *ctx, const void *bytes, size_t n);
    void *ctx;
    uint64_t offset; /* so far; kept by layer_index_sink_write() */
};
int layer_index_sink_write(struct layer_index_sink *sink, const void *bytes, size_t n);
/* Names, inodes, points and texts, and the foot behind them; kind and stream_bytes are set. */
int sapling_write(struct sapling *s, struct slice points, struct index_foot *foot,
                  struct layer_index_sink *sink);

/* The whole of it: reads the layer, writes its index. -EBADMSG: it is no tar archive; -EFBIG: it is
 * above a limit; both with the reason in why. -ECANCELED if *stop becomes true. */
int layer_index_build(const struct unpack_source *layer, const struct layer_limits *limits,
                      const bool *stop, struct layer_index_sink *sink, struct buf *why);

#endif
