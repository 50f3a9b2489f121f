#include "fs/scratch.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "fs/scratch_file.h"
#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#define SCRATCH_PER_USER 1024u
#define SCRATCH_TOTAL    8192u

bool scratch_mine(const struct scratch *s, uid_t uid)
{
    return s->owner == uid;
}

const char *scratch_target(const struct scratch *s)
{
    return s->target;
}

bool scratch_secret(const struct scratch *s)
{
    return s->secret;
}

struct scratch *scratch_of(struct fs *fs, struct inode *inode)
{
    struct scratch *s;
    guard(&fs->lock);

    s = inode->scratch;
    if (s != NULL)
        atomic_fetch_add(&s->refs, 1);
    return s;
}

int scratch_wanted(struct call *c, struct inode *parent, bool *ret_secret)
{
    const char *folder = inode_path(c->fs, &c->op, parent);
    struct node_stat st = {0};
    int r;

    r = tree_stat(c->fs->options.tree, &c->op, folder, &st);
    if (r < 0)
        return r;
    *ret_secret = (st.flags & NODE_SECRET) != 0;
    return st.type == NODE_DIR && (st.flags & NODE_WRITABLE) != 0;
}

/* Everything about a scratch file that its inode says; s->lock is held or nobody has s yet. */
static void fill(struct fs *fs, const struct scratch *s, const char *path, struct stat *ret)
{
    struct node_stat st = {
        .type = s->target != NULL ? NODE_SYMLINK : NODE_FILE,
        .mode = s->target != NULL ? 0777 : s->mode,
        .uid = s->uid,
        .gid = s->gid,
        .size_bytes = s->size_bytes,
        .mtime_ns = s->mtime_ns,
    };

    attr_fill(fs, path, &st, ret);
    ret->st_mode = (ret->st_mode & S_IFMT) | st.mode; /* 0 means 0 here */
}

void scratch_attr(struct fs *fs, struct scratch *s, const char *path, struct stat *ret)
{
    guard(&s->lock);

    fill(fs, s, path, ret);
}

struct scratch *scratch_find(struct call *c, struct inode *parent, const char *name,
                             struct inode **ret_inode)
{
    struct inode *inode = NULL;
    guard(&c->fs->lock);

    if (parent->n_scratch > 0)
        inode = inode_find(c->fs, parent, name, (uint64_t)c->op.uid + 1);
    if (inode == NULL)
        return NULL;
    atomic_fetch_add(&inode->scratch->refs, 1);
    *ret_inode = inode;
    return inode->scratch;
}

bool scratch_lookup(struct call *c, struct inode *parent, const char *name)
{
    struct fuse_entry_param entry = {0};
    struct scratch *s = NULL;
    struct inode *inode = NULL;

    pthread_mutex_lock(&c->fs->lock);
    if (parent->n_scratch > 0)
        inode = inode_find(c->fs, parent, name, (uint64_t)c->op.uid + 1);
    if (inode != NULL) {
        s = inode->scratch;
        atomic_fetch_add(&s->refs, 1);
        inode->nlookup++;
        entry.ino = inode_id(c->fs, inode);
        entry.generation = inode->generation;
    }
    pthread_mutex_unlock(&c->fs->lock);
    if (s == NULL)
        return false;
    scratch_attr(c->fs, s, inode_path(c->fs, &c->op, inode), &entry.attr);
    if (fuse_reply_entry(c->req, &entry) == -ENOENT)
        inode_forget(c->fs, inode, 1);
    scratch_unref(s);
    call_end(c);
    return true;
}

/* fs->lock is held. The inode keeps one reference of s, and is kept by the list of scratch. */
static void enter(struct fs *fs, struct inode *inode, struct scratch *s)
{
    atomic_fetch_add(&s->refs, 1);
    inode->scratch = s;
    inode->type = (uint8_t)(s->target != NULL ? NODE_SYMLINK : NODE_FILE);
    inode->parent->n_scratch++;
    inode_ref(inode);
    s->inode = inode;
    DL_APPEND(fs->scratches, s);
    fs->n_scratches++;
}

/* fs->lock is held. The inode is a plain one again. */
static void leave(struct fs *fs, struct scratch *s)
{
    struct inode *inode = s->inode;

    DL_DELETE(fs->scratches, s);
    fs->n_scratches--;
    s->inode = NULL;
    inode->scratch = NULL;
    inode->parent->n_scratch--;
    inode_unref(fs, inode);
}

static int check_quota(struct call *c)
{
    unsigned mine = 0;

    for (struct scratch *s = c->fs->scratches; s != NULL; s = s->next)
        mine += s->owner == c->op.uid;
    if (mine < SCRATCH_PER_USER && c->fs->n_scratches < SCRATCH_TOTAL)
        return 0;
    return op_fail(&c->op, EDQUOT, "too many temporary files; they are forgotten after an hour");
}

int scratch_create(struct call *c, struct inode *parent, const char *name, const char *target,
                   mode_t mode, bool secret, struct fuse_entry_param *ret_entry,
                   struct scratch **ret)
{
    struct scratch *s = scratch_new(c, target, scratch_probe_name(name) ? 0 : mode, secret);
    struct inode *inode;
    int r;

    memset(ret_entry, 0, sizeof *ret_entry);
    fill(c->fs, s, name, &ret_entry->attr);
    pthread_mutex_lock(&c->fs->lock);
    r = check_quota(c);
    if (r == 0 && inode_find(c->fs, parent, name, (uint64_t)c->op.uid + 1) != NULL)
        r = -EEXIST;
    if (r == 0) {
        inode = inode_make(c->fs, parent, name, (uint64_t)c->op.uid + 1);
        inode->nlookup = 1;
        enter(c->fs, inode, s);
        ret_entry->ino = inode_id(c->fs, inode);
        ret_entry->generation = inode->generation;
    }
    pthread_mutex_unlock(&c->fs->lock);
    if (r < 0)
        scratch_unref(s);
    else
        *ret = s;
    return r;
}

