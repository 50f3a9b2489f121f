/* reaper.c: frees blobs that nobody has held for the grace, every few minutes and when asked. */
#include "base/clock.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/wait.h"
#include "infrafs/infrafs.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PERIOD_MS 180000
#define LEASE_MS  600000
#define LINES_MAX (1u << 20) /* of what a run removed; the rest is left out */

static uint64_t grace_s(const struct infrafs *self)
{
    return (uint64_t)self->env.config->gc_grace_ms / 1000;
}

static int reap(struct infrafs *self, bool dry_run, struct blob_reaped *ret)
{
    char owner[32];
    int r;

    snprintf(owner, sizeof owner, "pid %d", (int)getpid());
    r = store_lease(self->env.store, SLICE("reaper"), slice_str(owner), LEASE_MS);
    if (r == 0)
        r = blob_reap(self->env.store, grace_s(self), dry_run, ret);
    guard(&self->lock);
    self->last_unix_ms = clock_unix_ms();
    self->last_was_dry = dry_run;
    self->last_result = r;
    if (r < 0)
        return r;
    self->last = *ret;
    if (!dry_run) {
        self->total.blobs += ret->blobs;
        self->total.bytes += ret->bytes;
        self->total.stages += ret->stages;
    }
    return 0;
}

/* What rules let go, domain by domain. The lines are kept for who reads. */
static int tidy(struct infrafs *self, struct op *op, bool dry_run)
{
    const struct daemon *daemon = self->env.daemon;
    struct buf lines = {.limit_bytes = LINES_MAX};
    int r = 0;

    for (size_t i = 0; r == 0 && i < daemon->n_domains; i++) {
        const struct domain *d = daemon->domains[i].domain;

        if (d->tidy != NULL)
            r = d->tidy(daemon->domains[i].self, op, dry_run, &lines);
    }
    guard(&self->lock);
    buf_done(&self->last_lines);
    self->last_lines = lines;
    return r;
}

int reaper_run(struct infrafs *self, struct op *op, bool dry_run)
{
    struct blob_reaped reaped = {0};
    int r = tidy(self, op, dry_run);

    if (r < 0)
        return op_fail(op, -r, "what rules let go was not removed: %s", strerror(-r));
    r = reap(self, dry_run, &reaped);
    if (r == -EBUSY)
        return op_fail(op, EBUSY, "another process reaps at this moment");
    return r < 0 ? op_fail(op, -r, "the blobs were not reaped: %s", strerror(-r)) : 0;
}

void reaper_print(struct infrafs *self, struct buf *out)
{
    char time[CLOCK_TEXT_MAX];

    guard(&self->lock);
    if (self->last_unix_ms == 0) {
        buf_printf(out, "no run yet; grace %llus\n", (unsigned long long)grace_s(self));
        return;
    }
    clock_print_ns(self->last_unix_ms * 1000000, 0, time);
    if (self->last_result < 0) {
        buf_printf(out, "%s failed: %s\n", time, strerror(-self->last_result));
        return;
    }
    buf_printf(out, "%s %s %llu blobs of %llu bytes and %llu unfinished uploads; grace %llus\n",
               time, self->last_was_dry ? "would free" : "freed",
               (unsigned long long)self->last.blobs, (unsigned long long)self->last.bytes,
               (unsigned long long)self->last.stages, (unsigned long long)grace_s(self));
    buf_add_slice(out, buf_slice(&self->last_lines));
}

static void *work(void *arg)
{
    struct infrafs *self = arg;

    pthread_setname_np(pthread_self(), "reaper");
    pthread_mutex_lock(&self->lock);
    for (;;) {
        struct blob_reaped reaped = {0};
        struct timespec until = wait_until(PERIOD_MS);
        int r = 0;

        while (!self->stop && r != ETIMEDOUT)
            r = pthread_cond_timedwait(&self->wake, &self->lock, &until);
        if (self->stop)
            break;
        pthread_mutex_unlock(&self->lock);
        r = reap(self, false, &reaped);
        if (r < 0 && r != -EBUSY)
            log_line(LOG_ERROR, NULL, "blobs.unreaped", "error=%s", strerror(-r));
        else if (reaped.blobs > 0 || reaped.stages > 0)
            log_line(LOG_INFO, NULL, "blobs.reaped", "blobs=%llu bytes=%llu uploads=%llu",
                     (unsigned long long)reaped.blobs, (unsigned long long)reaped.bytes,
                     (unsigned long long)reaped.stages);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

int reaper_start(struct infrafs *self)
{
    int r = pthread_create(&self->reaper, NULL, work, self);

    self->started = r == 0;
    return -r;
}

void reaper_stop(struct infrafs *self)
{
    pthread_mutex_lock(&self->lock);
    self->stop = true;
    pthread_cond_signal(&self->wake);
    pthread_mutex_unlock(&self->lock);
    if (self->started)
        pthread_join(self->reaper, NULL);
}
