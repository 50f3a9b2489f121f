/* From samples to the log and the head. */
#include "base/alloc.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdlib.h>

#define TIME_MAX_MS 253402300799999ll /* the year 9999 */
#define START_AGE_MS (60 * 60 * 1000ll) /* as Prometheus: half a block */

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

/* Of the head's newest stream; before all time if it is empty. */
static int64_t newest_ms(const struct series *s)
{
    return s->open.count > 0 ? s->open.last_ms : INT64_MIN;
}

/* What becomes of a sample behind one at last_ms. `same`: its value is that one's. */
static enum db_verdict judge(const struct db *db, const struct series *s, int64_t last_ms,
                          const struct db_sample *sample, bool same)
{
    if (s->gone || sample->ts_ms < 0 || sample->ts_ms > TIME_MAX_MS ||
        (sample->ts_ms < last_ms && last_ms - sample->ts_ms > db->options.out_of_order_ms))
        return DB_TOO_OLD;
    if (sample->ts_ms != last_ms)
        return DB_NEW;
    return same ? DB_SAME : DB_DUPLICATE;
}

/* Is this the payload that the series has at this time? */
static bool same_payload(const struct db *db, const struct db_sample *sample, struct slice payload)
{
    const struct payload_list *l = payloads_of(db->payloads, sample->ref);
    struct slice stored;

    return l != NULL && payload_list_get(l, sample->ts_ms, &stored) && slice_eq(stored, payload);
}

static void apply_new(struct db *db, struct series *s, const struct db_sample *sample)
{
    struct stream *open = &s->open;
    uint32_t before = open->cap;

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
    note_sample(db, sample->ts_ms);
}

#define AHEAD 12 /* samples: a series is asked for so early, and its stream half as early */

void db_apply_ahead(const struct db *db, const struct db_sample *s, size_t n, size_t i)
{
    const struct series *series;

    if (i + AHEAD < n && s[i + AHEAD].ref != SERIES_NONE) {
        series = index_series(db->index, s[i + AHEAD].ref);
        __builtin_prefetch(series, 1);
        __builtin_prefetch((const char *)series + 64, 1);
    }
    if (i + AHEAD / 2 < n && s[i + AHEAD / 2].ref != SERIES_NONE) {
        series = index_series(db->index, s[i + AHEAD / 2].ref);
        __builtin_prefetch(series->open.bytes + series->open.len, 1);
    }
}

static void count(struct db_result *result, enum db_verdict verdict)
{
    result->added += verdict == DB_NEW || verdict == DB_SAME;
    result->duplicate += verdict == DB_DUPLICATE;
    result->out_of_order += verdict == DB_TOO_OLD;
}

enum db_verdict db_apply(struct db *db, const struct db_sample *sample, const struct slice *payload,
                         int64_t start_ms)
{
    struct series *s = index_series(db->index, sample->ref);
    bool same = sample->bits == s->open.last_bits &&
                (payload == NULL || sample->bits != HISTOGRAM_BITS ||
                 same_payload(db, sample, *payload));
    enum db_verdict verdict = judge(db, s, newest_ms(s), sample, same);

    db->out_of_order += verdict == DB_TOO_OLD;
    db->duplicate += verdict == DB_DUPLICATE;
    if (verdict != DB_NEW)
        return verdict;
    apply_new(db, s, sample);
    if (payload != NULL && sample->bits == HISTOGRAM_BITS)
        payloads_put(db->payloads, sample->ref, sample->ts_ms, *payload);
    if (s->since || start_ms != 0) {
        sinces_put(db->sinces, sample->ref, sample->ts_ms, start_ms, s->open.last_ms);
        s->since = true;
    }
    return DB_NEW;
}

int log_write(struct db *db, struct buf *record)
{
    uint64_t seq = 0;
    int r = store_log_append(db->log, buf_slice(record), &seq);

    if (r < 0)
        return r;
    db->next_seq = seq + 1;
    __atomic_add_fetch(&db->log_bytes, record->len, __ATOMIC_RELAXED);
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
        db->series_bytes += db->record.len;
        r = log_write(db, &db->record);
        if (r < 0) {
            db->series_bytes -= db->record.len;
            db->n_logged = before;
            buf_clear(&db->record);
        }
    }
    return r;
}

/* The payloads of a call, in the order of the samples that have one. */
struct payload_cursor {
    const struct slice *next; /* NULL: they are floats of these bits */
    struct slice none;
};

static const struct slice *payload_next(struct payload_cursor *c, const struct db_sample *s)
{
    if (s->bits != HISTOGRAM_BITS)
        return NULL;
    return c->next != NULL ? c->next++ : &c->none;
}

