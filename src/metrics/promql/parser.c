/* The parser: precedence climbing. Which token an error complains of, and in what context, is that
 * of Prometheus' LALR grammar with its error productions. */
#include "metrics/promql/parser.h"

#include <errno.h>
#include <stdio.h>

void promql_place(struct slice text, uint32_t at, struct buf *out)
{
    const char *s = text.data;
    unsigned line = 1;
    unsigned column = 1;

    if (text.len == 0) {
        buf_add_str(out, "unknown position");
        return;
    }
    for (uint32_t i = 0; i < at && i < text.len; i++) {
        column = s[i] == '\n' ? 1 : column + 1;
        line += s[i] == '\n';
    }
    buf_printf(out, "%u:%u", line, column);
}

void *parse_fail(struct parser *p, uint32_t at, const char *format, ...)
{
    va_list args;

    if (parse_failed(p))
        return NULL;
    promql_place(p->q->text, at, p->why);
    buf_add_str(p->why, ": parse error: ");
    va_start(args, format);
    buf_vprintf(p->why, format, args);
    va_end(args);
    return NULL;
}

bool parse_failed(const struct parser *p)
{
    return p->why->len > 0;
}

void *parse_unexpected(struct parser *p)
{
    const struct context *c = &p->context;

    return parse_fail(p, p->token.start, "unexpected %s%s%s%s%s", token_describe(p->op, &p->token),
                      c->where != NULL ? " in " : "", c->where != NULL ? c->where : "",
                      c->expected != NULL ? ", expected " : "",
                      c->expected != NULL ? c->expected : "");
}

enum token_kind parse_peek(struct parser *p)
{
    if (p->peeked)
        return p->token.kind;
    p->peeked = true;
    lexer_next(&p->lexer, &p->token);
    switch (p->token.kind) {
    case TOKEN_ERROR:
        parse_fail(p, p->token.start, "%s", p->lexer.error);
        break;
    case TOKEN_RIGHT_BRACE:
    case TOKEN_RIGHT_PAREN:
    case TOKEN_RIGHT_BRACKET:
    case TOKEN_DURATION:
    case TOKEN_NUMBER:
        p->last_closing = p->token.end;
        break;
    default:
        break;
    }
    return p->token.kind;
}

struct token parse_take(struct parser *p)
{
    parse_peek(p);
    p->peeked = false;
    return p->token;
}

bool parse_expect(struct parser *p, enum token_kind kind)
{
    if (parse_peek(p) != kind) {
        parse_unexpected(p);
        return false;
    }
    parse_take(p);
    return true;
}

bool parse_deeper(struct parser *p)
{
    if (++p->depth <= PROMQL_HEIGHT_MAX)
        return true;
    parse_fail(p, p->token.start, "expression is nested too deeply, more than %d levels",
               PROMQL_HEIGHT_MAX);
    return false;
}

struct expr *parse_new(struct parser *p, enum expr_kind kind, enum value_type type, uint32_t start,
                       uint32_t end)
{
    struct expr *e = op_alloc(p->op, sizeof *e);

    e->kind = kind;
    e->type = type;
    e->height = 1;
    e->at = (struct span){start, end};
    return e;
}

bool parse_above(struct parser *p, struct expr *e, const struct expr *child)
{
    if (child == NULL)
        return false;
    if (child->height >= PROMQL_HEIGHT_MAX) {
        parse_fail(p, child->at.start, "expression is nested too deeply, more than %d levels",
                   PROMQL_HEIGHT_MAX);
        return false;
    }
    if (e->height <= child->height)
        e->height = (uint16_t)(child->height + 1);
    return true;
}

static struct expr *parse_paren(struct parser *p)
{
    struct token open = parse_take(p);
    struct expr *e = parse_new(p, EXPR_PAREN, VALUE_NONE, open.start, 0);

    e->inner.e = parse_expression(p, 0);
    if (!parse_above(p, e, e->inner.e) || !parse_expect(p, TOKEN_RIGHT_PAREN))
        return NULL;
    e->type = e->inner.e->type;
    e->at.end = p->token.end;
    return e;
}

#define ARGS_MAX 1000

/* (a, b, …) */
static bool parse_args(struct parser *p, struct expr *call, struct expr ***ret, size_t *ret_n)
{
    struct expr **args = NULL;
    size_t cap = 0;

    *ret_n = 0;
    if (!parse_expect(p, TOKEN_LEFT_PAREN))
        return false;
    while (parse_peek(p) != TOKEN_RIGHT_PAREN || *ret_n > 0) {
        if (*ret_n == cap) {
            struct expr **more = op_alloc(p->op, (cap = 2 * cap + 4) * sizeof(struct expr *));

            if (*ret_n > 0)
                memcpy(more, args, *ret_n * sizeof(struct expr *));
            args = more;
        }
        args[*ret_n] = parse_expression(p, 0);
        if (!parse_above(p, call, args[*ret_n]))
            return false;
        ++*ret_n;
        if (parse_peek(p) != TOKEN_COMMA)
            break;
        if (*ret_n == ARGS_MAX)
            return parse_fail(p, p->token.start, "more than %d arguments", ARGS_MAX) != NULL;
        struct token comma = parse_take(p);

        if (!token_starts_expr(parse_peek(p)))
            return parse_fail(p, comma.start,
                              "trailing commas not allowed in function call args") != NULL;
    }
    *ret = args;
    return parse_expect(p, TOKEN_RIGHT_PAREN);
}

