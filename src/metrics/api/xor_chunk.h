/* xor_chunk.h: samples as Prometheus packs floats in a chunk (tsdb/chunkenc, "XOR"). Pure. */
#ifndef METRICS_API_XOR_CHUNK_H
#define METRICS_API_XOR_CHUNK_H

#include "base/buf.h"

#define XOR_CHUNK_SAMPLES 120 /* as many as Prometheus puts into one */

/* n: 1 to 65,535, ascending. */
void xor_chunk_encode(struct buf *out, const int64_t *ts_ms, const uint64_t *bits, size_t n);

#endif
