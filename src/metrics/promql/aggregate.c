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
        return 0;
    }
}

static int aggregate_in(struct grouping *g, const struct expr *inner, struct vector *ret)
{
    int r = eval_node(g->ev, g->m, inner, g->f, &g->in);

    if (r < 0)
        return r;
    vector_compact(g->ev, &g->in, g->f->n);
    group_rows(g);
    return aggregate_rows(g, ret);
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
        r = aggregate_is_sum(e->aggregate.op) ? aggregate_sums(&g, inner, ret)
                                              : aggregate_in(&g, inner, ret);
    label_index_done(&g.groups);
    free(g.group_of);
    vector_done(ev, &g.in, f->n);
    if (g.param != NULL)
        cells_free(ev, g.param, f->n);
    if (r == 0 && (f->n > 1 || !(e->aggregate.op >= AGG_TOPK)))
        vector_compact(ev, ret, f->n);
    return r;
}
