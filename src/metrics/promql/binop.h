/* binop.h: binary operators: what they do with two values. */
#ifndef METRICS_PROMQL_BINOP_H
#define METRICS_PROMQL_BINOP_H

#include "metrics/promql/labelset.h"
#include "metrics/promql/notes.h"

static inline bool op_drops_name(enum binary_op op)
{
    return op >= OP_ADD;
}

/* n floats each; a cell is ABSENT where either is. A comparison that does not hold gives ABSENT
 * (0 with `as_bool`), else l (1). `keep_right`: comparisons give r. `ret` may be l or r. If the
 * query has ended meanwhile, the rest stays as it was. */
struct float_op {
    enum binary_op op;
    bool as_bool, keep_right;
};
void binop_floats(struct evaluator *ev, const struct float_op *op, const double *l, const double *r,
                  double *ret, size_t n);

/* What there is to note of one pair of values. */
enum op_note {
    OP_NOTE_NONE,
    OP_NOTE_FLOATS, /* kinds that do not go together */
    OP_NOTE_FLOAT_HISTOGRAM,
    OP_NOTE_HISTOGRAM_FLOAT,
    OP_NOTE_HISTOGRAMS,
    OP_NOTE_LAYOUT,
    OP_NOTE_COLLISION,
    OP_NOTE_RECONCILED,
    OP_NOTES
};

/* Either or both are histograms. False: no result. */
struct cell {
    double v;
    const struct histogram *h;
};
struct mixed_op {
    struct evaluator *ev;
    struct mem *m;
    const struct expr *e;
    bool as_bool;
    /* By step, zeroed: of several notes the last counts, which binop_notes tells. NULL: all are told
     * at once. */
    uint8_t *notes;
    size_t step; /* of the values at hand */
};
void binop_notes(const struct mixed_op *op, size_t n_steps);
bool binop_mixed(const struct mixed_op *op, const struct cell *l, const struct cell *r,
                 struct cell *ret);

/* Numbers what rows are matched by; freed with free. */
uint32_t *match_signatures(struct label_index *x, const struct matching *how,
                           const struct vector *v);
int binop_vectors(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct vector *l, struct vector *r, struct vector *ret);
int binop_sets(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
               struct vector *l, struct vector *r, struct vector *ret);

#endif
