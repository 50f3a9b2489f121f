#include "metrics/head/index.h"

#include "base/alloc.h"
#include "metrics/head/index_internal.h"

#include <stdlib.h>

struct index *index_new(void)
{
    struct index *ix = xcalloc(1, sizeof *ix);

    symbols_init(&ix->symbols);
    ix->table_size = 1024;
    ix->table = xmalloc(ix->table_size * sizeof *ix->table);
    for (uint32_t i = 0; i < ix->table_size; i++)
        ix->table[i].ref = SERIES_NONE;
    ix->posting_table_size = 1024;
    ix->posting_table = xcalloc(ix->posting_table_size, sizeof *ix->posting_table);
    ix->n_metrics = 1;
    ix->cap_metrics = 64;
    ix->metrics = xcalloc(ix->cap_metrics, sizeof *ix->metrics);
    return ix;
}

static void series_clear(struct series *s)
{
    stream_clear(&s->open);
    while (s->sealed != NULL) {
        struct sealed *next = s->sealed->next;

        stream_clear(&s->sealed->stream);
        free(s->sealed);
        s->sealed = next;
    }
}

void index_free(struct index *ix)
{
    if (ix == NULL)
        return;
    for (uint32_t i = 0; i < ix->n_series; i++)
        series_clear(index_series(ix, i));
    for (uint32_t i = 0; i < ix->n_blocks; i++)
        free(ix->blocks[i]);
    for (uint32_t i = 0; i < ix->n_postings; i++)
        free(ix->postings[i].refs);
    for (uint32_t i = 0; i < ix->n_names; i++)
        free(ix->names[i].postings);
    for (uint32_t i = 0; i < ix->n_metrics; i++)
        free(ix->metrics[i].refs);
    free(ix->blocks);
    free(ix->table);
    free(ix->postings);
    free(ix->posting_table);
    free(ix->names);
    free(ix->metrics);
    free(ix->metric_of);
    symbols_done(&ix->symbols);
    free(ix);
}

size_t index_count(const struct index *ix)
{
    return ix->n_series;
}

size_t index_live(const struct index *ix)
{
    return ix->n_series - ix->n_gone;
}

struct series *index_series(const struct index *ix, uint32_t ref)
{
    return &ix->blocks[ref / SERIES_BLOCK][ref % SERIES_BLOCK];
}

struct slice index_symbol(const struct index *ix, uint32_t symbol)
{
    return symbols_get(&ix->symbols, symbol);
}

size_t index_symbols(const struct index *ix)
{
    return ix->symbols.n;
}

struct labels index_labels(const struct index *ix, const struct series *s, struct label *room)
{
    for (unsigned i = 0; i < s->n_labels; i++) {
        room[i].name = symbols_get(&ix->symbols, s->pairs[2 * i]);
        room[i].value = symbols_get(&ix->symbols, s->pairs[2 * i + 1]);
    }
    return (struct labels){room, s->n_labels};
}

static bool has_labels(const struct index *ix, const struct series *s, const struct labels *l)
{
    if (s->n_labels != l->n)
        return false;
    for (size_t i = 0; i < l->n; i++)
        if (!slice_eq(symbols_get(&ix->symbols, s->pairs[2 * i + 1]), l->items[i].value) ||
            !slice_eq(symbols_get(&ix->symbols, s->pairs[2 * i]), l->items[i].name))
            return false;
    return true;
}

static uint32_t hash_of(const struct labels *labels)
{
    return (uint32_t)(labels_hash(labels) >> 20);
}

static uint32_t find(const struct index *ix, const struct labels *labels, uint32_t hash)
{
    for (uint32_t i = hash & (ix->table_size - 1); ix->table[i].ref != SERIES_NONE;
         i = (i + 1) & (ix->table_size - 1))
        if (ix->table[i].hash == hash && has_labels(ix, index_series(ix, ix->table[i].ref), labels))
            return ix->table[i].ref;
    return SERIES_NONE;
}

uint32_t index_find(const struct index *ix, const struct labels *labels)
{
    return find(ix, labels, hash_of(labels));
}

uint32_t index_find_id(const struct index *ix, uint64_t id)
{
    uint32_t metric = (uint32_t)(id >> 32);
    uint32_t number = (uint32_t)id;

    if (metric >= ix->n_metrics || number >= ix->metrics[metric].n)
        return SERIES_NONE;
    return ix->metrics[metric].refs[number];
}

static void table_put(struct index *ix, struct slot slot)
{
    uint32_t i = slot.hash & (ix->table_size - 1);

    while (ix->table[i].ref != SERIES_NONE)
        i = (i + 1) & (ix->table_size - 1);
    ix->table[i] = slot;
}

static void table_grow(struct index *ix)
{
    struct slot *old = ix->table;
    uint32_t n = ix->table_size;

    ix->table_size *= 2;
    ix->table = xmalloc(ix->table_size * sizeof *ix->table);
    for (uint32_t i = 0; i < ix->table_size; i++)
        ix->table[i].ref = SERIES_NONE;
    for (uint32_t i = 0; i < n; i++)
        if (old[i].ref != SERIES_NONE)
            table_put(ix, old[i]);
    free(old);
}

