#include "metrics/head/payload.h"

#include "base/alloc.h"

#include <stdlib.h>

void payload_list_done(struct payload_list *l)
{
    free(l->items);
    buf_done(&l->bytes);
    *l = (struct payload_list){0};
}

void payload_list_clear(struct payload_list *l)
{
    l->n = 0;
    buf_clear(&l->bytes);
}

/* The first that is not before ts. */
static size_t place_of(const struct payload_list *l, int64_t ts_ms)
{
    size_t low = 0;
    size_t high = l->n;

    if (high > 0 && l->items[high - 1].ts_ms < ts_ms)
        return high;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (l->items[middle].ts_ms < ts_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void payload_list_put(struct payload_list *l, int64_t ts_ms, struct slice bytes)
{
    size_t at = place_of(l, ts_ms);
    struct payload item = {ts_ms, (uint32_t)l->bytes.len, (uint32_t)bytes.len, false};

    buf_add(&l->bytes, bytes.data, bytes.len);
    if (at < l->n && l->items[at].ts_ms == ts_ms) {
        l->items[at] = item;
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 8 : 2 * l->cap;
        l->items = xrealloc(l->items, l->cap * sizeof *l->items);
    }
    memmove(l->items + at + 1, l->items + at, (l->n - at) * sizeof *l->items);
    l->items[at] = item;
    l->n++;
}

bool payload_list_get(const struct payload_list *l, int64_t ts_ms, struct slice *ret)
{
    size_t at = place_of(l, ts_ms);

    if (at == l->n || l->items[at].ts_ms != ts_ms)
        return false;
    *ret = slice_of(l->bytes.data + l->items[at].offset, l->items[at].len);
    return true;
}

/* Series to list: open addressing; a series without payloads has no entry. */
struct entry {
    uint32_t ref;
    bool used;
    struct payload_list list;
};

struct payloads {
    struct entry *table;
    size_t size, n; /* size: a power of two, or 0 */
};

struct payloads *payloads_new(void)
{
    return xcalloc(1, sizeof(struct payloads));
}

void payloads_free(struct payloads *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->size; i++)
        payload_list_done(&p->table[i].list);
    free(p->table);
    free(p);
}

static struct entry *entry_of(const struct payloads *p, uint32_t ref)
{
    size_t at = (ref * 0x9e3779b1u) & (p->size - 1);

    while (p->table[at].used && p->table[at].ref != ref)
        at = (at + 1) & (p->size - 1);
    return &p->table[at];
}

/* Into a table of its own size, without the empty lists. */
static void rehash(struct payloads *p)
{
    struct payloads old = *p;

    p->size = 16;
    while (p->size < old.n * 4)
        p->size *= 2;
    p->n = 0;
    p->table = xcalloc(p->size, sizeof *p->table);
    for (size_t i = 0; i < old.size; i++) {
        if (old.table[i].list.n == 0) {
            payload_list_done(&old.table[i].list);
            continue;
        }
        *entry_of(p, old.table[i].ref) = old.table[i];
        p->n++;
    }
    free(old.table);
}

void payloads_put(struct payloads *p, uint32_t ref, int64_t ts_ms, struct slice bytes)
{
    struct entry *e;

    if ((p->n + 1) * 2 > p->size)
        rehash(p);
    e = entry_of(p, ref);
    if (!e->used) {
        *e = (struct entry){.ref = ref, .used = true};
        p->n++;
    }
    payload_list_put(&e->list, ts_ms, bytes);
}

const struct payload_list *payloads_of(const struct payloads *p, uint32_t ref)
{
    struct entry *e = p->size > 0 ? entry_of(p, ref) : NULL;

    return e != NULL && e->used ? &e->list : NULL;
}

void payloads_read(const struct payloads *p, uint32_t ref, int64_t from_ms, int64_t to_ms,
                   struct payload_list *out)
{
    const struct payload_list *l = payloads_of(p, ref);

    if (l == NULL)
        return;
    for (size_t i = place_of(l, from_ms); i < l->n && l->items[i].ts_ms <= to_ms; i++)
        payload_list_put(out, l->items[i].ts_ms,
                         slice_of(l->bytes.data + l->items[i].offset, l->items[i].len));
}

uint64_t payloads_bytes(const struct payloads *p)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < p->size; i++)
        bytes += p->table[i].list.bytes.cap + p->table[i].list.cap * sizeof(struct payload);
    return bytes;
}

void payloads_mark(struct payloads *p, int64_t from_ms, int64_t until_ms, payloads_fn *f, void *ctx)
{
    for (size_t i = 0; i < p->size; i++) {
        struct payload_list *l = &p->table[i].list;
        size_t at = place_of(l, from_ms);

        if (at == l->n || l->items[at].ts_ms >= until_ms)
            continue;
        for (; at < l->n && l->items[at].ts_ms < until_ms; at++)
            l->items[at].flushing = true;
        f(ctx, p->table[i].ref, l);
    }
}

enum keep { KEEP_UNMARKED, KEEP_OUTSIDE };

/* Writes the list anew without what goes; replaced bytes go too. */
static void prune(struct payload_list *l, enum keep keep, int64_t from_ms, int64_t to_ms)
{
    struct payload_list left = {0};

    for (size_t i = 0; i < l->n; i++) {
        const struct payload *item = &l->items[i];
        bool goes = keep == KEEP_UNMARKED ? item->flushing
                                          : item->ts_ms >= from_ms && item->ts_ms <= to_ms;

        if (!goes)
            payload_list_put(&left, item->ts_ms, slice_of(l->bytes.data + item->offset, item->len));
    }
    payload_list_done(l);
    *l = left;
}

void payloads_settle(struct payloads *p, bool written)
{
    for (size_t i = 0; i < p->size; i++) {
        struct payload_list *l = &p->table[i].list;
        bool any = false;

        for (size_t k = 0; k < l->n; k++) {
            any = any || l->items[k].flushing;
            l->items[k].flushing = written && l->items[k].flushing;
        }
        if (any && written)
            prune(l, KEEP_UNMARKED, 0, 0);
    }
}

void payloads_delete(struct payloads *p, uint32_t ref, int64_t from_ms, int64_t to_ms)
{
    struct entry *e = p->size > 0 ? entry_of(p, ref) : NULL;

    if (e != NULL && e->used)
        prune(&e->list, KEEP_OUTSIDE, from_ms, to_ms);
}
