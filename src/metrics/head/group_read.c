/* Reading a group. Its bytes come from a disk: all is checked once, when it is opened. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/hot.h"
#include "metrics/head/chunk.h"
#include "metrics/head/decimal.h"
#include "metrics/head/group.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#define SECTION_MAX (1u << 20)

struct member {
    size_t n;
    int64_t first_ms, step_ms;
    int64_t *steps; /* NULL: regular; shared between members, owned by the first */
    bool owns_steps;
    unsigned exponent, order, width;
    uint64_t divisor;
    int64_t start[2], base;
    struct slice odd; /* n pairs of varint and 8 bytes */
    size_t n_odd;
    size_t offset[GROUP_PLANES];
};

struct group {
    unsigned refs; /* atomic */
    size_t n;
    uint64_t *ids;
    struct member *members;
    struct buf sections[1 + GROUP_PLANES];
    unsigned planes;
};

struct group *group_ref(struct group *g)
{
    __atomic_add_fetch(&g->refs, 1, __ATOMIC_RELAXED);
    return g;
}

void group_free(struct group *g)
{
    if (g == NULL || __atomic_sub_fetch(&g->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < g->n; i++)
        if (g->members[i].owns_steps)
            free(g->members[i].steps);
    for (int k = 0; k <= GROUP_PLANES; k++)
        buf_done(&g->sections[k]);
    free(g->ids);
    free(g->members);
    free(g);
}

size_t group_bytes(const struct group *g)
{
    size_t bytes = sizeof *g + (g->n + 1) * (sizeof *g->ids + sizeof *g->members);

    for (size_t i = 0; i < g->n; i++)
        if (g->members[i].owns_steps)
            bytes += g->members[i].n * sizeof *g->members[i].steps;
    for (int k = 0; k <= GROUP_PLANES; k++)
        bytes += g->sections[k].cap;
    return bytes;
}

const uint64_t *group_ids(const struct group *g, size_t *ret_n)
{
    *ret_n = g->n;
    return g->ids;
}

static int get_section(struct slice *in, struct buf *ret)
{
    uint64_t raw = 0;
    uint64_t stored = 0;
    size_t n;

    if (varint_get(in, &raw) < 0 || varint_get(in, &stored) < 0 || raw > SECTION_MAX ||
        (stored > 0 ? stored : raw) > in->len)
        return -EIO;
    n = (size_t)(stored > 0 ? stored : raw);
    buf_reserve(ret, (size_t)raw + 1);
    if (stored == 0) {
        buf_add(ret, in->data, n);
    } else {
        size_t r = ZSTD_decompress(ret->data, (size_t)raw, in->data, n);

        if (ZSTD_isError(r) || r != raw)
            return -EIO;
        ret->len = (size_t)raw;
        ret->data[raw] = 0;
    }
    *in = slice_skip(*in, n);
    return 0;
}

/* A damaged group may hold any number. */
static int64_t wrap_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static int get_signed(struct slice *in, int64_t *ret)
{
    uint64_t v = 0;
    int r = varint_get(in, &v);

    *ret = unzigzag(v);
    return r;
}

static int get_times(struct slice *in, struct member *m, const struct member *before,
                     int64_t *first_ms)
{
    uint64_t kind = 0;
    uint64_t step = 0;
    int64_t delta = 0;

    if (varint_get(in, &kind) < 0 || get_signed(in, &delta) < 0)
        return -EIO;
    m->first_ms = *first_ms = wrap_add(*first_ms, delta);
    if (kind == GROUP_TIMES_LIKE_BEFORE) {
        if (before == NULL || before->n != m->n)
            return -EIO;
        m->steps = before->steps;
        m->step_ms = before->step_ms;
        return 0;
    }
    if (kind == GROUP_TIMES_REGULAR) {
        if (varint_get(in, &step) < 0)
            return -EIO;
        m->step_ms = (int64_t)step;
        return 0;
    }
    m->steps = xmalloc(m->n * sizeof *m->steps);
    m->owns_steps = true;
    for (size_t i = 0; i + 1 < m->n; i++) {
        if (get_signed(in, &m->steps[i]) < 0)
            return -EIO;
        if (i > 0)
            m->steps[i] = wrap_add(m->steps[i], m->steps[i - 1]);
    }
    return 0;
}

static int get_odd(struct slice *in, struct member *m)
{
    uint64_t n = 0;
    uint64_t skip = 0;
    const char *start;

    if (varint_get(in, &m->divisor) < 0 || varint_get(in, &n) < 0 || n > m->n)
        return -EIO;
    m->n_odd = (size_t)n;
    start = in->data;
    for (uint64_t i = 0; i < n; i++) {
        if (varint_get(in, &skip) < 0 || in->len < 8)
            return -EIO;
        *in = slice_skip(*in, 8);
    }
    m->odd = slice_of(start, (size_t)((const char *)in->data - start));
    return 0;
}

static int get_values(struct slice *in, struct member *m, const struct group *g, size_t *offsets)
{
    uint64_t mode = 0;
    uint64_t width = 0;

    if (varint_get(in, &mode) < 0 || varint_get(in, &width) < 0 || mode > 255 || width > g->planes)
        return -EIO;
    m->exponent = mode & 31;
    m->order = mode >> 5 & 3;
    m->width = (unsigned)width;
    m->divisor = 1;
    if (m->order > 2 || m->order > m->n ||
        (m->exponent > DECIMAL_EXPONENT_MAX && m->exponent != GROUP_RAW))
        return -EIO;
    if ((mode & 128) != 0 && get_odd(in, m) < 0)
        return -EIO;
    for (unsigned i = 0; i < m->order; i++)
        if (get_signed(in, &m->start[i]) < 0)
            return -EIO;
    if (get_signed(in, &m->base) < 0)
        return -EIO;
    for (unsigned k = 0; k < m->width; k++) {
        m->offset[k] = offsets[k];
        offsets[k] += m->n - m->order;
        if (offsets[k] > g->sections[1 + k].len)
            return -EIO;
    }
    return 0;
}

static int get_members(struct group *g, uint64_t n)
{
    struct slice in = buf_slice(&g->sections[0]);
    size_t offsets[GROUP_PLANES] = {0};
    uint64_t id = 0;
    int64_t first_ms = 0;

    if (n > in.len)
        return -EIO;
    g->ids = xcalloc((size_t)n + 1, sizeof *g->ids);
    g->members = xcalloc((size_t)n + 1, sizeof *g->members);
    while (g->n < n) {
        struct member *m = &g->members[g->n];
        uint64_t delta = 0;
        uint64_t samples = 0;

        if (varint_get(&in, &delta) < 0 || varint_get(&in, &samples) < 0 || samples == 0 ||
            samples > CHUNK_SAMPLES_MAX)
            return -EIO;
        m->n = (size_t)samples;
        g->ids[g->n++] = id += delta;
        if (get_times(&in, m, g->n > 1 ? m - 1 : NULL, &first_ms) < 0 ||
            get_values(&in, m, g, offsets) < 0)
            return -EIO;
    }
    return 0;
}

int group_open(struct slice bytes, struct group **ret)
{
    struct group *g = xcalloc(1, sizeof *g);
    uint64_t version = 0;
    uint64_t planes = 0;
    uint64_t n = 0;
    int r = -EIO;

    g->refs = 1;
    if (varint_get(&bytes, &version) == 0 && version == GROUP_VERSION &&
        varint_get(&bytes, &planes) == 0 && planes <= GROUP_PLANES && varint_get(&bytes, &n) == 0) {
        g->planes = (unsigned)planes;
        r = 0;
        for (unsigned k = 0; k <= g->planes && r == 0; k++)
            r = get_section(&bytes, &g->sections[k]);
        if (r == 0)
            r = get_members(g, n);
    }
    if (r < 0) {
        group_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

static size_t find_member(const struct group *g, uint64_t id)
{
    size_t low = 0;
    size_t high = g->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (g->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct odd_cursor {
    struct slice in;
    size_t left, at;
    uint64_t bits;
};

static void odd_next(struct odd_cursor *c)
{
    uint64_t skip = 0;

    if (c->left == 0) {
        c->at = SIZE_MAX;
        return;
    }
    c->left--;
    if (varint_get(&c->in, &skip) == 0 && c->in.len >= 8) {
        c->at += (size_t)skip;
        c->bits = be64_get(c->in.data);
        c->in = slice_skip(c->in, 8);
    }
}

HOT static void regular_times(int64_t first_ms, int64_t step_ms, size_t n, int64_t *ts)
{
    for (size_t i = 0; i < n; i++)
        ts[i] = (int64_t)((uint64_t)first_ms + i * (uint64_t)step_ms);
}

/* The times up to to_ms; how many. */
static size_t read_times(const struct member *m, int64_t to_ms, int64_t *ts)
{
    int64_t t = m->first_ms;
    size_t i = 0;

    if (m->steps == NULL && m->step_ms > 0 && m->step_ms < INT32_MAX && t > 0 &&
        t < INT64_MAX / 4) {
        size_t n = m->n;

        if (t > to_ms)
            return 0;
        if ((uint64_t)(to_ms - t) / (uint64_t)m->step_ms < n)
            n = (size_t)((to_ms - t) / m->step_ms) + 1;
        n = n < m->n ? n : m->n;
        regular_times(t, m->step_ms, n, ts);
        return n;
    }
    while (i < m->n && t <= to_ms) {
        ts[i] = t;
        t = wrap_add(t, m->steps == NULL ? m->step_ms : i + 1 < m->n ? m->steps[i] : 0);
        i++;
    }
    return i;
}

HOT static void widen(const uint8_t *restrict plane, size_t n, uint64_t *restrict r)
{
    for (size_t i = 0; i < n; i++)
        r[i] = plane[i];
}

HOT static void widen_two(const uint8_t *restrict low, const uint8_t *restrict high, size_t n,
                          uint64_t *restrict r)
{
    for (size_t i = 0; i < n; i++)
        r[i] = low[i] | (uint64_t)high[i] << 8;
}

HOT static void widen_more(const uint8_t *restrict plane, size_t n, unsigned shift,
                           uint64_t *restrict r)
{
    for (size_t i = 0; i < n; i++)
        r[i] |= (uint64_t)plane[i] << shift;
}

static const uint8_t *plane_of(const struct group *g, const struct member *m, unsigned k)
{
    return (const uint8_t *)g->sections[1 + k].data + m->offset[k];
}

/* The residuals of the first n samples, in place of those that stand alone too. */
static void read_residuals(const struct group *g, const struct member *m, size_t n, uint64_t *r)
{
    size_t count = n > m->order ? n - m->order : 0;
    unsigned k = 2;

    r += m->order;
    if (m->width == 0)
        memset(r, 0, count * sizeof *r);
    else if (m->width == 1)
        widen(plane_of(g, m, 0), count, r);
    else
        widen_two(plane_of(g, m, 0), plane_of(g, m, 1), count, r);
    for (; k < m->width; k++)
        widen_more(plane_of(g, m, k), count, 8 * k, r);
}

/* Residuals to integers. The loops are apart so that what carries over from sample to sample is one
 * addition. */
static void sum_residuals(const struct member *m, size_t n, uint64_t *v)
{
    uint64_t base = (uint64_t)m->base;
    uint64_t now = 0;
    uint64_t slope = 0;

    for (size_t i = 0; i < n && i < m->order; i++) {
        slope = (uint64_t)m->start[i] - now;
        v[i] = now = (uint64_t)m->start[i];
    }
    if (m->order == 0)
        for (size_t i = 0; i < n; i++)
            v[i] = v[i] * m->divisor + base;
    else if (m->order == 1)
        for (size_t i = 1; i < n; i++)
            v[i] = now += v[i] * m->divisor + base;
    else
        for (size_t i = 2; i < n; i++)
            v[i] = now += slope += v[i] * m->divisor + base;
}

static void read_member(const struct group *g, const struct member *m, int64_t from_ms,
                        int64_t to_ms, struct samples *out)
{
    struct odd_cursor odd = {.in = m->odd, .left = m->n_odd};
    int64_t *ts;
    uint64_t *bits;
    size_t skip = 0;
    size_t n;

    samples_need(out, m->n);
    ts = out->ts + out->n;
    bits = out->bits + out->n;
    n = read_times(m, to_ms, ts);
    read_residuals(g, m, n, bits);
    sum_residuals(m, n, bits);
    if (m->exponent != GROUP_RAW)
        decimals_to_doubles(bits, n, (int)m->exponent);
    for (odd_next(&odd); odd.at < n; odd_next(&odd))
        bits[odd.at] = odd.bits;
    while (skip < n && ts[skip] < from_ms)
        skip++;
    if (skip > 0) {
        memmove(ts, ts + skip, (n - skip) * sizeof *ts);
        memmove(bits, bits + skip, (n - skip) * sizeof *bits);
    }
    out->n += n - skip;
}

void group_read(const struct group *g, uint64_t id, int64_t from_ms, int64_t to_ms,
                struct samples *out)
{
    for (size_t i = find_member(g, id); i < g->n && g->ids[i] == id; i++)
        read_member(g, &g->members[i], from_ms, to_ms, out);
}
