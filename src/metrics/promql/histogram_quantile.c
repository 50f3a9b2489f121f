/* Where in a native histogram something lies. */
#include "metrics/promql/calls.h"
#include "metrics/promql/histogram_math.h"

#include <math.h>
#include <stdlib.h>

/* A zero bucket beside only positive buckets begins at zero, and so on. */
static void narrow_zero(const struct histogram *h, struct histogram_place *b)
{
    if (h->negative.n == 0 && h->positive.n > 0)
        b->lower = 0;
    else if (h->positive.n == 0 && h->negative.n > 0)
        b->upper = 0;
}

/* The bucket that the rank falls into, from the bottom or from the top. */
struct found {
    struct histogram_place bucket;
    double count; /* up to and with it */
    double rest;  /* forward: of all buckets */
};

static struct found find_bucket(const struct histogram *h, double rank, bool forward)
{
    struct found f = {.count = 0};
    bool found = false;
    size_t n = 0;
    struct histogram_place *b = histogram_places(h, &n);

    for (size_t i = 0; i < n; i++) {
        const struct histogram_place *x = &b[forward ? i : n - 1 - i];

        if (found) {
            f.rest += x->count;
            continue;
        }
        f.bucket = *x;
        if (x->count == 0)
            continue;
        f.count += x->count;
        found = f.count >= rank;
    }
    free(b);
    return f;
}

static double interpolate(const struct histogram *h, const struct histogram_place *b,
                          double fraction)
{
    double log_lower;
    double log_upper;

    if (histogram_is_custom(h) || (b->lower <= 0 && b->upper >= 0))
        return b->lower + (b->upper - b->lower) * fraction;
    log_lower = go_log2(fabs(b->lower));
    log_upper = go_log2(fabs(b->upper));
    if (b->lower > 0)
        return go_exp2(log_lower + (log_upper - log_lower) * fraction);
    return -go_exp2(log_upper + (log_lower - log_upper) * (1 - fraction));
}

/* The outermost custom buckets have no place to be in. */
static bool at_edge(const struct histogram *h, struct histogram_place *b, double *ret)
{
    if (!histogram_is_custom(h)) {
        if (b->lower < 0 && b->upper > 0)
            narrow_zero(h, b);
        return false;
    }
    if (b->lower == -INFINITY) {
        *ret = b->upper;
        b->lower = 0;
        return b->upper <= 0;
    }
    *ret = b->lower;
    return b->upper == INFINITY;
}

double histogram_quantile(double q, const struct histogram *h, enum histogram_nan *ret)
{
    bool forward = isnan(h->sum) || q < 0.5;
    struct found f;
    double rank;
    double v = 0;

    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    if (h->count == 0 || isnan(q))
        return NAN;
    rank = (forward ? q : 1 - q) * h->count;
    f = find_bucket(h, rank, forward);
    if (at_edge(h, &f.bucket, &v))
        return v;
    if (f.count > h->count)
        f.count = h->count;
    if (f.count < rank) {
        if (!isnan(h->sum))
            return f.bucket.upper;
        *ret = HISTOGRAM_NAN_RESULT;
        return NAN;
    }
    rank = forward ? rank - (f.count - f.bucket.count) : f.count - rank;
    if (isnan(h->sum) && f.count + f.rest < h->count)
        *ret = HISTOGRAM_NAN_SKEW;
    return interpolate(h, &f.bucket, rank / f.bucket.count);
}

static double fraction_below(const struct histogram_place *b, double v, bool linear)
{
    double log_lower;
    double log_upper;
    double log_v;

    if (linear)
        return (v - b->lower) / (b->upper - b->lower);
    log_lower = go_log2(fabs(b->lower));
    log_upper = go_log2(fabs(b->upper));
    log_v = go_log2(fabs(v));
    if (v > 0)
        return (log_v - log_lower) / (log_upper - log_lower);
    return 1 - (log_v - log_upper) / (log_lower - log_upper);
}

/* Observations below v, if this bucket tells. */
static bool rank_in(const struct histogram_place *b, double rank, double v, bool linear,
                    double *ret)
{
    if (b->lower >= v) {
        *ret = rank;
        return true;
    }
    if (!(b->lower < v && b->upper > v))
        return false;
    if (linear && b->lower == -INFINITY)
        *ret = b->count;
    else
        *ret = rank + b->count * fraction_below(b, v, linear);
    return true;
}

static double total(const struct histogram_place *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += b[i].count;
    return sum;
}

double histogram_fraction(double lower, double upper, const struct histogram *h,
                          enum histogram_nan *ret)
{
    bool custom = histogram_is_custom(h);
    double lower_rank = 0;
    double upper_rank = 0;
    bool has_lower = false;
    bool has_upper = false;
    double rank = 0;
    double count = h->count;
    size_t n = 0;
    struct histogram_place *b;

