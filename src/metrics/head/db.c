#include "metrics/head/db.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/wait.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdlib.h>

#define LOG_BYTES_MAX (128ull << 20) /* a second or so of replay */
#define LOADED_PART   64             /* of that much is worth a run once a load is over */
#define QUIET_LOOKS   2
#define QUIET_SAMPLES 5000 /* between two looks */
#define FUTURE_MS     (11 * 60 * 1000ll)
#define RETRY_MS      30000
#define RETAIN_MS     60000
#define GROUPS_BYTES  (32u << 20)

/* What is dropped for its age does not come back: a clock that leaps ahead is not believed at once.
 * After the start it is if it agrees with what is stored. */
static int64_t sober_ms(struct db *db)
{
    guard(&db->sober_lock);
    return clock_sober(&db->sober, clock_unix_ms(), clock_monotonic_ms());
}

static void *maintain_loop(void *arg)
{
    struct db *db = arg;

    pthread_mutex_lock(&db->thread_lock);
    while (!db->stopping) {
        struct timespec at = wait_until(1000);

        pthread_cond_timedwait(&db->thread_wake, &db->thread_lock, &at);
        pthread_mutex_unlock(&db->thread_lock);
        db_maintain(db, clock_unix_ms(), sober_ms(db));
        pthread_mutex_lock(&db->thread_lock);
    }
    pthread_mutex_unlock(&db->thread_lock);
    return NULL;
}

#define COMPACT_MS       10000
#define COMPACT_RETRY_MS 600000 /* after a failure: it writes much before it fails again */

static void *compact_loop(void *arg)
{
    struct db *db = arg;
    int r = 0;

    pthread_mutex_lock(&db->thread_lock);
    while (!db->stopping) {
        struct timespec at = wait_until(r < 0 ? COMPACT_RETRY_MS : COMPACT_MS);

        pthread_cond_timedwait(&db->thread_wake, &db->thread_lock, &at);
        if (db->stopping)
            break;
        pthread_mutex_unlock(&db->thread_lock);
        do
            r = db_compact(db, sober_ms(db));
        while (r > 0 && !__atomic_load_n(&db->compact_stop, __ATOMIC_ACQUIRE));
        pthread_mutex_lock(&db->thread_lock);
    }
    pthread_mutex_unlock(&db->thread_lock);
    return NULL;
}

static int db_load(struct db *db)
{
    int r = series_load(db);

    if (r == 0)
        r = runs_load(db);
    if (r == 0)
        r = store_log_open(db->store, "metrics", &db->log);
    if (r == 0)
        r = log_replay(db);
    if (r == 0)
        deletes_resume(db);
    return r;
}

static int64_t newest_stored_ms(const struct db *db)
{
    int64_t ms = db->head_samples > 0 ? db->max_ms : 0;

    for (size_t i = 0; i < db->n_runs; i++)
        if (db->runs[i].end_ms > ms)
            ms = db->runs[i].end_ms;
    return ms > 0 ? ms : clock_unix_ms(); /* nothing is to be lost yet */
}

