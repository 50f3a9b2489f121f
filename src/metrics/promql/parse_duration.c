/* Numbers, and durations: plain ones and those that are computed. */
#include "base/shim.h"
#include "metrics/promql/parser.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Go's limit of underscores in numbers: between digits, or after a base prefix. */
static bool underscores_fit(const char *s)
{
    bool prefix = s[0] == '0' && s[1] != 0 && strchr("xXoObB", s[1]) != NULL;
    char before = prefix ? '0' : '^';

    for (s += prefix ? 2 : 0; *s != 0; s++) {
        bool digit = (*s >= '0' && *s <= '9') ||
                     (prefix && ((*s >= 'a' && *s <= 'f') || (*s >= 'A' && *s <= 'F')));

        if (*s == '_' ? before != '0' : !digit && before == '_')
            return false;
        before = digit ? '0' : *s == '_' ? '_' : '!';
    }
    return before != '_';
}

/* Go's ParseInt(s, 0, 64), without underscores. False: it is none. */
static bool parse_int(const char *s, double *ret)
{
    int base = 10;
    const char *p = s;
    uint64_t v = 0;

    if (p[0] == '0' && p[1] != 0) {
        base = p[1] == 'x' || p[1] == 'X' ? 16 : 8;
        p += base == 16 ? 2 : 1;
    }
    if (*p == 0)
        return false;
    for (; *p != 0; p++) {
        int digit = *p >= '0' && *p <= '9'   ? *p - '0'
                    : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
                    : *p >= 'A' && *p <= 'F' ? *p - 'A' + 10
                                             : 99;

        if (digit >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v) || v > INT64_MAX)
            return false;
    }
    *ret = (double)(int64_t)v;
    return true;
}

double parse_number(struct parser *p, const struct token *t)
{
    char *text = op_strndup(p->op, t->text.data, t->text.len);
    char *plain = op_alloc(p->op, t->text.len + 1);
    size_t n = 0;
    double v = 0;
    int r;

    for (const char *s = text; *s != 0; s++)
        if (*s != '_')
            plain[n++] = *s;
    if (n < t->text.len && !underscores_fit(text))
        r = -1;
    else if (parse_int(plain, &v))
        r = 0;
    else
        r = double_parse(slice_of(plain, n), &v);
    if (r == 0)
        return v;
    parse_fail(p, t->start, "error parsing number: strconv.ParseFloat: parsing %s: %s",
               text_quoted(p->op, t->text, 0),
               r == -ERANGE ? "value out of range" : "invalid syntax");
    return 0;
}

/* Go's ParseDuration of prometheus/common: units once, from large to small. Ns. */
static bool parse_units(struct parser *p, const struct token *t, uint64_t *ret)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"y", 365 * 86400000000000ull},
                 {"w", 7 * 86400000000000ull},
                 {"d", 86400000000000ull},
                 {"h", 3600000000000ull},
                 {"m", 60000000000ull},
                 {"s", 1000000000ull},
                 {"ms", 1000000ull}};
    const char *s = op_strndup(p->op, t->text.data, t->text.len);
    size_t next = 0;

    for (*ret = 0; *s != 0;) {
        char *unit;
        uint64_t v = strtoull(s, &unit, 10);
        size_t len = strcspn(unit, "0123456789");
        size_t u = 0;

        while (u < 7 && (strlen(units[u].name) != len || memcmp(units[u].name, unit, len) != 0))
            u++;
        if (unit != s && u == 7)
            return parse_fail(p, t->start, "unknown unit %s in duration %s",
                              text_quoted(p->op, slice_of(unit, len), 0),
                              text_quoted(p->op, t->text, 0)) != NULL;
        if (unit == s || u < next || unit - s > 19)
            return parse_fail(p, t->start, "not a valid duration string: %s",
                              text_quoted(p->op, t->text, 0)) != NULL;
        if (v > (1ull << 63) / units[u].ns || (*ret += v * units[u].ns) > INT64_MAX)
            return parse_fail(p, t->start, "duration out of range") != NULL;
        next = u + 1;
        s = unit + len;
    }
    return true;
}

bool parse_literal(struct parser *p, const struct token *t, double *ret)
{
    uint64_t ns = 0;

    if (t->kind == TOKEN_NUMBER) {
        *ret = parse_number(p, t);
        return !parse_failed(p);
    }
    if (!parse_units(p, t, &ns))
        return false;
    *ret = (double)(ns / 1000000000) + (double)(ns % 1000000000) / 1e9;
    return true;
}