    if (h->count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    b = histogram_places(h, &n);
    for (size_t i = 0; i < n && !(has_lower && has_upper); i++) {
        bool zero = !custom && b[i].lower <= 0 && b[i].upper >= 0;

        if (zero)
            narrow_zero(h, &b[i]);
        if (custom && b[i].lower == -INFINITY && b[i].upper > 0)
            b[i].lower = 0;
        has_lower = has_lower || rank_in(&b[i], rank, lower, custom || zero, &lower_rank);
        has_upper = has_upper || rank_in(&b[i], rank, upper, custom || zero, &upper_rank);
        rank += b[i].count;
    }
    if (isnan(h->sum)) {
        count = total(b, n);
        if (count < h->count)
            *ret = HISTOGRAM_NAN_FRACTION;
    }
    free(b);
    if (!has_lower || lower_rank > count)
        lower_rank = count;
    if (!has_upper || upper_rank > count)
        upper_rank = count;
    return (upper_rank - lower_rank) / h->count;
}

static double middle(double lower, double upper, bool positive, bool linear)
{
    double mean;

    if (isinf(lower)) {
        if (isinf(upper))
            return 0;
        return upper > 0 ? upper / 2 : upper;
    }
    if (isinf(upper))
        return lower;
    if (linear)
        return (lower + upper) / 2;
    mean = sqrt(fabs(lower * upper));
    return positive ? mean : -mean;
}

static double zero_if_infinite(double v)
{
    return isinf(v) ? 0 : v;
}

/* What stays of a bucket, and where it is taken to lie. */
struct kept {
    double count, middle;
};

/* Of a bucket without a lower or an upper end: how its values lie is not known. */
static struct kept trim_endless(const struct histogram_place *b, double at, bool upper)
{
    if (b->lower != -INFINITY) {
        if (!upper && at >= b->lower)
            return (struct kept){b->count, at};
        return (struct kept){0, zero_if_infinite(b->lower)};
    }
    if (upper) {
        if (at >= b->upper)
            return (struct kept){b->count, 0};
        if (at > 0 && b->upper > 0 && !isinf(b->upper))
            return (struct kept){b->count * at / b->upper, at / 2};
        if (b->upper <= 0)
            return (struct kept){b->count, at};
        return (struct kept){0, zero_if_infinite(b->upper)};
    }
    if (at <= b->lower)
        return (struct kept){b->count, 0};
    if (at >= 0 && b->upper > at && !isinf(b->upper))
        return (struct kept){b->count * (1 - at / b->upper), (at + b->upper) / 2};
    return (struct kept){0, zero_if_infinite(b->upper)};
}

static struct kept trim_bucket(const struct histogram_place *b, double at, bool upper,
                               bool positive, bool linear)
{
    double below;

    if (upper ? b->upper <= at : b->lower >= at)
        return (struct kept){b->count, middle(b->lower, b->upper, positive, linear)};
    if (!(upper ? b->lower < at : b->upper > at))
        return (struct kept){0, 0};
    if (b->lower == -INFINITY || b->upper == INFINITY)
        return trim_endless(b, at, upper);
    below = at <= b->lower   ? 0
            : at >= b->upper ? b->count
                             : b->count * fraction_below(b, at, linear);
    if (upper)
        return (struct kept){below, middle(b->lower, at, positive, linear)};
    return (struct kept){b->count - below, middle(at, b->upper, positive, linear)};
}

static struct kept trim_zero(const struct histogram *h, double at, bool upper, bool has_negative,
                             bool has_positive)
{
    double low = has_positive && !has_negative ? 0 : -h->zero_threshold;
    double high = has_negative && !has_positive ? 0 : h->zero_threshold;

    if (at <= low)
        return upper ? (struct kept){0, 0} : (struct kept){h->zero_count, (low + high) / 2};
    if (at >= high)
        return upper ? (struct kept){h->zero_count, (low + high) / 2} : (struct kept){0, 0};
    if (upper)
        return (struct kept){h->zero_count * ((at - low) / (high - low)), (low + at) / 2};
    return (struct kept){h->zero_count * ((high - at) / (high - low)), (at + high) / 2};
}

struct trimmed {
    double count, sum;
    bool any; /* something was cut */
    bool populated;
};

static void trim_side(const struct histogram *h, struct histogram_side *side, double at, bool upper,
                      bool positive, struct trimmed *t)
{
    struct histogram_walk w = {.side = side};
    size_t i = 0;

    t->populated = false;
    for (; histogram_walk_next(&w); i++) {
        double high = histogram_bound(h, w.index);
        double low = histogram_bound(h, w.index - 1);
        struct histogram_place b = {positive ? low : -high, positive ? high : -low, w.count, 0, 0};
        struct kept k;

        if (w.count == 0)
            continue;
        t->populated = true;
        k = trim_bucket(&b, at, upper, positive, histogram_is_custom(h));
        t->count += k.count;
        t->sum += k.middle * k.count;
        if (side->counts[i] != k.count) {
            side->counts[i] = k.count;
            t->any = true;
        }
    }
}

struct histogram *histogram_trim(struct mem *m, struct histogram *h, double at, bool upper)
{
    struct trimmed t = {0};
    bool has_positive;

    (void)m;
    trim_side(h, &h->positive, at, upper, true, &t);
    has_positive = t.populated;
    trim_side(h, &h->negative, at, upper, false, &t);
    if (h->zero_count > 0) {
        struct kept k = trim_zero(h, at, upper, t.populated, has_positive);

        t.any = t.any || h->zero_count != k.count;
        h->zero_count = k.count;
        t.sum += k.middle * k.count;
        t.count += k.count;
    }
    if (!t.any)
        return h;
    h->count = t.count;
    h->sum = t.sum;
    histogram_compact(h);
    return h;
}
