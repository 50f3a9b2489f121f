/* wait.c: streams, which have something to read only now and then. A reader that would block is
 * parked without a thread; when the domain says that there may be something, one thread here asks
 * for all that are parked, and tells those who poll.
 *
 * A parked request is answered by that thread alone, also when its reader was interrupted: libfuse
 * calls the interrupt function with locks of the request held, where it cannot be answered. */
#include "fs/engine.h"

#include "base/alloc.h"

#include <errno.h>
#include <poll.h>
#include <utlist.h>

#define PARKED_MAX 4096u /* readers of one mount */
#define STREAM_MAX 4096u

struct parked {
    struct parked *next;
    fuse_req_t req;
    size_t size;
};

/* What a handle of a stream has besides. Guarded by waiting->lock. */
struct wait {
    struct fs *fs;
    struct handle *handle;
    struct parked *parked;
    struct fuse_pollhandle *poll; /* who is to be told once */
    bool queued;                  /* holds a reference of the handle */
    struct wait *next;            /* of waiting->queue */
};

struct waiting {
    struct fs *fs;
    pthread_t thread;
    pthread_mutex_t lock; /* guards: what follows, and each struct wait; no call is made with it */
    pthread_cond_t work;
    struct wait *queue;
    unsigned n_parked;
    bool stop; /* nobody is parked any more */
    bool quit; /* the thread ends when its queue is empty */
    bool ended;
};

bool wait_is_stream(const struct handle *h)
{
    return h->file != NULL && h->file->ops->on_ready != NULL;
}

/* A reference, unless the handle is about to go. */
static bool hold(struct handle *h)
{
    unsigned refs = atomic_load(&h->refs);

    while (refs > 0)
        if (atomic_compare_exchange_weak(&h->refs, &refs, refs + 1))
            return true;
    return false;
}

/* From any thread: the domain's, libfuse's. */
static void wake(void *ctx)
{
    struct wait *w = ctx;
    struct waiting *waiting = w->fs->waiting;
    guard(&waiting->lock);

    if (waiting->ended || w->queued || !hold(w->handle))
        return;
    w->queued = true;
    LL_APPEND(waiting->queue, w);
    pthread_cond_signal(&waiting->work);
}

static void interrupted(fuse_req_t req, void *ctx)
{
    (void)req;
    wake(ctx);
}

void wait_open(struct fs *fs, struct handle *h)
{
    h->wait = xcalloc(1, sizeof *h->wait);
    h->wait->fs = fs;
    h->wait->handle = h;
    h->file->ops->on_ready(h->file, wake, h->wait);
}

void wait_close(struct handle *h)
{
    if (h->wait == NULL)
        return;
    if (h->wait->poll != NULL)
        fuse_pollhandle_destroy(h->wait->poll);
    free(h->wait);
}

/* Asks once, in the opener's name. -EAGAIN: nothing yet. */
static ssize_t read_stream(struct fs *fs, struct handle *h, char *buf, size_t size)
{
    struct call c;
    ssize_t n;

    call_begin_as(&c, fs, h);
    guard(&h->lock);
    n = h->file->ops->read(&c.op, h->file, 0, buf, size);
    call_end(&c);
    return n;
}

static void answer(fuse_req_t req, const char *buf, ssize_t n)
{
    if (n >= 0)
        fuse_reply_buf(req, buf, (size_t)n);
    else
        fuse_reply_err(req, -(int)n);
}

/* false: too many wait already. */
static bool park(struct waiting *waiting, struct wait *w, fuse_req_t req, size_t size)
{
    struct parked *p;
    guard(&waiting->lock);

    if (waiting->stop || waiting->n_parked == PARKED_MAX)
        return false;
    p = xcalloc(1, sizeof *p);
    p->req = req;
    p->size = size;
    LL_APPEND(w->parked, p);
    waiting->n_parked++;
    return true;
}

/* It is asked for again once it is parked, so that nothing falls between. */
void wait_read(struct call *c, struct handle *h, size_t size, bool nonblock)
{
    char buf[STREAM_MAX];
    ssize_t n;

    if (size > sizeof buf)
        size = sizeof buf;
    n = read_stream(c->fs, h, buf, size);
    if (n != -EAGAIN || nonblock) {
        answer(c->req, buf, n);
        return;
    }
    fuse_req_interrupt_func(c->req, interrupted, h->wait);
    if (park(c->fs->waiting, h->wait, c->req, size)) {
        wake(h->wait);
        return;
    }
    fuse_req_interrupt_func(c->req, NULL, NULL);
    fuse_reply_err(c->req, EMFILE);
}

/* Takes a parked request that has an answer, or all when it stops. */
static bool try_one(struct waiting *waiting, struct handle *h, struct parked *p, bool stop)
{
    char buf[STREAM_MAX];
    ssize_t n = -EINTR;

    if (!stop && fuse_req_interrupted(p->req) == 0)
        n = read_stream(waiting->fs, h, buf, p->size);
    if (n == -EAGAIN)
        return false;
    fuse_req_interrupt_func(p->req, NULL, NULL);
    answer(p->req, buf, n);
    return true;
}

