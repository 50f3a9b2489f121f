/* index.h: which series there are, found by their labels. In memory; kept as rows in the store, by
 * id (db.c).
 *
 * A series has an id, for disk: metric number << 32 | number within the metric, so that the series
 * of one metric stand together; and a ref, a small number for this run of the daemon. Neither is
 * used again. The caller locks: one writer, or many readers. */
#ifndef METRICS_HEAD_INDEX_H
#define METRICS_HEAD_INDEX_H

#include "metrics/head/chunk.h"
#include "metrics/head/matcher.h"
#include "metrics/head/symbols.h"
#include "metrics/labels.h"

#define SERIES_NONE UINT32_MAX

/* A full stream that waits for its run to be written. */
struct sealed {
    struct sealed *next; /* newer */
    struct stream stream;
    bool flushing; /* its run is being written: it does not change any more */
};

struct series {
    uint64_t id;
    const uint32_t *pairs; /* n_labels times symbol of name, symbol of value; by name */
    struct sealed *sealed; /* oldest first */
    struct stream open;
    uint8_t n_labels;
    bool gone;       /* removed: its ref is not used again */
    bool since;      /* a start time was told of what is in the head */
    uint32_t bucket; /* newest bucket of which a run holds samples, as far as is known */
};

struct index;
struct index *index_new(void);
void index_free(struct index *ix); /* with all streams */

size_t index_count(const struct index *ix); /* refs given so far: removed ones too */
size_t index_live(const struct index *ix);
struct series *index_series(const struct index *ix, uint32_t ref);
/* labels: sorted, with __name__ or without. SERIES_NONE if there is none. */
uint32_t index_find(const struct index *ix, const struct labels *labels);
uint32_t index_find_id(const struct index *ix, uint64_t id);
/* Adds a series that is not there. id 0: the next of its metric. */
uint32_t index_add(struct index *ix, const struct labels *labels, uint64_t id);
/* Finds it, or adds it. */
uint32_t index_put(struct index *ix, const struct labels *labels, uint64_t id);
/* Forgets series, whose streams are empty; their refs stay invalid for ever. */
void index_remove(struct index *ix, const uint32_t *refs, size_t n);
/* Fills room for series->n_labels labels; the strings live as long as the index. */
struct labels index_labels(const struct index *ix, const struct series *s, struct label *room);
struct slice index_symbol(const struct index *ix, uint32_t symbol);
size_t index_symbols(const struct index *ix); /* above every symbol */

struct refs {
    uint32_t *items;
    size_t n, cap;
};
void refs_done(struct refs *r);
void refs_add(struct refs *r, uint32_t ref);
/* All series that meet every matcher, ascending by ref. */
void index_select(const struct index *ix, const struct matcher *matchers, size_t n,
                  struct refs *ret);

/* Names of labels, and values of one, with the number of series: in no order. */
typedef void index_value_fn(void *ctx, struct slice text, size_t n_series);
void index_names(const struct index *ix, index_value_fn *f, void *ctx);
void index_values(const struct index *ix, struct slice name, index_value_fn *f, void *ctx);
size_t index_pairs(const struct index *ix);   /* distinct name=value */
uint64_t index_bytes(const struct index *ix); /* about what it takes, without streams */

#endif
