#include "metrics/api/histogram_chunk.h"

#include "base/alloc.h"
#include "metrics/api/chunk_bits.h"
#include "metrics/labels.h"

#include <math.h>
#include <stdlib.h>

#define CHUNK_HISTOGRAMS 120  /* as many as Prometheus puts into one */
#define INTEGER_MAX      0x1p62 /* of counts: differences of differences fit 64 bits */

static bool side_is_small(const struct histogram_side *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (!(s->counts[i] <= INTEGER_MAX))
            return false;
    return true;
}

static bool is_integer(const struct histogram *h)
{
    return h->integer && h->count <= INTEGER_MAX && h->zero_count <= INTEGER_MAX &&
           side_is_small(&h->positive) && side_is_small(&h->negative);
}

static bool same_spans(const struct histogram_side *a, const struct histogram_side *b)
{
    bool same = a->n_spans == b->n_spans;

    for (size_t i = 0; same && i < a->n_spans; i++)
        same = a->spans[i].offset == b->spans[i].offset && a->spans[i].length == b->spans[i].length;
    return same;
}

static bool same_buckets(const struct histogram *a, const struct histogram *b)
{
    bool same = a->schema == b->schema && a->zero_threshold == b->zero_threshold &&
                a->n_custom == b->n_custom && same_spans(&a->positive, &b->positive) &&
                same_spans(&a->negative, &b->negative);

    for (size_t i = 0; same && i < a->n_custom; i++)
        same = a->custom[i] == b->custom[i];
    return same;
}

static bool side_grew(const struct histogram_side *a, const struct histogram_side *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (!(b->counts[i] >= a->counts[i]))
            return false;
    return true;
}

/* Of the same buckets: is b what became of a, without a reset? */
static bool grew(const struct histogram *a, const struct histogram *b)
{
    return b->reset != HISTOGRAM_RESET && b->count >= a->count && b->zero_count >= a->zero_count &&
           side_grew(&a->positive, &b->positive) && side_grew(&a->negative, &b->negative);
}

static bool follows(const struct histogram *a, const struct histogram *b)
{
    if (is_integer(a) != is_integer(b) ||
        (a->reset == HISTOGRAM_GAUGE) != (b->reset == HISTOGRAM_GAUGE))
        return false;
    if (histogram_stale(b))
        return true;
    return !histogram_stale(a) && same_buckets(a, b) && (a->reset == HISTOGRAM_GAUGE || grew(a, b));
}

size_t histogram_chunk_fit(const struct histogram *const *h, size_t n)
{
    size_t fit = 1;

    while (fit < n && fit < CHUNK_HISTOGRAMS && follows(h[fit - 1], h[fit]))
        fit++;
    return fit;
}

/* The usual ones, powers of two, in one byte. */
static void put_zero_threshold(struct bits *b, double v)
{
    int exponent = 0;

    if (v == 0) {
        bits_put(b, 0, 8);
    } else if (frexp(v, &exponent) != 0.5 || exponent < -242 || exponent > 11) {
        bits_put(b, 255, 8);
        bits_put(b, double_bits(v), 64);
    } else {
        bits_put(b, (uint64_t)(exponent + 243), 8);
    }
}

static void put_spans(struct bits *b, const struct histogram_side *s)
{
    bits_put_uint(b, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        bits_put_uint(b, s->spans[i].length);
        bits_put_int(b, s->spans[i].offset);
    }
}

/* Thousandths in few bits, others after a 0. */
static void put_bound(struct bits *b, double v)
{
    double thousandths = v * 1000;

    if (thousandths >= 0 && thousandths <= 33554430 && round(thousandths) / 1000 == v) {
        bits_put_uint(b, (uint64_t)round(thousandths) + 1);
        return;
    }
    bits_put(b, 0, 1);
    bits_put(b, double_bits(v), 64);
}

static void put_layout(struct bits *b, const struct histogram *h)
{
    put_zero_threshold(b, h->zero_threshold);
    bits_put_int(b, h->schema);
    put_spans(b, &h->positive);
    put_spans(b, &h->negative);
    if (h->schema != HISTOGRAM_CUSTOM)
        return;
    bits_put_uint(b, h->n_custom);
    for (size_t i = 0; i < h->n_custom; i++)
        put_bound(b, h->custom[i]);
}

