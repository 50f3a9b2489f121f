#include "metrics/promql/binop.h"

#include "metrics/promql/calls.h"
#include "metrics/promql/histogram_math.h"

#include <math.h>

/* One loop for each operator: `value` in terms of a and b. */
#define ARITHMETIC(value)                                                                          \
    for (size_t i = 0; i < n; i++) {                                                               \
        double a = l[i];                                                                           \
        double b = r[i];                                                                           \
        double v = (value);                                                                        \
                                                                                                   \
        ret[i] = present(a) && present(b) ? v : ABSENT;                                            \
    }                                                                                              \
    break

#define COMPARISON(holds)                                                                          \
    for (size_t i = 0; i < n; i++) {                                                               \
        double a = l[i];                                                                           \
        double b = r[i];                                                                           \
        double v = op->as_bool ? (holds) : (holds) ? (op->keep_right ? b : a) : ABSENT;            \
                                                                                                   \
        ret[i] = present(a) && present(b) ? v : ABSENT;                                            \
    }                                                                                              \
    break

static void operate(const struct float_op *op, const double *l, const double *r, double *ret,
                    size_t n)
{
    switch (op->op) {
    case OP_ADD:
        ARITHMETIC(a + b);
    case OP_SUB:
        ARITHMETIC(a - b);
    case OP_MUL:
        ARITHMETIC(a * b);
    case OP_DIV:
        ARITHMETIC(a / b);
    case OP_MOD:
        ARITHMETIC(fmod(a, b));
    case OP_POW:
        ARITHMETIC(go_pow(a, b));
    case OP_ATAN2:
        ARITHMETIC(atan2(a, b));
    case OP_EQL:
        COMPARISON(a == b);
    case OP_NEQ:
        COMPARISON(a != b);
    case OP_LSS:
        COMPARISON(a < b);
    case OP_LTE:
        COMPARISON(a <= b);
    case OP_GTR:
        COMPARISON(a > b);
    case OP_GTE:
        COMPARISON(a >= b);
    default: /* trims need a histogram; sets are not here */
        for (size_t i = 0; i < n; i++)
            ret[i] = ABSENT;
    }
}

void binop_floats(struct evaluator *ev, const struct float_op *op, const double *l, const double *r,
                  double *ret, size_t n)
{
    for (size_t i = 0; i < n; i += EVAL_RUN) {
        if (i > 0 && eval_check(ev) < 0)
            return;
        operate(op, l + i, r + i, ret + i, n - i < EVAL_RUN ? n - i : EVAL_RUN);
    }
}

static void tell(const struct mixed_op *op, enum op_note note)
{
    const char *text = binary_op_text(op->e->binary.op);
    const char *sum = op->e->binary.op == OP_SUB ? "subtraction" : "addition";
    bool l = note == OP_NOTE_HISTOGRAM_FLOAT || note == OP_NOTE_HISTOGRAMS;
    bool r = note == OP_NOTE_FLOAT_HISTOGRAM || note == OP_NOTE_HISTOGRAMS;

    if (note == OP_NOTE_LAYOUT)
        note_add(op->ev, NOTE_WARNING, op->e->at,
                 "incompatible bucket layout encountered for binary operator %s", text);
    else if (note == OP_NOTE_COLLISION)
        note_collision(op->ev, op->e->at, sum);
    else if (note == OP_NOTE_RECONCILED)
        note_reconciled(op->ev, op->e->at, sum);
    else
        note_add(op->ev, NOTE_INFO, op->e->at,
                 "incompatible sample types encountered for binary operator \"%s\": %s %s %s", text,
                 l ? "histogram" : "float", text, r ? "histogram" : "float");
}

void binop_notes(const struct mixed_op *op, size_t n_steps)
{
    bool told[OP_NOTES] = {true};

    for (size_t i = 0; i < n_steps; i++) {
        if (!told[op->notes[i]])
            tell(op, (enum op_note)op->notes[i]);
        told[op->notes[i]] = true;
    }
}

