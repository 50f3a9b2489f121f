/* chunk.h: how samples are packed. Two forms, both bit for bit (NaN payloads, -0, denormals):
 *
 * A STREAM is appended to, one sample at a time, and is what the head keeps in memory. A value that
 * is a decimal of up to 15 digits is an integer at the stream's exponent, kept as the delta to the
 * one before; runs of one value cost nothing; a regular time step costs nothing. Anything else is
 * raw.
 *
 * A GROUP is what a stored run holds: the samples of several series, by columns: residuals of the
 * best of three differences, divided by what all have in common, in planes of one byte, under zstd.
 */
#ifndef METRICS_HEAD_CHUNK_H
#define METRICS_HEAD_CHUNK_H

#include "base/buf.h"

#define CHUNK_SAMPLES_MAX 4096 /* of a stream */

struct stream {
    uint8_t *bytes;
    uint32_t len, cap;
    uint32_t count; /* samples, `run` included */
    uint32_t run;   /* repetitions of the last sample at the same step, not in bytes yet */
    int64_t first_ms, last_ms;
    uint64_t last_bits;
    int64_t mantissa; /* last decimal, at exponent */
    int32_t step_ms;
    int8_t exponent;
    bool last_raw;
};

/* Appends; ts is above last_ms, and less than 2^31 ms above it. */
void stream_append(struct stream *s, int64_t ts_ms, uint64_t bits);
void stream_clear(struct stream *s); /* frees the bytes: empty again */

struct stream_reader {
    const uint8_t *p, *end;
    uint32_t left, run;
    int64_t ts_ms;
    uint64_t bits;
    int64_t mantissa;
    int32_t step_ms;
    int8_t exponent;
    uint32_t tail_run;
};
void stream_read(const struct stream *s, struct stream_reader *ret); /* borrows the bytes */
bool stream_next(struct stream_reader *r, int64_t *ret_ts_ms, uint64_t *ret_bits);

/* Samples of one series, ascending. */
struct samples {
    int64_t *ts;
    uint64_t *bits;
    size_t n, cap;
};
void samples_add(struct samples *s, int64_t ts, uint64_t bits);
void samples_append(struct samples *s, const struct samples *more);
void samples_need(struct samples *s, size_t n); /* room for so many more */
void samples_done(struct samples *s);
/* Sorts by time and keeps of equal times the last added. */
void samples_order(struct samples *s);

/* Appends those of a stream with from <= ts <= to. */
void stream_take(const struct stream *s, int64_t from_ms, int64_t to_ms, struct samples *out);
/* Integers to the bits of integer / 10^exponent, in place. */
void decimals_to_doubles(uint64_t *v, size_t n, int exponent);

struct group_writer;
struct group_writer *group_writer_new(void);
void group_writer_free(struct group_writer *w);
/* Series come in ascending id. */
void group_writer_add(struct group_writer *w, uint64_t id, const struct samples *samples);
/* Is it time to write it out? Then it fits a store's value, as long as one series brings at most
 * CHUNK_SAMPLES_MAX samples. */
bool group_writer_full(const struct group_writer *w);
size_t group_writer_count(const struct group_writer *w); /* series in it */
uint64_t group_writer_last_id(const struct group_writer *w);
void group_writer_finish(struct group_writer *w, struct buf *out); /* the writer is empty again */

struct group;                                           /* a decoded one */
int group_open(struct slice bytes, struct group **ret); /* -EIO if damaged; copies */
struct group *group_ref(struct group *g);                /* one more holder, any thread */
void group_free(struct group *g);                       /* one less; NULL is fine */
size_t group_bytes(const struct group *g);              /* in memory */
/* Appends the samples of the series with from <= ts <= to; nothing if it is not in the group. */
void group_read(const struct group *g, uint64_t id, int64_t from_ms, int64_t to_ms,
                struct samples *out);
/* The ids in it, ascending. */
const uint64_t *group_ids(const struct group *g, size_t *ret_n);

#endif
