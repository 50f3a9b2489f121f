/* Start times of a run. A row: key id of the last series in it (8), number of the row (4). Value,
 * packed: for each series how far its id is behind the one before, how many changes, and of each
 * the time and the start as differences to the change before, the time of the first to that of the
 * series before. A series with many changes goes on in the next row. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "metrics/head/decimal.h"
#include "metrics/head/packed.h"
#include "metrics/head/since.h"

#include <errno.h>
#include <stdlib.h>

#define ROW_BYTES    (8u << 10) /* raw, from which on a row is full */
#define PART_CHANGES 4096u      /* of a series, in one row */

/* What differences are told against. */
struct carry {
    uint64_t id;
    int64_t first_ms, start_ms;
};

struct since_writer {
    struct store *store;
    struct buf part; /* its name */
    struct store_bulk *bulk; /* NULL: nothing was written yet */
    struct buf raw;
    struct carry carry;
    uint32_t n_rows;
    struct since_list list; /* of since_writer_samples */
};

struct since_writer *since_writer_new(struct store *store, const char *part)
{
    struct since_writer *w = xcalloc(1, sizeof *w);

    w->store = store;
    buf_add_str(&w->part, part);
    return w;
}

void since_writer_free(struct since_writer *w)
{
    if (w == NULL)
        return;
    store_bulk_free(w->bulk);
    buf_done(&w->part);
    buf_done(&w->raw);
    since_list_done(&w->list);
    free(w);
}

static int put_row(struct since_writer *w)
{
    autobuf value = {0};
    uint8_t key[12];
    int r = 0;

    if (w->bulk == NULL)
        r = store_bulk_begin(w->store, STORE_SAMPLES, buf_slice(&w->part), &w->bulk);
    if (r < 0)
        return r;
    be64_put(key, w->carry.id);
    be32_put(key + 8, w->n_rows++);
    packed_put(&value, buf_slice(&w->raw));
    buf_clear(&w->raw);
    w->carry = (struct carry){0};
    return store_bulk_add(w->bulk, slice_of(key, sizeof key), buf_slice(&value));
}

