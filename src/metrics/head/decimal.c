#include "metrics/head/decimal.h"

#include <math.h>

const double decimal_powers[DECIMAL_EXPONENT_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool decimal_at(double v, int exponent, int64_t *ret_mantissa)
{
    double scaled = v * decimal_powers[exponent];
    int64_t m;

    if (!(fabs(scaled) < DECIMAL_MANTISSA_MAX))
        return false;
    m = (int64_t)nearbyint(scaled); /* below 2^50 the product is off by less than a half */
    if (to_bits(decimal_value(m, exponent)) != to_bits(v))
        return false;
    *ret_mantissa = m;
    return true;
}

int decimal_exponent(double v, int64_t *ret_mantissa)
{
    double magnitude = fabs(v);
    int e = 0;
    int64_t m;

    if (!(magnitude < DECIMAL_MANTISSA_MAX))
        return -1;
    if (decimal_at(v, 0, ret_mantissa))
        return 0;
    while (e < DECIMAL_EXPONENT_MAX && magnitude * decimal_powers[e + 1] < DECIMAL_MANTISSA_MAX)
        e++;
    if (!decimal_at(v, e, &m))
        return -1;
    while (e > 0 && m % 10 == 0) {
        m /= 10;
        e--;
    }
    return decimal_at(v, e, ret_mantissa) ? e : -1;
}
