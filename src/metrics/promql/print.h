/* print.h: a query as text again: in one line, over several, and as the JSON of its tree. */
#ifndef METRICS_PROMQL_PRINT_H
#define METRICS_PROMQL_PRINT_H

#include "base/json.h"
#include "metrics/promql/ast.h"

/* In one line, in Prometheus' form. */
void promql_print(struct buf *out, const struct expr *e);
/* Over several lines where one would be longer than 100 characters. */
void promql_pretty(struct buf *out, const struct expr *e);
/* The tree, as /api/v1/parse_query answers it. */
void promql_json(struct json *j, const struct expr *e);

/* The node alone, without what is below it: "sum by (job)", "rate", "+". */
void promql_print_node(struct buf *out, const struct expr *e);

/* Seconds to ms: what is below is cut off. */
int64_t duration_trunc_ms(double seconds);
/* 5m, 1h30m, 0s: years and weeks only if nothing is left. */
void print_duration_ms(struct buf *out, int64_t ms);
void print_plain(struct buf *out, double v); /* Go's 'f' format: all digits, no exponent */
void print_duration(struct buf *out, const struct duration *d);
void print_selector(struct buf *out, const struct selector *s); /* name and braces */
const char *duration_op_text(enum duration_op op);
const char *match_op_text(enum match_op op);

/* As the API prints them. */
#define VALUE_TEXT_MAX 64
#define TIME_TEXT_MAX  32
/* The same where there is room for so many bytes; returns the end. */
char *value_put(char *at, double v);
char *time_put(char *at, int64_t ts_ms);
void print_value(struct buf *out, double v);     /* shortest: 0.1, 1e+21, NaN, +Inf */
void print_time(struct buf *out, int64_t ts_ms); /* seconds: 1700000000, 1700000000.500 */

#endif
