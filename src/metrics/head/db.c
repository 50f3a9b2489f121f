#include "metrics/head/db.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdlib.h>

#define LOG_BYTES_MAX (256ull << 20)
#define TIME_MAX_MS   253402300799999ll /* the year 9999 */
#define SETTLE_MS     (20 * 60 * 1000ll)

static void *maintain_loop(void *arg)
{
    struct db *db = arg;

    pthread_mutex_lock(&db->thread_lock);
    while (!db->stopping) {
        struct timespec at;

        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_sec++;
        pthread_cond_timedwait(&db->thread_wake, &db->thread_lock, &at);
        pthread_mutex_unlock(&db->thread_lock);
        db_maintain(db, clock_unix_ms());
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
    return r;
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
    pthread_cond_init(&db->thread_wake, NULL);
    pthread_rwlockattr_init(&fair);
    pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&db->lock, &fair);
    pthread_rwlockattr_destroy(&fair);
    db->index = index_new();
    db->oldest_bucket = INT64_MAX;
    db->bucket = -1;
    r = db_load(db);
    if (r < 0) {
        buf_printf(why, "metrics: cannot read what is stored: %s", strerror(-r));
        db_close(db);
        return r;
    }
    if (!options->no_thread) {
        pthread_create(&db->thread, NULL, maintain_loop, db);
        db->running = true;
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
        pthread_cond_signal(&db->thread_wake);
        pthread_mutex_unlock(&db->thread_lock);
        pthread_join(db->thread, NULL);
    }
    if (db->log != NULL) {
        store_log_sync(db->log);
        store_log_close(db->log);
    }
    index_free(db->index);
    free(db->runs);
    buf_done(&db->record);
    pthread_mutex_destroy(&db->append);
    pthread_mutex_destroy(&db->flushing);
    pthread_mutex_destroy(&db->thread_lock);
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
    ref = index_find(db->index, labels);
    if (ref == SERIES_NONE)
        ref = index_add(db->index, labels, 0);
    pthread_rwlock_unlock(&db->lock);
    return ref;
}

/* The open stream becomes a sealed one; the time of the newest sample stays known. */
void db_seal(struct series *s)
{
    struct sealed *node = xcalloc(1, sizeof *node);
    struct sealed **tail = &s->sealed;
    int64_t last_ms = s->open.last_ms;
    uint64_t last_bits = s->open.last_bits;

    node->stream = s->open;
    s->open = (struct stream){.last_ms = last_ms, .last_bits = last_bits};
    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = node;
}

static void note_sample(struct db *db, int64_t ts_ms)
{
    int64_t bucket = bucket_of(ts_ms);

    if (bucket > db->bucket)
        db->bucket = bucket;
    if (bucket < db->oldest_bucket)
        db->oldest_bucket = bucket;
    if (db->head_samples == 0 || ts_ms < db->min_ms)
        db->min_ms = ts_ms;
    if (ts_ms > db->max_ms)
        db->max_ms = ts_ms;
    db->head_samples++;
    db->appended++;
}

/* A late sample goes to a sealed stream of its bucket that ends before it, or to one of its own. */
static void apply_late(struct series *s, const struct db_sample *sample)
{
    struct sealed **at = &s->sealed;

    for (; *at != NULL; at = &(*at)->next) {
        struct stream *t = &(*at)->stream;

        if (!(*at)->flushing && t->last_ms < sample->ts_ms && t->count < CHUNK_SAMPLES_MAX &&
            bucket_of(t->first_ms) == bucket_of(sample->ts_ms)) {
            stream_append(t, sample->ts_ms, sample->bits);
            return;
        }
    }
    *at = xcalloc(1, sizeof **at);
    stream_append(&(*at)->stream, sample->ts_ms, sample->bits);
}

