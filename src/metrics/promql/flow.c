/* Rows that go straight to where they are summed up: a selector or a function over a range, with
 * operators that look at one row at a time around it. None of them is kept, and the threads that
 * read the series do all of it. */
#include "base/clock.h"
#include "metrics/promql/range.h"
#include "metrics/promql/select.h"

static const struct expr *range_argument(const struct expr *e, size_t *ret_at)
{
    for (size_t i = 0; i < e->call.n_args; i++) {
        *ret_at = i;
        if (e->call.args[i]->type == VALUE_MATRIX)
            return expr_bare(e->call.args[i]);
    }
    return NULL;
}

/* The side of an operator that is a vector, if the other one is a scalar. */
static const struct expr *vector_side(const struct expr *e, const struct expr **ret_scalar)
{
    const struct expr *l = e->binary.l;
    const struct expr *r = e->binary.r;

    if ((l->type == VALUE_SCALAR) == (r->type == VALUE_SCALAR))
        return NULL;
    *ret_scalar = l->type == VALUE_SCALAR ? l : r;
    return l->type == VALUE_SCALAR ? r : l;
}

bool eval_can_flow(const struct evaluator *ev, const struct expr *e, const struct frame *f)
{
    const struct expr *other;
    size_t at;

    if (ev->ev->eager_names || e->type != VALUE_VECTOR || (e->step_invariant && f->n > 1))
        return false;
    switch (e->kind) {
    case EXPR_PAREN:
    case EXPR_UNARY:
        return eval_can_flow(ev, e->inner.e, f);
    case EXPR_SELECTOR:
        return !e->selector->smoothed;
    case EXPR_CALL:
        other = range_argument(e, &at);
        return other != NULL && other->kind == EXPR_MATRIX &&
               e->call.f->id != FN_ABSENT_OVER_TIME && range_find(e->call.f->id) != NULL;
    case EXPR_BINARY:
        e = vector_side(e, &other);
        return e != NULL && eval_can_flow(ev, e, f);
    default:
        return false;
    }
}

/* A node between the source and the sink. */
struct between {
    struct evaluator *ev;
    const struct expr *e;
    const struct frame *f;
    const double *scalar; /* of an operator */
    const struct row_sink *to;
    uint64_t rows; /* atomic */
};

static int pass_row(void *ctx, struct mem *m, unsigned worker, struct row *row)
{
    struct between *b = ctx;
    int r = 0;

    if (b->e->kind == EXPR_BINARY) {
        r = binary_scalar_row(b->ev, m, b->e, b->f, row, b->scalar);
    } else if (b->e->kind == EXPR_UNARY && b->e->inner.negative) {
        minus_row(m, row, b->f->n);
        row->drop_name = true;
    }
    if (b->e->cost != NULL)
        __atomic_add_fetch(&b->rows, 1, __ATOMIC_RELAXED);
    return r < 0 ? r : b->to->row(b->to->ctx, m, worker, row);
}

static int flow_binary(struct evaluator *ev, struct mem *m, struct between *b,
                       const struct row_sink *through)
{
    const struct expr *scalar = NULL;
    const struct expr *vector = vector_side(b->e, &scalar);
    double *cells = NULL;
    int r = eval_scalar(ev, m, scalar, b->f, &cells);

    b->scalar = cells;
    if (r == 0 && cells != NULL)
        r = eval_flow(ev, m, vector, b->f, through);
    if (cells != NULL)
        cells_free(ev, cells, b->f->n);
    return r;
}

static int flow_kind(struct evaluator *ev, struct mem *m, struct between *b)
{
    const struct row_sink through = {pass_row, b};
    const struct expr *e = b->e;
    size_t at = 0;

    switch (e->kind) {
    case EXPR_SELECTOR:
        return select_flow(ev, e, b->f, &through);
    case EXPR_CALL:
        range_argument(e, &at);
        return range_flow(ev, m, e, at, b->f, &through);
    case EXPR_BINARY:
        return flow_binary(ev, m, b, &through);
    default:
        return eval_flow(ev, m, e->inner.e, b->f, &through);
    }
}

int eval_flow(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              const struct row_sink *to)
{
    struct between b = {.ev = ev, .e = e, .f = f, .to = to};
    int64_t begun_ns = e->cost != NULL ? clock_monotonic_ns() : 0;
    uint64_t samples = ev->samples_read;
    int r = eval_check(ev);

    if (r < 0)
        return r;
    eval_needs(ev, e, 1);
    r = flow_kind(ev, m, &b);
    eval_needs(ev, e, -1);
    if (e->cost != NULL) {
        e->cost->ns += (uint64_t)(clock_monotonic_ns() - begun_ns);
        e->cost->samples += ev->samples_read - samples;
        e->cost->series += b.rows;
    }
    return r < 0 ? r : eval_check(ev);
}
