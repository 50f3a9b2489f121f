/* codec.h: hex, base64, percent-encoding, snappy, big-endian integers. All are pure. */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/buf.h"

#include <sys/types.h>

void hex_encode(struct slice in, char *ret_text);                /* 2 * in.len + 1 bytes, lower case */
ssize_t hex_decode(struct slice hex, uint8_t *ret, size_t cap);  /* bytes, or -EINVAL; any case */

void base64_encode(struct buf *out, struct slice in);            /* RFC 4648 section 4, padded */
int base64_decode(struct buf *out, struct slice in);             /* strict; -EINVAL */
void base64url_encode(struct buf *out, struct slice in);         /* RFC 4648 section 5, no padding */

/* Percent-decoding (RFC 3986 section 2.1). -EINVAL at a cut or bad escape. `plus`: '+' is a blank
 * (HTML forms). */
int percent_decode(struct buf *out, struct slice in, bool plus);
/* Encodes all but unreserved characters and those in `keep`. */
void percent_encode(struct buf *out, struct slice in, const char *keep);

static inline void be32_put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static inline uint32_t be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void be64_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static inline uint64_t be64_get(const uint8_t *p)
{
    return (uint64_t)be32_get(p) << 32 | be32_get(p + 4);
}

/* LEB128, as protobuf: appends; reads and moves `in` on, -EINVAL if cut or over 64 bits. */
void varint_put(struct buf *out, uint64_t v);
int varint_get(struct slice *in, uint64_t *ret);

/* Snappy's block format, appended to an empty buf; the size it claims is checked before anything is
 * allocated. -EINVAL, -EFBIG. */
int snappy_decode(struct slice in, size_t limit_bytes, struct buf *out);
void snappy_encode(struct slice in, struct buf *out);

/* Decimal, all of s, no sign: 0, -EINVAL, or -ERANGE above max. */
int parse_u64(struct slice s, uint64_t max, uint64_t *ret);

#endif
