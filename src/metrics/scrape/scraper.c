/* The thread that scrapes: a heap of what is due, libcurl for what is under way. */
#include "metrics/scrape/scraper.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/scrape/scraper_internal.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/resource.h>

#define ALIGN_MS     2    /* a scrape so much after its tick counts as on time */
#define CONNECTIONS  65536 /* kept open between scrapes, at most */
#define COMPLAIN_MS  10000
#define PARSE_BUDGET 50 /* ms of parsing before what is due is looked at again */
#define JUMP_MS      1000 /* a clock that moved so much was set; less is late or early once */
#define LOOK_MS      50   /* between two looks at clocks; more says nothing of them */
#define AWAY_MS      100  /* of a turn of the loop: from here on targets did not make it long */

static void heap_swap(struct scraper *s, size_t a, size_t b)
{
    struct target *t = s->heap[a];

    s->heap[a] = s->heap[b];
    s->heap[b] = t;
}

static void heap_push(struct scraper *s, struct target *t)
{
    size_t i = s->n_heap;

    if (s->n_heap == s->cap_heap) {
        s->cap_heap = s->cap_heap == 0 ? 64 : 2 * s->cap_heap;
        s->heap = xrealloc(s->heap, s->cap_heap * sizeof *s->heap);
    }
    s->heap[s->n_heap++] = t;
    for (; i > 0 && s->heap[(i - 1) / 2]->due_ms > t->due_ms; i = (i - 1) / 2)
        heap_swap(s, i, (i - 1) / 2);
}

static struct target *heap_pop(struct scraper *s)
{
    struct target *first = s->heap[0];
    size_t i = 0;

    s->heap[0] = s->heap[--s->n_heap];
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && s->heap[child + 1]->due_ms < s->heap[child]->due_ms)
            child++;
        if (s->heap[i]->due_ms <= s->heap[child]->due_ms)
            break;
        heap_swap(s, i, child);
        i = child;
    }
    return first;
}

/* The first tick of the target at or after now. */
static int64_t next_tick(const struct target *t, int64_t now_ms)
{
    int64_t since = (now_ms - t->offset_ms) % t->interval_ms;

    return since == 0 ? now_ms : now_ms + t->interval_ms - since;
}

static void again(struct scraper *s, struct target *t)
{
    t->due_ms = next_tick(t, clock_unix_ms() + ALIGN_MS + 1);
    heap_push(s, t);
}

/* Without a request: the target is down for a reason of ours. */
static void fail_target(struct scraper *s, struct target *t, const char *reason)
{
    struct scrape scrape = {.ts_ms = t->due_ms, .now_ms = t->due_ms, .error = reason};

    if (t->job->sd_url == NULL)
        ingest(t, &s->options.into, &scrape);
    else
        log_line(LOG_ERROR, NULL, "metrics.discovery", "url=%s error=%s", t->url, reason);
    again(s, t);
}

static void begin(struct scraper *s, struct target *t)
{
    autobuf why = {0};
    struct fetch *f;
    int64_t late;

    if (t->over_limit) {
        fail_target(s, t, "target_limit exceeded");
        return;
    }
    f = fetch_new(t, s->options.body_bytes_max, &why);

    if (f == NULL || curl_multi_add_handle(s->multi, f->curl) != CURLM_OK) {
        fetch_free(f);
        fail_target(s, t, why.len > 0 ? why.data : "cannot begin a request");
        return;
    }
    f->start_ns = clock_monotonic_ns();
    f->ts_ms = clock_unix_ms();
    late = f->ts_ms - t->due_ms;
    if (late <= ALIGN_MS && late * 100 <= t->interval_ms) /* a regular time takes no room */
        f->ts_ms = t->due_ms;
    t->fetch = f;
}

/* Ticks are times of the wall clock, so that they are the same at each start. All that wait get new
 * ones: behind a clock that was set back nothing would be due, ahead of it all would be at once. */
static void find_ticks(struct scraper *s, int64_t now_ms)
{
    size_t n = s->n_heap;

    s->n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        struct target *t = s->heap[i]; /* those that were pushed stand before it */

        t->due_ms = next_tick(t, now_ms);
        heap_push(s, t);
    }
    push_clock_was_set(s);
}

