#include "base/file.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

int file_read(const char *path, size_t limit_bytes, struct buf *ret)
{
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    buf_clear(ret);
    for (;;) {
        char bytes[16384];
        ssize_t n = read(fd, bytes, sizeof bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        if ((size_t)n > limit_bytes - ret->len)
            return -EFBIG;
        buf_add(ret, bytes, (size_t)n);
    }
}

int file_write_all(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes = slice_skip(bytes, (size_t)n);
    }
    return 0;
}

int file_sync_folder(const char *path)
{
    autofree char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    autoclose int fd = -1;

    if (slash == folder)
        slash[1] = 0;
    else if (slash != NULL)
        *slash = 0;
    fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return fsync(fd) < 0 ? -errno : 0;
}

static int rewrite_in_place(const char *path, struct slice bytes)
{
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, 0) < 0)
        return -errno;
    r = file_write_all(fd, bytes);
    if (r < 0)
        return r;
    return fsync(fd) < 0 ? -errno : 0;
}

static int write_temporary(int fd, const char *path, struct slice bytes, mode_t mode)
{
    struct stat st;
    int r;

    if (stat(path, &st) == 0) {
        mode = st.st_mode & 07777;
        if (fchown(fd, st.st_uid, st.st_gid) < 0 && errno != EPERM)
            return -errno;
    }
    if (fchmod(fd, mode) < 0)
        return -errno;
    r = file_write_all(fd, bytes);
    if (r < 0)
        return r;
    return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, struct slice bytes, mode_t mode)
{
    autofree char *real = realpath(path, NULL);
    autofree char *temporary = NULL;
    autoclose int fd = -1;
    int r;

    if (real == NULL)
        real = xstrdup(path);
    if (asprintf(&temporary, "%s.XXXXXX", real) < 0) {
        temporary = NULL;
        return -ENOMEM;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = write_temporary(fd, real, bytes, mode);
    if (r == 0 && rename(temporary, real) < 0)
        r = -errno;
    if (r == 0)
        return file_sync_folder(real);
    unlink(temporary);
    return r == -EBUSY ? rewrite_in_place(real, bytes) : r;
}

int file_make_folders(const char *path, mode_t mode)
{
    autofree char *copy = xstrdup(path);

    for (char *p = copy + 1; *p != 0; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    if (mkdir(copy, mode) < 0 && errno != EEXIST)
        return -errno;
    return 0;
}
