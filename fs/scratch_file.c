#include "fs/scratch_file.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

#define SCRATCH_MEMORY_BYTES (1u << 20)  /* more goes to a file */
#define SCRATCH_SECRET_BYTES (16u << 20) /* must stay in memory: more is refused */
#define SCRATCH_RESERVE_BYTES (64u << 20) /* free space that a scratch file leaves on its volume */
#define COPY_BYTES (256u << 10)

static void used(struct scratch *s)
{
    atomic_store(&s->used_ms, clock_monotonic_ms());
}

struct scratch *scratch_new(struct call *c, const char *target, mode_t mode, bool secret)
{
    struct scratch *s = xcalloc(1, sizeof *s);

    s->fs = c->fs;
    s->owner = c->op.uid;
    s->uid = c->op.uid;
    s->gid = c->op.gid;
    s->mode = mode & 07777;
    s->secret = secret;
    s->target = target != NULL ? xstrdup(target) : NULL;
    s->size_bytes = target != NULL ? strlen(target) : 0;
    s->fd = -1;
    s->mtime_ns = clock_unix_ns();
    s->refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    used(s);
    return s;
}

static void free_data(struct scratch *s)
{
    if (s->data != NULL && s->secret)
        explicit_bzero(s->data, s->cap);
    free(s->data);
    s->data = NULL;
    s->cap = 0;
}

