#include "metrics/histogram.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "metrics/head/decimal.h"
#include "metrics/labels.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { FLAG_INTEGER = 1, FLAG_VARINTS = 2, FLAG_RESET_SHIFT = 2, FLAGS_MAX = 16 };

struct histogram *histogram_new(const struct histogram_shape *s)
{
    size_t doubles = s->positive + s->negative + s->custom;
    size_t spans = s->positive_spans + s->negative_spans;
    struct histogram *h = calloc(1, sizeof *h + doubles * sizeof(double) +
                                        spans * sizeof(struct histogram_span));

    if (h == NULL)
        return NULL;
    h->positive = (struct histogram_side){.n_spans = s->positive_spans, .n = s->positive};
    h->negative = (struct histogram_side){.n_spans = s->negative_spans, .n = s->negative};
    h->n_custom = s->custom;
    h->positive.counts = (double *)(h + 1);
    h->negative.counts = h->positive.counts + s->positive;
    h->custom = h->negative.counts + s->negative;
    h->positive.spans = (struct histogram_span *)(h->custom + s->custom);
    h->negative.spans = h->positive.spans + s->positive_spans;
    return h;
}

static void copy_side(struct histogram_side *to, const struct histogram_side *from)
{
    memcpy(to->spans, from->spans, from->n_spans * sizeof *from->spans);
    memcpy(to->counts, from->counts, from->n * sizeof *from->counts);
}

struct histogram *histogram_copy(const struct histogram *h)
{
    struct histogram *c =
        histogram_new(&(struct histogram_shape){h->positive.n_spans, h->positive.n,
                                                h->negative.n_spans, h->negative.n, h->n_custom});

    if (c == NULL)
        abort();
    c->schema = h->schema;
    c->reset = h->reset;
    c->integer = h->integer;
    c->zero_threshold = h->zero_threshold;
    c->zero_count = h->zero_count;
    c->count = h->count;
    c->sum = h->sum;
    copy_side(&c->positive, &h->positive);
    copy_side(&c->negative, &h->negative);
    memcpy(c->custom, h->custom, h->n_custom * sizeof *h->custom);
    return c;
}

void histogram_free(struct histogram *h)
{
    free(h);
}

static bool same_doubles(const double *a, size_t n, const double *b, size_t m)
{
    return n == m && (n == 0 || memcmp(a, b, n * sizeof *a) == 0);
}

static bool same_side(const struct histogram_side *a, const struct histogram_side *b)
{
    return a->n_spans == b->n_spans && same_doubles(a->counts, a->n, b->counts, b->n) &&
           (a->n_spans == 0 || memcmp(a->spans, b->spans, a->n_spans * sizeof *a->spans) == 0);
}

bool histogram_eq(const struct histogram *a, const struct histogram *b)
{
    return a->schema == b->schema && a->reset == b->reset && a->integer == b->integer &&
           double_bits(a->zero_threshold) == double_bits(b->zero_threshold) &&
           double_bits(a->zero_count) == double_bits(b->zero_count) &&
           double_bits(a->count) == double_bits(b->count) &&
           double_bits(a->sum) == double_bits(b->sum) && same_side(&a->positive, &b->positive) &&
           same_side(&a->negative, &b->negative) &&
           same_doubles(a->custom, a->n_custom, b->custom, b->n_custom);
}

bool histogram_stale(const struct histogram *h)
{
    return double_bits(h->sum) == VALUE_STALE_BITS;
}

/* Validity: the rules and words of Prometheus 3.16, model/histogram. */

static int spans_check(const char *side, const struct histogram_side *s, bool custom,
                       struct buf *why)
{
    uint64_t buckets = 0;

