/* layer.h: layers as what is in them: their indexes, and any bytes of their archives.
 *
 * The index of a layer is made when it is first looked at, by who looks; others wait for it. It is
 * a blob, named by a row in the partition "images-layers"; derived: it may be lost, and is made
 * anew. Any thread. */
#ifndef IMAGES_ROOTFS_LAYER_H
#define IMAGES_ROOTFS_LAYER_H

#include "images/rootfs/chunks.h"
#include "images/rootfs/index.h"
#include "op/op.h"
#include "store/blob.h"

#include <pthread.h>
#include <uthash.h>

#define PART_LAYERS       SLICE("images-layers")
#define LAYER_CACHE_BYTES (48u << 20)
#define LAYER_SLICE_BYTES (2u << 20)  /* of the unpacked archive, counted from a point */
#define LAYER_DECODERS    4u          /* at work at once; as many rest */
#define LAYER_REST_BYTES  (64u << 20) /* of decoders that rest, unless it is only one */
#define LAYER_BUILDS      2u          /* at once */

struct layer {
    UT_hash_handle hh;
    struct digest digest;
    struct layers *layers;
    unsigned refs;     /* guarded by layers->lock */
    uint64_t id;       /* of this opening: names its pieces in the cache */
    struct blob *blob; /* the index */
    struct layer_index index;
};

struct decoder;
struct opening;

struct layers {
    struct store *store;
    struct chunks *chunks;
    bool stop;            /* atomic */
    pthread_mutex_t lock; /* guards: what follows */
    pthread_cond_t changed;
    struct layer *open;
    struct opening *opening;
    uint64_t last_id;
    unsigned building, decoding;
    struct decoder *resting; /* list, the one used last comes last */
};

struct layers *layers_new(struct store *store); /* returns new; borrows */
void layers_stop(struct layers *ls);            /* who makes an index gives up */
void layers_free(struct layers *ls);            /* all layers are closed */

/* *ret is a reference. -EBADMSG: no tar archive; -EFBIG: above a limit; -ENOENT: not stored. */
int layer_open(struct op *op, struct layers *ls, const struct digest *d, struct layer **ret);
void layer_unref(struct layer *l);

/* The bytes of a layer; pinned as long as there is a reference. */
struct layer_bytes {
    unsigned refs; /* atomic */
    struct blob *blob;
};
int layer_bytes_open(struct layers *ls, const struct digest *d, struct layer_bytes **ret);
void layer_bytes_unref(struct layer_bytes *b);
/* Bytes of the archive, unpacked. Short only at its end. */
ssize_t layer_read(struct layer *l, struct layer_bytes *bytes, uint64_t offset, void *buf,
                   size_t n);
/* Frees decoders that rest since then, monotonic. */
void layers_rest(struct layers *ls, int64_t before_ms);
/* Drops the indexes of layers that are no longer stored. */
int layers_sweep(struct layers *ls);

#endif
