/* sum and avg of native histograms. */
#include "metrics/promql/aggregate.h"
#include "metrics/promql/histogram_math.h"

#include "base/alloc.h"

#include <stdlib.h>

/* What the rows of one group have at one step. */
struct met {
    struct histogram_sum sum;
    struct histogram_mean mean;
    bool floats, histograms, incompatible, reset, no_reset;
};

static bool meet(struct grouping *g, struct met *x, const struct row *row, size_t i, bool average)
{
    const struct histogram *h = row->h != NULL ? row->h[i] : NULL;
    bool reconciled = false;
    struct histogram_add how = {1, false, &reconciled, NULL};
    bool fits = true;

    if (h == NULL) {
        x->floats |= present(row->v[i]);
        return true;
    }
    x->histograms = true;
    if (x->floats)
        return true;
    x->reset |= h->reset == HISTOGRAM_RESET;
    x->no_reset |= h->reset == HISTOGRAM_NO_RESET;
    if (average)
        fits = histogram_mean_add(g->m, &x->mean, h, &how);
    else if (x->sum.started)
        fits = histogram_sum_add(&x->sum, h, &how);
    else
        histogram_sum_set(&x->sum, h);
    if (reconciled)
        note_reconciled(g->ev, g->at, "aggregation");
    if (!fits)
        note_mixed_schemas(g->ev, g->at, labels_get(&row->labels, LABEL_NAME));
    return fits;
}

static void put_result(struct grouping *g, struct met *x, struct row *out, size_t i, bool average)
{
    struct histogram *h;

    if (x->floats && x->histograms) {
        note_add(g->ev, NOTE_WARNING, g->at,
                 "encountered a mix of histograms and floats for aggregation");
        out->v[i] = ABSENT;
        return;
    }
    if (!x->histograms)
        return;
    if (x->incompatible)
        return;
    h = average ? histogram_mean_take(g->m, &x->mean) : histogram_sum_take(g->m, &x->sum, 1);
    histogram_compact(h);
    if (x->reset && x->no_reset)
        note_collision(g->ev, g->at, "aggregation");
    if (out->h == NULL)
        out->h = cells_histograms(g->ev, g->f->n);
    out->h[i] = h;
    out->v[i] = ABSENT;
}

/* One step of one group; its rows are listed. */
static void aggregate_step(struct grouping *g, const uint32_t *rows, size_t n, size_t i,
                           struct row *out, bool average)
{
    struct met x = {.floats = present(out->v[i])};

    for (size_t k = 0; k < n && !x.incompatible; k++)
        x.incompatible = !meet(g, &x, &g->in.rows[rows[k]], i, average);
    put_result(g, &x, out, i, average);
    histogram_sum_done(&x.sum);
    histogram_mean_done(&x.mean);
}

/* Rows without histograms were freed: their floats are in the group's row already. */
int aggregate_histograms(struct grouping *g, struct vector *groups, bool average)
{
    uint32_t *rows = xmalloc((g->in.n + 1) * sizeof *rows);
    int r = 0;

    for (size_t k = 0; k < g->groups.n && r == 0; k++) {
        size_t n = 0;

        for (size_t j = 0; j < g->in.n; j++)
            if (g->group_of[j] == k && g->in.rows[j].h != NULL)
                rows[n++] = (uint32_t)j;
        for (size_t i = 0; i < g->f->n && n > 0 && r == 0; i++) {
            aggregate_step(g, rows, n, i, &groups->rows[k], average);
            r = eval_check(g->ev);
        }
    }
    free(rows);
    return r;
}
