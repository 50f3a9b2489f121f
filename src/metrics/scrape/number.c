#include "base/shim.h"
#include "metrics/scrape/exposition.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const double POWERS[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* Digits with at most one point, so few that one division gives the nearest double. */
static bool parse_plain(const char *p, const char *end, double *ret)
{
    bool negative = p < end && *p == '-';
    uint64_t mantissa = 0;
    ptrdiff_t digits;
    const char *point = NULL;
    const char *first;

    p += negative;
    first = p;
    if (end - p > 17 || p == end)
        return false;
    for (; p < end; p++) {
        unsigned digit = (unsigned)*p - '0';

        if (digit <= 9) {
            mantissa = mantissa * 10 + digit;
        } else if (*p == '.' && point == NULL) {
            point = p;
        } else {
            return false;
        }
    }
    digits = end - first - (point != NULL);
    if (digits == 0 || digits > 15)
        return false;
    *ret = (double)mantissa;
    if (point != NULL)
        *ret /= POWERS[end - point - 1];
    if (negative)
        *ret = -*ret;
    return true;
}

static bool is_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.data, word, s.len) == 0;
}

static bool parse_word(struct slice s, double *ret)
{
    bool negative = s.len > 0 && *(const char *)s.data == '-';
    struct slice rest = s;

    if (is_word(s, "nan")) {
        *ret = bits_double(VALUE_NAN_BITS);
        return true;
    }
    if (s.len > 0 && (negative || *(const char *)s.data == '+'))
        rest = slice_skip(s, 1);
    if (!is_word(rest, "inf") && !is_word(rest, "infinity"))
        return false;
    *ret = negative ? -INFINITY : INFINITY;
    return true;
}

int value_parse(struct slice s, double *ret, struct buf *why)
{
    int r;

    if (parse_plain(s.data, (const char *)s.data + s.len, ret))
        return 0;
    if (memchr(s.data, '_', s.len) != NULL || memchr(s.data, 'p', s.len) != NULL ||
        memchr(s.data, 'P', s.len) != NULL) {
        buf_add_str(why, "unsupported character in float");
        return -EINVAL;
    }
    if (parse_word(s, ret))
        return 0;
    r = double_parse(s, ret);
    if (r == 0 && !isnan(*ret) && !isinf(*ret))
        return 0;
    buf_add_str(why, "strconv.ParseFloat: parsing ");
    quote_go(why, s);
    buf_add_str(why, r == -ERANGE ? ": value out of range" : ": invalid syntax");
    return -EINVAL;
}

/* Go's strconv 'g' with the shortest digits, then a point if there is none. */
size_t value_print_openmetrics(double v, char text[40])
{
    char digits[40];
    int exponent;
    size_t n;

    if (isnan(v) || isinf(v))
        return (size_t)snprintf(text, 40, "%s", isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, v);
        if (strtod(digits, NULL) == v)
            break;
    }
    exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (v != 0 && (exponent < -4 || exponent >= 21))
        return (size_t)snprintf(text, 40, "%s", digits);
    n = double_print(v, text);
    if (strpbrk(text, ".e") == NULL)
        n += (size_t)snprintf(text + n, 40 - n, ".0");
    return n;
}

static const char *const TYPE_NAMES[] = {"unknown",        "counter", "gauge", "histogram",
                                         "gaugehistogram", "summary", "info",  "stateset"};

const char *metric_type_name(enum metric_type t)
{
    return TYPE_NAMES[t];
}
