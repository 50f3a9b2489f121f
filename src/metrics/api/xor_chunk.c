#include "metrics/api/xor_chunk.h"

#include "base/codec.h"
#include "metrics/api/chunk_bits.h"
#include "metrics/head/decimal.h"

static void put_varint(struct bits *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        bits_put(b, (v & 0x7f) | 0x80, 8);
    bits_put(b, v, 8);
}

static void put_step(struct bits *b, int64_t v)
{
    if (v == 0) {
        bits_put(b, 0, 1);
    } else if (bits_fit(v, 14)) {
        bits_put(b, 2, 2);
        bits_put(b, (uint64_t)v, 14);
    } else if (bits_fit(v, 17)) {
        bits_put(b, 6, 3);
        bits_put(b, (uint64_t)v, 17);
    } else if (bits_fit(v, 20)) {
        bits_put(b, 14, 4);
        bits_put(b, (uint64_t)v, 20);
    } else {
        bits_put(b, 15, 4);
        bits_put(b, (uint64_t)v, 64);
    }
}

void xor_chunk_encode(struct buf *out, const int64_t *ts_ms, const uint64_t *bits, size_t n)
{
    struct bits b = {.out = out};
    struct bits_window w = {0};
    int64_t step = 0;

    bits_put(&b, n, 16);
    for (size_t i = 0; i < n; i++) {
        int64_t before = step;

        if (i == 0) {
            put_varint(&b, zigzag(ts_ms[0]));
            bits_put(&b, bits[0], 64);
            continue;
        }
        step = ts_ms[i] - ts_ms[i - 1];
        if (i == 1)
            put_varint(&b, (uint64_t)step);
        else
            put_step(&b, step - before);
        bits_put_xor(&b, bits[i] ^ bits[i - 1], &w);
    }
}
