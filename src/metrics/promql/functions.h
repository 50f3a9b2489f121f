/* functions.h: the functions of PromQL, their arguments and results. */
#ifndef METRICS_PROMQL_FUNCTIONS_H
#define METRICS_PROMQL_FUNCTIONS_H

#include "base/slice.h"

enum value_type { VALUE_NONE, VALUE_SCALAR, VALUE_VECTOR, VALUE_MATRIX, VALUE_STRING };

/* Id, name, types of the arguments (v instant vector, m range vector, s scalar, t string), how many
 * of them vary, type of the result, experimental in Prometheus. Variadic n > 0: the last may be
 * absent or come n times; -1: any number of times, or none. Sorted by name. */
/* clang-format off */
#define PROMQL_FUNCTIONS(F) \
    F(ABS, "abs", "v", 0, VALUE_VECTOR, false) \
    F(ABSENT, "absent", "v", 0, VALUE_VECTOR, false) \
    F(ABSENT_OVER_TIME, "absent_over_time", "m", 0, VALUE_VECTOR, false) \
    F(ACOS, "acos", "v", 0, VALUE_VECTOR, false) \
    F(ACOSH, "acosh", "v", 0, VALUE_VECTOR, false) \
    F(ASIN, "asin", "v", 0, VALUE_VECTOR, false) \
    F(ASINH, "asinh", "v", 0, VALUE_VECTOR, false) \
    F(ATAN, "atan", "v", 0, VALUE_VECTOR, false) \
    F(ATANH, "atanh", "v", 0, VALUE_VECTOR, false) \
    F(AVG_OVER_TIME, "avg_over_time", "m", 0, VALUE_VECTOR, false) \
    F(CEIL, "ceil", "v", 0, VALUE_VECTOR, false) \
    F(CHANGES, "changes", "m", 0, VALUE_VECTOR, false) \
    F(CLAMP, "clamp", "vss", 0, VALUE_VECTOR, false) \
    F(CLAMP_MAX, "clamp_max", "vs", 0, VALUE_VECTOR, false) \
    F(CLAMP_MIN, "clamp_min", "vs", 0, VALUE_VECTOR, false) \
    F(COS, "cos", "v", 0, VALUE_VECTOR, false) \
    F(COSH, "cosh", "v", 0, VALUE_VECTOR, false) \
    F(COUNT_OVER_TIME, "count_over_time", "m", 0, VALUE_VECTOR, false) \
    F(DAY_OF_MONTH, "day_of_month", "v", 1, VALUE_VECTOR, false) \
    F(DAY_OF_WEEK, "day_of_week", "v", 1, VALUE_VECTOR, false) \
    F(DAY_OF_YEAR, "day_of_year", "v", 1, VALUE_VECTOR, false) \
    F(DAYS_IN_MONTH, "days_in_month", "v", 1, VALUE_VECTOR, false) \
    F(DEG, "deg", "v", 0, VALUE_VECTOR, false) \
    F(DELTA, "delta", "m", 0, VALUE_VECTOR, false) \
    F(DERIV, "deriv", "m", 0, VALUE_VECTOR, false) \
    F(DOUBLE_EXPONENTIAL_SMOOTHING, "double_exponential_smoothing", "mss", 0, VALUE_VECTOR, true) \
    F(END, "end", "", 0, VALUE_SCALAR, true) \
    F(EXP, "exp", "v", 0, VALUE_VECTOR, false) \
    F(FIRST_OVER_TIME, "first_over_time", "m", 0, VALUE_VECTOR, false) \
    F(FLOOR, "floor", "v", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_AVG, "histogram_avg", "v", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_COUNT, "histogram_count", "v", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_FRACTION, "histogram_fraction", "ssv", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_QUANTILE, "histogram_quantile", "sv", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_QUANTILES, "histogram_quantiles", "vtss", 9, VALUE_VECTOR, true) \
    F(HISTOGRAM_STDDEV, "histogram_stddev", "v", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_STDVAR, "histogram_stdvar", "v", 0, VALUE_VECTOR, false) \
    F(HISTOGRAM_SUM, "histogram_sum", "v", 0, VALUE_VECTOR, false) \
    F(HOUR, "hour", "v", 1, VALUE_VECTOR, false) \
    F(IDELTA, "idelta", "m", 0, VALUE_VECTOR, false) \
    F(INCREASE, "increase", "m", 0, VALUE_VECTOR, false) \
    F(INFO, "info", "vv", 1, VALUE_VECTOR, true) \
    F(INTEGRAL, "integral", "ms", 1, VALUE_VECTOR, true) \
    F(IRATE, "irate", "m", 0, VALUE_VECTOR, false) \
    F(LABEL_JOIN, "label_join", "vttt", -1, VALUE_VECTOR, false) \
    F(LABEL_REPLACE, "label_replace", "vtttt", 0, VALUE_VECTOR, false) \
    F(LAST_OVER_TIME, "last_over_time", "m", 0, VALUE_VECTOR, false) \
    F(LN, "ln", "v", 0, VALUE_VECTOR, false) \
    F(LOG10, "log10", "v", 0, VALUE_VECTOR, false) \
    F(LOG2, "log2", "v", 0, VALUE_VECTOR, false) \
    F(MAD_OVER_TIME, "mad_over_time", "m", 0, VALUE_VECTOR, true) \
    F(MAX_OF, "max_of", "ss", 0, VALUE_SCALAR, true) \
    F(MAX_OVER_TIME, "max_over_time", "m", 0, VALUE_VECTOR, false) \
    F(MIN_OF, "min_of", "ss", 0, VALUE_SCALAR, true) \
    F(MIN_OVER_TIME, "min_over_time", "m", 0, VALUE_VECTOR, false) \
    F(MINUTE, "minute", "v", 1, VALUE_VECTOR, false) \
    F(MONTH, "month", "v", 1, VALUE_VECTOR, false) \
    F(PI, "pi", "", 0, VALUE_SCALAR, false) \
    F(PREDICT_LINEAR, "predict_linear", "ms", 0, VALUE_VECTOR, false) \
    F(PRESENT_OVER_TIME, "present_over_time", "m", 0, VALUE_VECTOR, false) \
    F(QUANTILE_OVER_TIME, "quantile_over_time", "sm", 0, VALUE_VECTOR, false) \
    F(RAD, "rad", "v", 0, VALUE_VECTOR, false) \
    F(RANGE, "range", "", 0, VALUE_SCALAR, true) \
    F(RATE, "rate", "m", 0, VALUE_VECTOR, false) \
    F(RESETS, "resets", "m", 0, VALUE_VECTOR, false) \
    F(ROUND, "round", "vs", 1, VALUE_VECTOR, false) \
    F(SCALAR, "scalar", "v", 0, VALUE_SCALAR, false) \
    F(SGN, "sgn", "v", 0, VALUE_VECTOR, false) \
    F(SIN, "sin", "v", 0, VALUE_VECTOR, false) \
    F(SINH, "sinh", "v", 0, VALUE_VECTOR, false) \
    F(SORT, "sort", "v", 0, VALUE_VECTOR, false) \
    F(SORT_BY_LABEL, "sort_by_label", "vt", -1, VALUE_VECTOR, true) \
    F(SORT_BY_LABEL_DESC, "sort_by_label_desc", "vt", -1, VALUE_VECTOR, true) \
    F(SORT_DESC, "sort_desc", "v", 0, VALUE_VECTOR, false) \
    F(SQRT, "sqrt", "v", 0, VALUE_VECTOR, false) \
    F(START, "start", "", 0, VALUE_SCALAR, true) \
    F(START_TIMESTAMP, "start_timestamp", "v", 0, VALUE_VECTOR, true) \
    F(STDDEV_OVER_TIME, "stddev_over_time", "m", 0, VALUE_VECTOR, false) \
    F(STDVAR_OVER_TIME, "stdvar_over_time", "m", 0, VALUE_VECTOR, false) \
    F(STEP, "step", "", 0, VALUE_SCALAR, true) \
    F(SUM_OVER_TIME, "sum_over_time", "m", 0, VALUE_VECTOR, false) \
    F(TAN, "tan", "v", 0, VALUE_VECTOR, false) \
    F(TANH, "tanh", "v", 0, VALUE_VECTOR, false) \
    F(TIME, "time", "", 0, VALUE_SCALAR, false) \
    F(TIMESTAMP, "timestamp", "v", 0, VALUE_VECTOR, false) \
    F(TS_OF_FIRST_OVER_TIME, "ts_of_first_over_time", "m", 0, VALUE_VECTOR, true) \
    F(TS_OF_LAST_OVER_TIME, "ts_of_last_over_time", "m", 0, VALUE_VECTOR, true) \
    F(TS_OF_MAX_OVER_TIME, "ts_of_max_over_time", "m", 0, VALUE_VECTOR, true) \
    F(TS_OF_MIN_OVER_TIME, "ts_of_min_over_time", "m", 0, VALUE_VECTOR, true) \
    F(VECTOR, "vector", "s", 0, VALUE_VECTOR, false) \
    F(YEAR, "year", "v", 1, VALUE_VECTOR, false)
/* clang-format on */

#define F(id, name, args, variadic, returns, experimental) FN_##id,
enum function_id { PROMQL_FUNCTIONS(F) FUNCTIONS_COUNT };
#undef F

struct function {
    enum function_id id;
    const char *name;
    const char *args;
    int variadic;
    enum value_type returns;
    bool experimental;
};

/* NULL: there is none of that name. */
const struct function *function_find(struct slice name);
/* The type of the i-th argument, the last repeating. */
enum value_type function_arg(const struct function *f, size_t i);

#endif
