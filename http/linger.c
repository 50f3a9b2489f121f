#include "http/request.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

/* At once; more are closed the hard way. Each has a worker. */
#define LINGERING_MAX 8u
#define LINGER_MS     3000

struct lingering {
    struct http *http;
    int fd;
};

static void drain(int fd)
{
    char bytes[16 << 10];
    int64_t until_ms = clock_monotonic_ms() + LINGER_MS;
    int64_t left_ms;

    shutdown(fd, SHUT_WR);
    while ((left_ms = until_ms - clock_monotonic_ms()) > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, (int)left_ms) <= 0 || recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0)
            return;
    }
}

static void job_linger(void *arg)
{
    struct lingering *l = arg;

    drain(l->fd);
    close(l->fd);
    __atomic_sub_fetch(&l->http->lingering, 1, __ATOMIC_RELAXED);
    free(l);
}

void request_linger(struct request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http *http = r->http;
    struct lingering *l;
    int fd;

    if (info == NULL || r->listener->tls != NULL ||
        __atomic_load_n(&http->stopping, __ATOMIC_RELAXED))
        return;
    if (__atomic_add_fetch(&http->lingering, 1, __ATOMIC_RELAXED) > LINGERING_MAX) {
        __atomic_sub_fetch(&http->lingering, 1, __ATOMIC_RELAXED);
        return;
    }
    fd = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        __atomic_sub_fetch(&http->lingering, 1, __ATOMIC_RELAXED);
        return;
    }
    l = xmalloc(sizeof *l);
    *l = (struct lingering){http, fd};
    pool_submit(http->workers, job_linger, l);
}
