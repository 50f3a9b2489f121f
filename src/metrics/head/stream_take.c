/* A whole stream at once: what a query reads. First the integers, then all of one exponent to
 * doubles. */
#include "base/hot.h"
#include "metrics/head/chunk.h"
#include "metrics/head/decimal.h"

struct taker {
    const uint8_t *p, *end;
    int64_t from_ms, to_ms, ts;
    int64_t *times;
    uint64_t *bits; /* doubles; from `pending` on integers */
    size_t n, pending;
    int64_t mantissa;
    uint64_t last; /* of the sample before, if that is raw */
    uint32_t left;
    int32_t step_ms;
    int8_t exponent;
    bool raw;
};

HOT static void to_doubles(uint64_t *v, size_t n, double power)
{
    for (size_t i = 0; i < n; i++)
        v[i] = to_bits((double)(int64_t)v[i] / power);
}

HOT static void to_whole_doubles(uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = to_bits((double)(int64_t)v[i]);
}

void decimals_to_doubles(uint64_t *v, size_t n, int exponent)
{
    if (exponent == 0)
        to_whole_doubles(v, n);
    else
        to_doubles(v, n, decimal_powers[exponent]);
}

static void settle(struct taker *t)
{
    decimals_to_doubles(t->bits + t->pending, t->n - t->pending, t->exponent);
    t->pending = t->n;
}

static uint64_t get(struct taker *t)
{
    uint64_t x = 0;

    for (unsigned shift = 0; t->p < t->end && shift < 64; shift += 7) {
        uint8_t b = *t->p++;

        x |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            break;
    }
    return x;
}

/* A number of up to eight bytes at p without a branch on how many; 0 if it is longer. */
static inline size_t get_short(const uint8_t *p, uint64_t *ret)
{
    uint64_t x;
    uint64_t stops;

    memcpy(&x, p, sizeof x);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    stops = ~x & 0x8080808080808080ull;
    if (stops == 0)
        return 0;
    x &= (stops ^ (stops - 1)) & 0x7f7f7f7f7f7f7f7full;
    x = (x & 0x007f007f007f007full) | (x & 0x7f007f007f007f00ull) >> 1;
    x = (x & 0x00003fff00003fffull) | (x & 0x3fff00003fff0000ull) >> 2;
    *ret = (x & 0x000000000fffffffull) | (x & 0x0fffffff00000000ull) >> 4;
    return ((size_t)__builtin_ctzll(stops) >> 3) + 1;
}

/* As many values as come one after the other. */
static void take_values(struct taker *t)
{
    const uint8_t *p = t->p;
    int64_t ts = t->ts;
    int64_t mantissa = t->mantissa;
    int64_t step_ms = t->step_ms;
    int64_t from_ms = t->from_ms;
    int64_t *times = t->times;
    uint64_t *bits = t->bits;
    size_t n = t->n;
    uint32_t left = t->left;

    while (left > 0 && t->end - p >= 8 && ts + step_ms <= t->to_ms) {
        uint64_t x = 0;
        size_t used = get_short(p, &x);

        if (used == 0 || (x & 1) != 0)
            break;
        p += used;
        ts += step_ms;
        mantissa += unzigzag(x >> 1);
        times[n] = ts;
        bits[n] = (uint64_t)mantissa;
        n += ts >= from_ms;
        left--;
    }
    if (left != t->left)
        t->raw = false;
    t->p = p;
    t->ts = ts;
    t->mantissa = mantissa;
    t->n = n;
    t->left = left;
}

/* The sample before, or a new one, so many times; one is written at n, to stay if it lies in the
 * range. */
static void take_run(struct taker *t, uint32_t run)
{
    if (run > t->left)
        run = t->left;
    t->left -= run;
    for (; run > 0; run--) {
        t->ts += t->step_ms;
        if (t->ts > t->to_ms) {
            t->left = 0;
            break;
        }
        t->times[t->n] = t->ts;
        t->bits[t->n] = t->raw ? t->last : (uint64_t)t->mantissa;
        t->n += t->ts >= t->from_ms;
    }
    if (t->raw)
        t->pending = t->n;
}

static void take_raw(struct taker *t)
{
    settle(t);
    t->last = get(t);
    if (t->p < t->end)
        t->last |= (uint64_t)*t->p++ << 63;
    t->raw = true;
    take_run(t, 1);
}

static void take_exponent(struct taker *t, uint64_t to)
{
    settle(t);
    while (t->exponent < (int8_t)to && t->exponent < DECIMAL_EXPONENT_MAX) {
        t->exponent++;
        t->mantissa *= 10;
    }
}

static void take_token(struct taker *t)
{
    uint64_t x = get(t);

    if ((x & 1) == 0) {
        t->mantissa += unzigzag(x >> 1);
        t->raw = false;
        take_run(t, 1);
        return;
    }
    switch (x >> 1 & 3) {
    case 0:
        take_run(t, (uint32_t)(x >> 3));
        break;
    case 1:
        t->step_ms = (int32_t)(x >> 3);
        break;
    case 2:
        take_exponent(t, x >> 3);
        break;
    default:
        take_raw(t);
    }
}

void stream_take(const struct stream *s, int64_t from_ms, int64_t to_ms, struct samples *out)
{
    struct taker t = {.p = s->bytes,
                      .end = s->bytes + s->len,
                      .from_ms = from_ms,
                      .to_ms = to_ms,
                      .ts = s->first_ms,
                      .left = s->count};

    samples_need(out, (size_t)s->count + 1);
    t.times = out->ts + out->n;
    t.bits = out->bits + out->n;
    if (s->bytes == NULL)
        t.p = t.end = (const uint8_t *)"";
    while (t.left > 0 && t.ts <= to_ms) {
        take_values(&t);
        if (t.left == 0)
            break;
        if (t.p < t.end)
            take_token(&t);
        else
            take_run(&t, t.left); /* what the stream ends with */
    }
    settle(&t);
    out->n += t.n;
}
