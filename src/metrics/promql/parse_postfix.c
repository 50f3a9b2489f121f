/* What may follow an expression: [range], [range:step], offset, @, anchored, smoothed. */
#include "metrics/promql/parser.h"

#include <math.h>
#include <stdio.h>

static struct moment *moment_of(struct expr *e)
{
    switch (e->kind) {
    case EXPR_SELECTOR:
        return &e->selector->moment;
    case EXPR_MATRIX:
        return &e->matrix.e->selector->moment;
    case EXPR_SUBQUERY:
        return &e->subquery.moment;
    default:
        return NULL;
    }
}

static struct expr *parse_offset(struct parser *p, struct expr *e)
{
    struct context outer = p->context;
    struct moment *moment = moment_of(e);
    struct duration *d;

    parse_take(p);
    p->context = (struct context){"offset", "number, duration, step(), or range()"};
    d = parse_offset_duration(p);
    p->context = outer;
    if (d == NULL || parse_failed(p))
        return NULL;
    if (moment == NULL)
        return parse_fail(p, e->at.start,
                          "offset modifier must be preceded by an instant vector selector or range "
                          "vector selector or a subquery");
    if (moment->offset_ms != 0 || moment->offset_expr != NULL)
        return parse_fail(p, e->at.start, "offset may not be set multiple times");
    if (d->op == DURATION_NUMBER)
        moment->offset_ms = duration_ms(d->seconds);
    else
        moment->offset_expr = d;
    e->at.end = p->last_closing;
    return e;
}

static struct expr *set_at(struct parser *p, struct expr *e, enum at_kind at, double seconds)
{
    struct moment *moment = moment_of(e);
    char text[400] = "";

    if (at == AT_TIME && !(fabs(seconds) < 9223372036854775807.0)) {
        if (isnan(seconds) || isinf(seconds))
            snprintf(text, sizeof text, "%s", isnan(seconds) ? "NaN" : seconds > 0 ? "+Inf" : "-Inf");
        else
            snprintf(text, sizeof text, "%f", seconds);
        return parse_fail(p, e->at.start, "timestamp out of bounds for @ modifier: %s", text);
    }
    if (moment == NULL)
        return parse_fail(p, e->at.start,
                          "@ modifier must be preceded by an instant vector selector or range "
                          "vector selector or a subquery");
    if (moment->at != AT_NONE)
        return parse_fail(p, e->at.start, "@ <timestamp> may not be set multiple times");
    moment->at = at;
    seconds *= 1000;
    if (at == AT_TIME && fabs(seconds) < 9.2e18)
        moment->at_ms = (int64_t)round(seconds);
    else if (at == AT_TIME)
        moment->at_ms = seconds > 0 ? INT64_MAX / 2 : INT64_MIN / 2;
    e->at.end = p->last_closing;
    return e;
}

static struct expr *parse_at(struct parser *p, struct expr *e)
{
    struct context outer = p->context;
    enum token_kind kind;
    struct token t;
    double seconds = 0;

    parse_take(p);
    p->context = (struct context){"@", "timestamp"};
    kind = parse_peek(p);
    if (kind == TOKEN_START || kind == TOKEN_END_WORD) {
        parse_take(p);
        if (!parse_expect(p, TOKEN_LEFT_PAREN) || !parse_expect(p, TOKEN_RIGHT_PAREN))
            return NULL;
        p->context = outer;
        return set_at(p, e, kind == TOKEN_START ? AT_START : AT_END, 0);
    }
    if (kind == TOKEN_ADD || kind == TOKEN_SUB)
        parse_take(p);
    if (parse_peek(p) != TOKEN_NUMBER && p->token.kind != TOKEN_DURATION)
        return parse_unexpected(p);
    t = parse_take(p);
    p->context = outer;
    if (!parse_literal(p, &t, &seconds))
        return NULL;
    return set_at(p, e, AT_TIME, kind == TOKEN_SUB ? -seconds : seconds);
}

static struct expr *parse_extended(struct parser *p, struct expr *e)
{
    bool anchored = parse_take(p).kind == TOKEN_ANCHORED;
    const char *word = anchored ? "anchored" : "smoothed";
    struct selector *s = e->kind == EXPR_SELECTOR ? e->selector
                         : e->kind == EXPR_MATRIX ? e->matrix.e->selector
                                                  : NULL;

