/* The tree as JSON; members are in the order of their names, as Go writes a map. */
#include "base/shim.h"
#include "metrics/promql/print.h"

static void json_plain(struct json *j, const char *key, double v)
{
    autobuf text = {0};

    print_plain(&text, v);
    json_kslice(j, key, buf_slice(&text));
}

static void json_duration(struct json *j, const char *key, const struct duration *d)
{
    json_key(j, key);
    if (d == NULL) {
        json_null(j);
        return;
    }
    json_object(j);
    if (d->op == DURATION_NUMBER) {
        json_kbool(j, "duration", d->unit);
        json_kstr(j, "type", "numberLiteral");
        json_plain(j, "val", d->seconds);
    } else {
        json_duration(j, "lhs", d->l);
        json_kstr(j, "op", duration_op_text(d->op));
        json_duration(j, "rhs", d->r);
        json_kstr(j, "type", "durationExpr");
        json_kbool(j, "wrapped", d->wrapped);
    }
    json_object_end(j);
}

static void json_names(struct json *j, const char *key, const struct names *names)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; i < names->n; i++)
        json_slice(j, names->items[i]);
    json_array_end(j);
}

static void json_fill(struct json *j, const char *key, bool has, double v)
{
    char text[DOUBLE_TEXT_MAX];

    if (has)
        json_kraw(j, key, slice_of(text, double_print(v, text)));
    else
        json_knull(j, key);
}

static void json_matching(struct json *j, const struct matching *m)
{
    static const char *const cards[] = {"one-to-one", "many-to-one", "one-to-many",
                                        "many-to-many"};

    json_key(j, "matching");
    if (m == NULL) {
        json_null(j);
        return;
    }
    json_object(j);
    json_kstr(j, "card", cards[m->card]);
    json_key(j, "fillValues");
    json_object(j);
    json_fill(j, "lhs", m->has_fill_left, m->fill_left);
    json_fill(j, "rhs", m->has_fill_right, m->fill_right);
    json_object_end(j);
    json_names(j, "include", &m->include);
    json_names(j, "labels", &m->labels);
    json_kbool(j, "on", m->on);
    json_object_end(j);
}

static void json_matchers(struct json *j, const struct selector *s)
{
    json_key(j, "matchers");
    json_array(j);
    for (size_t i = 0; i < s->n_matchers; i++) {
        const struct matcher *m = &s->matchers[i];

        json_object(j);
        json_kslice(j, "name", slice_of(m->name, m->name_len));
        json_kstr(j, "type", match_op_text(m->op));
        json_kslice(j, "value", slice_of(m->value, m->value_len));
        json_object_end(j);
    }
    json_array_end(j);
}

static void json_at(struct json *j, const struct moment *m)
{
    if (m->at == AT_START || m->at == AT_END)
        json_kstr(j, "startOrEnd", m->at == AT_START ? "start" : "end");
    else
        json_knull(j, "startOrEnd");
}

static void json_timestamp(struct json *j, const struct moment *m)
{
    if (m->at == AT_TIME)
        json_ki64(j, "timestamp", m->at_ms);
    else
        json_knull(j, "timestamp");
}

static void json_selector(struct json *j, const struct selector *s, const struct expr *matrix)
{
    json_kbool(j, "anchored", s->anchored);
    json_matchers(j, s);
    json_kslice(j, "name", s->name);
    json_ki64(j, "offset", s->moment.offset_ms);
    json_duration(j, "offsetExpr", s->moment.offset_expr);
    if (matrix != NULL) {
        json_ki64(j, "range", matrix->matrix.range_ms);
        json_duration(j, "rangeExpr", matrix->matrix.range_expr);
    }
    json_kbool(j, "smoothed", s->smoothed);
    json_at(j, &s->moment);
    json_timestamp(j, &s->moment);
    json_kstr(j, "type", matrix != NULL ? "matrixSelector" : "vectorSelector");
}

static void json_subquery(struct json *j, const struct expr *e)
{
    json_key(j, "expr");
    promql_json(j, e->subquery.e);
    json_ki64(j, "offset", e->subquery.moment.offset_ms);
    json_duration(j, "offsetExpr", e->subquery.moment.offset_expr);
    json_ki64(j, "range", e->subquery.range_ms);
    json_duration(j, "rangeExpr", e->subquery.range_expr);
    json_at(j, &e->subquery.moment);
    json_ki64(j, "step", e->subquery.step_ms);
    json_duration(j, "stepExpr", e->subquery.step_expr);
    json_timestamp(j, &e->subquery.moment);
    json_kstr(j, "type", "subquery");
}

static void json_call(struct json *j, const struct expr *e)
{
    const struct function *f = e->call.f;

    json_key(j, "args");
    json_array(j);
    for (size_t i = 0; i < e->call.n_args; i++)
        promql_json(j, e->call.args[i]);
    json_array_end(j);
    json_key(j, "func");
    json_object(j);
    json_key(j, "argTypes");
    json_array(j);
    for (size_t i = 0; f->args[i] != 0; i++)
        json_str(j, value_type_text(function_arg(f, i)));
    json_array_end(j);
    json_kstr(j, "name", f->name);
    json_kstr(j, "returnType", value_type_text(f->returns));
    json_ki64(j, "variadic", f->variadic);
    json_object_end(j);
    json_kstr(j, "type", "call");
}

static void json_aggregate(struct json *j, const struct expr *e)
{
    json_key(j, "expr");
    promql_json(j, e->aggregate.e);
    json_names(j, "grouping", &e->aggregate.grouping);
    json_kstr(j, "op", aggregate_op_text(e->aggregate.op));
    json_key(j, "param");
    if (e->aggregate.param != NULL)
        promql_json(j, e->aggregate.param);
    else
        json_null(j);
    json_kstr(j, "type", "aggregation");
    json_kbool(j, "without", e->aggregate.without);
}

static void json_binary(struct json *j, const struct expr *e)
{
    json_kbool(j, "bool", e->binary.return_bool);
    json_key(j, "lhs");
    promql_json(j, e->binary.l);
    json_matching(j, e->binary.matching);
    json_kstr(j, "op", binary_op_text(e->binary.op));
    json_key(j, "rhs");
    promql_json(j, e->binary.r);
    json_kstr(j, "type", "binaryExpr");
}

void promql_json(struct json *j, const struct expr *e)
{
    json_object(j);
    switch (e->kind) {
    case EXPR_NUMBER:
        json_kstr(j, "type", "numberLiteral");
        json_plain(j, "val", e->number.value);
        break;
    case EXPR_STRING:
        json_kstr(j, "type", "stringLiteral");
        json_kslice(j, "val", e->string);
        break;
    case EXPR_PAREN:
    case EXPR_UNARY:
        json_key(j, "expr");
        promql_json(j, e->inner.e);
        if (e->kind == EXPR_UNARY)
            json_kstr(j, "op", e->inner.negative ? "-" : "+");
        json_kstr(j, "type", e->kind == EXPR_PAREN ? "parenExpr" : "unaryExpr");
        break;
    case EXPR_BINARY:
        json_binary(j, e);
        break;
    case EXPR_SELECTOR:
        json_selector(j, e->selector, NULL);
        break;
    case EXPR_MATRIX:
        json_selector(j, e->matrix.e->selector, e);
        break;
    case EXPR_SUBQUERY:
        json_subquery(j, e);
        break;
    case EXPR_CALL:
        json_call(j, e);
        break;
    case EXPR_AGGREGATE:
        json_aggregate(j, e);
        break;
    }
    json_object_end(j);
}
