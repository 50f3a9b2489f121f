#include "metrics/promql/print.h"

#include "base/alloc.h"
#include "base/shim.h"
#include "metrics/labels.h"
#include "metrics/promql/lexer.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void print_duration_ms(struct buf *out, int64_t ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
        bool exact;
    } units[] = {{"y", 31536000000, true}, {"w", 604800000, true}, {"d", 86400000, false},
                 {"h", 3600000, false},    {"m", 60000, false},    {"s", 1000, false},
                 {"ms", 1, false}};
    uint64_t left = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;

    if (ms == 0)
        buf_add_str(out, "0s");
    else if (ms < 0)
        buf_add_char(out, '-');
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (left < units[i].ms || (units[i].exact && left % units[i].ms != 0))
            continue;
        buf_add_u64(out, left / units[i].ms);
        buf_add_str(out, units[i].name);
        left %= units[i].ms;
    }
}

void print_plain(struct buf *out, double v)
{
    char text[DOUBLE_TEXT_MAX];
    size_t n = double_print(v, text);
    const char *e = memchr(text, 'e', n);
    char digits[DOUBLE_TEXT_MAX];
    size_t n_digits = 0;
    long exponent;

    if (e == NULL) {
        buf_add(out, text, n);
        return;
    }
    text[n < DOUBLE_TEXT_MAX ? n : DOUBLE_TEXT_MAX - 1] = 0;
    exponent = strtol(e + 1, NULL, 10);
    for (const char *p = text; p < e; p++)
        if (isdigit((unsigned char)*p))
            digits[n_digits++] = *p;
    if (v < 0)
        buf_add_char(out, '-');
    if (exponent < 0) {
        buf_add_str(out, "0.");
        for (long i = exponent + 1; i < 0; i++)
            buf_add_char(out, '0');
        buf_add(out, digits, n_digits);
        return;
    }
    buf_add(out, digits, n_digits);
    for (long i = (long)n_digits; i <= exponent; i++)
        buf_add_char(out, '0');
}

/* Go's %v of a float64: an exponent below 1e-4 already. */
static void print_general(struct buf *out, double v)
{
    char text[DOUBLE_TEXT_MAX];
    size_t n = double_print(v, text);
    size_t sign = v < 0;
    size_t zeros;

    if (!(fabs(v) < 1e-4) || fabs(v) < 1e-6) {
        buf_add(out, text, n);
        return;
    }
    zeros = strspn(text + sign + 2, "0"); /* after "0." */
    buf_printf(out, "%s%c%s%s", v < 0 ? "-" : "", text[sign + 2 + zeros],
               text[sign + 3 + zeros] != 0 ? "." : "", text + sign + 3 + zeros);
    buf_printf(out, "e-%02zu", zeros + 1);
}

const char *duration_op_text(enum duration_op op)
{
    static const char *const names[] = {"",  "+",    "-",     "*",      "/",     "%",
                                        "^", "step", "range", "min_of", "max_of"};

    return names[op];
}

int64_t duration_trunc_ms(double seconds)
{
    double ns = trunc(seconds * 1e9);

    if (fabs(ns) < 9.2e18)
        return (int64_t)ns / 1000000;
    return ns > 0 ? INT64_MAX / 1000000 : INT64_MIN / 1000000;
}

static void print_seconds(struct buf *out, double seconds, bool unit)
{
    if (!unit)
        print_plain(out, seconds);
    else
        print_duration_ms(out, duration_trunc_ms(seconds));
}

void print_duration(struct buf *out, const struct duration *d)
{
    if (d->wrapped)
        buf_add_char(out, '(');
    if (d->op == DURATION_NUMBER) {
        print_seconds(out, d->seconds, d->unit);
    } else if (d->op == DURATION_STEP || d->op == DURATION_RANGE) {
        buf_printf(out, "%s()", duration_op_text(d->op));
    } else if (d->op == DURATION_MIN_OF || d->op == DURATION_MAX_OF) {
        buf_printf(out, "%s(", duration_op_text(d->op));
        print_duration(out, d->l);
        buf_add_str(out, ", ");
        print_duration(out, d->r);
        buf_add_char(out, ')');
    } else if (d->l == NULL) {
        if (d->op == DURATION_SUB)
            buf_add_char(out, '-');
        print_duration(out, d->r);
    } else {
        print_duration(out, d->l);
        buf_printf(out, " %s ", duration_op_text(d->op));
        print_duration(out, d->r);
    }
    if (d->wrapped)
        buf_add_char(out, ')');
}

