/* Writing a group. */
#include "base/alloc.h"
#include "base/codec.h"
#include "metrics/head/chunk.h"
#include "metrics/head/decimal.h"
#include "metrics/head/group.h"

#include <stdlib.h>
#include <zstd.h>

#define GROUP_SERIES  256
#define GROUP_SAMPLES 16384
#define GROUP_BYTES   (26u << 10)
#define ZSTD_LEVEL    3

struct group_writer {
    struct buf head;
    struct buf planes[GROUP_PLANES];
    uint64_t last_id;
    size_t n_series, n_samples, bytes;
    int64_t *steps; /* of the series before */
    size_t n_steps, cap_steps;
    int64_t first_ms;
    ZSTD_CCtx *zstd;
    int64_t values[CHUNK_SAMPLES_MAX + 1];
    uint32_t odd[CHUNK_SAMPLES_MAX + 1];
};

struct group_writer *group_writer_new(void)
{
    struct group_writer *w = xcalloc(1, sizeof *w);

    w->zstd = ZSTD_createCCtx();
    if (w->zstd == NULL)
        abort();
    return w;
}

void group_writer_free(struct group_writer *w)
{
    if (w == NULL)
        return;
    ZSTD_freeCCtx(w->zstd);
    buf_done(&w->head);
    for (int k = 0; k < GROUP_PLANES; k++)
        buf_done(&w->planes[k]);
    free(w->steps);
    free(w);
}

/* The finest exponent that a value needs, if nearly all values are decimals that have room for it.
 */
static int common_exponent(const struct samples *s)
{
    size_t odd = 0;
    int finest = 0;
    int64_t m;

    for (size_t i = 0; i < s->n; i++) {
        int e;

        if (decimal_at(to_double(s->bits[i]), finest, &m))
            continue;
        e = decimal_exponent(to_double(s->bits[i]), &m);
        if (e > finest)
            finest = e;
        else
            odd++;
        if (odd > s->n / 8 + 1)
            return GROUP_RAW;
    }
    return finest;
}

/* Values as integers, into w->values; what does not fit goes to w->odd and repeats the one before.
 */
static int to_integers(struct group_writer *w, const struct samples *s, size_t *ret_odd)
{
    int exponent = common_exponent(s);
    size_t n = 0;

    if (exponent != GROUP_RAW) {
        int64_t before = 0;

        for (size_t i = 0; i < s->n; i++) {
            if (decimal_at(to_double(s->bits[i]), exponent, &w->values[i]) &&
                s->bits[i] != to_bits(-0.0))
                before = w->values[i];
            else
                w->odd[n++] = (uint32_t)i;
            w->values[i] = before;
        }
        if (n <= s->n / 8 + 1) {
            *ret_odd = n;
            return exponent;
        }
    }
    for (size_t i = 0; i < s->n; i++)
        w->values[i] = (int64_t)s->bits[i];
    *ret_odd = 0;
    return GROUP_RAW;
}

struct shape {
    unsigned order;   /* how often differences are taken */
    int64_t base;     /* the least residual */
    uint64_t divisor; /* of all residuals above base */
    unsigned width;   /* bytes of a residual */
};

static unsigned bytes_of(uint64_t v)
{
    return v == 0 ? 0 : (unsigned)(71 - __builtin_clzll(v)) / 8;
}

/* The i-th difference of the given order, in wrapping arithmetic. */
static int64_t difference(const int64_t *v, size_t i, unsigned order)
{
    uint64_t d = (uint64_t)v[i];

    if (order >= 1)
        d -= (uint64_t)v[i - 1];
    if (order >= 2)
        d -= (uint64_t)v[i - 1] - (uint64_t)v[i - 2];
    return (int64_t)d;
}

