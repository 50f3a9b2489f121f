/* merge.h: layers, one above the other, as one tree (OCI image-spec 1.1, "Applying Changesets").
 * Made as it is asked for: a folder is the stack of the layers' folders of that path. */
#ifndef IMAGES_ROOTFS_MERGE_H
#define IMAGES_ROOTFS_MERGE_H

#include "images/rootfs/index.h"
#include "op/op.h"

struct merge {
    const struct layer_index *const *layers; /* the uppermost first; borrowed */
    unsigned n_layers;
};

/* Where a name leads to. */
struct merged {
    unsigned layer; /* where `inode` is; MERGE_NOWHERE: a folder that no layer has as an entry */
    uint32_t number;
    struct index_inode inode;
    struct merge_at *stack; /* a folder: all of it, the uppermost first; in the op */
    unsigned n_stack;
};
#define MERGE_NOWHERE UINT32_MAX

struct merge_at {
    unsigned layer;
    struct index_inode inode;
};

/* A path of the merged tree, "" for the top. -ENOENT, -ENOTDIR; -EIO: an index is damaged. */
int merge_find(struct op *op, const struct merge *m, const char *path, struct merged *ret);
/* Every name of a folder once, in the order of their bytes, through f; its non-zero result ends it
 * and is returned. Its children have no stack to go on with. */
int merge_list(struct op *op, const struct merge *m, const struct merged *folder,
               int (*f)(void *ctx, const char *name, const struct merged *child), void *ctx);

#endif
