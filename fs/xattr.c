/* Extended attributes: those of a node, and user.infrafs.error, the last refusal of the caller. */
#include "fs/engine.h"

#include "fs/scratch.h"
#include "tree.h"

#include <errno.h>

#define ERROR_XATTR "user.infrafs.error"

/* Only these can belong to a node. The kernel and tools ask for security.* and system.* at every
 * turn. */
static bool is_user(const char *name)
{
    return strncmp(name, "user.", 5) == 0;
}

/* And this can be read: files of an image have it. */
static bool is_readable(const char *name)
{
    return is_user(name) || strcmp(name, "security.capability") == 0;
}

static bool is_scratch(struct fs *fs, struct inode *inode)
{
    guard(&fs->lock);

    return inode->scratch != NULL;
}

static void reply_value(struct call *c, int r, struct slice value, size_t size)
{
    if (r < 0)
        fuse_reply_err(c->req, -r);
    else if (size == 0)
        fuse_reply_xattr(c->req, value.len);
    else if (value.len > size)
        fuse_reply_err(c->req, ERANGE);
    else
        fuse_reply_buf(c->req, value.data, value.len);
    call_end(c);
}

void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct slice value = {0};
    struct call c;
    struct inode *inode;
    const char *path;
    int r;

    if (!is_readable(name)) {
        fuse_reply_err(req, strncmp(name, "system.posix_acl", 16) == 0 ? EOPNOTSUPP : ENODATA);
        return;
    }
    if (call_begin(&c, req) < 0)
        return;
    inode = inode_of(c.fs, ino);
    path = inode_path(c.fs, &c.op, inode);
    if (strcmp(name, ERROR_XATTR) == 0) {
        value = slice_str(errors_find(c.fs->errors, &c.op, c.op.uid, path));
        r = value.data != NULL ? 0 : -ENODATA;
    } else if (is_scratch(c.fs, inode)) {
        r = -ENODATA;
    } else {
        r = tree_getxattr(c.fs->options.tree, &c.op, path, name, &value);
        r = r == -ENOTSUP ? -ENODATA : r;
    }
    reply_value(&c, r, value, size);
}

/* Of a change. False: it is answered. */
static bool change_begin(struct call *c, fuse_req_t req, fuse_ino_t ino, const char *name,
                         int refusal, const char **path)
{
    struct inode *inode;

    if (!is_user(name)) {
        fuse_reply_err(req, EOPNOTSUPP);
        return false;
    }
    if (call_begin(c, req) < 0)
        return false;
    inode = inode_of(c->fs, ino);
    *path = inode_path(c->fs, &c->op, inode);
    if (strcmp(name, ERROR_XATTR) == 0 || is_scratch(c->fs, inode)) {
        call_reply(c, refusal);
        return false;
    }
    return true;
}

void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags)
{
    struct call c;
    const char *path;
    int r;

    (void)flags;
    if (!change_begin(&c, req, ino, name, -EOPNOTSUPP, &path))
        return;
    r = tree_setxattr(c.fs->options.tree, &c.op, path, name,
                      slice_of(size > 0 ? value : "", size));
    call_reply(&c, r == -ENOTSUP ? r : call_changed(&c, "attributes", path, r));
}

static int add_name(void *ctx, const char *name, const struct node_stat *st)
{
    (void)st;
    buf_add(ctx, name, strlen(name) + 1);
    return 0;
}

void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    autobuf names = {.limit_bytes = 65536};
    struct call c;
    struct inode *inode;
    const char *path;
    int r = 0;

    if (call_begin(&c, req) < 0)
        return;
    inode = inode_of(c.fs, ino);
    path = inode_path(c.fs, &c.op, inode);
    if (!is_scratch(c.fs, inode))
        r = tree_listxattr(c.fs->options.tree, &c.op, path, add_name, &names);
    if (r == -ENOTSUP)
        r = 0;
    if (r == 0 && errors_find(c.fs->errors, &c.op, c.op.uid, path) != NULL)
        add_name(&names, ERROR_XATTR, NULL);
    reply_value(&c, r, buf_slice(&names), size);
}

void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct call c;
    const char *path;
    int r;

    if (!change_begin(&c, req, ino, name, -ENODATA, &path))
        return;
    r = tree_setxattr(c.fs->options.tree, &c.op, path, name, slice_of(NULL, 0));
    call_reply(&c, r == -ENOTSUP ? -ENODATA : call_changed(&c, "attributes", path, r));
}
