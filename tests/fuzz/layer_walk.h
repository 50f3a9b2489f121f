/* layer_walk.h: looks at everything that an index leads to, as far as it goes. */
#ifndef LAYER_WALK_H
#define LAYER_WALK_H

#include "base/scope.h"
#include "bytes.h"
#include "images/rootfs/build.h"
#include "images/rootfs/merge.h"
#include "images/rootfs/tar.h"

#include <errno.h>
#include <stdio.h>

#define WALK_NODES 300u
#define WALK_DEPTH 6u

static inline int bytes_read_all(void *ctx, uint64_t offset, void *buf, size_t n)
{
    return bytes_read(ctx, offset, buf, n) == (ssize_t)n ? 0 : -EBADMSG;
}

struct layer_walk {
    const struct merge *merge;
    unsigned nodes, depth;
    const char *folder;
};

static inline void layer_walk_folder(struct layer_walk *w, const char *folder);

static inline int layer_walk_child(void *ctx, const char *name, const struct merged *child)
{
    struct layer_walk *w = ctx;
    char path[2000], text[INDEX_TEXT_MAX + 1];
    struct merged found;
    autobuf xattrs = {0};
    struct op op;

    if (name[0] == 0 || strchr(name, '/') != NULL || ++w->nodes > WALK_NODES)
        return 1;
    snprintf(path, sizeof path, "%s%s%s", w->folder, w->folder[0] != 0 ? "/" : "", name);
    op_init(&op, DOOR_INTERNAL, NULL);
    merge_find(&op, w->merge, path, &found);
    op_done(&op);
    if (child->layer != MERGE_NOWHERE) {
        const struct layer_index *x = w->merge->layers[child->layer];
        struct slice all, key, value;

        if (child->inode.type == INDEX_SYMLINK)
            layer_index_text_get(x, &child->inode, text);
        layer_index_xattrs_get(x, &child->inode, &xattrs);
        all = buf_slice(&xattrs);
        while (tar_xattr_next(&all, &key, &value) == 1)
            ;
    }
    if (child->inode.type == INDEX_FOLDER && w->depth < WALK_DEPTH)
        layer_walk_folder(w, path);
    return 0;
}

static inline void layer_walk_folder(struct layer_walk *w, const char *folder)
{
    const char *before = w->folder;
    struct merged found;
    struct op op;

    op_init(&op, DOOR_INTERNAL, NULL);
    w->folder = folder;
    w->depth++;
    if (merge_find(&op, w->merge, folder, &found) == 0)
        merge_list(&op, w->merge, &found, layer_walk_child, w);
    w->depth--;
    w->folder = before;
    op_done(&op);
}

/* The same index twice, so that there is something to merge; and every point of it. */
static inline void layer_walk_index(const struct layer_index *x)
{
    const struct layer_index *layers[] = {x, x};
    struct merge merge = {layers, 2};
    struct layer_walk w = {.merge = &merge};

    layer_walk_folder(&w, "");
    for (uint64_t at = 0; at < 5; at++) {
        struct index_point p;
        autobuf window = {0};
        uint32_t number;
        uint64_t end;

        if (layer_index_point_find(x, at * (x->foot.stream_bytes / 5), &p, &number, &end) == 0)
            layer_index_window_get(x, &p, &window);
    }
}

#endif
