/* Sums over windows, eight windows side by side: a sum with compensation is a chain of operations that
 * each wait for the one before, and windows of as many samples do not wait for each other. */
#include "metrics/promql/range.h"

#include "base/hot.h"

#include <math.h>

#define LANES 8
#define PAIRS (LANES / 2)

typedef double pair __attribute__((vector_size(2 * sizeof(double))));
typedef int64_t choice __attribute__((vector_size(2 * sizeof(int64_t))));

static inline pair absolute(pair x)
{
    const choice mask = {INT64_MAX, INT64_MAX};

    return (pair)((choice)x & mask);
}

static inline pair choose(choice which, pair a, pair b)
{
    return (pair)(((choice)a & which) | ((choice)b & ~which));
}

/* kahan_add in both lanes. */
static inline void add(pair x, pair *sum, pair *c)
{
    const pair infinite = {HUGE_VAL, HUGE_VAL};
    pair t = *sum + x;
    pair low = choose(absolute(*sum) >= absolute(x), (*sum - t) + x, (x - t) + *sum);

    *c = choose(absolute(t) == infinite, (pair){0}, *c + low);
    *sum = t;
}

HOT static void add_windows(const double *const v[LANES], size_t from, size_t n, double sums[LANES],
                            double lows[LANES])
{
    pair sum[PAIRS];
    pair c[PAIRS] = {{0}};

    memcpy(sum, sums, sizeof sum);
    for (size_t k = from; k < n; k++)
        for (size_t j = 0; j < PAIRS; j++)
            add((pair){v[2 * j][k], v[2 * j + 1][k]}, &sum[j], &c[j]);
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

    if (n < 4)
        return 0;
    for (size_t j = 0; j < LANES && average; j++)
        sum[j] = v[j][0];
    add_windows(v, average ? 1 : 0, n, sum, low);
    for (size_t j = 0; j < LANES; j++) {
        if (isinf(sum[j]))
            return 0; /* a mean that overflows goes another way */
        sum[j] = average ? sum[j] / (double)n + low[j] / (double)n : sum[j] + low[j];
    }
    memcpy(w->out->v + i, sum, sizeof sum);
    return LANES;
}
