/* promql.h: the part of PromQL that is here: selectors with matchers, ranges, offset and @; numbers
 * and arithmetic on them; strings; vector(). Anything else is refused by name. */
#ifndef METRICS_PROMQL_PROMQL_H
#define METRICS_PROMQL_PROMQL_H

#include "metrics/query.h"

enum expr_kind {
    EXPR_SCALAR,
    EXPR_STRING,
    EXPR_VECTOR /* vector(scalar) */,
    EXPR_SELECTOR,
    EXPR_RANGE
};
enum expr_at { AT_NONE, AT_TIME, AT_START, AT_END };

struct expr {
    enum expr_kind kind;
    double number;       /* SCALAR, VECTOR */
    struct slice string; /* STRING; in the op */
    /* SELECTOR, RANGE: */
    struct matcher *matchers;
    size_t n_matchers;
    int64_t range_ms, offset_ms;
    enum expr_at at;
    int64_t at_ms;
};

/* -EINVAL with "1:5: parse error: reason" in why (line and column). */
int promql_parse(struct op *op, struct slice text, struct expr *ret, struct buf *why);
/* The same, for match[]: must be a selector without range, offset or @. */
int promql_parse_selector(struct op *op, struct slice text, struct expr *ret, struct buf *why);
void promql_done(struct expr *e); /* of a zeroed one too */

/* Results, in memory; series sorted by their labels. */
struct point {
    int64_t ts_ms;
    double v;
};
struct result_series {
    struct label *labels; /* strings live as long as the database */
    size_t n_labels;
    struct point *points;
    size_t n_points;
};
struct result {
    struct result_series *series;
    size_t n, cap;
    size_t samples; /* looked at */
};
void result_done(struct result *r);

struct eval {
    struct db *db;
    int64_t start_ms, end_ms, step_ms; /* an instant: start == end, step 0 */
    int64_t lookback_ms;
    uint64_t samples_max;
    int64_t deadline_ms; /* of clock_monotonic_ms; 0: none */
    bool keep_times;     /* an instant's points have their sample's time, not the instant's */
};
/* A SELECTOR over all steps, or a RANGE at an instant (all its samples). -E2BIG too many samples,
 * -ETIMEDOUT, -EIO. */
int promql_eval(const struct eval *ev, const struct expr *e, struct result *ret);

/* As the API prints them. */
void print_value(struct buf *out, double v);     /* shortest: 0.1, 1e+21, NaN, +Inf */
void print_time(struct buf *out, int64_t ts_ms); /* seconds: 1700000000, 1700000000.500 */

#endif
