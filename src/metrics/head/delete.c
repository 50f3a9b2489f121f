/* Deletes: each run that holds samples of the series is written anew without them, and then
 * dropped. A row says what is to go until that is done. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"
#include "metrics/head/decimal.h"

#include <errno.h>
#include <stdlib.h>

#define DELETES_PART "metrics/deletes"
#define ROW_IDS      4096 /* so that a row fits */

struct deletion {
    int64_t from_ms, to_ms;
    uint64_t *ids; /* ascending */
    size_t n;
};

static bool has_id(const struct deletion *d, uint64_t id)
{
    size_t low = 0;
    size_t high = d->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (d->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->n && d->ids[low] == id;
}

static bool group_meets(const struct group *g, const struct deletion *d)
{
    size_t n;
    const uint64_t *ids = group_ids(g, &n);

    for (size_t i = 0; i < n; i++)
        if (has_id(d, ids[i]))
            return true;
    return false;
}

/* Does the run hold any of the series? One seek for each that stands in another group. */
static int run_meets(struct db *db, const struct run *run, const struct deletion *d)
{
    struct store_scan *scan = NULL;
    uint64_t last = 0;
    int r = store_bulk_scan(db->store, STORE_SAMPLES, slice_str(run->part), SLICE(""), SLICE(""),
                            0, &scan);
    bool meets = false;

    for (size_t i = 0; i < d->n && r >= 0 && !meets; i++) {
        struct slice key;
        struct slice value;
        struct group *g = NULL;
        uint8_t from[8];

        if (i > 0 && d->ids[i] <= last)
            continue;
        be64_put(from, d->ids[i]);
        store_scan_seek(scan, slice_of(from, sizeof from));
        r = store_scan_next(scan, &key, &value);
        if (r <= 0)
            break;
        last = be64_get(key.data);
        r = group_open(value, &g);
        meets = r == 0 && group_meets(g, d);
        group_free(g);
    }
    store_scan_free(scan);
    return r < 0 ? r : meets;
}

/* The samples of a group that stay, in the writer. */
static void keep_rest(const struct group *g, const struct deletion *d, struct group_writer *w)
{
    struct samples s = {0};
    size_t n;
    const uint64_t *ids = group_ids(g, &n);

    for (size_t i = 0; i < n; i++) {
        if (i > 0 && ids[i] == ids[i - 1])
            continue; /* group_read gives all of an id */
        s.n = 0;
        if (!has_id(d, ids[i])) {
            group_read(g, ids[i], INT64_MIN, INT64_MAX, &s);
        } else {
            if (d->from_ms > INT64_MIN)
                group_read(g, ids[i], INT64_MIN, d->from_ms - 1, &s);
            if (d->to_ms < INT64_MAX)
                group_read(g, ids[i], d->to_ms + 1, INT64_MAX, &s);
        }
        for (size_t at = 0; at < s.n; at += CHUNK_SAMPLES_MAX) {
            size_t part = s.n - at < CHUNK_SAMPLES_MAX ? s.n - at : CHUNK_SAMPLES_MAX;

            group_writer_add(w, ids[i], &(struct samples){s.ts + at, s.bits + at, part, part});
        }
    }
    samples_done(&s);
}

static int copy_group(struct store_bulk *bulk, const struct deletion *d, struct group_writer *w,
                      struct slice key, struct slice value, size_t *written)
{
    struct group *g = NULL;
    autobuf bytes = {0};
    uint8_t new_key[12];
    int r = key.len == 12 ? group_open(value, &g) : -EIO;

    if (r < 0)
        return r;
    if (!group_meets(g, d)) {
        group_free(g);
        *written += 1;
        return store_bulk_add(bulk, key, value);
    }
    keep_rest(g, d, w);
    group_free(g);
    if (group_writer_count(w) == 0)
        return 0;
    be64_put(new_key, group_writer_last_id(w));
    memcpy(new_key + 8, (const uint8_t *)key.data + 8, 4);
    group_writer_finish(w, &bytes);
    *written += 1;
    return store_bulk_add(bulk, slice_of(new_key, sizeof new_key), buf_slice(&bytes));
}

/* Writes what stays of a run as another; *written groups. */
static int copy_run(struct db *db, const struct run *run, const struct deletion *d,
                    const char *part, size_t *written)
{
    struct group_writer *w = group_writer_new();
    struct store_scan *scan = NULL;
    struct store_bulk *bulk = NULL;
    struct slice key;
    struct slice value;
    int r = store_bulk_scan(db->store, STORE_SAMPLES, slice_str(run->part), SLICE(""), SLICE(""),
                            0, &scan);

    if (r == 0)
        r = store_bulk_begin(db->store, STORE_SAMPLES, slice_str(part), &bulk);
    while (r == 0 && (r = store_scan_next(scan, &key, &value)) > 0)
        r = copy_group(bulk, d, w, key, value, written);
    store_scan_free(scan);
    group_writer_free(w);
    if (r < 0) {
        store_bulk_free(bulk);
        return r;
    }
    return store_bulk_commit(bulk);
}

/* The payloads of one series, without those that go. */
static int put_payloads(struct store_bulk *bulk, uint64_t id, struct payload_list *list,
                        const struct deletion *d, size_t *written)
{
    struct payload_list rest = {0};
    int r;

    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].ts_ms < d->from_ms || list->items[i].ts_ms > d->to_ms)
            payload_list_put(&rest, list->items[i].ts_ms,
                             slice_of(list->bytes.data + list->items[i].offset,
                                      list->items[i].len));
    r = rest.n > 0 ? payload_rows_put(bulk, id, &rest) : 0;
    *written += rest.n;
    payload_list_done(&rest);
    payload_list_clear(list);
    return r;
}