const char *match_op_text(enum match_op op)
{
    static const char *const names[] = {"=", "!=", "=~", "!~"};

    return names[op];
}

static int by_text(const void *a, const void *b)
{
    const struct slice *x = a;
    const struct slice *y = b;

    return slice_cmp(*x, *y);
}

static void print_label(struct buf *out, struct slice name)
{
    if (name_is_plain(name))
        buf_add_slice(out, name);
    else
        quote_go(out, name);
}

void print_selector(struct buf *out, const struct selector *s)
{
    autobuf text = {0};
    size_t *starts = xcalloc(s->n_matchers + 1, sizeof *starts);
    struct slice *sorted = xcalloc(s->n_matchers + 1, sizeof *sorted);
    size_t n = 0;

    for (size_t i = 0; i < s->n_matchers; i++) {
        const struct matcher *m = &s->matchers[i];
        struct slice name = slice_of(m->name, m->name_len);
        struct slice value = slice_of(m->value, m->value_len);

        if (m->op == MATCH_EQ && value.len > 0 && slice_eq(name, LABEL_NAME) &&
            slice_eq(value, s->name))
            continue;
        starts[n++] = text.len;
        print_label(&text, name);
        buf_add_str(&text, match_op_text(m->op));
        quote_go(&text, value);
    }
    starts[n] = text.len;
    for (size_t i = 0; i < n; i++)
        sorted[i] = slice_of(text.data + starts[i], starts[i + 1] - starts[i]);
    qsort(sorted, n, sizeof *sorted, by_text);
    buf_add_slice(out, s->name);
    for (size_t i = 0; i < n; i++) {
        buf_add_char(out, i == 0 ? '{' : ',');
        buf_add_slice(out, sorted[i]);
    }
    if (n > 0)
        buf_add_char(out, '}');
    free(starts);
    free(sorted);
}

static void print_at(struct buf *out, const struct moment *m)
{
    if (m->at == AT_TIME)
        buf_printf(out, " @ %.3f", (double)m->at_ms / 1000);
    else if (m->at == AT_START)
        buf_add_str(out, " @ start()");
    else if (m->at == AT_END)
        buf_add_str(out, " @ end()");
}

static void print_offset(struct buf *out, const struct moment *m)
{
    if (m->offset_expr == NULL && m->offset_ms == 0)
        return;
    buf_add_str(out, " offset ");
    if (m->offset_expr != NULL)
        print_duration(out, m->offset_expr);
    else
        print_duration_ms(out, m->offset_ms);
}

static void print_extended(struct buf *out, const struct selector *s)
{
    if (s->anchored)
        buf_add_str(out, " anchored");
    else if (s->smoothed)
        buf_add_str(out, " smoothed");
}

static void print_span(struct buf *out, int64_t ms, const struct duration *d)
{
    if (d != NULL)
        print_duration(out, d);
    else
        print_duration_ms(out, ms);
}

static void print_matrix(struct buf *out, const struct expr *e)
{
    const struct selector *s = e->matrix.e->selector;

    print_selector(out, s);
    buf_add_char(out, '[');
    print_span(out, e->matrix.range_ms, e->matrix.range_expr);
    buf_add_char(out, ']');
    print_extended(out, s);
    print_at(out, &s->moment);
    print_offset(out, &s->moment);
}

static void print_subquery_suffix(struct buf *out, const struct expr *e)
{
    buf_add_char(out, '[');
    print_span(out, e->subquery.range_ms, e->subquery.range_expr);
    buf_add_char(out, ':');
    if (e->subquery.step_expr != NULL || e->subquery.step_ms != 0)
        print_span(out, e->subquery.step_ms, e->subquery.step_expr);
    buf_add_char(out, ']');
    print_at(out, &e->subquery.moment);
    print_offset(out, &e->subquery.moment);
}

