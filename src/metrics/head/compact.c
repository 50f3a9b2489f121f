/* Runs are written anew: those of one bucket as one, when they are many (a log that was full wrote
 * each) or when a rule of retention takes something of them; and those of a day that is over as a
 * tier of one sample per window. Beside flushes and queries, in a thread of its own; a delete or
 * retention that takes a run meanwhile makes the work void. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"
#include "metrics/query.h"

#include <errno.h>
#include <stdlib.h>

#define RUNS_MAX  4                  /* of a bucket that is over */

struct compaction {
    struct db *db;
    int64_t now_ms;
    struct run like;     /* what is written: its times, its tier */
    unsigned flags;      /* of the query that reads */
    struct run *sources; /* what goes for it */
    size_t n_sources;
    struct run made[COARSE_PLANES];
    size_t n_made;
    uint8_t *rules; /* of the series, by ref */
    size_t n_rules;
    /* Of the run at hand: */
    struct store_bulk *bulk, *payload_bulk;
    struct since_writer *since;
    struct group_writer *groups;
    uint32_t n_groups;
    size_t n_payloads;
    struct samples samples; /* of the series at hand */
    struct payload_list payloads;
};

/* Does nothing of it come any more, but what is late? */
static bool is_over(const struct db *db, int64_t end_ms, int64_t now_ms)
{
    int64_t last = bucket_of(end_ms - 1);

    return last < db->oldest_bucket && (last < db->bucket || end_ms + SETTLE_MS <= now_ms);
}

static void take_sources(struct compaction *c, size_t first, size_t n)
{
    c->sources = xmemdup(c->db->runs + first, n * sizeof *c->sources);
    c->n_sources = n;
}

/* Is this raw bucket to wait until the tier has what its series keep of it? */
static bool waits(const struct db *db, size_t first, int64_t now_ms)
{
    const struct db_options *o = &db->options;
    struct day day;

    if (keep_raw_over(db, db->runs[first].end_ms, now_ms))
        return true; /* it goes as a whole */
    if (o->downsample_ms == 0 || !keep_expired(db, 0, &db->runs[first], now_ms))
        return false;
    while (first > 0 && day_of(db->runs[first - 1].start_ms) == day_of(db->runs[first].start_ms))
        first--;
    day_look(db, first, &day);
    return !day.current || day.n_tier == 0;
}

/* The oldest bucket with something to do; under the lock. */
static bool choose_raw(struct compaction *c)
{
    const struct db *db = c->db;

    for (size_t i = 0, n; i < db->n_runs; i += n) {
        const struct run *run = &db->runs[i];
        struct run like = {.start_ms = run->start_ms, .end_ms = run->end_ms};
        bool differs = false;

        n = 1;
        if (run->tier_ms > 0)
            continue;
        like.rules = keep_state(db, &like, c->now_ms);
        for (n = 0; i + n < db->n_runs && run[n].start_ms == run->start_ms; n++) {
            differs = differs || run[n].rules != like.rules;
            like.source += run_identity(&run[n]);
        }
        if ((n <= RUNS_MAX && !differs) || waits(db, i, c->now_ms) ||
            !is_over(db, run->end_ms, c->now_ms))
            continue;
        if (db->options.downsample_ms == 0)
            like.source = 0;
        c->like = like;
        c->flags = QUERY_RAW | QUERY_STARTS;
        take_sources(c, i, n);
        return true;
    }
    return false;
}

/* The oldest day whose tier is not what it should be. While the raw samples are all there it is
 * made of them alone, behind their time of what there is of both. */
static bool choose_tier(struct compaction *c)
{
    const struct db *db = c->db;
    const struct db_options *o = &db->options;
    struct day day;

    for (size_t i = 0; o->downsample_ms > 0 && i < db->n_runs; i += day.n) {
        struct run like = {.tier_ms = o->downsample_ms};
        bool due, stale;

        day_look(db, i, &day);
        like.start_ms = day.start_ms;
        like.end_ms = day.start_ms + DAY_MS;
        like.rules = keep_state(db, &like, c->now_ms);
        like.source = day.hash;
        due = keep_expired(db, 0, &(struct run){.end_ms = like.end_ms}, c->now_ms);
        stale = day.n_raw > 0 && (!day.current || day.n_tier == 0 ||
                                  (day.tier_ms != like.tier_ms && !due));
        stale = stale || (day.n_tier > 0 && day.rules != like.rules);
        if (!stale || !is_over(db, like.end_ms, c->now_ms))
            continue;
        c->like = like;
        c->flags = QUERY_WINDOWS | QUERY_STARTS | (due || day.n_raw == 0 ? 0 : QUERY_RAW);
        take_sources(c, i, day.n);
        return true;
    }
    return false;
}

