/* notes.h: annotations: what is odd about a query or its data, worded as Prometheus words it. */
#ifndef METRICS_PROMQL_NOTES_H
#define METRICS_PROMQL_NOTES_H

#include "metrics/promql/evaluator.h"

enum note_kind { NOTE_WARNING, NOTE_INFO, NOTE_MONOTONICITY, NOTE_OVERLAP };

/* A repeated text counts once, with the place of the last. Any thread. */
void note_add(struct evaluator *ev, enum note_kind kind, struct span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The buckets of a classic histogram had to be mended at this moment. `name` may be empty. */
void note_monotonicity(struct evaluator *ev, struct span at, struct slice name, int64_t ts_ms,
                       double lowest, double highest, double max_diff);
/* A sample counts since before the one that stands before it: once for each window. The place is
 * that of the first. */
void note_overlap(struct evaluator *ev, struct span at, struct slice name);
/* Moves them into the result. */
void notes_take(struct evaluator *ev, struct result *ret);
void notes_done(struct evaluator *ev);

/* The ones that several files add. */
void note_ignored_in_range(struct evaluator *ev, struct span at, struct slice name);
void note_mixed(struct evaluator *ev, struct span at, struct slice name);
void note_mixed_schemas(struct evaluator *ev, struct span at, struct slice name);
void note_reconciled(struct evaluator *ev, struct span at, const char *operation);
void note_collision(struct evaluator *ev, struct span at, const char *operation);
void note_bad_quantile(struct evaluator *ev, struct span at, double q);

/* Numbers as Go prints them: %g, strconv's 'f', and OpenMetrics' form of a quantile. */
#define GO_TEXT_MAX 360
const char *go_g(double v, char text[GO_TEXT_MAX]);
const char *go_f(double v, char text[GO_TEXT_MAX]);
const char *go_metric(double v, char text[GO_TEXT_MAX]);

#endif
