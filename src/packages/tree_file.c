/* tree_file.c: writing a release file through the tree.
 *
 * What comes in order, as cp writes, goes straight into the store and is hashed on the way. A tool
 * that goes back (zipfile patches its headers) moves the content to an unlinked file of the host,
 * which is read again when the handle commits. */
#include "base/alloc.h"
#include "base/scope.h"
#include "config.h"
#include "packages/packages_tree.h"
#include "packages/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct tree_file {
    struct node_file file;
    struct packages *pk;
    char name[PACKAGE_FILENAME_MAX + 1];
    struct package_draft *draft; /* NULL: none begun, or the content is in fd */
    int fd;                      /* -1: what came so far came in order */
    bool published;              /* nothing may follow */
    bool frozen;                 /* opened over a published file without truncating it */
};

static struct tree_file *self(struct node_file *f)
{
    return (struct tree_file *)f;
}

static int refuse_change(struct op *op, const struct tree_file *t)
{
    return op_fail(op, EPERM, "'%s' is published and cannot be changed; publish a new version",
                   t->name);
}

static int begin(struct op *op, struct tree_file *t)
{
    if (t->draft != NULL)
        return 0;
    return package_draft_new(op, t->pk, t->name, 0, &t->draft);
}

/* Back to nothing. */
static void reset(struct tree_file *t)
{
    package_draft_free(take(t->draft));
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    t->file.size_bytes = 0;
}

static int copy_draft(struct tree_file *t, int fd)
{
    enum { PIECE = 256 << 10 };
    autofree char *piece = xmalloc(PIECE);
    uint64_t size = t->draft != NULL ? package_draft_size(t->draft) : 0;

    for (uint64_t at = 0; at < size;) {
        ssize_t n = package_draft_read(t->draft, at, piece, PIECE);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        if (pwrite(fd, piece, (size_t)n, (off_t)at) != n)
            return -ENOSPC;
        at += (uint64_t)n;
    }
    return 0;
}

