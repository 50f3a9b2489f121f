#include "images/rootfs/zstd_seek.h"

#include <string.h>

#define SPAN_MIN (1u << 20)

static bool has_points(const struct zstd_seek *k)
{
    return k->at == ZSTD_AT_BLOCK && k->state.window_bytes <= ZSTD_SEEK_WINDOW_MAX;
}

static uint64_t span_of(const struct zstd_seek *k)
{
    uint64_t span = k->state.window_bytes * ZSTD_SEEK_SPANS;

    return span > SPAN_MIN ? span : SPAN_MIN;
}

size_t zstd_seek_wants(const struct zstd_seek *k, const uint8_t *p, size_t n)
{
    bool last;

    if (k->at == ZSTD_AT_FRAME)
        return ZSTD_STATE_HEADER_MAX;
    if (k->at != ZSTD_AT_BLOCK)
        return 1;
    return n < 3 ? 3 : zstd_state_block_size(p, &last);
}

static void begin_frame(struct zstd_seek *k, const uint8_t *p, size_t n, uint64_t out)
{
    uint64_t skip;
    int r = zstd_state_begin(&k->state, p, n, &skip);

    k->unit_left = skip > 0 ? skip : r > 0 ? (uint64_t)r : 0;
    if (r <= 0)
        k->at = ZSTD_LOST;
    else if (skip == 0)
        k->at = ZSTD_AT_BLOCK;
    k->from = out;
    buf_clear(&k->tail);
}

static void begin_block(struct zstd_seek *k, const uint8_t *p, size_t n, uint64_t out)
{
    bool last = false;
    size_t size = n >= 3 ? zstd_state_block_size(p, &last) : 0;

    zstd_state_follow(&k->state, has_points(k) && out - k->from >= span_of(k));
    if (n < 3 || size > n || zstd_state_block(&k->state, p, size) < 0) {
        k->at = ZSTD_LOST;
        return;
    }
    k->unit_left = size;
    if (last)
        k->at = k->state.has_checksum ? ZSTD_AT_CHECKSUM : ZSTD_AT_FRAME;
}

void zstd_seek_unit(struct zstd_seek *k, const uint8_t *p, size_t n, uint64_t out)
{
    switch (k->at) {
    case ZSTD_AT_FRAME:
        begin_frame(k, p, n, out);
        break;
    case ZSTD_AT_BLOCK:
        begin_block(k, p, n, out);
        break;
    case ZSTD_AT_CHECKSUM:
        k->unit_left = 4;
        k->at = ZSTD_AT_FRAME;
        break;
    default:
        break;
    }
    if (k->at == ZSTD_LOST)
        k->unit_left = UINT64_MAX;
}

void zstd_seek_output(struct zstd_seek *k, const void *bytes, size_t n, uint64_t out)
{
    uint64_t window = k->state.window_bytes;

    if (!has_points(k) || out + window < k->from + span_of(k))
        return;
    buf_add(&k->tail, bytes, n);
    if (k->tail.len > 2 * window + n) {
        memmove(k->tail.data, k->tail.data + (k->tail.len - window), window);
        k->tail.len = window;
    }
}

static uint64_t window_of(const struct zstd_seek *k)
{
    return k->tail.len < k->state.window_bytes ? k->tail.len : k->state.window_bytes;
}

bool zstd_seek_at_point(const struct zstd_seek *k, uint64_t out)
{
    return has_points(k) && out - k->from > span_of(k) &&
           zstd_state_is_known(&k->state, window_of(k));
}

void zstd_seek_window(const struct zstd_seek *k, struct buf *out)
{
    size_t n = (size_t)window_of(k);
    uint8_t head[ZSTD_SEEK_HEAD];

    zstd_state_head(k->state.window_bytes, head);
    head[ZSTD_STATE_HEAD_BYTES] = k->state.has_checksum;
    buf_add(out, head, sizeof head);
    zstd_state_dictionary(&k->state, slice_of(k->tail.data + (k->tail.len - n), n), out);
}

void zstd_seek_pass(struct zstd_seek *k, uint64_t out)
{
    zstd_state_follow(&k->state, false);
    k->from = out;
    buf_clear(&k->tail);
}

void zstd_seek_done(struct zstd_seek *k)
{
    buf_done(&k->tail);
}
