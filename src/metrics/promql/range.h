/* range.h: functions over ranges: all windows of one series at a time. */
#ifndef METRICS_PROMQL_RANGE_H
#define METRICS_PROMQL_RANGE_H

#include "metrics/promql/notes.h"
#include "metrics/promql/select.h"

#define RANGE_SCALARS_MAX 2

/* What is the same for all series of a call. */
struct range_call {
    struct evaluator *ev;
    const struct frame *f;
    enum function_id fn;
    struct span at;       /* of the range vector */
    struct span strategy; /* of integral()'s second argument */
    struct look look;
    int64_t range_ms, lookback_ms;
    bool anchored, smoothed;
    double *scalars[RANGE_SCALARS_MAX]; /* other arguments, at each step; NULL: not given */
};

/* What the times of a window alone say of a rate. */
struct rate_step {
    double interval, to_start, to_end; /* seconds */
    double factor;                     /* if the counter is not found to begin at zero meanwhile */
};

/* One worker's: a series, its windows, and the row to fill. */
struct range_work {
    const struct range_call *c;
    struct mem *m;
    struct readings s;
    struct slice name; /* of the metric, for annotations */
    /* Window of step i: floats [from, to), histograms [hfrom, hto). */
    uint32_t *from, *to, *hfrom, *hto;
    struct row *out;
    struct row spare;   /* of a flow: cells for one series after the other */
    struct slice noted; /* the last name that was looked at for a note */
    double *scratch;
    size_t cap_scratch;
    uint32_t *resets; /* places of floats below the one before */
    size_t n_resets, cap_resets;
    /* What the windows were found for: series of one target often share their times. */
    int64_t *known_ts;
    size_t n_known, cap_known;
    bool known;
    size_t passed;           /* samples since it was asked whether the query goes on */
    size_t n_windows;        /* samples in all of them */
    struct rate_step *rates; /* of the windows as they are; NULL: not asked for yet */
    bool rates_known;
    struct series_room room;
};

static inline size_t floats_in(const struct range_work *w, size_t i)
{
    return w->to[i] - w->from[i];
}
static inline size_t histograms_in(const struct range_work *w, size_t i)
{
    return w->hto[i] - w->hfrom[i];
}

typedef void range_run(struct range_work *w);
range_run *range_find(enum function_id fn);

/* The bounds of the range at step i; samples of the window may lie outside if it is extended. */
static inline int64_t range_end(const struct range_work *w, size_t i)
{
    return look_ms(&w->c->look, w->c->f, i);
}
static inline int64_t range_start(const struct range_work *w, size_t i)
{
    return range_end(w, i) - w->c->range_ms;
}

/* Asked at each step of what may take long: the query has ended meanwhile. */
static inline bool range_stops(struct range_work *w, size_t i)
{
    w->passed += 256 + floats_in(w, i);
    if (w->passed < 65536)
        return false;
    w->passed = 0;
    return eval_check(w->c->ev) < 0;
}

void put_histogram(struct range_work *w, size_t i, const struct histogram *h);
double *range_scratch(struct range_work *w, size_t n);

/* Neumaier's summation, step by step as Prometheus does it. */
static inline void kahan_add(double v, double *sum, double *c)
{
    double t = *sum + v;

    if (__builtin_isinf(t))
        *c = 0;
    else if (__builtin_fabs(*sum) >= __builtin_fabs(v))
        *c += (*sum - t) + v;
    else
        *c += (v - t) + *sum;
    *sum = t;
}

/* Duration.Seconds of Go. */
static inline double go_seconds(int64_t ms)
{
    return (double)(ms / 1000) + (double)(ms % 1000 * 1000000) / 1e9;
}

/* range_starts.c: what start times say; 0: not told. */
/* Did the counter of a sample begin anew after the one before it? */
bool start_is_reset(int64_t before_start, int64_t before_ms, int64_t start, int64_t ts_ms);
/* After that time? */
bool start_is_after(int64_t after_ms, int64_t start, int64_t ts_ms);
/* Notes once for a window whose n samples count since times that others stand in. */
void note_overlaps(struct range_work *w, const int64_t *ts, const int64_t *st, size_t n);
/* Anchored and smoothed ranges of counters with start times. */
void extended_started(struct range_work *w, size_t i, double per_seconds);

double quantile_of(double q, double *values, size_t n); /* sorts them */

/* The sums or means of windows from step i on, side by side; how many, 0: they are not alike. `most`:
 * of all samples, most_of. */
size_t sum_lanes(struct range_work *w, size_t i, bool average, double most);
/* The same of variances, into `ret`, where there is room for LANES_MAX. */
#define LANES_MAX 8
size_t variance_lanes(struct range_work *w, size_t i, double ret[]);
/* The largest, if none is below zero, and none not a number; else infinite. */
double most_of(const double *v, size_t n);

range_run run_rate, run_increase, run_delta, run_irate, run_idelta, run_resets, run_changes;
range_run run_sum, run_avg, run_count, run_first, run_last, run_present, run_smooth;
/* Of an extended range: the last sample at or before the start, or the first there is; and the last
 * that counts. */
void extended_find(const int64_t *ts, size_t a, size_t b, int64_t start, int64_t end,
                   bool smoothed, size_t *ret_first, size_t *ret_last);
/* The values at the bounds of an extended range, and which samples they come from; false: there is
 * nothing in it. */
bool extended_edges(const struct readings *s, int64_t start, int64_t end, bool smoothed,
                    size_t *ret_first, size_t *ret_last, double *ret_left, double *ret_right);
/* Anchored and smoothed ranges. */
void run_extended(struct range_work *w, bool counter, bool per_second);
/* Histograms only; the window has at least one. NULL: no result (the reason is noted). */
const struct histogram *sum_histograms(struct range_work *w, size_t i);
const struct histogram *avg_histograms(struct range_work *w, size_t i);
/* At least two. */
const struct histogram *rate_histograms(struct range_work *w, size_t i, bool counter);
/* a + sign * b, with the notes that it takes; NULL if they do not mix. */
struct histogram *combine_histograms(struct range_work *w, const struct histogram *a,
                                     const struct histogram *b, int sign);
const struct histogram *extended_histograms(struct range_work *w, size_t i, bool counter,
                                            bool per_second);

/* Evaluates a call whose argument number `arg` is a range vector. */
int eval_range_call(struct evaluator *ev, struct mem *m, const struct expr *e, size_t arg,
                    const struct frame *f, struct vector *ret);
/* The same of a range selector, not absent_over_time; rows go to `to`. */
int range_flow(struct evaluator *ev, struct mem *m, const struct expr *e, size_t arg,
               const struct frame *f, const struct row_sink *to);
int select_smoothed(struct evaluator *ev, const struct expr *e, const struct frame *f,
                    struct vector *ret);

#endif