/* From here on the content may be written anywhere. */
static int go_random(struct op *op, struct tree_file *t)
{
    int fd, r;

    if (t->fd >= 0)
        return 0;
    fd = open(t->pk->env.config->data, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return op_fail(op, errno, "no temporary file in '%s'", t->pk->env.config->data);
    r = copy_draft(t, fd);
    if (r < 0) {
        close(fd);
        return op_fail(op, -r, "'%s' cannot be written out of order", t->name);
    }
    package_draft_free(take(t->draft));
    t->fd = fd;
    return 0;
}

static ssize_t write_random(struct op *op, struct tree_file *t, uint64_t offset, const void *buf,
                            size_t n)
{
    uint64_t limit = t->pk->env.config->limits.package_bytes;
    ssize_t r;

    if (n > limit || offset > limit - n)
        return op_fail(op, EFBIG, "'%s' is larger than limits.package_bytes allows, %" PRIu64,
                       t->name, limit);
    r = pwrite(t->fd, buf, n, (off_t)offset);
    if (r < 0)
        return op_fail(op, errno, "writing '%s' failed: %s", t->name, strerror(errno));
    if (offset + (uint64_t)r > t->file.size_bytes)
        t->file.size_bytes = offset + (uint64_t)r;
    return r;
}

static ssize_t tree_write(struct op *op, struct node_file *f, uint64_t offset, const void *buf,
                          size_t n)
{
    struct tree_file *t = self(f);
    int r = 0;

    if (t->published || t->frozen)
        return refuse_change(op, t);
    if (t->fd < 0 && offset == f->size_bytes) {
        r = begin(op, t);
        if (r == 0)
            r = package_draft_write(op, t->draft, buf, n);
        if (r < 0)
            return r;
        f->size_bytes += n;
        return (ssize_t)n;
    }
    r = go_random(op, t);
    return r < 0 ? r : write_random(op, t, offset, buf, n);
}

static ssize_t tree_read(struct op *op, struct node_file *f, uint64_t offset, void *buf, size_t n)
{
    struct tree_file *t = self(f);
    struct package_file stored;
    struct blob *blob;
    ssize_t r;

    if (t->fd >= 0) {
        r = pread(t->fd, buf, n, (off_t)offset);
        return r < 0 ? -errno : r;
    }
    if (t->draft != NULL)
        return package_draft_read(t->draft, offset, buf, n);
    if (!t->published && !t->frozen)
        return 0;
    r = package_find(op, t->pk, t->name, &stored);
    if (r == 0)
        r = blob_open(t->pk->store, &stored.digest, &blob);
    if (r < 0)
        return r;
    r = blob_read(blob, offset, buf, n);
    blob_close(blob);
    return r;
}

static int tree_truncate(struct op *op, struct node_file *f, uint64_t size_bytes)
{
    struct tree_file *t = self(f);
    int r;

    if (size_bytes == f->size_bytes)
        return 0;
    if (t->published || (t->frozen && size_bytes > 0))
        return refuse_change(op, t);
    if (size_bytes > t->pk->env.config->limits.package_bytes)
        return op_fail(op, EFBIG, "'%s' is larger than limits.package_bytes allows", t->name);
    if (size_bytes == 0) {
        t->frozen = false;
        reset(t);
        return 0;
    }
    r = go_random(op, t);
    if (r < 0)
        return r;
    if (ftruncate(t->fd, (off_t)size_bytes) < 0)
        return op_fail(op, errno, "truncating '%s' failed", t->name);
    f->size_bytes = size_bytes;
    return 0;
}

/* What was written out of order, in order. */
static int restage(struct op *op, struct tree_file *t)
{
    enum { PIECE = 256 << 10 };
    autofree char *piece = xmalloc(PIECE);
    uint64_t at = 0;
    int r = begin(op, t);

    while (r == 0) {
        ssize_t n = pread(t->fd, piece, PIECE, (off_t)at);

        if (n < 0)
            return op_fail(op, errno, "reading '%s' again failed", t->name);
        if (n == 0)
            break;
        r = package_draft_write(op, t->draft, piece, (size_t)n);
        at += (uint64_t)n;
    }
    return r;
}

static int tree_commit(struct op *op, struct node_file *f)
{
    struct tree_file *t = self(f);
    int r = 0;

    if (t->published || t->frozen)
        return 0;
    if (f->size_bytes == 0)
        return op_fail(op, EINVAL, "'%s' is empty", t->name);
    if (t->fd >= 0)
        r = restage(op, t);
    else
        r = begin(op, t);
    if (r == 0)
        r = package_draft_publish(op, t->draft, NULL);
    if (r < 0) {
        reset(t);
        return r;
    }
    package_draft_free(take(t->draft));
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    t->published = true;
    return 0;
}

static void tree_close(struct node_file *f)
{
    reset(self(f));
    free(f);
}

static const struct node_file_ops tree_file_ops = {
    .read = tree_read,
    .write = tree_write,
    .truncate = tree_truncate,
    .commit = tree_commit,
    .close = tree_close,
};

int tree_file_open(struct op *op, struct packages *pk, const char *name,
                   const struct package_file *published, unsigned flags, struct node_file **ret)
{
    struct tree_file *t = xcalloc(1, sizeof *t);
    int r = 0;

    t->file.ops = &tree_file_ops;
    t->pk = pk;
    t->fd = -1;
    memcpy(t->name, name, strnlen(name, PACKAGE_FILENAME_MAX));
    if (published != NULL && !(flags & NODE_TRUNC)) {
        t->frozen = true;
        t->file.size_bytes = published->size_bytes;
    } else {
        r = begin(op, t); /* so that a bad name or a missing right is heard at once */
    }
    if (r < 0) {
        free(t);
        return r;
    }
    *ret = &t->file;
    return 0;
}