int64_t duration_ms(double seconds)
{
    double ns = round(seconds * 1e9);

    if (!(fabs(ns) < 9.2e18))
        return ns > 0 ? INT64_MAX / 1000000 : ns < 0 ? -(INT64_MAX / 1000000) : 0;
    return (int64_t)ns / 1000000;
}

struct span duration_span(const struct duration *d)
{
    struct span at = d->at;

    if (d->op == DURATION_NUMBER || d->op == DURATION_MIN_OF || d->op == DURATION_MAX_OF ||
        d->r == NULL)
        return at;
    at.end = duration_span(d->r).end;
    if (d->l != NULL)
        at.start = duration_span(d->l).start;
    return at;
}

static struct duration *duration_new(struct parser *p, enum duration_op op, uint32_t start)
{
    struct duration *d = op_alloc(p->op, sizeof *d);

    d->op = op;
    d->height = 1;
    d->at.start = start;
    return d;
}

/* `d` stands above `child`, which may be NULL after an error. NULL: so it is, or it is too high. */
static struct duration *above(struct parser *p, struct duration *d, const struct duration *child)
{
    if (child == NULL)
        return NULL;
    if (child->height >= DURATION_HEIGHT_MAX)
        return parse_fail(p, p->token.start,
                          "duration expression is nested too deeply, more than %d levels",
                          DURATION_HEIGHT_MAX);
    if (d->height <= child->height)
        d->height = (uint16_t)(child->height + 1);
    return d;
}

static bool in_range(double seconds)
{
    return !(seconds > 9223372036.854775807 || seconds < -9223372036.854775807);
}

static struct duration *check_range(struct parser *p, struct duration *d, uint32_t at)
{
    return in_range(d->seconds) ? d : parse_fail(p, at, "duration out of range");
}

/* A number in parentheses is printed with them: it becomes a unary plus. */
static struct duration *wrap(struct parser *p, struct duration *d, uint32_t start, uint32_t end)
{
    struct duration *plus;

    if (d->op != DURATION_NUMBER) {
        d->wrapped = true;
        return d;
    }
    plus = duration_new(p, DURATION_ADD, start);
    plus->at.end = end;
    plus->r = d;
    plus->wrapped = true;
    return above(p, plus, d);
}

static struct duration *apply_sign(struct parser *p, const struct token *sign, struct duration *d)
{
    struct duration *minus;

    if (d->op == DURATION_NUMBER) {
        if (sign->kind == TOKEN_SUB)
            d->seconds = -d->seconds;
        d->at.start = sign->start;
        return check_range(p, d, sign->start);
    }
    if (sign->kind != TOKEN_SUB)
        return d;
    minus = duration_new(p, DURATION_SUB, sign->start);
    minus->r = d;
    return above(p, minus, d);
}

static struct duration *parse_level(struct parser *p, int level);

static struct duration *duration_literal(struct parser *p)
{
    struct token t = parse_take(p);
    struct duration *d = duration_new(p, DURATION_NUMBER, t.start);

    d->at.end = t.end;
    d->unit = t.kind == TOKEN_DURATION;
    if (!parse_literal(p, &t, &d->seconds))
        return NULL;
    return d;
}

/* step(), range(), min_of(a, b), max_of(a, b) */
static struct duration *duration_call(struct parser *p)
{
    struct token name = parse_take(p);
    struct duration *d = duration_new(p,
                                      name.kind == TOKEN_STEP     ? DURATION_STEP
                                      : name.kind == TOKEN_RANGE  ? DURATION_RANGE
                                      : name.kind == TOKEN_MIN_OF ? DURATION_MIN_OF
                                                                  : DURATION_MAX_OF,
                                      name.start);

    if (!parse_expect(p, TOKEN_LEFT_PAREN))
        return NULL;
    if (d->op == DURATION_MIN_OF || d->op == DURATION_MAX_OF) {
        d->l = parse_level(p, 0);
        if (above(p, d, d->l) == NULL || !parse_expect(p, TOKEN_COMMA))
            return NULL;
        d->r = parse_level(p, 0);
        if (above(p, d, d->r) == NULL)
            return NULL;
    }
    if (!parse_expect(p, TOKEN_RIGHT_PAREN))
        return NULL;
    d->at.end = p->token.end;
    return d;
}