    for (size_t i = 0; i < s->n_spans; i++) {
        if (s->spans[i].offset < 0 && (i > 0 || custom)) {
            buf_printf(why,
                       "%s: span number %zu with offset %d: histogram has a span whose offset is "
                       "negative",
                       side, i + 1, s->spans[i].offset);
            return -EINVAL;
        }
        buckets += s->spans[i].length;
    }
    if (buckets == s->n)
        return 0;
    buf_printf(why,
               "%s: spans need %llu buckets, have %zu buckets: histogram spans specify different "
               "number of buckets than provided",
               side, (unsigned long long)buckets, s->n);
    return -EINVAL;
}

static int counts_check(const char *side, const struct histogram_side *s, double *sum,
                        struct buf *why)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->counts[i] < 0) {
            buf_printf(why,
                       "%s: bucket number %zu has observation count of %g: histogram has a bucket "
                       "whose observation count is negative",
                       side, i + 1, s->counts[i]);
            return -EINVAL;
        }
        *sum += s->counts[i];
    }
    return 0;
}

static int bounds_check(const struct histogram *h, struct buf *why)
{
    uint64_t reach = 0;
    double before = -INFINITY;

    for (size_t i = 0; i < h->n_custom; i++) {
        double bound = h->custom[i];

        if (isnan(bound)) {
            buf_add_str(why, "custom buckets: histogram custom bounds must not be NaN");
            return -EINVAL;
        }
        if (bound <= before) {
            buf_printf(why,
                       "custom buckets: previous bound is %f and current is %f: histogram custom "
                       "bounds must be in strictly increasing order",
                       before, bound);
            return -EINVAL;
        }
        before = bound;
    }
    if (before == INFINITY) {
        buf_add_str(why, "custom buckets: last +Inf bound must not be explicitly defined: "
                         "histogram custom bounds must be finite");
        return -EINVAL;
    }
    if (spans_check("custom buckets", &h->positive, true, why) < 0)
        return -EINVAL;
    for (size_t i = 0; i < h->positive.n_spans; i++)
        reach += (uint64_t)h->positive.spans[i].offset + h->positive.spans[i].length;
    if (h->n_custom + 1 >= reach)
        return 0;
    buf_printf(why,
               "custom buckets: only %zu custom bounds defined which is insufficient to cover "
               "total span length of %llu: histogram custom bounds are too few",
               h->n_custom, (unsigned long long)reach);
    return -EINVAL;
}

static int custom_check(const struct histogram *h, struct buf *why)
{
    const char *wrong = h->zero_count != 0           ? "zero count of 0"
                        : h->zero_threshold != 0     ? "zero threshold of 0"
                        : h->negative.n_spans + h->negative.n > 0 ? "" : NULL;

    if (bounds_check(h, why) < 0)
        return -EINVAL;
    if (wrong == NULL)
        return 0;
    if (*wrong != 0)
        buf_printf(why, "custom buckets: must have %s", wrong);
    else
        buf_printf(why, "custom buckets: must not have negative %s",
                   h->negative.n_spans > 0 ? "spans" : "buckets");
    return -EINVAL;
}

static int schema_check(const struct histogram *h, struct buf *why)
{
    if (h->schema == HISTOGRAM_CUSTOM)
        return custom_check(h, why);
    if (h->schema < HISTOGRAM_SCHEMA_MIN || h->schema > HISTOGRAM_SCHEMA_MAX) {
        buf_printf(why,
                   "histogram has an invalid schema, which must be between %d and %d for "
                   "exponential buckets, or %d for custom buckets, got schema %d",
                   HISTOGRAM_SCHEMA_MIN, HISTOGRAM_SCHEMA_MAX, HISTOGRAM_CUSTOM, h->schema);
        return -EINVAL;
    }
    if (h->n_custom > 0) {
        buf_add_str(why, "histogram with exponential schema must not have custom bounds");
        return -EINVAL;
    }
    return spans_check("positive side", &h->positive, false, why) < 0
               ? -EINVAL
               : spans_check("negative side", &h->negative, false, why);
}

