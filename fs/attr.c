/* Names and attributes: what the kernel is told about a node, and for how long it may believe it. */
#include "fs/engine.h"

#include "base/clock.h"
#include "fs/scratch.h"
#include "tree.h"

#include <errno.h>
#include <sodium.h>
#include <sys/statvfs.h>

/* 64 bits, so that two paths of one tree will not meet; keyed, so that nobody can make them. */
static ino_t ino_of(const struct fs *fs, const void *bytes, size_t n)
{
    uint64_t hash;

    _Static_assert(crypto_shorthash_BYTES == sizeof hash, "siphash");
    crypto_shorthash((unsigned char *)&hash, bytes, n, fs->ino_key);
    return hash > FUSE_ROOT_ID ? (ino_t)hash : (ino_t)(hash + 2);
}

static mode_t type_bits(enum node_type type)
{
    switch (type) {
    case NODE_DIR:
        return S_IFDIR;
    case NODE_SYMLINK:
        return S_IFLNK;
    case NODE_CHAR:
        return S_IFCHR;
    case NODE_BLOCK:
        return S_IFBLK;
    case NODE_FIFO:
        return S_IFIFO;
    default:
        return S_IFREG;
    }
}

static mode_t default_mode(enum node_type type)
{
    return type == NODE_DIR ? 0555 : type == NODE_SYMLINK ? 0777 : 0444;
}

void attr_fill(struct fs *fs, const char *path, const struct node_stat *st, struct stat *ret)
{
    struct timespec time = {.tv_sec = st->mtime_ns / 1000000000,
                            .tv_nsec = st->mtime_ns % 1000000000};
    mode_t mode = st->mode & 07777;

    memset(ret, 0, sizeof *ret);
    if (path[0] == 0)
        ret->st_ino = FUSE_ROOT_ID;
    else if (st->key != 0)
        ret->st_ino = ino_of(fs, &st->key, sizeof st->key);
    else
        ret->st_ino = ino_of(fs, path, strlen(path) + 1); /* + 1: never as long as a key */
    if (mode == 0 && (st->flags & NODE_EXACT_MODE) == 0)
        mode = default_mode(st->type);
    ret->st_mode = type_bits(st->type) | mode;
    ret->st_rdev = st->device;
    ret->st_nlink = st->nlink != 0 ? st->nlink : st->type == NODE_DIR ? 2 : 1;
    ret->st_uid = st->uid;
    ret->st_gid = st->gid;
    ret->st_size = (off_t)st->size_bytes;
    ret->st_blocks = (blkcnt_t)((st->size_bytes + 511) / 512);
    ret->st_blksize = 4096;
    if (time.tv_nsec < 0) {
        time.tv_nsec += 1000000000;
        time.tv_sec--;
    }
    ret->st_atim = ret->st_mtim = ret->st_ctim = time;
}

double attr_timeout(unsigned flags)
{
    return (flags & NODE_VOLATILE) != 0 ? 0 : FS_TIMEOUT_S;
}

/* A cached name lets every user through; that of a secret is asked for each time, and who was let
 * through then may have the attributes. */
double entry_timeout(unsigned flags)
{
    return (flags & NODE_SECRET) != 0 ? 0 : attr_timeout(flags);
}

/* Must the kernel get another inode for this name? Only where it may have cached content of another
 * node: processes may be in a folder, and watch a file. */
static bool replaced(const struct inode *inode, enum node_type type)
{
    return inode->type != type || (inode->stale && inode->paged);
}

