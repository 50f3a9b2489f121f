#include "base/cores.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

struct crew {
    void (*f)(void *ctx, size_t worker, size_t k);
    void *ctx;
    size_t n;
    size_t next; /* atomic */
};

struct hand {
    struct crew *crew;
    size_t worker;
    pthread_t thread;
    bool started;
};

size_t cores_count(void)
{
    cpu_set_t cpus;
    size_t n = 1;

    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 0)
        n = (size_t)CPU_COUNT(&cpus);
    return n;
}

static void *work(void *arg)
{
    struct hand *h = arg;
    struct crew *c = h->crew;
    size_t k;

    while ((k = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->n)
        c->f(c->ctx, h->worker, k);
    return NULL;
}

/* A thread that does not start leaves its share to the others. */
void cores_run(size_t threads, size_t n, void (*f)(void *ctx, size_t worker, size_t k), void *ctx)
{
    struct crew crew = {f, ctx, n, 0};
    struct hand hands[CORES_MAX] = {{0}};

    if (threads > CORES_MAX)
        threads = CORES_MAX;
    if (threads > n)
        threads = n;
    for (size_t i = 1; i < threads; i++) {
        hands[i] = (struct hand){.crew = &crew, .worker = i};
        hands[i].started = pthread_create(&hands[i].thread, NULL, work, &hands[i]) == 0;
    }
    hands[0] = (struct hand){.crew = &crew};
    work(&hands[0]);
    for (size_t i = 1; i < threads; i++)
        if (hands[i].started)
            pthread_join(hands[i].thread, NULL);
}
