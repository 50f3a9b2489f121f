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
    double times;
    uint64_t m;
    uint64_t part;

    if (!(magnitude < 1e10) || magnitude < 1e-4)
        return NULL;
    times = magnitude * 10000;
    m = (uint64_t)(int64_t)(times + 0.5);
    if (fabs(times - (double)(int64_t)m) > times * 0x1p-51) /* the same without dividing */
        return NULL;
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

#define SHORTEST_Q 70 /* powers of two, 2^-70 to 2^-1, that `shortest` knows */

/* 5^n for n = ceil(q * log10(2)) of q = 1.., so far to the left that c * 5^n, c a double's 53 bits at
 * the left of a word, has its integer part in the upper word. */
static const uint64_t scales[SHORTEST_Q + 1] = {
    0, 0x00a0000000000000, 0x0050000000000000, 0x0028000000000000,
    0x00c8000000000000, 0x0064000000000000, 0x0032000000000000, 0x00fa000000000000,
    0x007d000000000000, 0x003e800000000000, 0x0138800000000000, 0x009c400000000000,
    0x004e200000000000, 0x0027100000000000, 0x00c3500000000000, 0x0061a80000000000,
    0x0030d40000000000, 0x00f4240000000000, 0x007a120000000000, 0x003d090000000000,
    0x01312d0000000000, 0x0098968000000000, 0x004c4b4000000000, 0x002625a000000000,
    0x00bebc2000000000, 0x005f5e1000000000, 0x002faf0800000000, 0x00ee6b2800000000,
    0x0077359400000000, 0x003b9aca00000000, 0x012a05f200000000, 0x009502f900000000,
    0x004a817c80000000, 0x002540be40000000, 0x00ba43b740000000, 0x005d21dba0000000,
    0x002e90edd0000000, 0x00e8d4a510000000, 0x00746a5288000000, 0x003a352944000000,
    0x012309ce54000000, 0x009184e72a000000, 0x0048c27395000000, 0x00246139ca800000,
    0x00b5e620f4800000, 0x005af3107a400000, 0x002d79883d200000, 0x00e35fa931a00000,
    0x0071afd498d00000, 0x0038d7ea4c680000, 0x011c37937e080000, 0x008e1bc9bf040000,
    0x00470de4df820000, 0x002386f26fc10000, 0x00b1a2bc2ec50000, 0x0058d15e17628000,
    0x002c68af0bb14000, 0x00de0b6b3a764000, 0x006f05b59d3b2000, 0x003782dace9d9000,
    0x01158e460913d000, 0x008ac7230489e800, 0x004563918244f400, 0x0022b1c8c1227a00,
    0x00ad78ebc5ac6200, 0x0056bc75e2d63100, 0x002b5e3af16b1880, 0x00d8d726b7177a80,
    0x006c6b935b8bbd40, 0x003635c9adc5dea0, 0x010f0cf064dd5920,
};

static const uint64_t tens[] = {1,
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

/* The integer of fewest digits, without zeros at its end, and of those the closest, that reads back
 * to c * 2^q when divided by 10^n; q is -70 to -1, c has 53 bits and is no power of two. All is
 * exact: c * 10^n * 2^q is p / 2^64, and what reads back to c lies less than 5^n, as it stands in
 * the table, off p, or as much if c is even. n is such that these are at least one integer and at
 * most one multiple of ten. False: two are as close. */
static inline bool shortest(uint64_t c, int q, uint64_t *ret_digits, int *ret_n)
{
    int n = -((q * 1233) >> 12);
    wide p = (wide)(c << 11) * scales[-q];
    wide off = ((wide)scales[-q] << 10) - (c & 1);
    uint64_t below = (uint64_t)(p >> 64);
    uint64_t rest = (uint64_t)p;
    uint64_t ten = below / 10 * 10;
    wide over = (wide)(below - ten) << 64 | rest; /* what p is more than the multiple of ten */

    if (over <= off) {
        below = ten;
    } else if (((wide)10 << 64) - over <= off) {
        below = ten + 10;
    } else {
        *ret_digits = below + (rest >> 63);
        *ret_n = n;
        return rest != 1ull << 63;
    }
    for (; below % 10 == 0; below /= 10)
        n--;
    *ret_digits = below;
    *ret_n = n;
    return true;
}

/* v < 10^n as n digits, n up to 22; writes up to eight bytes behind the end. */
static inline char *put_padded(char *at, uint64_t v, int n)
{
    if (n > 16) {
        put_eight(at, eight_digits((uint32_t)(v / tens[16])) >> 8 * (24 - n));
        at += n - 16;
        v %= tens[16];
        n = 16;
    }
    if (n > 8) {
        v *= tens[16 - n];
        put_eight(at, eight_digits((uint32_t)(v / 100000000)));
        put_eight(at + 8, eight_digits((uint32_t)(v % 100000000)));
    } else {
        put_eight(at, eight_digits((uint32_t)(v * tens[8 - n])));
    }
    return at + n;
}

/* Of most other values: from 1e-5 to 1e15, and no integers. NULL: it is none. */
static char *put_shortest(char *at, double v)
{
    double magnitude = fabs(v);
    uint64_t bits = double_bits(magnitude);
    uint64_t whole;
    uint64_t digits;
    int n;

    if (!(magnitude < 1e15 && magnitude >= 1e-5) || bits << 12 == 0 ||
        !shortest((bits & 0xfffffffffffffull) | 1ull << 52, (int)(bits >> 52) - 1075, &digits, &n))
        return NULL;
    whole = (uint64_t)(int64_t)magnitude; /* rounding does not reach the next: that is a double too */
    if ((double)(int64_t)whole == magnitude)
        return NULL;
    *at = '-';
    at += v < 0;
    at = whole < 100000000 ? put_u32(at, (uint32_t)whole) : put_u64(at, whole);
    *at++ = '.';
    return put_padded(at, whole == 0 ? digits : digits - whole * tens[n], n);
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