int histogram_check(const struct histogram *h, struct buf *why)
{
    double negative = 0;
    double positive = 0;
    double all;
    size_t parts = h->positive.n_spans + h->negative.n_spans + h->positive.n + h->negative.n +
                   h->n_custom;

    if (parts > (HISTOGRAM_BYTES_MAX - 64) / 10) { /* no part takes more than 10 bytes */
        buf_printf(why, "histogram has %zu buckets, more than can be stored",
                   h->positive.n + h->negative.n);
        return -EINVAL;
    }
    if (schema_check(h, why) < 0 ||
        counts_check("negative side", &h->negative, &negative, why) < 0 ||
        counts_check("positive side", &h->positive, &positive, why) < 0)
        return -EINVAL;
    if (h->count < 0 || h->zero_count < 0) {
        buf_add_str(why, h->count < 0 ? "histogram's observation count is negative"
                                      : "histogram has a bucket whose observation count is negative");
        return -EINVAL;
    }
    all = negative + positive + h->zero_count;
    /* Floats do not add up exactly; observations that are NaN are in no bucket. */
    if (!h->integer || (isnan(h->sum) ? all <= h->count : all == h->count))
        return 0;
    buf_printf(why,
               "%.0f observations found in buckets, but the Count field is %.0f: histogram's "
               "observation count should %s the number of observations found in the buckets%s",
               all, h->count, isnan(h->sum) ? "be at least" : "equal",
               isnan(h->sum) ? "" : " (in absence of NaN)");
    return -EINVAL;
}

bool histogram_walk_next(struct histogram_walk *w)
{
    const struct histogram_side *s = w->side;

    for (; w->span < s->n_spans; w->span++, w->in_span = 0) {
        const struct histogram_span *span = &s->spans[w->span];

        if (w->in_span == 0)
            w->next += (uint32_t)span->offset;
        if (w->in_span == span->length || w->at == s->n)
            continue;
        w->in_span++;
        w->index = (int32_t)w->next++;
        w->count = s->counts[w->at++];
        return true;
    }
    return false;
}

double histogram_bound(const struct histogram *h, int32_t index)
{
    int exponent;
    uint32_t part;

    if (h->schema == HISTOGRAM_CUSTOM)
        return index < 0                        ? -INFINITY
               : (size_t)index < h->n_custom ? h->custom[index]
                                                : INFINITY;
    if (h->schema <= 0) {
        exponent = (int)((uint32_t)index << -h->schema);
        part = 0;
    } else {
        exponent = index >> h->schema;
        part = (uint32_t)index & ((1u << h->schema) - 1);
    }
    if (exponent == 1024 && part == 0)
        return 0x1.fffffffffffffp1023; /* the bucket above is for infinities */
    if (part == 0)
        return ldexp(1, exponent);
    return ldexp(histogram_fractions[part << (8 - h->schema)], exponent + 1);
}

static void coarsen_side(struct histogram_side *s, unsigned by)
{
    struct histogram_span *spans = xmemdup(s->spans, s->n_spans * sizeof *spans);
    struct histogram_side before = *s;
    struct histogram_walk w = {.side = &before};
    int32_t last = 0;

    before.spans = spans;
    s->n = s->n_spans = 0;
    while (histogram_walk_next(&w)) {
        int32_t index = ((w.index - 1) >> by) + 1;

        if (s->n > 0 && index == last) {
            s->counts[s->n - 1] += w.count;
            continue;
        }
        if (s->n > 0 && index == last + 1)
            s->spans[s->n_spans - 1].length++;
        else
            s->spans[s->n_spans++] =
                (struct histogram_span){s->n > 0 ? index - last - 1 : index, 1};
        s->counts[s->n++] = w.count;
        last = index;
    }
    free(spans);
}

