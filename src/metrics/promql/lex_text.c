/* Characters, numbers and strings for the lexer. */
#include "base/shim.h"
#include "base/utf8.h"
#include "metrics/labels.h"
#include "metrics/promql/lexer.h"

#include <errno.h>
#include <stdio.h>

static int32_t decode(const unsigned char *p, size_t n)
{
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    int32_t r = p[0] & masks[n];

    for (size_t i = 1; i < n; i++)
        r = r << 6 | (p[i] & 0x3f);
    return r;
}

int32_t lexer_rune(struct lexer *x)
{
    struct slice rest = slice_of(x->text + x->pos, x->len - x->pos);
    size_t n;

    x->width = 0;
    if (rest.len == 0)
        return RUNE_EOF;
    n = utf8_length(rest);
    x->width = n > 0 ? n : 1;
    x->pos += x->width;
    return n > 0 ? decode(rest.data, n) : RUNE_BAD;
}

void lexer_back(struct lexer *x)
{
    x->pos -= x->width;
}

int32_t lexer_peek(struct lexer *x)
{
    int32_t r = lexer_rune(x);

    lexer_back(x);
    return r;
}

/* \pL in RE2's tables. */
static bool is_letter(struct lexer *x, int32_t rune)
{
    if (rune < 0x80 || rune == RUNE_BAD)
        return false;
    if (x->letters == NULL && regex_new(SLICE("\\pL"), &x->letters, NULL) < 0)
        return false;
    return regex_match(x->letters, slice_of(x->text + x->pos - x->width, x->width));
}

bool lexer_starts_name(struct lexer *x, int32_t r)
{
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || is_letter(x, r);
}

bool lexer_continues_name(struct lexer *x, int32_t r)
{
    return (r >= '0' && r <= '9') || r == '.' || lexer_starts_name(x, r);
}

void lexer_done(struct lexer *x)
{
    if (x->letters != NULL)
        regex_free(x->letters);
    x->letters = NULL;
}

bool name_is_plain(struct slice name)
{
    struct lexer x = {.text = name.data, .len = name.len};
    bool plain = name.len > 0 && lexer_starts_name(&x, lexer_rune(&x));

    while (plain && x.pos < x.len)
        plain = lexer_continues_name(&x, lexer_rune(&x));
    lexer_done(&x);
    return plain;
}

void lexer_emit(struct lexer *x, enum token_kind kind)
{
    x->token = (struct token){.kind = kind,
                              .start = (uint32_t)x->start,
                              .end = (uint32_t)x->pos,
                              .text = slice_of(x->text + x->start, x->pos - x->start)};
    x->start = x->pos;
    x->emitted = true;
}

void lexer_error(struct lexer *x, const char *format, ...)
{
    autobuf text = {0};
    va_list args;

    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    x->error = op_strndup(x->op, text.data, text.len);
    x->token = (struct token){
        .kind = TOKEN_ERROR, .start = (uint32_t)x->start, .end = (uint32_t)x->len};
    x->state = LEX_ENDED;
    x->emitted = true;
}

bool lexer_accept(struct lexer *x, const char *set)
{
    if (x->pos >= x->len || x->text[x->pos] == 0 || strchr(set, x->text[x->pos]) == NULL)
        return false;
    x->pos++;
    return true;
}

static bool at(const struct lexer *x, const char *set)
{
    return x->pos < x->len && x->text[x->pos] != 0 && strchr(set, x->text[x->pos]) != NULL;
}

