/* histogram_quantile(), histogram_quantiles() and histogram_fraction(): of classic histograms,
 * which are several series, and of native ones. */
#include "metrics/promql/buckets.h"
#include "metrics/promql/calls.h"
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/labelset.h"
#include "metrics/promql/notes.h"

#include "base/alloc.h"
#include "base/shim.h"

#include <math.h>
#include <stdlib.h>

struct edge {
    double upper;
    uint32_t row, group;
};

/* The input taken apart. */
struct histograms {
    struct evaluator *ev;
    struct mem *m;
    const struct frame *f;
    struct span at;
    struct vector in;
    struct label_index groups; /* labels without le; of native ones: all */
    struct edge *edges;        /* by group, then by upper bound */
    size_t n_edges;
    size_t *first; /* of a group: its edges */
    struct bucket *room;
};

static int by_group(const void *a, const void *b)
{
    const struct edge *x = a;
    const struct edge *y = b;

    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->upper != y->upper)
        return x->upper < y->upper ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static bool has_floats(const struct row *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (present(row->v[i]))
            return true;
    return false;
}

static void note_bad_label(struct histograms *h, const struct row *row, struct slice le)
{
    struct slice name = labels_get(&row->labels, LABEL_NAME);
    autobuf value = {0};
    autobuf quoted = {0};

    quote_go(&value, le);
    if (name.len > 0 && !h->ev->ev->eager_names) {
        buf_add_str(&quoted, " for metric name ");
        quote_go(&quoted, name);
    }
    note_add(h->ev, NOTE_WARNING, h->at,
             "bucket label \"le\" is missing or has a malformed value of %s%s", value.data,
             quoted.data != NULL ? quoted.data : "");
}

static void add_edge(struct histograms *h, uint32_t k)
{
    const struct names le_name = {(struct slice[]){SLICE("le")}, 1};
    const struct row *row = &h->in.rows[k];
    struct slice le = labels_get(&row->labels, SLICE("le"));
    struct label_edit edit;
    double upper = 0;

    if (double_parse(le, &upper) < 0 || isnan(upper)) {
        note_bad_label(h, row, le);
        return;
    }
    edit_init(&edit, &row->labels);
    edit_drop(&edit, &le_name);
    h->edges[h->n_edges++] =
        (struct edge){upper, k, (uint32_t)label_index_put(&h->groups, &edit.labels)};
}

static void histograms_init(struct histograms *h)
{
    label_index_init(&h->groups, h->m);
    h->edges = xmalloc((h->in.n + 1) * sizeof *h->edges);
    for (size_t k = 0; k < h->in.n; k++)
        if (has_floats(&h->in.rows[k], h->f->n))
            add_edge(h, (uint32_t)k);
    qsort(h->edges, h->n_edges, sizeof *h->edges, by_group);
    h->first = xcalloc(h->groups.n + 2, sizeof *h->first);
    for (size_t k = 0; k < h->n_edges; k++)
        h->first[h->edges[k].group + 1] = k + 1;
    h->room = xmalloc((h->n_edges + 1) * sizeof *h->room);
}

static void histograms_done(struct histograms *h)
{
    label_index_done(&h->groups);
    free(h->edges);
    free(h->first);
    free(h->room);
    vector_done(h->ev, &h->in, h->f->n);
}

/* The buckets of a classic histogram at a step, in h->room. */
static size_t buckets_at(struct histograms *h, size_t group, size_t i)
{
    size_t n = 0;

    for (size_t k = h->first[group]; k < h->first[group + 1]; k++) {
        double v = h->in.rows[h->edges[k].row].v[i];

        if (present(v))
            h->room[n++] = (struct bucket){h->edges[k].upper, v};
    }
    return n;
}

/* The function at hand, of one step. */
struct asked {
    bool fraction;
    const double *a, *b;       /* quantile: a; fraction: from a to b */
    struct slice label, value; /* histogram_quantiles: what tells the rows apart */
};

