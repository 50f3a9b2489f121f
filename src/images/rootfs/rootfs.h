/* rootfs.h: <repo>/@manifests/<digest>/rootfs/: the root file system of an image, made of its
 * layers without unpacking them. */
#ifndef IMAGES_ROOTFS_ROOTFS_H
#define IMAGES_ROOTFS_ROOTFS_H

#include "images/tree_place.h"

#define ROOTFS_LAYERS_MAX 512u

struct rootfs;
struct rootfs *rootfs_new(struct store *store); /* returns new; borrows */
void rootfs_stop(struct rootfs *fs);            /* who makes an index gives up */
void rootfs_free(struct rootfs *fs);            /* NULL is fine; nobody is in it any more */
/* Lets go of what was not used lately. Called every few seconds. */
void rootfs_rest(struct rootfs *fs, int64_t now_ms);
/* Drops the indexes of layers that are no longer stored. */
void rootfs_sweep(struct rootfs *fs);

/* Does the folder of this manifest have a rootfs? All of its layers are archives. */
bool rootfs_is_shown(const struct manifest *m);
/* What of `rest` is below rootfs ("" for itself), or NULL. */
const char *rootfs_path(const char *rest);

/* node_ops of PLACE_MANIFEST, where rootfs_path() of its rest is not NULL. The repository may be
 * read. */
int rootfs_node_stat(struct op *op, struct images *im, const struct place *p,
                     struct node_stat *ret);
int rootfs_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                     void *ctx);
int rootfs_node_open(struct op *op, struct images *im, const struct place *p,
                     struct node_file **ret);
int rootfs_node_readlink(struct op *op, struct images *im, const struct place *p, const char **ret);
int rootfs_node_getxattr(struct op *op, struct images *im, const struct place *p, const char *name,
                         struct slice *ret);
int rootfs_node_listxattr(struct op *op, struct images *im, const struct place *p,
                          node_emit_fn *emit, void *ctx);

#endif
