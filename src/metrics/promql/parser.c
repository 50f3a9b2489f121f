#include "metrics/promql/lexer.h"
#include "metrics/promql/promql.h"

#include "base/alloc.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define DEPTH_MAX    100
#define MATCHERS_MAX 100
#define RANGE_MAX_MS (1000ll * 365 * 86400 * 1000)

void promql_done(struct expr *e)
{
    for (size_t i = 0; i < e->n_matchers; i++)
        matcher_done(&e->matchers[i]);
    free(e->matchers);
    *e = (struct expr){0};
}

static int parse_expr(struct lexer *x, unsigned level, unsigned depth, struct expr *ret);

static int add_matcher(struct lexer *x, struct expr *e, enum match_op op, struct slice name,
                       struct slice value, const char *at)
{
    autobuf why = {0};

    if (e->n_matchers == MATCHERS_MAX)
        return lexer_fail(x, at, "more than %d matchers", MATCHERS_MAX);
    e->matchers = xrealloc(e->matchers, (e->n_matchers + 1) * sizeof *e->matchers);
    if (matcher_init(&e->matchers[e->n_matchers], op, name, value, &why) < 0)
        return lexer_fail(x, at, "error parsing regexp: %s", why.data != NULL ? why.data : "");
    e->n_matchers++;
    return 0;
}

static bool has_name(const struct expr *e)
{
    for (size_t i = 0; i < e->n_matchers; i++)
        if (strcmp(e->matchers[i].name, "__name__") == 0)
            return true;
    return false;
}

/* `label op "value"`, or a bare "metric". */
static int parse_matcher(struct lexer *x, struct expr *e)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    struct token name = x->token;
    unsigned op = 0;

    if (name.kind != TOKEN_NAME && name.kind != TOKEN_STRING && name.kind != TOKEN_NUMBER)
        return lexer_fail(x, name.start,
                          "unexpected %s in label matching, expected identifier or \"}\"",
                          lexer_describe(x));
    lexer_next(x);
    if (name.kind == TOKEN_STRING && (lexer_is(x, ",") || lexer_is(x, "}"))) {
        if (has_name(e))
            return lexer_fail(x, name.start, "metric name must not be set twice: \"%.*s\"",
                              (int)name.text.len, (const char *)name.text.data);
        return add_matcher(x, e, MATCH_EQ, LABEL_NAME, name.text, name.start);
    }
    while (op < 4 && !lexer_is(x, ops[op]))
        op++;
    if (op == 4)
        return lexer_fail(x, x->token.start,
                          "unexpected %s in label matching, expected label matching operator",
                          lexer_describe(x));
    lexer_next(x);
    if (x->token.kind != TOKEN_STRING)
        return lexer_fail(x, x->token.start, "unexpected %s in label matching, expected string",
                          lexer_describe(x));
    if (name.kind != TOKEN_STRING && !label_name_legacy(name.text))
        return lexer_fail(x, name.start, "unexpected \"%.*s\" in label matching",
                          (int)name.text.len, (const char *)name.text.data);
    if (add_matcher(x, e, (enum match_op)op, name.text, x->token.text, x->token.start) < 0)
        return -EINVAL;
    lexer_next(x);
    return 0;
}

static int parse_braces(struct lexer *x, struct expr *e)
{
    while (!lexer_is(x, "}")) {
        if (x->token.kind == TOKEN_END)
            return lexer_fail(x, x->token.start, "unexpected end of input inside braces");
        if (parse_matcher(x, e) < 0)
            return -EINVAL;
        if (!lexer_take(x, ",") && !lexer_is(x, "}"))
            return lexer_fail(x, x->token.start,
                              "unexpected %s in label matching, expected \",\" or \"}\"",
                              lexer_describe(x));
    }
    lexer_next(x);
    return 0;
}

