#include "metrics/promql/aggregate.h"

#include "base/alloc.h"
#include "metrics/promql/calls.h"
#include "metrics/promql/range.h"

#include <math.h>
#include <stdlib.h>

void note_ignored(const struct grouping *g, const char *operation)
{
    note_add(g->ev, NOTE_INFO, g->at, "ignored histogram in %s aggregation", operation);
}

struct param_range param_range(const struct grouping *g)
{
    struct param_range p = {.min = HUGE_VAL, .max = -HUGE_VAL};

    if (g->param == NULL)
        return (struct param_range){0};
    p.min = p.max = g->param[0];
    for (size_t i = 0; i < g->f->n; i++) {
        p.max = go_max(p.max, g->param[i]);
        p.min = go_min(p.min, g->param[i]);
        p.nan |= isnan(g->param[i]);
    }
    return p;
}

/* One group's cells while rows are added to them. */
struct sums {
    double *v; /* the row's own: ABSENT until there is a first */
    double *c; /* compensation, or the mean of a variance */
    double *count;
    uint8_t *incremental; /* avg: 1 where the sum would overflow: then v is the mean */
};

static void add_sum(struct sums *s, const double *restrict x, size_t n)
{
    double *restrict v = s->v;
    double *restrict c = s->c;

    for (size_t i = 0; i < n; i++) {
        if (!present(x[i]))
            continue;
        if (!present(v[i]))
            v[i] = x[i];
        else
            kahan_add(x[i], &v[i], &c[i]);
    }
}

static void add_mean(struct sums *s, size_t i, double x)
{
    double count = ++s->count[i];
    double q;

    if (s->incremental[i] == 0) {
        double sum = s->v[i];
        double c = s->c[i];

        kahan_add(x, &sum, &c);
        if (!isinf(sum)) {
            s->v[i] = sum;
            s->c[i] = c;
            return;
        }
        s->incremental[i] = 1;
        s->v[i] /= count - 1;
        s->c[i] /= count - 1;
    }
    q = (count - 1) / count;
    s->v[i] *= q;
    s->c[i] *= q;
    kahan_add(x / count, &s->v[i], &s->c[i]);
}

static void add_avg(struct sums *s, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!present(x[i]))
            continue;
        if (present(s->v[i])) {
            add_mean(s, i, x[i]);
        } else {
            s->v[i] = x[i];
            s->count[i] = 1;
        }
    }
}

static void add_max(struct sums *s, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (present(x[i]) && (!present(s->v[i]) || s->v[i] < x[i] || isnan(s->v[i])))
            s->v[i] = x[i];
}

static void add_min(struct sums *s, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (present(x[i]) && (!present(s->v[i]) || s->v[i] > x[i] || isnan(s->v[i])))
            s->v[i] = x[i];
}

/* Welford's: v is the sum of squares, c the mean. */
static void add_variance(struct sums *s, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double delta;

        if (!present(x[i]))
            continue;
        if (!present(s->v[i])) {
            s->v[i] = isfinite(x[i]) ? 0 : NAN;
            s->c[i] = x[i];
            s->count[i] = 1;
            continue;
        }
        delta = x[i] - s->c[i];
        s->c[i] += delta / ++s->count[i];
        s->v[i] += delta * (x[i] - s->c[i]);
    }
}

static void add_row(enum aggregate_op op, struct sums *s, const struct row *row, size_t n)
{
    switch (op) {
    case AGG_SUM:
        add_sum(s, row->v, n);
        break;
    case AGG_AVG:
        add_avg(s, row->v, n);
        break;
    case AGG_MAX:
        add_max(s, row->v, n);
        break;
    case AGG_MIN:
        add_min(s, row->v, n);
        break;
    case AGG_STDDEV:
    case AGG_STDVAR:
        add_variance(s, row->v, n);
        break;
    default: /* count and group: histograms count too */
        for (size_t i = 0; i < n; i++)
            if (row_has(row, i))
                s->v[i] = present(s->v[i]) && op == AGG_COUNT ? s->v[i] + 1 : 1;
    }
}

static void finish(enum aggregate_op op, struct sums *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!present(s->v[i]))
            continue;
        if (op == AGG_SUM || (op == AGG_AVG && s->incremental[i] != 0))
            s->v[i] += s->c[i];
        else if (op == AGG_AVG)
            s->v[i] = s->v[i] / s->count[i] + s->c[i] / s->count[i];
        else if (op == AGG_STDVAR)
            s->v[i] /= s->count[i];
        else if (op == AGG_STDDEV)
            s->v[i] = sqrt(s->v[i] / s->count[i]);
    }
}

static void sums_done(struct evaluator *ev, struct sums *s, size_t n_groups, size_t n)
{
    for (size_t k = 0; k < n_groups; k++) {
        if (s[k].c != NULL)
            cells_free(ev, s[k].c, n);
        if (s[k].count != NULL)
            cells_free(ev, s[k].count, n);
        free(s[k].incremental);
    }
    free(s);
}

static int sums_new(struct grouping *g, struct vector *groups, struct sums **ret)
{
    enum aggregate_op op = g->e->aggregate.op;
    bool has_c = op == AGG_SUM || op == AGG_AVG || op == AGG_STDDEV || op == AGG_STDVAR;
    bool has_count = has_c && op != AGG_SUM;
    size_t n = g->f->n;
    struct sums *s = xcalloc(g->groups.n + 1, sizeof *s);

    *ret = s;
    for (size_t k = 0; k < g->groups.n; k++) {
        struct row *row = vector_add(g->ev, groups, n);

        if (row == NULL)
            return eval_check(g->ev);
        row->labels = g->groups.sets[k];
        s[k].v = row->v;
        if (has_c && (s[k].c = cells_new(g->ev, n)) == NULL)
            return eval_check(g->ev);
        if (has_count && (s[k].count = cells_new(g->ev, n)) == NULL)
            return eval_check(g->ev);
        for (size_t i = 0; i < n && has_c; i++)
            s[k].c[i] = 0;
        if (op == AGG_AVG)
            s[k].incremental = xcalloc(n, 1);
    }
    return 0;
}

