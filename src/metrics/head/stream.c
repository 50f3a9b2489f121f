/* Tokens are varints x. x even: a value, the zigzag delta of the mantissa is x / 2. x odd: bits 1-2
 * are what follows, x / 8 its argument. */
#include "base/alloc.h"
#include "metrics/head/chunk.h"
#include "metrics/head/decimal.h"

#include <math.h>
#include <stdlib.h>

enum { TOKEN_RUN = 0, TOKEN_STEP = 1, TOKEN_EXPONENT = 2, TOKEN_RAW = 3 };

static void put(struct stream *s, uint64_t x)
{
    uint8_t *p;

    if (s->cap - s->len < 10) {
        s->cap = s->cap == 0 ? 24 : s->cap + s->cap / 2 + 8;
        s->bytes = xrealloc(s->bytes, s->cap);
    }
    p = s->bytes + s->len;
    while (x >= 0x80) {
        *p++ = (uint8_t)(x | 0x80);
        x >>= 7;
    }
    *p++ = (uint8_t)x;
    s->len = (uint32_t)(p - s->bytes);
}

static void put_token(struct stream *s, unsigned kind, uint64_t argument)
{
    put(s, argument << 3 | kind << 1 | 1);
}

/* May the stream go to a finer exponent? One odd value must not make all later deltas longer. */
static bool refine(struct stream *s, int exponent)
{
    int by = exponent - s->exponent;

    if (by > 3 && s->count > 4 && !s->last_raw)
        return false;
    if (fabs((double)s->mantissa * decimal_powers[by]) >= DECIMAL_MANTISSA_MAX)
        return false;
    for (; by > 0; by--)
        s->mantissa *= 10;
    s->exponent = (int8_t)exponent;
    put_token(s, TOKEN_EXPONENT, (uint64_t)exponent);
    return true;
}

static void put_value(struct stream *s, uint64_t bits)
{
    double v = to_double(bits);
    int64_t m = 0;
    bool fits = decimal_at(v, s->exponent, &m);

    if (!fits) {
        int exponent = decimal_exponent(v, &m);

        fits = exponent > s->exponent && refine(s, exponent);
    }
    if (fits) {
        put(s, zigzag(m - s->mantissa) << 1);
        s->mantissa = m;
    } else {
        put_token(s, TOKEN_RAW, 0);
        put(s, bits & 0x7fffffffffffffffull); /* reserves room for the next byte too */
        s->bytes[s->len++] = (uint8_t)(bits >> 63);
    }
    s->last_raw = !fits;
}

void stream_append(struct stream *s, int64_t ts_ms, uint64_t bits)
{
    int64_t step = ts_ms - s->last_ms;

    if (s->count > 0 && step == s->step_ms && bits == s->last_bits) {
        s->run++;
        s->count++;
        s->last_ms = ts_ms;
        return;
    }
    if (s->run > 0) {
        put_token(s, TOKEN_RUN, s->run);
        s->run = 0;
    }
    if (s->count == 0) {
        s->first_ms = ts_ms;
    } else if (step != s->step_ms) {
        put_token(s, TOKEN_STEP, (uint64_t)step);
        s->step_ms = (int32_t)step;
    }
    if (s->count > 0 && bits == s->last_bits)
        s->run = 1;
    else
        put_value(s, bits);
    s->count++;
    s->last_ms = ts_ms;
    s->last_bits = bits;
}

void stream_clear(struct stream *s)
{
    free(s->bytes);
    *s = (struct stream){0};
}

void stream_read(const struct stream *s, struct stream_reader *ret)
{
    *ret = (struct stream_reader){
        .p = s->bytes,
        .end = s->bytes + s->len,
        .left = s->count,
        .ts_ms = s->first_ms,
        .tail_run = s->run,
    };
    if (s->bytes == NULL)
        ret->p = ret->end = (const uint8_t *)"";
}

static uint64_t get(struct stream_reader *r)
{
    uint64_t x = 0;

    for (unsigned shift = 0; r->p < r->end && shift < 64; shift += 7) {
        uint8_t b = *r->p++;

        x |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            break;
    }
    return x;
}

bool stream_next(struct stream_reader *r, int64_t *ret_ts_ms, uint64_t *ret_bits)
{
    if (r->left == 0)
        return false;
    r->left--;
    while (r->run == 0 && r->p < r->end) {
        uint64_t x = get(r);

        if ((x & 1) == 0) {
            r->mantissa += unzigzag(x >> 1);
            r->bits = to_bits(decimal_value(r->mantissa, r->exponent));
            goto sample;
        }
        switch (x >> 1 & 3) {
        case TOKEN_RUN:
            r->run = (uint32_t)(x >> 3);
            break;
        case TOKEN_STEP:
            r->step_ms = (int32_t)(x >> 3);
            break;
        case TOKEN_EXPONENT:
            while (r->exponent < (int8_t)(x >> 3) && r->exponent < DECIMAL_EXPONENT_MAX) {
                r->exponent++;
                r->mantissa *= 10;
            }
            break;
        default:
            r->bits = get(r);
            if (r->p < r->end)
                r->bits |= (uint64_t)*r->p++ << 63;
            goto sample;
        }
    }
    if (r->run > 0)
        r->run--;
sample:
    r->ts_ms += r->step_ms;
    *ret_ts_ms = r->ts_ms;
    *ret_bits = r->bits;
    return true;
}

void samples_need(struct samples *s, size_t n)
{
    if (s->cap - s->n >= n)
        return;
    s->cap = 2 * s->cap > s->n + n ? 2 * s->cap : s->n + n;
    if (s->cap < 64)
        s->cap = 64;
    s->ts = xrealloc(s->ts, s->cap * sizeof *s->ts);
    s->bits = xrealloc(s->bits, s->cap * sizeof *s->bits);
}

void samples_add(struct samples *s, int64_t ts, uint64_t bits)
{
    samples_need(s, 1);
    s->ts[s->n] = ts;
    s->bits[s->n++] = bits;
}

void samples_append(struct samples *s, const struct samples *more)
{
    samples_need(s, more->n);
    if (more->n == 0)
        return;
    memcpy(s->ts + s->n, more->ts, more->n * sizeof *s->ts);
    memcpy(s->bits + s->n, more->bits, more->n * sizeof *s->bits);
    s->n += more->n;
}

void samples_done(struct samples *s)
{
    free(s->ts);
    free(s->bits);
    *s = (struct samples){0};
}

struct placed {
    int64_t ts;
    uint64_t bits;
    size_t place;
};

static int placed_cmp(const void *a, const void *b)
{
    const struct placed *x = a;
    const struct placed *y = b;

    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

void samples_order(struct samples *s)
{
    struct placed *all;
    size_t n = 0;
    size_t i = 1;

    while (i < s->n && s->ts[i - 1] < s->ts[i])
        i++;
    if (i >= s->n)
        return;
    all = xmalloc(s->n * sizeof *all);
    for (i = 0; i < s->n; i++)
        all[i] = (struct placed){s->ts[i], s->bits[i], i};
    qsort(all, s->n, sizeof *all, placed_cmp);
    for (i = 0; i < s->n; i++) {
        if (n > 0 && s->ts[n - 1] == all[i].ts)
            n--;
        s->ts[n] = all[i].ts;
        s->bits[n++] = all[i].bits;
    }
    s->n = n;
    free(all);
}
