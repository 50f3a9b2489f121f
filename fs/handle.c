/* What an open file has staged, and when it is published: the rules of flush, fsync and release. */
#include "fs/engine.h"

#include "base/alloc.h"
#include "fs/scratch.h"
#include "identity/identity.h"
#include "tree.h"

#include <errno.h>
#include <utlist.h>

struct handle *handle_new(struct call *c, struct inode *inode, struct node_file *file,
                          struct scratch *scratch)
{
    struct handle *h = xcalloc(1, sizeof *h);

    pthread_mutex_init(&h->lock, NULL);
    h->inode = inode;
    h->file = file;
    h->scratch = scratch;
    h->who = identity_ref(c->who);
    h->uid = c->op.uid;
    h->gid = c->op.gid;
    h->pid = c->op.pid;
    pthread_mutex_lock(&c->fs->lock);
    inode_ref(inode);
    DL_APPEND2(c->fs->every_handle, h, older, newer);
    pthread_mutex_unlock(&c->fs->lock);
    atomic_store(&h->refs, 1);
    return h;
}

void handles_free(struct fs *fs)
{
    while (fs->every_handle != NULL)
        handle_unref(fs, fs->every_handle);
}

void handle_unref(struct fs *fs, struct handle *h)
{
    if (h == NULL || atomic_fetch_sub(&h->refs, 1) != 1)
        return;
    pthread_mutex_lock(&fs->lock);
    if (h->writer && h->scratch == NULL)
        DL_DELETE(h->inode->writers, h);
    DL_DELETE2(fs->every_handle, h, older, newer);
    inode_unref(fs, h->inode);
    pthread_mutex_unlock(&fs->lock);
    if (h->file != NULL)
        h->file->ops->close(h->file);
    wait_close(h);
    scratch_unref(h->scratch);
    identity_unref(h->who);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

struct handle *handle_get(const struct fuse_file_info *fi)
{
    struct handle *h = (struct handle *)(uintptr_t)fi->fh;

    if (h == NULL)
        return NULL;
    HANDED_BY_KERNEL(h);
    atomic_fetch_add(&h->refs, 1);
    return h;
}

void handle_written(struct fs *fs, struct handle *h, pid_t writer)
{
    h->dirty = true;
    h->writer_pid = writer;
    guard(&fs->lock);
    h->staged_bytes = h->file->size_bytes;
}

/* The node exists from now on: what was said about it before can be applied. */
static void bear(struct call *c, struct handle *h, const char *path)
{
    struct later later;

    pthread_mutex_lock(&c->fs->lock);
    later = h->later;
    h->later = (struct later){0};
    h->unborn = false;
    h->touched = false;
    pthread_mutex_unlock(&c->fs->lock);
    if (attr_apply(c, path, &later) < 0)
        op_forgive(&c->op); /* where there is nothing to keep, there is nothing to refuse */
}

void handle_drop(struct fs *fs, struct handle *h, int why)
{
    h->dirty = h->owing = false;
    h->dropped = why;
    pthread_mutex_lock(&fs->lock);
    h->unborn = false;
    pthread_mutex_unlock(&fs->lock);
    notifier_drop_inode(fs, h->inode); /* the kernel has seen the sizes that were written */
}

/* Commits what is staged; h->lock is held. */
static int publish(struct call *c, struct handle *h)
{
    const char *path = inode_path(c->fs, &c->op, h->inode);
    int r = h->file->ops->commit != NULL ? h->file->ops->commit(&c->op, h->file) : -EROFS;

    h->dirty = h->owing = false;
    if (r == 0)
        bear(c, h, path);
    else
        handle_drop(c->fs, h, r);
    return call_changed(c, "write", path, r);
}

static bool touched(struct fs *fs, const struct handle *h)
{
    guard(&fs->lock);

    return h->touched;
}

/* The writer closed one of its descriptors: publish if it wrote. An empty flush comes before any
 * data from every shell that redirects, so what is only owed waits for the release, unless the
 * times of the new file were set (touch). */
static int flush(struct call *c, struct handle *h, pid_t closer)
{
    guard(&h->lock);

    if (h->dropped != 0)
        return h->dropped;
    if (!h->dirty && !h->owing)
        return 0;
    switch (writer_judge(closer, h->dirty ? h->writer_pid : h->pid)) {
    case WRITER_KILLED:
        call_refused(c, inode_path(c->fs, &c->op, h->inode),
                     op_fail(&c->op, EINTR, "the writer was killed; nothing was published"));
        handle_drop(c->fs, h, -ESTALE);
        return -EINTR;
    case WRITER_OTHER:
        return 0;
    default:
        return h->dirty || touched(c->fs, h) ? publish(c, h) : 0;
    }
}

/* In the name of the opener: rights were decided at open; what is checked is the content. */
static void flush_as_opener(struct fs *fs, fuse_req_t req, struct handle *h)
{
    struct call c;
    int r;

    call_begin_as(&c, fs, h);
    r = flush(&c, h, fuse_req_ctx(req)->pid);
    fuse_reply_err(req, -r);
    call_end(&c);
}

void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    struct handle *h = handle_get(fi);

    (void)ino;
    if (h == NULL || !h->writer || h->scratch != NULL)
        fuse_reply_err(req, 0);
    else
        flush_as_opener(fs, req, h);
    handle_unref(fs, h);
}

