/* calls.h: functions on instant vectors, by kind. */
#ifndef METRICS_PROMQL_CALLS_H
#define METRICS_PROMQL_CALLS_H

#include "metrics/promql/evaluator.h"

/* What absent() and absent_over_time() answer with: the labels of equality matchers. */
struct labels absent_labels(struct mem *m, const struct expr *e);

typedef int call_fn(struct evaluator *ev, struct mem *m, const struct expr *e,
                    const struct frame *f, struct vector *ret);

/* call_labels.c, call_info.c, call_buckets.c, call_sort.c */
call_fn call_label_replace, call_label_join, call_info, call_absent;
call_fn call_histogram_quantile, call_histogram_quantiles, call_histogram_fraction;
call_fn call_sort;

/* Of seconds since 1970, in UTC. */
double date_minute(double v);
double date_hour(double v);
double date_day_of_week(double v);
double date_day_of_month(double v);
double date_day_of_year(double v);
double date_days_in_month(double v);
double date_month(double v);
double date_year(double v);

/* Arithmetic as Go's math has it, where that is not what C's library answers. */
double go_pow(double x, double y);
double go_log2(double x);
double go_exp2(double x);
double go_log10(double x);
double go_max(double a, double b);
double go_min(double a, double b);

#endif
