/* histogram_math.h: arithmetic on native histograms, as Prometheus does it. Results live in the
 * query's memory; what is handed in is not changed unless a function says so. */
#ifndef METRICS_PROMQL_HISTOGRAM_MATH_H
#define METRICS_PROMQL_HISTOGRAM_MATH_H

#include "metrics/promql/range.h"

static inline bool histogram_is_custom(const struct histogram *h)
{
    return h->schema == HISTOGRAM_CUSTOM;
}

/* A copy that may be changed by the functions below. */
struct histogram *histogram_clone(struct mem *m, const struct histogram *h);
const struct histogram *histogram_scaled(struct mem *m, const struct histogram *h, double factor);
/* Of a clone, in place: */
void histogram_multiply(struct histogram *h, double factor);
void histogram_divide(struct histogram *h, double divisor);
void histogram_compact(struct histogram *h); /* drops empty buckets */
/* Keeps what is observed below `at` (upper) or above it. */
struct histogram *histogram_trim(struct mem *m, struct histogram *h, double at, bool upper);

/* h + other, or h - other with sign -1. NULL: exponential and custom buckets do not mix.
 * *ret_reconciled is set if custom bounds had to be brought together, *ret_collision if one says
 * that it follows a reset and the other that it does not; both may be NULL. */
struct histogram *histogram_combine(struct mem *m, const struct histogram *h,
                                    const struct histogram *other, int sign, bool *ret_reconciled,
                                    bool *ret_collision);

/* A counter histogram began anew between the two. */
bool histogram_is_reset(const struct histogram *now, const struct histogram *before);
bool histogram_same(const struct histogram *a, const struct histogram *b); /* == */

/* What NaN observations did to a result. */
enum histogram_nan {
    HISTOGRAM_NAN_NONE,
    HISTOGRAM_NAN_RESULT,
    HISTOGRAM_NAN_SKEW,
    HISTOGRAM_NAN_FRACTION
};
double histogram_quantile(double q, const struct histogram *h, enum histogram_nan *ret);
double histogram_fraction(double lower, double upper, const struct histogram *h,
                          enum histogram_nan *ret);
double histogram_variance(const struct histogram *h);
void histogram_print(struct buf *out, const struct histogram *h); /* Go's String() */

struct histogram_place {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
};
/* All populated places in ascending order; to be freed. The zero bucket only if it has counts. */
struct histogram_place *histogram_places(const struct histogram *h, size_t *ret_n);

/* The buckets of a side as a list, with compensations of a sum. */
struct flat {
    int32_t *index;
    double *v, *c;
    size_t n, cap;
};

/* A sum of histograms with Neumaier's compensation in every part. Zeroed is valid; freed with
 * histogram_sum_done. */
struct histogram_sum {
    bool started;
    int32_t schema;
    enum histogram_reset reset;
    double zero_threshold;
    double zero, zero_c, count, count_c, sum, sum_c;
    struct flat positive, negative;
    double *custom;
    size_t n_custom, cap_custom;
    struct flat other[2], spare;
};
void histogram_sum_done(struct histogram_sum *s);
void histogram_sum_set(struct histogram_sum *s, const struct histogram *h);
void histogram_sum_copy(struct histogram_sum *to, const struct histogram_sum *from);
/* False: they do not mix. sign -1 or `plain`: without compensation. */
struct histogram_add {
    int sign;
    bool plain;
    bool *reconciled, *collision; /* may be NULL */
};
bool histogram_sum_add(struct histogram_sum *s, const struct histogram *h,
                       const struct histogram_add *how);
void histogram_sum_multiply(struct histogram_sum *s, double factor);
void histogram_sum_divide(struct histogram_sum *s, double divisor);
bool histogram_sum_overflows(const struct histogram_sum *s);
/* With the compensations added; each part is divided by `divisor` before. */
struct histogram *histogram_sum_take(struct mem *m, const struct histogram_sum *s, double divisor);
void histogram_sum_coarsen(struct histogram_sum *s, int32_t schema);

/* A running mean: a plain one as long as no part overflows. */
struct histogram_mean {
    struct histogram_sum sum, trial;
    double count;
    bool incremental;
};
void histogram_mean_done(struct histogram_mean *x);
bool histogram_mean_add(struct mem *m, struct histogram_mean *x, const struct histogram *h,
                        const struct histogram_add *how);
struct histogram *histogram_mean_take(struct mem *m, const struct histogram_mean *x);

/* range_histograms.c: between two samples; NULL: they do not mix (noted). */
const struct histogram *histogram_between(struct range_work *w, const struct histogram *const at[2],
                                          int64_t t0, int64_t t1, int64_t t, bool counter);
void note_not_counter(struct evaluator *ev, struct span at, struct slice name);
void note_not_gauge(struct evaluator *ev, struct span at, struct slice name);

#endif