    if (e->kind == EXPR_SUBQUERY)
        return parse_fail(p, e->at.start, "%s modifier is not supported for subqueries", word);
    if (s == NULL)
        return parse_fail(p, e->at.start, "%s modifier not " "implemented", word);
    if (anchored ? s->smoothed : s->anchored)
        return parse_fail(p, e->at.start,
                          "anchored and smoothed modifiers cannot be used together");
    *(anchored ? &s->anchored : &s->smoothed) = true;
    return e;
}

/* A duration in brackets, greater than nothing. Sets the plain ms or the expression. */
static bool parse_positive(struct parser *p, int64_t *ret_ms, struct duration **ret)
{
    struct duration *d = parse_duration_expr(p);

    if (d == NULL)
        return false;
    if (d->op != DURATION_NUMBER) {
        *ret = d;
        return true;
    }
    if (d->seconds <= 0)
        return parse_fail(p, d->at.start, "duration must be greater than 0") != NULL;
    *ret_ms = duration_ms(d->seconds);
    return true;
}

static struct expr *new_matrix(struct parser *p, struct expr *inner, int64_t range_ms,
                               struct duration *range, uint32_t bracket)
{
    struct expr *e = parse_new(p, EXPR_MATRIX, VALUE_MATRIX, inner->at.start, p->last_closing);
    const struct moment *moment = moment_of(inner);

    if (inner->kind != EXPR_SELECTOR)
        return parse_fail(p, bracket, "ranges only allowed for vector selectors");
    if (moment->offset_ms != 0 || moment->offset_expr != NULL)
        return parse_fail(p, bracket, "no offset modifiers allowed before range");
    if (moment->at != AT_NONE)
        return parse_fail(p, bracket, "no @ modifiers allowed before range");
    e->matrix.e = inner;
    e->matrix.range_ms = range_ms;
    e->matrix.range_expr = range;
    return e;
}

static struct expr *parse_brackets(struct parser *p, struct expr *inner)
{
    uint32_t bracket = parse_take(p).start;
    struct context outer = p->context;
    struct duration *range = NULL;
    int64_t range_ms = 0;
    struct expr *e;

    p->context =
        (struct context){"subquery or range selector", "number, duration, step(), or range()"};
    if (!parse_positive(p, &range_ms, &range))
        return NULL;
    p->context = (struct context){"subquery or range", "\":\" or \"]\""};
    if (parse_peek(p) == TOKEN_RIGHT_BRACKET) {
        parse_take(p);
        p->context = outer;
        return new_matrix(p, inner, range_ms, range, bracket);
    }
    if (!parse_expect(p, TOKEN_COLON))
        return NULL;
    e = parse_new(p, EXPR_SUBQUERY, VALUE_MATRIX, inner->at.start, 0);
    e->subquery.e = inner;
    e->subquery.range_ms = range_ms;
    e->subquery.range_expr = range;
    p->context = (struct context){"subquery selector",
                                  "number, duration, step(), range(), or \"]\""};
    if (parse_peek(p) != TOKEN_RIGHT_BRACKET) {
        if (!parse_positive(p, &e->subquery.step_ms, &e->subquery.step_expr))
            return NULL;
        p->context.expected = "\"]\"";
    }
    if (!parse_expect(p, TOKEN_RIGHT_BRACKET))
        return NULL;
    e->at.end = p->token.end;
    p->context = outer;
    return e;
}

struct expr *parse_postfix(struct parser *p, struct expr *e)
{
    while (e != NULL) {
        struct expr *inner = e;

        switch (parse_peek(p)) {
        case TOKEN_OFFSET:
            e = parse_offset(p, e);
            break;
        case TOKEN_AT:
            e = parse_at(p, e);
            break;
        case TOKEN_ANCHORED:
        case TOKEN_SMOOTHED:
            e = parse_extended(p, e);
            break;
        case TOKEN_LEFT_BRACKET:
            e = parse_brackets(p, e);
            break;
        default:
            return parse_failed(p) ? NULL : e;
        }
        if (e != NULL && e != inner && !parse_above(p, e, inner))
            return NULL;
    }
    return NULL;
}