/* One number of each histogram of the chunk, and how it moves. */
struct track {
    uint64_t last, step; /* of an integer */
    struct bits_window window; /* of a float, whose bits are in last */
};

struct chunk {
    struct bits bits;
    bool floats, first;
    struct track time, sum;
    struct track *counts; /* of all, the zero bucket, positive and negative ones */
    size_t at;
};

static void put_integer(struct chunk *c, struct track *t, uint64_t v)
{
    uint64_t step = c->first ? 0 : v - t->last;

    bits_put_int(&c->bits, (int64_t)(c->first ? v : step - t->step));
    t->last = v;
    t->step = step;
}

static void put_float(struct chunk *c, struct track *t, double v)
{
    uint64_t bits = double_bits(v);

    if (c->first)
        bits_put(&c->bits, bits, 64);
    else
        bits_put_xor(&c->bits, bits ^ t->last, &t->window);
    t->last = bits;
}

static void put_count(struct chunk *c, double v)
{
    struct track *t = &c->counts[c->at++];

    if (c->floats) {
        put_float(c, t, v);
    } else if (c->first) { /* these are not signed */
        bits_put_uint(&c->bits, (uint64_t)v);
        t->last = (uint64_t)v;
    } else {
        put_integer(c, t, (uint64_t)v);
    }
}

static void put_side(struct chunk *c, const struct histogram_side *s)
{
    int64_t before = 0;

    for (size_t i = 0; i < s->n; i++) {
        struct track *t = &c->counts[c->at++];

        if (c->floats) {
            put_float(c, t, s->counts[i]);
            continue;
        }
        put_integer(c, t, (uint64_t)((int64_t)s->counts[i] - before));
        before = (int64_t)s->counts[i];
    }
}

/* A stale marker has nothing but its sum, and is the last of its chunk. */
static void put_stale(struct chunk *c, const struct histogram *h)
{
    if (c->floats || c->first) {
        put_count(c, 0);
        put_count(c, 0);
    } else {
        bits_put_int(&c->bits, 0);
        bits_put_int(&c->bits, 0);
    }
    put_float(c, &c->sum, h->sum);
}

static void put_histogram(struct chunk *c, int64_t ts_ms, const struct histogram *h)
{
    c->at = 0;
    put_integer(c, &c->time, (uint64_t)ts_ms);
    if (histogram_stale(h)) {
        put_stale(c, h);
    } else {
        put_count(c, h->count);
        put_count(c, h->zero_count);
        put_float(c, &c->sum, h->sum);
        put_side(c, &h->positive);
        put_side(c, &h->negative);
    }
    c->first = false;
}

enum histogram_chunk_kind histogram_chunk_encode(struct buf *out, const int64_t *ts_ms,
                                                 const struct histogram *const *h, size_t n)
{
    static const uint8_t resets[] = {[HISTOGRAM_RESET_UNKNOWN] = 0,
                                     [HISTOGRAM_RESET] = 2,
                                     [HISTOGRAM_NO_RESET] = 1,
                                     [HISTOGRAM_GAUGE] = 3};
    struct chunk c = {.bits = {.out = out}, .floats = !is_integer(h[0]), .first = true};

    c.counts = xcalloc(2 + h[0]->positive.n + h[0]->negative.n, sizeof *c.counts);
    bits_put(&c.bits, n, 16);
    bits_put(&c.bits, resets[h[0]->reset], 2);
    bits_put(&c.bits, 0, 6);
    if (histogram_stale(h[0]))
        put_layout(&c.bits, &(struct histogram){0});
    else
        put_layout(&c.bits, h[0]);
    for (size_t i = 0; i < n; i++)
        put_histogram(&c, ts_ms[i], h[i]);
    free(c.counts);
    return c.floats ? HISTOGRAM_CHUNK_FLOATS : HISTOGRAM_CHUNK_INTEGERS;
}