/* A length of time: a duration, or a number of seconds. */
static int parse_span(struct lexer *x, int64_t *ret_ms)
{
    if (x->token.kind == TOKEN_DURATION) {
        *ret_ms = x->token.duration_ms;
    } else if (x->token.kind == TOKEN_NUMBER &&
               fabs(x->token.number) * 1000 < (double)RANGE_MAX_MS) {
        *ret_ms = (int64_t)(x->token.number * 1000);
    } else {
        return lexer_fail(x, x->token.start, "unexpected %s, expected a duration",
                          lexer_describe(x));
    }
    if (*ret_ms > RANGE_MAX_MS)
        return lexer_fail(x, x->token.start, "duration out of range");
    lexer_next(x);
    return 0;
}

static int parse_range(struct lexer *x, struct expr *e)
{
    const char *at = x->token.start;

    if (parse_span(x, &e->range_ms) < 0)
        return -EINVAL;
    if (e->range_ms <= 0)
        return lexer_fail(x, at, "duration must be greater than 0");
    if (lexer_is(x, ":"))
        return lexer_fail(x, x->token.start, "subqueries are not supported");
    if (!lexer_take(x, "]"))
        return lexer_fail(x, x->token.start,
                          "unexpected %s in subquery or range selector, expected \"]\"",
                          lexer_describe(x));
    e->kind = EXPR_RANGE;
    return 0;
}

static int parse_at(struct lexer *x, struct expr *e)
{
    const char *at = x->token.start;
    bool negative = lexer_take(x, "-");

    if (e->at != AT_NONE)
        return lexer_fail(x, at, "@ <timestamp> may not be set multiple times");
    if (lexer_is_word(x, "start") || lexer_is_word(x, "end")) {
        e->at = lexer_is_word(x, "start") ? AT_START : AT_END;
        lexer_next(x);
        if (!lexer_take(x, "(") || !lexer_take(x, ")"))
            return lexer_fail(x, x->token.start, "unexpected %s, expected \"()\"",
                              lexer_describe(x));
        return 0;
    }
    if (x->token.kind != TOKEN_NUMBER)
        return lexer_fail(x, at, "unexpected %s, expected timestamp", lexer_describe(x));
    if (!(fabs(x->token.number) < 1e15))
        return lexer_fail(x, at, "timestamp out of bounds for @ modifier: %f", x->token.number);
    e->at = AT_TIME;
    e->at_ms = (int64_t)nearbyint(x->token.number * 1000) * (negative ? -1 : 1);
    lexer_next(x);
    return 0;
}

/* [range], offset and @, in any order after the selector. */
static int parse_modifiers(struct lexer *x, struct expr *e)
{
    bool offset_set = false;

    for (;;) {
        const char *at = x->token.start;

        if (lexer_take(x, "[")) {
            if (e->kind != EXPR_SELECTOR || offset_set || e->at != AT_NONE)
                return lexer_fail(x, at, "subqueries are not supported");
            if (parse_range(x, e) < 0)
                return -EINVAL;
        } else if (lexer_is_word(x, "offset")) {
            bool negative;

            if (offset_set)
                return lexer_fail(x, at, "offset may not be set multiple times");
            lexer_next(x);
            negative = lexer_take(x, "-");
            if (parse_span(x, &e->offset_ms) < 0)
                return -EINVAL;
            if (negative)
                e->offset_ms = -e->offset_ms;
            offset_set = true;
        } else if (lexer_take(x, "@")) {
            if (parse_at(x, e) < 0)
                return -EINVAL;
        } else {
            return 0;
        }
    }
}

static int parse_selector(struct lexer *x, struct expr *e)
{
    const char *at = x->token.start;

    e->kind = EXPR_SELECTOR;
    if (x->token.kind == TOKEN_NAME) {
        if (add_matcher(x, e, MATCH_EQ, LABEL_NAME, x->token.text, at) < 0)
            return -EINVAL;
        lexer_next(x);
    }
    if (lexer_take(x, "{") && parse_braces(x, e) < 0)
        return -EINVAL;
    for (size_t i = 0; i < e->n_matchers; i++)
        if (!e->matchers[i].matches_empty)
            return parse_modifiers(x, e);
    return lexer_fail(x, at, "vector selector must contain at least one non-empty matcher");
}

