#include "metrics/promql/eval.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hot.h"
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/labelset.h"
#include "metrics/promql/notes.h"

#include <errno.h>
#include <stdlib.h>

static int eval_number(struct evaluator *ev, const struct expr *e, const struct frame *f,
                       struct vector *ret)
{
    struct row *row = vector_add(ev, ret, f->n);

    if (row == NULL)
        return eval_check(ev);
    for (size_t i = 0; i < f->n; i++)
        row->v[i] = e->number.value;
    return 0;
}

void minus_row(struct mem *m, struct row *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (present(row->v[i]))
            row->v[i] = -row->v[i];
        if (row->h != NULL && row->h[i] != NULL)
            row->h[i] = histogram_scaled(m, row->h[i], -1);
    }
}

static int eval_minus(struct evaluator *ev, struct mem *m, const struct expr *e,
                      const struct frame *f, struct vector *ret)
{
    int r = eval_node(ev, m, e->inner.e, f, ret);

    if (r < 0 || !e->inner.negative)
        return r;
    for (size_t k = 0; k < ret->n; k++) {
        struct row *row = &ret->rows[k];

        minus_row(m, row, f->n);
        if (e->type == VALUE_SCALAR)
            continue;
        row->drop_name = true;
        if (ev->ev->eager_names)
            row->labels = labels_bare(m, &row->labels);
    }
    return ev->ev->eager_names ? vector_merge(ev, ret, f->n) : 0;
}

static int eval_kind(struct evaluator *ev, struct mem *m, const struct expr *e,
                     const struct frame *f, struct vector *ret)
{
    switch (e->kind) {
    case EXPR_NUMBER:
        return eval_number(ev, e, f, ret);
    case EXPR_PAREN:
        return eval_node(ev, m, e->inner.e, f, ret);
    case EXPR_UNARY:
        return eval_minus(ev, m, e, f, ret);
    case EXPR_BINARY:
        return eval_binary(ev, m, e, f, ret);
    case EXPR_SELECTOR:
        return select_instant(ev, e, f, ret);
    case EXPR_CALL:
        return eval_call(ev, m, e, f, ret);
    case EXPR_AGGREGATE:
        return eval_aggregate(ev, m, e, f, ret);
    case EXPR_STRING:
    case EXPR_MATRIX:
    case EXPR_SUBQUERY:
        break;
    }
    return eval_fail(ev, "unexpected %s", value_type_documented(e->type));
}

/* The value of the one step, at all of them. */
static int spread(struct evaluator *ev, struct row *from, size_t n, struct vector *ret)
{
    struct row *to = vector_add(ev, ret, n);

    if (to == NULL)
        return eval_check(ev);
    to->labels = from->labels;
    to->drop_name = from->drop_name;
    for (size_t i = 0; i < n; i++)
        to->v[i] = from->v[0];
    if (from->h == NULL)
        return 0;
    to->h = cells_histograms(ev, n);
    for (size_t i = 0; i < n; i++)
        to->h[i] = from->h[0];
    return 0;
}

static int eval_once(struct evaluator *ev, struct mem *m, const struct expr *e,
                     const struct frame *f, struct vector *ret)
{
    struct frame one = {.start_ms = f->start_ms, .step_ms = f->step_ms, .n = 1};
    struct vector v = {0};
    int r = eval_kind(ev, m, e, &one, &v);

    for (size_t i = 0; i < v.n && r == 0; i++)
        if (row_has(&v.rows[i], 0))
            r = spread(ev, &v.rows[i], f->n, ret);
    vector_done(ev, &v, 1);
    return r;
}

enum { NEEDS_NOTHING, NEEDS_COUNTS, NEEDS_BUCKETS };

