#include "secrets/shamir.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static uint8_t multiply(uint8_t a, uint8_t b)
{
    unsigned product = 0, x = a;

    for (unsigned bit = 0; bit < 8; bit++) {
        product ^= x & (0u - ((unsigned)b >> bit & 1u));
        x = x << 1 ^ (0x11bu & (0u - (x >> 7 & 1u)));
    }
    return (uint8_t)product;
}

/* a^254, which is 1/a: the group has 255 elements. */
static uint8_t invert(uint8_t a)
{
    uint8_t power = a, result = 1;

    for (unsigned i = 1; i < 8; i++) {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    return result;
}

void shamir_split(struct slice secret, unsigned n, unsigned threshold, uint8_t *ret)
{
    uint8_t xs[SHAMIR_SHARES_MAX], coefficients[SHAMIR_SHARES_MAX];
    const uint8_t *bytes = secret.data;
    size_t share = secret.len + 1;

    for (unsigned i = 0; i < SHAMIR_SHARES_MAX; i++)
        xs[i] = (uint8_t)(i + 1);
    for (unsigned i = SHAMIR_SHARES_MAX - 1; i > 0; i--) { /* Fisher and Yates */
        uint32_t k = randombytes_uniform(i + 1);
        uint8_t x = xs[i];

        xs[i] = xs[k];
        xs[k] = x;
    }
    for (unsigned i = 0; i < n; i++)
        ret[i * share + secret.len] = xs[i];
    for (size_t at = 0; at < secret.len; at++) {
        randombytes_buf(coefficients, threshold - 1);
        for (unsigned i = 0; i < n; i++) {
            uint8_t y = 0;

            for (unsigned c = threshold - 1; c-- > 0;)
                y = multiply(y ^ coefficients[c], xs[i]); /* Horner, from the highest power */
            ret[i * share + at] = y ^ bytes[at];
        }
    }
    explicit_bzero(coefficients, sizeof coefficients);
}

/* The i-th Lagrange factor at 0. */
static uint8_t factor(const uint8_t *xs, size_t step, unsigned n, unsigned i)
{
    uint8_t above = 1, below = 1;

    for (unsigned k = 0; k < n; k++) {
        if (k == i)
            continue;
        above = multiply(above, xs[k * step]);
        below = multiply(below, xs[k * step] ^ xs[i * step]);
    }
    return multiply(above, invert(below));
}

int shamir_combine(const uint8_t *shares, size_t share_len, unsigned n, uint8_t *ret)
{
    const uint8_t *xs = shares + share_len - 1;

    for (unsigned i = 0; i < n; i++) {
        if (xs[i * share_len] == 0)
            return -EINVAL;
        for (unsigned k = 0; k < i; k++) {
            if (xs[i * share_len] == xs[k * share_len])
                return -EINVAL;
        }
    }
    memset(ret, 0, share_len - 1);
    for (unsigned i = 0; i < n; i++) {
        uint8_t weight = factor(xs, share_len, n, i);

        for (size_t at = 0; at + 1 < share_len; at++)
            ret[at] ^= multiply(weight, shares[i * share_len + at]);
    }
    return 0;
}