static bool is_aggregator(const struct lexer *x)
{
    static const char *const names[] = {
        "sum",    "avg",  "count",   "min",      "max",    "group",       "stddev",
        "stdvar", "topk", "bottomk", "quantile", "limitk", "limit_ratio", "count_values"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (lexer_is_word(x, names[i]))
            return true;
    return false;
}

/* vector(scalar); other calls are named in the refusal. */
static int parse_name(struct lexer *x, unsigned depth, struct expr *ret)
{
    struct token name = x->token;
    struct lexer ahead = *x;

    lexer_next(&ahead);
    if (is_aggregator(x) &&
        (lexer_is(&ahead, "(") || lexer_is_word(&ahead, "by") || lexer_is_word(&ahead, "without")))
        return lexer_fail(x, name.start, "aggregation \"%.*s\" is not supported",
                          (int)name.text.len, (const char *)name.text.data);
    if (!lexer_is(&ahead, "("))
        return parse_selector(x, ret);
    if (!slice_eq(name.text, SLICE("vector")))
        return lexer_fail(x, name.start, "function \"%.*s\" is not supported", (int)name.text.len,
                          (const char *)name.text.data);
    lexer_next(x);
    lexer_next(x);
    if (parse_expr(x, 0, depth + 1, ret) < 0)
        return -EINVAL;
    if (ret->kind != EXPR_SCALAR)
        return lexer_fail(x, name.start, "expected type scalar in call to function \"vector\"");
    if (!lexer_take(x, ")"))
        return lexer_fail(x, x->token.start, "unclosed left parenthesis");
    ret->kind = EXPR_VECTOR;
    return 0;
}

static int parse_primary(struct lexer *x, unsigned depth, struct expr *ret)
{
    const char *at = x->token.start;

    if (depth > DEPTH_MAX)
        return lexer_fail(x, at, "the expression is nested too deeply");
    switch (x->token.kind) {
    case TOKEN_NUMBER:
    case TOKEN_DURATION:
        ret->number = x->token.number;
        lexer_next(x);
        return 0;
    case TOKEN_STRING:
        ret->kind = EXPR_STRING;
        ret->string = x->token.text;
        lexer_next(x);
        return 0;
    case TOKEN_NAME:
        return parse_name(x, depth, ret);
    case TOKEN_BAD:
        return -EINVAL;
    default:
        break;
    }
    if (lexer_is(x, "{"))
        return parse_selector(x, ret);
    if (lexer_take(x, "(")) {
        if (x->token.kind == TOKEN_END)
            return lexer_fail(x, x->token.start, "unclosed left parenthesis");
        if (parse_expr(x, 0, depth + 1, ret) < 0)
            return -EINVAL;
        if (x->token.kind == TOKEN_END)
            return lexer_fail(x, x->token.start, "unclosed left parenthesis");
        if (!lexer_take(x, ")"))
            return lexer_fail(x, x->token.start, "unexpected %s", lexer_describe(x));
        return 0;
    }
    if (x->token.kind == TOKEN_END)
        return lexer_fail(x, at, "unexpected end of input");
    return lexer_fail(x, at, "unexpected %s", lexer_describe(x));
}

static double apply(char op, double a, double b)
{
    switch (op) {
    case '+':
        return a + b;
    case '-':
        return a - b;
    case '*':
        return a * b;
    case '/':
        return a / b;
    case '%':
        return fmod(a, b);
    default:
        return pow(a, b);
    }
}

/* 1: + and -, 2: * / %, 3: a sign, 4: ^ (to the right); 0: not one of arithmetic. */
static unsigned level_of(const struct lexer *x)
{
    char c = x->token.kind == TOKEN_OPERATOR && x->token.text.len == 1
                 ? *(const char *)x->token.text.data
                 : 0;

    if (c == '+' || c == '-')
        return 1;
    if (c == '*' || c == '/' || c == '%')
        return 2;
    return c == '^' ? 4 : 0;
}

static int parse_unary(struct lexer *x, unsigned depth, struct expr *ret)
{
    const char *at = x->token.start;

    if (lexer_is(x, "-") || lexer_is(x, "+")) {
        bool negative = lexer_is(x, "-");

        if (depth > DEPTH_MAX)
            return lexer_fail(x, at, "the expression is nested too deeply");
        lexer_next(x);
        if (parse_expr(x, 3, depth + 1, ret) < 0)
            return -EINVAL;
        if (ret->kind != EXPR_SCALAR)
            return lexer_fail(x, at, "a sign before a vector is not supported");
        ret->number = negative ? -ret->number : ret->number;
        return 0;
    }
    return parse_primary(x, depth, ret);
}

/* Operators of at least this level, by precedence climbing. */
static int parse_expr(struct lexer *x, unsigned level, unsigned depth, struct expr *ret)
{
    if (parse_unary(x, depth, ret) < 0)
        return -EINVAL;
    for (unsigned found; (found = level_of(x)) > 0 && found >= level;) {
        char op = *(const char *)x->token.text.data;
        const char *at = x->token.start;
        struct expr right = {0};
        int r;

        lexer_next(x);
        r = parse_expr(x, found == 4 ? 4 : found + 1, depth + 1, &right);
        if (r == 0 && (ret->kind != EXPR_SCALAR || right.kind != EXPR_SCALAR))
            r = lexer_fail(x, at, "operator \"%c\" on vectors is not supported", op);
        if (r == 0)
            ret->number = apply(op, ret->number, right.number);
        promql_done(&right);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_end(struct lexer *x)
{
    static const char *const words[] = {"and", "or", "unless", "atan2"};

    if (x->token.kind == TOKEN_END)
        return 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (lexer_is_word(x, words[i]))
            return lexer_fail(x, x->token.start, "operator \"%s\" is not supported", words[i]);
    if (lexer_is(x, "==") || lexer_is(x, "!=") || lexer_is(x, ">") || lexer_is(x, "<") ||
        lexer_is(x, ">=") || lexer_is(x, "<="))
        return lexer_fail(x, x->token.start, "comparison \"%.*s\" is not supported",
                          (int)x->token.text.len, (const char *)x->token.text.data);
    if (lexer_is(x, ")"))
        return lexer_fail(x, x->token.start, "unexpected right parenthesis ')'");
    return lexer_fail(x, x->token.start, "unexpected %s", lexer_describe(x));
}

int promql_parse(struct op *op, struct slice text, struct expr *ret, struct buf *why)
{
    struct lexer x;
    int r;

    *ret = (struct expr){0};
    lexer_init(&x, op, text, why);
    if (x.token.kind == TOKEN_END) {
        buf_add_str(why, "unknown position: parse error: no expression found in input");
        return -EINVAL;
    }
    r = parse_expr(&x, 0, 0, ret);
    if (r == 0)
        r = parse_end(&x);
    if (r < 0)
        promql_done(ret);
    return r;
}

int promql_parse_selector(struct op *op, struct slice text, struct expr *ret, struct buf *why)
{
    struct lexer x;
    int r = 0;

    *ret = (struct expr){0};
    lexer_init(&x, op, text, why);
    if (x.token.kind == TOKEN_END) {
        buf_add_str(why, "unknown position: parse error: no expression found in input");
        return -EINVAL;
    }
    if (x.token.kind != TOKEN_NAME && !lexer_is(&x, "{"))
        r = lexer_fail(&x, x.token.start, "unexpected %s", lexer_describe(&x));
    if (r == 0)
        r = parse_selector(&x, ret);
    if (r == 0 && (ret->kind != EXPR_SELECTOR || ret->offset_ms != 0 || ret->at != AT_NONE))
        r = lexer_fail(&x, x.text, "expected a selector without range and offset");
    if (r == 0)
        r = parse_end(&x);
    if (r < 0)
        promql_done(ret);
    return r;
}
