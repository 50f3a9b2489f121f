/* protobuf.h: a body of delimited io.prometheus.client.MetricFamily messages, turned into
 * OpenMetrics text, so that there is one way from a body to samples. What text cannot say (native
 * histograms, times to the millisecond) stands beside it, by the place of the line. */
#ifndef METRICS_SCRAPE_PROTOBUF_H
#define METRICS_SCRAPE_PROTOBUF_H

#include "metrics/histogram.h"

#define PROTOBUF_TEXT_MAX (256u << 20)

struct protobuf_mark {
    size_t offset; /* of the line */
    bool timed;
    int64_t ts_ms;
    struct histogram *histogram; /* NULL: the line's value counts */
    int64_t start_ms;            /* when its counter began; 0: not told */
};
struct protobuf_text {
    struct buf text;
    struct protobuf_mark *marks; /* ascending */
    size_t n, cap;
};

enum protobuf_flags {
    PROTOBUF_NATIVE = 1,  /* native histograms where there are any; else only classic buckets */
    PROTOBUF_CLASSIC = 2, /* the classic buckets of native ones too */
    PROTOBUF_STARTS = 4,  /* when counters began */
};
/* Is this Content-Type such a body's? */
bool protobuf_is(const char *content_type);
/* -EINVAL with a reason in why. protobuf_done in any case. */
int protobuf_read(struct slice body, unsigned flags, struct protobuf_text *ret, struct buf *why);
void protobuf_done(struct protobuf_text *t);

#endif
