/* Sums over windows, eight windows side by side: a sum with compensation is a chain of operations that
 * each wait for the one before, and windows of as many samples do not wait for each other. */
#include "metrics/promql/range.h"

#include "base/hot.h"

#include <math.h>

#define LANES 8
#define PAIRS (LANES / 2)
#define QUADS (LANES / 4)

typedef double pair __attribute__((vector_size(2 * sizeof(double))));
typedef double quad __attribute__((vector_size(4 * sizeof(double))));

/* kahan_add in all lanes. What a sum loses in rounding is exact, and so the same, whether it is found
 * by asking which of the two is larger or, as here, without; but for a sum that is infinite. */
#define ADD(type, x, sum, c)                                                                       \
    do {                                                                                           \
        type t = (sum) + (x);                                                                      \
        type added = t - (sum);                                                                    \
                                                                                                   \
        (c) += ((sum) - (t - added)) + ((x)-added);                                                \
        (sum) = t;                                                                                 \
    } while (0)

HOT static void add_windows(const double *const v[LANES], size_t from, size_t n, double sums[LANES],
                            double lows[LANES])
{
    pair sum[PAIRS];
    pair c[PAIRS] = {{0}};

    memcpy(sum, sums, sizeof sum);
    for (size_t k = from; k < n; k++)
        for (size_t j = 0; j < PAIRS; j++) {
            pair x = {v[2 * j][k], v[2 * j + 1][k]};

            ADD(pair, x, sum[j], c[j]);
        }
    memcpy(sums, sum, sizeof sum);
    memcpy(lows, c, sizeof c);
}

/* Each window begins a sample behind the one before. */
HOT static void add_neighbours(const double *v, size_t from, size_t n, double sums[LANES],
                               double lows[LANES])
{
    quad sum[QUADS];
    quad c[QUADS] = {{0}};

    memcpy(sum, sums, sizeof sum);
    for (size_t k = from; k < n; k++)
        for (size_t j = 0; j < QUADS; j++) {
            quad x;

            memcpy(&x, v + k + 4 * j, sizeof x);
            ADD(quad, x, sum[j], c[j]);
        }
    memcpy(sums, sum, sizeof sum);
    memcpy(lows, c, sizeof c);
}

/* The windows from step i on, if all have as many samples; 0: they do not. */
static size_t windows_alike(const struct range_work *w, size_t i, const double *v[LANES])
{
    size_t n = floats_in(w, i);

    if (i + LANES > w->c->f->n)
        return 0;
    for (size_t j = 0; j < LANES; j++) {
        if (floats_in(w, i + j) != n)
            return 0;
        v[j] = w->s.v + w->from[i + j];
    }
    return n;
}

size_t sum_lanes(struct range_work *w, size_t i, bool average)
{
    const double *v[LANES];
    size_t n = windows_alike(w, i, v);
    double sum[LANES] = {0};
    double low[LANES];
    bool neighbours = true;

    if (n < 4)
        return 0;
    for (size_t j = 0; j < LANES && average; j++)
        sum[j] = v[j][0];
    for (size_t j = 1; j < LANES; j++)
        neighbours = neighbours && v[j] == v[0] + j;
    if (neighbours)
        add_neighbours(v[0], average ? 1 : 0, n, sum, low);
    else
        add_windows(v, average ? 1 : 0, n, sum, low);
    for (size_t j = 0; j < LANES; j++) {
        if (isinf(sum[j]) || (!isfinite(low[j]) && !isnan(sum[j])))
            return 0; /* a mean that overflows goes another way */
        sum[j] = average ? sum[j] / (double)n + low[j] / (double)n : sum[j] + low[j];
    }
    memcpy(w->out->v + i, sum, sizeof sum);
    return LANES;
}
