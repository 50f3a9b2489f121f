/* rate, increase and delta: between the samples of a window, extrapolated to its bounds. */
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/range.h"

#include "base/alloc.h"

#include <math.h>

/* The places where a counter began anew, once for the series. */
static void find_resets(struct range_work *w)
{
    const double *v = w->s.v;

    w->n_resets = 0;
    for (size_t k = 1; k < w->s.n; k++) {
        if (!(v[k] < v[k - 1]))
            continue;
        if (w->n_resets == w->cap_resets) {
            w->cap_resets = w->cap_resets == 0 ? 32 : 2 * w->cap_resets;
            w->resets = xrealloc(w->resets, w->cap_resets * sizeof *w->resets);
        }
        w->resets[w->n_resets++] = (uint32_t)k;
    }
}

/* What the samples of a window say, floats or histograms. */
struct sampled {
    int64_t first_ms, last_ms;
    double n_minus_one;
    double first, result; /* of a histogram: its counts */
    bool starts_above_zero;
    int64_t zero_ms; /* when the counter began, within the range before the first; 0: not told */
};

/* By what the result between the samples is multiplied to be that of the range. */
static double extrapolation(const struct range_work *w, size_t i, const struct sampled *s,
                            bool counter, double per_seconds)
{
    int64_t end_ms = range_end(w, i);
    double to_start = (double)(s->first_ms - (end_ms - w->c->range_ms)) / 1000;
    double to_end = (double)(end_ms - s->last_ms) / 1000;
    double interval = (double)(s->last_ms - s->first_ms) / 1000;
    double average = s->n_minus_one > 0 ? interval / s->n_minus_one : 0;
    double threshold = average * 1.1;
    double factor = 1;

    if (to_start >= threshold)
        to_start = average / 2;
    if (s->zero_ms != 0) {
        to_start = 0;
        interval = (double)(s->last_ms - s->zero_ms) / 1000;
    } else if (counter && s->result > 0 && s->starts_above_zero) {
        double to_zero = interval * (s->first / s->result);

        if (to_zero < to_start)
            to_start = to_zero;
    }
    if (to_end >= threshold)
        to_end = average / 2;
    if (interval != 0)
        factor = (interval + to_start + to_end) / interval;
    return factor / per_seconds;
}

/* The same for floats: what depends on the times is kept for the next series with the same ones. */
static void know_rates(struct range_work *w, double per_seconds)
{
    if (w->rates == NULL)
        w->rates = xcalloc(w->c->f->n, sizeof *w->rates);
    for (size_t i = 0; i < w->c->f->n; i++) {
        struct rate_step *r = &w->rates[i];
        const int64_t *ts = w->s.ts;
        int64_t end_ms = range_end(w, i);
        double average;

        if (floats_in(w, i) < 2)
            continue;
        r->interval = (double)(ts[w->to[i] - 1] - ts[w->from[i]]) / 1000;
        r->to_start = (double)(ts[w->from[i]] - (end_ms - w->c->range_ms)) / 1000;
        r->to_end = (double)(end_ms - ts[w->to[i] - 1]) / 1000;
        average = r->interval / (double)(floats_in(w, i) - 1);
        if (r->to_start >= average * 1.1)
            r->to_start = average / 2;
        if (r->to_end >= average * 1.1)
            r->to_end = average / 2;
        r->factor = (r->interval + r->to_start + r->to_end) / r->interval / per_seconds;
    }
    w->rates_known = true;
}

/* The counter may have been at zero within the range: then that is where it begins. */
static double factor_from_zero(const struct rate_step *r, double first, double result,
                               double per_seconds)
{
    double to_zero = r->interval * (first / result);

    if (!(to_zero < r->to_start))
        return r->factor;
    return (r->interval + to_zero + r->to_end) / r->interval / per_seconds;
}

#define CLOSE 1.000000001 /* near enough to look in full */

static void rate_floats(struct range_work *w, size_t i, bool counter, double per_seconds,
                        size_t *reset)
{
    const struct rate_step *r = &w->rates[i];
    const double *v = w->s.v;
    uint32_t a = w->from[i];
    uint32_t b = w->to[i];
    double result;

    if (b - a < 2)
        return;
    result = v[b - 1] - v[a];
    if (counter && w->n_resets > 0) {
        while (*reset < w->n_resets && w->resets[*reset] <= a)
            (*reset)++;
        for (size_t k = *reset; k < w->n_resets && w->resets[k] < b; k++)
            result += v[w->resets[k] - 1];
    }
    if (counter && result > 0 && v[a] >= 0 &&
        (v[a] > 1e200 || v[a] * r->interval < r->to_start * result * CLOSE))
        w->out->v[i] = result * factor_from_zero(r, v[a], result, per_seconds);
    else
        w->out->v[i] = result * r->factor;
}

/* The start of a window's first sample, if there was a zero within the range. */
static int64_t zero_within(const struct range_work *w, size_t i, int64_t start, int64_t first_ms)
{
    return start != 0 && start > range_start(w, i) && start < first_ms ? start : 0;
}

