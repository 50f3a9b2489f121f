/* Aggregations that pick rows, and count_values. */
#include "metrics/promql/aggregate.h"
#include "metrics/promql/histogram_math.h"

#include "base/alloc.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>

/* The best of a group so far: as a binary heap the worst is the first. */
struct pick {
    double v;
    uint32_t row;
};
struct picks {
    struct pick *items;
    size_t n, cap;
};

/* In the heap's order; NaN is before all. */
static bool pick_before(const struct pick *a, const struct pick *b, bool reverse)
{
    if (isnan(a->v))
        return true;
    return reverse ? a->v > b->v : a->v < b->v;
}

static void swap_picks(struct pick *a, struct pick *b)
{
    struct pick t = *a;

    *a = *b;
    *b = t;
}

static void sift_down(struct picks *p, bool reverse)
{
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= p->n)
            return;
        if (child + 1 < p->n && pick_before(&p->items[child + 1], &p->items[child], reverse))
            child++;
        if (!pick_before(&p->items[child], &p->items[i], reverse))
            return;
        swap_picks(&p->items[i], &p->items[child]);
        i = child;
    }
}

static void push_pick(struct picks *p, struct pick pick, bool reverse)
{
    size_t i = p->n++;

    if (p->n > p->cap) {
        p->cap = p->cap == 0 ? 8 : 2 * p->cap;
        p->items = xrealloc(p->items, p->cap * sizeof *p->items);
    }
    p->items[i] = pick;
    while (i > 0) {
        size_t parent = (i - 1) / 2;

        if (!pick_before(&p->items[i], &p->items[parent], reverse))
            return;
        swap_picks(&p->items[i], &p->items[parent]);
        i = parent;
    }
}

static int best_first(const void *a, const void *b)
{
    const struct pick *x = a;
    const struct pick *y = b;

    if (isnan(x->v) || isnan(y->v))
        return isnan(x->v) ? (isnan(y->v) ? 0 : 1) : -1;
    return x->v > y->v ? -1 : x->v < y->v;
}

static int worst_first(const void *a, const void *b)
{
    const struct pick *x = a;
    const struct pick *y = b;

    if (isnan(x->v) || isnan(y->v))
        return best_first(a, b);
    return -best_first(a, b);
}

struct picking {
    struct grouping *g;
    struct picks *groups;
    size_t step;
    double param;
    size_t k;
    const double *offsets; /* limit_ratio: of each row, its place in [0, 1) */
};

static bool in_ratio(double ratio, double offset)
{
    return ratio >= 0 ? offset < ratio : offset >= 1 + ratio;
}

/* Offers one row's value to its group. */
static void offer(struct picking *x, uint32_t row, double v, const struct histogram *h)
{
    enum aggregate_op op = x->g->e->aggregate.op;
    struct picks *p = &x->groups[x->g->group_of[row]];
    bool reverse = op == AGG_BOTTOMK;

    if (op == AGG_LIMIT_RATIO) {
        double ratio = x->param < -1 ? -1 : x->param > 1 ? 1 : x->param;

        if (in_ratio(ratio, x->offsets[row]))
            push_pick(p, (struct pick){v, row}, false);
    } else if (op == AGG_LIMITK) {
        if (p->n < x->k)
            push_pick(p, (struct pick){v, row}, false);
    } else if (h != NULL) {
        note_add(x->g->ev, NOTE_INFO, x->g->e->at, "ignored histogram in %s aggregation",
                 aggregate_op_text(op));
    } else if (p->n < x->k) {
        push_pick(p, (struct pick){v, row}, reverse);
    } else if ((reverse ? p->items[0].v > v : p->items[0].v < v) ||
               (isnan(p->items[0].v) && !isnan(v))) {
        p->items[0] = (struct pick){v, row};
        sift_down(p, reverse);
    }
}

