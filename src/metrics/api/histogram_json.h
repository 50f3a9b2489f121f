/* histogram_json.h: a native histogram as the API and the files show it. */
#ifndef METRICS_API_HISTOGRAM_JSON_H
#define METRICS_API_HISTOGRAM_JSON_H

#include "metrics/histogram.h"

struct histogram_bucket {
    double lower, upper, count;
    bool lower_in, upper_in; /* the bound belongs to it */
};

/* Calls f for each bucket that is not empty, in ascending order. */
void histogram_buckets(const struct histogram *h,
                       void (*f)(void *ctx, const struct histogram_bucket *b), void *ctx);
/* {"count":"2","sum":"3","buckets":[[0,"1","2","2"]]} */
void histogram_json(struct buf *out, const struct histogram *h);
/* {count:2, sum:3, (1,2]:2}, as PromQL shows one. */
void histogram_text(struct buf *out, const struct histogram *h);

#endif
