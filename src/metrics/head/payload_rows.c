/* Payloads of a run. A row: key series id (8), time of the first (8). Value, packed: for each the
 * time after the one before, the length, the bytes. */
#include "base/codec.h"
#include "base/scope.h"
#include "metrics/head/decimal.h"
#include "metrics/head/packed.h"
#include "metrics/head/payload.h"

#include <errno.h>
#include <stdlib.h>

#define ROW_BYTES (32u << 10) /* raw, from which on a row is full */

static int put_row(struct store_bulk *bulk, uint64_t id, int64_t first_ms, struct buf *raw)
{
    autobuf value = {0};
    uint8_t key[16];

    be64_put(key, id);
    be64_put(key + 8, (uint64_t)first_ms);
    packed_put(&value, buf_slice(raw));
    buf_clear(raw);
    return store_bulk_add(bulk, slice_of(key, sizeof key), buf_slice(&value));
}

int payload_rows_put(struct store_bulk *bulk, uint64_t id, const struct payload_list *list)
{
    autobuf raw = {0};
    int64_t first_ms = 0;
    int64_t before_ms = 0;
    int r = 0;

    for (size_t i = 0; i < list->n && r == 0; i++) {
        const struct payload *p = &list->items[i];

        if (raw.len > 0 && raw.len + p->len > ROW_BYTES)
            r = put_row(bulk, id, first_ms, &raw);
        if (raw.len == 0)
            first_ms = before_ms = p->ts_ms;
        varint_put(&raw, zigzag(p->ts_ms - before_ms));
        varint_put(&raw, p->len);
        buf_add(&raw, list->bytes.data + p->offset, p->len);
        before_ms = p->ts_ms;
    }
    return r == 0 && raw.len > 0 ? put_row(bulk, id, first_ms, &raw) : r;
}

static int read_raw(struct slice in, int64_t ts_ms, int64_t from_ms, int64_t to_ms,
                    struct payload_list *out)
{
    while (in.len > 0) {
        uint64_t step = 0;
        uint64_t n = 0;

        if (varint_get(&in, &step) < 0 || varint_get(&in, &n) < 0 || n > in.len)
            return -EIO;
        ts_ms = (int64_t)((uint64_t)ts_ms + (uint64_t)unzigzag(step));
        if (ts_ms >= from_ms && ts_ms <= to_ms)
            payload_list_put(out, ts_ms, slice_of(in.data, (size_t)n));
        in = slice_skip(in, (size_t)n);
    }
    return 0;
}

int payload_row_decode(struct slice value, int64_t first_ms, int64_t from_ms, int64_t to_ms,
                       struct payload_list *out)
{
    autobuf raw = {0};
    int r = packed_get(value, &raw);

    return r == 0 ? read_raw(buf_slice(&raw), first_ms, from_ms, to_ms, out) : r;
}

int payload_rows_read(struct store_scan *scan, uint64_t id, int64_t from_ms, int64_t to_ms,
                      struct payload_list *out)
{
    struct slice key;
    struct slice value;
    uint8_t start[16];
    int r;

    be64_put(start, id);
    be64_put(start + 8, 0);
    store_scan_seek(scan, slice_of(start, sizeof start));
    while ((r = store_scan_next(scan, &key, &value)) > 0) {
        int64_t first_ms;

        if (key.len != 16)
            return -EIO;
        first_ms = (int64_t)be64_get((const uint8_t *)key.data + 8);
        if (be64_get(key.data) != id || first_ms > to_ms)
            return 0;
        r = payload_row_decode(value, first_ms, from_ms, to_ms, out);
        if (r < 0)
            return r;
    }
    return r;
}
