#include "metrics/promql/histogram_math.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <math.h>
#include <stdlib.h>

static void clone_side(struct mem *m, struct histogram_side *to, const struct histogram_side *from)
{
    size_t spans = from->n > from->n_spans ? from->n : from->n_spans;

    *to = (struct histogram_side){.n = from->n, .n_spans = from->n_spans};
    to->counts = mem_get(m, (from->n + 1) * sizeof *to->counts);
    to->spans = mem_get(m, (spans + 1) * sizeof *to->spans); /* dropping buckets may split spans */
    if (from->n > 0)
        memcpy(to->counts, from->counts, from->n * sizeof *to->counts);
    if (from->n_spans > 0)
        memcpy(to->spans, from->spans, from->n_spans * sizeof *to->spans);
}

struct histogram *histogram_clone(struct mem *m, const struct histogram *h)
{
    struct histogram *copy = mem_get(m, sizeof *copy);

    *copy = *h;
    clone_side(m, &copy->positive, &h->positive);
    clone_side(m, &copy->negative, &h->negative);
    copy->custom = mem_get(m, (h->n_custom + 1) * sizeof *copy->custom);
    if (h->n_custom > 0)
        memcpy(copy->custom, h->custom, h->n_custom * sizeof *copy->custom);
    return copy;
}

const struct histogram *histogram_scaled(struct mem *m, const struct histogram *h, double factor)
{
    struct histogram *copy = histogram_clone(m, h);

    histogram_multiply(copy, factor);
    return copy;
}

void histogram_multiply(struct histogram *h, double factor)
{
    h->zero_count *= factor;
    h->count *= factor;
    h->sum *= factor;
    for (size_t i = 0; i < h->positive.n; i++)
        h->positive.counts[i] *= factor;
    for (size_t i = 0; i < h->negative.n; i++)
        h->negative.counts[i] *= factor;
    if (factor < 0)
        h->reset = HISTOGRAM_GAUGE;
}

void histogram_divide(struct histogram *h, double divisor)
{
    h->zero_count /= divisor;
    h->count /= divisor;
    h->sum /= divisor;
    if (divisor == 0) {
        h->positive.n = h->positive.n_spans = h->negative.n = h->negative.n_spans = 0;
        return;
    }
    for (size_t i = 0; i < h->positive.n; i++)
        h->positive.counts[i] /= divisor;
    for (size_t i = 0; i < h->negative.n; i++)
        h->negative.counts[i] /= divisor;
    if (divisor < 0)
        h->reset = HISTOGRAM_GAUGE;
}

/* There is room for a span at each count. */
static void compact_side(struct histogram_side *side)
{
    struct histogram_walk w = {.side = side};
    struct histogram_span *spans = xmalloc((side->n + 1) * sizeof *spans);
    size_t n = 0;
    size_t n_spans = 0;
    int32_t last = 0;

    while (histogram_walk_next(&w)) {
        if (w.count == 0)
            continue;
        if (n > 0 && w.index == last + 1)
            spans[n_spans - 1].length++;
        else
            spans[n_spans++] = (struct histogram_span){n > 0 ? w.index - last - 1 : w.index, 1};
        last = w.index;
        side->counts[n++] = w.count;
    }
    side->n = n;
    side->n_spans = n_spans;
    if (n_spans > 0)
        memcpy(side->spans, spans, n_spans * sizeof *spans);
    free(spans);
}

void histogram_compact(struct histogram *h)
{
    compact_side(&h->positive);
    compact_side(&h->negative);
}

struct histogram *histogram_combine(struct mem *m, const struct histogram *h,
                                    const struct histogram *other, int sign, bool *ret_reconciled,
                                    bool *ret_collision)
{
    struct histogram_add how = {sign, true, ret_reconciled, ret_collision};
    struct histogram_sum s = {0};
    struct histogram *result = NULL;

    histogram_sum_set(&s, h);
    if (histogram_sum_add(&s, other, &how))
        result = histogram_sum_take(m, &s, 1);
    histogram_sum_done(&s);
    return result;
}

/* Both sides' places with their counts are the same. */
static bool same_side(const struct histogram_side *a, const struct histogram_side *b)
{
    struct histogram_walk x = {.side = a};
    struct histogram_walk y = {.side = b};

    if (a->n != b->n)
        return false;
    while (histogram_walk_next(&x) && histogram_walk_next(&y))
        if (x.index != y.index || double_bits(x.count) != double_bits(y.count))
            return false;
    return true;
}

