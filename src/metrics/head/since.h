/* since.h: since when the counters of samples count: their start times, beside the samples as
 * payloads are.
 *
 * A start is true of many samples, so what is kept of a series is where it changes. A series of
 * which no start was ever told is not there at all, in memory or on disk.
 *
 * In memory they are kept by series. A run has them as rows of a run of its own, several series in
 * one: key id of the last series (8), number (4); under zstd. */
#ifndef METRICS_HEAD_SINCE_H
#define METRICS_HEAD_SINCE_H

#include "base/buf.h"
#include "store/store.h"

/* Samples from ts_ms on, up to the next, have this start; 0: they have none. */
struct since {
    int64_t ts_ms, start_ms;
};
/* Ascending by time; neighbours differ, and the first is not 0. Zeroed is empty. */
struct since_list {
    struct since *items;
    uint32_t n, cap;
};
void since_list_done(struct since_list *l);
int64_t since_at(const struct since_list *l, int64_t ts_ms);
/* The newest sample, at ts_ms, has this start. */
void since_add(struct since_list *l, int64_t ts_ms, int64_t start_ms);
/* A sample has, whether there are newer ones or not. */
void since_put(struct since_list *l, int64_t ts_ms, int64_t start_ms);
/* The samples with from <= time <= to are gone. */
void since_cut(struct since_list *l, int64_t from_ms, int64_t to_ms);

/* Of all series in memory. The caller locks: one writer, or many readers. */
struct sinces;
struct sinces *sinces_new(void);
void sinces_free(struct sinces *s);
/* Of a sample; newest_ms: of the series. */
void sinces_put(struct sinces *s, uint32_t ref, int64_t ts_ms, int64_t start_ms,
                int64_t newest_ms);
const struct since_list *sinces_of(const struct sinces *s, uint32_t ref); /* NULL: none */
/* Of the samples those from first_ms to last_ms are left; first_ms behind it: none are. Is any start
 * left? */
bool sinces_trim(struct sinces *s, uint32_t ref, int64_t first_ms, int64_t last_ms);
uint64_t sinces_bytes(const struct sinces *s);

/* Writes a run, which is there only if there is something in it. */
struct since_writer;
struct since_writer *since_writer_new(struct store *store, const char *part);
void since_writer_free(struct since_writer *w); /* nothing is written */
/* Series come in ascending id, each once. */
int since_writer_add(struct since_writer *w, uint64_t id, const struct since_list *l);
/* The starts of n samples, 0 where there is none. */
int since_writer_samples(struct since_writer *w, uint64_t id, const int64_t *ts_ms,
                         const int64_t *starts_ms, size_t n);
/* Takes it, on failure too. Says whether there is a run. */
int since_writer_commit(struct since_writer *w, bool *ret_any);

/* Reads a run; ids are asked in ascending order, each once. */
struct since_reader;
int since_reader_new(struct store *store, const char *part, struct since_reader **ret);
void since_reader_free(struct since_reader *r);
/* Into the list, which is emptied first. */
int since_reader_get(struct since_reader *r, uint64_t id, struct since_list *ret);
/* The next there is, whatever its id: 1; 0 at the end. */
int since_reader_next(struct since_reader *r, uint64_t *ret_id, struct since_list *ret);

#endif