static uint32_t *posting_slot(const struct index *ix, uint32_t name, uint32_t value)
{
    uint32_t key[2] = {name, value};
    uint32_t i = (uint32_t)hash_bytes(key, sizeof key, 3) & (ix->posting_table_size - 1);

    while (ix->posting_table[i] != 0) {
        const struct posting *p = &ix->postings[ix->posting_table[i] - 1];

        if (p->name == name && p->value == value)
            break;
        i = (i + 1) & (ix->posting_table_size - 1);
    }
    return &ix->posting_table[i];
}

const struct posting *index_posting(const struct index *ix, uint32_t name, uint32_t value)
{
    uint32_t found = *posting_slot(ix, name, value);

    return found != 0 ? &ix->postings[found - 1] : NULL;
}

const struct label_name *index_name(const struct index *ix, uint32_t symbol)
{
    for (uint32_t i = 0; i < ix->n_names; i++)
        if (ix->names[i].symbol == symbol)
            return &ix->names[i];
    return NULL;
}

static void u32_add(uint32_t **items, uint32_t *n, uint32_t *cap, uint32_t v)
{
    if (*n == *cap) {
        *cap = *cap == 0 ? 2 : *cap + *cap / 2 + 1;
        *items = xrealloc(*items, *cap * sizeof **items);
    }
    (*items)[(*n)++] = v;
}

static struct label_name *name_add(struct index *ix, uint32_t symbol)
{
    struct label_name *found = (struct label_name *)index_name(ix, symbol);

    if (found != NULL)
        return found;
    if (ix->n_names == ix->cap_names) {
        ix->cap_names = ix->cap_names == 0 ? 16 : 2 * ix->cap_names;
        ix->names = xrealloc(ix->names, ix->cap_names * sizeof *ix->names);
    }
    ix->names[ix->n_names] = (struct label_name){.symbol = symbol};
    return &ix->names[ix->n_names++];
}

static uint32_t posting_add(struct index *ix, uint32_t name, uint32_t value)
{
    uint32_t *slot = posting_slot(ix, name, value);
    struct label_name *n;

    if (*slot != 0)
        return *slot - 1;
    if (ix->n_postings == ix->cap_postings) {
        ix->cap_postings = ix->cap_postings == 0 ? 256 : 2 * ix->cap_postings;
        ix->postings = xrealloc(ix->postings, ix->cap_postings * sizeof *ix->postings);
        ix->metric_of = xrealloc(ix->metric_of, ix->cap_postings * sizeof *ix->metric_of);
    }
    ix->postings[ix->n_postings] = (struct posting){.name = name, .value = value};
    ix->metric_of[ix->n_postings] = 0;
    *slot = ++ix->n_postings;
    n = name_add(ix, name);
    u32_add(&n->postings, &n->n, &n->cap, ix->n_postings - 1);
    if (ix->n_postings * 2 > ix->posting_table_size) {
        free(ix->posting_table);
        ix->posting_table_size *= 2;
        ix->posting_table = xcalloc(ix->posting_table_size, sizeof *ix->posting_table);
        for (uint32_t i = 0; i < ix->n_postings; i++)
            *posting_slot(ix, ix->postings[i].name, ix->postings[i].value) = i + 1;
    }
    return ix->n_postings - 1;
}

static void metrics_reach(struct index *ix, uint32_t number)
{
    if (number >= ix->cap_metrics) {
        uint32_t cap = ix->cap_metrics;

        while (number >= cap)
            cap *= 2;
        ix->metrics = xrealloc(ix->metrics, cap * sizeof *ix->metrics);
        memset(ix->metrics + ix->cap_metrics, 0, (cap - ix->cap_metrics) * sizeof *ix->metrics);
        ix->cap_metrics = cap;
    }
    if (number >= ix->n_metrics)
        ix->n_metrics = number + 1;
}

/* Gives the series its id, or notes the one it has; `posting` is that of its name. */
static void set_id(struct index *ix, struct series *s, uint32_t ref, uint32_t posting, uint64_t id)
{
    uint32_t number = (uint32_t)(id >> 32);
    struct metric *m;

    if (id == 0) {
        number = posting != UINT32_MAX ? ix->metric_of[posting] : 0;
        if (number == 0 && posting != UINT32_MAX)
            number = ix->n_metrics;
    }
    metrics_reach(ix, number);
    if (posting != UINT32_MAX)
        ix->metric_of[posting] = number;
    m = &ix->metrics[number];
    if (id == 0)
        id = (uint64_t)number << 32 | (number == 0 && m->n == 0 ? 1 : m->n); /* 0 is no id */
    while (m->n <= (uint32_t)id)
        u32_add(&m->refs, &m->n, &m->cap, SERIES_NONE);
    m->refs[(uint32_t)id] = ref;
    s->id = id;
}

