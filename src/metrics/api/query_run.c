#include "metrics/api/query_run.h"

#include "base/clock.h"

#include <errno.h>

static double now_s(void)
{
    return (double)clock_monotonic_ns() / 1e9;
}

static bool is_cancelled(void *ctx)
{
    const struct web_request *req = ctx;

    return req != NULL && web_gone(req);
}

static int parse(struct op *op, const struct query_spec *spec, struct promql *q)
{
    autobuf why = {0};
    enum value_type type;
    int r = promql_parse(op, spec->text, q, &why);

    if (r == 0) {
        type = q->root->type;
        if (spec->range && type != VALUE_SCALAR && type != VALUE_VECTOR) {
            buf_printf(&why,
                       "invalid expression type \"%s\" for range query, must be Scalar or instant "
                       "Vector",
                       value_type_documented(type));
            r = -EINVAL;
        }
    }
    if (r == 0)
        r = promql_prepare(q, spec->start_ms, spec->end_ms, spec->range ? spec->step_ms : 0, &why);
    if (r < 0)
        return op_fail(op, EINVAL, "%s%s", spec->before != NULL ? spec->before : "", why.data);
    return 0;
}

static void give_costs(struct op *op, struct expr *e)
{
    e->cost = op_alloc(op, sizeof *e->cost);
    for (size_t i = 0; i < promql_children(e); i++)
        give_costs(op, promql_child(e, i));
}

static int64_t subquery_step_ms(struct metrics *m)
{
    struct scraper_state state;
    int64_t step_ms;

    scraper_state(m->scraper, &state);
    step_ms = state.jobs->evaluation_ms;
    jobs_unref(state.jobs);
    return step_ms;
}

static int fail(struct op *op, int r, const char *where, const struct buf *why)
{
    switch (r) {
    case -EBADMSG:
        return op_fail(op, EBADMSG, "%s", why->data);
    case -E2BIG:
        return op_fail(op, E2BIG,
                       "query processing would load too many samples into memory in query "
                       "execution");
    case -ETIMEDOUT:
        return op_fail(op, ETIMEDOUT, "query timed out in %s", where);
    case -ECANCELED:
        return op_fail(op, ECANCELED, "query was canceled in %s", where);
    case -EBUSY:
        return op_fail(op, EBUSY, "%d queries run and %d wait; try again later", GATE_RUNNING_MAX,
                       GATE_WAITING_MAX);
    default:
        return op_fail(op, -r, "reading samples: %s", strerror(-r));
    }
}

int query_run(struct op *op, struct metrics *m, const struct query_spec *spec,
              struct query_run *ret)
{
    struct eval ev = {
        .db = m->db,
        .text = spec->text,
        .start_ms = spec->start_ms,
        .end_ms = spec->end_ms,
        .step_ms = spec->range ? spec->step_ms : 0,
        .lookback_ms = spec->lookback_ms > 0 ? spec->lookback_ms : QUERY_LOOKBACK_MS,
        .subquery_step_ms = subquery_step_ms(m),
        .samples_max = QUERY_SAMPLES_MAX,
        .ignore_starts = spec->ignore_starts,
        .as_cells = spec->as_cells,
        .cancelled = is_cancelled,
        .ctx = spec->req,
    };
    int64_t timeout_ms = spec->timeout_ms;
    autobuf why = {0};
    double start = now_s();
    int r;

    *ret = (struct query_run){0};
    if (timeout_ms <= 0 || timeout_ms > QUERY_TIMEOUT_MS)
        timeout_ms = QUERY_TIMEOUT_MS;
    ev.deadline_ms = clock_monotonic_ms() + timeout_ms;
    r = parse(op, spec, &ret->q);
    if (r < 0) {
        promql_done(&ret->q);
        return r;
    }
    if (spec->explain)
        give_costs(op, ret->q.root);
    ret->prepare_s = now_s() - start;
    r = gate_enter(&m->gate, ev.deadline_ms, is_cancelled, spec->req);
    ret->queue_s = now_s() - start - ret->prepare_s;
    if (r < 0) {
        promql_done(&ret->q);
        return fail(op, r, "query queue", &why);
    }
    r = promql_eval(&ev, ret->q.root, &ret->result, &why);
    gate_leave(&m->gate);
    ret->eval_s = now_s() - start - ret->prepare_s - ret->queue_s;
    if (r < 0) {
        ret->result = (struct result){0};
        promql_done(&ret->q);
        return fail(op, r, "expression evaluation", &why);
    }
    return 0;
}

void query_run_done(struct query_run *run)
{
    result_done(&run->result);
    promql_done(&run->q);
}
