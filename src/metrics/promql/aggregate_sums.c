/* Aggregations that add row to row. Each thread that makes rows has groups of its own; they meet
 * when all are read. */
#include "metrics/promql/aggregate.h"
#include "metrics/promql/range.h"

#include "base/alloc.h"
#include "base/hot.h"

#include <math.h>
#include <stdlib.h>

/* One group's cells while rows are added to them. */
struct sums {
    double *v; /* ABSENT until there is a first */
    double *c; /* compensation, or the mean of a variance */
    double *count;
    uint8_t *incremental; /* avg: 1 where the sum would overflow: then v is the mean */
    bool drop_name;
};

/* What one thread has. */
struct share {
    struct label_index groups;
    struct sums *sums;
    size_t n, cap;
    struct vector kept; /* rows with histograms, for later */
    uint32_t *kept_group;
    size_t cap_kept;
    bool begun, histograms;
};

struct summing {
    struct evaluator *ev;
    const struct expr *e;
    const struct frame *f;
    enum aggregate_op op;
    struct share shares[WORKERS_MAX];
};

/* Neumaier's sum (kahan_add), with choices in the place of branches. */
HOT static void add_sum(double *restrict v, double *restrict c, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool px = present(x[i]);
        bool pv = present(v[i]);
        double t = v[i] + x[i];
        double low = fabs(v[i]) >= fabs(x[i]) ? (v[i] - t) + x[i] : (x[i] - t) + v[i];
        double sum = fabs(t) == HUGE_VAL ? 0 : c[i] + low;

        c[i] = px && pv ? sum : c[i];
        v[i] = px ? (pv ? t : x[i]) : v[i];
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

HOT static void add_max(double *restrict v, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = present(x[i]) && (v[i] < x[i] || isnan(v[i])) ? x[i] : v[i]; /* ABSENT is a NaN */
}

HOT static void add_min(double *restrict v, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = present(x[i]) && (v[i] > x[i] || isnan(v[i])) ? x[i] : v[i];
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

HOT static void add_count(double *restrict v, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = present(x[i]) ? (present(v[i]) ? v[i] + 1 : 1) : v[i];
}

static void add_row(enum aggregate_op op, struct sums *s, const struct row *row, size_t n)
{
    switch (op) {
    case AGG_SUM:
        add_sum(s->v, s->c, row->v, n);
        break;
    case AGG_AVG:
        add_avg(s, row->v, n);
        break;
    case AGG_MAX:
        add_max(s->v, row->v, n);
        break;
    case AGG_MIN:
        add_min(s->v, row->v, n);
        break;
    case AGG_STDDEV:
    case AGG_STDVAR:
        add_variance(s, row->v, n);
        break;
    default: /* count and group: histograms count too */
        if (op == AGG_COUNT && row->h == NULL) {
            add_count(s->v, row->v, n);
            break;
        }
        for (size_t i = 0; i < n; i++)
            if (row_has(row, i))
                s->v[i] = present(s->v[i]) && op == AGG_COUNT ? s->v[i] + 1 : 1;
    }
}

/* A mean that is a sum yet becomes one. */
static void to_mean(struct sums *s, size_t i)
{
    if (s->incremental[i] != 0)
        return;
    s->incremental[i] = 1;
    s->v[i] /= s->count[i];
    s->c[i] /= s->count[i];
}

static void merge_avg(struct sums *a, struct sums *b, size_t i)
{
    double count = a->count[i] + b->count[i];
    double sum = a->v[i];
    double c = a->c[i] + b->c[i];

    kahan_add(b->v[i], &sum, &c);
    if (a->incremental[i] == 0 && b->incremental[i] == 0 && !isinf(sum)) {
        a->v[i] = sum;
        a->c[i] = c;
        a->count[i] = count;
        return;
    }
    to_mean(a, i);
    to_mean(b, i);
    a->v[i] *= a->count[i] / count;
    a->c[i] = a->c[i] * (a->count[i] / count) + b->c[i] * (b->count[i] / count);
    kahan_add(b->v[i] * (b->count[i] / count), &a->v[i], &a->c[i]);
    a->count[i] = count;
}

/* The group of another thread, whose rows come after. */
static void merge_sums(enum aggregate_op op, struct sums *a, struct sums *b, size_t n)
{
    const struct row row = {.v = b->v};

    a->drop_name |= b->drop_name;
    if (op == AGG_MAX || op == AGG_MIN || op == AGG_GROUP) {
        add_row(op, a, &row, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (!present(b->v[i]))
            continue;
        if (!present(a->v[i])) {
            a->v[i] = b->v[i];
            if (a->c != NULL)
                a->c[i] = b->c[i];
            if (a->count != NULL)
                a->count[i] = b->count[i];
            if (a->incremental != NULL)
                a->incremental[i] = b->incremental[i];
        } else if (op == AGG_AVG) {
            merge_avg(a, b, i);
        } else if (op == AGG_SUM) {
            a->c[i] += b->c[i];
            kahan_add(b->v[i], &a->v[i], &a->c[i]);
        } else {
            a->v[i] += b->v[i];
        }
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

static void sums_done(struct evaluator *ev, struct sums *s, size_t n)
{
    if (s->v != NULL)
        cells_free(ev, s->v, n);
    if (s->c != NULL)
        cells_free(ev, s->c, n);
    if (s->count != NULL)
        cells_free(ev, s->count, n);
    free(s->incremental);
    *s = (struct sums){0};
}

static int sums_init(struct summing *x, struct sums *s)
{
    enum aggregate_op op = x->op;
    bool has_c = op == AGG_SUM || op == AGG_AVG || op == AGG_STDDEV || op == AGG_STDVAR;
    size_t n = x->f->n;

    *s = (struct sums){.v = cells_new(x->ev, n)};
    if (s->v == NULL || (has_c && (s->c = cells_new(x->ev, n)) == NULL) ||
        (has_c && op != AGG_SUM && (s->count = cells_new(x->ev, n)) == NULL)) {
        sums_done(x->ev, s, n);
        return eval_check(x->ev);
    }
    for (size_t i = 0; i < n && has_c; i++)
        s->c[i] = 0;
    if (op == AGG_AVG)
        s->incremental = xcalloc(n, 1);
    return 0;
}

static struct sums *share_add(struct share *s)
{
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 16 : 2 * s->cap;
        s->sums = xrealloc(s->sums, s->cap * sizeof *s->sums);
    }
    s->sums[s->n] = (struct sums){0};
    return &s->sums[s->n++];
}

/* A row with histograms is needed again when all groups are there. */
static void keep_row(struct share *s, struct mem *m, size_t group, struct row *row)
{
    struct row copy = *row;

    if (s->kept.n == s->cap_kept) {
        s->cap_kept = s->cap_kept == 0 ? 16 : 2 * s->cap_kept;
        s->kept_group = xrealloc(s->kept_group, s->cap_kept * sizeof *s->kept_group);
    }
    s->kept_group[s->kept.n] = (uint32_t)group;
    copy.labels = mem_labels(m, &row->labels);
    vector_push(&s->kept, copy);
    row->v = NULL;
    row->h = NULL;
}

static int sum_row(void *ctx, struct mem *m, unsigned worker, struct row *row)
{
    struct summing *x = ctx;
    struct share *s = &x->shares[worker];
    struct label room[EDIT_MAX];
    struct labels part = {room, 0};
    size_t group;
    int r;

    if (row_is_empty(row, x->f->n))
        return 0;
    if (!s->begun)
        label_index_init(&s->groups, m);
    s->begun = true;
    if (row->labels.n <= EDIT_MAX)
        part = labels_part(&row->labels, !x->e->aggregate.without, &x->e->aggregate.grouping, room);
    group = label_index_put(&s->groups, &part);
    r = group < s->n ? 0 : sums_init(x, share_add(s));
    if (r < 0)
        return r;
    add_row(x->op, &s->sums[group], row, x->f->n);
    s->sums[group].drop_name |= row->drop_name;
    if (!row_has_histograms(row, x->f->n))
        return 0;
    s->histograms = true;
    if (x->op == AGG_SUM || x->op == AGG_AVG)
        keep_row(s, m, group, row);
    return 0;
}

/* The groups of all threads, in the order of their first series. */
static void meet(struct summing *x, struct grouping *g, struct share *all)
{
    for (size_t w = 0; w < WORKERS_MAX; w++) {
        struct share *s = &x->shares[w];
        uint32_t *to = xmalloc((s->n + 1) * sizeof *to);

        for (size_t k = 0; k < s->n; k++) {
            size_t at = label_index_put(&g->groups, &s->groups.sets[k]);

            to[k] = (uint32_t)at;
            if (at < all->n) {
                merge_sums(x->op, &all->sums[at], &s->sums[k], x->f->n);
            } else {
                *share_add(all) = s->sums[k];
                s->sums[k] = (struct sums){0};
            }
        }
        for (size_t k = 0; k < s->kept.n; k++) {
            keep_row(all, g->m, to[s->kept_group[k]], &s->kept.rows[k]);
            s->kept.rows[k] = (struct row){0};
        }
        all->histograms |= s->histograms;
        free(to);
    }
}

static void share_done(struct summing *x, struct share *s)
{
    for (size_t k = 0; k < s->n; k++)
        sums_done(x->ev, &s->sums[k], x->f->n);
    free(s->sums);
    free(s->kept_group);
    vector_done(x->ev, &s->kept, x->f->n);
    if (s->begun)
        label_index_done(&s->groups);
}

static int put_groups(struct summing *x, struct grouping *g, struct share *all, struct vector *ret)
{
    for (size_t k = 0; k < all->n; k++) {
        finish(x->op, &all->sums[k], x->f->n);
        vector_push(ret, (struct row){.labels = g->groups.sets[k],
                                      .v = all->sums[k].v,
                                      .drop_name = all->sums[k].drop_name});
        all->sums[k].v = NULL;
    }
    if (!all->histograms)
        return 0;
    if (x->op == AGG_SUM || x->op == AGG_AVG) {
        g->in = all->kept;
        g->group_of = all->kept_group;
        all->kept = (struct vector){0};
        all->kept_group = NULL;
        return aggregate_histograms(g, ret, x->op == AGG_AVG);
    }
    if (x->op != AGG_COUNT && x->op != AGG_GROUP)
        note_ignored(g, aggregate_op_text(x->op));
    return 0;
}

/* From rows that are all there. */
static int sum_rows(struct summing *x, struct mem *m, const struct expr *inner)
{
    struct vector in = {0};
    int r = eval_node(x->ev, m, inner, x->f, &in);

    for (size_t k = 0; k < in.n && r == 0; k++) {
        if (in.rows[k].v == NULL)
            continue;
        r = sum_row(x, m, 0, &in.rows[k]);
        row_done(x->ev, &in.rows[k], x->f->n);
    }
    vector_done(x->ev, &in, x->f->n);
    return r;
}

bool aggregate_is_sum(enum aggregate_op op)
{
    return op == AGG_SUM || op == AGG_AVG || op == AGG_MIN || op == AGG_MAX || op == AGG_COUNT ||
           op == AGG_GROUP || op == AGG_STDDEV || op == AGG_STDVAR;
}

int aggregate_sums(struct grouping *g, const struct expr *inner, struct vector *ret)
{
    enum aggregate_op op = g->e->aggregate.op;
    struct summing x = {.ev = g->ev, .e = g->e, .f = g->f, .op = op};
    struct row_sink sink = {sum_row, &x};
    struct share all = {0};
    bool variance = op == AGG_STDDEV || op == AGG_STDVAR; /* halves of one do not add up exactly */
    int r;

    if (!variance && eval_can_flow(g->ev, inner, g->f))
        r = eval_flow(g->ev, g->m, inner, g->f, &sink);
    else
        r = sum_rows(&x, g->m, inner);
    label_index_init(&g->groups, g->m);
    if (r == 0) {
        meet(&x, g, &all);
        r = put_groups(&x, g, &all, ret);
    }
    for (size_t w = 0; w < WORKERS_MAX; w++)
        share_done(&x, &x.shares[w]);
    share_done(&x, &all);
    return r;
}