/* What a node asks of the histograms below it. */
static int needs(const struct expr *e)
{
    switch (e->kind) {
    case EXPR_SUBQUERY:
        return NEEDS_BUCKETS;
    case EXPR_AGGREGATE:
        return e->aggregate.op == AGG_COUNT_VALUES ? NEEDS_BUCKETS : NEEDS_NOTHING;
    case EXPR_BINARY:
        return e->binary.op == OP_EQL || e->binary.op == OP_NEQ || e->binary.op == OP_TRIM_UPPER ||
                       e->binary.op == OP_TRIM_LOWER
                   ? NEEDS_BUCKETS
                   : NEEDS_NOTHING;
    case EXPR_CALL:
        break;
    default:
        return NEEDS_NOTHING;
    }
    switch (e->call.f->id) {
    case FN_HISTOGRAM_COUNT:
    case FN_HISTOGRAM_SUM:
    case FN_HISTOGRAM_AVG:
    case FN_TIMESTAMP:
    case FN_ABSENT:
        return NEEDS_COUNTS;
    case FN_HISTOGRAM_QUANTILE:
    case FN_HISTOGRAM_QUANTILES:
    case FN_HISTOGRAM_FRACTION:
    case FN_HISTOGRAM_STDDEV:
    case FN_HISTOGRAM_STDVAR:
    case FN_CHANGES:
        return NEEDS_BUCKETS;
    default:
        return NEEDS_NOTHING;
    }
}

void eval_needs(struct evaluator *ev, const struct expr *e, int by)
{
    int need = needs(e);

    ev->above_counts += need == NEEDS_COUNTS ? (unsigned)by : 0;
    ev->above_buckets += need == NEEDS_BUCKETS ? (unsigned)by : 0;
}

int eval_node(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              struct vector *ret)
{
    int64_t begun_ns = e->cost != NULL ? clock_monotonic_ns() : 0;
    uint64_t samples = ev->samples_read;
    int r = eval_check(ev);

    if (r < 0)
        return r;
    eval_needs(ev, e, 1);
    if (e->step_invariant && f->n > 1)
        r = eval_once(ev, m, e, f, ret);
    else
        r = eval_kind(ev, m, e, f, ret);
    eval_needs(ev, e, -1);
    if (e->cost != NULL) {
        e->cost->ns += (uint64_t)(clock_monotonic_ns() - begun_ns);
        e->cost->samples += ev->samples_read - samples;
        e->cost->series += ret->n;
    }
    return r < 0 ? r : eval_check(ev);
}

int eval_scalar(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                double **ret)
{
    struct vector v = {0};
    int r = eval_node(ev, m, e, f, &v);

    *ret = NULL;
    if (r == 0 && v.n == 1) {
        *ret = v.rows[0].v;
        v.rows[0].v = NULL;
    }
    vector_done(ev, &v, f->n);
    return r;
}

HOT static size_t count_values(const double *v, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += present(v[i]);
    return count;
}

static size_t count_cells(const struct row *row, size_t n)
{
    size_t count = 0;

    if (row->h == NULL)
        return count_values(row->v, n);
    for (size_t i = 0; i < n; i++)
        count += row_has(row, i);
    return count;
}

/* What was counted for the cells goes on to the points. */
static void take_row(struct evaluator *ev, struct row *row, const struct frame *f, bool as_cells,
                     struct result_series *s)
{
    size_t n = count_cells(row, f->n);

    s->labels = row->labels;
    if (as_cells && n > 0) {
        s->n_points = n;
        s->cells = row->v;
        row->v = NULL;
        row_done(ev, row, f->n);
        return;
    }
    s->points = n > 0 ? points_new(ev, n) : NULL;
    for (size_t i = 0; i < f->n && s->points != NULL; i++)
        if (row_has(row, i))
            s->points[s->n_points++] =
                (struct point){frame_ms(f, i), row->v[i], row->h != NULL ? row->h[i] : NULL};
    row_done(ev, row, f->n);
}

/* Rows to series; frees them as it goes. */
static void take_vector(struct evaluator *ev, const struct frame *f, struct vector *v,
                        struct result *ret)
{
    bool as_cells = ev->ev->as_cells;

