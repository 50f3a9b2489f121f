/* The groups in time: one thread watches the clock and the files, a few evaluate. */
#include "metrics/rules/rules_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/wait.h"
#include "metrics/rules/rule_eval.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define THREADS  2
#define CHECK_MS 1000

struct run {
    struct rules *rules;
    struct group_state *group;
    int64_t ts_ms;
};

void group_state_free(struct group_state *g)
{
    for (size_t i = 0; i < g->def->n; i++) {
        alerts_free(&g->rules[i].alerts);
        free(g->rules[i].error);
        free(g->rules[i].refs);
    }
    rule_group_free(g->def);
    pthread_mutex_destroy(&g->lock);
    free(g->rules);
    free(g);
}

/* Groups are spread over their interval, each always at the same place of it. */
int64_t group_next_due(const struct group_state *g, int64_t now_ms)
{
    int64_t base = now_ms - now_ms % g->interval_ms + g->offset_ms;

    return base > now_ms ? base : base + g->interval_ms;
}

static void evaluate(struct run *run)
{
    struct rules *r = run->rules;
    struct group_state *g = run->group;
    struct evaluation ev = {
        .db = r->options.db,
        .external_url = r->external_url,
        .ts_ms = run->ts_ms,
    };
    int64_t start_ns = clock_unix_ns();
    struct jobs *config;

    ev.last = &ev.notices;
    pthread_mutex_lock(&r->lock);
    config = jobs_ref(r->config);
    pthread_mutex_unlock(&r->lock);
    ev.config = config;
    for (size_t i = 0; i < g->def->n; i++) {
        atomic_fetch_add(&r->evaluations, 1);
        if (rule_evaluate(&ev, g, &g->rules[i]) == 0)
            continue;
        atomic_fetch_add(&r->failures, 1);
        log_line(LOG_WARN, NULL, "metrics.rule.failed", "group=\"%s\" rule=\"%s\" why=\"%s\"",
                 g->def->name, g->def->rules[i].name, g->rules[i].error);
    }
    notifier_send(r->notifier, ev.notices);
    jobs_unref(config);
    pthread_mutex_lock(&g->lock);
    g->evaluated_ns = start_ns;
    g->duration_s = (double)(clock_unix_ns() - start_ns) / 1e9;
    g->iterations++;
    pthread_mutex_unlock(&g->lock);
}

static void run_group(void *arg)
{
    struct run *run = arg;
    struct rules *r = run->rules;
    struct group_state *g = run->group;
    int64_t now, missed;

    evaluate(run);
    pthread_mutex_lock(&r->lock);
    now = clock_unix_ms();
    g->due_ms = run->ts_ms + g->interval_ms;
    if (g->due_ms <= now) {
        missed = (now - g->due_ms) / g->interval_ms + 1;
        g->missed += (uint64_t)missed;
        g->due_ms += missed * g->interval_ms;
    }
    g->running = false;
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->lock);
    free(run);
}

/* Under the lock. Starts what is due; returns when the next one is. */
static int64_t start_due(struct rules *r)
{
    int64_t now = clock_unix_ms(), next = now + CHECK_MS;

    for (size_t i = 0; i < r->n; i++) {
        struct group_state *g = r->groups[i];
        struct run *run;

        if (g->running || r->paused)
            continue;
        if (g->due_ms > now + 2 * g->interval_ms) /* the clock was set back */
            g->due_ms = group_next_due(g, now);
        if (g->due_ms <= now) {
            run = xcalloc(1, sizeof *run);
            *run = (struct run){r, g, g->due_ms};
            g->running = true;
            pool_submit(r->pool, run_group, run);
        } else if (g->due_ms < next) {
            next = g->due_ms;
        }
    }
    return next;
}

static void sleep_until(struct rules *r, int64_t unix_ms)
{
    int64_t ms = unix_ms - clock_unix_ms();
    struct timespec until = wait_until(ms < 1 ? 1 : ms > CHECK_MS ? CHECK_MS : ms);

    pthread_cond_timedwait(&r->moved, &r->lock, &until);
}

static void *rules_loop(void *arg)
{
    struct rules *r = arg;
    int64_t checked_ms = 0;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        int64_t next;

        if (clock_monotonic_ms() - checked_ms >= CHECK_MS) {
            checked_ms = clock_monotonic_ms();
            pthread_mutex_unlock(&r->lock);
            rules_check(r);
            pthread_mutex_lock(&r->lock);
        }
        next = start_due(r);
        if (!r->stopping)
            sleep_until(r, next);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int rules_start(const struct rules_options *options, struct rules **ret, struct buf *why)
{
    struct rules *r = xcalloc(1, sizeof *r);
    struct scraper_state state;
    int e;

    r->options = *options;
    r->folder = xstrdup(options->folder);
    r->config_file = xstrdup(options->config_file);
    r->external_url = xstrdup(options->external_url);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->reload, NULL);
    wait_init(&r->moved);
    scraper_state(options->scraper, &state);
    r->config = state.jobs;
    r->notifier = notifier_new(options->webhook);
    notifier_configure(r->notifier, r->config);
    r->pool = pool_new(THREADS, "rules");
    e = file_make_folders(r->folder, 0750);
    if (e < 0)
        log_line(LOG_WARN, NULL, "metrics.rules.folder", "folder=%s why=%s", r->folder,
                 strerror(-e));
    e = -pthread_create(&r->thread, NULL, rules_loop, r);
    r->started = e == 0;
    if (e < 0) {
        buf_printf(why, "metrics: cannot start the rules: %s", strerror(-e));
        rules_stop(r);
        return e;
    }
    *ret = r;
    return 0;
}

void rules_stop(struct rules *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    pool_free(r->pool); /* what is being evaluated ends first */
    notifier_free(r->notifier);
    for (size_t i = 0; i < r->n; i++)
        group_state_free(r->groups[i]);
    jobs_unref(r->config);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->reload);
    pthread_cond_destroy(&r->moved);
    free(r->groups);
    free(r->error);
    free(r->folder);
    free(r->config_file);
    free(r->external_url);
    free(r);
}

void rules_look(struct rules *r, void (*f)(void *ctx, const struct group_state *g), void *ctx)
{
    guard(&r->lock);

    for (size_t i = 0; i < r->n; i++) {
        guard(&r->groups[i]->lock);
        f(ctx, r->groups[i]);
    }
}

struct notifier *rules_notifier(struct rules *r)
{
    return r->notifier;
}

uint64_t rules_failures(const struct rules *r)
{
    return atomic_load(&r->failures);
}

uint64_t rules_evaluations(const struct rules *r)
{
    return atomic_load(&r->evaluations);
}

void rules_error(struct rules *r, struct buf *ret)
{
    guard(&r->lock);

    if (r->error != NULL)
        buf_add_str(ret, r->error);
}

const char *rules_folder(const struct rules *r)
{
    return r->folder;
}
