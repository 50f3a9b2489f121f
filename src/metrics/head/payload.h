/* payload.h: the bytes of samples that are no floats (native histograms), beside the streams and
 * groups, where HISTOGRAM_BITS stands for them. Empty bytes: it is a float of just these bits.
 *
 * In memory they are kept by series; a run has them as rows of a run of its own: series id, time of
 * the first, then as many as fit, under zstd. */
#ifndef METRICS_HEAD_PAYLOAD_H
#define METRICS_HEAD_PAYLOAD_H

#include "base/buf.h"
#include "store/store.h"

struct payload {
    int64_t ts_ms;
    uint32_t offset, len; /* in the list's bytes */
    bool flushing;        /* its run is being written */
};
/* Ascending by time, each time once. Zeroed is empty. */
struct payload_list {
    struct payload *items;
    size_t n, cap;
    struct buf bytes;
};
void payload_list_done(struct payload_list *l);
void payload_list_clear(struct payload_list *l); /* keeps the memory */
/* Replaces what has the same time. */
void payload_list_put(struct payload_list *l, int64_t ts_ms, struct slice bytes);
bool payload_list_get(const struct payload_list *l, int64_t ts_ms, struct slice *ret);

/* Of all series in memory. The caller locks: one writer, or many readers. */
struct payloads;
struct payloads *payloads_new(void);
void payloads_free(struct payloads *p);
void payloads_put(struct payloads *p, uint32_t ref, int64_t ts_ms, struct slice bytes);
const struct payload_list *payloads_of(const struct payloads *p, uint32_t ref); /* NULL: none */
/* Adds those with from <= time <= to. */
void payloads_read(const struct payloads *p, uint32_t ref, int64_t from_ms, int64_t to_ms,
                   struct payload_list *out);
uint64_t payloads_bytes(const struct payloads *p);
/* Those before until_ms of each series: marked as flushing; f is called for each series that has
 * any, in no order. */
typedef void payloads_fn(void *ctx, uint32_t ref, const struct payload_list *list);
void payloads_mark(struct payloads *p, int64_t from_ms, int64_t until_ms, payloads_fn *f,
                   void *ctx);
/* What was marked goes if it is written, and stays otherwise. */
void payloads_settle(struct payloads *p, bool written);
/* Those of one series in a range of time go. */
void payloads_delete(struct payloads *p, uint32_t ref, int64_t from_ms, int64_t to_ms);

/* Rows of a run. */
int payload_rows_put(struct store_bulk *bulk, uint64_t id, const struct payload_list *list);
/* Adds those of a series with from <= time <= to. */
int payload_rows_read(struct store_scan *scan, uint64_t id, int64_t from_ms, int64_t to_ms,
                      struct payload_list *out);
/* One row's value, all of it: -EIO if damaged. Its times are after first_ms. */
int payload_row_decode(struct slice value, int64_t first_ms, int64_t from_ms, int64_t to_ms,
                       struct payload_list *out);

#endif