void histogram_coarsen(struct histogram *h, int32_t schema)
{
    unsigned by = h->schema > schema ? (unsigned)(h->schema - schema) : 0;

    if (h->schema == HISTOGRAM_CUSTOM || by == 0)
        return;
    coarsen_side(&h->positive, by < 31 ? by : 31);
    coarsen_side(&h->negative, by < 31 ? by : 31);
    h->schema = schema;
}

#define SCHEMA_RESERVED_MAX 52

int histogram_admit(struct histogram *h, struct buf *why)
{
    int32_t schema = h->schema;
    bool finer = schema > HISTOGRAM_SCHEMA_MAX && schema <= SCHEMA_RESERVED_MAX;

    if (finer)
        h->schema = HISTOGRAM_SCHEMA_MAX;
    if (histogram_check(h, why) < 0)
        return -EINVAL;
    if (finer) {
        h->schema = schema;
        histogram_coarsen(h, HISTOGRAM_SCHEMA_MAX);
    }
    if (h->reset == HISTOGRAM_NO_RESET)
        h->reset = HISTOGRAM_RESET_UNKNOWN;
    return 0;
}

/* The bytes: flags, schema, bounds of the zero bucket, sum, counts of all and of zero; for each
 * side the spans and the counts; the custom bounds. Counts that are whole numbers are varints, as
 * the difference to the one before. */

static bool whole(double v)
{
    return v >= 0 && v < 9007199254740992.0 && double_bits((double)(uint64_t)v) == double_bits(v);
}

static bool side_whole(const struct histogram_side *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (!whole(s->counts[i]))
            return false;
    return true;
}

static void put_double(struct buf *out, double v)
{
    uint8_t raw[8];

    be64_put(raw, double_bits(v));
    buf_add(out, raw, sizeof raw);
}

static void put_count(struct buf *out, double v, double before, bool varints)
{
    if (varints)
        varint_put(out, zigzag((int64_t)v - (int64_t)before));
    else
        put_double(out, v);
}

static void put_side(struct buf *out, const struct histogram_side *s, bool varints)
{
    varint_put(out, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        varint_put(out, zigzag(s->spans[i].offset));
        varint_put(out, s->spans[i].length);
    }
    for (size_t i = 0; i < s->n; i++)
        put_count(out, s->counts[i], i > 0 ? s->counts[i - 1] : 0, varints);
}

void histogram_encode(struct buf *out, const struct histogram *h)
{
    bool varints = whole(h->count) && whole(h->zero_count) && side_whole(&h->positive) &&
                   side_whole(&h->negative);

    buf_add_char(out, (char)((h->integer ? FLAG_INTEGER : 0) | (varints ? FLAG_VARINTS : 0) |
                             (int)h->reset << FLAG_RESET_SHIFT));
    varint_put(out, zigzag(h->schema));
    put_double(out, h->zero_threshold);
    put_double(out, h->sum);
    put_count(out, h->count, 0, varints);
    put_count(out, h->zero_count, 0, varints);
    put_side(out, &h->positive, varints);
    put_side(out, &h->negative, varints);
    varint_put(out, h->n_custom);
    for (size_t i = 0; i < h->n_custom; i++)
        put_double(out, h->custom[i]);
}

static int get_double(struct slice *in, double *ret)
{
    if (in->len < 8)
        return -EIO;
    *ret = bits_double(be64_get(in->data));
    *in = slice_skip(*in, 8);
    return 0;
}

static int get_count(struct slice *in, double before, bool varints, double *ret)
{
    uint64_t v = 0;

    if (!varints)
        return get_double(in, ret);
    if (varint_get(in, &v) < 0)
        return -EIO;
    *ret = (double)((uint64_t)(int64_t)before + (uint64_t)unzigzag(v));
    return whole(*ret) ? 0 : -EIO;
}

static int get_spans(struct slice *in, struct histogram_side *s, size_t n)
{
    uint64_t offset = 0;
    uint64_t length = 0;

    for (size_t i = 0; i < n; i++) {
        if (varint_get(in, &offset) < 0 || varint_get(in, &length) < 0)
            return -EIO;
        s->spans[i] = (struct histogram_span){(int32_t)unzigzag(offset), (uint32_t)length};
    }
    return 0;
}

