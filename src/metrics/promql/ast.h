/* ast.h: the syntax tree of PromQL (Prometheus 3.16), as the parser makes it and the evaluation
 * reads it. Nodes live in the op; only matchers hold memory of their own (promql_done). */
#ifndef METRICS_PROMQL_AST_H
#define METRICS_PROMQL_AST_H

#include "metrics/head/matcher.h"
#include "metrics/promql/functions.h"
#include "op/op.h"

/* Bytes [start, end) of the query's text. Errors and annotations name the start as line:column. */
struct span {
    uint32_t start, end;
};

enum expr_kind {
    EXPR_NUMBER,
    EXPR_STRING,
    EXPR_PAREN,
    EXPR_UNARY,
    EXPR_BINARY,
    EXPR_SELECTOR, /* instant vector selector */
    EXPR_MATRIX,   /* selector[range] */
    EXPR_SUBQUERY, /* expression[range:step] */
    EXPR_CALL,
    EXPR_AGGREGATE,
};

/* In the order of precedence classes; binary_op_text() prints them. */
enum binary_op {
    OP_OR,
    OP_AND,
    OP_UNLESS,
    OP_EQL, /* the comparisons: OP_EQL .. OP_GTE */
    OP_NEQ,
    OP_LSS,
    OP_LTE,
    OP_GTR,
    OP_GTE,
    OP_TRIM_UPPER, /* </ of native histograms */
    OP_TRIM_LOWER, /* >/ */
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_ATAN2,
    OP_POW,
};

enum aggregate_op {
    AGG_SUM,
    AGG_AVG,
    AGG_COUNT,
    AGG_MIN,
    AGG_MAX,
    AGG_GROUP,
    AGG_STDDEV,
    AGG_STDVAR,
    AGG_TOPK, /* from here on there is a parameter */
    AGG_BOTTOMK,
    AGG_COUNT_VALUES, /* the parameter is a string */
    AGG_QUANTILE,
    AGG_LIMITK,
    AGG_LIMIT_RATIO,
};

enum match_card { CARD_ONE_TO_ONE, CARD_MANY_TO_ONE, CARD_ONE_TO_MANY, CARD_MANY_TO_MANY };

struct names {
    struct slice *items;
    size_t n;
};

/* How the elements of two vectors find each other. */
struct matching {
    enum match_card card;
    bool on;             /* labels are those of on(); else of ignoring() */
    struct names labels;
    struct names include; /* of group_left() or group_right() */
    bool has_fill_left, has_fill_right; /* fill() sets both */
    double fill_left, fill_right;
};

/* A duration that is computed: [5m*2], offset (1h+step()). */
enum duration_op {
    DURATION_NUMBER,
    DURATION_ADD, /* l NULL: a sign */
    DURATION_SUB,
    DURATION_MUL,
    DURATION_DIV,
    DURATION_MOD,
    DURATION_POW,
    DURATION_STEP,
    DURATION_RANGE,
    DURATION_MIN_OF,
    DURATION_MAX_OF,
};
struct duration {
    enum duration_op op;
    bool wrapped; /* in parentheses */
    bool unit;    /* NUMBER: was written with one, 5m */
    uint16_t height;
    double seconds;
    struct duration *l, *r;
    struct span at;
};

enum at_kind { AT_NONE, AT_TIME, AT_START, AT_END };

/* offset and @ of a selector or a subquery. */
struct moment {
    enum at_kind at;
    int64_t at_ms;  /* AT_TIME; promql_prepare sets it for AT_START and AT_END too */
    int64_t offset_ms;
    struct duration *offset_expr; /* NULL: a plain one; promql_prepare computes offset_ms from it */
};

struct selector {
    struct selector *next;    /* all of a query, for promql_done */
    struct slice name;        /* the metric as it stands before the braces; empty: none */
    struct matcher *matchers; /* `name` is the last of them */
    size_t n_matchers;
    struct moment moment;
    bool anchored, smoothed;
    bool any; /* second argument of info(): may match everything */
};

