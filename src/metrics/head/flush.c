/* From the head to runs; the rows of series. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#define SERIES_BATCH 4096

/* Series rows: key id (8 bytes), value labels. */

static int load_row(struct db *db, struct op *op, struct slice key, struct slice value)
{
    struct labels l;

    if (key.len != 8 || labels_decode(op, &value, &l) < 0 || l.n > LABELS_MAX + 1)
        return -EIO;
    index_add(db->index, &l, be64_get(key.data));
    return 0;
}

int series_load(struct db *db)
{
    struct store_scan *scan = NULL;
    struct slice key;
    struct slice value;
    int r = store_scan(db->store, SLICE(SERIES_PART), SLICE(""), SLICE(""), 0, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) > 0) {
        struct op op;

        op_init(&op, DOOR_INTERNAL, NULL);
        if (load_row(db, &op, key, value) < 0)
            log_line(LOG_ERROR, NULL, "metrics.series.damaged", "key_bytes=%zu", key.len);
        op_done(&op);
    }
    store_scan_free(scan);
    db->n_saved = db->n_logged = (uint32_t)index_count(db->index);
    return r;
}

/* Rows for the series of refs from..to. The index grows meanwhile, but these do not change. */
static int series_save(struct db *db, uint32_t from, uint32_t to)
{
    while (from < to) {
        struct store_batch *batch = store_batch_new(db->store, SLICE(SERIES_PART));
        autobuf value = {0};
        int r;

        pthread_rwlock_rdlock(&db->lock);
        for (uint32_t n = 0; from < to && n < SERIES_BATCH; n++, from++) {
            const struct series *s = index_series(db->index, from);
            struct label room[LABELS_MAX + 1];
            struct labels l = index_labels(db->index, s, room);
            uint8_t key[8];

            if (s->gone)
                continue;
            be64_put(key, s->id);
            buf_clear(&value);
            labels_encode(&value, &l);
            store_batch_put(batch, slice_of(key, 8), buf_slice(&value));
        }
        pthread_rwlock_unlock(&db->lock);
        r = store_commit(batch, STORE_DURABLE);
        if (r < 0)
            return r;
    }
    return 0;
}

struct piece {
    uint64_t id;
    uint32_t ref;
    bool since; /* starts are told of its series */
    struct sealed *sealed;
};

struct pieces {
    struct piece *items;
    size_t n, cap;
};

static int piece_cmp(const void *a, const void *b)
{
    const struct piece *x = a;
    const struct piece *y = b;
    int64_t bx = bucket_of(x->sealed->stream.first_ms);
    int64_t by = bucket_of(y->sealed->stream.first_ms);

    if (bx != by)
        return bx < by ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->sealed->stream.first_ms < y->sealed->stream.first_ms ? -1 : 1;
}

void streams_begin_anew(struct db *db)
{
    for (uint32_t ref = 0; ref < index_count(db->index); ref++) {
        struct series *s = index_series(db->index, ref);

        if (s->open.count > 0)
            db_seal(s);
        s->open.last_ms = 0;
    }
}

/* Before the runs there is a record in the log: a replay takes what comes behind it, as the head
 * does. Under both locks. */
static int prepare_anew(struct db *db)
{
    int r;

    log_put_anew(&db->record);
    r = log_write(db, &db->record);
    buf_clear(&db->record);
    if (r == 0)
        streams_begin_anew(db);
    return r;
}

/* Marks what is to be written. Under both locks. */
static void collect(struct db *db, int64_t bucket, struct pieces *ret)
{
    for (uint32_t ref = 0; ref < index_count(db->index); ref++) {
        struct series *s = index_series(db->index, ref);

        if (s->open.count > 0 && bucket_of(s->open.first_ms) < bucket)
            db_seal(s);
        for (struct sealed *p = s->sealed; p != NULL; p = p->next) {
            if (bucket_of(p->stream.first_ms) >= bucket)
                continue;
            p->flushing = true;
            if (ret->n == ret->cap) {
                ret->cap = ret->cap == 0 ? 1024 : 2 * ret->cap;
                ret->items = xrealloc(ret->items, ret->cap * sizeof *ret->items);
            }
            ret->items[ret->n++] = (struct piece){s->id, ref, s->since, p};
        }
    }
}

struct run_writer {
    struct db *db;
    struct store_bulk *bulk;
    struct since_writer *since;
    int64_t *starts; /* of the samples of one series */
    size_t cap_starts;
    struct group_writer *groups;
    uint32_t n_groups;
    struct buf value;
};

static int write_group(struct run_writer *w)
{
    uint8_t key[12];

    be64_put(key, group_writer_last_id(w->groups));
    be32_put(key + 8, w->n_groups++);
    buf_clear(&w->value);
    group_writer_finish(w->groups, &w->value);
    return store_bulk_add(w->bulk, slice_of(key, sizeof key), buf_slice(&w->value));
}