/* Cells without a value have no number to compare: a histogram's is 0, as in Prometheus. */
static void pick_step(struct picking *x)
{
    struct grouping *g = x->g;

    for (size_t k = 0; k < g->groups.n; k++)
        x->groups[k].n = 0;
    for (size_t k = 0; k < g->in.n; k++) {
        const struct row *row = &g->in.rows[k];
        const struct histogram *h = row->h != NULL ? row->h[x->step] : NULL;

        if (h != NULL || present(row->v[x->step]))
            offer(x, (uint32_t)k, h != NULL ? 0 : row->v[x->step], h);
    }
    for (size_t k = 0; k < g->groups.n; k++) {
        struct picks *p = &x->groups[k];

        if (p->n < 2)
            continue;
        if (g->e->aggregate.op == AGG_TOPK)
            qsort(p->items, p->n, sizeof *p->items, best_first);
        else if (g->e->aggregate.op == AGG_BOTTOMK)
            qsort(p->items, p->n, sizeof *p->items, worst_first);
    }
}

static int put_pick(struct grouping *g, size_t step, uint32_t number, struct row *out)
{
    const struct row *row = &g->in.rows[number];

    if (out->v == NULL) {
        out->v = cells_new(g->ev, g->f->n);
        if (out->v == NULL)
            return eval_check(g->ev);
        out->labels = row->labels;
        out->drop_name = row->drop_name;
    }
    out->v[step] = row->v[step];
    if (row->h == NULL || row->h[step] == NULL)
        return 0;
    if (out->h == NULL)
        out->h = cells_histograms(g->ev, g->f->n);
    out->h[step] = row->h[step];
    return 0;
}

/* An instant keeps the order of the picks; over a range it is the rows that count. */
static int take_picks(struct picking *x, struct vector *ret)
{
    struct grouping *g = x->g;

    for (size_t k = 0; k < g->groups.n; k++)
        for (size_t j = 0; j < x->groups[k].n; j++) {
            uint32_t number = x->groups[k].items[j].row;
            int r;

            if (g->f->n == 1)
                vector_push(ret, (struct row){0});
            r = put_pick(g, x->step, number, &ret->rows[g->f->n == 1 ? ret->n - 1 : number]);
            if (r < 0)
                return r;
        }
    return 0;
}

/* False: there is nothing to pick. */
static bool check_k(struct grouping *g, int *ret_r)
{
    struct param_range p = param_range(g);
    char text[GO_TEXT_MAX];

    *ret_r = 0;
    if (p.max < 1)
        return false;
    if (p.nan)
        *ret_r = eval_fail(g->ev, "Parameter value is NaN");
    else if (p.min <= -9223372036854775808.0)
        *ret_r = eval_fail(g->ev, "Scalar value %s underflows int64", go_g(p.min, text));
    else if (p.max >= 9223372036854774784.0)
        *ret_r = eval_fail(g->ev, "Scalar value %s overflows int64", go_g(p.max, text));
    return *ret_r == 0;
}

static bool check_ratio(struct grouping *g, int *ret_r)
{
    struct param_range p = param_range(g);
    struct span at = expr_bare(g->e->aggregate.param)->at;
    char text[GO_TEXT_MAX];

    *ret_r = 0;
    if (p.max == 0 && p.min == 0)
        return false;
    if (p.nan)
        *ret_r = eval_fail(g->ev, "Ratio value is NaN");
    if (p.max > 1)
        note_add(g->ev, NOTE_WARNING, at,
                 "ratio value should be between -1 and 1, got %s, capping to 1", go_g(p.max, text));
    if (p.min < -1)
        note_add(g->ev, NOTE_WARNING, at,
                 "ratio value should be between -1 and 1, got %s, capping to -1",
                 go_g(p.min, text));
    return *ret_r == 0;
}

static double *ratio_offsets(const struct grouping *g)
{
    double *offsets = xmalloc((g->in.n + 1) * sizeof *offsets);

    for (size_t k = 0; k < g->in.n; k++)
        offsets[k] = (double)labels_xxhash(&g->in.rows[k].labels) / 18446744073709551615.0;
    return offsets;
}