int db_open(struct store *store, const struct db_options *options, struct db **ret, struct buf *why)
{
    struct db *db = xcalloc(1, sizeof *db);
    pthread_rwlockattr_t fair; /* long queries must not keep the scraper out */
    int r;

    db->store = store;
    db->options = *options;
    if (db->options.log_bytes_max == 0)
        db->options.log_bytes_max = LOG_BYTES_MAX;
    pthread_mutex_init(&db->append, NULL);
    pthread_mutex_init(&db->flushing, NULL);
    pthread_mutex_init(&db->thread_lock, NULL);
    pthread_mutex_init(&db->sober_lock, NULL);
    pthread_mutex_init(&db->pending_lock, NULL);
    pthread_cond_init(&db->pending_room, NULL);
    db->pending_last = &db->pending;
    wait_init(&db->thread_wake);
    pthread_rwlockattr_init(&fair);
    pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&db->lock, &fair);
    pthread_rwlockattr_destroy(&fair);
    db->index = index_new();
    db->payloads = payloads_new();
    db->sinces = sinces_new();
    db->groups = group_cache_new(GROUPS_BYTES);
    db->oldest_bucket = INT64_MAX;
    db->bucket = -1;
    db->flushed_ms = clock_monotonic_ms();
    r = db_load(db);
    if (r < 0) {
        buf_printf(why, "metrics: cannot read what is stored: %s", strerror(-r));
        db_close(db);
        return r;
    }
    db->sober.offset_ms = newest_stored_ms(db) - clock_monotonic_ms();
    if (!options->no_thread) {
        pthread_create(&db->thread, NULL, maintain_loop, db);
        db->running = true;
        db->compacting = pthread_create(&db->compactor, NULL, compact_loop, db) == 0;
    }
    *ret = db;
    return 0;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    if (db->running) {
        pthread_mutex_lock(&db->thread_lock);
        db->stopping = true;
        __atomic_store_n(&db->compact_stop, true, __ATOMIC_RELEASE);
        pthread_cond_broadcast(&db->thread_wake);
        pthread_mutex_unlock(&db->thread_lock);
        pthread_join(db->thread, NULL);
        if (db->compacting)
            pthread_join(db->compactor, NULL);
    }
    if (db->log != NULL) {
        store_log_sync(db->log);
        store_log_close(db->log);
    }
    index_free(db->index);
    payloads_free(db->payloads);
    sinces_free(db->sinces);
    group_cache_free(db->groups);
    free(db->runs);
    buf_done(&db->record);
    buf_done(&db->payload_record);
    pthread_mutex_destroy(&db->append);
    pthread_mutex_destroy(&db->flushing);
    pthread_mutex_destroy(&db->thread_lock);
    pthread_mutex_destroy(&db->sober_lock);
    pthread_mutex_destroy(&db->pending_lock);
    pthread_cond_destroy(&db->pending_room);
    pthread_cond_destroy(&db->thread_wake);
    pthread_rwlock_destroy(&db->lock);
    free(db);
}

uint32_t db_find(struct db *db, const struct labels *labels)
{
    uint32_t ref;

    pthread_rwlock_rdlock(&db->lock);
    ref = index_find(db->index, labels);
    pthread_rwlock_unlock(&db->lock);
    return ref;
}

uint64_t db_series_id(struct db *db, uint32_t ref)
{
    uint64_t id = 0;

    pthread_rwlock_rdlock(&db->lock);
    if (ref < index_count(db->index) && !index_series(db->index, ref)->gone)
        id = index_series(db->index, ref)->id;
    pthread_rwlock_unlock(&db->lock);
    return id;
}

uint32_t db_series_ref(struct db *db, uint64_t id)
{
    uint32_t ref;

    pthread_rwlock_rdlock(&db->lock);
    ref = index_find_id(db->index, id);
    pthread_rwlock_unlock(&db->lock);
    return ref;
}

uint64_t db_forgotten(struct db *db)
{
    return __atomic_load_n(&db->forgotten, __ATOMIC_ACQUIRE);
}

uint32_t db_series(struct db *db, const struct labels *labels)
{
    uint32_t ref = db_find(db, labels);

    if (ref != SERIES_NONE)
        return ref;
    guard(&db->append);
    pthread_rwlock_wrlock(&db->lock);
    ref = index_put(db->index, labels, 0);
    pthread_rwlock_unlock(&db->lock);
    return ref;
}

int db_sync(struct db *db)
{
    int r;

    __atomic_store_n(&db->dirty, false, __ATOMIC_SEQ_CST); /* what comes meanwhile sets it again */
    r = store_log_sync(db->log);
    if (r < 0)
        __atomic_store_n(&db->dirty, true, __ATOMIC_RELEASE);
    return r;
}

/* Samples of more time than has gone by came in, and no more come: a load of old ones is over. As a
 * run they take an eighth of the room of their log. What is scraped never looks like this. */
static bool load_is_over(const struct db *db)
{
    int64_t flushed_ms = __atomic_load_n(&db->flushed_ms, __ATOMIC_ACQUIRE);

    return db->quiet >= QUIET_LOOKS && db->log_bytes > db->options.log_bytes_max / LOADED_PART &&
           db->max_ms - db->min_ms > clock_monotonic_ms() - flushed_ms + SETTLE_MS;
}