/* One series' samples of the bucket, in parts that a group can hold. */
static int write_series(struct run_writer *w, uint64_t id, const struct samples *s)
{
    int r = 0;

    for (size_t at = 0; at < s->n && r == 0;) {
        size_t n = s->n - at < CHUNK_SAMPLES_MAX ? s->n - at : CHUNK_SAMPLES_MAX;
        struct samples part = {.ts = s->ts + at, .bits = s->bits + at, .n = n};

        group_writer_add(w->groups, id, &part);
        if (group_writer_full(w->groups))
            r = write_group(w);
        at += n;
    }
    return r;
}

/* The starts of the series' samples, if any is known. */
static int write_starts(struct run_writer *w, const struct piece *piece, const struct samples *s)
{
    const struct since_list *l;

    pthread_rwlock_rdlock(&w->db->lock);
    l = sinces_of(w->db->sinces, piece->ref);
    if (l != NULL && w->cap_starts < s->n) {
        w->cap_starts = s->n + s->n / 2;
        w->starts = xrealloc(w->starts, w->cap_starts * sizeof *w->starts);
    }
    for (size_t i = 0; l != NULL && i < s->n; i++)
        w->starts[i] = since_at(l, s->ts[i]);
    pthread_rwlock_unlock(&w->db->lock);
    return l != NULL ? since_writer_samples(w->since, piece->id, s->ts, w->starts, s->n) : 0;
}

static int write_pieces(struct run_writer *w, const struct piece *pieces, size_t n)
{
    struct samples s = {0};
    int r = 0;

    for (size_t i = 0; i < n && r == 0;) {
        const struct piece *first = &pieces[i];
        uint64_t id = first->id;

        s.n = 0;
        for (; i < n && pieces[i].id == id; i++) {
            struct stream_reader reader;
            int64_t ts;
            uint64_t bits;

            stream_read(&pieces[i].sealed->stream, &reader);
            while (stream_next(&reader, &ts, &bits))
                samples_add(&s, ts, bits);
        }
        samples_order(&s);
        r = write_series(w, id, &s);
        if (r == 0 && first->since)
            r = write_starts(w, first, &s);
    }
    if (r == 0 && group_writer_count(w->groups) > 0)
        r = write_group(w);
    samples_done(&s);
    return r;
}

/* What stands beside it, then the run itself. */
static int commit_run(struct run_writer *w, unsigned *beside)
{
    bool any = false;
    int r = since_writer_commit(take(w->since), &any);

    *beside |= any ? BESIDE_STARTS : 0;
    return r < 0 ? r : store_bulk_commit(take(w->bulk));
}

static int write_run(struct db *db, const struct piece *pieces, size_t n, char part[RUN_NAME_MAX],
                     unsigned *ret_beside)
{
    struct run_writer w = {.db = db};
    char starts[RUN_NAME_MAX];
    bool payloads = false;
    int64_t bucket = bucket_of(pieces[0].sealed->stream.first_ms);
    int r;

    run_name_new(db, &(struct run){.start_ms = bucket * BUCKET_MS}, 0, part);
    beside_name(starts, BESIDE_STARTS, part);
    r = payload_run_write(db, bucket, part, &payloads);
    if (r < 0)
        return r;
    *ret_beside = payloads ? BESIDE_PAYLOADS : 0;
    r = store_bulk_begin(db->store, STORE_SAMPLES, slice_str(part), &w.bulk);
    if (r < 0)
        return r;
    w.groups = group_writer_new();
    w.since = since_writer_new(db->store, starts);
    r = write_pieces(&w, pieces, n);
    group_writer_free(w.groups);
    buf_done(&w.value);
    free(w.starts);
    if (r == 0)
        r = commit_run(&w, ret_beside);
    since_writer_free(w.since);
    store_bulk_free(w.bulk);
    return r;
}

static void unlink_pieces(struct db *db, const struct piece *pieces, size_t n, bool written)
{
    for (size_t i = 0; i < n; i++) {
        struct series *s = index_series(db->index, pieces[i].ref);
        struct sealed **p = &s->sealed;
        uint32_t bucket = (uint32_t)bucket_of(pieces[i].sealed->stream.first_ms);

        if (!written) {
            pieces[i].sealed->flushing = false;
            continue;
        }
        if (bucket > s->bucket)
            s->bucket = bucket;
        while (*p != pieces[i].sealed)
            p = &(*p)->next;
        *p = pieces[i].sealed->next;
        db->head_samples -= pieces[i].sealed->stream.count;
        stream_clear(&pieces[i].sealed->stream);
        free(pieces[i].sealed);
    }
}

