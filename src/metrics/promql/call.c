/* Function calls: who answers which, and all that work value by value. */
#include "metrics/promql/calls.h"
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/labelset.h"
#include "metrics/promql/range.h"

#include <errno.h>
#include <math.h>

/* A result without the metric's name. */
static void drop_name(struct evaluator *ev, struct mem *m, struct row *row)
{
    row->drop_name = true;
    if (ev->ev->eager_names)
        row->labels = labels_bare(m, &row->labels);
}

static int named(struct evaluator *ev, struct mem *m, const struct frame *f, struct vector *v)
{
    for (size_t k = 0; k < v->n; k++)
        drop_name(ev, m, &v->rows[k]);
    vector_compact(ev, v, f->n);
    return ev->ev->eager_names && f->n > 1 ? vector_merge(ev, v, f->n) : 0;
}

typedef double float_fn(double v);

static double fn_rad(double v)
{
    return v * (M_PI / 180);
}

static double fn_deg(double v)
{
    return v * (180 / M_PI);
}

static double fn_sgn(double v)
{
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

static float_fn *const float_fns[FUNCTIONS_COUNT] = {
    [FN_ABS] = fabs,
    [FN_ACOS] = acos,
    [FN_ACOSH] = acosh,
    [FN_ASIN] = asin,
    [FN_ASINH] = asinh,
    [FN_ATAN] = atan,
    [FN_ATANH] = atanh,
    [FN_CEIL] = ceil,
    [FN_COS] = cos,
    [FN_COSH] = cosh,
    [FN_DEG] = fn_deg,
    [FN_EXP] = exp,
    [FN_FLOOR] = floor,
    [FN_LN] = log,
    [FN_LOG10] = go_log10,
    [FN_LOG2] = go_log2,
    [FN_RAD] = fn_rad,
    [FN_SGN] = fn_sgn,
    [FN_SIN] = sin,
    [FN_SINH] = sinh,
    [FN_SQRT] = sqrt,
    [FN_TAN] = tan,
    [FN_TANH] = tanh,
    [FN_DAY_OF_MONTH] = date_day_of_month,
    [FN_DAY_OF_WEEK] = date_day_of_week,
    [FN_DAY_OF_YEAR] = date_day_of_year,
    [FN_DAYS_IN_MONTH] = date_days_in_month,
    [FN_HOUR] = date_hour,
    [FN_MINUTE] = date_minute,
    [FN_MONTH] = date_month,
    [FN_YEAR] = date_year,
};

/* Of time() where no vector is given. */
static int date_now(struct evaluator *ev, float_fn *fn, const struct frame *f, struct vector *ret)
{
    struct row *row = vector_add(ev, ret, f->n);

    if (row == NULL)
        return eval_check(ev);
    for (size_t i = 0; i < f->n && !eval_stops(ev, i); i++)
        row->v[i] = fn((double)(frame_ms(f, i) / 1000));
    return 0;
}

struct mapping {
    struct evaluator *ev;
    float_fn *fn;
    struct vector *rows;
    size_t n;
};

static void map_row(void *ctx, size_t worker, size_t k)
{
    struct mapping *x = ctx;
    struct row *row = &x->rows->rows[k];

    (void)worker;
    row_drop_histograms(x->ev, row, x->n);
    for (size_t i = 0; i < x->n && !eval_stops(x->ev, i); i++)
        if (present(row->v[i]))
            row->v[i] = x->fn(row->v[i]);
}

static int call_floats(struct evaluator *ev, struct mem *m, const struct expr *e,
                       const struct frame *f, struct vector *ret)
{
    struct mapping x = {ev, float_fns[e->call.f->id], ret, f->n};
    int r;

    if (e->call.n_args == 0)
        return date_now(ev, x.fn, f, ret);
    r = eval_node(ev, m, e->call.args[0], f, ret);
    if (r < 0)
        return r;
    cores_run(eval_threads(ret->n, f->n), ret->n, map_row, &x);
    return named(ev, m, f, ret);
}

static double of_histogram(enum function_id fn, const struct histogram *h)
{
    switch (fn) {
    case FN_HISTOGRAM_COUNT:
        return h->count;
    case FN_HISTOGRAM_SUM:
        return h->sum;
    case FN_HISTOGRAM_AVG:
        return h->sum / h->count;
    case FN_HISTOGRAM_STDDEV:
        return sqrt(histogram_variance(h));
    default:
        return histogram_variance(h);
    }
}

static int call_histograms(struct evaluator *ev, struct mem *m, const struct expr *e,
                           const struct frame *f, struct vector *ret)
{
    int r = eval_node(ev, m, e->call.args[0], f, ret);

    for (size_t k = 0; k < ret->n && r == 0; k++) {
        struct row *row = &ret->rows[k];

        for (size_t i = 0; i < f->n; i++)
            row->v[i] = row->h != NULL && row->h[i] != NULL ? of_histogram(e->call.f->id, row->h[i])
                                                            : ABSENT;
        row_drop_histograms(ev, row, f->n);
    }
    return r == 0 ? named(ev, m, f, ret) : r;
}

/* The scalar arguments from the second on; those not given stay NULL. */
static int scalar_args(struct evaluator *ev, struct mem *m, const struct expr *e,
                       const struct frame *f, double *ret[2])
{
    int r = 0;

    for (size_t i = 1; i < e->call.n_args && i <= 2 && r == 0; i++)
        r = eval_scalar(ev, m, e->call.args[i], f, &ret[i - 1]);
    return r;
}

static void clamp_row(struct row *row, const double *min, const double *max, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double low = min != NULL ? min[i] : -INFINITY;
        double high = max != NULL ? max[i] : INFINITY;

        if (high < low)
            row->v[i] = ABSENT;
        else if (present(row->v[i]))
            row->v[i] = go_max(low, go_min(high, row->v[i]));
    }
}

