/* select.h: from selectors to rows: one pass over each series for all steps of a query. */
#ifndef METRICS_PROMQL_SELECT_H
#define METRICS_PROMQL_SELECT_H

#include "metrics/promql/evaluator.h"
#include "metrics/query.h"

/* Samples of one series over the whole of a query, without stale markers. */
struct readings {
    struct labels labels;
    bool drop_name;
    const int64_t *ts;
    const double *v;
    size_t n;
    const int64_t *hts;
    const struct histogram *const *h;
    size_t n_h;
    bool counted; /* each value says how many samples it stands for */
    /* Since when the samples count, 0: not told; NULL: of none it is told, or it was not asked. */
    const int64_t *st, *hst;
};

/* The moment of step i that a selector looks at. */
struct look {
    bool fixed; /* @ */
    int64_t at_ms, offset_ms;
};
struct look look_of(const struct moment *m);
static inline int64_t look_ms(const struct look *l, const struct frame *f, size_t i)
{
    return (l->fixed ? l->at_ms : frame_ms(f, i)) - l->offset_ms;
}

enum select_what {
    SELECT_VALUES,
    SELECT_TIMES, /* the time of the sample, in ms, is the value */
    SELECT_STARTS, /* the same with the time since when it counts; 0: not told */
    SELECT_FLOAT_TIMES, /* the same; where the sample is a histogram, that stands there */
};
/* Between the moments of a frame that a selector looks at; 0: there is one. */
static inline int64_t look_step_ms(const struct look *l, const struct frame *f)
{
    return l->fixed || f->n == 1 ? 0 : f->step_ms;
}

int select_rows(struct evaluator *ev, const struct matcher *matchers, size_t n,
                const struct look *look, enum select_what what, const struct frame *f,
                struct vector *ret);
int select_instant(struct evaluator *ev, const struct expr *e, const struct frame *f,
                   struct vector *ret);
/* The same; rows go to `to`. Not of a smoothed selector. */
int select_flow(struct evaluator *ev, const struct expr *e, const struct frame *f,
                const struct row_sink *to);

/* f for each series with samples in [from, to]; in a thread for each core if there are many: each
 * has a share of the series that follow each other, the first the first ones. `i` is the
 * place of the series among `n` that begin was told of. */
struct select_visit {
    int (*begin)(void *ctx, size_t n);
    int (*series)(void *ctx, struct mem *m, unsigned worker, size_t i,
                  const struct query_item *item);
    void *ctx;
    struct query_grain grain;
    size_t steps; /* that each series is looked at for */
};
int select_visit(struct evaluator *ev, const struct matcher *matchers, size_t n, int64_t from_ms,
                 int64_t to_ms, unsigned flags, const struct select_visit *visit);

/* Room to take a query's item apart in. */
struct series_room {
    double *v;
    int64_t *ts, *hts;
    const struct histogram **h;
    size_t cap;
    int64_t *st, *hst;
    size_t cap_st;
};
void series_split(struct series_room *room, const struct query_item *item, struct readings *ret);
void series_room_need(struct series_room *room, size_t n);
void series_room_done(struct series_room *room);

/* What stands at the top of an instant query, straight into the result. */
int select_matrix(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct result *ret);
int select_subquery(struct evaluator *ev, struct mem *m, const struct expr *e,
                    const struct frame *f, struct result *ret);

/* Evaluates what is inside a subquery over all that the steps of f look at. */
int subquery_rows(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct frame *ret_frame, struct vector *ret);

#endif
