#include "fs/event.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#define EVENTS_WAITING 256u

struct waiting {
    UT_hash_handle hh; /* keeps the order of adding */
    char path[];
};

struct events {
    char *mount;
    pthread_t thread;
    bool started;
    _Atomic pid_t tid;
    pthread_mutex_t lock; /* guards: what follows */
    pthread_cond_t work;
    struct waiting *paths;
    int root; /* of the mount; -1 before it works */
    bool stop;
};

static struct waiting *next(struct events *e)
{
    struct waiting *w;
    guard(&e->lock);

    while (!e->stop && (e->paths == NULL || e->root < 0))
        pthread_cond_wait(&e->work, &e->lock);
    w = e->stop ? NULL : e->paths;
    if (w != NULL)
        HASH_DEL(e->paths, w);
    return w;
}

static void *events_main(void *arg)
{
    struct events *e = arg;
    struct waiting *w;

    pthread_setname_np(pthread_self(), "fs-events");
    e->tid = gettid();
    while ((w = next(e)) != NULL) {
        int fd = openat(e->root, w->path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        if (fd >= 0)
            close(fd);
        free(w);
    }
    return NULL;
}

struct events *events_start(const char *mount)
{
    struct events *e = xcalloc(1, sizeof *e);

    e->mount = xstrdup(mount);
    e->root = -1;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    e->started = pthread_create(&e->thread, NULL, events_main, e) == 0;
    return e;
}

void events_ready(struct events *e)
{
    int root = open(e->mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
    guard(&e->lock);

    e->root = root;
    pthread_cond_signal(&e->work);
}

void events_add(struct events *e, const char *path)
{
    size_t len = strlen(path);
    struct waiting *w = NULL;
    guard(&e->lock);

    HASH_FIND(hh, e->paths, path, len, w);
    if (!e->started || e->stop || w != NULL || HASH_COUNT(e->paths) >= EVENTS_WAITING || len == 0)
        return;
    w = xcalloc(1, sizeof *w + len + 1);
    memcpy(w->path, path, len);
    HASH_ADD(hh, e->paths, path, len, w);
    pthread_cond_signal(&e->work);
}

bool events_is(const struct events *e, pid_t tid)
{
    return tid != 0 && e->tid == tid;
}

void events_stop(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    if (e->started)
        pthread_join(e->thread, NULL);
    e->started = false;
    if (e->root >= 0)
        close(e->root); /* it would keep the mount busy */
    e->root = -1;
}

void events_free(struct events *e)
{
    struct waiting *w, *after;

    HASH_ITER(hh, e->paths, w, after)
    {
        HASH_DEL(e->paths, w);
        free(w);
    }
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    free(e->mount);
    free(e);
}
