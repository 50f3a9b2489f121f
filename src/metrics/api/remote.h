/* remote.h: reads the messages of remote write, 1.0 (prometheus.WriteRequest) and 2.0
 * (io.prometheus.write.v2.Request), zero-copy. */
#ifndef METRICS_API_REMOTE_H
#define METRICS_API_REMOTE_H

#include "metrics/histogram_proto.h"
#include "metrics/labels.h"

#define REMOTE_SYMBOLS_MAX (1u << 20) /* of a request 2.0 */

enum remote_version { REMOTE_1, REMOTE_2 };

struct remote_sample {
    int64_t ts_ms;
    uint64_t bits;
    int64_t start_ms; /* 2.0: when its counter began; 0: not told */
};

struct remote_exemplar {
    struct labels labels; /* sorted; in the room of struct remote: until the next */
    int64_t ts_ms;
    uint64_t bits;
};

/* One time series. */
struct remote_series {
    struct slice raw; /* 1.0: its labels as they came, if they stand before the samples; or empty */
    struct labels labels; /* after remote_labels: sorted, none empty; they point into the message */
    struct slice rest;    /* its fields, with the samples, histograms and exemplars */
};

struct remote_metadata {
    uint64_t type; /* the enum of prometheus.MetricMetadata */
    struct slice metric, help, unit;
};

struct remote {
    enum remote_version version;
    struct slice in;
    struct slice *symbols;
    size_t n_symbols;
    struct label room[LABELS_MAX + 1];
    struct label exemplar_room[LABELS_MAX + 1];
    struct remote_series series;
    struct slice series_bytes;
    struct remote_metadata metadata; /* 2.0: of the series, after remote_labels; metric empty: none */
    struct buf why;                  /* why remote_labels gave 0, in Prometheus' words */
};
enum remote_entry { REMOTE_END, REMOTE_SERIES, REMOTE_METADATA };

/* -EINVAL: it is no such message; -EFBIG: too many symbols. remote_done in any case. */
int remote_init(struct remote *r, enum remote_version version, struct slice message);
void remote_done(struct remote *r);
/* The next entry. -EINVAL: it is no such message. */
int remote_next(struct remote *r);
/* Reads the labels of the series: 1; 0: they are not valid (no name, a name twice, too many, no
 * UTF-8), the series is to be passed over; -EINVAL. */
int remote_labels(struct remote *r);
/* Each moves on in `rest`, a copy of series.rest: 1, 0 at the end, -EINVAL. */
int remote_sample_next(struct slice *rest, struct remote_sample *ret);
/* *ret is new. Valid or not: histogram_check says. */
int remote_histogram_next(const struct remote *r, struct slice *rest, struct histogram **ret,
                          struct histogram_times *ret_times);
/* Labels that are not valid: they are left out. */
int remote_exemplar_next(struct remote *r, struct slice *rest, struct remote_exemplar *ret);

#endif
