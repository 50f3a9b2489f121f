/* Types, once the whole text is a tree. */
#include "metrics/labels.h"
#include "metrics/promql/parser.h"

const char *value_type_text(enum value_type type)
{
    static const char *const names[] = {"none", "scalar", "vector", "matrix", "string"};

    return names[type];
}

const char *value_type_documented(enum value_type type)
{
    return type == VALUE_VECTOR   ? "instant vector"
           : type == VALUE_MATRIX ? "range vector"
                                  : value_type_text(type);
}

const char *binary_op_text(enum binary_op op)
{
    static const char *const names[] = {"or", "and", "unless", "==", "!=", "<", "<=", ">", ">=",
                                        "</", ">/",  "+",      "-",  "*",  "/", "%",  "atan2", "^"};

    return names[op];
}

const char *aggregate_op_text(enum aggregate_op op)
{
    static const char *const names[] = {"sum",    "avg",    "count", "min",     "max",
                                        "group",  "stddev", "stdvar", "topk",   "bottomk",
                                        "count_values", "quantile", "limitk", "limit_ratio"};

    return names[op];
}

size_t promql_children(const struct expr *e)
{
    switch (e->kind) {
    case EXPR_PAREN:
    case EXPR_UNARY:
    case EXPR_SUBQUERY:
        return 1;
    case EXPR_BINARY:
        return 2;
    case EXPR_CALL:
        return e->call.n_args;
    case EXPR_AGGREGATE:
        return e->aggregate.param != NULL ? 2 : 1;
    default:
        return 0;
    }
}

struct expr *promql_child(const struct expr *e, size_t i)
{
    switch (e->kind) {
    case EXPR_SUBQUERY:
        return e->subquery.e;
    case EXPR_BINARY:
        return i == 0 ? e->binary.l : e->binary.r;
    case EXPR_CALL:
        return e->call.args[i];
    case EXPR_AGGREGATE:
        return i == 0 && e->aggregate.param != NULL ? e->aggregate.param : e->aggregate.e;
    default:
        return e->inner.e;
    }
}

static bool expect(struct parser *p, struct expr *e, enum value_type want, const char *where)
{
    if (!parse_check(p, e))
        return false;
    return e->type == want ||
           parse_fail(p, e->at.start, "expected type %s in %s, got %s",
                      value_type_documented(want), where, value_type_documented(e->type)) != NULL;
}

static bool check_aggregate(struct parser *p, struct expr *e)
{
    if (!expect(p, e->aggregate.e, VALUE_VECTOR, "aggregation expression"))
        return false;
    if (!agg_has_param(e->aggregate.op))
        return true;
    return expect(p, e->aggregate.param,
                  e->aggregate.op == AGG_COUNT_VALUES ? VALUE_STRING : VALUE_SCALAR,
                  "aggregation parameter");
}

/* The operator's place: what follows the left side, blanks left out. */
static uint32_t operator_at(const struct parser *p, const struct expr *e)
{
    const char *text = p->q->text.data;
    uint32_t at = e->binary.l->at.end;

    while (at < p->q->text.len && strchr(" \t\n\r", text[at]) != NULL)
        at++;
    return at;
}

static bool check_clash(struct parser *p, const struct expr *e)
{
    const struct matching *m = e->binary.matching;

    for (size_t i = 0; m->on && i < m->labels.n; i++)
        for (size_t k = 0; k < m->include.n; k++)
            if (slice_eq(m->labels.items[i], m->include.items[k]))
                return parse_fail(p, operator_at(p, e),
                                  "label %s must not occur in ON and GROUP clause at once",
                                  text_quoted(p->op, m->labels.items[i], 0)) != NULL;
    return true;
}

static bool is_operand(enum value_type type)
{
    return type == VALUE_SCALAR || type == VALUE_VECTOR;
}

static void *check_matching(struct parser *p, struct expr *e)
{
    struct matching *m = e->binary.matching;
    const char *op = binary_op_text(e->binary.op);
    bool vectors = e->binary.l->type == VALUE_VECTOR && e->binary.r->type == VALUE_VECTOR;

    if (!vectors && m->labels.n > 0)
        return parse_fail(p, e->at.start, "vector matching only allowed between instant vectors");
    if (!vectors && (m->has_fill_left || m->has_fill_right))
        return parse_fail(p, e->at.start,
                          "filling in missing series only allowed between instant vectors");
    if (!vectors)
        e->binary.matching = NULL;
    if (vectors && op_is_set(e->binary.op)) {
        if (m->card == CARD_ONE_TO_MANY || m->card == CARD_MANY_TO_ONE)
            return parse_fail(p, e->at.start, "no grouping allowed for \"%s\" operation", op);
        if (m->has_fill_left || m->has_fill_right)
            return parse_fail(p, e->at.start,
                              "filling in missing series not allowed for set operators");
        m->card = CARD_MANY_TO_MANY;
    }
    if (op_is_set(e->binary.op) &&
        (e->binary.l->type == VALUE_SCALAR || e->binary.r->type == VALUE_SCALAR))
        return parse_fail(p, e->at.start,
                          "set operator \"%s\" not allowed in binary scalar expression", op);
    return e;
}