static void print_names(struct buf *out, const char *before, const struct names *names)
{
    buf_printf(out, " %s (", before);
    for (size_t i = 0; i < names->n; i++) {
        if (i > 0)
            buf_add_str(out, ", ");
        print_label(out, names->items[i]);
    }
    buf_add_char(out, ')');
}

static void print_aggregate_op(struct buf *out, const struct expr *e)
{
    buf_add_str(out, aggregate_op_text(e->aggregate.op));
    if (e->aggregate.without || e->aggregate.grouping.n > 0) {
        print_names(out, e->aggregate.without ? "without" : "by", &e->aggregate.grouping);
        buf_add_char(out, ' ');
    }
}

static void print_fill(struct buf *out, const char *name, double v)
{
    buf_printf(out, " %s (", name);
    print_general(out, v);
    buf_add_char(out, ')');
}

static void print_binary_op(struct buf *out, const struct expr *e)
{
    const struct matching *m = e->binary.matching;

    buf_add_str(out, binary_op_text(e->binary.op));
    if (e->binary.return_bool)
        buf_add_str(out, " bool");
    if (m == NULL)
        return;
    if (m->labels.n > 0 || m->on || m->card == CARD_MANY_TO_ONE || m->card == CARD_ONE_TO_MANY)
        print_names(out, m->on ? "on" : "ignoring", &m->labels);
    if (m->card == CARD_MANY_TO_ONE || m->card == CARD_ONE_TO_MANY)
        print_names(out, m->card == CARD_MANY_TO_ONE ? "group_left" : "group_right", &m->include);
    if (m->has_fill_left && m->has_fill_right && m->fill_left == m->fill_right) {
        print_fill(out, "fill", m->fill_left);
        return;
    }
    if (m->has_fill_left)
        print_fill(out, "fill_left", m->fill_left);
    if (m->has_fill_right)
        print_fill(out, "fill_right", m->fill_right);
}

static void print_call(struct buf *out, const struct expr *e)
{
    buf_add_str(out, e->call.f->name);
    buf_add_char(out, '(');
    for (size_t i = 0; i < e->call.n_args; i++) {
        if (i > 0)
            buf_add_str(out, ", ");
        promql_print(out, e->call.args[i]);
    }
    buf_add_char(out, ')');
}

void promql_print_node(struct buf *out, const struct expr *e)
{
    if (e->kind == EXPR_AGGREGATE) {
        print_aggregate_op(out, e);
        if (out->len > 0 && out->data[out->len - 1] == ' ')
            out->data[--out->len] = 0;
    } else if (e->kind == EXPR_BINARY) {
        print_binary_op(out, e);
    } else if (e->kind == EXPR_CALL) {
        buf_printf(out, "%s()", e->call.f->name);
    } else if (e->kind == EXPR_UNARY) {
        buf_add_char(out, e->inner.negative ? '-' : '+');
    } else if (e->kind == EXPR_PAREN) {
        buf_add_str(out, "()");
    } else if (e->kind == EXPR_SUBQUERY) {
        print_subquery_suffix(out, e);
    } else {
        promql_print(out, e);
    }
}

