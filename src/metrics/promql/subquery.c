/* Range vectors as such: subqueries, and what an instant query for one answers. */
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/range.h"

#include "base/alloc.h"
#include "metrics/promql/labelset.h"

#include <errno.h>
#include <stdlib.h>

#define STEP_DEFAULT_MS 60000

int subquery_rows(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct frame *ret_frame, struct vector *ret)
{
    struct look look = look_of(&e->subquery.moment);
    int64_t step = e->subquery.step_ms > 0        ? e->subquery.step_ms
                   : ev->ev->subquery_step_ms > 0 ? ev->ev->subquery_step_ms
                                                  : STEP_DEFAULT_MS;
    int64_t low = look_ms(&look, f, 0) - e->subquery.range_ms;
    int64_t end = look_ms(&look, f, f->n - 1);
    int64_t start = step * (low / step);
    int r;

    if (start <= low)
        start += step;
    *ret_frame = (struct frame){start, step, 1, end != start};
    if (end < start)
        return 0;
    ret_frame->n = (size_t)((end - start) / step) + 1;
    if (!cells_fit(ev, ret_frame->n))
        return -E2BIG;
    ev->above_buckets++;
    r = eval_node(ev, m, expr_bare(e->subquery.e), ret_frame, ret);
    ev->above_buckets--;
    return r;
}

int select_subquery(struct evaluator *ev, struct mem *m, const struct expr *e,
                    const struct frame *f, struct result *ret)
{
    struct vector v = {0};
    struct frame inner = {0};
    int r = subquery_rows(ev, m, e, f, &inner, &v);

    return r < 0 ? (vector_done(ev, &v, inner.n), r) : take_rows(ev, m, &inner, &v, ret);
}

struct ranges {
    struct evaluator *ev;
    const struct selector *s;
    int64_t start, end; /* of the range: (start, end] */
    struct result *ret;
    struct series_room room[WORKERS_MAX];
};

static int ranges_begin(void *ctx, size_t n)
{
    struct ranges *x = ctx;

    x->ret->series = xcalloc(n + 1, sizeof *x->ret->series);
    x->ret->n = n;
    return 0;
}

/* Of an anchored or smoothed range: its bounds get values of their own. */
static void extend(const struct ranges *x, const struct readings *s, struct result_series *out)
{
    double left;
    double right;
    size_t first;
    size_t last;

    if (!extended_edges(s, x->start, x->end, x->s->smoothed, &first, &last, &left, &right))
        return;
    out->points = points_new(x->ev, s->n + 2);
    if (out->points == NULL)
        return;
    out->points[out->n_points++] = (struct point){x->start, left, NULL};
    for (size_t k = first; k <= last && k < s->n; k++)
        if (s->ts[k] > x->start && s->ts[k] < x->end)
            out->points[out->n_points++] = (struct point){s->ts[k], s->v[k], NULL};
    out->points[out->n_points++] = (struct point){x->end, right, NULL};
}

static void merge_points(struct evaluator *ev, struct mem *m, const struct readings *s,
                         struct result_series *out)
{
    size_t f = 0;
    size_t h = 0;

    out->points = points_new(ev, s->n + s->n_h);
    if (out->points == NULL)
        return;
    while (f < s->n || h < s->n_h) {
        if (h == s->n_h || (f < s->n && s->ts[f] <= s->hts[h])) {
            out->points[out->n_points++] = (struct point){s->ts[f], s->v[f], NULL};
            f++;
        } else {
            out->points[out->n_points++] =
                (struct point){s->hts[h], 0, histogram_clone(m, s->h[h])};
            h++;
        }
    }
}

static int ranges_series(void *ctx, struct mem *m, unsigned worker, size_t i,
                         const struct query_item *item)
{
    struct ranges *x = ctx;
    struct result_series *out = &x->ret->series[i];
    struct readings s;

    series_split(&x->room[worker], item, &s);
    if (s.n_h > 0 && (x->s->anchored || x->s->smoothed))
        return eval_fail(x->ev, "%s modifier is not supported with histograms",
                         x->s->anchored ? "anchored" : "smoothed");
    if (x->s->anchored || x->s->smoothed)
        extend(x, &s, out);
    else
        merge_points(x->ev, m, &s, out);
    out->labels = mem_labels(m, &item->labels);
    return eval_check(x->ev);
}

int select_matrix(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct result *ret)
{
    const struct selector *s = e->matrix.e->selector;
    struct look look = look_of(&s->moment);
    struct ranges x = {.ev = ev, .s = s, .end = look_ms(&look, f, 0), .ret = ret};
    struct select_visit visit = {ranges_begin, ranges_series, &x, {0}, 1};
    int64_t beyond = s->anchored || s->smoothed ? ev->ev->lookback_ms : 0;
    size_t kept = 0;
    int r;

    (void)m;
    x.start = x.end - e->matrix.range_ms;
    r = select_visit(ev, s->matchers, s->n_matchers, x.start - beyond + 1,
                     x.end + (s->smoothed ? beyond : 0), 0, &visit);
    for (size_t i = 0; i < WORKERS_MAX; i++)
        series_room_done(&x.room[i]);
    for (size_t i = 0; i < ret->n; i++) {
        if (ret->series[i].n_points > 0)
            ret->series[kept++] = ret->series[i];
        else
            free(ret->series[i].points);
    }
    ret->n = kept;
    return r;
}
