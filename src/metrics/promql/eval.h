/* eval.h: evaluation of a query, and its result. */
#ifndef METRICS_PROMQL_EVAL_H
#define METRICS_PROMQL_EVAL_H

#include "metrics/labels.h"
#include "metrics/promql/functions.h"

struct db;
struct expr;
struct histogram;
struct mem_chunk;

struct point {
    int64_t ts_ms;
    double v;
    const struct histogram *h; /* NULL: a float; else v is nothing */
};
struct result_series {
    struct labels labels;
    struct point *points; /* NULL: in cells */
    double *cells;        /* only if asked for: a value, or CELL_EMPTY, for each step of the result */
    size_t n_points;
};
#define CELL_EMPTY VALUE_STALE_BITS /* its bits */

/* In memory; strings live as long as the result or the database. */
struct result {
    enum value_type type;
    struct result_series *series; /* SCALAR: one without labels. VECTOR: one point each, in the
                                     order of the language; MATRIX: sorted by labels */
    size_t n;
    int64_t start_ms, step_ms; /* of cells */
    size_t n_steps;
    struct slice string;      /* STRING */
    char **warnings, **infos; /* as the API shows them */
    size_t n_warnings, n_infos;
    uint64_t samples_read;   /* from the database */
    uint64_t samples_total;  /* looked at, summed over the steps */
    uint64_t series_touched; /* summed over the selectors */
    uint64_t samples_peak;   /* held at once */
    uint64_t bytes_peak;     /* of the evaluation */
    uint64_t bytes;          /* of what is left of it, this result among it */
    struct mem_chunk *chunks; /* private */
};
void result_done(struct result *r); /* of a zeroed one too */

struct eval {
    struct db *db;
    struct slice text;                 /* of the query: for the places in annotations */
    int64_t start_ms, end_ms, step_ms; /* an instant: start == end, step 0 */
    int64_t lookback_ms;
    int64_t subquery_step_ms;     /* of subqueries without one; 0: a minute */
    uint64_t samples_max;         /* held at once; 0: no limit */
    uint64_t bytes_max;           /* of rows and results; 0: 2 GiB */
    int64_t deadline_ms;          /* of clock_monotonic_ms; 0: none */
    bool as_cells;                /* all series may come in cells, if they are floats alone */
    bool eager_names;             /* operators and functions drop the metric's name at once */
    bool ignore_starts;           /* start times of samples say nothing */
    bool (*cancelled)(void *ctx); /* asked now and then, by any thread; may be NULL */
    void *ctx;
};

/* Evaluates a tree that promql_prepare has been given the same times. The result is to be freed
 * only on success. -EBADMSG: the query failed, its words are in why; -E2BIG: more samples or memory
 * than it may have; -ETIMEDOUT, -ECANCELED, -EIO. Any thread. */
int promql_eval(const struct eval *ev, const struct expr *e, struct result *ret, struct buf *why);

#endif