static double of_buckets(struct histograms *h, const struct asked *q, const struct labels *labels,
                         size_t n, size_t i)
{
    struct mended mended;
    double v;

    if (q->fraction)
        return buckets_fraction(q->a[i], q->b[i], h->room, n);
    v = buckets_quantile(q->a[i], h->room, n, &mended);
    if (mended.forced)
        note_monotonicity(h->ev, h->at,
                          h->ev->ev->eager_names ? SLICE("") : labels_get(labels, LABEL_NAME),
                          frame_ms(h->f, i), mended.lowest, mended.highest, mended.max_diff);
    return v;
}

static const char *const nan_texts[] = {
    [HISTOGRAM_NAN_RESULT] = "input to histogram_quantile has NaN observations, result is NaN",
    [HISTOGRAM_NAN_SKEW] =
        "input to histogram_quantile has NaN observations, result is skewed higher",
    [HISTOGRAM_NAN_FRACTION] = "input to histogram_fraction has NaN observations, which are "
                               "excluded from all fractions",
};

static double of_native(struct histograms *h, const struct asked *q, const struct row *row,
                        size_t i)
{
    enum histogram_nan odd = HISTOGRAM_NAN_NONE;
    double v = q->fraction ? histogram_fraction(q->a[i], q->b[i], row->h[i], &odd)
                           : histogram_quantile(q->a[i], row->h[i], &odd);
    struct slice name = labels_get(&row->labels, LABEL_NAME);
    autobuf quoted = {0};

    if (odd == HISTOGRAM_NAN_NONE)
        return v;
    if (name.len > 0) {
        buf_add_str(&quoted, " for metric name ");
        quote_go(&quoted, name);
    }
    note_add(h->ev, NOTE_INFO, h->at, "%s%s", nan_texts[odd],
             quoted.data != NULL ? quoted.data : "");
    return v;
}

static int put_labels(struct histograms *h, const struct asked *q, const struct labels *labels,
                      struct row *row)
{
    struct label_edit edit;

    edit_init(&edit, labels);
    if (h->ev->ev->eager_names)
        edit_drop_metadata(&edit);
    if (q->label.len > 0)
        edit_set(&edit, q->label, q->value);
    if (edit.overflown)
        return eval_fail(h->ev, "too many labels");
    row->labels = mem_labels(h->m, &edit.labels);
    row->drop_name = true;
    return 0;
}

static void note_both(struct histograms *h, const struct labels *labels)
{
    struct slice name = labels_get(labels, LABEL_NAME);
    autobuf quoted = {0};

    if (name.len > 0 && !h->ev->ev->eager_names) {
        buf_add_str(&quoted, " for metric name ");
        quote_go(&quoted, name);
    }
    note_add(h->ev, NOTE_WARNING, h->at, "vector contains a mix of classic and native histograms%s",
             quoted.data != NULL ? quoted.data : "");
}

/* The native histogram that goes by the labels of a classic one. */
static const struct row *same_native(const struct histograms *h, const struct labels *labels)
{
    for (size_t k = 0; k < h->in.n; k++)
        if (h->in.rows[k].h != NULL && labels_eq(&h->in.rows[k].labels, labels))
            return &h->in.rows[k];
    return NULL;
}

static int put_native(struct histograms *h, const struct asked *q, size_t k, struct vector *ret)
{
    const struct row *in = &h->in.rows[k];
    struct row *row;
    size_t group = 0;
    int r;

    if (in->h == NULL)
        return 0;
    while (group < h->groups.n && !labels_eq(&h->groups.sets[group], &in->labels))
        group++;
    row = vector_add(h->ev, ret, h->f->n);
    if (row == NULL)
        return eval_check(h->ev);
    r = put_labels(h, q, &in->labels, row);
    for (size_t i = 0; i < h->f->n && r == 0; i++) {
        if (in->h[i] == NULL)
            continue;
        if (group < h->groups.n && buckets_at(h, group, i) > 0)
            note_both(h, &in->labels);
        else
            row->v[i] = of_native(h, q, in, i);
    }
    return r;
}

static int put_classic(struct histograms *h, const struct asked *q, size_t group,
                       struct vector *ret)
{
    const struct labels *labels = &h->groups.sets[group];
    const struct row *native = same_native(h, labels);
    struct row *row = vector_add(h->ev, ret, h->f->n);
    int r;