static struct duration *duration_paren(struct parser *p)
{
    struct token open = parse_take(p);
    struct duration *d = parse_level(p, 0);

    if (d == NULL || !parse_expect(p, TOKEN_RIGHT_PAREN))
        return NULL;
    return wrap(p, d, open.start, p->token.end);
}

static bool is_call(enum token_kind kind)
{
    return kind >= TOKEN_STEP && kind <= TOKEN_MIN_OF;
}

static struct duration *duration_operand(struct parser *p)
{
    struct duration *d;
    struct token sign;

    switch (parse_peek(p)) {
    case TOKEN_NUMBER:
    case TOKEN_DURATION:
        d = duration_literal(p);
        return d != NULL ? check_range(p, d, d->at.start) : NULL;
    case TOKEN_ADD:
    case TOKEN_SUB:
        sign = parse_take(p);
        d = parse_level(p, 3);
        return d != NULL ? apply_sign(p, &sign, d) : NULL;
    case TOKEN_LEFT_PAREN:
        return duration_paren(p);
    default:
        if (is_call(p->token.kind))
            return duration_call(p);
        return parse_unexpected(p);
    }
}

static int duration_level(enum token_kind kind)
{
    if (kind == TOKEN_ADD || kind == TOKEN_SUB)
        return 1;
    if (kind == TOKEN_MUL || kind == TOKEN_DIV || kind == TOKEN_MOD)
        return 2;
    return kind == TOKEN_POW ? 3 : 0;
}

static struct duration *parse_rest(struct parser *p, struct duration *left, int level)
{
    while (left != NULL) {
        int found = duration_level(parse_peek(p));
        struct duration *d;
        struct token t;

        if (parse_failed(p))
            return NULL;
        if (found == 0 || found < level)
            return left;
        t = parse_take(p);
        d = duration_new(p,
                         t.kind == TOKEN_ADD   ? DURATION_ADD
                         : t.kind == TOKEN_SUB ? DURATION_SUB
                         : t.kind == TOKEN_MUL ? DURATION_MUL
                         : t.kind == TOKEN_DIV ? DURATION_DIV
                         : t.kind == TOKEN_MOD ? DURATION_MOD
                                               : DURATION_POW,
                         left->at.start);
        d->l = left;
        d->r = parse_level(p, t.kind == TOKEN_POW ? found : found + 1);
        if (above(p, d, left) == NULL || above(p, d, d->r) == NULL)
            return NULL;
        if ((d->op == DURATION_DIV || d->op == DURATION_MOD) && d->r->op == DURATION_NUMBER &&
            d->r->seconds == 0)
            return parse_fail(p, t.start,
                              d->op == DURATION_DIV ? "division by zero" : "modulo by zero");
        left = d;
    }
    return NULL;
}

static struct duration *parse_level(struct parser *p, int level)
{
    struct duration *d = parse_deeper(p) ? parse_rest(p, duration_operand(p), level) : NULL;

    p->depth--;
    return d;
}

struct duration *parse_duration_expr(struct parser *p)
{
    return parse_level(p, 0);
}

/* After `offset`, what a sign or a call begins ends with its operand: `offset -2^2` is
 * (offset -2)^2. Only a parenthesis opens an expression of more. */
struct duration *parse_offset_duration(struct parser *p)
{
    enum token_kind kind = parse_peek(p);
    struct duration *d;
    struct token sign;

    if (kind == TOKEN_NUMBER || kind == TOKEN_DURATION || is_call(kind))
        return duration_operand(p);
    if (kind != TOKEN_ADD && kind != TOKEN_SUB)
        return parse_level(p, 0);
    sign = parse_take(p);
    kind = parse_peek(p);
    if (kind == TOKEN_NUMBER || kind == TOKEN_DURATION) {
        d = duration_literal(p);
        return d != NULL ? apply_sign(p, &sign, d) : NULL;
    }
    if (is_call(kind)) {
        /* The sign is kept, a plus too. */
        d = duration_new(p, sign.kind == TOKEN_SUB ? DURATION_SUB : DURATION_ADD, sign.start);
        d->r = duration_call(p);
        return above(p, d, d->r);
    }
    if (kind == TOKEN_LEFT_PAREN) {
        d = duration_paren(p);
        return d != NULL ? apply_sign(p, &sign, d) : NULL;
    }
    d = parse_level(p, 3);
    if (d == NULL)
        return NULL;
    return parse_rest(p, apply_sign(p, &sign, d), 0);
}
