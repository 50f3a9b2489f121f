/* and, or, unless */
#include "metrics/promql/binop.h"

#include "base/alloc.h"
#include "base/hot.h"

#include <stdlib.h>

/* Of `masked` stays what is where `mask` has something, or has nothing. */
struct masking {
    struct evaluator *ev;
    struct vector *masked, *mask;
    uint32_t *masked_sigs, *mask_sigs;
    uint8_t *there; /* 1 for each signature and step at which a row of `mask` has a value */
    size_t n;       /* steps */
    bool keep;
};

HOT static void add_presence(uint8_t *restrict there, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        there[i] = (uint8_t)(there[i] | present(v[i]));
}

HOT static void mask_cells(double *restrict v, const uint8_t *restrict there, bool keep, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = (there[i] != 0) == keep ? v[i] : ABSENT;
}

#define MASK_STEPS 256

/* All rows over some steps: several may have the same signature. */
static void presence(void *ctx, size_t worker, size_t k)
{
    struct masking *x = ctx;
    size_t from = k * MASK_STEPS;
    size_t n = x->n - from < MASK_STEPS ? x->n - from : MASK_STEPS;

    (void)worker;
    for (size_t j = 0; j < x->mask->n; j++) {
        const struct row *row = &x->mask->rows[j];
        uint8_t *there = x->there + x->mask_sigs[j] * x->n + from;

        add_presence(there, row->v + from, n);
        for (size_t i = 0; i < n && row->h != NULL; i++)
            there[i] |= row->h[from + i] != NULL;
    }
}

static void mask_row(void *ctx, size_t worker, size_t k)
{
    struct masking *x = ctx;
    struct row *row = &x->masked->rows[k];
    const uint8_t *there = x->there + x->masked_sigs[k] * x->n;

    (void)worker;
    mask_cells(row->v, there, x->keep, x->n);
    for (size_t i = 0; i < x->n && row->h != NULL; i++)
        if ((there[i] != 0) != x->keep)
            row->h[i] = NULL;
}

static int mask_rows(struct masking *x)
{
    size_t runs = (x->n + MASK_STEPS - 1) / MASK_STEPS;

    cores_run(eval_threads(x->mask->n, x->n), runs, presence, x);
    cores_run(eval_threads(x->masked->n, x->n), x->masked->n, mask_row, x);
    return eval_check(x->ev);
}

static void move_rows(struct vector *from, struct vector *to)
{
    for (size_t k = 0; k < from->n; k++) {
        vector_push(to, from->rows[k]);
        from->rows[k].v = NULL;
        from->rows[k].h = NULL;
    }
}

int binop_sets(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
               struct vector *l, struct vector *r, struct vector *ret)
{
    bool is_or = e->binary.op == OP_OR;
    struct masking x = {.ev = ev,
                        .masked = is_or ? r : l,
                        .mask = is_or ? l : r,
                        .n = f->n,
                        .keep = e->binary.op == OP_AND};
    struct label_index sigs;
    int result;

    vector_compact(ev, l, f->n);
    vector_compact(ev, r, f->n);
    label_index_init(&sigs, m);
    x.masked_sigs = match_signatures(&sigs, e->binary.matching, x.masked);
    x.mask_sigs = match_signatures(&sigs, e->binary.matching, x.mask);
    x.there = xcalloc(sigs.n * f->n + 1, 1);
    result = mask_rows(&x);
    if (is_or)
        move_rows(l, ret);
    move_rows(x.masked, ret);
    label_index_done(&sigs);
    free(x.masked_sigs);
    free(x.mask_sigs);
    free(x.there);
    vector_compact(ev, ret, f->n);
    return result == 0 && f->n > 1 ? vector_merge(ev, ret, f->n) : result;
}
