#include "metrics/api/remote.h"

#include "base/codec.h"
#include "base/utf8.h"

#include <errno.h>
#include <snappy-c.h>

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;     /* VARINT, FIXED64, FIXED32 */
    struct slice bytes; /* BYTES */
};

static int fixed_get(struct slice *in, size_t n, uint64_t *ret)
{
    const uint8_t *p = in->data;

    if (in->len < n)
        return -EINVAL;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint64_t)p[i] << 8 * i;
    *in = slice_skip(*in, n);
    return 0;
}

/* 1, 0 at the end. */
static int field_get(struct slice *in, struct field *ret)
{
    uint64_t tag = 0;
    uint64_t n = 0;

    if (in->len == 0)
        return 0;
    if (varint_get(in, &tag) < 0 || tag >> 3 == 0)
        return -EINVAL;
    *ret = (struct field){.number = tag >> 3, .wire = (enum wire)(tag & 7)};
    switch (ret->wire) {
    case WIRE_VARINT:
        return varint_get(in, &ret->value) < 0 ? -EINVAL : 1;
    case WIRE_FIXED64:
        return fixed_get(in, 8, &ret->value) < 0 ? -EINVAL : 1;
    case WIRE_FIXED32:
        return fixed_get(in, 4, &ret->value) < 0 ? -EINVAL : 1;
    case WIRE_BYTES:
        if (varint_get(in, &n) < 0 || n > in->len)
            return -EINVAL;
        ret->bytes = slice_of(in->data, (size_t)n);
        *in = slice_skip(*in, (size_t)n);
        return 1;
    }
    return -EINVAL;
}

static int read_label(struct slice in, struct label *ret)
{
    struct field f;
    int r;

    *ret = (struct label){SLICE(""), SLICE("")};
    while ((r = field_get(&in, &f)) > 0) {
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == 1)
            ret->name = f.bytes;
        else if (f.number == 2)
            ret->value = f.bytes;
    }
    return r;
}

static bool labels_good(struct labels *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i].name.len == 0 || !utf8_valid(l->items[i].name) ||
            !utf8_valid(l->items[i].value))
            return false;
    labels_sort(l);
    return labels_duplicate(l) == NULL && labels_bytes(l) <= LABELS_BYTES_MAX &&
           labels_get(l, LABEL_NAME).len > 0;
}

int remote_labels(struct remote *r)
{
    struct slice rest = r->series_bytes;
    struct field f;
    bool good = true;
    int e;

    r->series.labels = (struct labels){.items = r->room};
    while ((e = field_get(&rest, &f)) > 0) {
        if (f.number != 1 || f.wire != WIRE_BYTES)
            continue;
        if (r->series.labels.n == LABELS_MAX) {
            good = false;
            continue;
        }
        if (read_label(f.bytes, &r->room[r->series.labels.n]) < 0)
            return -EINVAL;
        r->series.labels.n += r->room[r->series.labels.n].value.len > 0;
    }
    if (e < 0)
        return e;
    return good && labels_good(&r->series.labels);
}

/* Where the labels end and the samples begin, as every sender orders them. */
static int read_series(struct remote *r, struct slice in)
{
    struct slice rest = in;
    struct slice before = in;
    struct field f;
    int e;

    r->series_bytes = in;
    r->series = (struct remote_series){.samples = in};
    while ((e = field_get(&rest, &f)) > 0 && f.number == 1)
        before = rest;
    if (e < 0)
        return e;
    r->series.samples = before;
    r->series.raw = slice_of(in.data, in.len - before.len);
    while (e > 0 && f.number != 1)
        e = field_get(&rest, &f);
    if (e > 0) { /* a label behind a sample */
        r->series.raw = SLICE("");
        r->series.samples = in;
    }
    return e < 0 ? e : 1;
}

static int read_metadata(struct remote *r, struct slice in)
{
    struct field f;
    int e;

    r->metadata =
        (struct remote_metadata){.metric = SLICE(""), .help = SLICE(""), .unit = SLICE("")};
    while ((e = field_get(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == WIRE_VARINT)
            r->metadata.type = f.value;
        else if (f.number == 2 && f.wire == WIRE_BYTES)
            r->metadata.metric = f.bytes;
        else if (f.number == 4 && f.wire == WIRE_BYTES)
            r->metadata.help = f.bytes;
        else if (f.number == 5 && f.wire == WIRE_BYTES)
            r->metadata.unit = f.bytes;
    }
    return e < 0 ? e
                 : r->metadata.metric.len > 0 && utf8_valid(r->metadata.metric) &&
                       utf8_valid(r->metadata.help) && utf8_valid(r->metadata.unit);
}

void remote_init(struct remote *r, struct slice message)
{
    r->in = message;
}

int remote_next(struct remote *r)
{
    struct field f;
    int e;

    while ((e = field_get(&r->in, &f)) > 0) {
        if (f.wire != WIRE_BYTES || (f.number != 1 && f.number != 3))
            continue;
        e = f.number == 1 ? read_series(r, f.bytes) : read_metadata(r, f.bytes);
        if (e != 0)
            return e < 0 ? e : f.number == 1 ? REMOTE_SERIES : REMOTE_METADATA;
    }
    return e < 0 ? e : REMOTE_END;
}

int remote_sample_next(struct slice *samples, struct remote_sample *ret)
{
    struct field f;
    int e;

    while ((e = field_get(samples, &f)) > 0) {
        struct slice in = f.bytes;

        if (f.number != 2 || f.wire != WIRE_BYTES)
            continue;
        *ret = (struct remote_sample){0};
        while ((e = field_get(&in, &f)) > 0) {
            if (f.number == 1 && f.wire == WIRE_FIXED64)
                ret->bits = f.value;
            else if (f.number == 2 && f.wire == WIRE_VARINT)
                ret->ts_ms = (int64_t)f.value;
        }
        return e < 0 ? e : 1;
    }
    return e;
}

int snappy_decode(struct slice in, size_t limit_bytes, struct buf *out)
{
    size_t n = 0;

    if (snappy_uncompressed_length(in.data, in.len, &n) != SNAPPY_OK)
        return -EINVAL;
    if (n > limit_bytes)
        return -EFBIG;
    buf_reserve(out, n + 1);
    if (snappy_uncompress(in.data, in.len, out->data, &n) != SNAPPY_OK)
        return -EINVAL;
    out->len = n;
    out->data[n] = 0;
    return 0;
}
