#include "metrics/rules/template_lex.h"

#include "base/utf8.h"

#include <errno.h>

int parser_fail(struct parser *s, const char *format, ...)
{
    struct buf *why = s->t->why;
    va_list args;

    if (why->len > 0)
        return -EINVAL;
    buf_printf(why, "template: %s:%u: ", s->t->name, s->line);
    va_start(args, format);
    buf_vprintf(why, format, args);
    va_end(args);
    return -EINVAL;
}

static bool is_letter(char c)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_word(const char *p, const char *end)
{
    while (p < end && (is_letter(*p) || is_digit(*p)))
        p++;
    return p;
}

size_t parser_at_close(const struct parser *s, const char *p)
{
    if (s->end - p >= 3 && memcmp(p, "-}}", 3) == 0)
        return 3;
    return s->end - p >= 2 && memcmp(p, "}}", 2) == 0 ? 2 : 0;
}

/* Of one valid character. */
static int64_t utf8_code(struct slice s)
{
    const unsigned char *p = s.data;
    int64_t c = s.len == 1 ? p[0] : p[0] & (0xff >> (s.len + 1));

    for (size_t i = 1; i < s.len; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

/* One escape of a Go string, at *pp behind the backslash. False: it is none. */
static bool decode_escape(const char **pp, const char *end, char quote, struct buf *out)
{
    static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
    const char *p = *pp, *known;
    unsigned digits = 0;
    uint32_t v = 0;
    char c, rune[4];

    if (p >= end)
        return false;
    c = *p++;
    known = memchr(names, c, sizeof names - 1);
    if (known != NULL || c == quote) {
        buf_add_char(out, known != NULL ? values[known - names] : quote);
        *pp = p;
        return true;
    }
    digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '7' ? 3 : 0;
    if (digits == 3)
        p--;
    for (unsigned i = 0; i < digits; i++, p++) {
        unsigned base = digits == 3 ? 8 : 16, d;

        if (p >= end)
            return false;
        d = is_digit(*p)                 ? (unsigned)(*p - '0')
            : (*p | 32) >= 'a' && (*p | 32) <= 'f' ? (unsigned)((*p | 32) - 'a' + 10)
                                         : 99;
        if (d >= base)
            return false;
        v = v * base + d;
    }
    if (digits == 0 || v > 0x10ffff || (digits == 3 && v > 255))
        return false;
    if (digits <= 3)
        buf_add_char(out, (char)v);
    else
        buf_add(out, rune, (size_t)(utf8_put(rune, v) - rune));
    *pp = p;
    return true;
}

static void lex_quoted(struct parser *s, struct token *ret)
{
    char quote = *s->p++;
    autobuf text = {0};

    ret->kind = TOKEN_ERROR;
    while (s->p < s->end && *s->p != quote) {
        if (quote != '`' && *s->p == '\n') {
            parser_fail(s, "unterminated quoted string");
            return;
        }
        if (quote == '`' || *s->p != '\\') {
            s->line += *s->p == '\n';
            buf_add_char(&text, *s->p++);
            continue;
        }
        s->p++;
        if (!decode_escape(&s->p, s->end, quote, &text)) {
            parser_fail(s, "invalid syntax in a quoted string");
            return;
        }
    }
    if (s->p >= s->end) {
        parser_fail(s, "unterminated quoted string");
        return;
    }
    s->p++;
    ret->text = op_slice(s->t->op, buf_slice(&text));
    ret->kind = TOKEN_STRING;
    if (quote != '\'')
        return;
    ret->kind = TOKEN_CHAR;
    if (utf8_length(ret->text) != ret->text.len || ret->text.len == 0) {
        parser_fail(s, "malformed character constant");
        ret->kind = TOKEN_ERROR;
        return;
    }
    ret->number = utf8_code(ret->text);
}

static void lex_number(struct parser *s, struct token *ret)
{
    const char *p = s->p;

    if (*p == '+' || *p == '-')
        p++;
    while (p < s->end && (is_letter(*p) || is_digit(*p) || *p == '.' ||
                          ((*p == '+' || *p == '-') && (p[-1] == 'e' || p[-1] == 'E'))))
        p++;
    ret->kind = TOKEN_NUMBER;
    ret->text = slice_of(s->p, (size_t)(p - s->p));
    s->p = p;
}

static void lex_sign(struct parser *s, struct token *ret)
{
    char c = *s->p;

    if (c == ':' && s->p + 1 < s->end && s->p[1] == '=') {
        ret->kind = TOKEN_DECLARE;
        s->p += 2;
    } else if (strchr("()|,=", c) != NULL) {
        ret->kind = TOKEN_SIGN;
        ret->sign = c;
        s->p++;
    } else {
        parser_fail(s, "unexpected '%c' in an action", c >= 0x20 && c < 0x7f ? c : '?');
    }
}

int parser_next(struct parser *s)
{
    struct token *t = &s->token;
    const char *start;
    char c;

    *t = (struct token){.kind = TOKEN_ERROR};
    for (; s->p < s->end && parser_is_blank(*s->p); s->p++) {
        t->spaced = true;
        s->line += *s->p == '\n';
    }
    start = s->p;
    if (s->p >= s->end)
        return parser_fail(s, "unclosed action");
    c = *s->p;
    if (parser_at_close(s, s->p) == 2 || (parser_at_close(s, s->p) == 3 && t->spaced)) {
        t->kind = TOKEN_END;
    } else if (c == '"' || c == '`' || c == '\'') {
        lex_quoted(s, t);
    } else if (is_digit(c) || ((c == '+' || c == '-') && s->p + 1 < s->end &&
                               (is_digit(s->p[1]) || s->p[1] == '.')) ||
               (c == '.' && s->p + 1 < s->end && is_digit(s->p[1]))) {
        lex_number(s, t);
    } else if (c == '.' || c == '$') {
        s->p = skip_word(s->p + 1, s->end);
        t->kind = c == '$' ? TOKEN_VARIABLE : s->p > start + 1 ? TOKEN_FIELD : TOKEN_DOT;
        start += t->kind == TOKEN_FIELD;
        t->text = slice_of(start, (size_t)(s->p - start));
    } else if (is_letter(c)) {
        s->p = skip_word(s->p, s->end);
        t->kind = TOKEN_WORD;
        t->text = slice_of(start, (size_t)(s->p - start));
    } else {
        lex_sign(s, t);
    }
    return t->kind == TOKEN_ERROR ? -EINVAL : 0;
}
