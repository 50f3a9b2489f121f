/* chunk_bits.h: the pieces that Prometheus' chunks are packed of (tsdb/chunkenc). Pure. */
#ifndef METRICS_API_CHUNK_BITS_H
#define METRICS_API_CHUNK_BITS_H

#include "base/buf.h"

struct bits {
    struct buf *out;
    unsigned free; /* bits of the last byte that are not used */
};

/* The bits of a float that differed from the one before, the last time that it was told. */
struct bits_window {
    unsigned leading, trailing;
    bool set;
};

void bits_put(struct bits *b, uint64_t v, unsigned n);
bool bits_fit(int64_t v, unsigned n); /* -2^(n-1) < v <= 2^(n-1) */
/* A float, as what it differs by from the one before. */
void bits_put_xor(struct bits *b, uint64_t difference, struct bits_window *w);
/* Numbers in 1 bit to 9 bytes. */
void bits_put_int(struct bits *b, int64_t v);
void bits_put_uint(struct bits *b, uint64_t v);

#endif
