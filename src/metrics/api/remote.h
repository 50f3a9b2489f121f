/* remote.h: reads the messages of remote write 1.0 (prometheus.WriteRequest), zero-copy. */
#ifndef METRICS_API_REMOTE_H
#define METRICS_API_REMOTE_H

#include "metrics/labels.h"

struct remote_sample {
    int64_t ts_ms;
    uint64_t bits;
};

/* One time series. */
struct remote_series {
    struct slice raw; /* its labels as they came, if they stand before the samples; else empty */
    struct labels labels; /* after remote_labels: sorted, none empty; they point into the message */
    struct slice samples; /* for remote_sample_next */
};

struct remote_metadata {
    uint64_t type; /* the enum of prometheus.MetricMetadata */
    struct slice metric, help, unit;
};

struct remote {
    struct slice in;
    struct label room[LABELS_MAX + 1];
    struct remote_series series;
    struct slice series_bytes;
    struct remote_metadata metadata;
};
enum remote_entry { REMOTE_END, REMOTE_SERIES, REMOTE_METADATA };

void remote_init(struct remote *r, struct slice message);
/* The next entry. -EINVAL: it is no such message. */
int remote_next(struct remote *r);
/* Reads the labels of the series: 1; 0: they are not valid (no name, a name twice, too many, no
 * UTF-8), the series is to be passed over; -EINVAL. */
int remote_labels(struct remote *r);
/* 1, 0 at the end, -EINVAL. */
int remote_sample_next(struct slice *samples, struct remote_sample *ret);

/* Snappy's block format; the size it claims is checked first. -EINVAL, -EFBIG. */
int snappy_decode(struct slice in, size_t limit_bytes, struct buf *out);

#endif
