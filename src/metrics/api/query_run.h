/* query_run.h: a query from its text to its result, for every door it may come through. */
#ifndef METRICS_API_QUERY_RUN_H
#define METRICS_API_QUERY_RUN_H

#include "metrics/metrics.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/eval.h"

struct query_spec {
    struct slice text; /* lives as long as the op */
    bool range;        /* over start..end by step; else at start (== end) */
    int64_t start_ms, end_ms, step_ms;
    int64_t lookback_ms; /* 0: five minutes */
    int64_t timeout_ms;  /* 0, or more than allowed: two minutes */
    bool ignore_starts;  /* start times of samples say nothing */
    bool as_cells;       /* of the result, see eval.h */
    bool explain;        /* what each node costs, in the nodes */
    const char *before;  /* of the reason when the text is wrong */
    struct web_request *req; /* its client may go; NULL: none */
};

struct query_run {
    struct promql q;
    struct result result;
    double queue_s, prepare_s, eval_s; /* what took how long */
};

/* Waits for its turn, then runs. Errors, with Prometheus' words in the op: -EINVAL the query is
 * wrong, -EBADMSG it failed on the data, -E2BIG too many samples, -ETIMEDOUT, -ECANCELED, -EBUSY,
 * -EIO. */
int query_run(struct op *op, struct metrics *m, const struct query_spec *spec,
              struct query_run *ret);
void query_run_done(struct query_run *run); /* of a zeroed one too */

#endif