static void round_row(struct row *row, const double *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double inverse = 1 / (to != NULL ? to[i] : 1);

        if (present(row->v[i]))
            row->v[i] = floor(row->v[i] * inverse + 0.5) / inverse;
    }
}

/* clamp, clamp_min, clamp_max, round */
static int call_bounded(struct evaluator *ev, struct mem *m, const struct expr *e,
                        const struct frame *f, struct vector *ret)
{
    enum function_id fn = e->call.f->id;
    double *args[2] = {NULL, NULL};
    int r = eval_node(ev, m, e->call.args[0], f, ret);

    if (r == 0)
        r = scalar_args(ev, m, e, f, args);
    for (size_t k = 0; k < ret->n && r == 0; k++) {
        struct row *row = &ret->rows[k];

        row_drop_histograms(ev, row, f->n);
        if (fn == FN_ROUND)
            round_row(row, args[0], f->n);
        else if (fn == FN_CLAMP_MAX)
            clamp_row(row, NULL, args[0], f->n);
        else
            clamp_row(row, args[0], args[1], f->n);
    }
    for (int i = 0; i < 2; i++)
        if (args[i] != NULL)
            cells_free(ev, args[i], f->n);
    return r == 0 ? named(ev, m, f, ret) : r;
}

/* scalar(): the one float there is, else NaN. */
static int call_scalar(struct evaluator *ev, struct mem *m, const struct expr *e,
                       const struct frame *f, struct vector *ret)
{
    struct vector v = {0};
    int r = eval_node(ev, m, e->call.args[0], f, &v);
    struct row *row = r == 0 ? vector_add(ev, ret, f->n) : NULL;

    for (size_t i = 0; i < f->n && row != NULL; i++) {
        size_t found = 0;

        row->v[i] = NAN;
        for (size_t k = 0; k < v.n; k++)
            if (present(v.rows[k].v[i]))
                row->v[i] = ++found == 1 ? v.rows[k].v[i] : NAN;
    }
    vector_done(ev, &v, f->n);
    return r < 0 ? r : eval_check(ev);
}

/* vector(), time(), pi(), max_of(), min_of(): one row without labels. */
static int call_plain(struct evaluator *ev, struct mem *m, const struct expr *e,
                      const struct frame *f, struct vector *ret)
{
    enum function_id fn = e->call.f->id;
    double *args[2] = {NULL, NULL};
    struct row *row;
    int r = 0;

    for (size_t i = 0; i < e->call.n_args && i < 2 && r == 0; i++)
        r = eval_scalar(ev, m, e->call.args[i], f, &args[i]);
    row = r == 0 ? vector_add(ev, ret, f->n) : NULL;
    for (size_t i = 0; i < f->n && row != NULL; i++)
        row->v[i] = fn == FN_TIME     ? (double)frame_ms(f, i) / 1000
                    : fn == FN_PI     ? M_PI
                    : fn == FN_VECTOR ? args[0][i]
                    : fn == FN_MAX_OF ? go_max(args[0][i], args[1][i])
                                      : go_min(args[0][i], args[1][i]);
    for (int i = 0; i < 2; i++)
        if (args[i] != NULL)
            cells_free(ev, args[i], f->n);
    return r < 0 ? r : eval_check(ev);
}