void scratch_unref(struct scratch *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    free_data(s);
    if (s->fd >= 0)
        close(s->fd);
    free(s->target);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int write_fd(struct scratch *s, uint64_t offset, const void *buf, size_t n)
{
    const char *p = buf;

    while (n > 0) {
        ssize_t done = pwrite(s->fd, p, n, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        p += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

/* To a file without a name, in the folder that the daemon keeps for it. */
static int spill(struct scratch *s)
{
    int r;

    s->fd = open(s->fs->options.scratch_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd < 0)
        return -errno;
    r = write_fd(s, 0, s->data, (size_t)s->size_bytes);
    if (r < 0) {
        close(s->fd);
        s->fd = -1;
        return r;
    }
    free_data(s);
    return 0;
}

static int grow(struct scratch *s, size_t size)
{
    size_t cap = s->cap < 4096 ? 4096 : s->cap;
    uint8_t *data;

    if (size <= s->cap)
        return 0;
    while (cap < size)
        cap *= 2;
    data = calloc(1, cap); /* not realloc: a secret would stay behind */
    if (data == NULL)
        return -ENOMEM;
    if (s->size_bytes > 0)
        memcpy(data, s->data, (size_t)s->size_bytes);
    free_data(s);
    s->data = data;
    s->cap = cap;
    return 0;
}

/* Room for `end` bytes, wherever it is kept. */
static int make_room(struct scratch *s, uint64_t end)
{
    struct statvfs volume;

    if (end <= s->size_bytes)
        return 0;
    if (s->secret && end > SCRATCH_SECRET_BYTES)
        return -EFBIG;
    if (s->fd < 0 && (s->secret || end <= SCRATCH_MEMORY_BYTES))
        return grow(s, (size_t)end);
    if (statvfs(s->fs->options.scratch_dir, &volume) == 0 &&
        volume.f_bavail * volume.f_frsize < SCRATCH_RESERVE_BYTES)
        return -ENOSPC;
    return s->fd < 0 ? spill(s) : 0;
}

ssize_t scratch_write(struct scratch *s, uint64_t offset, const void *buf, size_t n, bool append)
{
    uint64_t end;
    int r;
    guard(&s->lock);

    if (append)
        offset = s->size_bytes;
    if (s->target != NULL || __builtin_add_overflow(offset, n, &end) || end > INT64_MAX)
        return -EFBIG;
    r = make_room(s, end);
    if (r == 0 && s->fd >= 0)
        r = write_fd(s, offset, buf, n);
    else if (r == 0 && n > 0)
        memcpy(s->data + offset, buf, n);
    if (r < 0)
        return r;
    if (end > s->size_bytes)
        s->size_bytes = end;
    s->mtime_ns = clock_unix_ns();
    used(s);
    return (ssize_t)n;
}

int scratch_truncate(struct scratch *s, uint64_t size_bytes)
{
    int r;
    guard(&s->lock);

    if (s->target != NULL || size_bytes > INT64_MAX)
        return -EINVAL;
    r = make_room(s, size_bytes);
    if (r < 0)
        return r;
    if (s->fd >= 0) {
        if (ftruncate(s->fd, (off_t)size_bytes) < 0)
            return -errno;
    } else if (size_bytes < s->size_bytes) {
        explicit_bzero(s->data + size_bytes, (size_t)(s->size_bytes - size_bytes));
    }
    s->size_bytes = size_bytes;
    s->mtime_ns = clock_unix_ns();
    used(s);
    return 0;
}

ssize_t scratch_read(struct scratch *s, uint64_t offset, void *buf, size_t n)
{
    ssize_t done;
    guard(&s->lock);

    if (offset >= s->size_bytes)
        return 0;
    if (n > s->size_bytes - offset)
        n = (size_t)(s->size_bytes - offset);
    if (s->fd < 0) {
        memcpy(buf, s->data + offset, n);
        return (ssize_t)n;
    }
    done = pread(s->fd, buf, n, (off_t)offset);
    return done < 0 ? -errno : done;
}

void scratch_setattr(struct scratch *s, const struct stat *attr, int set)
{
    guard(&s->lock);

    if ((set & FUSE_SET_ATTR_MODE) != 0) {
        s->later.has_mode = true;
        s->mode = s->later.mode = attr->st_mode & 07777;
    }
    if ((set & FUSE_SET_ATTR_UID) != 0) {
        s->later.has_uid = true;
        s->uid = s->later.uid = attr->st_uid;
    }
    if ((set & FUSE_SET_ATTR_GID) != 0) {
        s->later.has_gid = true;
        s->gid = s->later.gid = attr->st_gid;
    }
    if ((set & FUSE_SET_ATTR_SIZE) == 0 &&
        (set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0) {
        s->later.has_mtime = true;
        s->mtime_ns = (set & FUSE_SET_ATTR_MTIME_NOW) != 0
                          ? clock_unix_ns()
                          : (int64_t)attr->st_mtim.tv_sec * 1000000000 + attr->st_mtim.tv_nsec;
        s->later.mtime_ns = s->mtime_ns;
    }
}

void scratch_later(struct scratch *s, struct later *ret)
{
    guard(&s->lock);

    *ret = s->later;
}

int scratch_copy_out(struct op *op, struct scratch *s, struct node_file *to)
{
    autofree char *buf = malloc(COPY_BYTES);
    uint64_t offset = 0;
    ssize_t n;

    if (buf == NULL)
        return -ENOMEM;
    if (to->ops->write == NULL)
        return -EROFS;
    while ((n = scratch_read(s, offset, buf, COPY_BYTES)) > 0) {
        ssize_t done = to->ops->write(op, to, offset, buf, (size_t)n);

        if (done <= 0) {
            n = done < 0 ? done : -EIO;
            break;
        }
        offset += (uint64_t)done;
    }
    if (s->secret)
        explicit_bzero(buf, COPY_BYTES);
    return n < 0 ? (int)n : 0;
}

int scratch_copy_in(struct fs *fs, struct op *op, struct scratch *s, struct node_file *from)
{
    autofree char *buf = malloc(COPY_BYTES);
    uint64_t offset = 0;
    ssize_t n;

    (void)fs;
    if (buf == NULL)
        return -ENOMEM;
    while ((n = from->ops->read(op, from, offset, buf, COPY_BYTES)) > 0) {
        ssize_t done = scratch_write(s, offset, buf, (size_t)n, false);

        if (done < 0) {
            n = done;
            break;
        }
        offset += (uint64_t)n;
    }
    if (s->secret)
        explicit_bzero(buf, COPY_BYTES);
    return n < 0 ? (int)n : 0;
}
