#include "metrics/exemplars.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/scope.h"
#include "metrics/head/decimal.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define RECORD_BYTES 500000u
#define TRIM_EVERY   1024

/* One of the ring. */
struct kept {
    uint32_t ref;
    uint32_t len;
    int64_t ts_ms;
    uint64_t bits;
    uint64_t seq; /* of the record that has it; UINT64_MAX: not written yet */
    char *labels; /* labels_encode */
};

struct newest {
    uint32_t ref, slot; /* ref SERIES_NONE: free */
};

struct exemplars {
    struct db *db;
    struct store_log *log;
    pthread_mutex_t lock; /* guards: all below */
    struct kept *ring;
    size_t max, n, cap, next; /* next: the slot that is written next, once n == max */
    struct newest *table;
    size_t table_size, table_n;
    struct buf record;
    size_t first_unwritten; /* slots from here up to next are in record */
    unsigned since_trim;
};

static struct newest *newest_of(struct exemplars *x, uint32_t ref)
{
    size_t at = (ref * 0x9e3779b1u) & (x->table_size - 1);

    while (x->table[at].ref != SERIES_NONE && x->table[at].ref != ref)
        at = (at + 1) & (x->table_size - 1);
    return &x->table[at];
}

static void table_build(struct exemplars *x)
{
    free(x->table);
    x->table_size = 1024;
    while (x->table_size < 4 * x->n + 4)
        x->table_size *= 2;
    x->table = xmalloc(x->table_size * sizeof *x->table);
    for (size_t i = 0; i < x->table_size; i++)
        x->table[i].ref = SERIES_NONE;
    x->table_n = 0;
    for (size_t i = 0; i < x->n; i++) { /* oldest first */
        size_t slot = x->n < x->max ? i : (x->next + i) % x->max;
        struct newest *e = newest_of(x, x->ring[slot].ref);

        x->table_n += e->ref == SERIES_NONE;
        *e = (struct newest){x->ring[slot].ref, (uint32_t)slot};
    }
}

static const struct kept *newest_kept(struct exemplars *x, uint32_t ref)
{
    const struct newest *e = newest_of(x, ref);

    return e->ref == ref && x->ring[e->slot].ref == ref ? &x->ring[e->slot] : NULL;
}

static void keep(struct exemplars *x, const struct kept *k)
{
    size_t slot = x->n < x->max ? x->n : x->next;
    struct newest *e;

    if (x->n < x->max) {
        if (x->n == x->cap) {
            x->cap = x->cap == 0 ? 256 : 2 * x->cap;
            x->cap = x->cap < x->max ? x->cap : x->max;
            x->ring = xrealloc(x->ring, x->cap * sizeof *x->ring);
        }
        x->n++;
        x->next = x->n % x->max;
    } else {
        free(x->ring[slot].labels);
        x->next = (slot + 1) % x->max;
    }
    x->ring[slot] = *k;
    if ((x->table_n + 1) * 2 > x->table_size)
        table_build(x);
    e = newest_of(x, k->ref);
    x->table_n += e->ref == SERIES_NONE;
    *e = (struct newest){k->ref, (uint32_t)slot};
}

static int replay_one(struct exemplars *x, struct slice *in, uint64_t seq)
{
    struct kept k = {.seq = seq};
    uint64_t id = 0;
    uint64_t ts = 0;
    uint64_t n = 0;

    if (varint_get(in, &id) < 0 || varint_get(in, &ts) < 0 || in->len < 8)
        return -EIO;
    k.ts_ms = unzigzag(ts);
    k.bits = be64_get(in->data);
    *in = slice_skip(*in, 8);
    if (varint_get(in, &n) < 0 || n > in->len)
        return -EIO;
    k.ref = db_series_ref(x->db, id);
    if (k.ref != SERIES_NONE) {
        k.len = (uint32_t)n;
        k.labels = xmemdup(in->data, (size_t)n);
        keep(x, &k);
    }
    *in = slice_skip(*in, (size_t)n);
    return 0;
}

static int replay(void *ctx, uint64_t seq, struct slice record)
{
    while (record.len > 0)
        if (replay_one(ctx, &record, seq) < 0) {
            log_line(LOG_ERROR, NULL, "metrics.exemplars.damaged", "seq=%" PRIu64, seq);
            break;
        }
    return 0;
}

int exemplars_open(struct store *store, struct db *db, size_t max, struct exemplars **ret)
{
    struct exemplars *x = xcalloc(1, sizeof *x);
    int r;

    x->db = db;
    x->max = max;
    pthread_mutex_init(&x->lock, NULL);
    table_build(x);
    r = store_log_open(store, "exemplars", &x->log);
    if (r == 0)
        r = store_log_replay(x->log, 0, replay, x);
    x->first_unwritten = x->next;
    if (r < 0) {
        exemplars_close(x);
        return r;
    }
    *ret = x;
    return 0;
}