/* What is left in the head, anew. */
static void recount(struct db *db)
{
    db->oldest_bucket = INT64_MAX;
    db->head_bytes = 0;
    db->min_ms = INT64_MAX;
    for (uint32_t ref = 0; ref < index_count(db->index); ref++) {
        struct series *s = index_series(db->index, ref);
        int64_t first = s->open.count > 0 ? s->open.first_ms : INT64_MAX;
        int64_t last = s->open.count > 0 ? s->open.last_ms : 0;

        db->head_bytes += s->open.cap;
        for (const struct sealed *p = s->sealed; p != NULL; p = p->next) {
            db->head_bytes += p->stream.cap + sizeof *p;
            first = p->stream.first_ms < first ? p->stream.first_ms : first;
            last = p->stream.last_ms > last ? p->stream.last_ms : last;
        }
        db->min_ms = first < db->min_ms ? first : db->min_ms;
        s->since = s->since && sinces_trim(db->sinces, ref, first, last);
    }
    if (db->min_ms == INT64_MAX)
        db->min_ms = 0;
    else
        db->oldest_bucket = bucket_of(db->min_ms);
}

/* All records before seq are in runs now: what came since is all that there is. */
static void begin_anew(struct db *db, uint64_t seq)
{
    guard(&db->append);
    pthread_rwlock_wrlock(&db->lock);
    db->max_ms = 0;
    for (uint32_t ref = 0; ref < index_count(db->index); ref++) {
        const struct series *s = index_series(db->index, ref);
        int64_t last = s->open.count > 0 ? s->open.last_ms : 0;

        for (const struct sealed *p = s->sealed; p != NULL; p = p->next)
            last = p->stream.last_ms > last ? p->stream.last_ms : last;
        db->max_ms = last > db->max_ms ? last : db->max_ms;
    }
    db->bucket = db->head_samples > 0 ? bucket_of(db->max_ms) : -1;
    db->bucket_seq = seq;
    db->bucket_bytes = 0;
    pthread_rwlock_unlock(&db->lock);
}

/* Writes one bucket after the other; each is dropped from the head when its run is durable. */
static int write_runs(struct db *db, struct pieces *pieces)
{
    int r = 0;

    for (size_t i = 0; i < pieces->n;) {
        int64_t bucket = bucket_of(pieces->items[i].sealed->stream.first_ms);
        char part[RUN_NAME_MAX];
        unsigned beside = 0;
        size_t n = 1;

        while (i + n < pieces->n &&
               bucket_of(pieces->items[i + n].sealed->stream.first_ms) == bucket)
            n++;
        if (r == 0)
            r = write_run(db, pieces->items + i, n, part, &beside);
        pthread_rwlock_wrlock(&db->lock);
        if (r == 0)
            run_add(db, part, beside);
        payloads_settle(db->payloads, r == 0);
        unlink_pieces(db, pieces->items + i, n, r == 0);
        pthread_rwlock_unlock(&db->lock);
        i += n;
    }
    return r;
}

int flush_until(struct db *db, int64_t bucket)
{
    struct pieces pieces = {0};
    uint64_t trim;
    uint64_t log_bytes;
    uint32_t n_series;
    int64_t start_ms = clock_monotonic_ms();
    int r;

    guard(&db->flushing);
    pthread_mutex_lock(&db->append);
    pthread_rwlock_wrlock(&db->lock);
    r = bucket == FLUSH_ANEW ? prepare_anew(db) : 0;
    if (r == 0)
        collect(db, bucket, &pieces);
    trim = bucket > db->bucket ? db->next_seq : db->bucket_seq;
    log_bytes = bucket > db->bucket ? db->log_bytes : db->bucket_bytes;
    n_series = (uint32_t)index_count(db->index);
    pthread_rwlock_unlock(&db->lock);
    pthread_mutex_unlock(&db->append);

    if (pieces.n > 0)
        qsort(pieces.items, pieces.n, sizeof *pieces.items, piece_cmp);
    if (r == 0)
        r = series_save(db, db->n_saved, n_series);
    if (r == 0) {
        db->n_saved = n_series;
        r = write_runs(db, &pieces);
    } else {
        pthread_rwlock_wrlock(&db->lock);
        unlink_pieces(db, pieces.items, pieces.n, false);
        pthread_rwlock_unlock(&db->lock);
    }
    pthread_rwlock_wrlock(&db->lock);
    recount(db);
    pthread_rwlock_unlock(&db->lock);
    if (r == 0 && bucket == FLUSH_ANEW)
        begin_anew(db, trim);
    if (r == 0)
        r = store_log_trim(db->log, trim);
    if (r == 0) {
        guard(&db->append);
        __atomic_sub_fetch(&db->log_bytes, log_bytes, __ATOMIC_RELAXED);
        db->series_bytes = 0; /* what is left of them is little */
        __atomic_store_n(&db->untidy, true, __ATOMIC_RELEASE);
        __atomic_store_n(&db->flushed_ms, clock_monotonic_ms(), __ATOMIC_RELEASE);
        db->bucket_bytes = db->bucket_bytes > log_bytes ? db->bucket_bytes - log_bytes : 0;
    }
    log_line(r < 0 ? LOG_ERROR : LOG_INFO, NULL, "metrics.flush",
             "streams=%zu series=%" PRIu32 " ms=%" PRId64 " result=%d", pieces.n, n_series,
             clock_monotonic_ms() - start_ms, r);
    free(pieces.items);
    malloc_trim(0); /* what a million streams held goes back to the system */
    return r;
}
