/* Runs of one bucket become one, when they are many (a log that was full wrote each) or when they
 * are so old that fewer samples are enough. Beside flushes and queries, in a thread of its own; a
 * delete or retention that takes a run meanwhile makes the work void. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"
#include "metrics/query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNS_MAX 4 /* of a bucket that is over */

struct compaction {
    struct db *db;
    int64_t bucket, step_ms; /* step 0: all samples stay */
    struct run *sources;
    size_t n_sources;
    char part[RUN_NAME_MAX];
    struct store_bulk *bulk, *payload_bulk;
    struct group_writer *groups;
    uint32_t n_groups;
    size_t n_payloads;
    struct samples samples; /* of the series at hand */
    struct payload_list payloads;
};

/* The resolution that a run was made coarser to, in seconds, stands in its name: "….s300.000001".
 */
static unsigned resolution_of(const struct run *run)
{
    const char *s = strstr(run->part, ".s");

    return s != NULL ? (unsigned)strtoul(s + 2, NULL, 10) : 0;
}

static bool is_over(const struct db *db, int64_t bucket)
{
    return bucket < db->bucket && bucket < db->oldest_bucket;
}

/* The oldest bucket with something to do; under the lock. */
static bool choose(const struct db *db, int64_t now_ms, struct compaction *c)
{
    const struct db_options *o = &db->options;

    for (size_t i = 0; i < db->n_runs;) {
        int64_t bucket = bucket_of(db->runs[i].start_ms);
        bool old = o->downsample_ms > 0 && o->retention_ms > 0 &&
                   db->runs[i].start_ms + BUCKET_MS <= now_ms - o->retention_ms;
        bool fine = false;
        size_t n = 0;

        for (; i + n < db->n_runs && db->runs[i + n].start_ms == db->runs[i].start_ms; n++)
            fine = fine || (int64_t)resolution_of(&db->runs[i + n]) * 1000 < o->downsample_ms;
        if (is_over(db, bucket) && (n > RUNS_MAX || (old && fine))) {
            c->bucket = bucket;
            c->step_ms = old ? o->downsample_ms : 0;
            c->sources = xmemdup(db->runs + i, n * sizeof *db->runs);
            c->n_sources = n;
            return true;
        }
        i += n;
    }
    return false;
}

/* A name that no flush gives. */
static void name_part(const struct db *db, struct compaction *c)
{
    unsigned number = 0;
    bool taken;

    do {
        size_t n;

        run_name_plain(c->part, c->bucket);
        n = strlen(c->part);
        snprintf(c->part + n, sizeof c->part - n, ".%c%u.%06u", c->step_ms > 0 ? 's' : 'c',
                 (unsigned)(c->step_ms / 1000), number++);
        taken = false;
        for (size_t i = 0; i < db->n_runs; i++)
            taken = taken || strcmp(db->runs[i].part, c->part) == 0;
    } while (taken);
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

static int64_t window_of(const struct compaction *c, int64_t ts_ms)
{
    return (ts_ms - 1) / c->step_ms; /* a sample on the border ends its window */
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

static int write_series(struct compaction *c, const struct query_item *item)
{
    c->samples.n = 0;
    payload_list_clear(&c->payloads);
    for (size_t i = 0; i < item->n; i++)
        if (c->step_ms == 0 || i + 1 == item->n ||
            window_of(c, item->ts[i]) != window_of(c, item->ts[i + 1]))
            keep_sample(c, item, i);
    return write_samples(c, db_series_id(c->db, item->ref));
}

static int write_all(struct compaction *c)
{
    struct query *q;
    struct query_item item;
    int r;

    query_open(c->db, NULL, 0, c->bucket * BUCKET_MS, (c->bucket + 1) * BUCKET_MS - 1, 0, &q);
    while ((r = query_next(q, &item)) > 0) {
        r = __atomic_load_n(&c->db->compact_stop, __ATOMIC_ACQUIRE) ? -ECANCELED
                                                                    : write_series(c, &item);
        if (r < 0)
            break;
    }
    query_close(q);
    return r == 0 && group_writer_count(c->groups) > 0 ? write_group(c) : r;
}

/* Payloads, then samples. */
static int write_runs(struct compaction *c)
{
    char payloads[RUN_NAME_MAX];
    int r;

    payload_run_name(payloads, c->part);
    r = store_bulk_begin(c->db->store, STORE_SAMPLES, slice_str(payloads), &c->payload_bulk);
    if (r == 0)
        r = store_bulk_begin(c->db->store, STORE_SAMPLES, slice_str(c->part), &c->bulk);
    c->groups = group_writer_new();
    if (r == 0)
        r = write_all(c);
    group_writer_free(c->groups);
    samples_done(&c->samples);
    payload_list_done(&c->payloads);
    if (r == 0)
        r = store_bulk_commit(take(c->payload_bulk));
    if (r == 0)
        r = store_bulk_commit(take(c->bulk));
    store_bulk_free(c->payload_bulk);
    store_bulk_free(c->bulk);
    return r;
}

static size_t place_of(const struct db *db, const struct run *run)
{
    size_t i = 0;

    while (i < db->n_runs && strcmp(db->runs[i].part, run->part) != 0)
        i++;
    return i;
}

/* The new run for the old ones, if they are all still there. */
static int put_in_force(struct compaction *c)
{
    struct db *db = c->db;
    bool whole = true;
    int r = 0;

    guard(&db->flushing);
    for (size_t i = 0; i < c->n_sources; i++)
        whole = whole && place_of(db, &c->sources[i]) < db->n_runs;
    if (!whole) {
        struct run mine = {.payloads = true};

        memcpy(mine.part, c->part, sizeof mine.part);
        return run_erase(db, &mine);
    }
    pthread_rwlock_wrlock(&db->lock);
    for (size_t i = 0; i < c->n_sources; i++)
        run_take(db, place_of(db, &c->sources[i]));
    if (c->n_groups > 0)
        run_add(db, c->part, c->bucket * BUCKET_MS, c->n_payloads > 0);
    pthread_rwlock_unlock(&db->lock);
    for (size_t i = 0; i < c->n_sources && r == 0; i++)
        r = run_erase(db, &c->sources[i]);
    return r;
}

int db_compact(struct db *db, int64_t now_ms)
{
    struct compaction c = {.db = db};
    int64_t start_ms = clock_monotonic_ms();
    bool any;
    int r;

    pthread_rwlock_rdlock(&db->lock);
    any = choose(db, now_ms, &c);
    if (any)
        name_part(db, &c);
    pthread_rwlock_unlock(&db->lock);
    if (!any)
        return 0;
    r = write_runs(&c);
    if (r == 0)
        r = put_in_force(&c);
    log_line(r < 0 && r != -ECANCELED ? LOG_ERROR : LOG_INFO, NULL, "metrics.compact",
             "run=%s from=%zu ms=%" PRId64 " result=%d", c.part, c.n_sources,
             clock_monotonic_ms() - start_ms, r);
    free(c.sources);
    return r < 0 ? r : 1;
}
