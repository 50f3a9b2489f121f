/* The table of inodes: the nodes that the kernel knows, by parent and name. */
#include "fs/engine.h"

#include "base/alloc.h"
#include "fs/scratch.h"
#include "tree.h"

#include <errno.h>
#include <utlist.h>

struct inode *inode_of(struct fs *fs, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &fs->root : (struct inode *)(uintptr_t)ino;
}

fuse_ino_t inode_id(const struct fs *fs, const struct inode *inode)
{
    return inode == &fs->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)inode;
}

struct key_space {
    uint64_t room[(sizeof(struct inode_key) + FS_NAME_MAX + 8) / 8];
};

static unsigned key_fill(struct inode_key *key, const struct inode *parent, const char *name,
                         size_t len, uint64_t owner)
{
    key->parent = (uint64_t)(uintptr_t)parent;
    key->owner = owner;
    memcpy(key->name, name, len);
    key->name[len] = 0;
    return (unsigned)(sizeof *key + len);
}

struct inode *inode_find(struct fs *fs, const struct inode *parent, const char *name,
                         uint64_t owner)
{
    struct key_space space;
    struct inode_key *key = (struct inode_key *)space.room;
    struct inode *found = NULL;
    size_t len = strlen(name);
    unsigned key_len;

    if (len > FS_NAME_MAX)
        return NULL;
    key_len = key_fill(key, parent, name, len, owner);
    HASH_FIND(hh, fs->inodes, key, key_len, found);
    return found;
}

static void list(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
                 uint64_t owner)
{
    size_t len = strlen(name);

    inode->key = xmalloc(sizeof *inode->key + len + 1);
    inode->key_len = key_fill(inode->key, parent, name, len, owner);
    inode->parent = parent;
    inode->listed = true;
    inode_ref(parent);
    HASH_ADD_KEYPTR(hh, fs->inodes, inode->key, inode->key_len, inode);
    DL_PREPEND(parent->children, inode);
}

struct inode *inode_make(struct fs *fs, struct inode *parent, const char *name, uint64_t owner)
{
    struct inode *inode = xcalloc(1, sizeof *inode);

    inode->generation = ++fs->generation;
    DL_APPEND2(fs->every_inode, inode, older, newer);
    list(fs, inode, parent, name, owner);
    return inode;
}

void inode_ref(struct inode *inode)
{
    inode->refs++;
}

void inode_detach(struct fs *fs, struct inode *inode)
{
    if (!inode->listed)
        return;
    HASH_DEL(fs->inodes, inode);
    DL_DELETE(inode->parent->children, inode);
    inode->listed = false;
}

/* The parent and the key stay with an inode that was detached, for messages and notifications. */
static void release(struct fs *fs, struct inode *inode)
{
    while (inode != NULL && inode != &fs->root && inode->refs == 0 && inode->nlookup == 0) {
        struct inode *parent = inode->parent;

        inode_detach(fs, inode);
        DL_DELETE2(fs->every_inode, inode, older, newer);
        free(inode->key);
        free(inode);
        parent->refs--;
        inode = parent;
    }
}

void inode_unref(struct fs *fs, struct inode *inode)
{
    inode->refs--;
    release(fs, inode);
}

void inode_move(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
                uint64_t owner)
{
    struct inode *old_parent = inode->parent;
    struct inode *taken = inode_find(fs, parent, name, owner);

    if (taken == inode)
        return;
    if (taken != NULL)
        inode_detach(fs, taken);
    inode_detach(fs, inode);
    free(inode->key);
    list(fs, inode, parent, name, owner);
    inode_unref(fs, old_parent);
}

bool inode_gone(struct fs *fs, const struct inode *inode)
{
    guard(&fs->lock);

    return !inode->listed && inode != &fs->root;
}

void inode_forget(struct fs *fs, struct inode *inode, uint64_t n)
{
    guard(&fs->lock);

    inode->nlookup = inode->nlookup > n ? inode->nlookup - n : 0;
    release(fs, inode);
}

void inodes_free(struct fs *fs)
{
    scratch_drop_all(fs);
    HASH_CLEAR(hh, fs->inodes);
    while (fs->every_inode != NULL) {
        struct inode *inode = fs->every_inode;

        DL_DELETE2(fs->every_inode, inode, older, newer);
        free(inode->key);
        free(inode);
    }
}

char *inode_write_path(const struct fs *fs, const struct inode *inode, char *buf)
{
    char *p = buf + FS_PATH_MAX;

    *p = 0;
    for (; inode != &fs->root; inode = inode->parent) {
        size_t len = inode->key_len - sizeof *inode->key;

        if ((size_t)(p - buf) < len + 1)
            return NULL;
        if (*p != 0)
            *--p = '/';
        p -= len;
        memcpy(p, inode->key->name, len);
    }
    return p;
}

const char *inode_path(struct fs *fs, struct op *op, const struct inode *inode)
{
    char buf[FS_PATH_MAX + 1];
    const char *path;

    pthread_mutex_lock(&fs->lock);
    path = inode_write_path(fs, inode, buf);
    pthread_mutex_unlock(&fs->lock);
    /* A subtree may be moved below a deeper folder after its nodes were looked up. */
    return path != NULL ? op_strdup(op, path) : ".too-deep/";
}

int inode_child_path(struct fs *fs, struct op *op, const struct inode *parent, const char *name,
                     const char **ret)
{
    const char *folder = inode_path(fs, op, parent);
    const char *path;
    int r;

    path = folder[0] != 0 ? op_printf(op, "%s/%s", folder, name) : op_strdup(op, name);
    r = tree_path_check(slice_str(path));
    if (r == 0)
        *ret = path;
    return r;
}
