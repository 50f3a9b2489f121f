/* Selectors, lists of labels, and the modifiers between the sides of a binary operator. */
#include "base/alloc.h"
#include "base/utf8.h"
#include "metrics/labels.h"
#include "metrics/promql/parser.h"

#include <stdlib.h>

#define MATCHERS_MAX 200
#define GROUPING_MAX 1000

bool token_starts_expr(enum token_kind kind)
{
    switch (kind) {
    case TOKEN_IDENTIFIER:
    case TOKEN_METRIC:
    case TOKEN_STRING:
    case TOKEN_NUMBER:
    case TOKEN_DURATION:
    case TOKEN_LEFT_BRACE:
    case TOKEN_LEFT_PAREN:
    case TOKEN_ADD:
    case TOKEN_SUB:
    case TOKEN_OR:
    case TOKEN_AND:
    case TOKEN_UNLESS:
    case TOKEN_BY:
    case TOKEN_WITHOUT:
    case TOKEN_FILL:
    case TOKEN_FILL_LEFT:
    case TOKEN_FILL_RIGHT:
    case TOKEN_OFFSET:
    case TOKEN_ANCHORED:
    case TOKEN_SMOOTHED:
        return true;
    default:
        return (kind >= TOKEN_START && kind <= TOKEN_MIN_OF) ||
               (kind >= TOKEN_SUM && kind <= TOKEN_LIMIT_RATIO);
    }
}

/* RE2's reason in the words of Go's regexp. */
static const char *regex_reason(struct parser *p, const char *re2)
{
    static const char *const words[][2] = {
        {"missing ]", "missing closing ]"},
        {"missing )", "missing closing )"},
        {"unexpected )", "unexpected )"},
        {"trailing \\", "trailing backslash at end of expression"},
        {"no argument for repetition operator", "missing argument to repetition operator"},
        {"invalid repetition size", "invalid repeat count"},
        {"bad repetition operator", "invalid nested repetition operator"},
        {"invalid perl operator", "invalid or unsupported Perl syntax"},
        {"invalid named capture group", "invalid named capture"},
        {"invalid character class range", "invalid character class range"},
        {"invalid escape sequence", "invalid escape sequence"},
        {"invalid UTF-8", "invalid UTF-8"},
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i][0]);

        if (strncmp(re2, words[i][0], n) != 0)
            continue;
        re2 += n;
        return op_printf(p->op, "%s: `%s`", words[i][1], *re2 == ':' ? re2 + 2 : "");
    }
    return re2;
}

static bool add_matcher(struct parser *p, struct selector *s, enum match_op op, struct slice name,
                        struct slice value, uint32_t at)
{
    autobuf why = {0};
    struct matcher *m;

    if (s->n_matchers == MATCHERS_MAX)
        return parse_fail(p, at, "more than %d matchers in a selector", MATCHERS_MAX) != NULL;
    m = &s->matchers[s->n_matchers];
    if (matcher_init(m, op, name, value, &why) < 0)
        return parse_fail(p, at, "error parsing regexp: %s",
                          regex_reason(p, why.data != NULL ? why.data : "")) != NULL;
    s->n_matchers++;
    return true;
}

static bool is_match_op(enum token_kind kind)
{
    return kind == TOKEN_EQL || kind == TOKEN_NEQ || kind == TOKEN_EQL_REGEX ||
           kind == TOKEN_NEQ_REGEX;
}

static enum match_op match_op_of(enum token_kind kind)
{
    return kind == TOKEN_EQL         ? MATCH_EQ
           : kind == TOKEN_NEQ       ? MATCH_NE
           : kind == TOKEN_EQL_REGEX ? MATCH_RE
                                     : MATCH_NRE;
}

