#include "base/pool.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "base/wait.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

#define IDLE_MS (60 * 1000)

struct job {
    void (*f)(void *arg);
    void *arg;
    struct job *next;
};

struct pool {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;
    pthread_cond_t ended;
    struct job *first, **last;
    size_t waiting;
    unsigned threads, idle, max_threads;
    bool stopping;
    char name[16];
};

struct pool *pool_new(unsigned max_threads, const char *name)
{
    struct pool *p = xcalloc(1, sizeof *p);

    pthread_mutex_init(&p->lock, NULL);
    wait_init(&p->work);
    pthread_cond_init(&p->ended, NULL);
    p->last = &p->first;
    p->max_threads = max_threads;
    for (size_t i = 0; i + 1 < sizeof p->name && name[i] != 0; i++)
        p->name[i] = name[i];
    return p;
}

/* Called with the lock held; NULL when the thread should end. */
static struct job *next_job(struct pool *p)
{
    struct timespec until = wait_until(IDLE_MS);
    struct job *job;

    while (p->first == NULL) {
        int r;

        if (p->stopping)
            return NULL;
        p->idle++;
        r = pthread_cond_timedwait(&p->work, &p->lock, &until);
        p->idle--;
        if (r == ETIMEDOUT && p->first == NULL)
            return NULL;
    }
    job = p->first;
    p->first = job->next;
    if (p->first == NULL)
        p->last = &p->first;
    p->waiting--;
    return job;
}

static void *worker(void *arg)
{
    struct pool *p = arg;
    struct job *job;

    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    while ((job = next_job(p)) != NULL) {
        pthread_mutex_unlock(&p->lock);
        job->f(job->arg);
        free(job);
        pthread_mutex_lock(&p->lock);
    }
    p->threads--;
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Called with the lock held. Workers take no signals: they belong to main. */
static void start_worker(struct pool *p)
{
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 8 << 20); /* a deep query; what is not used costs nothing */
    if (pthread_create(&thread, &attr, worker, p) == 0)
        p->threads++;
    else if (p->threads == 0)
        abort(); /* queued work would wait for ever */
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void pool_submit(struct pool *p, void (*f)(void *arg), void *arg)
{
    struct job *job = xmalloc(sizeof *job);

    *job = (struct job){.f = f, .arg = arg};
    guard(&p->lock);
    *p->last = job;
    p->last = &job->next;
    p->waiting++;
    if (p->waiting > p->idle && p->threads < p->max_threads)
        start_worker(p);
    pthread_cond_signal(&p->work);
}

size_t pool_waiting(struct pool *p)
{
    guard(&p->lock);
    return p->waiting;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    while (p->threads > 0)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
