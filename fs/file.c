/* Opening, reading and writing files. */
#include "fs/engine.h"

#include "base/clock.h"
#include "fs/scratch.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <utlist.h>

static unsigned node_flags_of(int flags)
{
    unsigned f = 0;

    if ((flags & O_ACCMODE) != O_WRONLY)
        f |= NODE_READ;
    if ((flags & O_ACCMODE) != O_RDONLY)
        f |= NODE_WRITE;
    if ((flags & O_TRUNC) != 0 && (f & NODE_WRITE) != 0)
        f |= NODE_TRUNC;
    return f;
}

/* Only content that never changes under its path goes through the page cache; of everything else
 * each reader has the version that it opened, from the daemon. */
static void caching_of(struct fuse_file_info *fi, struct handle *h)
{
    unsigned flags = h->file != NULL ? h->file->flags : 0;
    bool cached = !h->writer && h->file != NULL && (flags & NODE_IMMUTABLE) != 0 &&
                  (flags & (NODE_SECRET | NODE_COMPUTED | NODE_VOLATILE)) == 0;

    fi->keep_cache = cached;
    fi->direct_io = !cached;
    fi->noflush = !h->writer;
    fi->nonseekable = wait_is_stream(h);
    fi->fh = (uint64_t)(uintptr_t)h;
    atomic_store(&h->refs, 1); /* it is complete: other threads may have it with the reply */
    HANDED_TO_KERNEL(h);
}

/* Enters the handle of a writer among those of its inode. */
static void become_writer(struct fs *fs, struct handle *h, unsigned flags, bool unborn)
{
    h->writer = true;
    h->owing = unborn || (flags & NODE_TRUNC) != 0;
    guard(&fs->lock);
    h->unborn = unborn;
    h->staged_bytes = h->file->size_bytes;
    DL_APPEND(h->inode->writers, h);
}

static int open_scratch(struct call *c, struct inode *inode, struct scratch *s,
                        struct fuse_file_info *fi, struct handle **ret)
{
    struct handle *h;

    if (!scratch_mine(s, c->op.uid)) {
        scratch_unref(s);
        return -ENOENT;
    }
    if ((node_flags_of(fi->flags) & NODE_TRUNC) != 0)
        scratch_truncate(s, 0);
    h = handle_new(c, inode, NULL, s);
    h->writer = (fi->flags & O_ACCMODE) != O_RDONLY;
    h->append = (fi->flags & O_APPEND) != 0;
    *ret = h;
    return 0;
}

/* A reader's line in the audit log comes before it gets a byte. */
static int audit_open_file(struct call *c, const char *path, struct node_file *f, unsigned flags)
{
    int r;

    if ((flags & NODE_READ) == 0 || (f->flags & NODE_AUDIT) == 0 ||
        notifier_is(c->fs, c->op.pid))
        return 0;
    r = call_audit(c, "read", path, 0);
    return r < 0 ? op_fail(&c->op, EIO, "the audit log cannot be written") : 0;
}

static bool is_unborn(struct call *c, struct inode *inode)
{
    guard(&c->fs->lock);

    return attr_unborn(inode, c->op.uid) != NULL;
}

/* The release that publishes a new, empty file (`: > f`) comes after its close has returned: who
 * opens it right then waits for that a moment. */
static int open_node(struct call *c, struct inode *inode, const char *path, unsigned flags,
                     struct node_file **ret)
{
    int64_t end = clock_monotonic_ms() + 100;
    int r;

    for (;;) {
        r = tree_open(c->fs->options.tree, &c->op, path, flags, ret);
        if (r != -ENOENT || !is_unborn(c, inode) || clock_monotonic_ms() > end)
            return r;
        op_forgive(&c->op);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static int open_file(struct call *c, struct inode *inode, struct fuse_file_info *fi,
                     struct handle **ret)
{
    const char *path = inode_path(c->fs, &c->op, inode);
    unsigned flags = node_flags_of(fi->flags);
    struct scratch *s = scratch_of(c->fs, inode);
    struct node_file *f = NULL;
    struct handle *h;
    int r;

    if (s != NULL)
        return open_scratch(c, inode, s, fi, ret);
    if (inode_gone(c->fs, inode))
        return -ESTALE;
    r = open_node(c, inode, path, flags, &f);
    if (r < 0 && (flags & NODE_WRITE) != 0)
        call_audit(c, "write", path, r);
    if (r == 0)
        r = audit_open_file(c, path, f, flags);
    if (r < 0) {
        if (f != NULL)
            f->ops->close(f);
        return r == -ENOENT ? r : call_refused(c, path, r);
    }
    h = handle_new(c, inode, f, NULL);
    h->append = (fi->flags & O_APPEND) != 0;
    if ((flags & NODE_WRITE) != 0)
        become_writer(c->fs, h, flags, false);
    if (wait_is_stream(h))
        wait_open(c->fs, h);
    *ret = h;
    return 0;
}

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct handle *h = NULL;
    struct call c;
    int r;

    if (notifier_is(fuse_req_userdata(req), fuse_req_ctx(req)->pid)) {
        fi->fh = 0; /* no node is opened: the close is all that is wanted */
        fi->direct_io = fi->noflush = 1;
        fuse_reply_open(req, fi);
        return;
    }
    if (call_begin(&c, req) < 0)
        return;
    r = open_file(&c, inode_of(c.fs, ino), fi, &h);
    if (r < 0) {
        call_reply(&c, r);
        return;
    }
    caching_of(fi, h);
    if (fuse_reply_open(req, fi) == -ENOENT) /* the caller was interrupted: no release will come */
        handle_unref(c.fs, h);
    call_end(&c);
}

static void reply_created(struct call *c, const struct fuse_entry_param *entry,
                          struct fuse_file_info *fi, struct handle *h)
{
    struct inode *inode = h->inode;