/* `label="value"`, `"quoted label"="value"`, or a quoted metric name alone. */
static bool parse_matcher(struct parser *p, struct selector *s)
{
    enum token_kind first = parse_peek(p);
    struct token name;
    struct token op;
    struct slice label;
    struct slice value;

    p->context = (struct context){"label matching", "identifier or \"}\""};
    if (first != TOKEN_IDENTIFIER && first != TOKEN_STRING)
        return parse_unexpected(p) != NULL;
    name = parse_take(p);
    label = name.text;
    if (first == TOKEN_STRING) {
        string_unquote(p->op, name.text, &label);
        if (!is_match_op(parse_peek(p)))
            return !parse_failed(p) &&
                   add_matcher(p, s, MATCH_EQ, LABEL_NAME, label, name.start);
    }
    p->context.expected = "label matching operator";
    if (!is_match_op(parse_peek(p)))
        return parse_unexpected(p) != NULL;
    op = parse_take(p);
    p->context.expected = "string";
    if (!parse_expect(p, TOKEN_STRING))
        return false;
    string_unquote(p->op, p->token.text, &value);
    return add_matcher(p, s, match_op_of(op.kind), label, value, name.start);
}

/* What is between the braces, and the closing one. */
static bool parse_braces(struct parser *p, struct selector *s)
{
    while (parse_peek(p) != TOKEN_RIGHT_BRACE) {
        if (!parse_matcher(p, s))
            return false;
        p->context = (struct context){"label matching", "\",\" or \"}\""};
        if (parse_peek(p) == TOKEN_RIGHT_BRACE)
            break;
        if (!parse_expect(p, TOKEN_COMMA))
            return false;
    }
    return parse_expect(p, TOKEN_RIGHT_BRACE);
}

/* The matchers are put in the op when their number is known: they stand there until promql_done. */
struct expr *parse_selector(struct parser *p, const struct token *name)
{
    struct selector *s = op_alloc(p->op, sizeof *s);
    struct matcher *room = xcalloc(MATCHERS_MAX + 1, sizeof *room);
    struct context outer = p->context;
    struct expr *e = parse_new(p, EXPR_SELECTOR, VALUE_VECTOR, p->token.start, p->token.end);
    bool good = true;
    bool braces;

    s->matchers = room;
    s->name = SLICE("");
    braces = parse_peek(p) == TOKEN_LEFT_BRACE;
    if (braces) {
        parse_take(p);
        good = parse_braces(p, s);
        e->at.end = p->token.end;
    }
    if (name != NULL) {
        e->at.start = name->start;
        e->at.end = braces ? e->at.end : name->end;
        s->name = name->text;
        good = good && add_matcher(p, s, MATCH_EQ, LABEL_NAME, name->text, name->start);
    }
    p->context = outer;
    s->matchers = op_alloc(p->op, (s->n_matchers + 1) * sizeof *s->matchers);
    memcpy(s->matchers, room, s->n_matchers * sizeof *room);
    free(room);
    s->next = p->q->selectors;
    p->q->selectors = s;
    e->selector = s;
    return good && !parse_failed(p) ? e : NULL;
}

static bool is_label(enum token_kind kind)
{
    if (kind == TOKEN_IDENTIFIER || kind == TOKEN_METRIC || kind == TOKEN_STRING)
        return true;
    if (kind == TOKEN_WITHOUT)
        return false;
    return (kind >= TOKEN_START && kind <= TOKEN_UNLESS) || kind == TOKEN_ATAN2 ||
           kind >= TOKEN_SUM;
}

/* One name of a list; the empty string is no name. */
static bool parse_label(struct parser *p, struct slice *ret)
{
    struct token t;

    p->context.expected = "label";
    if (!is_label(parse_peek(p)))
        return parse_unexpected(p) != NULL;
    t = parse_take(p);
    *ret = t.text;
    if (t.kind == TOKEN_STRING)
        string_unquote(p->op, t.text, ret);
    if (ret->len == 0 || !utf8_valid(*ret) || (t.kind != TOKEN_STRING && !name_is_plain(*ret)))
        return parse_fail(p, t.start, "invalid label name for grouping: %s",
                          text_quoted(p->op, *ret, 0)) != NULL;
    return true;
}

