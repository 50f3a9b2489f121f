#include "metrics/api/xor_chunk.h"

#include "base/codec.h"
#include "metrics/head/decimal.h"

struct bits {
    struct buf *out;
    unsigned free; /* bits of the last byte that are not used */
};

static void put_bits(struct bits *b, uint64_t v, unsigned n)
{
    while (n > 0) {
        unsigned part;
        uint64_t piece;

        if (b->free == 0) {
            buf_add_char(b->out, 0);
            b->free = 8;
        }
        part = n < b->free ? n : b->free;
        piece = v >> (n - part) & ((1u << part) - 1);
        b->out->data[b->out->len - 1] |= (char)(piece << (b->free - part));
        b->free -= part;
        n -= part;
    }
}

static void put_varint(struct bits *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put_bits(b, (v & 0x7f) | 0x80, 8);
    put_bits(b, v, 8);
}

static bool fits(int64_t v, unsigned n)
{
    return v >= -((INT64_C(1) << (n - 1)) - 1) && v <= INT64_C(1) << (n - 1);
}

static void put_step(struct bits *b, int64_t v)
{
    if (v == 0) {
        put_bits(b, 0, 1);
    } else if (fits(v, 14)) {
        put_bits(b, 2, 2);
        put_bits(b, (uint64_t)v, 14);
    } else if (fits(v, 17)) {
        put_bits(b, 6, 3);
        put_bits(b, (uint64_t)v, 17);
    } else if (fits(v, 20)) {
        put_bits(b, 14, 4);
        put_bits(b, (uint64_t)v, 20);
    } else {
        put_bits(b, 15, 4);
        put_bits(b, (uint64_t)v, 64);
    }
}

struct window {
    unsigned leading, trailing;
    bool set;
};

static void put_value(struct bits *b, uint64_t difference, struct window *w)
{
    unsigned leading;
    unsigned trailing;

    if (difference == 0) {
        put_bits(b, 0, 1);
        return;
    }
    leading = (unsigned)__builtin_clzll(difference);
    trailing = (unsigned)__builtin_ctzll(difference);
    if (leading > 31) /* it has 5 bits */
        leading = 31;
    put_bits(b, 1, 1);
    if (w->set && leading >= w->leading && trailing >= w->trailing) {
        put_bits(b, 0, 1);
        put_bits(b, difference >> w->trailing, 64 - w->leading - w->trailing);
        return;
    }
    *w = (struct window){leading, trailing, true};
    put_bits(b, 1, 1);
    put_bits(b, leading, 5);
    put_bits(b, (64 - leading - trailing) & 63, 6); /* 64 is written as 0 */
    put_bits(b, difference >> trailing, 64 - leading - trailing);
}

void xor_chunk_encode(struct buf *out, const int64_t *ts_ms, const uint64_t *bits, size_t n)
{
    struct bits b = {.out = out};
    struct window w = {0};
    int64_t step = 0;

    put_bits(&b, n, 16);
    for (size_t i = 0; i < n; i++) {
        int64_t before = step;

        if (i == 0) {
            put_varint(&b, zigzag(ts_ms[0]));
            put_bits(&b, bits[0], 64);
            continue;
        }
        step = ts_ms[i] - ts_ms[i - 1];
        if (i == 1)
            put_varint(&b, (uint64_t)step);
        else
            put_step(&b, step - before);
        put_value(&b, bits[i] ^ bits[i - 1], &w);
    }
}