    caching_of(fi, h);
    if (fuse_reply_create(c->req, entry, fi) == -ENOENT) {
        handle_unref(c->fs, h);
        inode_forget(c->fs, inode, 1);
    }
    call_end(c);
}

static void create_scratch(struct call *c, struct inode *parent, const char *name, mode_t mode,
                           bool secret, struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;
    struct scratch *s = NULL;
    struct handle *h;
    int r = scratch_create(c, parent, name, NULL, mode, secret, &entry, &s);

    if (r < 0) {
        call_reply(c, r);
        return;
    }
    h = handle_new(c, inode_of(c->fs, entry.ino), NULL, s);
    h->writer = true;
    h->append = (fi->flags & O_APPEND) != 0;
    reply_created(c, &entry, fi, h);
}

/* The entry of a file that was opened to be created: it may exist already, published by somebody
 * in the meantime, or not exist before it is closed. */
static bool created_entry(struct call *c, struct inode *parent, const char *name, const char *path,
                          struct node_file *f, mode_t mode, struct fuse_entry_param *ret)
{
    struct node_stat st = {0};
    bool unborn = tree_stat(c->fs->options.tree, &c->op, path, &st) < 0 || st.type != NODE_FILE;

    if (unborn) {
        op_forgive(&c->op);
        st = (struct node_stat){.type = NODE_FILE, .mode = mode & 07777, .uid = c->op.uid,
                                .gid = c->op.gid, .mtime_ns = clock_unix_ns()};
    }
    st.size_bytes = f->size_bytes;
    attr_entry(c->fs, parent, name, path, &st, ret);
    ret->attr_timeout = ret->entry_timeout = 0;
    return unborn;
}

static void create_node(struct call *c, struct inode *parent, const char *name, const char *path,
                        mode_t mode, struct fuse_file_info *fi)
{
    unsigned flags = node_flags_of(fi->flags) | NODE_WRITE | NODE_CREATE;
    struct fuse_entry_param entry;
    struct node_file *f = NULL;
    struct handle *h;
    bool unborn;
    int r;

    if ((fi->flags & O_EXCL) != 0)
        flags |= NODE_EXCL;
    r = tree_open(c->fs->options.tree, &c->op, path, flags, &f);
    if (r < 0) {
        call_audit(c, "create", path, r);
        call_reply(c, r == -EEXIST ? r : call_refused(c, path, r));
        return;
    }
    unborn = created_entry(c, parent, name, path, f, mode, &entry);
    h = handle_new(c, inode_of(c->fs, entry.ino), f, NULL);
    h->append = (fi->flags & O_APPEND) != 0;
    h->later.mode = mode & 07777;
    become_writer(c->fs, h, flags, unborn);
    reply_created(c, &entry, fi, h);
}

void fs_create(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode,
               struct fuse_file_info *fi)
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
    if (r == 0 && scratch_name(name, (fi->flags & O_EXCL) != 0))
        r = scratch_wanted(&c, parent, &secret);
    if (r < 0)
        call_reply(&c, call_refused(&c, path, r));
    else if (r > 0)
        create_scratch(&c, parent, name, mode, secret, fi);
    else
        create_node(&c, parent, name, path, mode, fi);
}

/* A mapping that the kernel itself reads, if the node can lend one. */
static bool reply_lent(struct call *c, struct handle *h, uint64_t off, size_t size)
{
    struct blob_loan loan;

    if (h->file == NULL || h->writer || h->file->ops->lend == NULL || off >= h->file->size_bytes)
        return false;
    if (size > h->file->size_bytes - off)
        size = (size_t)(h->file->size_bytes - off);
    if (h->file->ops->lend(&c->op, h->file, off, size, &loan) < 0) {
        op_forgive(&c->op);
        return false;
    }
    fuse_reply_iov(c->req, loan.iov, (int)loan.n_iov);
    blob_unlend(&loan);
    return true;
}

/* A descriptor that came from somebody else, or from before the caller's rights changed: would this
 * caller be let in now? Identities are immutable, so the same one has the same rights. */
static int check_reader(struct call *c, struct handle *h)
{
    struct node_file *f = NULL;
    const char *path;
    int r;

    if (c->who == h->who || h->file == NULL || (h->file->flags & NODE_SECRET) == 0)
        return 0;
    path = inode_path(c->fs, &c->op, h->inode);
    r = tree_open(c->fs->options.tree, &c->op, path, NODE_READ, &f);
    if (r == 0) {
        f->ops->close(f);
        r = audit_open_file(c, path, h->file, NODE_READ);
    }
    return r < 0 ? call_refused(c, path, -EACCES) : 0;
}

