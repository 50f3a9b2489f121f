/* What is settled once the times of a query are known. */
#include "metrics/promql/parser.h"

#include <errno.h>
#include <math.h>

struct prepare {
    int64_t start_ms, end_ms, step_ms;
    struct buf *why;
};

static bool fail_duration(const struct prepare *c, const struct duration *d, const char *reason)
{
    struct span at = duration_span(d);

    if (c->why->len == 0)
        buf_printf(c->why, "%u:%u: %s", at.start, at.end, reason);
    return false;
}

static bool seconds_of(const struct prepare *c, const struct duration *d, double *ret)
{
    double l = 0;
    double r = 0;

    if (d->op == DURATION_NUMBER) {
        *ret = d->seconds;
        return true;
    }
    if ((d->l != NULL && !seconds_of(c, d->l, &l)) || (d->r != NULL && !seconds_of(c, d->r, &r)))
        return false;
    if ((d->op == DURATION_DIV || d->op == DURATION_MOD) && r == 0)
        return fail_duration(c, d, d->op == DURATION_DIV ? "division by zero" : "modulo by zero");
    switch (d->op) {
    case DURATION_NUMBER:
        break;
    case DURATION_ADD:
        *ret = l + r; /* a sign: l is 0 */
        break;
    case DURATION_SUB:
        *ret = l - r;
        break;
    case DURATION_MUL:
        *ret = l * r;
        break;
    case DURATION_DIV:
        *ret = l / r;
        break;
    case DURATION_MOD:
        *ret = fmod(l, r);
        break;
    case DURATION_POW:
        *ret = pow(l, r);
        break;
    case DURATION_STEP:
        *ret = (double)c->step_ms / 1000;
        break;
    case DURATION_RANGE:
        *ret = (double)(c->end_ms - c->start_ms) / 1000;
        break;
    case DURATION_MIN_OF:
        *ret = isnan(l) || isnan(r) ? NAN : fmin(l, r);
        break;
    case DURATION_MAX_OF:
        *ret = isnan(l) || isnan(r) ? NAN : fmax(l, r);
        break;
    }
    return true;
}

/* `positive`: zero and less are refused. Nothing is done without an expression. */
static bool compute(const struct prepare *c, const struct duration *d, bool positive,
                    int64_t *ret_ms)
{
    double seconds = 0;

    if (d == NULL)
        return true;
    if (!seconds_of(c, d, &seconds))
        return false;
    if (isnan(seconds) || isinf(seconds))
        return fail_duration(c, d, "duration is NaN or infinite");
    if (positive && seconds <= 0)
        return fail_duration(c, d, "duration must be greater than 0");
    if (fabs(seconds) > 9223372036.854775807)
        return fail_duration(c, d, "duration is out of range");
    *ret_ms = (int64_t)(seconds * 1000);
    return true;
}

static bool prepare_moment(const struct prepare *c, struct moment *m)
{
    if (m->at == AT_START)
        m->at_ms = c->start_ms;
    else if (m->at == AT_END)
        m->at_ms = c->end_ms;
    return compute(c, m->offset_expr, false, &m->offset_ms);
}

/* start(), end(), range() and step() become numbers. */
static void fold_call(const struct prepare *c, struct expr *e)
{
    double value;

    switch (e->call.f->id) {
    case FN_START:
        value = (double)c->start_ms / 1000;
        break;
    case FN_END:
        value = (double)c->end_ms / 1000;
        break;
    case FN_RANGE:
        value = (double)(c->end_ms - c->start_ms) / 1000;
        break;
    case FN_STEP:
        value = c->start_ms == c->end_ms ? 0 : (double)c->step_ms / 1000;
        break;
    default:
        return;
    }
    e->kind = EXPR_NUMBER;
    e->number.value = value;
    e->number.unit = false;
}

