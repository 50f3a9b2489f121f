/* fmt.Sprintf, for the kinds of value that templates have (pkg.go.dev/fmt). */
#include "metrics/rules/template_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH_MAX 1000

struct verb {
    bool minus, plus, sharp, blank, zero, has_precision;
    int width, precision;
    char c;
};

static int read_int(const char **pp, const char *end)
{
    int v = 0;

    for (; *pp < end && **pp >= '0' && **pp <= '9'; (*pp)++)
        v = v < WIDTH_MAX ? v * 10 + (**pp - '0') : WIDTH_MAX;
    return v < WIDTH_MAX ? v : WIDTH_MAX;
}

/* A number for '*'. */
static int star(const struct tpl_value *args, size_t n, size_t *at, int *ret)
{
    if (*at >= n || args[*at].kind != TPL_INT || args[*at].i < -WIDTH_MAX ||
        args[*at].i > WIDTH_MAX)
        return -EINVAL;
    *ret = (int)args[(*at)++].i;
    return 0;
}

/* "[2]": the argument by its number, from 1. */
static void read_index(const char **pp, const char *end, size_t *at, bool *reordered)
{
    const char *p = *pp;
    int number;

    if (p >= end || *p != '[')
        return;
    p++;
    number = read_int(&p, end);
    if (p >= end || *p != ']' || number < 1)
        return;
    *pp = p + 1;
    *at = (size_t)number - 1;
    *reordered = true;
}

/* At the byte behind '%'. False: there is no verb. */
static bool read_verb(const char **pp, const char *end, const struct tpl_value *args, size_t n,
                      size_t *at, bool *reordered, struct verb *v)
{
    const char *p = *pp;

    *v = (struct verb){0};
    for (; p < end && strchr("-+# 0", *p) != NULL && *p != 0; p++) {
        v->minus |= *p == '-';
        v->plus |= *p == '+';
        v->sharp |= *p == '#';
        v->blank |= *p == ' ';
        v->zero |= *p == '0';
    }
    read_index(&p, end, at, reordered);
    if (p < end && *p == '*') {
        p++;
        if (star(args, n, at, &v->width) < 0)
            v->width = 0;
        if (v->width < 0) {
            v->minus = true;
            v->width = -v->width;
        }
    } else {
        v->width = read_int(&p, end);
    }
    if (p < end && *p == '.') {
        p++;
        v->has_precision = true;
        read_index(&p, end, at, reordered);
        if (p < end && *p == '*') {
            p++;
            v->has_precision = star(args, n, at, &v->precision) == 0 && v->precision >= 0;
        } else {
            v->precision = read_int(&p, end);
        }
    }
    read_index(&p, end, at, reordered);
    if (p >= end)
        return false;
    v->c = *p++;
    *pp = p;
    return true;
}

static size_t characters(struct slice s)
{
    const unsigned char *p = s.data;
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += (p[i] & 0xc0) != 0x80;
    return n;
}

static void pad(struct buf *out, const struct verb *v, struct slice text, bool zero)
{
    size_t n = characters(text), fill = (size_t)v->width > n ? (size_t)v->width - n : 0;
    const char *p = text.data;

    zero = zero && !v->minus;
    if (zero && text.len > 0 && (*p == '-' || *p == '+')) {
        buf_add_char(out, *p);
        text = slice_skip(text, 1);
    }
    for (size_t i = 0; i < fill && !v->minus; i++)
        buf_add_char(out, zero ? '0' : ' ');
    buf_add_slice(out, text);
    for (size_t i = 0; i < fill && v->minus; i++)
        buf_add_char(out, ' ');
}

static void put_float(struct buf *out, const struct verb *v, double f)
{
    char c = v->c == 'v' ? 'g' : v->c == 'F' ? 'f' : v->c;
    char format[16];
    autobuf text = {0};

    if (isnan(f) || isinf(f)) {
        buf_add_str(&text, isnan(f) ? (v->plus ? "+NaN" : "NaN") : f > 0 ? "+Inf" : "-Inf");
        if (f > 0 && !v->plus && isinf(f)) { /* Go prints +Inf whatever the flags */
            buf_clear(&text);
            buf_add_str(&text, "+Inf");
        }
        pad(out, v, buf_slice(&text), false);
        return;
    }
    if (c == 'g' && !v->has_precision) {
        if (f >= 0 && v->plus)
            buf_add_char(&text, '+');
        print_go_g(&text, f);
    } else {
        snprintf(format, sizeof format, "%%%s%s.*%c", v->plus ? "+" : v->blank ? " " : "",
                 v->sharp ? "#" : "", c);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        buf_printf(&text, format, v->has_precision ? v->precision : 6, f);
#pragma GCC diagnostic pop
    }
    pad(out, v, buf_slice(&text), v->zero);
}