    if (row == NULL)
        return eval_check(h->ev);
    r = put_labels(h, q, labels, row);
    for (size_t i = 0; i < h->f->n && r == 0; i++) {
        size_t n = buckets_at(h, group, i);

        if (n > 0 && !(native != NULL && native->h[i] != NULL))
            row->v[i] = of_buckets(h, q, labels, n, i);
    }
    return r;
}

static int put_all(struct histograms *h, const struct asked *q, struct vector *ret)
{
    int r = 0;

    for (size_t k = 0; k < h->in.n && r == 0; k++)
        r = put_native(h, q, k, ret);
    for (size_t k = 0; k < h->groups.n && r == 0; k++) {
        r = put_classic(h, q, k, ret);
        if (r == 0)
            r = eval_check(h->ev);
    }
    return r;
}

static int begin(struct histograms *h, const struct expr *e, size_t arg)
{
    const struct expr *in = expr_bare(e->call.args[arg]);
    int r = eval_node(h->ev, h->m, in, h->f, &h->in);

    h->at = in->at;
    if (r == 0)
        vector_compact(h->ev, &h->in, h->f->n);
    histograms_init(h);
    return r;
}

static int end(struct histograms *h, int r, struct vector *ret)
{
    struct evaluator *ev = h->ev;
    size_t n = h->f->n;

    histograms_done(h);
    if (r < 0)
        return r;
    vector_compact(ev, ret, n);
    return n > 1 ? vector_merge(ev, ret, n) : 0;
}

static void note_quantiles(struct evaluator *ev, const struct expr *arg, const double *q, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((isnan(q[i]) || q[i] < 0 || q[i] > 1) &&
            (i == 0 || double_bits(q[i]) != double_bits(q[i - 1])))
            note_bad_quantile(ev, expr_bare((struct expr *)(uintptr_t)arg)->at, q[i]);
}

int call_histogram_quantile(struct evaluator *ev, struct mem *m, const struct expr *e,
                            const struct frame *f, struct vector *ret)
{
    struct histograms h = {.ev = ev, .m = m, .f = f};
    struct asked q = {0};
    double *phi = NULL;
    int r = eval_scalar(ev, m, e->call.args[0], f, &phi);

    if (r < 0)
        return r;
    note_quantiles(ev, e->call.args[0], phi, f->n);
    q.a = phi;
    r = begin(&h, e, 1);
    if (r == 0)
        r = put_all(&h, &q, ret);
    cells_free(ev, phi, f->n);
    return end(&h, r, ret);
}

int call_histogram_quantiles(struct evaluator *ev, struct mem *m, const struct expr *e,
                             const struct frame *f, struct vector *ret)
{
    struct histograms h = {.ev = ev, .m = m, .f = f};
    struct asked q = {.label = expr_bare(e->call.args[1])->string};
    int r = begin(&h, e, 0);

    for (size_t k = 2; k < e->call.n_args && r == 0; k++) {
        char text[GO_TEXT_MAX];
        double *phi = NULL;

        r = eval_scalar(ev, m, e->call.args[k], f, &phi);
        if (r < 0)
            break;
        note_quantiles(ev, e->call.args[k], phi, f->n);
        q.a = phi;
        q.value = mem_slice(m, slice_str(go_metric(phi[0], text)));
        r = put_all(&h, &q, ret);
        cells_free(ev, phi, f->n);
    }
    return end(&h, r, ret);
}

int call_histogram_fraction(struct evaluator *ev, struct mem *m, const struct expr *e,
                            const struct frame *f, struct vector *ret)
{
    struct histograms h = {.ev = ev, .m = m, .f = f};
    struct asked q = {.fraction = true};
    double *bounds[2] = {NULL, NULL};
    int r = eval_scalar(ev, m, e->call.args[0], f, &bounds[0]);

    if (r == 0)
        r = eval_scalar(ev, m, e->call.args[1], f, &bounds[1]);
    if (r == 0) {
        q.a = bounds[0];
        q.b = bounds[1];
        r = begin(&h, e, 2);
        if (r == 0)
            r = put_all(&h, &q, ret);
        r = end(&h, r, ret);
    }
    for (int i = 0; i < 2; i++)
        if (bounds[i] != NULL)
            cells_free(ev, bounds[i], f->n);
    return r;
}