static void serve_wait(struct waiting *waiting, struct wait *w)
{
    struct parked *all, *p, *next, *left = NULL;
    struct fuse_pollhandle *poll;
    bool stop, ready;

    pthread_mutex_lock(&waiting->lock);
    all = take(w->parked);
    poll = take(w->poll);
    stop = waiting->stop;
    pthread_mutex_unlock(&waiting->lock);
    LL_FOREACH_SAFE(all, p, next)
    {
        bool done = try_one(waiting, w->handle, p, stop);

        pthread_mutex_lock(&waiting->lock);
        if (done)
            waiting->n_parked--;
        pthread_mutex_unlock(&waiting->lock);
        if (done)
            free(p);
        else
            LL_APPEND(left, p);
    }
    ready = stop || (poll != NULL && read_stream(waiting->fs, w->handle, NULL, 0) != -EAGAIN);
    if (poll != NULL && ready) {
        fuse_lowlevel_notify_poll(poll);
        fuse_pollhandle_destroy(take(poll));
    }
    pthread_mutex_lock(&waiting->lock);
    LL_CONCAT(left, w->parked); /* those of before come first */
    w->parked = left;
    if (w->poll == NULL)
        w->poll = take(poll);
    pthread_mutex_unlock(&waiting->lock);
    if (poll != NULL)
        fuse_pollhandle_destroy(poll);
}

static void *waiting_main(void *arg)
{
    struct waiting *waiting = arg;

    pthread_setname_np(pthread_self(), "fs-wait");
    pthread_mutex_lock(&waiting->lock);
    for (;;) {
        struct wait *w = waiting->queue;

        waiting->ended = w == NULL && waiting->quit;
        if (waiting->ended)
            break;
        if (w == NULL) {
            pthread_cond_wait(&waiting->work, &waiting->lock);
            continue;
        }
        LL_DELETE(waiting->queue, w);
        w->queued = false;
        pthread_mutex_unlock(&waiting->lock);
        serve_wait(waiting, w);
        handle_unref(waiting->fs, w->handle);
        pthread_mutex_lock(&waiting->lock);
    }
    pthread_mutex_unlock(&waiting->lock);
    return NULL;
}

int waiting_start(struct fs *fs)
{
    struct waiting *waiting = xcalloc(1, sizeof *waiting);

    pthread_mutex_init(&waiting->lock, NULL);
    pthread_cond_init(&waiting->work, NULL);
    waiting->fs = fs;
    fs->waiting = waiting;
    if (pthread_create(&waiting->thread, NULL, waiting_main, waiting) == 0)
        return 0;
    waiting->stop = waiting->ended = true; /* nobody is to be joined */
    return -EAGAIN;
}

void waiting_stop(struct fs *fs)
{
    struct waiting *waiting = fs->waiting;

    if (waiting == NULL || waiting->stop)
        return;
    pthread_mutex_lock(&waiting->lock);
    waiting->stop = true;
    pthread_mutex_unlock(&waiting->lock);
    pthread_mutex_lock(&fs->lock);
    for (struct handle *h = fs->every_handle; h != NULL; h = h->newer)
        if (h->wait != NULL)
            wake(h->wait);
    pthread_mutex_unlock(&fs->lock);
    pthread_mutex_lock(&waiting->lock);
    waiting->quit = true; /* all who wait are in the queue by now */
    pthread_cond_signal(&waiting->work);
    pthread_mutex_unlock(&waiting->lock);
    pthread_join(waiting->thread, NULL);
}

void waiting_free(struct fs *fs)
{
    struct waiting *waiting = fs->waiting;

    if (waiting == NULL)
        return;
    pthread_cond_destroy(&waiting->work);
    pthread_mutex_destroy(&waiting->lock);
    free(take(fs->waiting));
}

/* Everything but a stream is always ready. */
void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
             struct fuse_pollhandle *poll)
{
    struct fs *fs = fuse_req_userdata(req);
    struct handle *h = handle_get(fi);
    struct fuse_pollhandle *old = NULL;
    bool stream = h != NULL && wait_is_stream(h);

    (void)ino;
    if (stream && poll != NULL) {
        guard(&fs->waiting->lock);
        old = h->wait->poll;
        h->wait->poll = take(poll);
    }
    if (old != NULL)
        fuse_pollhandle_destroy(old);
    if (poll != NULL)
        fuse_pollhandle_destroy(poll);
    if (!stream)
        fuse_reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
    else if (read_stream(fs, h, NULL, 0) != -EAGAIN)
        fuse_reply_poll(req, POLLIN | POLLRDNORM);
    else
        fuse_reply_poll(req, 0);
    handle_unref(fs, h);
}
