/* Extended attributes: only files of an image's root file system have any. */
#include "identity/identity.h"
#include "images/rootfs/rootfs.h"

#include <errno.h>

static int rootfs_place(struct op *op, const char *path, struct place *ret)
{
    int r = place_parse(op, path, ret);

    if (r == 0 && (ret->kind != PLACE_MANIFEST || rootfs_path(ret->rest) == NULL))
        return -ENOTSUP;
    if (r == 0 && (!repository_name_valid(slice_str(ret->name)) ||
                   !identity_may(op, POLICY_READ, "images/%s", ret->name)))
        return -ENOENT;
    return r;
}

int tree_node_getxattr(struct op *op, void *self, const char *path, const char *name,
                       struct slice *ret)
{
    struct place p;
    int r = rootfs_place(op, path, &p);

    return r == 0 ? rootfs_node_getxattr(op, self, &p, name, ret) : r;
}

int tree_node_listxattr(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx)
{
    struct place p;
    int r = rootfs_place(op, path, &p);

    return r == 0 ? rootfs_node_listxattr(op, self, &p, emit, ctx) : r;
}
