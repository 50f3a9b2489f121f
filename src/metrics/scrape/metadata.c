#include "metrics/scrape/metadata.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <stdlib.h>
#include <uthash.h>

#define METRICS_MAX 200000
#define TEXT_MAX    4096

struct entry {
    char *metric;
    struct metadata_item items[METADATA_ITEMS_MAX];
    size_t n;
    UT_hash_handle hh;
};

struct metadata {
    pthread_mutex_t lock; /* guards: entries */
    struct entry *entries;
};

struct metadata *metadata_new(void)
{
    struct metadata *m = xcalloc(1, sizeof *m);

    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metadata_free(struct metadata *m)
{
    struct entry *e;
    struct entry *next;

    if (m == NULL)
        return;
    HASH_ITER(hh, m->entries, e, next) {
        HASH_DEL(m->entries, e);
        for (size_t i = 0; i < e->n; i++) {
            free(e->items[i].unit);
            free(e->items[i].help);
        }
        free(e->metric);
        free(e);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static bool same(const struct metadata_item *i, enum metric_type type, struct slice unit,
                 struct slice help)
{
    return i->type == type && slice_eq(slice_str(i->unit), unit) &&
           slice_eq(slice_str(i->help), help);
}

void metadata_note(struct metadata *m, struct slice metric, enum metric_type type,
                   struct slice unit, struct slice help)
{
    struct entry *e;

    guard(&m->lock);
    if (help.len > TEXT_MAX)
        help.len = TEXT_MAX;
    if (unit.len > TEXT_MAX)
        unit.len = TEXT_MAX;
    HASH_FIND(hh, m->entries, metric.data, metric.len, e);
    if (e == NULL && (HASH_COUNT(m->entries) >= METRICS_MAX || metric.len > TEXT_MAX))
        return; /* a target that makes up ever new names does not fill the memory */
    if (e == NULL) {
        e = xcalloc(1, sizeof *e);
        e->metric = xstrndup(metric.data, metric.len);
        HASH_ADD_KEYPTR(hh, m->entries, e->metric, metric.len, e);
    }
    for (size_t i = 0; i < e->n; i++)
        if (same(&e->items[i], type, unit, help))
            return;
    if (e->n == METADATA_ITEMS_MAX) {
        free(e->items[0].unit);
        free(e->items[0].help);
        memmove(e->items, e->items + 1, (e->n - 1) * sizeof *e->items);
        e->n--;
    }
    e->items[e->n++] = (struct metadata_item){
        .type = type,
        .unit = xstrndup(unit.data, unit.len),
        .help = xstrndup(help.data, help.len),
    };
}

static int by_name(const struct entry *a, const struct entry *b)
{
    return strcmp(a->metric, b->metric);
}

void metadata_each(struct metadata *m, metadata_fn *f, void *ctx)
{
    guard(&m->lock);
    HASH_SORT(m->entries, by_name);
    for (const struct entry *e = m->entries; e != NULL; e = e->hh.next)
        if (f(ctx, e->metric, e->items, e->n) != 0)
            break;
}
