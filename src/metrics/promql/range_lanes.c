/* Sums and variances over windows, eight windows side by side: each is a chain of operations that wait
 * for the one before, and windows of as many samples do not wait for each other. */
#include "metrics/promql/range.h"

#include "base/hot.h"

#include <math.h>

#define LANES LANES_MAX
#define QUADS (LANES / 4)

typedef double quad __attribute__((vector_size(4 * sizeof(double))));
typedef int64_t quad_mask __attribute__((vector_size(4 * sizeof(int64_t))));

/* kahan_add in all lanes. What a sum loses in rounding is exact, and so the same, whether it is found
 * by asking which of the two is larger or, as here, without; but for a sum that is infinite. */
#define ADD(x, sum, c)                                                                             \
    do {                                                                                           \
        quad t = (sum) + (x);                                                                      \
        quad added = t - (sum);                                                                    \
                                                                                                   \
        (c) += ((sum) - (t - added)) + ((x)-added);                                                \
        (sum) = t;                                                                                 \
    } while (0)

/* The same where the sum is known to be the larger one. */
#define ADD_SMALLER(x, sum, c)                                                                     \
    do {                                                                                           \
        quad t = (sum) + (x);                                                                      \
                                                                                                   \
        (c) += (x) - (t - (sum));                                                                  \
        (sum) = t;                                                                                 \
    } while (0)

/* Sample k of four windows. Neighbours: each begins a sample behind the one before. */
static inline __attribute__((always_inline)) void load(const double *const v[LANES], size_t k,
                                                       size_t j, bool neighbours, quad *ret)
{
    if (neighbours)
        memcpy(ret, v[0] + k + 4 * j, sizeof *ret);
    else
        *ret = (quad){v[4 * j][k], v[4 * j + 1][k], v[4 * j + 2][k], v[4 * j + 3][k]};
}

/* Are all sums at least that much? */
static inline __attribute__((always_inline)) bool all_reach(const quad sum[QUADS], double most)
{
    quad_mask below = {0};

    for (size_t j = 0; j < QUADS; j++)
        below |= sum[j] < most;
    return (below[0] | below[1] | below[2] | below[3]) == 0;
}

/* No sample is below zero, nor above `most`; or that is infinite. */
static inline __attribute__((always_inline)) void add_lanes(const double *const v[LANES],
                                                            size_t from, size_t n, double most,
                                                            bool neighbours, double sums[LANES],
                                                            double lows[LANES])
{
    quad sum[QUADS];
    quad c[QUADS] = {{0}};
    size_t k = from;
    quad x = {0};

    memcpy(sum, sums, sizeof sum);
    for (; k < n && (k % 4 != 0 || !all_reach(sum, most)); k++)
        for (size_t j = 0; j < QUADS; j++) {
            load(v, k, j, neighbours, &x);
            ADD(x, sum[j], c[j]);
        }
    for (; k < n; k++)
        for (size_t j = 0; j < QUADS; j++) {
            load(v, k, j, neighbours, &x);
            ADD_SMALLER(x, sum[j], c[j]);
        }
    memcpy(sums, sum, sizeof sum);
    memcpy(lows, c, sizeof c);
}

HOT static void add_windows(const double *const v[LANES], size_t from, size_t n, double most,
                            double sums[LANES], double lows[LANES])
{
    add_lanes(v, from, n, most, false, sums, lows);
}

HOT static void add_neighbours(const double *const v[LANES], size_t from, size_t n, double most,
                               double sums[LANES], double lows[LANES])
{
    add_lanes(v, from, n, most, true, sums, lows);
}

/* Steps of Welford's, as kernel_stdvar takes them; without what an infinite sum would need. */
static inline __attribute__((always_inline)) void vary_lanes(const double *const v[LANES], size_t n,
                                                             bool neighbours, double vars[LANES])
{
    quad mean[QUADS] = {{0}};
    quad mean_c[QUADS] = {{0}};
    quad aux[QUADS] = {{0}};
    quad aux_c[QUADS] = {{0}};

    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < QUADS; j++) {
            quad x;
            quad delta;
            quad part;

            load(v, k, j, neighbours, &x);
            delta = x - (mean[j] + mean_c[j]);
            part = delta / (double)(k + 1);
            ADD(part, mean[j], mean_c[j]);
            part = delta * (x - (mean[j] + mean_c[j]));
            ADD(part, aux[j], aux_c[j]);
        }
    for (size_t j = 0; j < QUADS; j++)
        aux[j] = (aux[j] + aux_c[j]) / (double)n;
    memcpy(vars, aux, sizeof aux);
}

HOT static void vary_windows(const double *const v[LANES], size_t n, double vars[LANES])
{
    vary_lanes(v, n, false, vars);
}

HOT static void vary_neighbours(const double *const v[LANES], size_t n, double vars[LANES])
{
    vary_lanes(v, n, true, vars);
}

/* The bits of numbers from zero on are in the order of the numbers, and those of others are not. */
HOT double most_of(const double *v, size_t n)
{
    int64_t most = 0;
    int64_t signs = 0;
    double ret;

    for (size_t k = 0; k < n; k++) {
        int64_t bits;

        memcpy(&bits, v + k, sizeof bits);
        signs |= bits;
        most = bits > most ? bits : most;
    }
    memcpy(&ret, &most, sizeof ret);
    return signs < 0 || !isfinite(ret) ? HUGE_VAL : ret;
}

/* The windows from step i on, if all have as many samples; 0: they do not. */
static size_t windows_alike(const struct range_work *w, size_t i, const double *v[LANES],
                            bool *ret_neighbours)
{
    size_t n = floats_in(w, i);
    bool neighbours = true;

    if (w->s.n_h > 0 || i + LANES > w->c->f->n)
        return 0;
    for (size_t j = 0; j < LANES; j++) {
        if (floats_in(w, i + j) != n)
            return 0;
        v[j] = w->s.v + w->from[i + j];
        neighbours = neighbours && v[j] == v[0] + j;
    }
    *ret_neighbours = neighbours;
    return n < 4 ? 0 : n;
}

/* False: a sum or a mean that overflows goes another way. */
HOT static bool put_sums(const double sum[LANES], const double low[LANES], double count,
                         double out[LANES])
{
    bool finite = true;

    for (size_t j = 0; j < LANES; j++) {
        finite &= !isinf(sum[j]) && (isfinite(low[j]) || isnan(sum[j]));
        out[j] = sum[j] / count + low[j] / count;
    }
    return finite;
}

size_t sum_lanes(struct range_work *w, size_t i, bool average, double most)
{
    const double *v[LANES];
    double sum[LANES] = {0};
    double low[LANES];
    double out[LANES];
    bool neighbours;
    size_t n = windows_alike(w, i, v, &neighbours);

    if (n == 0)
        return 0;
    for (size_t j = 0; j < LANES && average; j++)
        sum[j] = v[j][0];
    (neighbours ? add_neighbours : add_windows)(v, average ? 1 : 0, n, most, sum, low);
    if (!put_sums(sum, low, average ? (double)n : 1, out))
        return 0;
    memcpy(w->out->v + i, out, sizeof out);
    return LANES;
}

size_t variance_lanes(struct range_work *w, size_t i, double ret[])
{
    const double *v[LANES];
    bool neighbours;
    size_t n = windows_alike(w, i, v, &neighbours);

    if (n == 0)
        return 0;
    (neighbours ? vary_neighbours : vary_windows)(v, n, ret);
    for (size_t j = 0; j < LANES; j++)
        if (!isfinite(ret[j]))
            return 0;
    return LANES;
}
