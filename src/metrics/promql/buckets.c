#include "metrics/promql/buckets.h"

#include <math.h>

#define TOLERANCE 1e-12 /* relative: below, a difference is an error of rounding */

static size_t coalesce(struct bucket *b, size_t n)
{
    size_t last = 0;

    for (size_t i = 1; i < n; i++) {
        if (b[i].upper == b[last].upper)
            b[last].count += b[i].count;
        else
            b[++last] = b[i];
    }
    return last + 1;
}

static bool almost_equal(double a, double b)
{
    double sum = fabs(a) + fabs(b);
    double diff = fabs(a - b);

    if (isnan(a) && isnan(b))
        return true;
    if (a == b)
        return true;
    if (a == 0 || b == 0 || sum < 0x1p-1022)
        return diff < TOLERANCE * 0x1p-1022;
    return diff / fmin(sum, 0x1.fffffffffffffp1023) < TOLERANCE;
}

static void mend(struct bucket *b, size_t n, struct mended *ret)
{
    double before = b[0].count;

    *ret = (struct mended){.lowest = INFINITY, .highest = -INFINITY};
    for (size_t i = 1; i < n; i++) {
        double now = b[i].count;

        if (now == before)
            continue;
        if (almost_equal(before, now)) {
            b[i].count = before;
            continue;
        }
        if (now < before) {
            b[i].count = before;
            ret->forced = true;
            ret->lowest = b[i].upper < ret->lowest ? b[i].upper : ret->lowest;
            ret->highest = b[i].upper > ret->highest ? b[i].upper : ret->highest;
            ret->max_diff = before - now > ret->max_diff ? before - now : ret->max_diff;
            continue;
        }
        before = now;
    }
}

/* The first bucket, but for the last, that holds the rank. */
static size_t find_rank(const struct bucket *b, size_t n, double rank)
{
    size_t low = 0;
    size_t high = n - 1;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (b[middle].count >= rank)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

double buckets_quantile(double q, struct bucket *b, size_t n, struct mended *ret)
{
    double rank;
    double start = 0;
    double count;
    size_t at;

    *ret = (struct mended){0};
    if (isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    if (n == 0 || b[n - 1].upper != INFINITY)
        return NAN;
    n = coalesce(b, n);
    mend(b, n, ret);
    if (n < 2 || b[n - 1].count == 0)
        return NAN;
    rank = q * b[n - 1].count;
    at = find_rank(b, n, rank);
    if (at == n - 1)
        return b[n - 2].upper;
    if (at == 0 && b[0].upper <= 0)
        return b[0].upper;
    count = b[at].count;
    if (at > 0) {
        start = b[at - 1].upper;
        count -= b[at - 1].count;
        rank -= b[at - 1].count;
    }
    return start + (b[at].upper - start) * (rank / count);
}

struct slot {
    double lower, upper; /* bounds of the bucket at hand */
    double rank, count;  /* observations before it, and with it */
};

/* Observations up to v, if it can be told by this bucket. */
static bool rank_at(const struct slot *s, double v, double *ret)
{
    if (s->lower >= v) {
        *ret = s->rank;
        return true;
    }
    if (!(s->lower < v && s->upper > v))
        return false;
    *ret = s->lower == -INFINITY
               ? s->count
               : s->rank + (s->count - s->rank) * (v - s->lower) / (s->upper - s->lower);
    return true;
}

double buckets_fraction(double lower, double upper, struct bucket *b, size_t n)
{
    struct slot s = {.rank = 0};
    double lower_rank = 0;
    double upper_rank = 0;
    bool has_lower = false;
    bool has_upper = false;
    double count;

    if (n == 0 || b[n - 1].upper != INFINITY)
        return NAN;
    n = coalesce(b, n);
    count = b[n - 1].count;
    if (count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    for (size_t i = 0; i < n && !(has_lower && has_upper); i++) {
        s.lower = i > 0 ? b[i - 1].upper : b[0].upper <= 0 ? -INFINITY : 0;
        s.upper = b[i].upper;
        s.count = b[i].count;
        has_lower = has_lower || rank_at(&s, lower, &lower_rank);
        has_upper = has_upper || rank_at(&s, upper, &upper_rank);
        s.rank = b[i].count;
    }
    if (!has_lower || lower_rank > count)
        lower_rank = count;
    if (!has_upper || upper_rank > count)
        upper_rank = count;
    return (upper_rank - lower_rank) / count;
}