static int write_group(struct compaction *c)
{
    autobuf value = {0};
    uint8_t key[12];

    be64_put(key, group_writer_last_id(c->groups));
    be32_put(key + 8, c->n_groups++);
    group_writer_finish(c->groups, &value);
    return store_bulk_add(c->bulk, slice_of(key, sizeof key), buf_slice(&value));
}

static int write_samples(struct compaction *c, uint64_t id)
{
    int r = 0;

    for (size_t at = 0; at < c->samples.n && r == 0; at += CHUNK_SAMPLES_MAX) {
        size_t n = c->samples.n - at < CHUNK_SAMPLES_MAX ? c->samples.n - at : CHUNK_SAMPLES_MAX;

        group_writer_add(c->groups, id,
                         &(struct samples){c->samples.ts + at, c->samples.bits + at, n, n});
        if (group_writer_full(c->groups))
            r = write_group(c);
    }
    if (r == 0 && c->payloads.n > 0)
        r = payload_rows_put(c->payload_bulk, id, &c->payloads);
    c->n_payloads += c->payloads.n;
    return r;
}

static void keep_sample(struct compaction *c, const struct query_item *item, size_t i)
{
    const struct histogram *h = item->histograms != NULL ? item->histograms[i] : NULL;
    uint64_t bits = h != NULL ? HISTOGRAM_BITS : item->bits[i];

    samples_add(&c->samples, item->ts[i], bits);
    if (bits == HISTOGRAM_BITS) {
        autobuf bytes = {0};

        if (h != NULL)
            histogram_encode(&bytes, h);
        payload_list_put(&c->payloads, item->ts[i], buf_slice(&bytes));
    }
}

static int write_series(struct compaction *c, const struct query_item *item)
{
    uint8_t rule = item->ref < c->n_rules ? c->rules[item->ref] : 0;
    uint64_t id = db_series_id(c->db, item->ref);
    int r;

    if (c->like.rules != 0 && keep_expired(c->db, rule, &c->like, c->now_ms))
        return 0;
    if (c->like.tier_ms > 0 && c->like.plane != COARSE_LAST && item->histograms != NULL)
        return 0; /* what there is of them is in the plane of last samples */
    c->samples.n = 0;
    payload_list_clear(&c->payloads);
    for (size_t i = 0; i < item->n; i++)
        keep_sample(c, item, i);
    r = write_samples(c, id);
    if (r == 0 && item->starts != NULL && (c->like.tier_ms == 0 || c->like.plane == COARSE_LAST))
        r = since_writer_samples(c->since, id, item->ts, item->starts, item->n);
    return r;
}

/* A tier of which all series are taken by rules is there all the same: id 0 is of no series. */
static void write_mark(struct compaction *c)
{
    int64_t ts = c->like.start_ms;
    uint64_t bits = 0;

    group_writer_add(c->groups, 0, &(struct samples){&ts, &bits, 1, 1});
}

static int write_all(struct compaction *c)
{
    const struct run *like = &c->like;
    struct query *q;
    struct query_item item;
    int r;

    if (like->tier_ms > 0 && like->plane == COARSE_LAST)
        write_mark(c);
    query_open(c->db, NULL, 0, like->start_ms, like->end_ms - 1, c->flags, &q);
    query_grain(q, &(struct query_grain){.plane = like->plane});
    while ((r = query_next(q, &item)) > 0) {
        r = __atomic_load_n(&c->db->compact_stop, __ATOMIC_ACQUIRE) ? -ECANCELED
                                                                    : write_series(c, &item);
        if (r < 0)
            break;
    }
    query_close(q);
    return r == 0 && group_writer_count(c->groups) > 0 ? write_group(c) : r;
}

/* What stands beside, then the samples. */
static int commit_run(struct compaction *c, struct run *made)
{
    bool starts = false;
    int r = store_bulk_commit(take(c->payload_bulk));

    if (r == 0)
        r = since_writer_commit(take(c->since), &starts);
    if (r == 0)
        r = store_bulk_commit(take(c->bulk));
    made->beside = (c->n_payloads > 0 ? BESIDE_PAYLOADS : 0) | (starts ? BESIDE_STARTS : 0);
    return r;
}