static int aggregate_sums(struct grouping *g, struct vector *ret)
{
    enum aggregate_op op = g->e->aggregate.op;
    struct sums *s = NULL;
    bool histograms = false;
    int r = sums_new(g, ret, &s);

    for (size_t k = 0; k < g->in.n && r == 0; k++) {
        struct row *row = &g->in.rows[k];

        add_row(op, &s[g->group_of[k]], row, g->f->n);
        ret->rows[g->group_of[k]].drop_name |= row->drop_name;
        histograms |= row->h != NULL;
        if (row->h == NULL)
            row_done(g->ev, row, g->f->n);
    }
    for (size_t k = 0; k < g->groups.n && r == 0; k++)
        finish(op, &s[k], g->f->n);
    if (r == 0 && histograms && (op == AGG_SUM || op == AGG_AVG))
        r = aggregate_histograms(g, ret, op == AGG_AVG);
    else if (r == 0 && histograms && op != AGG_COUNT && op != AGG_GROUP)
        note_ignored(g, aggregate_op_text(op));
    sums_done(g->ev, s, g->groups.n, g->f->n);
    return r;
}

static void note_quantiles(struct grouping *g, struct span at)
{
    struct param_range p = param_range(g);

    if (p.nan)
        note_bad_quantile(g->ev, at, NAN);
    if (p.max > 1)
        note_bad_quantile(g->ev, at, p.max);
    if (p.min < 0)
        note_bad_quantile(g->ev, at, p.min);
}

int aggregate_quantile(struct grouping *g, struct vector *ret)
{
    size_t *start = xcalloc(g->groups.n + 2, sizeof *start);
    uint32_t *rows = xmalloc((g->in.n + 1) * sizeof *rows);
    double *values = xmalloc((g->in.n + 1) * sizeof *values);
    int r = 0;

    note_quantiles(g, g->e->aggregate.param->at);
    for (size_t k = 0; k < g->in.n; k++)
        start[g->group_of[k] + 2]++;
    for (size_t k = 2; k <= g->groups.n + 1; k++)
        start[k] += start[k - 1];
    for (size_t k = 0; k < g->in.n; k++)
        rows[start[g->group_of[k] + 1]++] = (uint32_t)k;
    for (size_t k = 0; k < g->groups.n && r == 0; k++) {
        struct row *out = vector_add(g->ev, ret, g->f->n);

        r = out == NULL ? eval_check(g->ev) : 0;
        for (size_t i = 0; i < g->f->n && r == 0; i++) {
            size_t n = 0;

            for (size_t j = start[k]; j < start[k + 1]; j++) {
                const struct row *row = &g->in.rows[rows[j]];

                out->drop_name |= row->drop_name;
                if (present(row->v[i]))
                    values[n++] = row->v[i];
                else if (row->h != NULL && row->h[i] != NULL)
                    note_ignored(g, "quantile");
            }
            if (n > 0)
                out->v[i] = quantile_of(g->param[i], values, n);
            if (i % 64 == 63)
                r = eval_check(g->ev);
        }
        if (r == 0)
            out->labels = g->groups.sets[k];
    }
    free(start);
    free(rows);
    free(values);
    return r;
}

static void group_rows(struct grouping *g)
{
    const struct names *names = &g->e->aggregate.grouping;
    bool by = !g->e->aggregate.without;

    label_index_init(&g->groups, g->m);
    g->group_of = xmalloc((g->in.n + 1) * sizeof *g->group_of);
    for (size_t k = 0; k < g->in.n; k++) {
        struct label room[EDIT_MAX];
        struct labels part = {room, 0};

        if (g->in.rows[k].labels.n <= EDIT_MAX)
            part = labels_part(&g->in.rows[k].labels, by, names, room);
        g->group_of[k] = (uint32_t)label_index_put(&g->groups, &part);
    }
}

static int aggregate_rows(struct grouping *g, struct vector *ret)
{
    switch (g->e->aggregate.op) {
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_LIMITK:
    case AGG_LIMIT_RATIO:
        return aggregate_topk(g, ret);
    case AGG_QUANTILE:
        return aggregate_quantile(g, ret);
    case AGG_COUNT_VALUES:
        return aggregate_count_values(g, ret);
    default:
        return aggregate_sums(g, ret);
    }
}

int eval_aggregate(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                   struct vector *ret)
{
    const struct expr *inner = expr_bare(e->aggregate.e);
    struct grouping g = {.ev = ev, .m = m, .e = e, .at = inner->at, .f = f};
    int r = 0;

    if (agg_has_param(e->aggregate.op) && e->aggregate.op != AGG_COUNT_VALUES)
        r = eval_scalar(ev, m, expr_bare(e->aggregate.param), f, &g.param);
    if (r == 0)
        r = eval_node(ev, m, inner, f, &g.in);
    if (r == 0) {
        vector_compact(ev, &g.in, f->n);
        group_rows(&g);
        r = aggregate_rows(&g, ret);
        label_index_done(&g.groups);
        free(g.group_of);
    }
    vector_done(ev, &g.in, f->n);
    if (g.param != NULL)
        cells_free(ev, g.param, f->n);
    if (r == 0 && (f->n > 1 || !(e->aggregate.op >= AGG_TOPK)))
        vector_compact(ev, ret, f->n);
    return r;
}
