/* histogram_chunk.h: native histograms as Prometheus packs them in a chunk (tsdb/chunkenc, encodings
 * "Histogram" and "FloatHistogram"). Pure. */
#ifndef METRICS_API_HISTOGRAM_CHUNK_H
#define METRICS_API_HISTOGRAM_CHUNK_H

#include "metrics/histogram.h"

enum histogram_chunk_kind { HISTOGRAM_CHUNK_INTEGERS = 2, HISTOGRAM_CHUNK_FLOATS = 3 };

/* How many of the n first can stand in one chunk: of one kind, with the same buckets, and without a
 * reset between them, for a reader takes it that there is none within a chunk. n: 1 at least. */
size_t histogram_chunk_fit(const struct histogram *const *h, size_t n);
/* So many, ascending; returns the kind. */
enum histogram_chunk_kind histogram_chunk_encode(struct buf *out, const int64_t *ts_ms,
                                                 const struct histogram *const *h, size_t n);

#endif