/* False, for those that leave no result. */
static bool note(const struct mixed_op *op, enum op_note what)
{
    if (op->notes != NULL)
        op->notes[op->step] = (uint8_t)what;
    else
        tell(op, what);
    return false;
}

static bool compacted(struct cell *ret, struct histogram *h)
{
    histogram_compact(h);
    ret->h = h;
    return true;
}

static bool histogram_and_float(const struct mixed_op *op, const struct cell *l, double r,
                                struct cell *ret)
{
    struct histogram *h = histogram_clone(op->m, l->h);

    switch (op->e->binary.op) {
    case OP_MUL:
        histogram_multiply(h, r);
        return compacted(ret, h);
    case OP_DIV:
        histogram_divide(h, r);
        return compacted(ret, h);
    case OP_TRIM_UPPER:
    case OP_TRIM_LOWER:
        ret->h = histogram_trim(op->m, h, r, op->e->binary.op == OP_TRIM_UPPER);
        return true;
    default:
        return note(op, OP_NOTE_HISTOGRAM_FLOAT);
    }
}

static bool histograms_sum(const struct mixed_op *op, const struct cell *l, const struct cell *r,
                           struct cell *ret)
{
    bool subtracts = op->e->binary.op == OP_SUB;
    bool reconciled = false;
    bool collision = false;
    struct histogram *h = histogram_combine(op->m, histogram_clone(op->m, l->h), r->h,
                                            subtracts ? -1 : 1, &reconciled, &collision);

    if (h == NULL)
        return note(op, OP_NOTE_LAYOUT);
    if (collision)
        return note(op, OP_NOTE_COLLISION);
    if (reconciled)
        note(op, OP_NOTE_RECONCILED);
    if (subtracts)
        h->reset = HISTOGRAM_GAUGE;
    return compacted(ret, h);
}

static bool mixed_value(const struct mixed_op *op, const struct cell *l, const struct cell *r,
                        struct cell *ret, bool *ret_keep)
{
    enum binary_op kind = op->e->binary.op;

    *ret_keep = true;
    if (l->h == NULL && r->h == NULL)
        return note(op, OP_NOTE_FLOATS);
    if (l->h == NULL) {
        struct histogram *h;

        if (kind != OP_MUL)
            return note(op, OP_NOTE_FLOAT_HISTOGRAM);
        h = histogram_clone(op->m, r->h);
        histogram_multiply(h, l->v);
        return compacted(ret, h);
    }
    if (r->h == NULL)
        return histogram_and_float(op, l, r->v, ret);
    if (kind == OP_ADD || kind == OP_SUB)
        return histograms_sum(op, l, r, ret);
    if (kind != OP_EQL && kind != OP_NEQ)
        return note(op, OP_NOTE_HISTOGRAMS);
    *ret_keep = histogram_same(l->h, r->h) == (kind == OP_EQL);
    ret->h = l->h;
    return true;
}

bool binop_mixed(const struct mixed_op *op, const struct cell *l, const struct cell *r,
                 struct cell *ret)
{
    bool keep = true;

    *ret = (struct cell){.v = ABSENT};
    if (!mixed_value(op, l, r, ret, &keep))
        return false;
    if (op->as_bool) {
        *ret = (struct cell){.v = keep ? 1 : 0};
        return true;
    }
    return keep;
}

static int scalars(struct evaluator *ev, const struct expr *e, const struct frame *f,
                   const double *l, const double *r, struct vector *ret)
{
    struct float_op op = {e->binary.op, true, false};
    struct row *row = vector_add(ev, ret, f->n);

    if (row == NULL)
        return eval_check(ev);
    binop_floats(ev, &op, l, r, row->v, f->n);
    return 0;
}