static struct expr *parse_call(struct parser *p, const struct token *name)
{
    struct expr *e = parse_new(p, EXPR_CALL, VALUE_NONE, name->start, 0);

    if (!parse_args(p, e, &e->call.args, &e->call.n_args))
        return NULL;
    e->at.end = p->token.end;
    e->call.f = function_find(name->text);
    if (e->call.f == NULL)
        return parse_fail(p, name->start, "unknown function with name %s",
                          text_quoted(p->op, name->text, 0));
    e->type = e->call.f->returns;
    return e;
}

static bool parse_by(struct parser *p, struct expr *e)
{
    struct token word = parse_take(p);

    e->aggregate.without = word.kind == TOKEN_WITHOUT;
    return parse_grouping(p, &e->aggregate.grouping);
}

static bool is_by(enum token_kind kind)
{
    return kind == TOKEN_BY || kind == TOKEN_WITHOUT;
}

static struct expr *aggregate_args(struct parser *p, struct expr *e, struct expr **args, size_t n)
{
    size_t wanted = agg_has_param(e->aggregate.op) ? 2 : 1;

    if (n == 0)
        return parse_fail(p, e->at.start, "no arguments for aggregate expression provided");
    if (n != wanted)
        return parse_fail(p, e->at.start,
                          "wrong number of arguments for aggregate expression provided, expected "
                          "%zu, got %zu",
                          wanted, n);
    e->aggregate.param = wanted == 2 ? args[0] : NULL;
    e->aggregate.e = args[wanted - 1];
    return e;
}

static struct expr *parse_aggregate(struct parser *p, const struct token *name)
{
    struct expr *e = parse_new(p, EXPR_AGGREGATE, VALUE_VECTOR, name->start, 0);
    struct context outer = p->context;
    struct expr **args;
    size_t n;
    bool before = is_by(parse_peek(p));

    e->aggregate.op = AGG_SUM + (enum aggregate_op)(name->kind - TOKEN_SUM);
    p->context = (struct context){"aggregation", NULL};
    if ((before && !parse_by(p, e)) || !parse_args(p, e, &args, &n))
        return NULL;
    e->at.end = p->token.end;
    if (!before && is_by(parse_peek(p))) {
        if (!parse_by(p, e))
            return NULL;
        e->at.end = p->token.end;
    }
    p->context = outer;
    if (parse_failed(p))
        return NULL;
    return aggregate_args(p, e, args, n);
}

/* What begins with a word: a call, an aggregation or a metric. */
static struct expr *parse_word(struct parser *p)
{
    struct token name = parse_take(p);
    enum token_kind next = TOKEN_END;

    if (name.kind != TOKEN_METRIC)
        next = parse_peek(p);
    if (name.kind >= TOKEN_SUM && name.kind <= TOKEN_LIMIT_RATIO &&
        (next == TOKEN_LEFT_PAREN || is_by(next)))
        return parse_aggregate(p, &name);
    if (next == TOKEN_LEFT_PAREN &&
        (name.kind == TOKEN_IDENTIFIER || (name.kind >= TOKEN_START && name.kind <= TOKEN_MIN_OF)))
        return parse_call(p, &name);
    return parse_selector(p, &name);
}

static struct expr *parse_primary(struct parser *p)
{
    struct expr *e;
    struct token t;

    switch (parse_peek(p)) {
    case TOKEN_NUMBER:
    case TOKEN_DURATION:
        t = parse_take(p);
        e = parse_new(p, EXPR_NUMBER, VALUE_SCALAR, t.start, t.end);
        e->number.unit = t.kind == TOKEN_DURATION;
        return parse_literal(p, &t, &e->number.value) ? e : NULL;
    case TOKEN_STRING:
        t = parse_take(p);
        e = parse_new(p, EXPR_STRING, VALUE_STRING, t.start, t.end);
        string_unquote(p->op, t.text, &e->string);
        return e;
    case TOKEN_LEFT_PAREN:
        return parse_paren(p);
    case TOKEN_LEFT_BRACE:
        return parse_selector(p, NULL);
    default:
        if (!token_starts_expr(p->token.kind))
            return parse_unexpected(p);
        return parse_word(p);
    }
}

/* A sign binds weaker than ^ and the modifiers, and as strong as *. */
static struct expr *parse_unary(struct parser *p)
{
    struct token sign = parse_take(p);
    struct expr *inner = parse_expression(p, LEVEL_POW);
    struct expr *e;

