/* The threads that serve the kernel's requests. One more is started whenever none is left waiting:
 * a read of `@watch` or a durable commit keeps its thread, and commits that wait together share one
 * sync. */
#include "fs/engine.h"

#include "base/alloc.h"

#include <errno.h>

#define WORKERS_MAX 128u

struct workers {
    struct fs *fs;
    pthread_mutex_t lock; /* guards: what follows */
    pthread_t threads[WORKERS_MAX];
    unsigned n, idle;
    bool stop;
};

static __thread struct {
    char *data;
    size_t cap;
} reply;

void *worker_buffer(size_t n)
{
    size_t cap = n < (64u << 10) ? 64u << 10 : FS_REPLY_MAX;

    if (n > FS_REPLY_MAX)
        n = FS_REPLY_MAX;
    if (reply.data != NULL && reply.cap >= n)
        return reply.data;
    free(reply.data);
    reply.data = malloc(cap);
    reply.cap = reply.data != NULL ? cap : 0;
    return reply.data;
}

static void *worker_main(void *arg);

/* w->lock is held. */
static int start_one(struct workers *w)
{
    if (w->n == WORKERS_MAX || pthread_create(&w->threads[w->n], NULL, worker_main, w) != 0)
        return -EAGAIN;
    w->n++;
    w->idle++;
    return 0;
}

static void busy(struct workers *w)
{
    guard(&w->lock);

    if (--w->idle == 0 && !w->stop)
        start_one(w);
}

static void idle(struct workers *w)
{
    guard(&w->lock);

    w->idle++;
}

/* Somebody else took the mount down. HTTP goes on; what is in the tree is there again after the next
 * start. */
static void tell_end(struct fs *fs)
{
    if (!__atomic_exchange_n(&fs->parting, true, __ATOMIC_ACQ_REL))
        log_line(LOG_ERROR, NULL, "mount.gone",
                 "mount=%s why=it was unmounted from outside; restart the daemon to mount it again",
                 fs->options.mount);
}

static void *worker_main(void *arg)
{
    struct workers *w = arg;
    struct fuse_session *session = w->fs->session;
    struct fuse_buf buf = {0};

    pthread_setname_np(pthread_self(), "fs-worker");
    caching_enter_thread(w->fs);
    while (!fuse_session_exited(session)) {
        int n = fuse_session_receive_buf(session, &buf);

        if (n == -EINTR || n == -EAGAIN)
            continue;
        if (n <= 0) {
            tell_end(w->fs);
            break;
        }
        busy(w);
        fuse_session_process_buf(session, &buf);
        idle(w);
    }
    caching_leave_thread(w->fs);
    free(buf.mem);
    free(reply.data);
    reply.data = NULL;
    reply.cap = 0;
    return NULL;
}

int workers_start(struct fs *fs)
{
    struct workers *w = xcalloc(1, sizeof *w);
    int r;

    pthread_mutex_init(&w->lock, NULL);
    w->fs = fs;
    fs->workers = w;
    guard(&w->lock);
    r = start_one(w);
    return r == 0 ? start_one(w) : r;
}

void workers_stop(struct fs *fs)
{
    struct workers *w = fs->workers;
    unsigned n;

    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    n = w->n;
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < n; i++)
        pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->lock);
    free(take(fs->workers));
}