static int copy_payload_rows(struct store_scan *scan, struct store_bulk *bulk,
                             const struct deletion *d, size_t *written)
{
    struct payload_list list = {0};
    struct slice key;
    struct slice value;
    uint64_t open = 0; /* the series of the list */
    int r = 0;

    while (r == 0 && (r = store_scan_next(scan, &key, &value)) > 0) {
        uint64_t id = key.len == 16 ? be64_get(key.data) : 0;

        r = key.len == 16 ? 0 : -EIO;
        if (r == 0 && list.n > 0 && id != open)
            r = put_payloads(bulk, open, &list, d, written);
        open = id;
        if (r < 0)
            break;
        if (has_id(d, id)) {
            r = payload_row_decode(value, (int64_t)be64_get((const uint8_t *)key.data + 8),
                                   INT64_MIN, INT64_MAX, &list);
            continue;
        }
        r = store_bulk_add(bulk, key, value);
        *written += 1;
    }
    if (r == 0 && list.n > 0)
        r = put_payloads(bulk, open, &list, d, written);
    payload_list_done(&list);
    return r;
}

static int copy_payloads(struct db *db, const struct run *run, const struct deletion *d,
                         const char *part, bool *ret_any)
{
    struct store_scan *scan = NULL;
    struct store_bulk *bulk = NULL;
    char from[RUN_NAME_MAX];
    char to[RUN_NAME_MAX];
    size_t written = 0;
    int r;

    *ret_any = false;
    if ((run->beside & BESIDE_PAYLOADS) == 0)
        return 0;
    beside_name(from, BESIDE_PAYLOADS, run->part);
    beside_name(to, BESIDE_PAYLOADS, part);
    r = store_bulk_scan(db->store, STORE_SAMPLES, slice_str(from), SLICE(""), SLICE(""), 0, &scan);
    if (r == 0)
        r = store_bulk_begin(db->store, STORE_SAMPLES, slice_str(to), &bulk);
    if (r == 0)
        r = copy_payload_rows(scan, bulk, d, &written);
    store_scan_free(scan);
    if (r < 0) {
        store_bulk_free(bulk);
        return r;
    }
    *ret_any = written > 0;
    return store_bulk_commit(bulk);
}

/* The start times of what stays. */
static int copy_starts(struct db *db, const struct run *run, const struct deletion *d,
                       const char *part, bool *ret_any)
{
    struct since_reader *reader = NULL;
    struct since_writer *w;
    struct since_list list = {0};
    char name[RUN_NAME_MAX];
    uint64_t id = 0;
    int r;

    *ret_any = false;
    if ((run->beside & BESIDE_STARTS) == 0)
        return 0;
    beside_name(name, BESIDE_STARTS, run->part);
    r = since_reader_new(db->store, name, &reader);
    if (r < 0)
        return r;
    beside_name(name, BESIDE_STARTS, part);
    w = since_writer_new(db->store, name);
    while (r == 0 && (r = since_reader_next(reader, &id, &list)) > 0) {
        if (has_id(d, id))
            since_cut(&list, d->from_ms, d->to_ms < run->end_ms - 1 ? d->to_ms : INT64_MAX);
        r = since_writer_add(w, id, &list);
    }
    if (r == 0)
        r = since_writer_commit(take(w), ret_any);
    since_writer_free(w);
    since_list_done(&list);
    since_reader_free(reader);
    return r;
}

/* What stands beside, samples, then the list of runs: as when a run is first written. */
static int rewrite(struct db *db, size_t i, const struct deletion *d)
{
    struct run old = db->runs[i];
    struct run like = old;
    char part[RUN_NAME_MAX];
    bool payloads;
    bool starts = false;
    size_t written = 0;
    int r;

    if (old.tier_ms == 0)
        like = (struct run){.start_ms = old.start_ms}; /* what was made of it is to be made anew */
    run_name_new(db, &like, old.tier_ms > 0 ? 'd' : 0, part);
    r = copy_payloads(db, &old, d, part, &payloads);
    if (r == 0)
        r = copy_starts(db, &old, d, part, &starts);
    if (r == 0)
        r = copy_run(db, &old, d, part, &written);
    if (r < 0)
        return r;
    pthread_rwlock_wrlock(&db->lock);
    run_take(db, i);
    if (written > 0)
        run_add(db, part, (payloads ? BESIDE_PAYLOADS : 0) | (starts ? BESIDE_STARTS : 0));
    pthread_rwlock_unlock(&db->lock);
    return run_erase(db, &old);
}