static int sync_file(struct call *c, struct handle *h)
{
    guard(&h->lock);

    if (h->dropped != 0)
        return h->dropped;
    return h->dirty || h->owing ? publish(c, h) : 0;
}

void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    struct handle *h = handle_get(fi);
    struct call c;

    (void)ino;
    (void)datasync;
    if (h == NULL || !h->writer || h->scratch != NULL) {
        fuse_reply_err(req, 0);
    } else {
        call_begin_as(&c, fs, h);
        fuse_reply_err(req, -sync_file(&c, h));
        call_end(&c);
    }
    handle_unref(fs, h);
}

/* The last descriptor is gone. Nobody hears an error now, so this publishes only what no flush
 * could: an empty new file, or what a process wrote that never closed it itself. */
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    struct handle *h = handle_get(fi);
    struct call c;

    (void)ino;
    if (h != NULL && h->writer && h->scratch == NULL) {
        call_begin_as(&c, fs, h);
        pthread_mutex_lock(&h->lock);
        if (h->dropped == 0 && (h->dirty || h->owing))
            publish(&c, h);
        pthread_mutex_unlock(&h->lock);
        call_end(&c);
    }
    handle_unref(fs, h); /* this request's */
    handle_unref(fs, h); /* the kernel's */
    fuse_reply_err(req, 0);
}

static int truncate_open(struct call *c, struct handle *h, const char *path, uint64_t size_bytes)
{
    int r;
    guard(&h->lock);

    if (h->dropped != 0)
        return -ESTALE;
    r = h->file->ops->truncate != NULL ? h->file->ops->truncate(&c->op, h->file, size_bytes)
                                       : -EROFS;
    if (r < 0) {
        handle_drop(c->fs, h, r);
        return call_refused(c, path, r);
    }
    handle_written(c->fs, h, c->op.pid);
    return 0;
}

int handle_truncate(struct call *c, const struct fuse_file_info *fi, const char *path,
                    uint64_t size_bytes)
{
    struct handle *h = handle_get(fi);
    int r = -EBADF;

    if (h != NULL && h->writer && h->file != NULL)
        r = truncate_open(c, h, path, size_bytes);
    handle_unref(c->fs, h);
    return r;
}

int file_truncate(struct call *c, const char *path, uint64_t size_bytes)
{
    unsigned flags = NODE_WRITE | (size_bytes == 0 ? (unsigned)NODE_TRUNC : 0);
    struct node_file *f = NULL;
    int r = tree_open(c->fs->options.tree, &c->op, path, flags, &f);

    if (r < 0)
        return call_refused(c, path, r);
    r = f->ops->truncate != NULL ? f->ops->truncate(&c->op, f, size_bytes) : -EROFS;
    if (r == 0 && f->ops->commit != NULL)
        r = f->ops->commit(&c->op, f);
    f->ops->close(f);
    return call_changed(c, "write", path, r);
}
