/* taken.h: what a request of remote write brings, on its way to the database. */
#ifndef METRICS_API_TAKEN_H
#define METRICS_API_TAKEN_H

#include "metrics/exemplars.h"
#include "metrics/histogram.h"

struct taken_span {
    size_t offset, len;
};

struct taken_exemplar {
    uint32_t ref;
    struct exemplar exemplar;
};

/* Zeroed is empty. */
struct taken {
    struct db_sample *samples;
    size_t n, cap;
    struct buf bytes;         /* payloads, one behind the other */
    struct taken_span *spans; /* of each, in it */
    size_t n_payloads, cap_payloads;
    struct taken_exemplar *exemplars;
    size_t n_exemplars, cap_exemplars;
    struct db_start *starts; /* of the samples that have one */
    size_t n_starts, cap_starts;
};
void taken_done(struct taken *t);
void taken_float(struct taken *t, uint32_t ref, int64_t ts_ms, uint64_t bits);
void taken_histogram(struct taken *t, uint32_t ref, int64_t ts_ms, const struct histogram *h);
/* The sample added last counts since then; 0: it does not say. */
void taken_start(struct taken *t, int64_t start_ms);
/* The labels' strings stay where they are; the array is copied into the op. */
void taken_exemplar(struct taken *t, struct op *op, uint32_t ref, const struct exemplar *e);
/* The payloads as the database wants them, in the op. */
const struct slice *taken_payloads(const struct taken *t, struct op *op);

#endif