void scratch_remove(struct fs *fs, struct inode *inode)
{
    struct scratch *s;

    pthread_mutex_lock(&fs->lock);
    s = inode->scratch;
    if (s != NULL) {
        inode_detach(fs, inode);
        leave(fs, s);
    }
    pthread_mutex_unlock(&fs->lock);
    scratch_unref(s);
}

void scratch_become_node(struct fs *fs, struct inode *inode, struct inode *parent,
                         const char *name)
{
    struct scratch *s;

    pthread_mutex_lock(&fs->lock);
    s = inode->scratch;
    if (s != NULL) {
        inode_ref(inode);
        leave(fs, s);
        inode_move(fs, inode, parent, name, 0);
        inode_unref(fs, inode);
    }
    pthread_mutex_unlock(&fs->lock);
    scratch_unref(s);
}

void scratch_move(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
                  uid_t uid)
{
    guard(&fs->lock);

    if (inode->scratch == NULL)
        return;
    inode->parent->n_scratch--;
    inode_move(fs, inode, parent, name, (uint64_t)uid + 1);
    inode->parent->n_scratch++;
}

/* The same checks and the same commit as a writer of the real name would have. */
static int publish_file(struct call *c, struct scratch *s, const char *path)
{
    struct node_file *f = NULL;
    int r = tree_open(c->fs->options.tree, &c->op, path, NODE_WRITE | NODE_CREATE | NODE_TRUNC,
                      &f);

    if (r < 0)
        return r;
    r = scratch_copy_out(&c->op, s, f);
    if (r == 0)
        r = f->ops->commit != NULL ? f->ops->commit(&c->op, f) : -EROFS;
    f->ops->close(f);
    return r;
}

int scratch_publish(struct call *c, struct scratch *s, const char *path, unsigned rename_flags)
{
    struct tree *tree = c->fs->options.tree;
    struct node_stat st = {0};
    struct later later;
    int r = tree_stat(tree, &c->op, path, &st);

    if (r == 0 && (rename_flags & NODE_NOREPLACE) != 0)
        return -EEXIST;
    if (r == 0 && st.type == NODE_DIR)
        return -EISDIR;
    op_forgive(&c->op);
    if (s->target != NULL)
        return tree_symlink(tree, &c->op, path, s->target);
    r = publish_file(c, s, path);
    if (r < 0)
        return r;
    scratch_later(s, &later);
    if (attr_apply(c, path, &later) < 0)
        op_forgive(&c->op);
    return 0;
}

int scratch_from_node(struct call *c, struct inode *inode, const char *path, struct inode *parent,
                      const char *name, bool secret)
{
    struct node_file *f = NULL;
    struct node_stat st = {0};
    struct scratch *s;
    struct inode *taken;
    int r = tree_stat(c->fs->options.tree, &c->op, path, &st);

    if (r == 0 && st.type != NODE_FILE)
        r = op_fail(&c->op, EXDEV, "only a file can be kept under a private name");
    if (r == 0)
        r = tree_open(c->fs->options.tree, &c->op, path, NODE_READ, &f);
    if (r < 0)
        return r;
    s = scratch_new(c, NULL, st.mode != 0 ? st.mode & 07777 : 0644,
                    secret || (f->flags & NODE_SECRET) != 0);
    r = scratch_copy_in(c->fs, &c->op, s, f);
    f->ops->close(f);
    if (r == 0)
        r = tree_unlink(c->fs->options.tree, &c->op, path);
    if (r < 0) {
        scratch_unref(s);
        return r;
    }
    pthread_mutex_lock(&c->fs->lock);
    taken = inode_find(c->fs, parent, name, (uint64_t)c->op.uid + 1);
    pthread_mutex_unlock(&c->fs->lock);
    if (taken != NULL)
        scratch_remove(c->fs, taken);
    pthread_mutex_lock(&c->fs->lock);
    inode_move(c->fs, inode, parent, name, (uint64_t)c->op.uid + 1);
    enter(c->fs, inode, s);
    pthread_mutex_unlock(&c->fs->lock);
    scratch_unref(s);
    return 0;
}

size_t scratch_list(struct fs *fs, struct inode *folder, uid_t uid, struct scratch_entry *ret,
                    size_t cap)
{
    size_t n = 0;
    guard(&fs->lock);

    if (folder->n_scratch == 0)
        return 0;
    for (struct scratch *s = fs->scratches; s != NULL && n < cap; s = s->next) {
        if (s->owner != uid || s->inode->parent != folder)
            continue;
        snprintf(ret[n].name, sizeof ret[n].name, "%s", s->inode->key->name);
        ret[n++].link = s->target != NULL;
    }
    return n;
}

/* fs->lock is held. */
static struct scratch *find_old(struct fs *fs, int64_t before_ms)
{
    for (struct scratch *s = fs->scratches; s != NULL; s = s->next)
        if (atomic_load(&s->used_ms) < before_ms)
            return s;
    return NULL;
}

void scratch_reap(struct fs *fs, int64_t before_ms)
{
    for (;;) {
        struct scratch *s;

        pthread_mutex_lock(&fs->lock);
        s = find_old(fs, before_ms);
        if (s != NULL) {
            inode_detach(fs, s->inode);
            leave(fs, s);
        }
        pthread_mutex_unlock(&fs->lock);
        if (s == NULL)
            return;
        scratch_unref(s);
    }
}

void scratch_drop_all(struct fs *fs)
{
    scratch_reap(fs, INT64_MAX);
}