static bool check_binary(struct parser *p, struct expr *e)
{
    bool scalars;

    if (!parse_check(p, e->binary.l) || !parse_check(p, e->binary.r))
        return false;
    scalars = e->binary.l->type == VALUE_SCALAR && e->binary.r->type == VALUE_SCALAR;
    if (e->binary.return_bool && !op_is_comparison(e->binary.op))
        return parse_fail(p, operator_at(p, e),
                          "bool modifier can only be used on comparison operators") != NULL;
    if (scalars && op_is_comparison(e->binary.op) && !e->binary.return_bool)
        return parse_fail(p, operator_at(p, e),
                          "comparisons between scalars must use BOOL modifier") != NULL;
    if (!check_clash(p, e))
        return false;
    if (!is_operand(e->binary.l->type))
        return parse_fail(p, e->binary.l->at.start,
                          "binary expression must contain only scalar and instant vector types") !=
               NULL;
    if (!is_operand(e->binary.r->type))
        return parse_fail(p, e->binary.r->at.start,
                          "binary expression must contain only scalar and instant vector types") !=
               NULL;
    return check_matching(p, e) != NULL;
}

static void *check_count(struct parser *p, const struct expr *e)
{
    const struct function *f = e->call.f;
    size_t want = strlen(f->args);
    size_t n = e->call.n_args;

    if (f->variadic == 0 && n != want)
        return parse_fail(p, e->at.start, "expected %zu argument(s) in call to \"%s\", got %zu",
                          want, f->name, n);
    if (f->variadic != 0 && want - 1 > n)
        return parse_fail(p, e->at.start,
                          "expected at least %zu argument(s) in call to \"%s\", got %zu", want - 1,
                          f->name, n);
    if (f->variadic > 0 && want - 1 + (size_t)f->variadic < n)
        return parse_fail(p, e->at.start,
                          "expected at most %zu argument(s) in call to \"%s\", got %zu",
                          want - 1 + (size_t)f->variadic, f->name, n);
    return p;
}

/* info() takes matchers in the form of a selector, without a name before the braces. */
static void *check_info(struct parser *p, const struct expr *e)
{
    struct expr *arg = e->call.args[1];

    if (arg->type != VALUE_VECTOR)
        return parse_fail(p, e->at.start,
                          "expected type instant vector in call to function \"info\", got %s",
                          value_type_documented(arg->type));
    if (arg->kind != EXPR_SELECTOR)
        return parse_fail(p, arg->at.start, "expected label selectors only");
    if (arg->selector->name.len > 0)
        return parse_fail(p, arg->at.start,
                          "expected label selectors only, got vector selector instead");
    arg->selector->any = true;
    return p;
}

static bool check_call(struct parser *p, struct expr *e)
{
    const struct function *f = e->call.f;

    if (check_count(p, e) == NULL ||
        (f->id == FN_INFO && e->call.n_args > 1 && check_info(p, e) == NULL))
        return false;
    for (size_t i = 0; i < e->call.n_args; i++) {
        struct expr *arg = e->call.args[i];

        if (!parse_check(p, arg))
            return false;
        if (arg->type != function_arg(f, i))
            return parse_fail(p, arg->at.start,
                              "expected type %s in call to function \"%s\", got %s",
                              value_type_documented(function_arg(f, i)), f->name,
                              value_type_documented(arg->type)) != NULL;
    }
    return true;
}

static bool check_selector(struct parser *p, const struct expr *e)
{
    const struct selector *s = e->selector;

    if (s->name.len > 0) {
        for (size_t i = 0; i + 1 < s->n_matchers; i++)
            if (strcmp(s->matchers[i].name, "__name__") == 0)
                return parse_fail(p, e->at.start, "metric name must not be set twice: %s or %s",
                                  text_quoted(p->op, s->name, 0),
                                  text_quoted(p->op,
                                              slice_of(s->matchers[i].value,
                                                       s->matchers[i].value_len),
                                              0)) != NULL;
        return true;
    }
    for (size_t i = 0; i < s->n_matchers; i++)
        if (!s->matchers[i].matches_empty)
            return true;
    return s->any || parse_fail(p, e->at.start,
                                "vector selector must contain at least one non-empty matcher") !=
                         NULL;
}

bool parse_check(struct parser *p, struct expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
        return true;
    case EXPR_PAREN:
        return parse_check(p, e->inner.e);
    case EXPR_UNARY:
        return parse_check(p, e->inner.e) &&
               (is_operand(e->inner.e->type) ||
                parse_fail(p, e->at.start,
                           "unary expression only allowed on expressions of type scalar or instant "
                           "vector, got \"%s\"",
                           value_type_documented(e->inner.e->type)) != NULL);
    case EXPR_BINARY:
        return check_binary(p, e);
    case EXPR_SELECTOR:
        return check_selector(p, e);
    case EXPR_MATRIX:
        return check_selector(p, e->matrix.e);
    case EXPR_SUBQUERY:
        return parse_check(p, e->subquery.e) &&
               (e->subquery.e->type == VALUE_VECTOR ||
                parse_fail(p, e->at.start,
                           "subquery is only allowed on instant vector, got %s instead",
                           value_type_text(e->subquery.e->type)) != NULL);
    case EXPR_CALL:
        return check_call(p, e);
    case EXPR_AGGREGATE:
        return check_aggregate(p, e);
    }
    return false;
}