static const struct last_label *last_label(struct index *ix, size_t i, const struct label *l)
{
    struct last_label *last = &ix->last[i];
    bool same_name = last->name != 0 && slice_eq(symbols_get(&ix->symbols, last->name), l->name);

    if (same_name && last->value != 0 &&
        slice_eq(symbols_get(&ix->symbols, last->value), l->value))
        return last;
    if (!same_name)
        last->name = symbols_add(&ix->symbols, l->name);
    last->value = symbols_add(&ix->symbols, l->value);
    last->posting = posting_add(ix, last->name, last->value);
    return last;
}

static void link_labels(struct index *ix, struct series *s, uint32_t ref, const struct labels *l,
                        uint64_t id)
{
    uint32_t *pairs = symbols_room(&ix->symbols, 2 * l->n * sizeof *pairs);
    uint32_t name_posting = UINT32_MAX;

    for (size_t i = 0; i < l->n; i++) {
        const struct last_label *last = last_label(ix, i, &l->items[i]);
        struct posting *p = &ix->postings[last->posting];

        pairs[2 * i] = last->name;
        pairs[2 * i + 1] = last->value;
        ix->bytes -= p->cap * sizeof *p->refs;
        u32_add(&p->refs, &p->n, &p->cap, ref);
        ix->bytes += p->cap * sizeof *p->refs;
        if (slice_eq(l->items[i].name, LABEL_NAME))
            name_posting = last->posting;
    }
    s->pairs = pairs;
    s->n_labels = (uint8_t)l->n;
    set_id(ix, s, ref, name_posting, id);
}

static uint32_t add(struct index *ix, const struct labels *labels, uint32_t hash, uint64_t id)
{
    uint32_t ref = ix->n_series;

    if (ref / SERIES_BLOCK == ix->n_blocks) {
        ix->blocks = xrealloc(ix->blocks, (ix->n_blocks + 1) * sizeof *ix->blocks);
        ix->blocks[ix->n_blocks++] = xcalloc(SERIES_BLOCK, sizeof **ix->blocks);
    }
    ix->n_series++;
    link_labels(ix, index_series(ix, ref), ref, labels, id);
    table_put(ix, (struct slot){hash, ref});
    if (ix->n_series * 3 > ix->table_size * 2)
        table_grow(ix);
    return ref;
}

uint32_t index_add(struct index *ix, const struct labels *labels, uint64_t id)
{
    return add(ix, labels, hash_of(labels), id);
}

uint32_t index_put(struct index *ix, const struct labels *labels, uint64_t id)
{
    uint32_t hash = hash_of(labels);
    uint32_t ref = find(ix, labels, hash);

    return ref != SERIES_NONE ? ref : add(ix, labels, hash, id);
}

/* Takes a ref out of the table of labels; what was pushed behind it moves up. */
static void table_remove(struct index *ix, uint32_t hash, uint32_t ref)
{
    uint32_t mask = ix->table_size - 1;
    uint32_t hole = hash & mask;

    while (ix->table[hole].ref != ref)
        hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; ix->table[i].ref != SERIES_NONE; i = (i + 1) & mask) {
        uint32_t home = ix->table[i].hash & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            ix->table[hole] = ix->table[i];
            hole = i;
        }
    }
    ix->table[hole].ref = SERIES_NONE;
}

void index_remove(struct index *ix, const uint32_t *refs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct series *s = index_series(ix, refs[i]);
        struct label room[LABELS_MAX + 1];
        struct labels l = index_labels(ix, s, room);

        table_remove(ix, hash_of(&l), refs[i]);
        ix->metrics[s->id >> 32].refs[(uint32_t)s->id] = SERIES_NONE;
        s->gone = true;
        ix->n_gone++;
    }
    for (uint32_t i = 0; n > 0 && i < ix->n_postings; i++) {
        struct posting *p = &ix->postings[i];
        uint32_t kept = 0;

        for (uint32_t k = 0; k < p->n; k++)
            if (!index_series(ix, p->refs[k])->gone)
                p->refs[kept++] = p->refs[k];
        p->n = kept;
    }
}

void index_names(const struct index *ix, index_value_fn *f, void *ctx)
{
    for (uint32_t i = 0; i < ix->n_names; i++) {
        size_t n = 0;

        for (uint32_t k = 0; k < ix->names[i].n; k++)
            n += ix->postings[ix->names[i].postings[k]].n;
        if (n > 0)
            f(ctx, symbols_get(&ix->symbols, ix->names[i].symbol), n);
    }
}

void index_values(const struct index *ix, struct slice name, index_value_fn *f, void *ctx)
{
    const struct label_name *n = index_name(ix, symbols_find(&ix->symbols, name));

    for (uint32_t i = 0; n != NULL && i < n->n; i++) {
        const struct posting *p = &ix->postings[n->postings[i]];

        if (p->n > 0)
            f(ctx, symbols_get(&ix->symbols, p->value), p->n);
    }
}

size_t index_pairs(const struct index *ix)
{
    return ix->n_postings;
}

uint64_t index_bytes(const struct index *ix)
{
    return ix->bytes + ix->symbols.bytes +
           (uint64_t)ix->n_blocks * SERIES_BLOCK * sizeof(struct series) +
           ix->table_size * sizeof *ix->table + ix->cap_postings * sizeof *ix->postings +
           ix->symbols.cap * sizeof *ix->symbols.strings;
}
