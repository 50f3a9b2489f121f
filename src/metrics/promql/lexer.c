#include "metrics/promql/lexer.h"

#include "base/clock.h"
#include "base/shim.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

void lexer_init(struct lexer *x, struct op *op, struct slice text, struct buf *why)
{
    *x = (struct lexer){.op = op, .text = text.data, .p = text.data, .why = why};
    if (x->text == NULL)
        x->text = x->p = "";
    x->end = x->text + text.len;
    lexer_next(x);
}

int lexer_fail(struct lexer *x, const char *at, const char *format, ...)
{
    unsigned line = 1;
    unsigned column = 1;
    va_list args;

    if (x->why->len > 0)
        return -EINVAL;
    for (const char *p = x->text; p < at && p < x->end; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    buf_printf(x->why, "%u:%u: parse error: ", line, column);
    va_start(args, format);
    buf_vprintf(x->why, format, args);
    va_end(args);
    return -EINVAL;
}

static void bad(struct lexer *x, const char *at, const char *reason)
{
    lexer_fail(x, at, "%s", reason);
    x->token.kind = TOKEN_BAD;
    x->p = x->end;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == ':';
}

static void append_utf8(char **out, unsigned c)
{
    char *o = *out;

    if (c < 0x80) {
        *o++ = (char)c;
    } else if (c < 0x800) {
        *o++ = (char)(0xc0 | c >> 6);
        *o++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *o++ = (char)(0xe0 | c >> 12);
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    } else {
        *o++ = (char)(0xf0 | c >> 18);
        *o++ = (char)(0x80 | (c >> 12 & 63));
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    }
    *out = o;
}

/* Go's escape after a backslash; p stands on its letter. False if there is no such. */
static bool unescape(const char **p, const char *end, char quote, char **out)
{
    static const char *const letters = "abfnrtv\\";
    static const char values[] = "\a\b\f\n\r\t\v\\";
    const char *found = **p != 0 ? strchr(letters, **p) : NULL;
    char digits[9] = "";
    int n = **p == 'x' ? 2 : **p == 'u' ? 4 : **p == 'U' ? 8 : 3;
    int base = n == 3 ? 8 : 16;
    char *stop;
    unsigned long c;

    if (found != NULL || **p == quote) {
        *(*out)++ = found != NULL ? values[found - letters] : quote;
        (*p)++;
        return true;
    }
    if (n == 3 && (**p < '0' || **p > '7'))
        return false;
    *p += n != 3;
    if (end - *p < n)
        return false;
    memcpy(digits, *p, (size_t)n);
    c = strtoul(digits, &stop, base);
    if (stop != digits + n || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || (n <= 3 && c > 255))
        return false;
    if (n <= 3)
        *(*out)++ = (char)c;
    else
        append_utf8(out, (unsigned)c);
    *p += n;
    return true;
}

static void lex_string(struct lexer *x)
{
    char quote = *x->p;
    const char *start = x->p;
    const char *p = x->p + 1;
    char *out = op_alloc(x->op, (size_t)(x->end - p) + 8);
    char *o = out;

    while (p < x->end && *p != quote) {
        if (*p == '\n' && quote != '`') {
            p = x->end;
            break;
        }
        if (*p == '\\' && quote != '`') {
            p++;
            if (p == x->end || !unescape(&p, x->end, quote, &o)) {
                bad(x, start, "unknown escape sequence in string");
                return;
            }
            continue;
        }
        *o++ = *p++;
    }
    if (p == x->end) {
        bad(x, start, quote == '`' ? "unterminated raw string" : "unterminated quoted string");
        return;
    }
    x->token.kind = TOKEN_STRING;
    x->token.text = slice_of(out, (size_t)(o - out));
    x->p = p + 1;
}

/* A number, or a duration such as 5m or 1h30m. */
static void lex_number(struct lexer *x)
{
    const char *p = x->p;
    char plain[80];
    size_t n = 0;
    bool hex = x->end - p > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
    char *stop = NULL;

    while (p < x->end && (is_word(*p) || *p == '.') && *p != ':') {
        bool exponent =
            !hex && (*p == 'e' || *p == 'E') && p + 1 < x->end && (p[1] == '+' || p[1] == '-');

        if (n + 2 >= sizeof plain)
            break;
        if (*p != '_')
            plain[n++] = *p;
        p++;
        if (exponent)
            plain[n++] = *p++;
    }
    plain[n] = 0;
    x->token.text = slice_of(x->p, (size_t)(p - x->p));
    if (hex) {
        x->token.number = (double)strtoull(plain, &stop, 16);
        x->token.kind = TOKEN_NUMBER;
    } else if (double_parse(slice_of(plain, n), &x->token.number) == 0) {
        x->token.kind = TOKEN_NUMBER;
    } else if (duration_parse_ms(x->token.text, &x->token.duration_ms) == 0) {
        x->token.kind = TOKEN_DURATION;
        x->token.number = (double)x->token.duration_ms / 1000;
    }
    if (x->token.kind == TOKEN_END || (stop != NULL && *stop != 0)) {
        bad(x, x->p, "bad number or duration syntax");
        return;
    }
    x->p = p;
}

static void lex_word(struct lexer *x)
{
    const char *p = x->p;

    while (p < x->end && is_word(*p))
        p++;
    x->token.kind = TOKEN_NAME;
    x->token.text = slice_of(x->p, (size_t)(p - x->p));
    x->p = p;
    if (lexer_is_word(x, "inf") || lexer_is_word(x, "nan")) {
        x->token.number = lexer_is_word(x, "inf") ? INFINITY : NAN;
        x->token.kind = TOKEN_NUMBER;
    }
}

static void lex_operator(struct lexer *x)
{
    static const char *const two[] = {"==", "!=", ">=", "<=", "=~", "!~"};
    size_t n = 1;

    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
        if (x->end - x->p >= 2 && memcmp(x->p, two[i], 2) == 0)
            n = 2;
    if (*x->p == 0 || strchr("+-*/%^=!<>(){}[],:@", *x->p) == NULL) {
        autobuf reason = {0};

        buf_add_str(&reason, "unexpected character: '");
        buf_add(&reason, x->p, utf8_length(slice_of(x->p, (size_t)(x->end - x->p))));
        buf_add_char(&reason, '\'');
        bad(x, x->p, reason.data);
        return;
    }
    x->token.kind = TOKEN_OPERATOR;
    x->token.text = slice_of(x->p, n);
    x->p += n;
}

void lexer_next(struct lexer *x)
{
    while (x->p < x->end && (isspace((unsigned char)*x->p) || *x->p == '#')) {
        if (*x->p == '#')
            while (x->p < x->end && *x->p != '\n')
                x->p++;
        else
            x->p++;
    }
    x->token = (struct token){.kind = TOKEN_END, .start = x->p};
    if (x->p == x->end)
        return;
    if (*x->p == '"' || *x->p == '\'' || *x->p == '`')
        lex_string(x);
    else if (isdigit((unsigned char)*x->p) ||
             (*x->p == '.' && x->end - x->p > 1 && isdigit((unsigned char)x->p[1])))
        lex_number(x);
    else if (is_word(*x->p) && !(*x->p == ':' && (x->end - x->p == 1 || !is_word(x->p[1]))))
        lex_word(x);
    else
        lex_operator(x);
}

bool lexer_is(const struct lexer *x, const char *op_text)
{
    return x->token.kind == TOKEN_OPERATOR && slice_eq(x->token.text, slice_str(op_text));
}

bool lexer_take(struct lexer *x, const char *op_text)
{
    if (!lexer_is(x, op_text))
        return false;
    lexer_next(x);
    return true;
}

bool lexer_is_word(const struct lexer *x, const char *word)
{
    return x->token.kind == TOKEN_NAME && x->token.text.len == strlen(word) &&
           strncasecmp(x->token.text.data, word, x->token.text.len) == 0;
}

const char *lexer_describe(struct lexer *x)
{
    int n = (int)x->token.text.len;
    const char *text = x->token.text.data;

    switch (x->token.kind) {
    case TOKEN_END:
        return "end of input";
    case TOKEN_STRING:
        return op_printf(x->op, "string \"%.*s\"", n, text);
    case TOKEN_NUMBER:
        return op_printf(x->op, "number \"%.*s\"", n, text);
    case TOKEN_DURATION:
        return op_printf(x->op, "duration \"%.*s\"", n, text);
    case TOKEN_NAME:
        return op_printf(x->op, "identifier \"%.*s\"", n, text);
    default:
        return op_printf(x->op, "\"%.*s\"", n, text);
    }
}