struct inode *attr_entry(struct fs *fs, struct inode *parent, const char *name, const char *path,
                         const struct node_stat *st, struct fuse_entry_param *ret)
{
    struct inode *inode;

    memset(ret, 0, sizeof *ret);
    attr_fill(fs, path, st, &ret->attr);
    ret->attr_timeout = attr_timeout(st->flags);
    ret->entry_timeout = entry_timeout(st->flags);
    pthread_mutex_lock(&fs->lock);
    inode = inode_find(fs, parent, name, 0);
    if (inode != NULL && inode->nlookup > 0 && replaced(inode, st->type)) {
        inode_detach(fs, inode);
        inode = NULL;
    }
    if (inode == NULL)
        inode = inode_make(fs, parent, name, 0);
    inode->stale = false;
    inode->paged = st->type == NODE_SYMLINK || (st->flags & NODE_IMMUTABLE) != 0;
    inode->type = (uint8_t)st->type;
    inode->size_bytes = st->size_bytes;
    inode->nlookup++;
    ret->ino = inode_id(fs, inode);
    ret->generation = inode->generation;
    pthread_mutex_unlock(&fs->lock);
    return inode;
}

struct handle *attr_unborn(struct inode *inode, uid_t uid)
{
    for (struct handle *h = inode != NULL ? inode->writers : NULL; h != NULL; h = h->next)
        if (h->unborn && h->uid == uid)
            return h;
    return NULL;
}

void attr_fill_unborn(struct fs *fs, const char *path, const struct handle *h, struct stat *ret)
{
    struct node_stat st = {
        .type = NODE_FILE,
        .mode = h->later.mode != 0 ? h->later.mode : 0644,
        .uid = h->later.has_uid ? h->later.uid : h->uid,
        .gid = h->later.has_gid ? h->later.gid : h->gid,
        .mtime_ns = h->later.has_mtime ? h->later.mtime_ns : clock_unix_ns(),
        .size_bytes = h->staged_bytes,
    };

    attr_fill(fs, path, &st, ret);
}

/* A file that the caller has created and not closed: seen by nobody else. */
static bool reply_unborn(struct call *c, struct inode *parent, const char *name, const char *path)
{
    struct fuse_entry_param entry = {0};
    struct inode *inode;
    struct handle *h;

    pthread_mutex_lock(&c->fs->lock);
    inode = inode_find(c->fs, parent, name, 0);
    h = attr_unborn(inode, c->op.uid);
    if (h != NULL) {
        attr_fill_unborn(c->fs, path, h, &entry.attr);
        inode->nlookup++;
        entry.ino = inode_id(c->fs, inode);
        entry.generation = inode->generation;
    }
    pthread_mutex_unlock(&c->fs->lock);
    if (h == NULL)
        return false;
    if (fuse_reply_entry(c->req, &entry) == -ENOENT)
        inode_forget(c->fs, inode, 1);
    return true;
}

void attr_reply_entry(struct call *c, struct inode *parent, const char *name, const char *path)
{
    struct fuse_entry_param entry;
    struct node_stat st = {0};
    struct inode *inode;
    int r;

    caching_begin(c->fs);
    r = tree_stat(c->fs->options.tree, &c->op, path, &st);
    if (r == -ENOENT && reply_unborn(c, parent, name, path)) {
        ;
    } else if (r < 0) {
        if (r != -ENOENT)
            call_refused(c, path, r);
        fuse_reply_err(c->req, -r);
    } else {
        inode = attr_entry(c->fs, parent, name, path, &st, &entry);
        if (fuse_reply_entry(c->req, &entry) == -ENOENT) /* the kernel no longer waits for it */
            inode_forget(c->fs, inode, 1);
    }
    caching_end();
    call_end(c);
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
    struct call c;
    struct inode *parent;
    const char *path;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    parent = inode_of(c.fs, parent_ino);
    if (scratch_lookup(&c, parent, name))
        return;
    r = inode_child_path(c.fs, &c.op, parent, name, &path);
    if (r < 0)
        call_reply(&c, r);
    else
        attr_reply_entry(&c, parent, name, path);
}