static void follow_clock(struct scraper *s)
{
    int64_t before_ms = clock_monotonic_ms();
    int64_t now_ms = clock_unix_ms();
    int64_t after_ms = clock_monotonic_ms();
    int64_t moved_ms = now_ms - after_ms - s->clock_ms;

    if (after_ms - before_ms > LOOK_MS)
        return;
    s->clock_ms += moved_ms;
    if (moved_ms > -JUMP_MS && moved_ms < JUMP_MS)
        return;
    log_line(LOG_WARN, NULL, "metrics.clock.set", "moved_ms=%" PRId64, moved_ms);
    find_ticks(s, now_ms);
}

static void begin_due(struct scraper *s)
{
    int64_t now_ms = clock_unix_ms();

    while (s->n_heap > 0 && s->heap[0]->due_ms <= now_ms)
        begin(s, heap_pop(s));
}

/* What a source of targets said; what it said before stays in force if that is of no use. */
static void take_discovery(struct scraper *s, struct target *t, const struct scrape *answer)
{
    autobuf why = {0};

    if (http_source_take(&s->sources, t, answer, &why) > 0)
        __atomic_store_n(&s->sources_changed, true, __ATOMIC_RELEASE);
    if (why.len > 0)
        log_line(LOG_ERROR, NULL, "metrics.discovery", "url=%s error=%s", t->url, why.data);
    again(s, t);
}

static void finish(struct scraper *s, struct fetch *f, CURLcode code)
{
    struct target *t = f->target;
    autobuf why = {0};
    struct scrape scrape;
    int r;

    fetch_result(f, code, &why, &scrape);
    curl_multi_remove_handle(s->multi, f->curl);
    t->fetch = NULL;
    if (!t->removed && t->job->sd_url != NULL) {
        take_discovery(s, t, &scrape);
    } else if (!t->removed) {
        r = ingest(t, &s->options.into, &scrape);
        if (r < 0 && clock_monotonic_ms() - s->complained_ms > COMPLAIN_MS) {
            s->complained_ms = clock_monotonic_ms(); /* a full disk fails all */
            log_line(LOG_ERROR, NULL, "metrics.scrape.lost", "url=%s error=%s", t->url,
                     strerror(-r));
        }
        again(s, t);
    }
    fetch_free(f);
}

static void finish_done(struct scraper *s)
{
    int64_t until = clock_monotonic_ms() + PARSE_BUDGET;
    CURLMsg *m;
    int left = 0;

    while (clock_monotonic_ms() < until && (m = curl_multi_info_read(s->multi, &left)) != NULL) {
        char *f = NULL;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &f);
        finish(s, (struct fetch *)(void *)f, m->data.result);
    }
}

