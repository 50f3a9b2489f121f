#include "secrets/lockmem.h"

#include "base/scope.h"
#include "op/op.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static size_t round_up(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (n + page - 1) / page * page;
}

static void *map_hidden(size_t n)
{
    autoclose int fd = (int)syscall(SYS_memfd_secret, (unsigned)O_CLOEXEC);
    void *p;

    if (fd < 0 || ftruncate(fd, (off_t)n) < 0)
        return NULL;
    p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p != MAP_FAILED ? p : NULL;
}

static void *map_locked(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        log_line(LOG_ERROR, NULL, "secrets.memory", "error=%s", strerror(errno));
        abort();
    }
    if (mlock(p, n) < 0)
        log_line(LOG_WARN, NULL, "secrets.memory_not_locked", "error=%s", strerror(errno));
    madvise(p, n, MADV_DONTDUMP);
    madvise(p, n, MADV_WIPEONFORK);
    return p;
}

void *lockmem_new(size_t n)
{
    void *p;

    n = round_up(n);
    p = map_hidden(n);
    return p != NULL ? p : map_locked(n);
}

void lockmem_free(void *p, size_t n)
{
    if (p == NULL)
        return;
    n = round_up(n);
    explicit_bzero(p, n);
    munmap(p, n);
}

bool lockmem_is_hidden(void)
{
    void *p = map_hidden(round_up(1));

    lockmem_free(p, 1);
    return p != NULL;
}
