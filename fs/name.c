/* Names coming, going and moving. */
#include "fs/engine.h"

#include "fs/scratch.h"
#include "tree.h"

#include <errno.h>
#include <linux/fs.h>

void fs_mkdir(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode)
{
    struct call c;
    struct inode *parent;
    const char *path;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    parent = inode_of(c.fs, parent_ino);
    r = inode_child_path(c.fs, &c.op, parent, name, &path);
    if (r < 0) {
        call_reply(&c, r);
        return;
    }
    r = tree_mkdir(c.fs->options.tree, &c.op, path, mode & 07777);
    r = call_changed(&c, "mkdir", path, r);
    if (r < 0)
        call_reply(&c, r);
    else
        attr_reply_entry(&c, parent, name, path);
}

/* The name leads nowhere now; the kernel knows, it asked for it. */
static void forget_name(struct fs *fs, struct inode *parent, const char *name)
{
    struct inode *inode;
    guard(&fs->lock);

    inode = inode_find(fs, parent, name, 0);
    if (inode == NULL)
        return;
    inode_ref(inode);
    inode_detach(fs, inode);
    inode_unref(fs, inode);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent_ino, const char *name, bool folder)
{
    struct inode *inode = NULL;
    struct call c;
    struct inode *parent;
    struct scratch *s;
    const char *path;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    parent = inode_of(c.fs, parent_ino);
    s = scratch_find(&c, parent, name, &inode);
    if (s != NULL) {
        scratch_remove(c.fs, inode);
        scratch_unref(s);
        call_reply(&c, folder ? -ENOTDIR : 0);
        return;
    }
    r = inode_child_path(c.fs, &c.op, parent, name, &path);
    if (r == 0) {
        r = folder ? tree_rmdir(c.fs->options.tree, &c.op, path)
                   : tree_unlink(c.fs->options.tree, &c.op, path);
        if (r == 0)
            forget_name(c.fs, parent, name);
        r = call_changed(&c, "delete", path, r);
    }
    call_reply(&c, r);
}

void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, true);
}

void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, false);
}

static void symlink_scratch(struct call *c, struct inode *parent, const char *name,
                            const char *target, bool secret)
{
    struct fuse_entry_param entry;
    struct scratch *s = NULL;
    int r = scratch_create(c, parent, name, target, 0777, secret, &entry, &s);

    if (r == 0) {
        if (fuse_reply_entry(c->req, &entry) == -ENOENT)
            inode_forget(c->fs, inode_of(c->fs, entry.ino), 1);
        scratch_unref(s);
        call_end(c);
    } else {
        call_reply(c, r);
    }
}

void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent_ino, const char *name)
{
    struct call c;
    struct inode *parent;
    const char *path;
    bool secret = false;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    parent = inode_of(c.fs, parent_ino);
    r = inode_child_path(c.fs, &c.op, parent, name, &path);
    if (r == 0 && scratch_link_name(name))
        r = scratch_wanted(&c, parent, &secret);
    if (r > 0) {
        symlink_scratch(&c, parent, name, target, secret);
        return;
    }
    if (r == 0) {
        r = tree_symlink(c.fs->options.tree, &c.op, path, target);
        /* EEXIST is how ln -sfn learns that it must rename over it. */
        r = r == -EEXIST ? r : call_changed(&c, "symlink", path, r);
    }
    if (r < 0)
        call_reply(&c, r);
    else
        attr_reply_entry(&c, parent, name, path);
}

struct move {
    struct inode *parent, *new_parent;
    const char *name, *new_name;
    const char *path, *new_path;
    unsigned flags; /* enum node_rename_flags */
};

/* Does the new name count as private? Not if a node of the tree has it. */
static int to_scratch(struct call *c, const struct move *m, bool *ret_secret)
{
    struct node_stat st = {0};

    if (!scratch_name(m->new_name, false))
        return 0;
    if (tree_stat(c->fs->options.tree, &c->op, m->new_path, &st) == 0)
        return 0;
    op_forgive(&c->op);
    return scratch_wanted(c, m->new_parent, ret_secret);
}

