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
 * (0 with `as_bool`), else l (1). `keep_right`: comparisons give r. */
struct float_op {
    enum binary_op op;
    bool as_bool, keep_right;
};
void binop_floats(const struct float_op *op, const double *l, const double *r, double *ret,
                  size_t n);

/* Either or both are histograms, at step i. False: no result. */
struct cell {
    double v;
    const struct histogram *h;
};
struct mixed_op {
    struct evaluator *ev;
    struct mem *m;
    const struct expr *e;
    bool as_bool;
    bool scalar; /* one side is a scalar: warnings of the histograms' arithmetic do not matter */
};
bool binop_mixed(const struct mixed_op *op, const struct cell *l, const struct cell *r,
                 struct cell *ret);

int binop_vectors(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct vector *l, struct vector *r, struct vector *ret);
int binop_sets(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
               struct vector *l, struct vector *r, struct vector *ret);

#endif
