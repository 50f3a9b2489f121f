#include "metrics/promql/gate.h"

#include "base/clock.h"
#include "base/scope.h"
#include "base/wait.h"

#include <errno.h>
#include <time.h>

#define ASK_MS 100

void gate_init(struct gate *g)
{

    *g = (struct gate){0};
    pthread_mutex_init(&g->lock, NULL);
    wait_init(&g->left);
}

void gate_done(struct gate *g)
{
    pthread_cond_destroy(&g->left);
    pthread_mutex_destroy(&g->lock);
}

/* Waits until somebody left, or it is time to ask again. */
static void wait_a_little(struct gate *g, int64_t deadline_ms)
{
    int64_t until_ms = clock_monotonic_ms() + ASK_MS;
    struct timespec until;

    if (until_ms > deadline_ms)
        until_ms = deadline_ms;
    until = (struct timespec){.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    pthread_cond_timedwait(&g->left, &g->lock, &until);
}

int gate_enter(struct gate *g, int64_t deadline_ms, bool (*cancelled)(void *ctx), void *ctx)
{
    int r = 0;

    guard(&g->lock);
    if (g->running >= GATE_RUNNING_MAX && g->waiting >= GATE_WAITING_MAX)
        return -EBUSY;
    g->waiting++;
    while (r == 0 && g->running >= GATE_RUNNING_MAX) {
        wait_a_little(g, deadline_ms);
        if (cancelled != NULL && cancelled(ctx))
            r = -ECANCELED;
        else if (clock_monotonic_ms() >= deadline_ms)
            r = -ETIMEDOUT;
    }
    g->waiting--;
    if (r == 0)
        g->running++;
    else
        pthread_cond_signal(&g->left); /* it may have been meant for another */
    return r;
}

void gate_leave(struct gate *g)
{
    guard(&g->lock);
    g->running--;
    pthread_cond_signal(&g->left);
}

unsigned gate_running(struct gate *g)
{
    guard(&g->lock);
    return g->running;
}
