/* histogram.h: a native histogram: what one is, whether it is valid, and its bytes. All are pure.
 *
 * As Prometheus' float histogram: a schema, a zero bucket, and on each side spans of populated
 * buckets with their counts, absolute. Arithmetic on them belongs to the query language. */
#ifndef METRICS_HISTOGRAM_H
#define METRICS_HISTOGRAM_H

#include "base/buf.h"

#define HISTOGRAM_CUSTOM     (-53)  /* the schema of custom buckets: bounds stand beside them */
#define HISTOGRAM_SCHEMA_MIN (-4)   /* of exponential buckets: 2^(2^-schema) apart */
#define HISTOGRAM_SCHEMA_MAX 8
#define HISTOGRAM_BYTES_MAX  60000u /* histogram_encode's; histogram_check refuses larger ones */

/* `length` buckets; the first is `offset` further than the one after the span before, or at that
 * index in the first span. */
struct histogram_span {
    int32_t offset;
    uint32_t length;
};

/* Invariant: n is the sum of the lengths of the spans. */
struct histogram_side {
    struct histogram_span *spans;
    size_t n_spans;
    double *counts; /* absolute, not deltas */
    size_t n;
};

enum histogram_reset {
    HISTOGRAM_RESET_UNKNOWN,
    HISTOGRAM_RESET,
    HISTOGRAM_NO_RESET,
    HISTOGRAM_GAUGE,
};

/* One allocation, from histogram_new; may be changed in place, and n, n_spans and n_custom may
 * shrink. */
struct histogram {
    int32_t schema;
    enum histogram_reset reset;
    bool integer; /* it came with integer counts */
    double zero_threshold, zero_count, count, sum;
    struct histogram_side positive, negative;
    double *custom; /* upper bounds, ascending, without +Inf; only with HISTOGRAM_CUSTOM */
    size_t n_custom;
};

struct histogram_shape {
    size_t positive_spans, positive, negative_spans, negative, custom;
};
/* Room for so many of each, all zero. NULL: no memory (the sizes may be a client's). */
struct histogram *histogram_new(const struct histogram_shape *shape);
struct histogram *histogram_copy(const struct histogram *h); /* never NULL */
void histogram_free(struct histogram *h);

/* Bit for bit; hint and origin count too. */
bool histogram_eq(const struct histogram *a, const struct histogram *b);
/* A stale marker: its sum has VALUE_STALE_BITS. */
bool histogram_stale(const struct histogram *h);
/* 0; -EINVAL with Prometheus' words in why. */
int histogram_check(const struct histogram *h, struct buf *why);
/* The same for one that arrives; finer schemas, up to 52, are made coarser, and the hint that there
 * was no reset is dropped: it may not hold where it is stored. */
int histogram_admit(struct histogram *h, struct buf *why);
/* Merges buckets until the schema is `schema` at most; nothing for custom buckets. */
void histogram_coarsen(struct histogram *h, int32_t schema);

/* Bit for bit. decode moves `in` on: -EIO if damaged. */
void histogram_encode(struct buf *out, const struct histogram *h);
int histogram_decode(struct slice *in, struct histogram **ret);

/* Walks the populated buckets of a side in ascending index:
 *     struct histogram_walk w = {.side = &h->positive};
 *     while (histogram_walk_next(&w)) … w.index, w.count */
struct histogram_walk {
    const struct histogram_side *side;
    size_t span, at; /* at: in counts */
    uint32_t in_span, next;
    int32_t index; /* the bucket at hand */
    double count;
};
bool histogram_walk_next(struct histogram_walk *w);
/* 2^(i/256 - 1): the bounds between two powers of two. */
extern const double histogram_fractions[256];
/* The upper bound of the bucket at this index; the lower one is that of index - 1. */
double histogram_bound(const struct histogram *h, int32_t index);

#endif
