/* proto.h: the fields of a protobuf message, one after the other, zero-copy. Pure. */
#ifndef BASE_PROTO_H
#define BASE_PROTO_H

#include "base/buf.h"

enum proto_wire { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
    uint64_t number;
    enum proto_wire wire;
    uint64_t value;     /* VARINT, FIXED64, FIXED32 */
    struct slice bytes; /* BYTES */
};
/* The next field of the message: 1, 0 at the end, -EINVAL. */
int proto_next(struct slice *in, struct proto_field *ret);

/* Numbers of a repeated field, packed or not: how many this field brings, -EINVAL. */
int64_t proto_count(const struct proto_field *f, enum proto_wire wire);
/* Each of them, through f. The field has passed proto_count. */
void proto_numbers(const struct proto_field *field, enum proto_wire wire,
                   void (*f)(void *ctx, uint64_t v), void *ctx);

/* Writing. */
void proto_put_varint(struct buf *out, unsigned number, uint64_t v);
void proto_put_fixed64(struct buf *out, unsigned number, uint64_t v);
void proto_put_bytes(struct buf *out, unsigned number, struct slice bytes);

#endif