static bool is_word(const struct lexer *x)
{
    char c = x->pos < x->len ? x->text[x->pos] : 0;

    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* One step of a number: false when it is none. */
static bool scan_piece(struct lexer *x, const char *digits, bool *dot, bool *exponent)
{
    bool hex = digits[10] != 0;

    if (at(x, ".")) {
        x->pos++;
        if (*dot)
            return false;
        *dot = true;
        return !lexer_accept(x, "_.") && !hex;
    }
    if (at(x, "eE") && *exponent) {
        x->pos++;
        return false;
    }
    if (lexer_accept(x, "eE")) {
        *exponent = true;
        lexer_accept(x, "+-");
        return !lexer_accept(x, "._eE") && x->pos < x->len;
    }
    if (lexer_accept(x, "_"))
        return !lexer_accept(x, "._eE") && x->pos < x->len;
    while (lexer_accept(x, digits))
        ;
    return true;
}

/* Not necessarily a valid number: who converts it decides. */
static bool scan_number(struct lexer *x)
{
    const char *digits = "0123456789";
    const char *more = "0123456789._eE";
    size_t first = x->pos;
    bool dot = false;
    bool exponent = false;

    if (lexer_accept(x, "0") && lexer_accept(x, "xX")) {
        lexer_accept(x, "_");
        digits = "0123456789abcdefABCDEF";
        more = "0123456789abcdefABCDEF._";
    }
    lexer_accept(x, ".");
    lexer_accept(x, digits);
    while (at(x, more))
        if (!scan_piece(x, digits, &dot, &exponent))
            return false;
    return x->pos > first && !is_word(x);
}

/* The rest of 5m, 1h30m, after the first digits. Units are checked by who converts it. */
static bool scan_duration(struct lexer *x)
{
    if (!lexer_accept(x, "smhdwy"))
        return false;
    lexer_accept(x, "s");
    while (lexer_accept(x, "0123456789")) {
        while (lexer_accept(x, "0123456789"))
            ;
        if (!lexer_accept(x, "smhdw"))
            return false;
        lexer_accept(x, "s");
    }
    if (!is_word(x))
        return true;
    x->pos++;
    return false;
}

void lex_number_or_duration(struct lexer *x)
{
    if (scan_number(x))
        lexer_emit(x, TOKEN_NUMBER);
    else if (scan_duration(x))
        lexer_emit(x, TOKEN_DURATION);
    else
        lexer_error(x, "bad number or duration syntax: %s",
                    text_quoted(x->op, slice_of(x->text + x->start, x->pos - x->start), 0));
}

static int digit_of(int32_t r)
{
    if (r >= '0' && r <= '9')
        return r - '0';
    if (r >= 'a' && r <= 'f')
        return r - 'a' + 10;
    if (r >= 'A' && r <= 'F')
        return r - 'A' + 10;
    return 16;
}

/* Go's %#U: U+0041 'A' */
static const char *rune_named(struct op *op, int32_t rune)
{
    const char *quoted = rune_quoted(op, rune);

    if (quoted[1] == '\\' && rune != '\\' && rune != '\'')
        return op_printf(op, "U+%04X", (unsigned)rune);
    return op_printf(op, "U+%04X '%.*s'", (unsigned)rune,
                     (int)(strlen(quoted) - 2 - (quoted[1] == '\\')),
                     quoted + 1 + (quoted[1] == '\\'));
}

/* After a backslash. False: the error is set. */
static bool lex_escape(struct lexer *x, int32_t quote)
{
    int32_t c = lexer_rune(x);
    int n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 3;
    int base = n == 3 ? 8 : 16;
    uint32_t max = n <= 3 ? 255 : 0x10ffff;
    uint32_t v = 0;

    if (c == quote || (c > 0 && c < 128 && strchr("abfnrtv\\", c) != NULL))
        return true;
    if (c == RUNE_EOF) {
        lexer_error(x, "escape sequence not terminated");
        return false;
    }
    if (n == 3 && (c < '0' || c > '7')) {
        lexer_error(x, "unknown escape sequence %s", rune_named(x->op, c));
        return false;
    }
    if (n != 3)
        c = lexer_rune(x);
    for (int i = 0; i < n; i++) {
        if (i > 0)
            c = lexer_rune(x);
        if (c == RUNE_EOF) {
            lexer_error(x, "escape sequence not terminated");
            return false;
        }
        if (digit_of(c) >= base) {
            lexer_error(x, "illegal character %s in escape sequence", rune_named(x->op, c));
            return false;
        }
        v = v * (uint32_t)base + (uint32_t)digit_of(c);
    }
    if (v > max || (v >= 0xd800 && v < 0xe000)) {
        lexer_error(x, "escape sequence is an invalid Unicode code point");
        return false;
    }
    return true;
}

void lex_string(struct lexer *x, int32_t quote)
{
    for (;;) {
        int32_t c = lexer_rune(x);

        if (c == quote) {
            lexer_emit(x, TOKEN_STRING);
            return;
        }
        if (c == '\\') {
            if (!lex_escape(x, quote))
                return;
        } else if (c == RUNE_BAD) {
            lexer_error(x, "invalid UTF-8 rune");
            return;
        } else if (c == RUNE_EOF || c == '\n') {
            lexer_error(x, "unterminated quoted string");
            return;
        }
    }
}

void lex_raw_string(struct lexer *x)
{
    int32_t c;

    while ((c = lexer_rune(x)) != '`') {
        if (c == RUNE_BAD) {
            lexer_error(x, "invalid UTF-8 rune");
            return;
        }
        if (c == RUNE_EOF) {
            lexer_error(x, "unterminated raw string");
            return;
        }
    }
    lexer_emit(x, TOKEN_STRING);
}

/* The lexer has checked it: digits are there. */
static const char *unescape(const char *p, char **out)
{
    static const char *const letters = "abfnrtv";
    static const char values[] = "\a\b\f\n\r\t\v";
    const char *found = strchr(letters, *p);
    int n = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 3;
    uint32_t v = 0;

    if (found != NULL || *p == '\\' || *p == '"' || *p == '\'') {
        *(*out)++ = found != NULL ? values[found - letters] : *p;
        return p + 1;
    }
    p += n != 3;
    for (int i = 0; i < n; i++)
        v = v * (n == 3 ? 8u : 16u) + (uint32_t)digit_of(*p++);
    if (n <= 3)
        *(*out)++ = (char)v;
    else
        *out = utf8_put(*out, v);
    return p;
}

bool string_unquote(struct op *op, struct slice text, struct slice *ret)
{
    const char *p = text.data;
    const char *end;
    char *out;
    char *o;

    *ret = SLICE("");
    if (text.len < 2)
        return false;
    end = p + text.len - 1;
    if (*p == '`') {
        *ret = slice_of(p + 1, text.len - 2);
        return true;
    }
    out = o = op_alloc(op, text.len);
    for (p++; p < end;) {
        if (*p == '\\')
            p = unescape(p + 1, &o);
        else
            *o++ = *p++;
    }
    *ret = slice_of(out, (size_t)(o - out));
    return true;
}

const char *text_quoted(struct op *op, struct slice text, size_t max)
{
    autobuf out = {0};
    size_t n = 0;

    for (size_t i = 0; max > 0 && i < max && n < text.len; i++) {
        size_t width = utf8_length(slice_skip(text, n));

        n += width > 0 ? width : 1;
    }
    quote_go(&out, max > 0 ? slice_of(text.data, n) : text);
    return op_strndup(op, out.data, out.len);
}

const char *rune_quoted(struct op *op, int32_t rune)
{
    char bytes[5] = "";
    const char *quoted;

    if (rune == '\'')
        return "'\\''";
    if (rune == '"')
        return "'\"'";
    if (rune == RUNE_EOF)
        rune = RUNE_BAD;
    utf8_put(bytes, (uint32_t)rune);
    quoted = text_quoted(op, slice_of(bytes, rune == 0 ? 1 : strlen(bytes)), 0);
    return op_printf(op, "'%.*s'", (int)strlen(quoted) - 2, quoted + 1);
}