/* What an evaluation spent on a node, with all below it. */
struct expr_cost {
    uint64_t ns;
    uint64_t samples; /* read from the database */
    uint64_t series;  /* of the result */
};

struct expr {
    enum expr_kind kind;
    enum value_type type;
    /* Set by promql_prepare on the highest nodes whose value is the same at every step (never on
     * numbers, strings, matrix selectors and subqueries): evaluate it once, at the first step. */
    bool step_invariant;
    uint16_t height; /* of the tree below: 1 for a leaf; at most PROMQL_HEIGHT_MAX */
    struct span at;
    struct expr_cost *cost; /* NULL: nobody asked. The evaluation adds to it */
    union {
        struct {
            double value;
            bool unit; /* was written as a duration, 5m */
        } number;
        struct slice string;
        struct {
            struct expr *e;
            bool negative; /* UNARY */
        } inner;           /* PAREN, UNARY */
        struct {
            enum binary_op op;
            bool return_bool;
            struct expr *l, *r;
            struct matching *matching; /* NULL unless both sides are vectors */
        } binary;
        struct selector *selector; /* SELECTOR */
        struct {
            struct expr *e; /* a SELECTOR: its moment, anchored and smoothed count for the range */
            int64_t range_ms;
            struct duration *range_expr; /* NULL, or what range_ms is computed from */
        } matrix;
        struct {
            struct expr *e;
            int64_t range_ms, step_ms; /* step 0: the default */
            struct duration *range_expr, *step_expr;
            struct moment moment;
        } subquery;
        struct {
            const struct function *f;
            struct expr **args;
            size_t n_args;
        } call;
        struct {
            enum aggregate_op op;
            bool without;
            struct names grouping;
            struct expr *e, *param; /* param NULL unless op has one */
        } aggregate;
    };
};

#define PROMQL_HEIGHT_MAX   500
#define DURATION_HEIGHT_MAX 100

struct promql {
    struct slice text; /* borrowed */
    struct expr *root;
    struct selector *selectors;
};

/* Parses and checks types. Nodes are in the op, `text` must live as long. -EINVAL with Prometheus'
 * text, "1:5: parse error: unexpected …", in why; then there is nothing to free. */
int promql_parse(struct op *op, struct slice text, struct promql *ret, struct buf *why);
/* The same for match[]: a selector without range, offset and @; ret->root is EXPR_SELECTOR. It may
 * match everything. */
int promql_parse_selector(struct op *op, struct slice text, struct promql *ret, struct buf *why);
void promql_done(struct promql *q); /* of a zeroed one too */

/* Before evaluation: computes duration expressions, start(), end(), step() and range(), and marks
 * what is step invariant. -EINVAL with the reason in why. An instant query has start == end and
 * step_ms 0. */
int promql_prepare(struct promql *q, int64_t start_ms, int64_t end_ms, int64_t step_ms,
                   struct buf *why);

/* What an expression is without the parentheses around it. */
static inline struct expr *expr_bare(struct expr *e)
{
    while (e != NULL && e->kind == EXPR_PAREN)
        e = e->inner.e;
    return e;
}

/* The nodes below, in the order of the text: the parameter of an aggregation first. A matrix
 * selector has none. */
size_t promql_children(const struct expr *e);
struct expr *promql_child(const struct expr *e, size_t i);

const char *binary_op_text(enum binary_op op);       /* "+", "and", … */
const char *aggregate_op_text(enum aggregate_op op); /* "sum", … */
const char *value_type_text(enum value_type type);   /* as the API has it: "vector", "matrix" */
const char *value_type_documented(enum value_type type); /* "instant vector", "range vector" */

/* "line:column" of a place, as errors and annotations have it. */
void promql_place(struct slice text, uint32_t at, struct buf *out);

#define op_is_comparison(op) ((op) >= OP_EQL && (op) <= OP_GTE)
#define op_is_set(op)        ((op) <= OP_UNLESS)
#define agg_has_param(op)    ((op) >= AGG_TOPK)

#endif
