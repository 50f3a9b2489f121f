/* aggregate.h: aggregations: rows into groups. */
#ifndef METRICS_PROMQL_AGGREGATE_H
#define METRICS_PROMQL_AGGREGATE_H

#include "metrics/promql/labelset.h"
#include "metrics/promql/notes.h"

/* The input of an aggregation, and which group each row belongs to. */
struct grouping {
    struct evaluator *ev;
    struct mem *m;
    const struct expr *e;
    struct span at; /* of what is aggregated */
    const struct frame *f;
    struct vector in;
    struct label_index groups;
    uint32_t *group_of; /* by row */
    double *param;      /* at each step; NULL: there is none */
};

/* The largest and the smallest value of the parameter. */
struct param_range {
    double min, max;
    bool nan;
};
struct param_range param_range(const struct grouping *g);

/* sum, avg, min, max, count, group, stddev and stdvar: a row is added to its group's as it comes. */
bool aggregate_is_sum(enum aggregate_op op);
int aggregate_sums(struct grouping *g, const struct expr *inner, struct vector *ret);
int aggregate_topk(struct grouping *g, struct vector *ret); /* also bottomk, limitk, limit_ratio */
int aggregate_quantile(struct grouping *g, struct vector *ret);
int aggregate_count_values(struct grouping *g, struct vector *ret);
/* Puts the sums or means of histograms into the groups' rows, and takes out cells where floats and
 * histograms meet. */
int aggregate_histograms(struct grouping *g, struct vector *groups, bool average);
void note_ignored(const struct grouping *g, const char *operation);

#endif
