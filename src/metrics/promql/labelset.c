#include "metrics/promql/labelset.h"

#include "base/alloc.h"

#include <stdlib.h>

bool label_is_metadata(struct slice name)
{
    return slice_eq(name, LABEL_NAME) || slice_eq(name, SLICE("__type__")) ||
           slice_eq(name, SLICE("__unit__"));
}

void edit_init(struct label_edit *e, const struct labels *from)
{
    e->labels = (struct labels){e->items, from->n};
    e->overflown = from->n > EDIT_MAX;
    if (e->overflown)
        e->labels.n = 0;
    if (e->labels.n > 0)
        memcpy(e->items, from->items, from->n * sizeof *from->items);
}

static void edit_remove(struct label_edit *e, size_t i)
{
    memmove(&e->items[i], &e->items[i + 1], (e->labels.n - i - 1) * sizeof e->items[0]);
    e->labels.n--;
}

void edit_set(struct label_edit *e, struct slice name, struct slice value)
{
    size_t i = 0;
    int r = 1;

    while (i < e->labels.n && (r = slice_cmp(e->items[i].name, name)) < 0)
        i++;
    if (i < e->labels.n && r == 0) {
        if (value.len == 0)
            edit_remove(e, i);
        else
            e->items[i].value = value;
        return;
    }
    if (value.len == 0)
        return;
    if (e->labels.n == EDIT_MAX) {
        e->overflown = true;
        return;
    }
    memmove(&e->items[i + 1], &e->items[i], (e->labels.n - i) * sizeof e->items[0]);
    e->items[i] = (struct label){name, value};
    e->labels.n++;
}

static bool is_named(const struct names *names, struct slice name)
{
    for (size_t i = 0; i < names->n; i++)
        if (slice_eq(names->items[i], name))
            return true;
    return false;
}

enum part { PART_NAMED, PART_NOT_NAMED, PART_NOT_METADATA };

static size_t take_part(const struct labels *l, enum part part, const struct names *names,
                        struct label *room)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++) {
        bool takes = part == PART_NOT_METADATA
                         ? !label_is_metadata(l->items[i].name)
                         : is_named(names, l->items[i].name) == (part == PART_NAMED);

        if (takes)
            room[n++] = l->items[i];
    }
    return n;
}

void edit_drop_metadata(struct label_edit *e)
{
    e->labels.n = take_part(&e->labels, PART_NOT_METADATA, NULL, e->items);
}

void edit_keep(struct label_edit *e, const struct names *names)
{
    e->labels.n = take_part(&e->labels, PART_NAMED, names, e->items);
}

void edit_drop(struct label_edit *e, const struct names *names)
{
    e->labels.n = take_part(&e->labels, PART_NOT_NAMED, names, e->items);
}

struct labels labels_bare(struct mem *m, const struct labels *l)
{
    struct labels part = {mem_get(m, (l->n + 1) * sizeof *part.items), 0};

    part.n = take_part(l, PART_NOT_METADATA, NULL, part.items);
    return part;
}

struct labels labels_part(const struct labels *l, bool on, const struct names *names,
                          struct label *room)
{
    struct labels part = {room, 0};

    if (on) {
        part.n = names->n > 0 ? take_part(l, PART_NAMED, names, room) : 0;
        return part;
    }
    part.n = take_part(l, PART_NOT_METADATA, NULL, room);
    if (names->n > 0)
        part.n = take_part(&part, PART_NOT_NAMED, names, room);
    return part;
}

void label_index_init(struct label_index *x, struct mem *m)
{
    *x = (struct label_index){.m = m, .n_slots = 64};
    x->slots = xcalloc(x->n_slots, sizeof *x->slots);
}

void label_index_done(struct label_index *x)
{
    free(x->slots);
    free(x->sets);
    free(x->hashes);
}

static void index_grow(struct label_index *x)
{
    free(x->slots);
    x->n_slots *= 4;
    x->slots = xcalloc(x->n_slots, sizeof *x->slots);
    for (size_t i = 0; i < x->n; i++) {
        size_t at = x->hashes[i] & (x->n_slots - 1);

        while (x->slots[at] != 0)
            at = (at + 1) & (x->n_slots - 1);
        x->slots[at] = (uint32_t)i + 1;
    }
}

size_t label_index_put(struct label_index *x, const struct labels *l)
{
    uint64_t hash = labels_hash(l);
    size_t at;

    if (2 * x->n >= x->n_slots)
        index_grow(x);
    at = hash & (x->n_slots - 1);
    for (; x->slots[at] != 0; at = (at + 1) & (x->n_slots - 1)) {
        size_t i = x->slots[at] - 1;

        if (x->hashes[i] == hash && labels_eq(&x->sets[i], l))
            return i;
    }
    if (x->n == x->cap) {
        x->cap = x->cap == 0 ? 64 : 2 * x->cap;
        x->sets = xrealloc(x->sets, x->cap * sizeof *x->sets);
        x->hashes = xrealloc(x->hashes, x->cap * sizeof *x->hashes);
    }
    x->sets[x->n] = mem_labels(x->m, l);
    x->hashes[x->n] = hash;
    x->slots[at] = (uint32_t)x->n + 1;
    return x->n++;
}

#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define P5 0x27D4EB2F165667C5ull

static uint64_t rotate(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static uint64_t xx_round(uint64_t sum, uint64_t v)
{
    return rotate(sum + v * P2, 31) * P1;
}

static uint64_t get_le(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* XXH64 with seed 0. */
static uint64_t xxh64(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    uint64_t h = P5;

    if (n >= 32) {
        uint64_t lane[4] = {P1 + P2, P2, 0, 0 - P1};

        for (; end - p >= 32; p += 32)
            for (int i = 0; i < 4; i++)
                lane[i] = xx_round(lane[i], get_le(p + 8 * i, 8));
        h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ xx_round(0, lane[i])) * P1 + P4;
    }
    h += n;
    for (; end - p >= 8; p += 8)
        h = rotate(h ^ xx_round(0, get_le(p, 8)), 27) * P1 + P4;
    if (end - p >= 4) {
        h = rotate(h ^ get_le(p, 4) * P1, 23) * P2 + P3;
        p += 4;
    }
    for (; p < end; p++)
        h = rotate(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}

void labels_text(struct buf *out, const struct labels *l)
{
    buf_add_char(out, '{');
    for (size_t i = 0; i < l->n; i++) {
        buf_add_str(out, i > 0 ? ", " : "");
        if (label_name_legacy(l->items[i].name))
            buf_add_slice(out, l->items[i].name);
        else
            quote_go(out, l->items[i].name);
        buf_add_char(out, '=');
        quote_go(out, l->items[i].value);
    }
    buf_add_char(out, '}');
}

/* As Prometheus keeps labels in memory: each string after its length, in one byte below 255. */
static void add_sized(struct buf *out, struct slice s)
{
    if (s.len < 255) {
        buf_add_char(out, (char)s.len);
    } else {
        buf_add_char(out, (char)255);
        for (int i = 0; i < 3; i++)
            buf_add_char(out, (char)(s.len >> 8 * i & 255));
    }
    buf_add_slice(out, s);
}

uint64_t labels_xxhash(const struct labels *l)
{
    autobuf bytes = {0};

    for (size_t i = 0; i < l->n; i++) {
        add_sized(&bytes, l->items[i].name);
        add_sized(&bytes, l->items[i].value);
    }
    return xxh64((const uint8_t *)(bytes.data != NULL ? bytes.data : ""), bytes.len);
}