void exemplars_close(struct exemplars *x)
{
    if (x == NULL)
        return;
    if (x->log != NULL) {
        store_log_sync(x->log);
        store_log_close(x->log);
    }
    for (size_t i = 0; i < x->n; i++)
        free(x->ring[i].labels);
    free(x->ring);
    free(x->table);
    buf_done(&x->record);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* Characters of a text that is UTF-8. */
static size_t characters(struct slice s)
{
    const uint8_t *p = s.data;
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += (p[i] & 0xc0) != 0x80;
    return n;
}

static bool labels_short(const struct labels *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += characters(l->items[i].name) + characters(l->items[i].value);
    return n <= EXEMPLAR_LABELS_MAX;
}

/* Its bytes in the log: series id, time, value, length of the labels, labels. */
static void record_put(struct exemplars *x, uint64_t id, const struct kept *k)
{
    uint8_t raw[8];

    be64_put(raw, k->bits);
    varint_put(&x->record, id);
    varint_put(&x->record, zigzag(k->ts_ms));
    buf_add(&x->record, raw, sizeof raw);
    varint_put(&x->record, k->len);
    buf_add(&x->record, k->labels, k->len);
}

/* Under the lock. */
static int write_record(struct exemplars *x)
{
    uint64_t seq = 0;
    int r;

    if (x->record.len == 0)
        return 0;
    r = store_log_append(x->log, buf_slice(&x->record), &seq);
    for (; x->first_unwritten != x->next; x->first_unwritten = (x->first_unwritten + 1) % x->max)
        x->ring[x->first_unwritten].seq = seq;
    buf_clear(&x->record);
    if (r == 0 && ++x->since_trim >= TRIM_EVERY) {
        x->since_trim = 0;
        r = store_log_trim(x->log, x->ring[x->n < x->max ? 0 : x->next].seq);
    }
    return r;
}

int exemplars_add(struct exemplars *x, uint32_t ref, const struct exemplar *e)
{
    uint64_t id = db_series_id(x->db, ref);
    struct kept k = {.ref = ref, .ts_ms = e->ts_ms, .bits = e->bits, .seq = UINT64_MAX};
    const struct kept *last;
    autobuf bytes = {0};

    if (!labels_short(&e->labels))
        return -E2BIG;
    if (id == 0)
        return 0;
    labels_encode(&bytes, &e->labels);
    guard(&x->lock);
    last = newest_kept(x, ref);
    if (last != NULL && last->ts_ms > e->ts_ms)
        return -ERANGE;
    if (last != NULL && last->ts_ms == e->ts_ms && last->bits == e->bits &&
        slice_eq(slice_of(last->labels, last->len), buf_slice(&bytes)))
        return 0;
    k.len = (uint32_t)bytes.len;
    k.labels = xmemdup(bytes.data, bytes.len);
    record_put(x, id, &k);
    keep(x, &k);
    /* Not a whole round: first_unwritten must not be overtaken. */
    return x->record.len >= RECORD_BYTES || (x->next + 1) % x->max == x->first_unwritten
               ? write_record(x)
               : 0;
}

int exemplars_write(struct exemplars *x)
{
    guard(&x->lock);
    return write_record(x);
}

size_t exemplars_count(struct exemplars *x)
{
    guard(&x->lock);
    return x->n;
}

static int kept_cmp(const void *a, const void *b)
{
    const struct kept *x = *(const struct kept *const *)a;
    const struct kept *y = *(const struct kept *const *)b;

    if (x->ref != y->ref)
        return x->ref < y->ref ? -1 : 1;
    if (x->ts_ms != y->ts_ms)
        return x->ts_ms < y->ts_ms ? -1 : 1;
    return x < y ? -1 : 1;
}

static bool refs_has(const struct refs *refs, uint32_t ref)
{
    size_t low = 0;
    size_t high = refs->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (refs->items[middle] < ref)
            low = middle + 1;
        else
            high = middle;
    }
    return low < refs->n && refs->items[low] == ref;
}

static int say(const struct kept *k, exemplars_fn *f, void *ctx)
{
    struct exemplar e = {.ts_ms = k->ts_ms, .bits = k->bits};
    struct slice in = slice_of(k->labels, k->len);
    struct op op;
    int r = 0;

    op_init(&op, DOOR_INTERNAL, NULL);
    if (labels_decode(&op, &in, &e.labels) == 0)
        r = f(ctx, k->ref, &e);
    op_done(&op);
    return r;
}

int exemplars_each(struct exemplars *x, const struct refs *refs, int64_t from_ms, int64_t to_ms,
                   exemplars_fn *f, void *ctx)
{
    autofree const struct kept **found = NULL;
    size_t n = 0;
    int r = 0;

    guard(&x->lock);
    found = xmalloc((x->n + 1) * sizeof *found);
    for (size_t i = 0; i < x->n; i++)
        if (x->ring[i].ts_ms >= from_ms && x->ring[i].ts_ms <= to_ms &&
            refs_has(refs, x->ring[i].ref))
            found[n++] = &x->ring[i];
    qsort(found, n, sizeof *found, kept_cmp);
    for (size_t i = 0; i < n && r == 0; i++)
        r = say(found[i], f, ctx);
    return r;
}
