/* A layer as it was pushed: unpacked, read as a tar archive, indexed; then all of the index. */
#include "layer_walk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int add(void *ctx, const void *bytes, size_t n)
{
    buf_add(ctx, bytes, n);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct layer_limits limits = {
        .entries = 500,
        .texts_bytes = 1 << 20,
        .ratio = 16,
        .free_bytes = 1 << 20,
        .block_bytes = 1 << 20,
    };
    static const bool stop = false;
    struct bytes bytes = {data, size}, made;
    struct unpack_source source = {bytes_read, &bytes, size};
    autobuf why = {0}, out = {0};
    struct layer_index_sink sink = {.write = add, .ctx = &out};
    struct layer_index x = {.read = bytes_read_all, .ctx = &made};

    if (layer_index_build(&source, &limits, &stop, &sink, &why) < 0)
        return 0;
    made = (struct bytes){(const uint8_t *)out.data, out.len};
    x.size_bytes = out.len;
    if (layer_index_open(&x) < 0) /* what we write, we read */
        abort();
    layer_walk_index(&x);
    return 0;
}
