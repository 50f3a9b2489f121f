#include "metrics/api/taken.h"

#include "base/alloc.h"

#include <stdlib.h>

void taken_done(struct taken *t)
{
    free(t->samples);
    free(t->spans);
    free(t->exemplars);
    free(t->starts);
    buf_done(&t->bytes);
}

static void add_sample(struct taken *t, struct db_sample sample)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 2048 : 2 * t->cap;
        t->samples = xrealloc(t->samples, t->cap * sizeof *t->samples);
    }
    t->samples[t->n++] = sample;
}

static void add_payload(struct taken *t, size_t offset)
{
    if (t->n_payloads == t->cap_payloads) {
        t->cap_payloads = t->cap_payloads == 0 ? 64 : 2 * t->cap_payloads;
        t->spans = xrealloc(t->spans, t->cap_payloads * sizeof *t->spans);
    }
    t->spans[t->n_payloads++] = (struct taken_span){offset, t->bytes.len - offset};
}

void taken_float(struct taken *t, uint32_t ref, int64_t ts_ms, uint64_t bits)
{
    if (bits == HISTOGRAM_BITS)
        add_payload(t, t->bytes.len);
    add_sample(t, (struct db_sample){ref, ts_ms, bits});
}

void taken_histogram(struct taken *t, uint32_t ref, int64_t ts_ms, const struct histogram *h)
{
    size_t offset = t->bytes.len;

    histogram_encode(&t->bytes, h);
    add_payload(t, offset);
    add_sample(t, (struct db_sample){ref, ts_ms, HISTOGRAM_BITS});
}

void taken_start(struct taken *t, int64_t start_ms)
{
    if (start_ms == 0)
        return;
    if (t->n_starts == t->cap_starts) {
        t->cap_starts = t->cap_starts == 0 ? 256 : 2 * t->cap_starts;
        t->starts = xrealloc(t->starts, t->cap_starts * sizeof *t->starts);
    }
    t->starts[t->n_starts++] = (struct db_start){t->n - 1, start_ms};
}

void taken_exemplar(struct taken *t, struct op *op, uint32_t ref, const struct exemplar *e)
{
    struct taken_exemplar *x;

    if (t->n_exemplars == t->cap_exemplars) {
        t->cap_exemplars = t->cap_exemplars == 0 ? 64 : 2 * t->cap_exemplars;
        t->exemplars = xrealloc(t->exemplars, t->cap_exemplars * sizeof *t->exemplars);
    }
    x = &t->exemplars[t->n_exemplars++];
    *x = (struct taken_exemplar){ref, *e};
    x->exemplar.labels.items = op_alloc(op, (e->labels.n + 1) * sizeof *e->labels.items);
    memcpy(x->exemplar.labels.items, e->labels.items, e->labels.n * sizeof *e->labels.items);
}

const struct slice *taken_payloads(const struct taken *t, struct op *op)
{
    struct slice *payloads;

    if (t->n_payloads == 0)
        return NULL;
    payloads = op_alloc(op, t->n_payloads * sizeof *payloads);
    for (size_t i = 0; i < t->n_payloads; i++)
        payloads[i] = slice_of(t->bytes.data + t->spans[i].offset, t->spans[i].len);
    return payloads;
}