    for (size_t i = 0; i < v->n && as_cells; i++)
        as_cells = !row_has_histograms(&v->rows[i], f->n);
    ret->series = xcalloc(v->n + 1, sizeof *ret->series);
    ret->start_ms = f->start_ms;
    ret->step_ms = f->step_ms;
    ret->n_steps = f->n;
    for (size_t i = 0; i < v->n; i++) {
        take_row(ev, &v->rows[i], f, as_cells, &ret->series[ret->n]);
        ret->n += ret->series[ret->n].n_points > 0;
    }
    vector_done(ev, v, f->n);
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(&((const struct result_series *)a)->labels,
                      &((const struct result_series *)b)->labels);
}

/* The name goes now from what operators and functions have made. */
static int drop_names(struct evaluator *ev, struct mem *m, struct vector *v, size_t n_cells)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->rows[i].drop_name)
            v->rows[i].labels = labels_bare(m, &v->rows[i].labels);
    return vector_merge(ev, v, n_cells);
}

int take_rows(struct evaluator *ev, struct mem *m, const struct frame *f, struct vector *v,
              struct result *ret)
{
    int r = drop_names(ev, m, v, f->n);

    if (r == 0)
        take_vector(ev, f, v, ret);
    else
        vector_done(ev, v, f->n);
    return r;
}

static int eval_rows(struct evaluator *ev, struct mem *m, const struct expr *e,
                     const struct frame *f, struct result *ret)
{
    struct vector v = {0};
    int r = eval_node(ev, m, e, f, &v);

    if (r == 0)
        return take_rows(ev, m, f, &v, ret);
    vector_done(ev, &v, f->n);
    return r;
}

static int eval_top(struct evaluator *ev, struct mem *m, const struct expr *e, struct result *ret)
{
    const struct eval *q = ev->ev;
    struct frame f = {
        q->start_ms, q->step_ms > 0 ? q->step_ms : 1, 1, q->end_ms != q->start_ms};
    const struct expr *bare = e;
    int r = 0;

    if (q->step_ms > 0)
        f.n = (size_t)((q->end_ms - q->start_ms) / q->step_ms) + 1;
    while (bare->kind == EXPR_PAREN)
        bare = bare->inner.e;
    if (e->type == VALUE_STRING)
        ret->string = mem_slice(m, bare->string);
    else if (bare->kind == EXPR_MATRIX)
        r = select_matrix(ev, m, bare, &f, ret);
    else if (bare->kind == EXPR_SUBQUERY)
        r = select_subquery(ev, m, bare, &f, ret);
    else
        r = eval_rows(ev, m, e, &f, ret);
    if (r == 0)
        r = eval_check(ev);
    ret->type = e->type;
    if (q->step_ms > 0 && e->type != VALUE_STRING)
        ret->type = VALUE_MATRIX;
    if (r == 0 && ret->type == VALUE_MATRIX && ret->n > 1)
        qsort(ret->series, ret->n, sizeof *ret->series, by_labels);
    return r;
}

int promql_eval(const struct eval *q, const struct expr *e, struct result *ret, struct buf *why)
{
    struct evaluator ev = {.ev = q, .text = q->text, .why = why};
    struct mem m = {.ev = &ev};
    int r;

    *ret = (struct result){0};
    pthread_mutex_init(&ev.lock, NULL);
    r = eval_top(&ev, &m, e, ret);
    notes_take(&ev, ret);
    notes_done(&ev);
    ret->samples_read = ev.samples_read;
    ret->samples_total = ev.samples_total;
    ret->series_touched = ev.series_touched;
    ret->samples_peak = ev.samples_peak;
    ret->bytes_peak = ev.bytes_peak;
    ret->bytes = ev.bytes;
    ret->chunks = ev.chunks;
    pthread_mutex_destroy(&ev.lock);
    if (r < 0)
        result_done(ret);
    return r;
}

void result_done(struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->series[i].points);
        free(r->series[i].cells);
    }
    free(r->series);
    for (size_t i = 0; i < r->n_warnings; i++)
        free(r->warnings[i]);
    for (size_t i = 0; i < r->n_infos; i++)
        free(r->infos[i]);
    free(r->warnings);
    free(r->infos);
    mem_chunks_free(r->chunks);
    *r = (struct result){0};
}