static int rename_scratch(struct call *c, struct inode *inode, struct scratch *s,
                          const struct move *m)
{
    bool secret = false;
    int r = to_scratch(c, m, &secret);

    if (r < 0)
        return r;
    if (r > 0) {
        struct inode *taken = NULL;
        struct scratch *over = scratch_find(c, m->new_parent, m->new_name, &taken);

        if (over != NULL && over != s)
            scratch_remove(c->fs, taken);
        scratch_unref(over);
        scratch_move(c->fs, inode, m->new_parent, m->new_name, c->op.uid);
        return 0;
    }
    r = scratch_publish(c, s, m->new_path, m->flags);
    if (r == 0)
        scratch_become_node(c->fs, inode, m->new_parent, m->new_name);
    return r == -EEXIST ? r : call_changed(c, "write", m->new_path, r);
}

/* The inode of a node of the tree, with a reference; NULL. */
static struct inode *find_node(struct fs *fs, struct inode *parent, const char *name)
{
    struct inode *inode;
    guard(&fs->lock);

    inode = inode_find(fs, parent, name, 0);
    if (inode != NULL)
        inode_ref(inode);
    return inode;
}

static int rename_node(struct call *c, const struct move *m)
{
    struct inode *inode = find_node(c->fs, m->parent, m->name);
    struct inode *taken = NULL;
    struct scratch *over = NULL;
    bool secret = false;
    int r = to_scratch(c, m, &secret);

    if (inode == NULL)
        return -ENOENT;
    if (r > 0) {
        r = scratch_from_node(c, inode, m->path, m->new_parent, m->new_name, secret);
        r = call_changed(c, "delete", m->path, r);
    } else if (r == 0) {
        r = tree_rename(c->fs->options.tree, &c->op, m->path, m->new_path, m->flags);
        if (r == 0)
            over = scratch_find(c, m->new_parent, m->new_name, &taken);
        if (over != NULL)
            scratch_remove(c->fs, taken);
        scratch_unref(over);
        pthread_mutex_lock(&c->fs->lock);
        if (r == 0)
            inode_move(c->fs, inode, m->new_parent, m->new_name, 0);
        pthread_mutex_unlock(&c->fs->lock);
        r = r == -EXDEV || r == -EEXIST ? r : call_changed(c, "rename", m->path, r);
    }
    pthread_mutex_lock(&c->fs->lock);
    inode_unref(c->fs, inode);
    pthread_mutex_unlock(&c->fs->lock);
    return r;
}

static int rename_any(struct call *c, struct move *m)
{
    struct inode *inode = NULL;
    struct scratch *s;
    int r = inode_child_path(c->fs, &c->op, m->parent, m->name, &m->path);

    if (r == 0)
        r = inode_child_path(c->fs, &c->op, m->new_parent, m->new_name, &m->new_path);
    if (r < 0)
        return r;
    s = scratch_find(c, m->parent, m->name, &inode);
    if (s == NULL)
        return rename_node(c, m);
    r = rename_scratch(c, inode, s, m);
    scratch_unref(s);
    return r;
}

void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags)
{
    struct move m = {.name = name, .new_name = new_name};
    struct call c;

    if ((flags & ~(unsigned)RENAME_NOREPLACE) != 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (call_begin(&c, req) < 0)
        return;
    m.parent = inode_of(c.fs, parent);
    m.new_parent = inode_of(c.fs, new_parent);
    m.flags = flags != 0 ? (unsigned)NODE_NOREPLACE : 0;
    call_reply(&c, rename_any(&c, &m));
}

void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    (void)ino;
    (void)parent;
    (void)name;
    fuse_reply_err(req, EPERM);
}

void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    (void)parent;
    (void)name;
    (void)mode;
    (void)device;
    fuse_reply_err(req, EPERM);
}
