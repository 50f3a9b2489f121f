#include "metrics/head/since.h"

#include "base/alloc.h"

#include <stdlib.h>

void since_list_done(struct since_list *l)
{
    free(l->items);
    *l = (struct since_list){0};
}

/* The first that is behind ts. */
static uint32_t place_behind(const struct since_list *l, int64_t ts_ms)
{
    uint32_t low = 0;
    uint32_t high = l->n;

    if (high == 0 || l->items[high - 1].ts_ms <= ts_ms)
        return high;
    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (l->items[middle].ts_ms <= ts_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t since_at(const struct since_list *l, int64_t ts_ms)
{
    uint32_t at = place_behind(l, ts_ms);

    return at > 0 ? l->items[at - 1].start_ms : 0;
}

static void insert(struct since_list *l, uint32_t at, int64_t ts_ms, int64_t start_ms)
{
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 1 : 2 * l->cap; /* most never change */
        l->items = xrealloc(l->items, l->cap * sizeof *l->items);
    }
    memmove(l->items + at + 1, l->items + at, (l->n - at) * sizeof *l->items);
    l->items[at] = (struct since){ts_ms, start_ms};
    l->n++;
}

static void drop(struct since_list *l, uint32_t at, uint32_t n)
{
    memmove(l->items + at, l->items + at + n, (l->n - at - n) * sizeof *l->items);
    l->n -= n;
}

/* From ts on, up to the next change, it is this. */
static void change(struct since_list *l, int64_t ts_ms, int64_t start_ms)
{
    uint32_t at = place_behind(l, ts_ms);
    int64_t before;

    if (at > 0 && l->items[at - 1].ts_ms == ts_ms)
        drop(l, --at, 1);
    before = at > 0 ? l->items[at - 1].start_ms : 0;
    if (before != start_ms)
        insert(l, at++, ts_ms, start_ms);
    if (at < l->n && l->items[at].start_ms == start_ms)
        drop(l, at, 1);
}

void since_add(struct since_list *l, int64_t ts_ms, int64_t start_ms)
{
    if ((l->n > 0 ? l->items[l->n - 1].start_ms : 0) != start_ms)
        change(l, ts_ms, start_ms);
}

/* A late one must not speak for those behind it. */
void since_put(struct since_list *l, int64_t ts_ms, int64_t start_ms)
{
    uint32_t at = place_behind(l, ts_ms);
    int64_t now = at > 0 ? l->items[at - 1].start_ms : 0;

    if (now == start_ms)
        return;
    if (at == l->n || l->items[at].ts_ms > ts_ms + 1)
        insert(l, at, ts_ms + 1, now);
    change(l, ts_ms, start_ms);
}

void since_cut(struct since_list *l, int64_t from_ms, int64_t to_ms)
{
    uint32_t first = from_ms > INT64_MIN ? place_behind(l, from_ms - 1) : 0;
    uint32_t end = place_behind(l, to_ms);
    int64_t behind = end > 0 ? l->items[end - 1].start_ms : 0;

    if (first == end)
        return;
    drop(l, first, end - first);
    if (to_ms < INT64_MAX && (first == l->n || l->items[first].ts_ms > to_ms + 1))
        change(l, to_ms + 1, behind);
}

/* Series to list: open addressing. */
struct entry {
    uint32_t ref;
    bool used;
    struct since_list list;
};

struct sinces {
    struct entry *table;
    size_t size, n; /* size: a power of two, or 0 */
};

struct sinces *sinces_new(void)
{
    return xcalloc(1, sizeof(struct sinces));
}

void sinces_free(struct sinces *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->size; i++)
        since_list_done(&s->table[i].list);
    free(s->table);
    free(s);
}

static struct entry *entry_of(const struct sinces *s, uint32_t ref)
{
    size_t at = (ref * 0x9e3779b1u) & (s->size - 1);

    while (s->table[at].used && s->table[at].ref != ref)
        at = (at + 1) & (s->size - 1);
    return &s->table[at];
}

/* Into a table that fits, without the empty lists. */
static void rehash(struct sinces *s)
{
    struct sinces old = *s;

    s->size = 16;
    while (s->size < old.n * 4)
        s->size *= 2;
    s->n = 0;
    s->table = xcalloc(s->size, sizeof *s->table);
    for (size_t i = 0; i < old.size; i++) {
        if (old.table[i].list.n == 0) {
            since_list_done(&old.table[i].list);
            continue;
        }
        *entry_of(s, old.table[i].ref) = old.table[i];
        s->n++;
    }
    free(old.table);
}

void sinces_put(struct sinces *s, uint32_t ref, int64_t ts_ms, int64_t start_ms,
                int64_t newest_ms)
{
    struct entry *e;

    if ((s->n + 1) * 2 > s->size)
        rehash(s);
    e = entry_of(s, ref);
    if (!e->used) {
        *e = (struct entry){.ref = ref, .used = true};
        s->n++;
    }
    /* After the clock was set back there may be starts of what is ahead and is being written. */
    if (ts_ms < newest_ms ||
        (e->list.n > 0 && e->list.items[e->list.n - 1].ts_ms > ts_ms))
        since_put(&e->list, ts_ms, start_ms);
    else
        since_add(&e->list, ts_ms, start_ms);
}

const struct since_list *sinces_of(const struct sinces *s, uint32_t ref)
{
    struct entry *e = s->size > 0 ? entry_of(s, ref) : NULL;

    return e != NULL && e->used && e->list.n > 0 ? &e->list : NULL;
}

bool sinces_trim(struct sinces *s, uint32_t ref, int64_t first_ms, int64_t last_ms)
{
    struct entry *e = s->size > 0 ? entry_of(s, ref) : NULL;

    if (e == NULL || !e->used)
        return false;
    since_cut(&e->list, last_ms + 1, INT64_MAX);
    if (first_ms > last_ms)
        e->list.n = 0;
    else
        since_cut(&e->list, INT64_MIN, first_ms - 1);
    if (e->list.n == 0 || e->list.cap > 4 * e->list.n + 4) {
        struct since_list fits = {0};

        for (uint32_t i = 0; i < e->list.n; i++)
            insert(&fits, i, e->list.items[i].ts_ms, e->list.items[i].start_ms);
        since_list_done(&e->list);
        e->list = fits;
    }
    return e->list.n > 0;
}

uint64_t sinces_bytes(const struct sinces *s)
{
    uint64_t bytes = s->size * sizeof *s->table;

    for (size_t i = 0; i < s->size; i++)
        bytes += s->table[i].list.cap * sizeof(struct since);
    return bytes;
}
