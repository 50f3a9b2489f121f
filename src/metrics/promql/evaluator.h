/* evaluator.h: for the files that evaluate: rows of values, the memory of a query, its failure.
 *
 * Everything works on whole rows: one series over all steps of a query. A node of the tree is
 * evaluated once, into a vector of rows; the steps are the inner loops. */
#ifndef METRICS_PROMQL_EVALUATOR_H
#define METRICS_PROMQL_EVALUATOR_H

#include "base/cores.h"
#include "metrics/histogram.h"
#include "metrics/labels.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/eval.h"

#include <pthread.h>

/* A cell without a value. Stale markers never reach a row, and no arithmetic makes these bits. */
#define ABSENT_BITS VALUE_STALE_BITS
#define ABSENT      bits_double(ABSENT_BITS)

static inline bool present(double v)
{
    return double_bits(v) != ABSENT_BITS;
}

/* The moments of an evaluation: start, start + step, … */
struct frame {
    int64_t start_ms, step_ms;
    size_t n;   /* at least 1 */
    bool spans; /* its end is not its start, though there may be no other step before it */
};

static inline int64_t frame_ms(const struct frame *f, size_t i)
{
    return f->start_ms + (int64_t)i * f->step_ms;
}

/* Labels are sorted, without empty values; arrays are the query's memory, strings that or the
 * database's. Both v and h have frame.n cells. */
struct row {
    struct labels labels;
    bool drop_name; /* the metric's name goes at the very end */
    double *v;      /* owned; from cells_new */
    const struct histogram *
        *h; /* owned; NULL: no histograms; h[i] NULL: none here, else v[i] is ABSENT */
};
struct vector {
    struct row *rows;
    size_t n, cap;
};

/* Where rows go as they are made, series by series: called by any worker, by each in the order of the
 * series. Labels and cells stay the caller's and are valid for the call; one that keeps the cells
 * sets v and h to NULL. */
struct mem;
struct row_sink {
    int (*row)(void *ctx, struct mem *m, unsigned worker, struct row *row);
    void *ctx;
};

struct note; /* notes.h */
struct mem_chunk;
void mem_chunks_free(struct mem_chunk *c);

struct evaluator {
    const struct eval *ev;
    struct slice text; /* of the query */

    pthread_mutex_t lock; /* guards: notes, why, chunks */
    struct mem_chunk *chunks;
    struct note *notes;
    size_t n_notes, cap_notes;
    struct buf *why;

    /* Atomic: workers add to them. */
    uint64_t bytes, bytes_peak; /* of cells and chunks */
    uint64_t samples_read;      /* from the database */
    uint64_t samples_total;     /* looked at, over all steps */
    uint64_t series_touched;
    uint64_t samples_now, samples_peak;
    int failure;    /* 0, or what every loop is to stop with */
    int64_t ask_ms; /* when to ask next whether the client is there */

    /* Nodes above the one at hand that need of a histogram only its count and sum, and that need
     * its buckets. */
    unsigned above_counts, above_buckets;
};

/* Memory that lives as long as the evaluation; each worker has its own. Zeroed on init. */
struct mem {
    struct evaluator *ev;
    char *at;
    size_t left;
};
void *mem_get(struct mem *m, size_t n);
struct slice mem_slice(struct mem *m, struct slice s);
struct labels mem_labels(struct mem *m, const struct labels *l); /* a copy of the array */

/* -EBADMSG, the text said to the client with "execution". The first stays. */
int eval_fail(struct evaluator *ev, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Time, cancellation, limits: 0, or a negative errno that stays. Cheap enough for every series. */
int eval_check(struct evaluator *ev);
/* In a loop over many cells: has the query ended meanwhile? Asked once in so many. */
#define EVAL_RUN 65536
static inline bool eval_stops(struct evaluator *ev, size_t i)
{
    return i % EVAL_RUN == EVAL_RUN - 1 && eval_check(ev) < 0;
}
/* For cores_run: as many as are worth it. */
size_t eval_threads(size_t rows, size_t cells);
void eval_count(struct evaluator *ev, size_t series, size_t samples); /* read */
void eval_looked(struct evaluator *ev, size_t samples);               /* at a step, or all */

void cells_fill(double *cells, size_t n); /* with ABSENT */
/* n cells, all ABSENT. NULL: the query takes too much memory, eval_check says so. */
double *cells_new(struct evaluator *ev, size_t n);
const struct histogram **cells_histograms(struct evaluator *ev, size_t n); /* all NULL */
/* Room for n points of the result: counted until the evaluation ends. NULL: too much. */
struct point *points_new(struct evaluator *ev, size_t n);
/* False, and the query fails: so many cells are more than it may have at all. */
bool cells_fit(struct evaluator *ev, size_t n);
void row_done(struct evaluator *ev, struct row *r, size_t n);
bool row_is_empty(const struct row *r, size_t n);
bool row_has_histograms(const struct row *r, size_t n);
void row_drop_histograms(struct evaluator *ev, struct row *r, size_t n);
static inline bool row_has(const struct row *r, size_t i)
{
    return present(r->v[i]) || (r->h != NULL && r->h[i] != NULL);
}

/* A new row at the end with cells; NULL as cells_new. */
struct row *vector_add(struct evaluator *ev, struct vector *v, size_t n_cells);
void vector_push(struct vector *v, struct row r); /* takes its cells */
void vector_done(struct evaluator *ev, struct vector *v, size_t n_cells);
/* Drops rows without any value; keeps the order. */
void vector_compact(struct evaluator *ev, struct vector *v, size_t n_cells);
/* Makes rows with equal labels one. A step where two have a value: the error of duplicates. */
int vector_merge(struct evaluator *ev, struct vector *v, size_t n_cells);

#define DUPLICATE_TEXT "vector cannot contain metrics with the same labelset"

/* Evaluates a node of type scalar (one row without labels) or instant vector. Rows without any
 * value may be in it. */
int eval_node(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              struct vector *ret);
/* Rows become the series of the result: names go from those that drop them, equal ones merge. Takes
 * the rows. */
int take_rows(struct evaluator *ev, struct mem *m, const struct frame *f, struct vector *v,
              struct result *ret);
/* Can rows of the node go to a sink one by one, none of them kept? Then eval_flow passes those with
 * a value. */
bool eval_can_flow(const struct evaluator *ev, const struct expr *e, const struct frame *f);
int eval_flow(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              const struct row_sink *to);
/* What a node asks of the histograms below it, from here on; `by` 1 or -1. */
void eval_needs(struct evaluator *ev, const struct expr *e, int by);
int eval_call(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              struct vector *ret);
int eval_aggregate(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                   struct vector *ret);
void minus_row(struct mem *m, struct row *row, size_t n);
/* A row and a scalar: in place. */
int binary_scalar_row(struct evaluator *ev, struct mem *m, const struct expr *e,
                      const struct frame *f, struct row *row, const double *s);
int eval_binary(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                struct vector *ret);
int eval_scalar(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                double **ret); /* n cells, all present; freed with cells_free */
void cells_free(struct evaluator *ev, double *cells, size_t n);

/* Of histograms only counts and sums matter: then their resets are told from sample to sample, as
 * Prometheus' iterator of statistics does. */
static inline bool eval_counts_only(const struct evaluator *ev)
{
    return ev->above_counts > 0 && ev->above_buckets == 0;
}

/* Threads of one query. */
#define WORKERS_MAX CORES_MAX

#endif
