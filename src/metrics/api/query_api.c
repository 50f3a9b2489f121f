/* /api/v1/query and /api/v1/query_range. */
#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/api/result.h"

#include <errno.h>

static int parse_query(struct web_request *req, struct expr *ret)
{
    const char *text = web_query(req, "query");
    autobuf why = {0};
    int r = promql_parse(req->op, slice_str(text != NULL ? text : ""), ret, &why);

    if (r < 0)
        return op_fail(req->op, EINVAL, "invalid parameter \"query\": %s", why.data);
    return 0;
}

static int read_eval(struct web_request *req, struct metrics *m, struct eval *ev)
{
    int64_t timeout_ms = QUERY_TIMEOUT_MS;

    ev->db = m->db;
    ev->lookback_ms = QUERY_LOOKBACK_MS;
    ev->samples_max = QUERY_SAMPLES_MAX;
    if (param_duration(req, "timeout", &timeout_ms) < 0 ||
        param_duration(req, "lookback_delta", &ev->lookback_ms) < 0)
        return -EINVAL;
    if (timeout_ms <= 0 || timeout_ms > QUERY_TIMEOUT_MS)
        timeout_ms = QUERY_TIMEOUT_MS;
    if (ev->lookback_ms <= 0)
        ev->lookback_ms = QUERY_LOOKBACK_MS;
    ev->deadline_ms = clock_monotonic_ms() + timeout_ms;
    return 0;
}

/* E2BIG is of the query, not of the request: 422, as the rest of what goes wrong while it runs. */
static int eval(struct web_request *req, const struct eval *ev, const struct expr *e,
                struct result *ret)
{
    int r = promql_eval(ev, e, ret);

    if (r == -E2BIG)
        return op_fail(
            req->op, EBADMSG,
            "query processing would load too many samples into memory in query execution");
    if (r == -ETIMEDOUT)
        return op_fail(req->op, ETIMEDOUT, "query timed out in expression evaluation");
    if (r < 0)
        return op_fail(req->op, -r, "reading samples: %s", strerror(-r));
    return 0;
}

static void json_constant(struct json *j, const struct expr *e, int64_t ts_ms)
{
    autobuf text = {0};

    json_object(j);
    json_kstr(j, "resultType",
              e->kind == EXPR_STRING   ? "string"
              : e->kind == EXPR_SCALAR ? "scalar"
                                       : "vector");
    if (e->kind == EXPR_VECTOR)
        buf_add_str(&text, "[{\"metric\":{},\"value\":");
    if (e->kind != EXPR_STRING) {
        result_point(&text, ts_ms, e->number);
    } else {
        buf_add_char(&text, '[');
        print_time(&text, ts_ms);
        buf_add_str(&text, ",\"");
        json_escape(&text, e->string);
        buf_add_str(&text, "\"]");
    }
    if (e->kind == EXPR_VECTOR)
        buf_add_str(&text, "}]");
    json_kraw(j, "result", buf_slice(&text));
    json_object_end(j);
}

int api_query(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct eval ev = {0};
    struct expr e = {0};
    struct result result = {0};
    uint64_t limit = 0;
    int64_t ts_ms = clock_unix_ms();
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = param_limit(req, &limit);
    if (r == 0)
        r = param_time(req, "time", &ts_ms);
    if (r == 0)
        r = read_eval(req, a.m, &ev);
    if (r == 0)
        r = parse_query(req, &e);
    if (r < 0)
        return prom_fail(&a, r);
    ev.start_ms = ev.end_ms = ts_ms;
    if (e.kind != EXPR_SELECTOR && e.kind != EXPR_RANGE) {
        json_constant(&a.json, &e, ts_ms);
        return prom_end(&a, false);
    }
    r = eval(req, &ev, &e, &result);
    if (r == 0)
        r = result_send(&a, &result, e.kind == EXPR_RANGE ? RESULT_MATRIX : RESULT_VECTOR, limit);
    else
        prom_fail(&a, r);
    promql_done(&e);
    return r;
}

static int read_bound(struct web_request *req, const char *name, int64_t *ret_ms)
{
    const char *text = web_query(req, name);
    autobuf quoted = {0};

    if (parse_time(slice_str(text != NULL ? text : ""), ret_ms))
        return 0;
    quote_go(&quoted, slice_str(text != NULL ? text : ""));
    return op_fail(req->op, EINVAL,
                   "invalid parameter \"%s\": cannot parse %s to a valid timestamp", name,
                   quoted.data);
}

static int read_range(struct web_request *req, struct eval *ev)
{
    const char *step = web_query(req, "step");
    autobuf quoted = {0};

    if (read_bound(req, "start", &ev->start_ms) < 0 || read_bound(req, "end", &ev->end_ms) < 0)
        return -EINVAL;
    if (ev->end_ms < ev->start_ms)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"end\": end timestamp must not be before start time");
    if (!parse_duration(slice_str(step != NULL ? step : ""), &ev->step_ms)) {
        quote_go(&quoted, slice_str(step != NULL ? step : ""));
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"step\": cannot parse %s to a valid duration",
                       quoted.data);
    }
    if (ev->step_ms <= 0)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"step\": zero or negative query resolution step widths "
                       "are not accepted. Try a positive integer");
    if ((ev->end_ms - ev->start_ms) / ev->step_ms > QUERY_POINTS_MAX)
        return op_fail(req->op, EINVAL,
                       "exceeded maximum resolution of 11,000 points per timeseries. Try "
                       "decreasing the query resolution (?step=XX)");
    return 0;
}

/* A number at every step. */
static void constant_range(const struct expr *e, const struct eval *ev, struct result *ret)
{
    size_t n = (size_t)((ev->end_ms - ev->start_ms) / ev->step_ms) + 1;

    *ret = (struct result){.series = xcalloc(1, sizeof *ret->series), .n = 1};
    ret->series[0].points = xmalloc(n * sizeof *ret->series[0].points);
    for (size_t i = 0; i < n; i++)
        ret->series[0].points[i] =
            (struct point){ev->start_ms + (int64_t)i * ev->step_ms, e->number};
    ret->series[0].n_points = n;
}

int api_query_range(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct eval ev = {0};
    struct expr e = {0};
    struct result result = {0};
    uint64_t limit = 0;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = read_range(req, &ev);
    if (r == 0)
        r = param_limit(req, &limit);
    if (r == 0)
        r = read_eval(req, a.m, &ev);
    if (r == 0)
        r = parse_query(req, &e);
    if (r == 0 && (e.kind == EXPR_RANGE || e.kind == EXPR_STRING))
        r = op_fail(req->op, EINVAL,
                    "invalid parameter \"query\": invalid expression type \"%s\" for range query, "
                    "must be Scalar or instant Vector",
                    e.kind == EXPR_RANGE ? "range vector" : "string");
    if (r == 0 && e.kind == EXPR_SELECTOR)
        r = eval(req, &ev, &e, &result);
    else if (r == 0)
        constant_range(&e, &ev, &result);
    if (r == 0)
        r = result_send(&a, &result, RESULT_MATRIX, limit);
    else
        prom_fail(&a, r);
    promql_done(&e);
    return r;
}
