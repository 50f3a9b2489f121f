#include "base/proto.h"

#include "base/codec.h"

#include <errno.h>

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

int proto_next(struct slice *in, struct proto_field *ret)
{
    uint64_t tag = 0;
    uint64_t n = 0;

    if (in->len == 0)
        return 0;
    if (varint_get(in, &tag) < 0 || tag >> 3 == 0)
        return -EINVAL;
    *ret = (struct proto_field){.number = tag >> 3, .wire = (enum proto_wire)(tag & 7)};
    switch (ret->wire) {
    case PROTO_VARINT:
        return varint_get(in, &ret->value) < 0 ? -EINVAL : 1;
    case PROTO_FIXED64:
        return fixed_get(in, 8, &ret->value) < 0 ? -EINVAL : 1;
    case PROTO_FIXED32:
        return fixed_get(in, 4, &ret->value) < 0 ? -EINVAL : 1;
    case PROTO_BYTES:
        if (varint_get(in, &n) < 0 || n > in->len)
            return -EINVAL;
        ret->bytes = slice_of(in->data, (size_t)n);
        *in = slice_skip(*in, (size_t)n);
        return 1;
    }
    return -EINVAL;
}

static int one(struct slice *in, enum proto_wire wire, uint64_t *ret)
{
    return wire == PROTO_VARINT ? varint_get(in, ret) : fixed_get(in, 8, ret);
}

int64_t proto_count(const struct proto_field *f, enum proto_wire wire)
{
    struct slice in = f->bytes;
    uint64_t v = 0;
    int64_t n = 0;

    if (f->wire == wire)
        return 1;
    if (f->wire != PROTO_BYTES)
        return -EINVAL;
    for (; in.len > 0; n++)
        if (one(&in, wire, &v) < 0)
            return -EINVAL;
    return n;
}

void proto_numbers(const struct proto_field *field, enum proto_wire wire,
                   void (*f)(void *ctx, uint64_t v), void *ctx)
{
    struct slice in = field->bytes;
    uint64_t v = 0;

    if (field->wire == wire) {
        f(ctx, field->value);
        return;
    }
    while (in.len > 0 && one(&in, wire, &v) == 0)
        f(ctx, v);
}

void proto_put_varint(struct buf *out, unsigned number, uint64_t v)
{
    varint_put(out, (uint64_t)number << 3 | PROTO_VARINT);
    varint_put(out, v);
}

void proto_put_fixed64(struct buf *out, unsigned number, uint64_t v)
{
    uint8_t raw[8];

    for (int i = 0; i < 8; i++)
        raw[i] = (uint8_t)(v >> 8 * i);
    varint_put(out, (uint64_t)number << 3 | PROTO_FIXED64);
    buf_add(out, raw, sizeof raw);
}

void proto_put_bytes(struct buf *out, unsigned number, struct slice bytes)
{
    varint_put(out, (uint64_t)number << 3 | PROTO_BYTES);
    varint_put(out, bytes.len);
    buf_add_slice(out, bytes);
}