bool parse_grouping(struct parser *p, struct names *ret)
{
    struct context outer = p->context;
    struct slice *items = NULL;
    size_t cap = 0;

    *ret = (struct names){0};
    p->context = (struct context){"grouping opts", "\"(\""};
    if (!parse_expect(p, TOKEN_LEFT_PAREN))
        return false;
    while (parse_peek(p) != TOKEN_RIGHT_PAREN) {
        if (ret->n == GROUPING_MAX)
            return parse_fail(p, p->token.start, "more than %d labels", GROUPING_MAX) != NULL;
        if (ret->n == cap) {
            struct slice *more = op_alloc(p->op, (cap = 2 * cap + 4) * sizeof *more);

            if (ret->n > 0)
                memcpy(more, items, ret->n * sizeof *more);
            items = more;
        }
        if (!parse_label(p, &items[ret->n]))
            return false;
        ret->n++;
        p->context.expected = "\",\" or \")\"";
        if (parse_peek(p) == TOKEN_RIGHT_PAREN)
            break;
        if (!parse_expect(p, TOKEN_COMMA))
            return false;
        p->context.expected = "label";
    }
    ret->items = items;
    if (!parse_expect(p, TOKEN_RIGHT_PAREN))
        return false;
    p->context = outer;
    return true;
}

/* The number of fill(…): with a sign, perhaps. */
static bool parse_fill_value(struct parser *p, double *ret)
{
    enum token_kind sign;
    struct token t;

    parse_take(p);
    if (!parse_expect(p, TOKEN_LEFT_PAREN))
        return false;
    sign = parse_peek(p);
    if (sign == TOKEN_ADD || sign == TOKEN_SUB)
        parse_take(p);
    if (parse_peek(p) != TOKEN_NUMBER && p->token.kind != TOKEN_DURATION)
        return parse_unexpected(p) != NULL;
    t = parse_take(p);
    if (!parse_literal(p, &t, ret))
        return false;
    *ret = sign == TOKEN_SUB ? -*ret : *ret;
    return parse_expect(p, TOKEN_RIGHT_PAREN);
}

static bool parse_fill(struct parser *p, struct matching *m)
{
    enum token_kind kind = parse_peek(p);

    if (kind == TOKEN_FILL) {
        m->has_fill_left = m->has_fill_right = true;
        if (!parse_fill_value(p, &m->fill_left))
            return false;
        m->fill_right = m->fill_left;
        return true;
    }
    for (unsigned i = 0; i < 2; i++) {
        kind = parse_peek(p);
        if (kind == TOKEN_FILL_LEFT && !m->has_fill_left) {
            m->has_fill_left = true;
            if (!parse_fill_value(p, &m->fill_left))
                return false;
        } else if (kind == TOKEN_FILL_RIGHT && !m->has_fill_right) {
            m->has_fill_right = true;
            if (!parse_fill_value(p, &m->fill_right))
                return false;
        }
    }
    return !parse_failed(p);
}

static bool parse_group(struct parser *p, struct matching *m)
{
    struct context outer = p->context;
    enum token_kind kind = parse_peek(p);

    if (kind != TOKEN_GROUP_LEFT && kind != TOKEN_GROUP_RIGHT)
        return !parse_failed(p);
    parse_take(p);
    m->card = kind == TOKEN_GROUP_LEFT ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
    kind = parse_peek(p);
    if (kind == TOKEN_LEFT_PAREN)
        return parse_grouping(p, &m->include);
    if (token_starts_expr(kind))
        return true;
    p->context = (struct context){"grouping opts", "\"(\""};
    parse_unexpected(p);
    p->context = outer;
    return false;
}

bool parse_modifiers(struct parser *p, struct expr *binary)
{
    struct matching *m = op_alloc(p->op, sizeof *m);
    enum token_kind kind = parse_peek(p);

    binary->binary.matching = m;
    if (kind == TOKEN_BOOL) {
        parse_take(p);
        binary->binary.return_bool = true;
        kind = parse_peek(p);
    }
    if (kind == TOKEN_ON || kind == TOKEN_IGNORING) {
        m->on = kind == TOKEN_ON;
        parse_take(p);
        if (!parse_grouping(p, &m->labels) || !parse_group(p, m))
            return false;
    }
    return parse_fill(p, m);
}