/* Handles that others cannot touch meanwhile: those of writers, and streams. */
static bool takes_turns(const struct handle *h)
{
    return h->file != NULL && (h->writer || (h->file->flags & NODE_COMPUTED) != 0);
}

static ssize_t read_some(struct call *c, struct handle *h, uint64_t off, void *buf, size_t size)
{
    ssize_t n;

    if (h->scratch != NULL)
        return scratch_read(h->scratch, off, buf, size);
    if (h->file->ops->read == NULL)
        return -EBADF;
    if (takes_turns(h))
        pthread_mutex_lock(&h->lock);
    n = h->dropped != 0 ? -ESTALE : h->file->ops->read(&c->op, h->file, off, buf, size);
    if (takes_turns(h))
        pthread_mutex_unlock(&h->lock);
    return n;
}

static bool is_secret(const struct handle *h)
{
    return h->scratch != NULL ? scratch_secret(h->scratch) : (h->file->flags & NODE_SECRET) != 0;
}

/* As much of it as there can be: then no larger buffer is made than the answer needs. */
static size_t read_size(const struct handle *h, uint64_t off, size_t size)
{
    uint64_t left;

    if (size > FS_REPLY_MAX)
        size = FS_REPLY_MAX;
    if (h->file == NULL || h->writer || (h->file->flags & NODE_COMPUTED) != 0)
        return size;
    left = off < h->file->size_bytes ? h->file->size_bytes - off : 0;
    return size < left ? size : (size_t)left;
}

static void reply_read(struct call *c, struct handle *h, uint64_t off, size_t size)
{
    char *buf;
    ssize_t n;

    size = read_size(h, off, size);
    buf = worker_buffer(size);
    n = buf != NULL ? read_some(c, h, off, buf, size) : -ENOMEM;
    if (n < 0)
        call_refused(c, inode_path(c->fs, &c->op, h->inode), (int)n);
    if (n >= 0)
        fuse_reply_buf(c->req, buf, (size_t)n);
    else
        fuse_reply_err(c->req, -(int)n);
    if (n > 0 && is_secret(h))
        explicit_bzero(buf, (size_t)n);
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    struct handle *h = handle_get(fi);
    struct call c;

    (void)ino;
    if (h == NULL) {
        fuse_reply_err(req, EBADF);
        return;
    }
    if (call_begin(&c, req) == 0) {
        if (check_reader(&c, h) < 0)
            fuse_reply_err(req, EACCES);
        else if (wait_is_stream(h))
            wait_read(&c, h, size, (fi->flags & O_NONBLOCK) != 0);
        else if (!reply_lent(&c, h, (uint64_t)off, size))
            reply_read(&c, h, (uint64_t)off, size);
        call_end(&c);
    }
    handle_unref(fs, h);
}

static ssize_t write_some(struct call *c, struct handle *h, uint64_t off, const char *buf,
                          size_t size)
{
    ssize_t n;

    if (h->scratch != NULL)
        return scratch_write(h->scratch, off, buf, size, h->append);
    guard(&h->lock);
    if (h->dropped != 0)
        return op_fail(&c->op, ESTALE, "what was written before is lost; open the file again");
    if (h->file->ops->write == NULL)
        return -EBADF;
    n = h->file->ops->write(&c->op, h->file, h->append ? h->file->size_bytes : off, buf, size);
    if (n > 0)
        handle_written(c->fs, h, fuse_req_ctx(c->req)->pid);
    else if (n < 0)
        handle_drop(c->fs, h, (int)n); /* the close that follows must not publish the half */
    return n;
}

void fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
              struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    struct handle *h = handle_get(fi);
    struct call c;
    ssize_t n;

    (void)ino;
    if (h == NULL) {
        fuse_reply_err(req, EBADF);
        return;
    }
    call_begin_as(&c, fs, h);
    c.req = req;
    n = write_some(&c, h, (uint64_t)off, buf, size);
    if (is_secret(h))
        explicit_bzero((char *)(uintptr_t)buf, size); /* the thread's own receive buffer */
    if (n >= 0)
        fuse_reply_write(req, (size_t)n);
    else
        fuse_reply_err(req, -(int)call_refused(&c, inode_path(fs, &c.op, h->inode), (int)n));
    call_end(&c);
    handle_unref(fs, h);
}

/* Without it the kernel would copy through the page cache, which secrets must not enter. EINVAL is
 * what cp, Go and Python take for "copy it yourself". */
void fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                        struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                        struct fuse_file_info *fi_out, size_t len, int flags)
{
    (void)ino_in;
    (void)off_in;
    (void)fi_in;
    (void)ino_out;
    (void)off_out;
    (void)fi_out;
    (void)len;
    (void)flags;
    fuse_reply_err(req, EINVAL);
}

void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi)
{
    (void)ino;
    (void)mode;
    (void)offset;
    (void)length;
    (void)fi;
    fuse_reply_err(req, EOPNOTSUPP);
}