/* Counts what would be refused. A series' samples stand together, each above the one before, or
 * are judged alone. */
static void check_all(const struct db *db, const struct db_batch *batch,
                      struct payload_cursor payloads, struct db_result *ret)
{
    const struct db_sample *s = batch->samples;

    for (size_t i = 0; i < batch->n; i++) {
        const struct series *series = index_series(db->index, s[i].ref);
        const struct slice *payload = payload_next(&payloads, &s[i]);
        int64_t last_ms = newest_ms(series);
        enum db_verdict verdict;
        bool same = s[i].bits == series->open.last_bits &&
                    (payload == NULL || same_payload(db, &s[i], *payload));

        if (i > 0 && s[i - 1].ref == s[i].ref && s[i - 1].ts_ms >= last_ms) {
            last_ms = s[i - 1].ts_ms;
            same = s[i].bits == s[i - 1].bits && payload == NULL;
        }
        verdict = judge(db, series, last_ms, &s[i], same);
        if (batch->verdicts != NULL)
            batch->verdicts[i] = (uint8_t)verdict;
        count(ret, verdict);
    }
}

/* One record's worth of samples, behind their payloads. */
static int append_part(struct db *db, const struct db_batch *batch, size_t done, size_t n,
                       struct payload_cursor *payloads, struct start_cursor *starts,
                       struct db_result *ret)
{
    const struct db_sample *s = batch->samples + done;
    uint64_t seq = db->next_seq;
    uint64_t bytes = db->log_bytes;
    int64_t bucket = db->bucket;
    struct payload_cursor ahead = *payloads;
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        const struct slice *payload = payload_next(&ahead, &s[i]);

        if (payload != NULL && log_put_payload(db, &s[i], *payload, &db->payload_record))
            r = log_write(db, &db->payload_record);
    }
    if (r == 0 && db->payload_record.len > 0)
        r = log_write(db, &db->payload_record);
    if (r == 0)
        r = log_write(db, &db->record);
    buf_clear(&db->payload_record);
    buf_clear(&db->record);
    if (r < 0)
        return r;
    pthread_rwlock_wrlock(&db->lock);
    for (size_t i = 0; i < n; i++) {
        enum db_verdict verdict;

        db_apply_ahead(db, s, n, i);
        verdict = db_apply(db, &s[i], payload_next(payloads, &s[i]), start_of(starts, done + i));
        if (batch->verdicts != NULL)
            batch->verdicts[done + i] = (uint8_t)verdict;
        count(ret, verdict);
    }
    pthread_rwlock_unlock(&db->lock);
    if (db->bucket > bucket) {
        db->bucket_seq = seq;
        db->bucket_bytes = bytes;
    }
    return 0;
}

int db_append_batch(struct db *db, const struct db_batch *batch, struct db_result *ret)
{
    struct payload_cursor cursor = {.next = batch->payloads, .none = SLICE("")};
    struct start_cursor starts = {batch->starts, batch->n_starts};
    int r;

    *ret = (struct db_result){0};
    if (batch->n == 0)
        return 0;
    guard(&db->append);
    if (batch->whole) {
        pthread_rwlock_rdlock(&db->lock);
        check_all(db, batch, cursor, ret);
        pthread_rwlock_unlock(&db->lock);
        if (ret->duplicate + ret->out_of_order > 0) {
            pthread_rwlock_wrlock(&db->lock);
            db->duplicate += ret->duplicate;
            db->out_of_order += ret->out_of_order;
            pthread_rwlock_unlock(&db->lock);
            ret->added = 0;
            return 0;
        }
        *ret = (struct db_result){0};
    }
    r = log_new_series(db); /* only appenders change the index: it may be read without lock */
    for (size_t done = 0; done < batch->n && r == 0;) {
        size_t part = log_put_samples(db, batch, done, &starts, &db->record);

        r = append_part(db, batch, done, part, &cursor, &starts, ret);
        done += part;
    }
    return r;
}

int db_append(struct db *db, const struct db_sample *samples, size_t n, struct db_result *ret)
{
    return db_append_batch(db, &(struct db_batch){.samples = samples, .n = n}, ret);
}

bool db_may_start(struct db *db, uint32_t ref, int64_t start_ms, int64_t ts_ms)
{
    const struct series *s;
    bool may;

    pthread_rwlock_rdlock(&db->lock);
    s = index_series(db->index, ref);
    may = !s->gone && start_ms > s->open.last_ms &&
          start_ms >= (db->max_ms > 0 ? db->max_ms : ts_ms) - START_AGE_MS;
    pthread_rwlock_unlock(&db->lock);
    return may && start_ms > 0 && start_ms < ts_ms;
}
