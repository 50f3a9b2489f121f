/* query.h: reads the database: the series that meet a set of matchers, one after the other, each
 * with its samples of a range of time. What a query language builds on. */
#ifndef METRICS_QUERY_H
#define METRICS_QUERY_H

#include "metrics/head/coarse.h"
#include "metrics/head/db.h"
#include "metrics/histogram.h"

struct query;

enum query_flags {
    QUERY_LAST = 1,    /* of each series only the last sample in the range */
    QUERY_RAW = 2,     /* nothing of the tier */
    QUERY_WINDOWS = 4, /* what is raw as the tier would have it */
    QUERY_STARTS = 8,  /* start times too */
};

/* What the samples are for. It decides whether the coarse tier will do where there are both, and
 * which of its planes is read. */
struct query_grain {
    enum coarse plane;
    int64_t step_ms;  /* between the moments that are asked for; 0: there is but one */
    int64_t range_ms; /* that is looked at for each; 0: a sample alone */
    bool instant;     /* for each moment its newest sample, though it is a window behind */
};

/* Samples with from <= time <= to, both ends counted. The set of series is that of this moment. */
int query_open(struct db *db, const struct matcher *matchers, size_t n, int64_t from_ms,
               int64_t to_ms, unsigned flags, struct query **ret);
void query_grain(struct query *q, const struct query_grain *grain); /* before the first series */
void query_close(struct query *q);
size_t query_series(const struct query *q); /* how many there are, with samples or without */
/* Keeps the first n series; returns new: a query over the others, for another thread. */
struct query *query_split(struct query *q, size_t n);

struct query_item {
    uint32_t ref;
    struct labels labels; /* sorted; valid until the next; strings live as long as the database */
    const int64_t *ts;    /* ascending; valid until the next */
    const uint64_t *bits; /* of the doubles: a stale marker is VALUE_STALE_BITS; so is bits[n] */
    /* NULL: all samples are floats. Else n of them: NULL for a float; a histogram where bits is
     * HISTOGRAM_BITS, or VALUE_STALE_BITS if it is a stale marker. Valid until the next. */
    const struct histogram *const *histograms;
    size_t n;      /* at least 1 */
    /* With QUERY_STARTS: n times since when the samples count, 0 where none was told; NULL: there is
     * none. Valid until the next. */
    const int64_t *starts;
    /* A window of the tier that is among the samples; 0: all are raw. With COARSE_COUNT each value is
     * then a number of samples. */
    int64_t window_ms;
    size_t number; /* of the series among all of the query */
};
/* The next series that has samples in the range, in the order of ids: 1, 0 at the end, -EIO. */
int query_next(struct query *q, struct query_item *ret);

#endif