static void look_for_quiet(struct db *db)
{
    bool quiet = db->appended - db->appended_seen <= QUIET_SAMPLES;

    db->appended_seen = db->appended;
    db->quiet = quiet ? db->quiet + 1 : 0;
}

/* Nothing comes in from further ahead than FUTURE_MS: the clock was set back, by more than late
 * samples may be. */
static bool clock_is_back(const struct db *db, int64_t now_ms)
{
    int64_t late_ms = db->options.out_of_order_ms > FUTURE_MS ? db->options.out_of_order_ms
                                                              : FUTURE_MS;

    return db->head_samples > 0 && db->max_ms > now_ms + late_ms;
}

/* Up to which bucket the head should become runs now; 0: not yet. */
static int64_t due(struct db *db, int64_t now_ms)
{
    int64_t bucket = 0;

    guard(&db->append);
    pthread_rwlock_rdlock(&db->lock);
    look_for_quiet(db);
    if (clock_is_back(db, now_ms))
        bucket = FLUSH_ANEW;
    /* A million new series are no reason: they would be read from their rows in the same time. */
    else if (db->log_bytes > db->options.log_bytes_max + db->series_bytes)
        bucket = FLUSH_ALL;
    else if (db->oldest_bucket < db->bucket && db->max_ms >= db->bucket * BUCKET_MS + SETTLE_MS)
        bucket = db->bucket;
    else if (load_is_over(db))
        bucket = FLUSH_ALL;
    pthread_rwlock_unlock(&db->lock);
    return bucket;
}

void db_maintain(struct db *db, int64_t now_ms, int64_t sober_ms)
{
    int r = __atomic_load_n(&db->dirty, __ATOMIC_ACQUIRE) ? db_sync(db) : 0;
    bool waits = now_ms < db->retry_ms && now_ms >= db->retry_ms - RETRY_MS;
    int64_t bucket = r == 0 && !waits ? due(db, now_ms) : 0;

    group_cache_age(db->groups);
    if (bucket > 0)
        r = flush_until(db, bucket);
    if (r == 0 && db->quiet >= QUIET_LOOKS &&
        __atomic_exchange_n(&db->untidy, false, __ATOMIC_ACQ_REL))
        r = store_log_tidy(db->log);
    if (r < 0) {
        log_line(LOG_ERROR, NULL, "metrics.flush", "error=%s", strerror(-r));
        db->retry_ms = now_ms + RETRY_MS;
    }
    if (sober_ms - db->retention_checked_ms >= RETAIN_MS || sober_ms < db->retention_checked_ms) {
        db->retention_checked_ms = sober_ms;
        runs_retain(db, sober_ms);
    }
}

int db_flush(struct db *db)
{
    return flush_until(db, FLUSH_ALL);
}

void db_look(struct db *db, void (*f)(void *ctx, const struct index *ix), void *ctx)
{
    pthread_rwlock_rdlock(&db->lock);
    f(ctx, db->index);
    pthread_rwlock_unlock(&db->lock);
}

void db_stats(struct db *db, struct db_stats *ret)
{
    pthread_rwlock_rdlock(&db->lock);
    *ret = (struct db_stats){
        .series = index_live(db->index),
        .symbol_bytes = index_bytes(db->index),
        .head_bytes = db->head_bytes + payloads_bytes(db->payloads) +
                      sinces_bytes(db->sinces),
        .head_samples = db->head_samples,
        .log_bytes = __atomic_load_n(&db->log_bytes, __ATOMIC_RELAXED),
        .runs = db->n_runs,
        .group_bytes = group_cache_bytes(db->groups),
        .label_pairs = index_pairs(db->index),
        .appended = db->appended,
        .duplicate = db->duplicate,
        .out_of_order = db->out_of_order,
        .min_ms = db->head_samples > 0 ? db->min_ms : 0,
        .max_ms = db->max_ms,
        .oldest_ms = db->n_runs > 0 ? db->runs[0].start_ms : 0,
    };
    pthread_rwlock_unlock(&db->lock);
}