/* Computes durations and folds constants, all over the tree. */
static bool settle(const struct prepare *c, struct expr *e)
{
    bool good = true;

    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
        return true;
    case EXPR_PAREN:
    case EXPR_UNARY:
        return settle(c, e->inner.e);
    case EXPR_BINARY:
        return settle(c, e->binary.l) && settle(c, e->binary.r);
    case EXPR_SELECTOR:
        return prepare_moment(c, &e->selector->moment);
    case EXPR_MATRIX:
        return compute(c, e->matrix.range_expr, true, &e->matrix.range_ms) &&
               prepare_moment(c, &e->matrix.e->selector->moment);
    case EXPR_SUBQUERY:
        return prepare_moment(c, &e->subquery.moment) &&
               compute(c, e->subquery.step_expr, true, &e->subquery.step_ms) &&
               compute(c, e->subquery.range_expr, true, &e->subquery.range_ms) &&
               settle(c, e->subquery.e);
    case EXPR_CALL:
        fold_call(c, e);
        for (size_t i = 0; e->kind == EXPR_CALL && good && i < e->call.n_args; i++)
            good = settle(c, e->call.args[i]);
        return good;
    case EXPR_AGGREGATE:
        return settle(c, e->aggregate.e) &&
               (e->aggregate.param == NULL || settle(c, e->aggregate.param));
    }
    return false;
}

struct invariance {
    bool same;  /* at every step */
    bool worth; /* marking it: not so of numbers, strings, ranges */
};

static struct invariance mark(struct expr *e);

/* Their result depends on the time of the step, whatever they are given. */
static bool needs_time(enum function_id id)
{
    switch (id) {
    case FN_DAYS_IN_MONTH:
    case FN_DAY_OF_MONTH:
    case FN_DAY_OF_WEEK:
    case FN_DAY_OF_YEAR:
    case FN_HOUR:
    case FN_MINUTE:
    case FN_MONTH:
    case FN_YEAR:
    case FN_PREDICT_LINEAR:
    case FN_TIME:
    case FN_TIMESTAMP:
    case FN_INFO: /* its second selector has no moment of its own */
        return true;
    default:
        return false;
    }
}

static struct invariance mark_call(struct expr *e)
{
    bool same = !needs_time(e->call.f->id);
    bool timestamp = e->call.f->id == FN_TIMESTAMP;

    for (size_t i = 0; i < e->call.n_args; i++) {
        struct expr *arg = expr_bare(e->call.args[i]);
        bool info = e->call.f->id == FN_INFO && i == 1;
        struct invariance in = mark(arg);

        same = same && in.same;
        timestamp = timestamp && in.same && arg->kind == EXPR_SELECTOR;
        arg->step_invariant = in.worth && !info;
    }
    return (struct invariance){same || timestamp, same || timestamp};
}

static struct invariance mark_binary(struct expr *e)
{
    struct invariance l = mark(e->binary.l);
    struct invariance r = mark(e->binary.r);

    if (l.same && r.same)
        return (struct invariance){true, true};
    e->binary.l->step_invariant = l.worth;
    e->binary.r->step_invariant = r.worth;
    return (struct invariance){false, false};
}

static struct invariance mark(struct expr *e)
{
    struct invariance in = {true, false};
    bool fixed;

    e->step_invariant = false;
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
        return in;
    case EXPR_PAREN:
    case EXPR_UNARY:
        return mark(e->inner.e);
    case EXPR_BINARY:
        return mark_binary(e);
    case EXPR_SELECTOR:
        fixed = e->selector->moment.at != AT_NONE;
        return (struct invariance){fixed, fixed};
    case EXPR_MATRIX:
        return (struct invariance){e->matrix.e->selector->moment.at != AT_NONE, false};
    case EXPR_SUBQUERY:
        in = mark(e->subquery.e);
        e->subquery.e->step_invariant = in.same && in.worth;
        return (struct invariance){e->subquery.moment.at != AT_NONE, false};
    case EXPR_CALL:
        return mark_call(e);
    case EXPR_AGGREGATE:
        return mark(expr_bare(e->aggregate.e)); /* a parameter is taken at the first step */
    }
    return in;
}

int promql_prepare(struct promql *q, int64_t start_ms, int64_t end_ms, int64_t step_ms,
                   struct buf *why)
{
    struct prepare c = {start_ms, end_ms, step_ms, why};

    if (!settle(&c, q->root))
        return -EINVAL;
    q->root->step_invariant = mark(q->root).worth;
    return 0;
}