static int write_run(struct compaction *c)
{
    struct run *made = &c->made[c->n_made];
    char beside[RUN_NAME_MAX];
    int r;

    *made = c->like;
    pthread_rwlock_rdlock(&c->db->lock);
    run_name_new(c->db, made, 'c', made->part);
    pthread_rwlock_unlock(&c->db->lock);
    c->n_groups = 0;
    c->n_payloads = 0;
    beside_name(beside, BESIDE_PAYLOADS, made->part);
    r = store_bulk_begin(c->db->store, STORE_SAMPLES, slice_str(beside), &c->payload_bulk);
    beside_name(beside, BESIDE_STARTS, made->part);
    c->since = since_writer_new(c->db->store, beside);
    if (r == 0)
        r = store_bulk_begin(c->db->store, STORE_SAMPLES, slice_str(made->part), &c->bulk);
    c->groups = group_writer_new();
    if (r == 0)
        r = write_all(c);
    group_writer_free(c->groups);
    if (r == 0)
        r = commit_run(c, made);
    since_writer_free(take(c->since));
    store_bulk_free(take(c->payload_bulk));
    store_bulk_free(take(c->bulk));
    if (r == 0 && c->n_groups > 0)
        c->n_made++;
    return r;
}

static int write_runs(struct compaction *c)
{
    static const enum coarse planes[] = {COARSE_MIN, COARSE_MAX, COARSE_SUM, COARSE_COUNT,
                                         COARSE_LAST};
    int r = 0;

    if (c->like.tier_ms == 0)
        return write_run(c);
    for (size_t i = 0; i < COARSE_PLANES && r == 0; i++) {
        c->like.plane = planes[i];
        r = write_run(c);
    }
    return r;
}

static int erase_made(struct compaction *c)
{
    int r = 0;

    for (size_t i = 0; i < c->n_made; i++) {
        struct run mine = c->made[i];
        int e;

        mine.beside = BESIDE_PAYLOADS | BESIDE_STARTS;
        e = run_erase(c->db, &mine);
        r = r < 0 ? r : e;
    }
    return r;
}

/* The raw runs of which a tier is made stay. */
static bool goes(const struct compaction *c, const struct run *source)
{
    return c->like.tier_ms == 0 || source->tier_ms > 0;
}

/* The new runs for the old ones, if they are all still there. */
static int put_in_force(struct compaction *c)
{
    struct db *db = c->db;
    bool whole = true;
    int r = 0;

    guard(&db->flushing);
    for (size_t i = 0; i < c->n_sources; i++)
        whole = whole && run_place(db, &c->sources[i]) < db->n_runs;
    if (!whole)
        return erase_made(c);
    pthread_rwlock_wrlock(&db->lock);
    for (size_t i = 0; i < c->n_sources; i++)
        if (goes(c, &c->sources[i]))
            run_take(db, run_place(db, &c->sources[i]));
    for (size_t i = 0; i < c->n_made; i++)
        run_add(db, c->made[i].part, c->made[i].beside);
    pthread_rwlock_unlock(&db->lock);
    for (size_t i = 0; i < c->n_sources && r == 0; i++)
        if (goes(c, &c->sources[i]))
            r = run_erase(db, &c->sources[i]);
    if (c->like.rules != 0) {
        db->filtered = true;
        series_forget(db, c->now_ms);
    }
    return r;
}

int db_compact(struct db *db, int64_t now_ms)
{
    struct compaction c = {.db = db, .now_ms = now_ms};
    int64_t start_ms = clock_monotonic_ms();
    bool any;
    int r;

    pthread_rwlock_rdlock(&db->lock);
    any = choose_tier(&c) || choose_raw(&c);
    pthread_rwlock_unlock(&db->lock);
    if (!any)
        return 0;
    if (c.like.rules != 0)
        c.rules = keep_rules_of(db, &c.n_rules);
    r = write_runs(&c);
    if (r == 0)
        r = put_in_force(&c);
    else
        erase_made(&c);
    log_line(r < 0 && r != -ECANCELED ? LOG_ERROR : LOG_INFO, NULL, "metrics.compact",
             "run=%s from=%zu ms=%" PRId64 " result=%d",
             c.n_made > 0 ? c.made[c.n_made - 1].part : "none", c.n_sources,
             clock_monotonic_ms() - start_ms, r);
    samples_done(&c.samples);
    payload_list_done(&c.payloads);
    free(c.rules);
    free(c.sources);
    return r < 0 ? r : 1;
}
