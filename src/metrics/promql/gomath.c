/* Arithmetic that Go's math does in another way than C's library, bit for bit where the steps are
 * the same. */
#include "metrics/promql/calls.h"

#include <math.h>

double go_max(double a, double b)
{
    if (isinf(a) || isinf(b))
        if (a == INFINITY || b == INFINITY)
            return INFINITY;
    if (isnan(a) || isnan(b))
        return NAN;
    if (a == 0 && a == b)
        return signbit(a) ? b : a;
    return a > b ? a : b;
}

double go_min(double a, double b)
{
    if (isinf(a) || isinf(b))
        if (a == -INFINITY || b == -INFINITY)
            return -INFINITY;
    if (isnan(a) || isnan(b))
        return NAN;
    if (a == 0 && a == b)
        return signbit(a) ? a : b;
    return a < b ? a : b;
}

double go_log2(double x)
{
    int exponent;
    double fraction = frexp(x, &exponent);

    /* Powers of two are exact. */
    if (fraction == 0.5)
        return (double)(exponent - 1);
    return log(fraction) * (1 / M_LN2) + (double)exponent;
}

/* e to the power of high - low, which is at most half of ln 2: the approximation of FreeBSD's exp,
 * which Go has for powers of two as well. */
static double exp_reduced(double high, double low)
{
    static const double p[] = {1.66666666666666657415e-01, -2.77777777770155933842e-03,
                               6.61375632143793436117e-05, -1.65339022054652515390e-06,
                               4.13813679705723846039e-08};
    double r = high - low;
    double t = r * r;
    double c = r - t * (p[0] + t * (p[1] + t * (p[2] + t * (p[3] + t * p[4]))));

    return 1 - ((low - (r * c) / (2 - c)) - high);
}

double go_exp2(double x)
{
    double whole;
    double rest;

    if (isnan(x))
        return x;
    if (x > 1.0239999999999999e+03)
        return INFINITY;
    if (x < -1.0740e+03)
        return 0;
    whole = trunc(x + (x > 0 ? 0.5 : x < 0 ? -0.5 : 0));
    rest = x - whole;
    return ldexp(exp_reduced(rest * 6.93147180369123816490e-01, -rest * 1.90821492927058770002e-10),
                 (int)whole);
}

double go_log10(double x)
{
    return go_log2(x) * (M_LN2 / M_LN10);
}

static bool is_odd(double x)
{
    return fabs(x) < 9007199254740992.0 && fmod(x, 2) != 0;
}

/* 0 and infinite bases and exponents; false: an ordinary one. */
static bool special_pow(double x, double y, double *ret)
{
    if (y == 0 || x == 1)
        *ret = 1;
    else if (y == 1)
        *ret = x;
    else if (isnan(x) || isnan(y))
        *ret = NAN;
    else if (x == 0 && y < 0)
        *ret = signbit(x) && is_odd(y) ? -INFINITY : INFINITY;
    else if (x == 0)
        *ret = signbit(x) && is_odd(y) ? x : 0;
    else if (isinf(y))
        *ret = x == -1 ? 1 : (fabs(x) < 1) == (y > 0) ? 0 : INFINITY;
    else if (isinf(x) && x < 0)
        *ret = y < 0 ? (is_odd(y) ? -0.0 : 0.0) : (is_odd(y) ? -INFINITY : INFINITY);
    else if (isinf(x))
        *ret = y < 0 ? 0 : INFINITY;
    else if (y == 0.5)
        *ret = sqrt(x);
    else if (y == -0.5)
        *ret = 1 / sqrt(x);
    else
        return false;
    return true;
}

double go_pow(double x, double y)
{
    double whole;
    double part = modf(fabs(y), &whole);
    double result = 1;
    long exponent = 0;
    int shift;
    double base;
    double ret;

    if (special_pow(x, y, &ret))
        return ret;
    if (part != 0 && x < 0)
        return NAN;
    if (whole >= 9.223372036854775808e18)
        return x == -1 ? 1 : (fabs(x) < 1) == (y > 0) ? 0 : INFINITY;
    if (part != 0) {
        if (part > 0.5) {
            part--;
            whole++;
        }
        result = exp(part * log(x));
    }
    /* Repeated squaring, with the exponent kept apart. */
    base = frexp(x, &shift);
    for (int64_t i = (int64_t)whole; i != 0; i >>= 1) {
        if (shift < -4096 || shift > 4096) {
            exponent += shift;
            break;
        }
        if ((i & 1) == 1) {
            result *= base;
            exponent += shift;
        }
        base *= base;
        shift *= 2;
        if (base < .5) {
            base += base;
            shift--;
        }
    }
    if (y < 0) {
        result = 1 / result;
        exponent = -exponent;
    }
    return scalbln(result, exponent);
}
