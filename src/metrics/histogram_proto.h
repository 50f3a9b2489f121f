/* histogram_proto.h: histograms in the messages of remote write and of a scrape, which differ only
 * in the numbers of the fields. Pure. */
#ifndef METRICS_HISTOGRAM_PROTO_H
#define METRICS_HISTOGRAM_PROTO_H

#include "metrics/histogram.h"

struct histogram_fields {
    unsigned count_int, count_float, sum, schema, zero_threshold, zero_int, zero_float;
    unsigned negative_spans, negative_deltas, negative_counts;
    unsigned positive_spans, positive_deltas, positive_counts;
    unsigned reset, timestamp, custom, start; /* 0: the message has none */
};
extern const struct histogram_fields histogram_remote; /* prometheus.Histogram, 1.0 and 2.0 */
extern const struct histogram_fields histogram_client; /* io.prometheus.client.Histogram */

struct histogram_times {
    int64_t ts_ms, start_ms; /* 0: not told */
};

/* Counts and spans may disagree: histogram_check says. -EINVAL: it is no such message. */
int histogram_from_proto(struct slice message, const struct histogram_fields *fields,
                         struct histogram **ret, struct histogram_times *ret_times);
/* As prometheus.Histogram. */
void histogram_to_proto(struct buf *out, const struct histogram *h, int64_t ts_ms);

#endif
