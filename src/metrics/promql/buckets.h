/* buckets.h: classic histograms: quantiles and fractions of the buckets of one step. */
#ifndef METRICS_PROMQL_BUCKETS_H
#define METRICS_PROMQL_BUCKETS_H

#include <stdbool.h>
#include <stddef.h>

struct bucket {
    double upper, count; /* of all up to `upper` */
};

/* What had to be mended so that counts do not fall. */
struct mended {
    bool forced;
    double lowest, highest, max_diff;
};

/* Buckets come by ascending upper bound; they are changed. */
double buckets_quantile(double q, struct bucket *b, size_t n, struct mended *ret);
double buckets_fraction(double lower, double upper, struct bucket *b, size_t n);

#endif