int aggregate_topk(struct grouping *g, struct vector *ret)
{
    bool ratio = g->e->aggregate.op == AGG_LIMIT_RATIO;
    struct picking x = {.g = g};
    double *offsets = NULL;
    int r = 0;

    if (!(ratio ? check_ratio(g, &r) : check_k(g, &r)))
        return r;
    if (ratio)
        x.offsets = offsets = ratio_offsets(g);
    x.groups = xcalloc(g->groups.n + 1, sizeof *x.groups);
    for (size_t k = 0; k < g->in.n && g->f->n > 1; k++)
        vector_push(ret, (struct row){0});
    for (x.step = 0; x.step < g->f->n && r == 0; x.step++) {
        x.param = g->param[x.step];
        x.k = x.param >= 1 ? (x.param < (double)g->in.n ? (size_t)x.param : g->in.n) : 0;
        if (ratio ? x.param == 0 : x.k < 1)
            continue;
        pick_step(&x);
        r = take_picks(&x, ret);
        if (r == 0)
            r = eval_check(g->ev);
    }
    for (size_t k = 0; k < g->groups.n; k++)
        free(x.groups[k].items);
    free(x.groups);
    free(offsets);
    return r;
}

/* The group of a row whose value is a label. */
static int value_group(struct grouping *g, struct label_index *groups, const struct row *row,
                       size_t step, size_t *ret)
{
    const struct expr *e = g->e;
    struct slice name = expr_bare(e->aggregate.param)->string;
    const struct histogram *h = row->h != NULL ? row->h[step] : NULL;
    struct names names = e->aggregate.grouping;
    struct slice listed[EDIT_MAX];
    struct label room[EDIT_MAX];
    struct label_edit edit;
    char number[GO_TEXT_MAX];
    autobuf text = {0};
    struct labels part;

    if (h != NULL)
        histogram_print(&text, h);
    else
        buf_add_str(&text, go_f(row->v[step], number));
    edit_init(&edit, &row->labels);
    edit_set(&edit, name, mem_slice(g->m, buf_slice(&text)));
    if (!e->aggregate.without && names.n < EDIT_MAX) {
        if (names.n > 0)
            memcpy(listed, names.items, names.n * sizeof *listed);
        listed[names.n] = name;
        names = (struct names){listed, names.n + 1};
    }
    if (edit.overflown || names.n >= EDIT_MAX)
        return eval_fail(g->ev, "too many labels");
    part = labels_part(&edit.labels, !e->aggregate.without, &names, room);
    *ret = label_index_put(groups, &part);
    return 0;
}

static int count_row(struct grouping *g, struct label_index *groups, const struct row *row,
                     struct vector *ret)
{
    size_t at = 0;
    size_t known = SIZE_MAX; /* step that `at` is of */

    for (size_t i = 0; i < g->f->n; i++) {
        bool same = known != SIZE_MAX && row->h == NULL &&
                    double_bits(row->v[i]) == double_bits(row->v[known]);
        int r = 0;

        if (i % 1024 == 1023 && eval_check(g->ev) < 0) /* a text for each value takes its time */
            return eval_check(g->ev);
        if (!row_has(row, i))
            continue;
        if (!same)
            r = value_group(g, groups, row, i, &at);
        if (r == 0 && at == ret->n && vector_add(g->ev, ret, g->f->n) == NULL)
            r = eval_check(g->ev);
        if (r < 0)
            return r;
        known = i;
        ret->rows[at].labels = groups->sets[at];
        ret->rows[at].v[i] = present(ret->rows[at].v[i]) ? ret->rows[at].v[i] + 1 : 1;
    }
    return 0;
}

int aggregate_count_values(struct grouping *g, struct vector *ret)
{
    struct slice name = expr_bare(g->e->aggregate.param)->string;
    struct label_index groups;
    autobuf quoted = {0};
    int r = 0;

    if (name.len == 0 || !utf8_valid(name)) {
        quote_go(&quoted, name);
        return eval_fail(g->ev, "invalid label name %s", quoted.data);
    }
    label_index_init(&groups, g->m);
    for (size_t k = 0; k < g->in.n && r == 0; k++) {
        r = count_row(g, &groups, &g->in.rows[k], ret);
        if (r == 0)
            r = eval_check(g->ev);
    }
    label_index_done(&groups);
    return r;
}