/* The steps at which the vector's row is a histogram, or the operator wants one. */
static void with_scalar_mixed(const struct mixed_op *op, const struct row *in, const double *s,
                              bool swap, size_t n, struct row *out)
{
    bool trims = op->e->binary.op == OP_TRIM_UPPER || op->e->binary.op == OP_TRIM_LOWER;

    for (size_t i = 0; i < n; i++) {
        struct cell v = {in->v[i], in->h != NULL ? in->h[i] : NULL};
        struct cell c = {s[i], NULL};
        struct cell result;

        if (eval_stops(op->ev, i))
            return;
        if (v.h == NULL && !(trims && present(v.v)))
            continue;
        if (!binop_mixed(op, swap ? &c : &v, swap ? &v : &c, &result))
            continue;
        out->v[i] = result.v;
        if (result.h == NULL)
            continue;
        if (out->h == NULL)
            out->h = cells_histograms(op->ev, n);
        out->h[i] = result.h;
    }
}

int binary_scalar_row(struct evaluator *ev, struct mem *m, const struct expr *e,
                      const struct frame *f, struct row *row, const double *s)
{
    bool swap = e->binary.l->type == VALUE_SCALAR;
    enum binary_op kind = e->binary.op;
    struct float_op op = {kind, e->binary.return_bool, swap};
    struct mixed_op mixed = {ev, m, e, e->binary.return_bool, NULL, 0};
    bool trims = kind == OP_TRIM_UPPER || kind == OP_TRIM_LOWER;
    struct row in = *row;

    if (row->h != NULL || trims) {
        row->h = NULL;
        row->v = cells_new(ev, f->n);
        if (row->v == NULL) {
            *row = in;
            return eval_check(ev);
        }
    }
    binop_floats(ev, &op, swap ? s : in.v, swap ? in.v : s, row->v, f->n);
    if (in.h != NULL || trims) {
        with_scalar_mixed(&mixed, &in, s, swap, f->n, row);
        row_done(ev, &in, f->n);
    }
    row->drop_name |= op_drops_name(kind) || e->binary.return_bool;
    return 0;
}

/* In place: the vector becomes the result. */
static int with_scalar(struct evaluator *ev, struct mem *m, const struct expr *e,
                       const struct frame *f, struct vector *v, const double *s)
{
    bool drops = op_drops_name(e->binary.op) || e->binary.return_bool;

    for (size_t k = 0; k < v->n; k++) {
        int r = binary_scalar_row(ev, m, e, f, &v->rows[k], s);

        if (r < 0)
            return r;
        if (drops && ev->ev->eager_names)
            v->rows[k].labels = labels_bare(m, &v->rows[k].labels);
    }
    vector_compact(ev, v, f->n);
    return ev->ev->eager_names ? vector_merge(ev, v, f->n) : 0;
}

int eval_binary(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                struct vector *ret)
{
    bool l_scalar = e->binary.l->type == VALUE_SCALAR;
    bool r_scalar = e->binary.r->type == VALUE_SCALAR;
    struct vector l = {0};
    struct vector r = {0};
    int result = eval_node(ev, m, e->binary.l, f, &l);

    if (result == 0)
        result = eval_node(ev, m, e->binary.r, f, &r);
    if (result == 0 && l_scalar && r_scalar) {
        result = scalars(ev, e, f, l.rows[0].v, r.rows[0].v, ret);
    } else if (result == 0 && (l_scalar || r_scalar)) {
        struct vector *v = l_scalar ? &r : &l;

        result = with_scalar(ev, m, e, f, v, (l_scalar ? &l : &r)->rows[0].v);
        if (result == 0) {
            *ret = *v;
            *v = (struct vector){0};
        }
    } else if (result == 0) {
        result = (op_is_set(e->binary.op) ? binop_sets : binop_vectors)(ev, m, e, f, &l, &r, ret);
    }
    vector_done(ev, &l, f->n);
    vector_done(ev, &r, f->n);
    return result;
}