/* Of a counter with start times. */
static void rate_started(struct range_work *w, size_t i, double per_seconds)
{
    const double *v = w->s.v;
    const int64_t *ts = w->s.ts;
    const int64_t *st = w->s.st;
    uint32_t a = w->from[i];
    uint32_t b = w->to[i];
    struct sampled s;
    double result;

    if (b == a)
        return;
    s = (struct sampled){
        ts[a], ts[b - 1], (double)(b - a - 1), v[a], 0, v[a] >= 0, zero_within(w, i, st[a], ts[a])};
    if (b - a < 2 && s.zero_ms == 0)
        return;
    result = v[b - 1] - v[a];
    for (uint32_t k = a + 1; k < b; k++)
        if (v[k] < v[k - 1] || start_is_reset(st[k - 1], ts[k - 1], st[k], ts[k]))
            result += v[k - 1];
    note_overlaps(w, ts + a, st + a, b - a);
    if (s.zero_ms != 0)
        result += v[a];
    s.result = result;
    w->out->v[i] = result * extrapolation(w, i, &s, true, per_seconds);
}

/* What the histograms of a window rose by; from zero, if they began within it. */
static const struct histogram *risen(struct range_work *w, size_t i, bool counter, int64_t zero_ms)
{
    const struct histogram *first = w->s.h[w->hfrom[i]];
    const struct histogram *h;

    if (histograms_in(w, i) < 2)
        return zero_ms != 0 ? first : NULL;
    h = rate_histograms(w, i, counter);
    return h != NULL && zero_ms != 0 ? combine_histograms(w, h, first, 1) : h;
}

static void rate_of_histograms(struct range_work *w, size_t i, bool counter, double per_seconds)
{
    const struct readings *in = &w->s;
    uint32_t a = w->hfrom[i];
    uint32_t b = w->hto[i];
    const struct histogram *h;
    struct histogram *scaled;
    struct sampled s;
    int64_t zero_ms =
        counter && in->hst != NULL ? zero_within(w, i, in->hst[a], in->hts[a]) : 0;

    h = risen(w, i, counter, zero_ms);
    if (h == NULL)
        return;
    s = (struct sampled){in->hts[a],      in->hts[b - 1],        (double)(b - a - 1),
                         in->h[a]->count, h->count, in->h[a]->count >= 0, zero_ms};
    scaled = histogram_clone(w->m, h);
    histogram_multiply(scaled, extrapolation(w, i, &s, counter, per_seconds));
    put_histogram(w, i, scaled);
}

/* A series of floats that never fell: as rate_floats, with nothing to look up. */
static void rate_rising(struct range_work *w, bool counter, double per_seconds)
{
    const struct rate_step *steps = w->rates;
    const uint32_t *from = w->from;
    const uint32_t *to = w->to;
    const double *v = w->s.v;
    double *out = w->out->v;

    for (size_t i = 0, n = w->c->f->n; i < n; i++) {
        const struct rate_step *r = &steps[i];
        double first;
        double result;

        if (to[i] - from[i] < 2)
            continue;
        first = v[from[i]];
        result = v[to[i] - 1] - first;
        if (counter && result > 0 && first >= 0 &&
            (first > 1e200 || first * r->interval < r->to_start * result * CLOSE))
            out[i] = result * factor_from_zero(r, first, result, per_seconds);
        else
            out[i] = result * r->factor;
    }
}

static void run_rates(struct range_work *w, bool counter, bool per_second)
{
    double per_seconds = per_second ? go_seconds(w->c->range_ms) : 1;
    size_t reset = 0;
    bool started;

    if (w->c->anchored || w->c->smoothed) {
        run_extended(w, counter, per_second);
        return;
    }
    if (counter)
        find_resets(w);
    if (!w->rates_known)
        know_rates(w, per_seconds);
    started = counter && w->s.st != NULL;
    if (w->s.n_h == 0 && !started && (!counter || w->n_resets == 0)) {
        rate_rising(w, counter, per_seconds);
        return;
    }
    if (w->s.n_h == 0 && !started) {
        for (size_t i = 0; i < w->c->f->n; i++)
            rate_floats(w, i, counter, per_seconds, &reset);
        return;
    }
    for (size_t i = 0; i < w->c->f->n; i++) {
        if (histograms_in(w, i) == 0 && started)
            rate_started(w, i, per_seconds);
        else if (histograms_in(w, i) == 0)
            rate_floats(w, i, counter, per_seconds, &reset);
        else if (floats_in(w, i) == 0)
            rate_of_histograms(w, i, counter, per_seconds);
        else
            note_mixed(w->c->ev, w->c->at, w->name);
    }
}

void run_rate(struct range_work *w)
{
    run_rates(w, true, true);
}

void run_increase(struct range_work *w)
{
    run_rates(w, true, false);
}

void run_delta(struct range_work *w)
{
    run_rates(w, false, false);
}