/* Of a selector: the time of each sample; of anything else: the moment itself. And since when the
 * samples of a selector count, of which nothing else tells. */
static int call_timestamp(struct evaluator *ev, struct mem *m, const struct expr *e,
                          const struct frame *f, struct vector *ret)
{
    const struct expr *arg = expr_bare(e->call.args[0]);
    bool samples = arg->kind == EXPR_SELECTOR && !arg->step_invariant;
    bool starts = e->call.f->id == FN_START_TIMESTAMP;
    int r;

    if (starts && (arg->kind != EXPR_SELECTOR || ev->ev->ignore_starts))
        return 0;
    if (arg->kind == EXPR_SELECTOR) {
        struct look look = look_of(&arg->selector->moment);

        samples = true;
        r = select_rows(ev, arg->selector->matchers, arg->selector->n_matchers, &look,
                        starts ? SELECT_STARTS : SELECT_TIMES, f, ret);
    } else {
        r = eval_node(ev, m, arg, f, ret);
    }
    for (size_t k = 0; k < ret->n && r == 0; k++) {
        struct row *row = &ret->rows[k];

        for (size_t i = 0; i < f->n; i++)
            if (row_has(row, i))
                row->v[i] = (samples ? row->v[i] : (double)frame_ms(f, i)) / 1000;
        row_drop_histograms(ev, row, f->n);
    }
    return r == 0 ? named(ev, m, f, ret) : r;
}

static call_fn *find_call(enum function_id fn)
{
    static call_fn *const calls[FUNCTIONS_COUNT] = {
        [FN_ABSENT] = call_absent,
        [FN_CLAMP] = call_bounded,
        [FN_CLAMP_MAX] = call_bounded,
        [FN_CLAMP_MIN] = call_bounded,
        [FN_HISTOGRAM_AVG] = call_histograms,
        [FN_HISTOGRAM_COUNT] = call_histograms,
        [FN_HISTOGRAM_FRACTION] = call_histogram_fraction,
        [FN_HISTOGRAM_QUANTILE] = call_histogram_quantile,
        [FN_HISTOGRAM_QUANTILES] = call_histogram_quantiles,
        [FN_HISTOGRAM_STDDEV] = call_histograms,
        [FN_HISTOGRAM_STDVAR] = call_histograms,
        [FN_HISTOGRAM_SUM] = call_histograms,
        [FN_INFO] = call_info,
        [FN_LABEL_JOIN] = call_label_join,
        [FN_LABEL_REPLACE] = call_label_replace,
        [FN_MAX_OF] = call_plain,
        [FN_MIN_OF] = call_plain,
        [FN_PI] = call_plain,
        [FN_ROUND] = call_bounded,
        [FN_SCALAR] = call_scalar,
        [FN_SORT] = call_sort,
        [FN_SORT_BY_LABEL] = call_sort,
        [FN_SORT_BY_LABEL_DESC] = call_sort,
        [FN_SORT_DESC] = call_sort,
        [FN_START_TIMESTAMP] = call_timestamp,
        [FN_TIME] = call_plain,
        [FN_TIMESTAMP] = call_timestamp,
        [FN_VECTOR] = call_plain,
    };

    return float_fns[fn] != NULL ? call_floats : calls[fn];
}

int eval_call(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              struct vector *ret)
{
    enum function_id fn = e->call.f->id;
    call_fn *call;

    for (size_t i = 0; i < e->call.n_args; i++)
        if (e->call.args[i]->type == VALUE_MATRIX)
            return eval_range_call(ev, m, e, i, f, ret);
    call = find_call(fn);
    if (call != NULL)
        return call(ev, m, e, f, ret);
    return eval_fail(ev, "function \"%s\" has no value here", e->call.f->name);
}
