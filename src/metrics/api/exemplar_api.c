/* /api/v1/query_exemplars: the exemplars of the series that an expression's selectors choose. */
#include "base/alloc.h"
#include "metrics/api/api.h"
#include "metrics/exemplars.h"

#include <errno.h>
#include <stdlib.h>

/* One of the answer; labels are in the op. */
struct found {
    uint32_t ref;
    struct labels series;
    struct exemplar exemplar;
};

struct finding {
    struct op *op;
    const struct promql *query;
    struct refs refs;
    struct found *items;
    size_t n, cap;
};

static int ref_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* The series of any selector, ascending, each once. */
static void look_series(void *ctx, const struct index *ix)
{
    struct finding *f = ctx;
    size_t kept = 0;

    for (const struct selector *s = f->query->selectors; s != NULL; s = s->next) {
        struct refs some;

        index_select(ix, s->matchers, s->n_matchers, &some);
        for (size_t i = 0; i < some.n; i++)
            refs_add(&f->refs, some.items[i]);
        refs_done(&some);
    }
    if (f->refs.n > 1)
        qsort(f->refs.items, f->refs.n, sizeof *f->refs.items, ref_cmp);
    for (size_t i = 0; i < f->refs.n; i++)
        if (kept == 0 || f->refs.items[kept - 1] != f->refs.items[i])
            f->refs.items[kept++] = f->refs.items[i];
    f->refs.n = kept;
}

static void copy_labels(struct op *op, const struct labels *from, struct labels *to)
{
    *to = (struct labels){.items = op_alloc(op, (from->n + 1) * sizeof *to->items), .n = from->n};
    for (size_t i = 0; i < from->n; i++)
        to->items[i] = (struct label){op_slice(op, from->items[i].name),
                                      op_slice(op, from->items[i].value)};
}

static int note(void *ctx, uint32_t ref, const struct exemplar *e)
{
    struct finding *f = ctx;

    if (f->n == f->cap) {
        f->cap = f->cap == 0 ? 64 : 2 * f->cap;
        f->items = xrealloc(f->items, f->cap * sizeof *f->items);
    }
    f->items[f->n] = (struct found){.ref = ref, .exemplar = *e};
    copy_labels(f->op, &e->labels, &f->items[f->n++].exemplar.labels);
    return 0;
}

static void look_labels(void *ctx, const struct index *ix)
{
    struct finding *f = ctx;

    for (size_t i = 0; i < f->n; i++) {
        const struct series *s = index_series(ix, f->items[i].ref);
        struct label room[LABELS_MAX + 1];
        struct labels l;

        if (i > 0 && f->items[i - 1].ref == f->items[i].ref) {
            f->items[i].series = f->items[i - 1].series;
            continue;
        }
        l = index_labels(ix, s, room);
        copy_labels(f->op, &l, &f->items[i].series);
    }
}

static int found_cmp(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    int r = x->ref == y->ref ? 0 : labels_cmp(&x->series, &y->series);

    if (r != 0 || x->exemplar.ts_ms == y->exemplar.ts_ms)
        return r != 0 ? r : x < y ? -1 : 1;
    return x->exemplar.ts_ms < y->exemplar.ts_ms ? -1 : 1;
}

static void put_exemplar(struct json *j, const struct exemplar *e)
{
    autobuf value = {0};
    autobuf time = {0};

    print_value(&value, bits_double(e->bits));
    print_time(&time, e->ts_ms);
    json_object(j);
    json_key(j, "labels");
    json_labels(j, e->labels.items, e->labels.n);
    json_kslice(j, "value", buf_slice(&value));
    json_kraw(j, "timestamp", buf_slice(&time));
    json_object_end(j);
}

static void put_found(struct json *j, const struct finding *f)
{
    json_array(j);
    for (size_t i = 0; i < f->n;) {
        uint32_t ref = f->items[i].ref;

        json_object(j);
        json_key(j, "seriesLabels");
        json_labels(j, f->items[i].series.items, f->items[i].series.n);
        json_key(j, "exemplars");
        json_array(j);
        for (; i < f->n && f->items[i].ref == ref; i++)
            put_exemplar(j, &f->items[i].exemplar);
        json_array_end(j);
        json_object_end(j);
    }
    json_array_end(j);
}

int api_exemplars(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct promql query = {0};
    struct finding f = {.op = req->op, .query = &query};
    int64_t from_ms = INT64_MIN;
    int64_t to_ms = INT64_MAX;
    const char *text;
    autobuf why = {0};
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = param_time(req, "start", &from_ms);
    if (r == 0)
        r = param_time(req, "end", &to_ms);
    if (r == 0 && to_ms < from_ms)
        r = op_fail(req->op, EINVAL, "end timestamp must not be before start timestamp");
    text = web_query(req, "query");
    if (r == 0 && promql_parse(req->op, slice_str(text != NULL ? text : ""), &query, &why) < 0)
        r = op_fail(req->op, EINVAL, "%s", why.data);
    if (r < 0)
        return prom_fail(&a, r);
    db_look(a.m->db, look_series, &f);
    exemplars_each(a.m->exemplars, &f.refs, from_ms, to_ms, note, &f);
    db_look(a.m->db, look_labels, &f);
    if (f.n > 1)
        qsort(f.items, f.n, sizeof *f.items, found_cmp);
    put_found(&a.json, &f);
    promql_done(&query);
    refs_done(&f.refs);
    free(f.items);
    return prom_end(&a, false);
}
