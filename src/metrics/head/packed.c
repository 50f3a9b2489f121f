#include "metrics/head/packed.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>
#include <zstd.h>

#define LEVEL 3

void packed_put(struct buf *out, struct slice raw)
{
    size_t bound = ZSTD_compressBound(raw.len);
    autofree char *packed = xmalloc(bound);
    size_t n = ZSTD_compress(packed, bound, raw.data, raw.len, LEVEL);
    bool smaller = !ZSTD_isError(n) && n < raw.len;

    varint_put(out, raw.len);
    varint_put(out, smaller);
    buf_add_slice(out, smaller ? slice_of(packed, n) : raw);
}

int packed_get(struct slice value, struct buf *ret_raw)
{
    uint64_t n = 0;
    uint64_t packed = 0;

    if (varint_get(&value, &n) < 0 || varint_get(&value, &packed) < 0 || n > PACKED_MAX)
        return -EIO;
    buf_clear(ret_raw);
    if (packed == 0) {
        buf_add_slice(ret_raw, value);
        return n == value.len ? 0 : -EIO;
    }
    buf_reserve(ret_raw, (size_t)n + 1);
    if (ZSTD_decompress(ret_raw->data, (size_t)n, value.data, value.len) != n)
        return -EIO;
    ret_raw->len = (size_t)n;
    ret_raw->data[n] = 0;
    return 0;
}
