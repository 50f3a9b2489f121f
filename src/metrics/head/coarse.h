/* coarse.h: samples made fewer: of each window of time one, in several planes, so that what is
 * asked of the many can be answered from the few. A window begins at a multiple of its length. A
 * sample made so has the time of the last one in its window. */
#ifndef METRICS_HEAD_COARSE_H
#define METRICS_HEAD_COARSE_H

#include "metrics/head/chunk.h"

enum coarse {
    /* The last sample as it is; with the ones around each fall of a counter, so that the increase
     * over any windows is that of all samples, and the last before a stale marker. */
    COARSE_LAST,
    COARSE_MIN,
    COARSE_MAX,
    COARSE_SUM,
    COARSE_COUNT,
    COARSE_PLANES,
    COARSE_AVG = COARSE_PLANES, /* not kept: sum by count */
};

/* Adds what the samples (ascending) become. Where histograms are among them, and of which one can
 * say nothing but the last, that is what is added. */
void coarse_add(enum coarse plane, int64_t window_ms, const struct samples *in,
                struct samples *out);
/* Drops of the first n samples those in whose window one of the others stands. */
void coarse_supersede(int64_t window_ms, struct samples *s, size_t n);
/* Makes sums into averages: counts have the same times. */
void coarse_divide(struct samples *sums, const struct samples *counts);

#endif