void promql_print(struct buf *out, const struct expr *e)
{
    if (out->failed)
        return;
    switch (e->kind) {
    case EXPR_NUMBER:
        print_seconds(out, e->number.value, e->number.unit);
        break;
    case EXPR_STRING:
        quote_go(out, e->string);
        break;
    case EXPR_PAREN:
        buf_add_char(out, '(');
        promql_print(out, e->inner.e);
        buf_add_char(out, ')');
        break;
    case EXPR_UNARY:
        buf_add_char(out, e->inner.negative ? '-' : '+');
        promql_print(out, e->inner.e);
        break;
    case EXPR_BINARY:
        promql_print(out, e->binary.l);
        buf_add_char(out, ' ');
        print_binary_op(out, e);
        buf_add_char(out, ' ');
        promql_print(out, e->binary.r);
        break;
    case EXPR_SELECTOR:
        print_selector(out, e->selector);
        print_at(out, &e->selector->moment);
        print_extended(out, e->selector);
        print_offset(out, &e->selector->moment);
        break;
    case EXPR_MATRIX:
        print_matrix(out, e);
        break;
    case EXPR_SUBQUERY:
        promql_print(out, e->subquery.e);
        print_subquery_suffix(out, e);
        break;
    case EXPR_CALL:
        print_call(out, e);
        break;
    case EXPR_AGGREGATE:
        print_aggregate_op(out, e);
        buf_add_char(out, '(');
        if (e->aggregate.param != NULL) {
            promql_print(out, e->aggregate.param);
            buf_add_str(out, ", ");
        }
        promql_print(out, e->aggregate.e);
        buf_add_char(out, ')');
        break;
    }
}

#define LINE_MAX_CHARS 100

/* Longer than a line? Prints no more than it must to know. */
static bool needs_split(const struct expr *e)
{
    autobuf text = {.limit_bytes = LINE_MAX_CHARS + 1};

    promql_print(&text, e);
    return text.failed || text.len > LINE_MAX_CHARS;
}

static void indent(struct buf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_add_str(out, "  ");
}

static void pretty(struct buf *out, const struct expr *e, unsigned level);

static void close_paren(struct buf *out, unsigned level)
{
    buf_add_char(out, '\n');
    indent(out, level);
    buf_add_char(out, ')');
}

static void pretty_split(struct buf *out, const struct expr *e, unsigned level)
{
    if (e->kind == EXPR_BINARY) {
        pretty(out, e->binary.l, level + 1);
        buf_add_char(out, '\n');
        indent(out, level);
        print_binary_op(out, e);
        buf_add_char(out, '\n');
        pretty(out, e->binary.r, level + 1);
        return;
    }
    if (e->kind == EXPR_SUBQUERY) {
        pretty(out, e->subquery.e, level);
        print_subquery_suffix(out, e);
        return;
    }
    indent(out, level);
    if (e->kind == EXPR_AGGREGATE)
        print_aggregate_op(out, e);
    else if (e->kind == EXPR_CALL)
        buf_add_str(out, e->call.f->name);
    buf_add_str(out, "(\n");
    if (e->kind == EXPR_AGGREGATE && e->aggregate.param != NULL) {
        pretty(out, e->aggregate.param, level + 1);
        buf_add_str(out, ",\n");
    }
    if (e->kind == EXPR_CALL) {
        for (size_t i = 0; i < e->call.n_args; i++) {
            if (i > 0)
                buf_add_str(out, ",\n");
            pretty(out, e->call.args[i], level + 1);
        }
    } else {
        pretty(out, e->kind == EXPR_AGGREGATE ? e->aggregate.e : e->inner.e, level + 1);
    }
    close_paren(out, level);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n';
}

static void pretty_unary(struct buf *out, const struct expr *e, unsigned level)
{
    autobuf text = {0};
    size_t from = 0;

    pretty(&text, e->inner.e, level);
    while (from < text.len && is_blank(text.data[from]))
        from++;
    while (text.len > from && is_blank(text.data[text.len - 1]))
        text.len--;
    indent(out, level);
    buf_add_char(out, e->inner.negative ? '-' : '+');
    buf_add(out, text.data + from, text.len - from);
}

static void pretty(struct buf *out, const struct expr *e, unsigned level)
{
    bool may_split = e->kind == EXPR_AGGREGATE || e->kind == EXPR_BINARY || e->kind == EXPR_CALL ||
                     e->kind == EXPR_PAREN || e->kind == EXPR_SUBQUERY;

    if (e->kind == EXPR_UNARY) {
        pretty_unary(out, e, level);
        return;
    }
    if (may_split && needs_split(e)) {
        pretty_split(out, e, level);
        return;
    }
    if (e->kind != EXPR_SUBQUERY)
        indent(out, level);
    promql_print(out, e);
}

void promql_pretty(struct buf *out, const struct expr *e)
{
    pretty(out, e, 0);
}