/* As two's complement: times at the two ends of what there is are as good as others. */
static int64_t less(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t more(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

int since_writer_add(struct since_writer *w, uint64_t id, const struct since_list *l)
{
    int r = 0;

    for (uint32_t at = 0; at < l->n && r == 0;) {
        uint32_t n = l->n - at < PART_CHANGES ? l->n - at : PART_CHANGES;
        int64_t before_ms = w->carry.first_ms;

        varint_put(&w->raw, id - w->carry.id);
        varint_put(&w->raw, n);
        w->carry.id = id;
        w->carry.first_ms = l->items[at].ts_ms;
        for (uint32_t end = at + n; at < end; at++) {
            varint_put(&w->raw, zigzag(less(l->items[at].ts_ms, before_ms)));
            varint_put(&w->raw, zigzag(less(l->items[at].start_ms, w->carry.start_ms)));
            before_ms = l->items[at].ts_ms;
            w->carry.start_ms = l->items[at].start_ms;
        }
        if (w->raw.len >= ROW_BYTES)
            r = put_row(w);
    }
    return r;
}

int since_writer_samples(struct since_writer *w, uint64_t id, const int64_t *ts_ms,
                         const int64_t *starts_ms, size_t n)
{
    w->list.n = 0;
    for (size_t i = 0; i < n; i++)
        since_add(&w->list, ts_ms[i], starts_ms[i]);
    return since_writer_add(w, id, &w->list);
}

int since_writer_commit(struct since_writer *w, bool *ret_any)
{
    int r = w->raw.len > 0 ? put_row(w) : 0;

    *ret_any = false;
    if (r == 0 && w->bulk != NULL) {
        r = store_bulk_commit(take(w->bulk));
        *ret_any = r == 0;
    }
    since_writer_free(w);
    return r;
}

struct since_reader {
    struct store_scan *scan;
    struct buf raw;    /* of the row at hand */
    struct slice rest; /* of it, what was not read yet */
    struct carry carry;
    uint64_t last; /* id in the row */
    bool ended, open;
    /* What was read but not asked for yet: */
    struct since_list ahead;
    uint64_t ahead_id;
    bool has_ahead;
};

int since_reader_new(struct store *store, const char *part, struct since_reader **ret)
{
    struct since_reader *r = xcalloc(1, sizeof *r);
    int e = store_bulk_scan(store, STORE_SAMPLES, slice_str(part), SLICE(""), SLICE(""), 0,
                            &r->scan);

    if (e < 0) {
        free(r);
        return e;
    }
    *ret = r;
    return 0;
}

void since_reader_free(struct since_reader *r)
{
    if (r == NULL)
        return;
    store_scan_free(r->scan);
    buf_done(&r->raw);
    since_list_done(&r->ahead);
    free(r);
}

static int unpack(struct since_reader *r, struct slice value)
{
    int e = packed_get(value, &r->raw);

    if (e < 0)
        return e;
    r->rest = buf_slice(&r->raw);
    r->carry = (struct carry){0};
    return 0;
}

/* The next row: 1; 0 at the end. */
static int load(struct since_reader *r)
{
    struct slice key;
    struct slice value;
    int e = store_scan_next(r->scan, &key, &value);

    r->open = true;
    r->ended = e <= 0;
    r->rest = SLICE("");
    if (e <= 0)
        return e;
    if (key.len != 12)
        return -EIO;
    r->last = be64_get(key.data);
    e = unpack(r, value);
    return e < 0 ? e : 1;
}

/* The next series of the row at hand, or part of one; added to the list if it is wanted. */
static int read_part(struct since_reader *r, struct since_list *out)
{
    uint64_t step = 0;
    uint64_t n = 0;
    int64_t ts_ms = r->carry.first_ms;

    if (varint_get(&r->rest, &step) < 0 || varint_get(&r->rest, &n) < 0 || n == 0 ||
        n > PART_CHANGES)
        return -EIO;
    r->carry.id += step;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t time = 0;
        uint64_t start = 0;

        if (varint_get(&r->rest, &time) < 0 || varint_get(&r->rest, &start) < 0)
            return -EIO;
        ts_ms = more(ts_ms, unzigzag(time));
        r->carry.start_ms = more(r->carry.start_ms, unzigzag(start));
        if (i == 0)
            r->carry.first_ms = ts_ms;
        since_add(out, ts_ms, r->carry.start_ms);
    }
    return 0;
}

/* One series, or part of one, into `ahead`: 1; 0 at the end. */
static int read_ahead(struct since_reader *r)
{
    int e = 1;

    if (r->has_ahead)
        return 1;
    while (r->rest.len == 0 && e > 0 && !r->ended)
        e = load(r);
    if (r->ended || e < 0)
        return r->ended && e >= 0 ? 0 : e;
    r->ahead.n = 0;
    e = read_part(r, &r->ahead);
    r->ahead_id = r->carry.id;
    r->has_ahead = e == 0;
    return e < 0 ? e : 1;
}

static void add_ahead(struct since_reader *r, struct since_list *out)
{
    for (uint32_t i = 0; i < r->ahead.n; i++)
        since_add(out, r->ahead.items[i].ts_ms, r->ahead.items[i].start_ms);
    r->has_ahead = false;
}

int since_reader_next(struct since_reader *r, uint64_t *ret_id, struct since_list *ret)
{
    int e = read_ahead(r);

    ret->n = 0;
    if (e <= 0)
        return e;
    *ret_id = r->ahead_id;
    while (e > 0 && r->ahead_id == *ret_id) {
        add_ahead(r, ret);
        e = read_ahead(r);
    }
    return e < 0 ? e : 1;
}

/* To the first row that may hold the id. */
static int find(struct since_reader *r, uint64_t id)
{
    uint8_t key[8];
    int e;

    if (r->ended || (r->open && r->last >= id))
        return 0;
    r->has_ahead = false;
    if (r->open) { /* often the very next */
        e = load(r);
        if (e < 0 || r->ended || r->last >= id)
            return e;
    }
    be64_put(key, id);
    store_scan_seek(r->scan, slice_of(key, sizeof key));
    return load(r);
}

int since_reader_get(struct since_reader *r, uint64_t id, struct since_list *ret)
{
    int e;

    ret->n = 0;
    if (r->has_ahead && r->ahead_id > id)
        return 0;
    e = find(r, id);
    while (e >= 0 && (e = read_ahead(r)) > 0 && r->ahead_id <= id) {
        if (r->ahead_id == id)
            add_ahead(r, ret);
        r->has_ahead = false;
    }
    return e < 0 ? e : 0;
}