    if (inner == NULL)
        return NULL;
    if (inner->kind == EXPR_NUMBER) {
        if (sign.kind == TOKEN_SUB)
            inner->number.value = -inner->number.value;
        inner->at.start = sign.start;
        return inner;
    }
    e = parse_new(p, EXPR_UNARY, inner->type, sign.start, inner->at.end);
    e->inner.e = inner;
    e->inner.negative = sign.kind == TOKEN_SUB;
    return parse_above(p, e, inner) ? e : NULL;
}

static int level_of(enum token_kind kind)
{
    if (kind == TOKEN_OR)
        return 1;
    if (kind == TOKEN_AND || kind == TOKEN_UNLESS)
        return 2;
    if (kind >= TOKEN_EQLC && kind <= TOKEN_TRIM_LOWER)
        return 3;
    if (kind == TOKEN_ADD || kind == TOKEN_SUB)
        return 4;
    if (kind >= TOKEN_MUL && kind <= TOKEN_ATAN2)
        return 5;
    return kind == TOKEN_POW ? LEVEL_POW : 0;
}

static struct expr *parse_binary(struct parser *p, struct expr *left)
{
    struct token t = parse_take(p);
    int level = level_of(t.kind);
    struct expr *e = parse_new(p, EXPR_BINARY, VALUE_VECTOR, left->at.start, 0);

    e->binary.op = OP_OR + (enum binary_op)(t.kind - TOKEN_OR);
    e->binary.l = left;
    if (!parse_above(p, e, left) || !parse_modifiers(p, e))
        return NULL;
    e->binary.r = parse_expression(p, t.kind == TOKEN_POW ? level : level + 1);
    if (!parse_above(p, e, e->binary.r))
        return NULL;
    e->at.end = e->binary.r->at.end;
    if (left->type == VALUE_SCALAR && e->binary.r->type == VALUE_SCALAR)
        e->type = VALUE_SCALAR;
    return e;
}

struct expr *parse_expression(struct parser *p, int level)
{
    struct expr *e = NULL;
    enum token_kind first;

    if (parse_deeper(p)) {
        first = parse_peek(p);
        if (first == TOKEN_ADD || first == TOKEN_SUB)
            e = parse_unary(p);
        else
            e = parse_postfix(p, parse_primary(p));
    }
    while (e != NULL) {
        int found = level_of(parse_peek(p));

        if (parse_failed(p))
            return NULL;
        if (found == 0 || found < level)
            break;
        e = parse_binary(p, e);
    }
    p->depth--;
    return e;
}

static void parser_init(struct parser *p, struct op *op, struct slice text, struct promql *q,
                        struct buf *why)
{
    *q = (struct promql){.text = text};
    if (text.data == NULL)
        q->text = SLICE("");
    *p = (struct parser){.op = op, .q = q, .why = why};
    lexer_init(&p->lexer, op, q->text);
}

/* `check`: types, too. */
static int parse_end(struct parser *p, struct expr *e, bool check)
{
    p->q->root = e;
    if (e != NULL && parse_peek(p) != TOKEN_END)
        parse_unexpected(p);
    lexer_done(&p->lexer);
    if (!parse_failed(p) && (!check || parse_check(p, e)))
        return 0;
    promql_done(p->q);
    return -EINVAL;
}

int promql_parse(struct op *op, struct slice text, struct promql *ret, struct buf *why)
{
    struct parser p;
    struct expr *e = NULL;

    parser_init(&p, op, text, ret, why);
    if (text.len > UINT32_MAX / 2)
        parse_fail(&p, 0, "the query is too long");
    else if (parse_peek(&p) == TOKEN_END)
        parse_fail(&p, 0, "no expression found in input");
    else
        e = parse_expression(&p, 0);
    return parse_end(&p, e, true);
}

int promql_parse_selector(struct op *op, struct slice text, struct promql *ret, struct buf *why)
{
    struct parser p;
    struct expr *e = NULL;
    struct token name;
    enum token_kind first;

    parser_init(&p, op, text, ret, why);
    first = parse_peek(&p);
    if (first == TOKEN_LEFT_BRACE) {
        e = parse_selector(&p, NULL);
    } else if (token_starts_expr(first) && first != TOKEN_NUMBER && first != TOKEN_DURATION &&
               first != TOKEN_STRING && first != TOKEN_LEFT_PAREN && first != TOKEN_ADD &&
               first != TOKEN_SUB) {
        name = parse_take(&p);
        e = parse_selector(&p, &name);
    } else {
        parse_unexpected(&p);
    }
    return parse_end(&p, e, false);
}

void promql_done(struct promql *q)
{
    for (struct selector *s = q->selectors; s != NULL; s = s->next) {
        for (size_t i = 0; i < s->n_matchers; i++)
            matcher_done(&s->matchers[i]);
        s->n_matchers = 0;
    }
    q->selectors = NULL;
    q->root = NULL;
}
