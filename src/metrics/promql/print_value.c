/* Values and times, as the API prints them. */
#include "base/shim.h"
#include "metrics/promql/print.h"

#include <math.h>
#include <stdlib.h>

/* Most values are decimals of few digits. One of up to 15 that reads back to v is the shortest. */
static bool print_decimal(struct buf *out, double v)
{
    static const double powers[] = {1, 10, 100, 1000, 10000};
    double magnitude = fabs(v);

    if (!(magnitude < 1e10) || magnitude < 1e-4)
        return false;
    for (unsigned e = 0; e <= 4; e++) {
        uint64_t m = (uint64_t)(magnitude * powers[e] + 0.5);
        uint64_t whole = m / (uint64_t)powers[e];
        uint64_t part = m % (uint64_t)powers[e];
        char text[5] = {'.'};

        if ((double)m / powers[e] != magnitude)
            continue;
        if (v < 0)
            buf_add_char(out, '-');
        buf_add_u64(out, whole);
        for (unsigned i = e; i > 0; i--, part /= 10)
            text[i] = (char)('0' + part % 10);
        buf_add(out, text, e > 0 ? e + 1 : 0);
        return true;
    }
    return false;
}

/* Go's strconv 'f', with an exponent below 1e-6 and from 1e21 on. */
void print_value(struct buf *out, double v)
{
    double magnitude = fabs(v);
    char text[DOUBLE_TEXT_MAX];
    const char *e;
    size_t n;

    if (v >= 0 && v < 1e15 && v == (double)(uint64_t)v && !signbit(v)) {
        buf_add_u64(out, (uint64_t)v);
        return;
    }
    if (print_decimal(out, v))
        return;
    n = double_print(v, text);
    e = magnitude > 0 && magnitude < 1e-4 ? memchr(text, 'e', n) : NULL;
    if (e == NULL || magnitude < 1e-6) {
        buf_add(out, text, n);
        return;
    }
    buf_add_str(out, v < 0 ? "-0." : "0.");
    for (long zeros = strtol(e + 2, NULL, 10) - 1; zeros > 0; zeros--)
        buf_add_char(out, '0');
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            buf_add_char(out, *p);
}

void print_time(struct buf *out, int64_t ts_ms)
{
    int64_t part = ts_ms % 1000;

    if (ts_ms < 0)
        buf_add_char(out, '-');
    buf_add_u64(out, (uint64_t)(ts_ms < 0 ? -(ts_ms / 1000) : ts_ms / 1000));
    if (part != 0) {
        unsigned p = (unsigned)(part < 0 ? -part : part);
        char text[4] = {'.', (char)('0' + p / 100), (char)('0' + p / 10 % 10),
                        (char)('0' + p % 10)};

        buf_add(out, text, sizeof text);
    }
}
