/* Values and times, as the API prints them. */
#include "base/shim.h"
#include "metrics/labels.h"
#include "metrics/promql/print.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                            "34353637383940414243444546474849505152535455565758596061626364656667"
                            "6869707172737475767778798081828384858687888990919293949596979899";

/* The eight digits of v < 10^8 as the bytes of a word, the first in the lowest: halves, their halves,
 * and then the digits are divided off side by side. */
static inline __attribute__((always_inline)) uint64_t eight_digits(uint32_t v)
{
    uint64_t fours = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t hundreds = (fours * 10486 >> 20) & 0x0000007f0000007full;
    uint64_t twos = hundreds | (fours - 100 * hundreds) << 16;
    uint64_t tens = (twos * 103 >> 10) & 0x000f000f000f000full;

    return tens | (twos - 10 * tens) << 8;
}

static char *put_eight(char *at, uint64_t digits)
{
    digits = htole64(digits | 0x3030303030303030ull);
    memcpy(at, &digits, sizeof digits);
    return at + sizeof digits;
}

/* v < 10^8; writes up to eight bytes behind the end. */
static inline __attribute__((always_inline)) char *put_u32(char *at, uint32_t v)
{
    uint64_t digits = eight_digits(v);
    unsigned zeros = (unsigned)__builtin_ctzll(digits | 1ull << 63) / 8; /* of eight one stays */

    put_eight(at, digits >> 8 * zeros);
    return at + 8 - zeros;
}

static char *put_u64(char *at, uint64_t v)
{
    if (v >= 10000000000000000)
        at = put_eight(put_u32(at, (uint32_t)(v / 10000000000000000)),
                       eight_digits((uint32_t)(v / 100000000 % 100000000)));
    else if (v >= 100000000)
        at = put_u32(at, (uint32_t)(v / 100000000));
    else
        return put_u32(at, (uint32_t)v);
    return put_eight(at, eight_digits((uint32_t)(v % 100000000)));
}

/* Most values are decimals of few digits. One of up to 15 that reads back to v is the shortest. */
static char *put_decimal(char *at, double v)
{
    double magnitude = fabs(v);
    uint64_t m;
    uint64_t part;

    if (!(magnitude < 1e10) || magnitude < 1e-4)
        return NULL;
    m = (uint64_t)(int64_t)(magnitude * 10000 + 0.5);
    if ((double)(int64_t)m / 10000 != magnitude)
        return NULL;
    *at = '-';
    at += v < 0;
    at = m < 1000000000000 ? put_u32(at, (uint32_t)(m / 10000)) : put_u64(at, m / 10000);
    part = m % 10000;
    if (part == 0)
        return at;
    part = eight_digits((uint32_t)part) >> 32;
    *at++ = '.';
    put_eight(at, part);
    return at + 4 - (unsigned)__builtin_clzll(part << 32) / 8;
}

typedef unsigned __int128 wide;

/* The integer of fewest digits, without zeros at its end, and of those the closest, that reads back
 * to c * 2^q when divided by 10^n; q is -70 to -1, c has 53 bits and is no power of two. All is
 * exact: c * 10^n * 2^q is p / 2^shift, and what reads back to c lies less than 5^n off p, or as
 * much if c is even. n is such that these are at least one integer and at most one multiple of ten.
 * False: two are as close. */
static bool shortest(uint64_t c, int q, uint64_t *ret_digits, int *ret_n)
{
    static const uint64_t fives[] = {1,
                                     5,
                                     25,
                                     125,
                                     625,
                                     3125,
                                     15625,
                                     78125,
                                     390625,
                                     1953125,
                                     9765625,
                                     48828125,
                                     244140625,
                                     1220703125,
                                     6103515625,
                                     30517578125,
                                     152587890625,
                                     762939453125,
                                     3814697265625,
                                     19073486328125,
                                     95367431640625,
                                     476837158203125,
                                     2384185791015625};
    int n = -((q * 1233) >> 12);
    int shift = 1 - q - n;
    wide p = (wide)(2 * c) * fives[n];
    uint64_t below = (uint64_t)(p >> shift);
    uint64_t ten = below / 10 * 10;
    uint64_t off = fives[n] - (c & 1);
    wide rest = p - ((wide)below << shift);
    wide half = (wide)1 << (shift - 1);

    if (p - ((wide)ten << shift) <= off) {
        below = ten;
    } else if (((wide)(ten + 10) << shift) - p <= off) {
        below = ten + 10;
    } else {
        if (rest == half)
            return false;
        *ret_digits = below + (rest > half);
        *ret_n = n;
        return true;
    }
    for (; below % 10 == 0; below /= 10)
        n--;
    *ret_digits = below;
    *ret_n = n;
    return true;
}

/* Of most other values: from 1e-5 to 1e15. NULL: it is none. */
static char *put_shortest(char *at, double v)
{
    uint64_t bits = double_bits(fabs(v));
    uint64_t digits;
    char text[24];
    int len;
    int n;

    if (!(fabs(v) < 1e15 && fabs(v) >= 1e-5) || bits << 12 == 0 ||
        !shortest((bits & 0xfffffffffffffull) | 1ull << 52, (int)(bits >> 52) - 1075, &digits, &n))
        return NULL;
    len = (int)(put_u64(text, digits) - text);
    *at = '-';
    at += v < 0;
    if (n >= len) {
        memcpy(at, "0.0000000000000000000000", 24);
        memcpy(at + 2 + n - len, text, 24);
        return at + 2 + n;
    }
    memcpy(at, text, 24);
    if (n <= 0) { /* a multiple of a power of ten */
        memset(at + len, '0', (size_t)-n);
        return at + len - n;
    }
    at[len - n] = '.';
    memcpy(at + len - n + 1, text + len - n, (size_t)n);
    return at + len + 1;
}

/* Go's strconv 'f', with an exponent below 1e-6 and from 1e21 on. */
char *value_put(char *at, double v)
{
    double magnitude = fabs(v);
    char text[DOUBLE_TEXT_MAX];
    const char *e;
    char *end;
    size_t n;

    if (v >= 0 && v < 1e15 && v == (double)(int64_t)v && !signbit(v))
        return v < 1e8 ? put_u32(at, (uint32_t)(int64_t)v) : put_u64(at, (uint64_t)(int64_t)v);
    end = put_decimal(at, v);
    if (end == NULL)
        end = put_shortest(at, v);
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
