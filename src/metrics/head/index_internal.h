/* index_internal.h: for index.c and select.c. */
#ifndef METRICS_HEAD_INDEX_INTERNAL_H
#define METRICS_HEAD_INDEX_INTERNAL_H

#include "metrics/head/index.h"

#define SERIES_BLOCK 4096

struct posting {
    uint32_t name, value; /* symbols */
    uint32_t *refs;       /* ascending */
    uint32_t n, cap;
};

struct label_name {
    uint32_t symbol;
    uint32_t *postings; /* one for each value */
    uint32_t n, cap;
};

struct metric {
    uint32_t *refs; /* by number within the metric; SERIES_NONE where there is none */
    uint32_t n, cap;
};

/* A label of the series that was added last: the next one often has the same. */
struct last_label {
    uint32_t name, value; /* symbols; 0: none */
    uint32_t posting;
};

struct slot {
    uint32_t hash, ref;
};

struct index {
    struct symbols symbols;
    struct series **blocks;
    uint32_t n_series, n_blocks, n_gone;
    struct slot *table; /* labels to ref; ref SERIES_NONE: free */
    uint32_t table_size;
    struct posting *postings;
    uint32_t n_postings, cap_postings;
    uint32_t *posting_table; /* name and value to posting + 1 */
    uint32_t posting_table_size;
    struct label_name *names;
    uint32_t n_names, cap_names;
    struct metric *metrics; /* by number; 0 is what has no name */
    uint32_t n_metrics, cap_metrics;
    uint32_t *metric_of; /* by posting of __name__ */
    struct last_label last[LABELS_MAX + 1];
    uint64_t bytes;
};

const struct posting *index_posting(const struct index *ix, uint32_t name, uint32_t value);
const struct label_name *index_name(const struct index *ix, uint32_t symbol);

static inline uint32_t series_value(const struct series *s, uint32_t name)
{
    for (unsigned i = 0; i < s->n_labels; i++)
        if (s->pairs[2 * i] == name)
            return s->pairs[2 * i + 1];
    return 0;
}

#endif
