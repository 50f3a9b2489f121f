/* Values and times, as the API prints them. */
#include "base/shim.h"
#include "metrics/promql/print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                            "34353637383940414243444546474849505152535455565758596061626364656667"
                            "6869707172737475767778798081828384858687888990919293949596979899";

static unsigned count_digits(uint64_t v)
{
    static const uint64_t powers[] = {0,
                                      10,
                                      100,
                                      1000,
                                      10000,
                                      100000,
                                      1000000,
                                      10000000,
                                      100000000,
                                      1000000000,
                                      10000000000,
                                      100000000000,
                                      1000000000000,
                                      10000000000000,
                                      100000000000000,
                                      1000000000000000,
                                      10000000000000000,
                                      100000000000000000,
                                      1000000000000000000,
                                      10000000000000000000u};
    unsigned about = (64 - (unsigned)__builtin_clzll(v | 1)) * 1233 >> 12;

    return about + (v >= powers[about]);
}

static char *put_u64(char *at, uint64_t v)
{
    unsigned n = count_digits(v);
    char *p = at + n;

    while (v >= 100) {
        p -= 2;
        memcpy(p, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(p - 2, pairs + 2 * v, 2);
    else
        p[-1] = (char)('0' + v);
    return at + n;
}

/* Most values are decimals of few digits. One of up to 15 that reads back to v is the shortest. */
static char *put_decimal(char *at, double v)
{
    double magnitude = fabs(v);
    uint64_t m;
    unsigned part;

    if (!(magnitude < 1e10) || magnitude < 1e-4)
        return NULL;
    m = (uint64_t)(magnitude * 10000 + 0.5);
    if ((double)m / 10000 != magnitude)
        return NULL;
    part = (unsigned)(m % 10000);
    if (v < 0)
        *at++ = '-';
    at = put_u64(at, m / 10000);
    if (part == 0)
        return at;
    *at++ = '.';
    memcpy(at, pairs + 2 * (part / 100), 2);
    memcpy(at + 2, pairs + 2 * (part % 100), 2);
    at += 4;
    while (at[-1] == '0')
        at--;
    return at;
}

/* Go's strconv 'f', with an exponent below 1e-6 and from 1e21 on. */
char *value_put(char *at, double v)
{
    double magnitude = fabs(v);
    char text[DOUBLE_TEXT_MAX];
    const char *e;
    char *end;
    size_t n;

    if (v >= 0 && v < 1e15 && v == (double)(uint64_t)v && !signbit(v))
        return put_u64(at, (uint64_t)v);
    end = put_decimal(at, v);
    if (end != NULL)
        return end;
    n = double_print(v, text);
    e = magnitude > 0 && magnitude < 1e-4 ? memchr(text, 'e', n) : NULL;
    if (e == NULL || magnitude < 1e-6) {
        memcpy(at, text, n);
        return at + n;
    }
    if (v < 0)
        *at++ = '-';
    *at++ = '0';
    *at++ = '.';
    for (long zeros = strtol(e + 2, NULL, 10) - 1; zeros > 0; zeros--)
        *at++ = '0';
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            *at++ = *p;
    return at;
}

char *time_put(char *at, int64_t ts_ms)
{
    int64_t part = ts_ms % 1000;

    if (ts_ms < 0)
        *at++ = '-';
    at = put_u64(at, (uint64_t)(ts_ms < 0 ? -(ts_ms / 1000) : ts_ms / 1000));
    if (part != 0) {
        unsigned p = (unsigned)(part < 0 ? -part : part);

        *at++ = '.';
        *at++ = (char)('0' + p / 100);
        memcpy(at, pairs + 2 * (p % 100), 2);
        at += 2;
    }
    return at;
}

void print_value(struct buf *out, double v)
{
    char text[VALUE_TEXT_MAX];

    buf_add(out, text, (size_t)(value_put(text, v) - text));
}

void print_time(struct buf *out, int64_t ts_ms)
{
    char text[TIME_TEXT_MAX];

    buf_add(out, text, (size_t)(time_put(text, ts_ms) - text));
}