void db_apply(struct db *db, const struct db_sample *sample, struct db_result *ret)
{
    struct series *s = index_series(db->index, sample->ref);
    struct stream *open = &s->open;
    uint32_t before = open->cap;

    if (s->gone || sample->ts_ms <= 0 || sample->ts_ms > TIME_MAX_MS ||
        (sample->ts_ms < open->last_ms &&
         open->last_ms - sample->ts_ms > db->options.out_of_order_ms)) {
        ret->out_of_order++;
        db->out_of_order++;
        return;
    }
    if (sample->ts_ms == open->last_ms) {
        bool same = sample->bits == open->last_bits;

        ret->duplicate += !same;
        db->duplicate += !same;
        ret->added += same;
        return;
    }
    if (sample->ts_ms < open->last_ms) {
        apply_late(s, sample);
        db->head_bytes += 40;
    } else {
        if (open->count > 0 && (open->count == CHUNK_SAMPLES_MAX ||
                                bucket_of(open->first_ms) != bucket_of(sample->ts_ms))) {
            db_seal(s);
            before = 0;
        }
        stream_append(open, sample->ts_ms, sample->bits);
        db->head_bytes += open->cap - before;
    }
    ret->added++;
    note_sample(db, sample->ts_ms);
}

static int log_write(struct db *db, struct buf *record)
{
    uint64_t seq = 0;
    int r = store_log_append(db->log, buf_slice(record), &seq);

    if (r < 0)
        return r;
    db->next_seq = seq + 1;
    db->log_bytes += record->len;
    buf_clear(record);
    __atomic_store_n(&db->dirty, true, __ATOMIC_RELEASE);
    return 0;
}

static int log_new_series(struct db *db)
{
    int r = 0;

    while (r == 0 && db->n_logged < index_count(db->index)) {
        uint32_t before = db->n_logged;

        log_put_series(db, &db->record);
        r = log_write(db, &db->record);
        if (r < 0) {
            db->n_logged = before;
            buf_clear(&db->record);
        }
    }
    return r;
}

int db_append(struct db *db, const struct db_sample *samples, size_t n, struct db_result *ret)
{
    int r;

    *ret = (struct db_result){0};
    if (n == 0)
        return 0;
    guard(&db->append);
    r = log_new_series(db); /* only appenders change the index: it may be read without lock */
    for (size_t done = 0; done < n && r == 0;) {
        size_t part = log_put_samples(db, samples + done, n - done, &db->record);
        uint64_t seq = db->next_seq;
        uint64_t bytes = db->log_bytes;
        int64_t bucket = db->bucket;

        r = log_write(db, &db->record);
        if (r < 0) {
            buf_clear(&db->record);
            break;
        }
        pthread_rwlock_wrlock(&db->lock);
        for (size_t i = done; i < done + part; i++)
            db_apply(db, &samples[i], ret);
        pthread_rwlock_unlock(&db->lock);
        if (db->bucket > bucket) {
            db->bucket_seq = seq;
            db->bucket_bytes = bytes;
        }
        done += part;
    }
    return r;
}

int db_sync(struct db *db)
{
    return store_log_sync(db->log);
}

/* Up to which bucket the head should become runs now; 0: not yet. */
static int64_t due(struct db *db)
{
    int64_t bucket = 0;

    guard(&db->append);
    pthread_rwlock_rdlock(&db->lock);
    if (db->log_bytes > db->options.log_bytes_max)
        bucket = INT64_MAX;
    else if (db->oldest_bucket < db->bucket && db->max_ms >= db->bucket * BUCKET_MS + SETTLE_MS)
        bucket = db->bucket;
    pthread_rwlock_unlock(&db->lock);
    return bucket;
}

void db_maintain(struct db *db, int64_t now_ms)
{
    bool dirty = __atomic_exchange_n(&db->dirty, false, __ATOMIC_ACQ_REL);
    int r = dirty ? db_sync(db) : 0;
    int64_t bucket = r == 0 && now_ms >= db->retry_ms ? due(db) : 0;

    if (r < 0)
        __atomic_store_n(&db->dirty, true, __ATOMIC_RELEASE);
    if (bucket > 0)
        r = flush_until(db, bucket);
    if (r < 0) {
        log_line(LOG_ERROR, NULL, "metrics.flush", "error=%s", strerror(-r));
        db->retry_ms = now_ms + 30000;
    }
    if (now_ms - db->retention_checked_ms >= 60000) {
        db->retention_checked_ms = now_ms;
        runs_retain(db, now_ms);
    }
}

int db_flush(struct db *db)
{
    return flush_until(db, INT64_MAX);
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
        .head_bytes = db->head_bytes,
        .head_samples = db->head_samples,
        .log_bytes = db->log_bytes,
        .runs = db->n_runs,
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
