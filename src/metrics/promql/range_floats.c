/* Functions over ranges that look at floats alone. */
#include "metrics/promql/range.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    if (isnan(x) || isnan(y))
        return isnan(x) ? (isnan(y) ? 0 : -1) : 1;
    return x < y ? -1 : x > y;
}

double quantile_of(double q, double *values, size_t n)
{
    double rank;
    double lower;
    double upper;
    double weight;

    if (n == 0 || isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    qsort(values, n, sizeof *values, by_value);
    rank = q * (double)(n - 1);
    lower = floor(rank) > 0 ? floor(rank) : 0;
    upper = lower + 1 < (double)(n - 1) ? lower + 1 : (double)(n - 1);
    weight = rank - floor(rank);
    if (weight == 0)
        return values[(size_t)lower];
    return values[(size_t)lower] * (1 - weight) + values[(size_t)upper] * weight;
}

/* One window of at least one float; false: no result. */
typedef bool kernel(struct range_work *w, size_t i, const double *v, const int64_t *ts, size_t n,
                    double *ret);

static bool kernel_ts_of_max(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                             size_t n, double *ret)
{
    size_t at = 0;

    (void)w, (void)i;
    for (size_t k = 0; k < n; k++)
        if (v[k] >= v[at] || isnan(v[at]))
            at = k;
    *ret = (double)ts[at] / 1000;
    return true;
}

static bool kernel_ts_of_min(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                             size_t n, double *ret)
{
    size_t at = 0;

    (void)w, (void)i;
    for (size_t k = 0; k < n; k++)
        if (v[k] <= v[at] || isnan(v[at]))
            at = k;
    *ret = (double)ts[at] / 1000;
    return true;
}

static bool kernel_quantile(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                            size_t n, double *ret)
{
    double q = w->c->scalars[0][i];
    double *values = range_scratch(w, n);

    (void)ts;
    if (isnan(q) || q < 0 || q > 1)
        note_bad_quantile(w->c->ev, w->c->strategy, q);
    memcpy(values, v, n * sizeof *v);
    *ret = quantile_of(q, values, n);
    return true;
}

static bool kernel_mad(struct range_work *w, size_t i, const double *v, const int64_t *ts, size_t n,
                       double *ret)
{
    double *values = range_scratch(w, n);
    double median;

    (void)i, (void)ts;
    *ret = NAN;
    for (size_t k = 0; k < n; k++) {
        if (isnan(v[k]))
            return true;
        values[k] = v[k];
    }
    median = quantile_of(0.5, values, n);
    for (size_t k = 0; k < n; k++)
        values[k] = fabs(values[k] - median);
    *ret = quantile_of(0.5, values, n);
    return true;
}

static bool kernel_stdvar(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                          size_t n, double *ret)
{
    double mean = 0;
    double mean_c = 0;
    double aux = 0;
    double aux_c = 0;

    (void)w, (void)i, (void)ts;
    for (size_t k = 0; k < n; k++) {
        double delta = v[k] - (mean + mean_c);

        kahan_add(delta / (double)(k + 1), &mean, &mean_c);
        kahan_add(delta * (v[k] - (mean + mean_c)), &aux, &aux_c);
    }
    *ret = (aux + aux_c) / (double)n;
    return true;
}

struct line {
    double slope, intercept;
};

/* Least squares, relative to a moment. */
static struct line regression(const double *v, const int64_t *ts, size_t n, int64_t origin_ms)
{
    double x = 0, cx = 0, y = 0, cy = 0, xy = 0, cxy = 0, x2 = 0, cx2 = 0;
    double count = (double)n;
    bool constant = true;
    struct line line;

    for (size_t k = 0; k < n; k++) {
        double t = (double)(ts[k] - origin_ms) / 1e3;

        constant = constant && (k == 0 || v[k] == v[0]);
        kahan_add(t, &x, &cx);
        kahan_add(v[k], &y, &cy);
        kahan_add(t * v[k], &xy, &cxy);
        kahan_add(t * t, &x2, &cx2);
    }
    if (constant)
        return isinf(v[0]) ? (struct line){NAN, NAN} : (struct line){0, v[0]};
    x += cx;
    y += cy;
    xy += cxy;
    x2 += cx2;
    line.slope = (xy - x * y / count) / (x2 - x * x / count);
    line.intercept = y / count - line.slope * x / count;
    return line;
}

static bool kernel_deriv(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                         size_t n, double *ret)
{
    (void)w, (void)i;
    if (n < 2)
        return false;
    *ret = regression(v, ts, n, ts[0]).slope;
    return true;
}

static bool kernel_predict(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                           size_t n, double *ret)
{
    struct line line;

    if (n < 2)
        return false;
    line = regression(v, ts, n, frame_ms(w->c->f, i));
    *ret = line.slope * w->c->scalars[0][i] + line.intercept;
    return true;
}

static bool kernel_smoothing(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                             size_t n, double *ret)
{
    double sf = w->c->scalars[0][i];
    double tf = w->c->scalars[1][i];
    double s0 = 0;
    double s1 = v[0];
    double b;

    (void)ts;
    if (sf <= 0 || sf >= 1)
        eval_fail(w->c->ev, "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
    else if (tf <= 0 || tf >= 1)
        eval_fail(w->c->ev, "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
    if (n < 2)
        return false;
    b = v[1] - v[0];
    for (size_t k = 1; k < n; k++) {
        double x = sf * v[k];
        double y;

        if (k > 1)
            b = tf * (s1 - s0) + (1 - tf) * b;
        y = (1 - sf) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    *ret = s1;
    return true;
}

enum { INTEGRAL_LEFT, INTEGRAL_RIGHT, INTEGRAL_TRAPEZOID };

static int integral_strategy(struct range_work *w, size_t i)
{
    char text[GO_TEXT_MAX];
    double s = w->c->scalars[0] != NULL ? w->c->scalars[0][i] : INTEGRAL_TRAPEZOID;

    if (s == 0 || s == 1 || s == 2)
        return (int)s;
    note_add(w->c->ev, NOTE_WARNING, w->c->strategy,
             "strategy should be 0, 1, or 2 (default), using 2, got %s", go_g(s, text));
    return INTEGRAL_TRAPEZOID;
}

/* The height over one interval, and what was lost in rounding it. */
static double trapezoid(double before, double now, double *ret_c)
{
    double sum = before;

    *ret_c = 0;
    if (before == 0 && now == 0)
        return 0;
    kahan_add(now, &sum, ret_c);
    if (isinf(sum) && !isinf(now) && !isinf(before)) {
        sum = before / 2;
        *ret_c = 0;
        kahan_add(now / 2, &sum, ret_c);
        return sum;
    }
    *ret_c /= 2;
    return sum / 2;
}

static bool kernel_integral(struct range_work *w, size_t i, const double *v, const int64_t *ts,
                            size_t n, double *ret)
{
    int strategy = integral_strategy(w, i);
    double sum = 0;
    double c = 0;

    for (size_t k = 1; k < n; k++) {
        double before = isnan(v[k - 1]) ? 0 : v[k - 1];
        double now = isnan(v[k]) ? 0 : v[k];
        double height_c = 0;
        double height = strategy == INTEGRAL_LEFT    ? before
                        : strategy == INTEGRAL_RIGHT ? now
                                                     : trapezoid(before, now, &height_c);
        double seconds = (double)(ts[k] - ts[k - 1]) / 1000;

        if (height == 0 && height_c == 0)
            continue;
        c += height_c * seconds;
        kahan_add(height * seconds, &sum, &c);
    }
    *ret = isinf(sum) ? sum : sum + c;
    return true;
}

/* Histograms among the floats are told of and passed over. */
static void run_kernel(struct range_work *w, kernel *k)
{
    const struct readings *s = &w->s;

    for (size_t i = 0; i < w->c->f->n; i++) {
        size_t n = floats_in(w, i);
        double v;

        if (n == 0)
            continue;
        if (range_stops(w, i))
            return;
        if (k(w, i, s->v + w->from[i], s->ts + w->from[i], n, &v))
            w->out->v[i] = v;
        if (histograms_in(w, i) > 0)
            note_ignored_in_range(w->c->ev, w->c->at, w->name);
    }
}

#define RUN(name)                                                                                  \
    static void run_##name(struct range_work *w)                                                   \
    {                                                                                              \
        run_kernel(w, kernel_##name);                                                              \
    }
RUN(ts_of_max)
RUN(ts_of_min)
RUN(quantile)
RUN(mad)
RUN(deriv)
RUN(predict)
RUN(smoothing)
RUN(integral)

static void run_variance(struct range_work *w, bool deviation)
{
    for (size_t i = 0; i < w->c->f->n;) {
        double v[LANES_MAX] = {0};
        size_t done = variance_lanes(w, i, v);
        size_t from = i;

        if (done == 0 && floats_in(w, i) > 0)
            kernel_stdvar(w, i, w->s.v + w->from[i], w->s.ts + w->from[i], floats_in(w, i), v);
        for (size_t end = i + (done > 0 ? done : 1); i < end; i++) {
            if (range_stops(w, i))
                return;
            if (floats_in(w, i) == 0)
                continue;
            w->out->v[i] = deviation ? sqrt(v[i - from]) : v[i - from];
            if (histograms_in(w, i) > 0)
                note_ignored_in_range(w->c->ev, w->c->at, w->name);
        }
    }
}

static void run_stdvar(struct range_work *w)
{
    run_variance(w, false);
}

static void run_stddev(struct range_work *w)
{
    run_variance(w, true);
}

/* Does a number give way to a later one? Equal ones stay, NaN goes before any. */
static inline bool gives_way(double early, double late, bool max)
{
    if (isnan(early))
        return !isnan(late);
    return max ? early < late : early > late;
}

/* The places that may yet be the extreme of a window stand in a queue: a value that gives way to a
 * later one never is. So each sample is looked at once, however many windows it lies in. */
static void run_extreme(struct range_work *w, bool max)
{
    const double *v = w->s.v;
    uint32_t *queue = (uint32_t *)range_scratch(w, w->s.n / 2 + 1);
    uint32_t head = 0;
    uint32_t tail = 0;
    uint32_t seen = 0;

    for (size_t i = 0; i < w->c->f->n; i++) {
        if (floats_in(w, i) == 0)
            continue;
        if (range_stops(w, i))
            return;
        for (; seen < w->to[i]; seen++) {
            while (tail > head && gives_way(v[queue[tail - 1]], v[seen], max))
                tail--;
            queue[tail++] = seen;
        }
        while (queue[head] < w->from[i])
            head++;
        w->out->v[i] = v[queue[head]];
        if (histograms_in(w, i) > 0)
            note_ignored_in_range(w->c->ev, w->c->at, w->name);
    }
}

static void run_max(struct range_work *w)
{
    run_extreme(w, true);
}

static void run_min(struct range_work *w)
{
    run_extreme(w, false);
}

static void run_ts_of_first(struct range_work *w)
{
    for (size_t i = 0; i < w->c->f->n; i++) {
        int64_t t = INT64_MAX;

        if (floats_in(w, i) > 0)
            t = w->s.ts[w->from[i]];
        if (histograms_in(w, i) > 0 && w->s.hts[w->hfrom[i]] < t)
            t = w->s.hts[w->hfrom[i]];
        if (t != INT64_MAX)
            w->out->v[i] = (double)t / 1000;
    }
}

static void run_ts_of_last(struct range_work *w)
{
    for (size_t i = 0; i < w->c->f->n; i++) {
        int64_t t = INT64_MIN;

        if (floats_in(w, i) > 0)
            t = w->s.ts[w->to[i] - 1];
        if (histograms_in(w, i) > 0 && w->s.hts[w->hto[i] - 1] > t)
            t = w->s.hts[w->hto[i] - 1];
        if (t != INT64_MIN)
            w->out->v[i] = (double)t / 1000;
    }
}

range_run *range_find(enum function_id fn)
{
    static range_run *const runs[FUNCTIONS_COUNT] = {
        [FN_ABSENT_OVER_TIME] = run_present,
        [FN_AVG_OVER_TIME] = run_avg,
        [FN_CHANGES] = run_changes,
        [FN_COUNT_OVER_TIME] = run_count,
        [FN_DELTA] = run_delta,
        [FN_DERIV] = run_deriv,
        [FN_DOUBLE_EXPONENTIAL_SMOOTHING] = run_smoothing,
        [FN_FIRST_OVER_TIME] = run_first,
        [FN_IDELTA] = run_idelta,
        [FN_INCREASE] = run_increase,
        [FN_INTEGRAL] = run_integral,
        [FN_IRATE] = run_irate,
        [FN_LAST_OVER_TIME] = run_last,
        [FN_MAD_OVER_TIME] = run_mad,
        [FN_MAX_OVER_TIME] = run_max,
        [FN_MIN_OVER_TIME] = run_min,
        [FN_PREDICT_LINEAR] = run_predict,
        [FN_PRESENT_OVER_TIME] = run_present,
        [FN_QUANTILE_OVER_TIME] = run_quantile,
        [FN_RATE] = run_rate,
        [FN_RESETS] = run_resets,
        [FN_STDDEV_OVER_TIME] = run_stddev,
        [FN_STDVAR_OVER_TIME] = run_stdvar,
        [FN_SUM_OVER_TIME] = run_sum,
        [FN_TS_OF_FIRST_OVER_TIME] = run_ts_of_first,
        [FN_TS_OF_LAST_OVER_TIME] = run_ts_of_last,
        [FN_TS_OF_MAX_OVER_TIME] = run_ts_of_max,
        [FN_TS_OF_MIN_OVER_TIME] = run_ts_of_min,
    };

    return runs[fn];
}