static int get_counts(struct slice *in, struct histogram_side *s, bool varints)
{
    for (size_t i = 0; i < s->n; i++)
        if (get_count(in, i > 0 ? s->counts[i - 1] : 0, varints, &s->counts[i]) < 0)
            return -EIO;
    return 0;
}

/* Passes over a side and says how large it is. */
static int measure_side(struct slice *in, bool varints, size_t *ret_spans, size_t *ret_n)
{
    uint64_t n = 0;
    uint64_t buckets = 0;
    uint64_t v = 0;
    double count = 0;

    if (varint_get(in, &n) < 0 || n > in->len)
        return -EIO;
    for (uint64_t i = 0; i < n; i++) {
        if (varint_get(in, &v) < 0 || varint_get(in, &v) < 0 || v > in->len)
            return -EIO;
        buckets += v;
    }
    if (buckets > in->len)
        return -EIO;
    for (uint64_t i = 0; i < buckets; i++)
        if (get_count(in, count, varints, &count) < 0)
            return -EIO;
    *ret_spans = (size_t)n;
    *ret_n = (size_t)buckets;
    return 0;
}

static int get_side(struct slice *in, struct histogram_side *s, bool varints)
{
    uint64_t n = 0;

    return varint_get(in, &n) < 0 || get_spans(in, s, s->n_spans) < 0 ||
                   get_counts(in, s, varints) < 0
               ? -EIO
               : 0;
}

/* What stands before the sides. */
static int get_head(struct slice *in, struct histogram *h, bool *ret_varints)
{
    uint64_t schema = 0;
    uint8_t flags;

    if (in->len == 0)
        return -EIO;
    flags = *(const uint8_t *)in->data;
    *in = slice_skip(*in, 1);
    *ret_varints = (flags & FLAG_VARINTS) != 0;
    if (flags >= FLAGS_MAX || varint_get(in, &schema) < 0 ||
        get_double(in, &h->zero_threshold) < 0 || get_double(in, &h->sum) < 0 ||
        get_count(in, 0, *ret_varints, &h->count) < 0 ||
        get_count(in, 0, *ret_varints, &h->zero_count) < 0)
        return -EIO;
    h->schema = (int32_t)unzigzag(schema);
    h->integer = (flags & FLAG_INTEGER) != 0;
    h->reset = (enum histogram_reset)(flags >> FLAG_RESET_SHIFT);
    return 0;
}

int histogram_decode(struct slice *in, struct histogram **ret)
{
    struct histogram head = {0};
    struct histogram_shape shape = {0};
    struct histogram *h;
    struct slice ahead;
    uint64_t n = 0;
    bool varints;

    if (get_head(in, &head, &varints) < 0)
        return -EIO;
    ahead = *in;
    if (measure_side(&ahead, varints, &shape.positive_spans, &shape.positive) < 0 ||
        measure_side(&ahead, varints, &shape.negative_spans, &shape.negative) < 0 ||
        varint_get(&ahead, &n) < 0 || n > ahead.len / 8)
        return -EIO;
    shape.custom = (size_t)n;
    h = histogram_new(&shape);
    if (h == NULL)
        return -ENOMEM;
    h->schema = head.schema;
    h->integer = head.integer;
    h->reset = head.reset;
    h->zero_threshold = head.zero_threshold;
    h->zero_count = head.zero_count;
    h->count = head.count;
    h->sum = head.sum;
    if (get_side(in, &h->positive, varints) < 0 || get_side(in, &h->negative, varints) < 0 ||
        varint_get(in, &n) < 0) {
        histogram_free(h);
        return -EIO;
    }
    for (size_t i = 0; i < h->n_custom; i++)
        get_double(in, &h->custom[i]);
    *ret = h;
    return 0;
}