static int apply(struct db *db, const struct deletion *d)
{
    size_t n = db->n_runs;
    char (*parts)[RUN_NAME_MAX] = xmalloc((n + 1) * sizeof *parts);
    int r = 0;

    for (size_t i = 0; i < n; i++)
        memcpy(parts[i], db->runs[i].part, RUN_NAME_MAX);
    for (size_t i = 0; i < n && r == 0; i++) {
        size_t at = 0;

        while (at < db->n_runs && strcmp(db->runs[at].part, parts[i]) != 0)
            at++;
        if (at == db->n_runs || db->runs[at].start_ms > d->to_ms ||
            db->runs[at].end_ms <= d->from_ms)
            continue;
        r = run_meets(db, &db->runs[at], d);
        if (r > 0)
            r = rewrite(db, at, d);
    }
    free(parts);
    return r;
}

/* Rows: key a number, value from, to, n, then the ids as differences. */

static int rows_put(struct db *db, const struct deletion *d)
{
    struct store_batch *batch = store_batch_new(db->store, SLICE(DELETES_PART));
    uint64_t number = (uint64_t)clock_unix_ns();

    for (size_t at = 0; at < d->n; number++) {
        size_t n = d->n - at < ROW_IDS ? d->n - at : ROW_IDS;
        autobuf value = {0};
        uint64_t before = 0;
        uint8_t key[8];

        varint_put(&value, zigzag(d->from_ms));
        varint_put(&value, zigzag(d->to_ms));
        varint_put(&value, n);
        for (size_t i = 0; i < n; i++, at++) {
            varint_put(&value, d->ids[at] - before);
            before = d->ids[at];
        }
        be64_put(key, number);
        store_batch_put(batch, slice_of(key, sizeof key), buf_slice(&value));
    }
    return store_commit(batch, STORE_DURABLE);
}

static int row_get(struct slice in, struct deletion *d)
{
    uint64_t from = 0;
    uint64_t to = 0;
    uint64_t n = 0;
    uint64_t step = 0;

    if (varint_get(&in, &from) < 0 || varint_get(&in, &to) < 0 || varint_get(&in, &n) < 0 ||
        n > ROW_IDS)
        return -EIO;
    *d = (struct deletion){.from_ms = unzigzag(from), .to_ms = unzigzag(to)};
    d->ids = xcalloc((size_t)n + 1, sizeof *d->ids);
    for (; d->n < n; d->n++) {
        if (varint_get(&in, &step) < 0)
            return -EIO;
        d->ids[d->n] = (d->n > 0 ? d->ids[d->n - 1] : 0) + step;
    }
    return 0;
}

static int rows_apply(struct db *db)
{
    struct store_scan *scan = NULL;
    struct slice key;
    struct slice value;
    int r = store_scan(db->store, SLICE(DELETES_PART), SLICE(""), SLICE(""), 0, &scan);

    while (r == 0 && (r = store_scan_next(scan, &key, &value)) > 0) {
        struct deletion d = {0};

        r = row_get(value, &d);
        if (r == 0)
            r = apply(db, &d);
        free(d.ids);
    }
    store_scan_free(scan);
    return r < 0 ? r : store_drop(db->store, SLICE(DELETES_PART));
}

void deletes_resume(struct db *db)
{
    int r = rows_apply(db);

    db->deleting = r < 0;
    if (r < 0)
        log_line(LOG_ERROR, NULL, "metrics.delete", "error=%s", strerror(-r));
}

static int id_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

int db_delete(struct db *db, const struct refs *refs, int64_t from_ms, int64_t to_ms)
{
    struct deletion d = {.from_ms = from_ms, .to_ms = to_ms};
    autofree uint64_t *ids = xmalloc((refs->n + 1) * sizeof *ids);
    int r = db_flush(db); /* what is in the head and its log becomes runs too */

    if (r < 0 || refs->n == 0)
        return r;
    guard(&db->flushing);
    pthread_rwlock_rdlock(&db->lock);
    for (size_t i = 0; i < refs->n; i++)
        ids[d.n++] = index_series(db->index, refs->items[i])->id;
    pthread_rwlock_unlock(&db->lock);
    qsort(ids, d.n, sizeof *ids, id_cmp);
    d.ids = ids;
    r = rows_put(db, &d);
    if (r < 0)
        return r;
    r = rows_apply(db);
    db->deleting = r < 0;
    if (r == 0 && from_ms == INT64_MIN && to_ms == INT64_MAX)
        series_remove(db, refs);
    log_line(r < 0 ? LOG_ERROR : LOG_INFO, NULL, "metrics.delete", "series=%zu result=%d", d.n, r);
    return r;
}
