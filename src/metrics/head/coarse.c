#include "metrics/head/coarse.h"

#include "metrics/head/db.h"
#include "metrics/labels.h"

#include <math.h>

#define FALLS_MAX 2 /* of a counter in one window; what falls more often is none */

static int64_t window_of(int64_t window_ms, int64_t ts_ms)
{
    return ts_ms / window_ms;
}

static bool falls(const struct samples *in, size_t i)
{
    return i > 0 && bits_double(in->bits[i]) < bits_double(in->bits[i - 1]);
}

/* Of the samples from..to, a window. */
static void add_last(const struct samples *in, size_t from, size_t to, struct samples *out)
{
    size_t n_falls = 0;

    for (size_t i = from; i < to; i++)
        n_falls += falls(in, i);
    for (size_t i = from; i < to; i++) {
        bool edge = n_falls <= FALLS_MAX &&
                    (falls(in, i) || (i + 1 < to && falls(in, i + 1)));
        bool ends = i + 1 < to && in->bits[i + 1] == VALUE_STALE_BITS;

        if (i == 0 || i + 1 == to || edge || ends || in->bits[i] == VALUE_STALE_BITS)
            samples_add(out, in->ts[i], in->bits[i]);
    }
}

/* As the functions of the language see NaN: min and max pass it over while there is a number. */
static void add_plane(enum coarse plane, const struct samples *in, size_t from, size_t to,
                      struct samples *out)
{
    double v = 0;
    double lost = 0; /* Neumaier's summation */
    size_t n = 0;
    int64_t ts = 0;

    for (size_t i = from; i < to; i++) {
        double x = bits_double(in->bits[i]);
        double t = v + x;

        if (in->bits[i] == VALUE_STALE_BITS)
            continue;
        ts = in->ts[i];
        if (plane == COARSE_SUM) {
            if (isinf(t))
                lost = 0;
            else
                lost += fabs(v) >= fabs(x) ? (v - t) + x : (x - t) + v;
            v = t;
        } else if (n == 0 || isnan(v) || (plane == COARSE_MIN ? x < v : x > v)) {
            v = x;
        }
        n++;
    }
    if (n == 0)
        return;
    if (plane == COARSE_COUNT)
        v = (double)n;
    else if (plane == COARSE_SUM)
        v += lost;
    samples_add(out, ts, double_bits(v));
}

void coarse_add(enum coarse plane, int64_t window_ms, const struct samples *in,
                struct samples *out)
{
    size_t to;

    for (size_t i = 0; i < in->n; i++)
        if (in->bits[i] == HISTOGRAM_BITS)
            plane = COARSE_LAST;
    for (size_t from = 0; from < in->n; from = to) {
        int64_t window = window_of(window_ms, in->ts[from]);

        for (to = from + 1; to < in->n && window_of(window_ms, in->ts[to]) == window; to++)
            ;
        if (plane == COARSE_LAST)
            add_last(in, from, to, out);
        else
            add_plane(plane, in, from, to, out);
    }
}

void coarse_supersede(int64_t window_ms, struct samples *s, size_t n)
{
    size_t at = n;
    size_t kept = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (i < n) {
            while (at < s->n && window_of(window_ms, s->ts[at]) < window_of(window_ms, s->ts[i]))
                at++;
            if (at < s->n && window_of(window_ms, s->ts[at]) == window_of(window_ms, s->ts[i]))
                continue;
        }
        s->ts[kept] = s->ts[i];
        s->bits[kept++] = s->bits[i];
    }
    s->n = kept;
}

void coarse_divide(struct samples *sums, const struct samples *counts)
{
    size_t at = 0;

    for (size_t i = 0; i < sums->n; i++) {
        while (at < counts->n && counts->ts[at] < sums->ts[i])
            at++;
        if (sums->bits[i] != HISTOGRAM_BITS && sums->bits[i] != VALUE_STALE_BITS &&
            at < counts->n && counts->ts[at] == sums->ts[i])
            sums->bits[i] = double_bits(bits_double(sums->bits[i]) / bits_double(counts->bits[at]));
    }
}
