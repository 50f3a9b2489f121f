/* exposition.h: reads what a target exposes: text 0.0.4 and 1.0.0, OpenMetrics 1.0. Zero-copy over
 * a whole body; accepts, refuses and explains exactly what Prometheus 3.16 does, except that a
 * blank before a name never becomes part of it. */
#ifndef METRICS_SCRAPE_EXPOSITION_H
#define METRICS_SCRAPE_EXPOSITION_H

#include "metrics/labels.h"

enum exposition_format { EXPOSITION_TEXT, EXPOSITION_OPENMETRICS };

enum metric_type {
    METRIC_UNKNOWN,
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_GAUGEHISTOGRAM,
    METRIC_SUMMARY,
    METRIC_INFO,
    METRIC_STATESET,
};
const char *metric_type_name(enum metric_type t); /* as the API spells it */

enum exposition_entry {
    EXPOSITION_END,
    EXPOSITION_SAMPLE,
    EXPOSITION_TYPE, /* name, type */
    EXPOSITION_HELP, /* name, text: escapes as they came */
    EXPOSITION_UNIT, /* name, text */
};

struct exposition_label {
    struct slice name, value; /* between the quotes, escapes as they came */
    bool quoted;              /* the name was */
};

struct exposition {
    const char *p, *end, *start; /* start: of the entry */
    enum exposition_format format;
    /* Does the text at p (left bytes) begin with a series text that is known? Its length, or 0.
     * Then only the value is read. NULL: nothing is known. */
    size_t (*known)(void *ctx, const char *p, size_t left);
    void *known_ctx;

    /* Of a sample: */
    struct slice series; /* its text, up to the value; as the key of a cache */
    bool is_known;       /* `known` said so; labels are not set then */
    struct exposition_label labels[LABELS_MAX];
    size_t n_labels;
    struct slice metric;
    bool metric_quoted, metric_set;
    double value;
    bool has_timestamp;
    int64_t timestamp_ms;
    bool has_exemplar, exemplar_timed;
    struct slice exemplar; /* its labels as they came */
    double exemplar_value;
    int64_t exemplar_ms;
    /* Of metadata: */
    struct slice name, text;
    enum metric_type type; /* of the last TYPE line */

    struct buf why;
};

void exposition_init(struct exposition *x, enum exposition_format format, struct slice body);
void exposition_done(struct exposition *x);
/* The next entry; -EINVAL with the reason in x->why: nothing of the body counts then. */
int exposition_next(struct exposition *x);
/* The labels of the sample just read: unescaped, checked, with `le` and `quantile` normalised,
 * without empty values, sorted; strings in the op or in the body. -EINVAL with a reason in x->why.
 */
int exposition_labels(struct exposition *x, struct op *op, struct labels *ret);
/* The labels of the sample's exemplar, once; as exposition_labels; none if they are not valid. */
struct labels exposition_exemplar(struct exposition *x, struct op *op);
/* The text of HELP without its escapes. In the op. */
struct slice exposition_help(const struct exposition *x, struct op *op);

/* By Content-Type; -EINVAL with a reason in why. NULL: it was not sent. */
int exposition_format_of(const char *content_type, enum exposition_format *ret, struct buf *why);

/* A value as both formats write it: Go's ParseFloat without hex and underscores. Every NaN is the
 * one that stands for a real NaN. Errors as Go words them. */
int value_parse(struct slice s, double *ret, struct buf *why);
/* "1.0", "0.001", "+Inf": a float as OpenMetrics writes `le`. */
size_t value_print_openmetrics(double v, char text[40]);

/* For the two formats' files. */
int exposition_fail(struct exposition *x, const char *expected, const char *token, const char *at,
                    const char *name);
int exposition_fail_text(struct exposition *x, const char *end, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int openmetrics_next(struct exposition *x);
int openmetrics_exemplar(struct exposition *x, struct exposition_label *ret); /* 1, 0 at the end */
const char *exposition_name_end(const char *p, const char *end, bool colon);
const char *exposition_quoted_end(const char *p, const char *end);
int exposition_add_label(struct exposition *x, struct slice name, bool quoted, struct slice value);

#endif
