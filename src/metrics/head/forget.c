/* Series of which retention took the last sample. */
#include "base/alloc.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdlib.h>

#define FORGET_BATCH 4096

static void mark_group(struct db *db, const struct group *g, uint32_t bucket)
{
    size_t n;
    const uint64_t *ids = group_ids(g, &n);

    pthread_rwlock_wrlock(&db->lock);
    for (size_t i = 0; i < n; i++) {
        uint32_t ref = index_find_id(db->index, ids[i]);
        struct series *s = ref != SERIES_NONE ? index_series(db->index, ref) : NULL;

        if (s != NULL && s->bucket < bucket)
            s->bucket = bucket;
    }
    pthread_rwlock_unlock(&db->lock);
}

/* Which series the runs hold that were there at the start: read once, when it is first needed. */
static int learn_buckets(struct db *db)
{
    int r = 0;

    for (size_t i = 0; i < db->n_runs && r >= 0; i++) {
        struct store_scan *scan = NULL;
        struct slice key;
        struct slice value;

        r = store_bulk_scan(db->store, STORE_SAMPLES, slice_str(db->runs[i].part), SLICE(""),
                            SLICE(""), 0, &scan);
        while (r >= 0 && (r = store_scan_next(scan, &key, &value)) > 0) {
            struct group *g = NULL;

            r = group_open(value, &g);
            if (r == 0)
                mark_group(db, g, (uint32_t)bucket_of(db->runs[i].end_ms - 1));
            group_free(g);
        }
        store_scan_free(scan);
    }
    db->buckets_known = r >= 0;
    return r;
}

static int delete_rows(struct db *db, const uint64_t *ids, size_t n_ids)
{
    int r = 0;

    for (size_t at = 0; at < n_ids && r == 0;) {
        struct store_batch *batch = store_batch_new(db->store, SLICE(SERIES_PART));

        for (size_t n = 0; n < FORGET_BATCH && at < n_ids; n++, at++) {
            uint8_t key[8];

            be64_put(key, ids[at]);
            store_batch_delete(batch, slice_of(key, sizeof key));
        }
        r = store_commit(batch, 0);
    }
    return r;
}

/* Takes those of the series out of the index that have nothing in the head; their rows go too. */
void series_remove(struct db *db, const struct refs *refs)
{
    struct refs gone = {0};
    autofree uint64_t *ids = xmalloc((refs->n + 1) * sizeof *ids);

    pthread_mutex_lock(&db->append);
    pthread_rwlock_wrlock(&db->lock);
    for (size_t i = 0; i < refs->n; i++) {
        const struct series *s = index_series(db->index, refs->items[i]);

        if (s->gone || s->open.count > 0 || s->sealed != NULL || refs->items[i] >= db->n_saved)
            continue;
        ids[gone.n] = s->id;
        refs_add(&gone, refs->items[i]);
    }
    index_remove(db->index, gone.items, gone.n);
    pthread_rwlock_unlock(&db->lock);
    __atomic_add_fetch(&db->forgotten, gone.n, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&db->append);
    if (gone.n > 0) {
        int r = delete_rows(db, ids, gone.n);

        log_line(r < 0 ? LOG_ERROR : LOG_INFO, NULL, "metrics.forget", "series=%zu result=%d",
                 gone.n, r);
    }
    refs_done(&gone);
}

/* The bucket before which a series has nothing left: that of the oldest run, or what its rule of
 * retention leaves, once that is out of all runs. */
static uint32_t oldest_of(const struct db *db, uint8_t rule, uint32_t oldest, int64_t now_ms)
{
    const struct db_options *o = &db->options;
    int64_t keep_ms = rule > 0 ? o->keeps[rule - 1].keep_ms : 0;
    int64_t bucket = keep_ms > 0 ? bucket_of(now_ms - keep_ms) : 0;

    if (rule == 0 || (o->retention_ms > 0 && keep_ms >= o->retention_ms) || bucket <= oldest)
        return oldest;
    return (uint32_t)bucket;
}

/* A series that is not saved yet was made since the last flush: its first sample is on the way. */
void series_forget(struct db *db, int64_t now_ms)
{
    struct refs old = {0};
    uint32_t oldest;
    size_t n = 0;
    autofree uint8_t *rules = db->filtered ? keep_rules_of(db, &n) : NULL;

    if (!db->buckets_known && learn_buckets(db) < 0)
        return;
    pthread_rwlock_rdlock(&db->lock);
    oldest = db->n_runs > 0 ? (uint32_t)bucket_of(db->runs[0].start_ms) : UINT32_MAX;
    for (uint32_t ref = 0; ref < db->n_saved; ref++)
        if (index_series(db->index, ref)->bucket <
            oldest_of(db, ref < n ? rules[ref] : 0, oldest, now_ms))
            refs_add(&old, ref);
    pthread_rwlock_unlock(&db->lock);
    series_remove(db, &old);
    refs_done(&old);
}