bool histogram_same(const struct histogram *a, const struct histogram *b)
{
    if (a->schema != b->schema || double_bits(a->count) != double_bits(b->count) ||
        double_bits(a->sum) != double_bits(b->sum) || a->zero_threshold != b->zero_threshold ||
        double_bits(a->zero_count) != double_bits(b->zero_count))
        return false;
    if (histogram_is_custom(a) &&
        (a->n_custom != b->n_custom ||
         (a->n_custom > 0 && memcmp(a->custom, b->custom, a->n_custom * sizeof *a->custom) != 0)))
        return false;
    return same_side(&a->negative, &b->negative) && same_side(&a->positive, &b->positive);
}

struct reversed {
    struct histogram_place *b;
    size_t n;
};

static void add_bucket(struct reversed *list, const struct histogram *h, int32_t index,
                       double count, bool negative)
{
    double upper = histogram_bound(h, index);
    double lower = histogram_bound(h, index - 1);
    double zero = h->zero_threshold;
    struct histogram_place b = {lower, upper, count, false, true};

    if (!histogram_is_custom(h) && lower > 0 && lower < zero)
        b.lower = zero;
    if (histogram_is_custom(h))
        b.lower_inclusive = index == 0;
    if (negative)
        b = (struct histogram_place){-b.upper, -b.lower, count, true, false};
    list->b[list->n++] = b;
}

struct histogram_place *histogram_places(const struct histogram *h, size_t *ret_n)
{
    struct reversed list = {xmalloc((h->positive.n + h->negative.n + 2) * sizeof *list.b), 0};
    struct histogram_walk w = {.side = &h->negative};

    while (histogram_walk_next(&w))
        add_bucket(&list, h, w.index, w.count, true);
    for (size_t i = 0; i + 1 < list.n - i && list.n > 0; i++) {
        struct histogram_place t = list.b[i];

        list.b[i] = list.b[list.n - 1 - i];
        list.b[list.n - 1 - i] = t;
    }
    if (h->zero_count > 0 && !histogram_is_custom(h))
        list.b[list.n++] = (struct histogram_place){-h->zero_threshold, h->zero_threshold,
                                                    h->zero_count, true, true};
    w = (struct histogram_walk){.side = &h->positive};
    while (histogram_walk_next(&w))
        add_bucket(&list, h, w.index, w.count, false);
    *ret_n = list.n;
    return list.b;
}

double histogram_variance(const struct histogram *h)
{
    double mean = h->sum / h->count;
    double variance = 0;
    double c = 0;
    size_t n = 0;
    autofree struct histogram_place *b = histogram_places(h, &n);

    for (size_t i = 0; i < n; i++) {
        double v;

        if (b[i].count == 0)
            continue;
        if (histogram_is_custom(h)) {
            v = (b[i].upper + b[i].lower) / 2;
        } else if (b[i].lower <= 0 && b[i].upper >= 0) {
            v = 0;
        } else {
            v = sqrt(b[i].upper * b[i].lower);
            if (b[i].upper < 0)
                v = -v;
        }
        v -= mean;
        kahan_add(b[i].count * v * v, &variance, &c);
    }
    return (variance + c) / h->count;
}

static void print_bucket(struct buf *out, const struct histogram_place *b)
{
    char lower[GO_TEXT_MAX];
    char upper[GO_TEXT_MAX];
    char count[GO_TEXT_MAX];

    buf_printf(out, ", %c%s,%s%c:%s", b->lower_inclusive ? '[' : '(', go_g(b->lower, lower),
               go_g(b->upper, upper), b->upper_inclusive ? ']' : ')', go_g(b->count, count));
}

void histogram_print(struct buf *out, const struct histogram *h)
{
    char count[GO_TEXT_MAX];
    char sum[GO_TEXT_MAX];
    struct histogram plain = *h;
    size_t n = 0;
    autofree struct histogram_place *b = NULL;

    buf_printf(out, "{count:%s, sum:%s", go_g(h->count, count), go_g(h->sum, sum));
    plain.zero_threshold = h->zero_threshold;
    b = histogram_places(&plain, &n);
    for (size_t i = 0; i < n; i++)
        if (b[i].count != 0)
            print_bucket(out, &b[i]);
    buf_add_char(out, '}');
}