void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    struct fs *fs = fuse_req_userdata(req);

    if (ino != FUSE_ROOT_ID)
        inode_forget(fs, inode_of(fs, ino), n);
    fuse_reply_none(req);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct fs *fs = fuse_req_userdata(req);

    for (size_t i = 0; i < count; i++)
        if (forgets[i].ino != FUSE_ROOT_ID)
            inode_forget(fs, inode_of(fs, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

/* What fstat(2) of the writer itself shows: what it has written so far. */
static bool staged_size(struct inode *inode, pid_t pid, struct stat *ret)
{
    for (struct handle *h = inode->writers; h != NULL; h = h->next)
        if (h->pid == pid) {
            ret->st_size = (off_t)h->staged_bytes;
            ret->st_blocks = (blkcnt_t)((h->staged_bytes + 511) / 512);
            return true;
        }
    return false;
}

/* Attributes of a node that is gone from the tree, but open: what was told last. */
static bool fill_gone(struct fs *fs, struct inode *inode, const char *path, uid_t uid,
                      struct stat *ret, int r)
{
    struct node_stat st = {.type = inode->type, .size_bytes = inode->size_bytes};
    struct handle *h = attr_unborn(inode, uid);

    if (h != NULL) {
        attr_fill_unborn(fs, path, h, ret);
        return true;
    }
    if (r != -ENOENT || (inode->listed && !inode->paged)) /* paged: with its folder, say */
        return false;
    attr_fill(fs, path, &st, ret);
    ret->st_nlink = 0;
    return true;
}

/* The attributes of an inode, as this caller sees it. */
static int get_attr(struct call *c, struct inode *inode, struct stat *ret, double *ret_timeout)
{
    const char *path = inode_path(c->fs, &c->op, inode);
    struct scratch *scratch = scratch_of(c->fs, inode);
    struct node_stat st = {0};
    int r;

    *ret_timeout = 0;
    if (scratch != NULL) {
        r = scratch_mine(scratch, c->op.uid) ? 0 : -ENOENT;
        scratch_attr(c->fs, scratch, path, ret);
        scratch_unref(scratch);
        return r;
    }
    r = inode_gone(c->fs, inode) ? -ENOENT : tree_stat(c->fs->options.tree, &c->op, path, &st);
    guard(&c->fs->lock);
    if (r < 0 && fill_gone(c->fs, inode, path, c->op.uid, ret, r))
        return 0;
    if (r < 0)
        return r;
    if (st.type != inode->type)
        return -ESTALE; /* the kernel looks the name up again */
    attr_fill(c->fs, path, &st, ret);
    inode->size_bytes = st.size_bytes;
    if (!staged_size(inode, c->op.pid, ret))
        *ret_timeout = attr_timeout(st.flags);
    return 0;
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct call c;
    struct stat attr;
    double timeout;
    int r;

    (void)fi;
    if (call_begin(&c, req) < 0)
        return;
    caching_begin(c.fs);
    r = get_attr(&c, inode_of(c.fs, ino), &attr, &timeout);
    if (r == 0)
        fuse_reply_attr(req, &attr, timeout);
    else
        fuse_reply_err(req, -r);
    caching_end();
    call_end(&c);
}

static struct later later_of(const struct stat *attr, int set)
{
    struct later later = {
        .has_mode = (set & FUSE_SET_ATTR_MODE) != 0,
        .has_uid = (set & FUSE_SET_ATTR_UID) != 0,
        .has_gid = (set & FUSE_SET_ATTR_GID) != 0,
        .has_mtime = (set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0,
        .mode = attr->st_mode & 07777,
        .uid = attr->st_uid,
        .gid = attr->st_gid,
        .mtime_ns = (int64_t)attr->st_mtim.tv_sec * 1000000000 + attr->st_mtim.tv_nsec,
    };

    if ((set & FUSE_SET_ATTR_MTIME_NOW) != 0)
        later.mtime_ns = clock_unix_ns();
    return later;
}

static void later_merge(struct later *into, const struct later *from)
{
    if (from->has_mode) {
        into->has_mode = true;
        into->mode = from->mode;
    }
    if (from->has_uid) {
        into->has_uid = true;
        into->uid = from->uid;
    }
    if (from->has_gid) {
        into->has_gid = true;
        into->gid = from->gid;
    }
    if (from->has_mtime) {
        into->has_mtime = true;
        into->mtime_ns = from->mtime_ns;
    }
}

/* Keeps the attributes for a file that is not published yet; false if it is. */
static bool set_later(struct call *c, struct inode *inode, const struct later *later)
{
    struct handle *h;
    guard(&c->fs->lock);

    h = attr_unborn(inode, c->op.uid);
    if (h == NULL)
        return false;
    later_merge(&h->later, later);
    if (later->has_mtime)
        h->touched = true;
    return true;
}

int attr_apply(struct call *c, const char *path, const struct later *later)
{
    if (!later->has_mode && !later->has_uid && !later->has_gid && !later->has_mtime)
        return 0;
    return tree_setattr(c->fs->options.tree, &c->op, path, later->has_mode ? &later->mode : NULL,
                        later->has_uid ? &later->uid : NULL, later->has_gid ? &later->gid : NULL,
                        later->has_mtime ? &later->mtime_ns : NULL);
}

static int set_attr(struct call *c, struct inode *inode, const struct stat *attr, int set,
                    struct fuse_file_info *fi)
{
    const char *path = inode_path(c->fs, &c->op, inode);
    struct scratch *scratch = scratch_of(c->fs, inode);
    struct later later = later_of(attr, set);
    int r = 0;

    if (scratch != NULL) {
        if (!scratch_mine(scratch, c->op.uid))
            r = -ENOENT;
        else if ((set & FUSE_SET_ATTR_SIZE) != 0)
            r = scratch_truncate(scratch, (uint64_t)attr->st_size);
        if (r == 0)
            scratch_setattr(scratch, attr, set);
        scratch_unref(scratch);
        return r;
    }
    if ((set & FUSE_SET_ATTR_SIZE) != 0) {
        r = fi != NULL ? handle_truncate(c, fi, path, (uint64_t)attr->st_size)
                       : file_truncate(c, path, (uint64_t)attr->st_size);
        if (r < 0)
            return r;
        later.has_mtime = false; /* comes with each truncate; the new content has its own */
    }
    if (set_later(c, inode, &later))
        return 0;
    r = attr_apply(c, path, &later);
    return later.has_mode || later.has_uid || later.has_gid || later.has_mtime
               ? call_changed(c, "attributes", path, r)
               : 0;
}

void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
                struct fuse_file_info *fi)
{
    struct call c;
    struct inode *inode;
    struct stat now;
    double timeout;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    inode = inode_of(c.fs, ino);
    r = set_attr(&c, inode, attr, set, fi);
    caching_begin(c.fs);
    if (r == 0)
        r = get_attr(&c, inode, &now, &timeout);
    if (r == 0 && (set & FUSE_SET_ATTR_SIZE) != 0)
        now.st_size = attr->st_size; /* the writer's own view; readers have the old content */
    if (r == 0)
        fuse_reply_attr(req, &now, (set & FUSE_SET_ATTR_SIZE) != 0 ? 0 : timeout);
    else
        fuse_reply_err(req, -r);
    caching_end();
    call_end(&c);
}

void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct call c;
    struct inode *inode;
    struct scratch *scratch;
    const char *target = NULL;
    int r = 0;

    if (call_begin(&c, req) < 0)
        return;
    inode = inode_of(c.fs, ino);
    scratch = scratch_of(c.fs, inode);
    caching_begin(c.fs);
    if (scratch != NULL)
        target = scratch_mine(scratch, c.op.uid) ? scratch_target(scratch) : NULL;
    else
        r = tree_readlink(c.fs->options.tree, &c.op, inode_path(c.fs, &c.op, inode), &target);
    if (r == 0 && target == NULL)
        r = -ENOENT;
    if (r == 0)
        fuse_reply_readlink(req, target);
    else
        fuse_reply_err(req, -r);
    caching_end();
    scratch_unref(scratch);
    call_end(&c);
}

void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct fs *fs = fuse_req_userdata(req);
    struct statvfs volume;

    (void)ino;
    if (statvfs(fs->options.data, &volume) < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    volume.f_namemax = FS_NAME_MAX;
    fuse_reply_statfs(req, &volume);
}
