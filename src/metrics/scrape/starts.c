#include "metrics/scrape/starts.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>

#define SUFFIX "_created"

void starts_done(struct starts *s)
{
    free(s->items);
    *s = (struct starts){0};
}

static void push(struct starts *s, const struct start *start)
{
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 64 : 2 * s->cap;
        s->items = xrealloc(s->items, s->cap * sizeof *s->items);
    }
    s->items[s->n++] = *start;
}

void starts_add(struct starts *s, const struct start *start)
{
    push(s, start);
    s->known = s->n;
}

void starts_end_family(struct starts *s)
{
    s->n = s->known;
}

static bool has_starts(enum metric_type type)
{
    return type == METRIC_COUNTER || type == METRIC_SUMMARY || type == METRIC_HISTOGRAM;
}

/* Of a name and of the labels, but for those that tell the lines of one histogram apart. */
static uint64_t key_of(const struct exposition *x, struct slice name)
{
    uint64_t key = hash_bytes(name.data, name.len, 1);

    for (size_t i = 0; i < x->n_labels; i++) {
        const struct exposition_label *l = &x->labels[i];

        if ((x->type == METRIC_HISTOGRAM && slice_eq(l->name, SLICE("le"))) ||
            (x->type == METRIC_SUMMARY && slice_eq(l->name, SLICE("quantile"))))
            continue;
        key = hash_bytes(l->name.data, l->name.len, key);
        key = hash_bytes(l->value.data, l->value.len, key);
    }
    return key;
}

void starts_sample(struct starts *s, const struct exposition *x, uint32_t entry, int64_t ts_ms,
                   size_t sample)
{
    struct start start = {.entry = entry, .ts_ms = ts_ms, .sample = sample};

    if (!has_starts(x->type) || x->metric.len < x->name.len) {
        s->found_ms = 0;
        return;
    }
    start.key = key_of(x, slice_of(x->metric.data, x->name.len));
    if (s->found_ms > 0 && start.key == s->found_key) {
        start.start_ms = s->found_ms;
        starts_add(s, &start);
        return;
    }
    s->found_ms = 0;
    push(s, &start);
}

bool starts_created(struct starts *s, const struct exposition *x)
{
    const size_t suffix = sizeof SUFFIX - 1;
    size_t n = s->known;
    double ms = x->value * 1000;
    uint64_t key;

    if (!has_starts(x->type) || x->metric.len < suffix ||
        memcmp((const char *)x->metric.data + x->metric.len - suffix, SUFFIX, suffix) != 0)
        return false;
    key = key_of(x, slice_of(x->metric.data, x->metric.len - suffix));
    for (size_t i = s->known; i < s->n; i++) {
        if (s->items[i].key != key || !(ms >= 1 && ms < 9e15))
            continue;
        s->found_key = key;
        s->found_ms = (int64_t)ms;
        s->items[n] = s->items[i];
        s->items[n++].start_ms = s->found_ms;
    }
    s->n = s->known = n;
    return true;
}