static uint64_t spread_of(const int64_t *v, size_t n, unsigned order, int64_t *ret_base)
{
    int64_t low = INT64_MAX;
    int64_t high = INT64_MIN;

    for (size_t i = order; i < n; i++) {
        int64_t d = difference(v, i, order);

        low = d < low ? d : low;
        high = d > high ? d : high;
    }
    *ret_base = low;
    return (uint64_t)high - (uint64_t)low;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

static struct shape choose_shape(const int64_t *v, size_t n)
{
    struct shape best = {.order = 0, .base = n > 0 ? v[0] : 0, .divisor = 1};
    uint64_t spread = UINT64_MAX;

    for (unsigned order = 0; order < 3 && order < n; order++) {
        int64_t base;
        uint64_t s = spread_of(v, n, order, &base);

        if (s < spread || order == 0) {
            spread = s;
            best.order = order;
            best.base = base;
        }
    }
    if (spread > 1) {
        uint64_t common = 0;

        for (size_t i = best.order; i < n && common != 1; i++)
            common = gcd(common, (uint64_t)difference(v, i, best.order) - (uint64_t)best.base);
        best.divisor = common > 1 ? common : 1;
    }
    best.width = n > best.order ? bytes_of(spread / best.divisor) : 0;
    return best;
}

static void put_times(struct group_writer *w, const struct samples *s)
{
    bool same = s->n == w->n_steps + 1 && w->n_series > 0;
    bool regular = true;

    for (size_t i = 1; i < s->n; i++) {
        int64_t step = s->ts[i] - s->ts[i - 1];

        same = same && w->steps[i - 1] == step;
        regular = regular && step == s->ts[1] - s->ts[0];
    }
    varint_put(&w->head, same      ? GROUP_TIMES_LIKE_BEFORE
                         : regular ? GROUP_TIMES_REGULAR
                                   : GROUP_TIMES_ANY);
    varint_put(&w->head, zigzag(s->ts[0] - w->first_ms));
    w->first_ms = s->ts[0];
    if (same)
        return;
    if (regular)
        varint_put(&w->head, s->n > 1 ? (uint64_t)(s->ts[1] - s->ts[0]) : 0);
    if (w->cap_steps < s->n) {
        w->cap_steps = s->n;
        w->steps = xrealloc(w->steps, s->n * sizeof *w->steps);
    }
    w->n_steps = s->n - 1;
    for (size_t i = 1; i < s->n; i++) {
        w->steps[i - 1] = s->ts[i] - s->ts[i - 1];
        if (!regular)
            varint_put(&w->head, zigzag(w->steps[i - 1] - (i > 1 ? w->steps[i - 2] : 0)));
    }
}

static void put_odd(struct group_writer *w, const struct samples *s, size_t n)
{
    uint8_t raw[8];
    uint32_t before = 0;

    varint_put(&w->head, n);
    for (size_t i = 0; i < n; i++) {
        varint_put(&w->head, w->odd[i] - before);
        before = w->odd[i];
        be64_put(raw, s->bits[before]);
        buf_add(&w->head, raw, sizeof raw);
    }
}

/* exponent + 32 * order + 128 * (divisor or odd values follow), width, the first values, base. */
static void put_values(struct group_writer *w, const struct samples *s)
{
    size_t odd = 0;
    int exponent = to_integers(w, s, &odd);
    struct shape shape = choose_shape(w->values, s->n);
    bool more = odd > 0 || shape.divisor > 1;

    varint_put(&w->head, (uint64_t)exponent | (uint64_t)shape.order << 5 | (uint64_t)more << 7);
    varint_put(&w->head, shape.width);
    if (more) {
        varint_put(&w->head, shape.divisor);
        put_odd(w, s, odd);
    }
    for (unsigned i = 0; i < shape.order; i++)
        varint_put(&w->head, zigzag(w->values[i]));
    varint_put(&w->head, zigzag(shape.base));
    for (unsigned k = 0; k < shape.width; k++)
        buf_reserve(&w->planes[k], s->n);
    for (size_t i = shape.order; shape.width > 0 && i < s->n; i++) {
        uint64_t r = ((uint64_t)difference(w->values, i, shape.order) - (uint64_t)shape.base) /
                     shape.divisor;

        for (unsigned k = 0; k < shape.width; k++)
            w->planes[k].data[w->planes[k].len++] = (char)(r >> 8 * k);
    }
    w->bytes += s->n * shape.width + 24 + odd * 10;
}

void group_writer_add(struct group_writer *w, uint64_t id, const struct samples *s)
{
    if (s->n == 0 || s->n > CHUNK_SAMPLES_MAX)
        return;
    varint_put(&w->head, id - w->last_id);
    varint_put(&w->head, s->n);
    put_times(w, s);
    put_values(w, s);
    w->last_id = id;
    w->n_series++;
    w->n_samples += s->n;
}

bool group_writer_full(const struct group_writer *w)
{
    return w->n_series >= GROUP_SERIES || w->n_samples >= GROUP_SAMPLES ||
           w->bytes + w->head.len >= GROUP_BYTES;
}

size_t group_writer_count(const struct group_writer *w)
{
    return w->n_series;
}

uint64_t group_writer_last_id(const struct group_writer *w)
{
    return w->last_id;
}

static void put_section(struct group_writer *w, struct buf *section, struct buf *out)
{
    size_t bound = ZSTD_compressBound(section->len);
    char *packed = xmalloc(bound);
    size_t n = ZSTD_compressCCtx(w->zstd, packed, bound, section->data != NULL ? section->data : "",
                                 section->len, ZSTD_LEVEL);

    varint_put(out, section->len);
    if (ZSTD_isError(n) || n >= section->len) {
        varint_put(out, 0);
        buf_add(out, section->data, section->len);
    } else {
        varint_put(out, n);
        buf_add(out, packed, n);
    }
    free(packed);
    buf_clear(section);
}

void group_writer_finish(struct group_writer *w, struct buf *out)
{
    unsigned planes = 0;

    for (unsigned k = 0; k < GROUP_PLANES; k++)
        if (w->planes[k].len > 0)
            planes = k + 1;
    varint_put(out, GROUP_VERSION);
    varint_put(out, planes);
    varint_put(out, w->n_series);
    put_section(w, &w->head, out);
    for (unsigned k = 0; k < planes; k++)
        put_section(w, &w->planes[k], out);
    w->last_id = 0;
    w->n_series = w->n_samples = w->bytes = w->n_steps = 0;
    w->first_ms = 0;
}