static void put_int(struct buf *out, const struct verb *v, int64_t i)
{
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    unsigned base = v->c == 'x' || v->c == 'X' ? 16 : v->c == 'o' ? 8 : v->c == 'b' ? 2 : 10;
    char digits[72];
    size_t at = sizeof digits;
    autobuf text = {0};

    do {
        digits[--at] = (v->c == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
    } while (u > 0);
    if (i < 0 || v->plus || v->blank)
        buf_add_char(&text, i < 0 ? '-' : v->plus ? '+' : ' ');
    if (v->sharp && base == 16)
        buf_add_str(&text, v->c == 'X' ? "0X" : "0x");
    for (size_t n = sizeof digits - at; v->has_precision && (int)n < v->precision; n++)
        buf_add_char(&text, '0');
    buf_add(&text, digits + at, sizeof digits - at);
    pad(out, v, buf_slice(&text), v->zero && !v->has_precision);
}

static void put_text(struct buf *out, const struct verb *v, struct slice s)
{
    autobuf text = {0};

    if (v->has_precision) { /* so many characters */
        size_t i = 0;
        const unsigned char *p = s.data;

        for (int left = v->precision; i < s.len; i++)
            if ((p[i] & 0xc0) != 0x80 && left-- == 0)
                break;
        s.len = i;
    }
    if (v->c == 'q')
        quote_go(&text, s);
    else if (v->c == 'x' || v->c == 'X')
        for (size_t i = 0; i < s.len; i++)
            buf_printf(&text, v->c == 'x' ? "%02x" : "%02X", ((const unsigned char *)s.data)[i]);
    else
        buf_add_slice(&text, s);
    pad(out, v, buf_slice(&text), v->zero);
}

/* %!d(string=hi) */
static void put_bad(struct buf *out, const struct verb *v, const struct tpl_value *a)
{
    buf_printf(out, "%%!%c(%s=", v->c, tpl_type(a));
    tpl_print(out, a);
    buf_add_char(out, ')');
}

static void put_value(struct buf *out, const struct verb *v, const struct tpl_value *a)
{
    bool is_float = strchr("vfFgGeE", v->c) != NULL, is_int = strchr("vdxXob", v->c) != NULL;

    if (a->kind == TPL_FLOAT && is_float) {
        put_float(out, v, a->f);
    } else if (a->kind == TPL_INT && is_int) {
        put_int(out, v, a->i);
    } else if (a->kind == TPL_INT && v->c == 'c' && a->i > 0 && a->i < 128) {
        put_text(out, v, slice_of((const char[]){(char)a->i}, 1));
    } else if (a->kind == TPL_STRING && strchr("vsqxX", v->c) != NULL) {
        put_text(out, v, a->s);
    } else if (a->kind == TPL_BOOL && (v->c == 'v' || v->c == 't')) {
        pad(out, v, a->b ? SLICE("true") : SLICE("false"), false);
    } else if (a->kind == TPL_NIL && v->c == 'v') {
        pad(out, v, SLICE("<nil>"), false);
    } else if (v->c == 'v' || (v->c == 's' && a->kind > TPL_STRING)) {
        autobuf text = {0};

        tpl_print(&text, a);
        pad(out, v, buf_slice(&text), false);
    } else {
        put_bad(out, v, a);
    }
}

int tpl_sprintf(struct tpl *t, struct slice format, const struct tpl_value *args, size_t n,
                struct buf *out)
{
    const char *p = format.data, *end = p + format.len;
    size_t at = 0;
    bool reordered = false; /* then nothing is said of those that are left */
    struct verb v;

    while (p < end) {
        if (*p != '%') {
            buf_add_char(out, *p++);
            continue;
        }
        p++;
        if (!read_verb(&p, end, args, n, &at, &reordered, &v)) {
            buf_add_str(out, "%!(NOVERB)");
            break;
        }
        if (v.c == '%')
            buf_add_char(out, '%');
        else if (at >= n)
            buf_printf(out, "%%!%c(MISSING)", v.c);
        else
            put_value(out, &v, &args[at++]);
        if (out->len > TPL_OUT_MAX)
            return tpl_fail(t, "the text becomes too long");
    }
    for (size_t i = at; i < n && !reordered; i++) {
        buf_printf(out, i == at ? "%%!(EXTRA %s=" : ", %s=", tpl_type(&args[i]));
        tpl_print(out, &args[i]);
    }
    if (at < n && !reordered)
        buf_add_char(out, ')');
    return 0;
}
