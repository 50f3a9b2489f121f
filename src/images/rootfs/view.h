/* view.h: the layers of a manifest, open. */
#ifndef IMAGES_ROOTFS_VIEW_H
#define IMAGES_ROOTFS_VIEW_H

#include "images/rootfs/layer.h"
#include "images/rootfs/merge.h"
#include "images/rootfs/rootfs.h"

struct view {
    UT_hash_handle hh;
    struct rootfs *fs;
    unsigned refs;   /* guarded by fs->lock, as used_ms, links_generation and opened */
    int64_t used_ms; /* monotonic */
    bool opened;     /* merge, layers and indexes are set, and stay */
    bool linked;     /* at links_generation, the repository had all of its layers */
    uint64_t links_generation;
    int64_t pushed_unix_ms;
    struct digest *digests; /* the uppermost layer first */
    struct layer **layers;
    const struct layer_index **indexes;
    struct merge merge;
    size_t key_len;
    char key[]; /* repository, NUL, digest */
};

struct rootfs {
    struct layers *layers;
    pthread_mutex_t lock; /* guards: views */
    struct view *views;   /* in order of arrival */
};

/* The view of a manifest, which is in the repository now; a reference. */
int view_get(struct op *op, struct images *im, const struct place *p, struct view **ret);
void view_unref(struct view *v);
/* Opens its layers, which the repository has now. */
int view_open(struct op *op, struct images *im, const struct place *p, struct view *v);

#endif
