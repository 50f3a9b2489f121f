/* decimal.h: doubles as decimals of up to 15 digits, exactly or not at all. */
#ifndef METRICS_HEAD_DECIMAL_H
#define METRICS_HEAD_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DECIMAL_EXPONENT_MAX 22
#define DECIMAL_MANTISSA_MAX 1e15

extern const double decimal_powers[DECIMAL_EXPONENT_MAX + 1]; /* exact: 1e22 is the last that is */

/* Is v, bit for bit, mantissa / 10^exponent? */
bool decimal_at(double v, int exponent, int64_t *ret_mantissa);
/* The least exponent at which it is; -1 if it needs more than 15 digits. -0 and NaN are none. */
int decimal_exponent(double v, int64_t *ret_mantissa);

static inline double decimal_value(int64_t mantissa, int exponent)
{
    return (double)mantissa / decimal_powers[exponent];
}

static inline uint64_t to_bits(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline double to_double(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