static int cmp_labels(const void *a, const void *b)
{
    const struct pairs *x = &(*(const struct target *const *)a)->labels;
    const struct pairs *y = &(*(const struct target *const *)b)->labels;
    int order = 0;

    for (size_t i = 0; i < x->n && i < y->n && order == 0; i++) {
        order = strcmp(x->items[i].name, y->items[i].name);
        order = order != 0 ? order : strcmp(x->items[i].value, y->items[i].value);
    }
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

/* Those that are scraped, by their labels: where another target makes the same series, they are not
 * gone. Returns new. */
static struct target **list_heirs(const struct scraper *s)
{
    struct target **heirs = xcalloc(s->targets.n + 1, sizeof *heirs);

    if (s->targets.n > 0) {
        memcpy(heirs, s->targets.items, s->targets.n * sizeof *heirs);
        qsort(heirs, s->targets.n, sizeof *heirs, cmp_labels);
    }
    return heirs;
}

/* Ends what was removed; `silent`: without stale markers, at the end of the daemon. */
static void bury(struct scraper *s, bool silent)
{
    int64_t now_ms = clock_unix_ms();
    struct target **heirs;

    if (s->gone.n == 0)
        return;
    heirs = list_heirs(s);
    for (size_t i = 0; i < s->gone.n; i++) {
        struct target *t = s->gone.items[i];

        if (t->fetch != NULL) {
            curl_multi_remove_handle(s->multi, t->fetch->curl);
            fetch_free(t->fetch);
        }
        if (!silent && t->job->sd_url == NULL &&
            bsearch(&t, heirs, s->targets.n, sizeof *heirs, cmp_labels) == NULL)
            ingest_end(t, s->options.into.db, now_ms);
        target_free(t);
    }
    s->gone.n = 0;
    free(heirs);
}

static void mark_gone(struct scraper *s, struct target *t)
{
    t->removed = true;
    if (s->gone.n == s->gone.cap) {
        s->gone.cap = s->gone.cap == 0 ? 16 : 2 * s->gone.cap;
        s->gone.items = xrealloc(s->gone.items, s->gone.cap * sizeof(struct target *));
    }
    s->gone.items[s->gone.n++] = t;
}

/* The state of a target that did not change goes on under its new configuration. */
static void keep(struct targets *fresh, size_t i, struct target *old)
{
    struct target *t = fresh->items[i];
    struct jobs *jobs = old->jobs;

    HASH_DEL(fresh->by_key, t);
    old->jobs = t->jobs;
    old->job = t->job;
    old->over_limit = t->over_limit;
    t->jobs = jobs; /* the old one's reference goes with the new target */
    target_free(t);
    fresh->items[i] = old;
    HASH_ADD_KEYPTR(hh, fresh->by_key, old->key, strlen(old->key), old);
}

/* Those that are in no configuration any more go. */
static void set_sources(struct scraper *s, struct http_sources *fresh)
{
    for (size_t i = 0; i < fresh->n; i++)
        if (fresh->items[i].asked->fetch == NULL)
            heap_push(s, fresh->items[i].asked);
    for (size_t i = 0; i < s->sources.n; i++)
        if (s->sources.items[i].asked != NULL)
            mark_gone(s, take(s->sources.items[i].asked));
    http_sources_done(&s->sources);
    s->sources = *fresh;
}

void scraper_set_targets(struct scraper *s, struct targets *fresh, struct http_sources *sources)
{
    int64_t now_ms = clock_unix_ms();

    s->n_heap = 0;
    set_sources(s, sources);
    for (size_t i = 0; i < fresh->n; i++) {
        struct target *old;

        HASH_FIND_STR(s->targets.by_key, fresh->items[i]->key, old);
        if (old != NULL) {
            HASH_DEL(s->targets.by_key, old);
            keep(fresh, i, old);
        } else {
            fresh->items[i]->due_ms = next_tick(fresh->items[i], now_ms);
        }
        if (fresh->items[i]->fetch == NULL)
            heap_push(s, fresh->items[i]);
    }
    for (struct target *t = s->targets.by_key; t != NULL; t = t->hh.next)
        mark_gone(s, t); /* what is still here was not kept */
    HASH_CLEAR(hh, s->targets.by_key);
    s->targets.n = 0;
    targets_done(&s->targets);
    s->targets = *fresh;
    *fresh = (struct targets){0};
}

static int wait_ms(const struct scraper *s, int64_t push_ms)
{
    int64_t next_ms = s->n_heap > 0 && s->heap[0]->due_ms < push_ms ? s->heap[0]->due_ms : push_ms;
    int limit_ms = config_wait_ms(s);
    int64_t ms = next_ms == INT64_MAX ? limit_ms : next_ms - clock_unix_ms();

    return ms < 0 ? 0 : ms > limit_ms ? limit_ms : (int)ms;
}

/* A large body, a disk that is slow to sync or a machine that is busy kept the thread from taking
 * answers that may be here: that time is not the targets', whose requests would all end as late. */
static void forgive(struct scraper *s, int64_t away_ms)
{
    if (away_ms < AWAY_MS)
        return;
    for (size_t i = 0; i < s->targets.n; i++)
        if (s->targets.items[i]->fetch != NULL)
            fetch_forgive(s->targets.items[i]->fetch, away_ms);
    for (size_t i = 0; i < s->sources.n; i++)
        if (s->sources.items[i].asked != NULL && s->sources.items[i].asked->fetch != NULL)
            fetch_forgive(s->sources.items[i].asked->fetch, away_ms);
}

/* Waits for answers. Returns how long it waited for them: one that took longer than was asked for
 * was none. Without the lock. */
static int64_t wait_for_answers(struct scraper *s, struct curl_waitfd *notify, int wait)
{
    int64_t begun_ms = clock_monotonic_ms();
    int64_t ms;

    curl_multi_poll(s->multi, notify, s->notify >= 0, wait, NULL);
    ms = clock_monotonic_ms() - begun_ms;
    return ms <= wait + AWAY_MS ? ms : 0;
}

static void *scrape_loop(void *arg)
{
    struct scraper *s = arg;
    struct curl_waitfd notify = {.fd = s->notify, .events = CURL_WAIT_POLLIN};
    int64_t turn_ms = clock_monotonic_ms();
    int64_t waited_ms = 0;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        int64_t last_ms = turn_ms;
        int running = 0;
        int wait;

        turn_ms = clock_monotonic_ms();
        bury(s, false);
        forgive(s, turn_ms - last_ms - waited_ms);
        follow_clock(s);
        begin_due(s);
        curl_multi_perform(s->multi, &running);
        finish_done(s);
        wait = wait_ms(s, push_due(s));
        pthread_mutex_unlock(&s->lock);
        waited_ms = wait_for_answers(s, &notify, wait);
        config_check(s, (notify.revents & CURL_WAIT_POLLIN) != 0);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* All targets' connections if the files that may be open are enough: to make room for one libcurl
 * looks at each. */
static long connections_max(void)
{
    struct rlimit files;
    rlim_t n = getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur / 4 * 3 : 256;

    return (long)(n < CONNECTIONS ? n : CONNECTIONS);
}

static char *folder_of(const char *file)
{
    autofree char *copy = xstrdup(file);

    return xstrdup(dirname(copy));
}

int scraper_start(const struct scraper_options *options, struct scraper **ret, struct buf *why)
{
    struct scraper *s = xcalloc(1, sizeof *s);
    autobuf reason = {0};
    int r;

    curl_global_init(CURL_GLOBAL_DEFAULT);
    s->options = *options;
    s->clock_ms = clock_unix_ms() - clock_monotonic_ms();
    s->complained_ms = INT64_MIN / 2;
    s->file = xstrdup(options->file);
    s->folder = folder_of(options->file);
    s->multi = curl_multi_init();
    curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, connections_max());
    curl_multi_setopt(s->multi, CURLMOPT_PIPELINING, 0l);
    pthread_mutex_init(&s->reload, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pushes_init(&s->pushes);
    if (options->store != NULL && pushes_load(&s->pushes, options->store) < 0)
        log_line(LOG_ERROR, NULL, "metrics.push.lost", "cannot read what was pushed");
    jobs_parse(SLICE(""), NULL, &s->jobs, &reason);
    s->extra = xcalloc(1, sizeof *s->extra);
    s->notify = config_watch(s->file);
    r = scraper_reload(s, &reason);
    if (r < 0) /* the rest of the daemon must come up all the same */
        log_line(LOG_ERROR, NULL, "metrics.config.refused", "file=%s why=%s", s->file, reason.data);
    r = -pthread_create(&s->thread, NULL, scrape_loop, s);
    if (r < 0) {
        buf_printf(why, "metrics: cannot start the scraper: %s", strerror(-r));
        scraper_stop(s);
        return r;
    }
    s->running = true;
    *ret = s;
    return 0;
}

void scraper_stop(struct scraper *s)
{
    if (s == NULL)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_mutex_unlock(&s->lock);
        curl_multi_wakeup(s->multi);
        pthread_join(s->thread, NULL);
    }
    for (size_t i = 0; i < s->targets.n; i++)
        mark_gone(s, s->targets.items[i]);
    set_sources(s, &(struct http_sources){0});
    HASH_CLEAR(hh, s->targets.by_key);
    s->targets.n = 0;
    bury(s, true);
    targets_done(&s->targets);
    targets_done(&s->gone);
    pushes_done(&s->pushes);
    config_done(s);
    curl_multi_cleanup(s->multi);
    if (s->notify >= 0)
        close(s->notify);
    pthread_mutex_destroy(&s->reload);
    pthread_mutex_destroy(&s->lock);
    free(s->heap);
    free(s->file);
    free(s->folder);
    free(s);
}

void scraper_state(struct scraper *s, struct scraper_state *ret)
{
    guard(&s->lock);
    *ret = (struct scraper_state){
        .jobs = jobs_ref(s->jobs),
        .reload_ok = s->reload_ok,
        .reloaded_ms = s->reloaded_ms,
    };
    memcpy(ret->error, s->error, sizeof ret->error);
}

void scraper_look(struct scraper *s, void (*f)(void *ctx, const struct targets *targets), void *ctx)
{
    guard(&s->lock);
    f(ctx, &s->targets);
}
