#include "images/rootfs/build.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <zstd.h>

#define PIECE        (256u << 10)
#define POINTS_MAX   (64u << 20) /* bytes: two million points */
#define WINDOW_LEVEL 1

DEFINE_SCOPE(sapling, struct sapling, sapling_free)
DEFINE_SCOPE(tar, struct tar, tar_free)
DEFINE_SCOPE(unpack, struct unpack, unpack_free)

const struct layer_limits layer_limits = {
    .entries = 1000000,
    .texts_bytes = 128u << 20,
    .ratio = 256,
    .free_bytes = UINT64_C(4) << 30,
    .block_bytes = 64u << 20,
};

struct build {
    const struct layer_limits *limits;
    struct unpack *unpack;
    struct layer_index_sink *sink;
    struct buf points, window, packed;
    uint64_t last_out; /* of the last point */
    enum unpack_kind kind;
};

static int add_point(struct build *b, const struct unpack_point *at)
{
    struct index_point p = {.at = *at, .window = b->sink->offset};
    uint8_t bytes[INDEX_POINT_BYTES];
    size_t len = 0;

    buf_clear(&b->window);
    if (at->out > 0)
        unpack_window(b->unpack, &b->window);
    if (b->window.len > 0) {
        buf_clear(&b->packed);
        buf_reserve(&b->packed, ZSTD_compressBound(b->window.len));
        len = ZSTD_compress(b->packed.data, ZSTD_compressBound(b->window.len), b->window.data,
                            b->window.len, WINDOW_LEVEL);
    }
    if (ZSTD_isError(len))
        return -ENOMEM;
    p.window_len = (uint32_t)len;
    layer_index_point_print(&p, bytes);
    buf_add(&b->points, bytes, sizeof bytes);
    b->last_out = at->out;
    return layer_index_sink_write(b->sink, b->packed.data, len);
}

/* Where the stream can be entered, every now and then. In gzip the first point is behind the first
 * header; zstd and plain bytes are entered at their start. */
static int note_point(struct build *b, struct buf *why)
{
    struct unpack_point at;

    if (!unpack_at_point(b->unpack, &at)) {
        if (b->kind == UNPACK_GZIP &&
            unpack_offset(b->unpack) - b->last_out > b->limits->block_bytes) {
            buf_printf(why, "one block unpacks to more than %llu MiB: it looks like a bomb",
                       (unsigned long long)b->limits->block_bytes >> 20);
            return -EFBIG;
        }
        return 0;
    }
    if (b->points.len > 0 && at.out - b->last_out < LAYER_SPAN_BYTES)
        return 0;
    if (b->points.len >= POINTS_MAX) {
        buf_add_str(why, "it has too many parts");
        return -EFBIG;
    }
    return add_point(b, &at);
}

static int check_size(const struct build *b, uint64_t packed, struct buf *why)
{
    const struct layer_limits *limits = b->limits;
    uint64_t out = unpack_offset(b->unpack);

    if (out <= limits->free_bytes || out / limits->ratio <= packed)
        return 0;
    buf_printf(why, "it unpacks to more than %u times its size: it looks like a bomb",
               limits->ratio);
    return -EFBIG;
}

static int explain(const struct unpack *u, int r, struct buf *why)
{
    if (r == -EBADMSG && unpack_why(u) != NULL)
        buf_add_str(why, unpack_why(u));
    else if (r == -EFBIG)
        buf_add_str(why, "its zstd window is larger than 128 MiB");
    return r;
}

/* Feeds the archive to its reader. Returns 0 at its end, wherever the stream ends. */
static int read_layer(struct build *b, const struct unpack_source *layer, struct tar *tar,
                      const bool *stop, struct buf *why)
{
    autofree uint8_t *piece = xmalloc(PIECE);
    int r = 0;

    while (r == 0) {
        ssize_t n;

        if (__atomic_load_n(stop, __ATOMIC_RELAXED))
            return -ECANCELED;
        n = unpack_next(b->unpack, piece, PIECE);
        if (n < 0 && n != -EAGAIN)
            return explain(b->unpack, (int)n, why);
        if (n == 0)
            return tar_end(tar, why);
        if (n > 0)
            r = tar_feed(tar, piece, (size_t)n, why);
        if (r == 0)
            r = note_point(b, why);
        if (r == 0)
            r = check_size(b, layer->size_bytes, why);
    }
    return r < 0 ? r : 0;
}

int layer_index_build(const struct unpack_source *layer, const struct layer_limits *limits,
                      const bool *stop, struct layer_index_sink *sink, struct buf *why)
{
    scope_cleanup(scope_sapling) struct sapling *sapling = sapling_new(limits);
    scope_cleanup(scope_tar) struct tar *tar = tar_new(sapling_add, sapling);
    scope_cleanup(scope_unpack) struct unpack *unpack = NULL;
    struct build b = {.limits = limits, .sink = sink};
    struct index_foot foot = {0};
    int r = unpack_kind_of(layer, &b.kind);

    if (r < 0)
        return r;
    unpack = b.unpack = unpack_new(layer, b.kind, NULL, (struct slice){0}, true);
    if (b.kind == UNPACK_ZSTD)
        r = add_point(&b, &(struct unpack_point){0});
    if (r == 0)
        r = read_layer(&b, layer, tar, stop, why);
    foot.kind = b.kind;
    foot.stream_bytes = unpack_offset(unpack);
    if (r == 0)
        r = sapling_write(sapling, buf_slice(&b.points), &foot, sink);
    buf_done(&b.points);
    buf_done(&b.window);
    buf_done(&b.packed);
    return r;
}
