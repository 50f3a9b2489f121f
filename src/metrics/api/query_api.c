/* /api/v1/query, query_range, format_query and parse_query. */
#include "base/clock.h"
#include "metrics/api/query_run.h"
#include "metrics/api/result.h"

#include <errno.h>
#include <math.h>

#define STARTS_HEADER "X-Prometheus-Use-Start-Timestamps"

static int read_starts(struct web_request *req, struct query_spec *spec)
{
    const char *text = web_header(req, STARTS_HEADER);
    autobuf quoted = {0};
    bool use = true;

    if (text != NULL && text[0] != 0 && !text_bool(text, &use)) {
        quote_go(&quoted, slice_str(text));
        return op_fail(req->op, EINVAL,
                       "error parsing " STARTS_HEADER
                       " header: strconv.ParseBool: parsing %s: invalid syntax",
                       quoted.data);
    }
    spec->ignore_starts = !use;
    return 0;
}

/* What both kinds of a query take. */
static int read_common(struct web_request *req, struct query_spec *spec)
{
    const char *text = web_query(req, "query");
    const char *lookback = web_query(req, "lookback_delta");
    const char *explain = web_query(req, "explain");
    autobuf quoted = {0};

    spec->text = slice_str(text != NULL ? text : "");
    spec->before = "invalid parameter \"query\": ";
    spec->req = req;
    spec->explain = explain != NULL && strcmp(explain, "1") == 0;
    if (param_duration(req, "timeout", &spec->timeout_ms) < 0)
        return -EINVAL;
    if (lookback == NULL || lookback[0] == 0 ||
        parse_duration(slice_str(lookback), &spec->lookback_ms))
        return read_starts(req, spec);
    quote_go(&quoted, slice_str(lookback));
    return op_fail(req->op, EINVAL,
                   "error parsing lookback delta duration: cannot parse %s to a valid duration",
                   quoted.data);
}

static void add_seconds(struct buf *out, const char *name, double v)
{
    buf_printf(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", name);
    print_value(out, round(v * 1e9) / 1e9);
}

/* As Prometheus' engine has them, and peakBytes; sorting the result is part of the evaluation here. */
static void add_stats(struct buf *out, const struct query_run *run, uint64_t limit)
{
    const struct result *r = &run->result;
    uint64_t answered = r->bytes + result_text_bytes(r, limit);

    buf_add_str(out, ",\"stats\":{\"timings\":{");
    add_seconds(out, "evalTotalTime", run->prepare_s + run->eval_s);
    add_seconds(out, "resultSortTime", 0);
    add_seconds(out, "queryPreparationTime", run->prepare_s);
    add_seconds(out, "innerEvalTime", run->eval_s);
    add_seconds(out, "execQueueTime", run->queue_s);
    add_seconds(out, "execTotalTime", run->prepare_s + run->queue_s + run->eval_s);
    buf_printf(out,
               "},\"samples\":{\"totalQueryableSamples\":%" PRIu64 ",\"samplesRead\":%" PRIu64
               ",\"seriesTouched\":%" PRIu64 ",\"peakSamples\":%" PRIu64
               ",\"peakBytes\":%" PRIu64 "}}",
               r->samples_total, r->samples_read, r->series_touched, r->samples_peak,
               r->bytes_peak > answered ? r->bytes_peak : answered);
}

static void json_node(struct json *j, const struct expr *e)
{
    autobuf text = {0};

    promql_print_node(&text, e);
    json_object(j);
    json_kslice(j, "node", buf_slice(&text));
    json_ku64(j, "start", e->at.start);
    json_ku64(j, "end", e->at.end);
    json_kbool(j, "once", e->step_invariant);
    json_ku64(j, "nanoseconds", e->cost->ns);
    json_ku64(j, "samples", e->cost->samples);
    json_ku64(j, "series", e->cost->series);
    json_key(j, "below");
    json_array(j);
    for (size_t i = 0; i < promql_children(e); i++)
        json_node(j, promql_child(e, i));
    json_array_end(j);
    json_object_end(j);
}

static void add_explain(struct buf *out, const struct query_run *run)
{
    struct json j;

    buf_add_str(out, ",\"explain\":");
    json_init(&j, out);
    json_node(&j, run->q.root);
}

static int answer(struct answer *a, const struct query_spec *spec, uint64_t limit)
{
    const char *stats = web_query(a->req, "stats");
    struct query_run run;
    autobuf more = {0};
    int r = query_run(a->req->op, a->m, spec, &run);

    if (r < 0)
        return prom_fail(a, r);
    if (stats != NULL && stats[0] != 0)
        add_stats(&more, &run, limit);
    if (spec->explain)
        add_explain(&more, &run);
    r = result_send(a, &run.result, spec->start_ms, limit, &more);
    query_run_done(&run);
    return r;
}

int api_query(struct web_request *req, struct web_response *resp)
{
    struct query_spec spec = {.start_ms = clock_unix_ms()};
    struct answer a;
    uint64_t limit = 0;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = param_limit(req, &limit);
    if (r == 0)
        r = param_time(req, "time", &spec.start_ms);
    if (r == 0)
        r = read_common(req, &spec);
    if (r < 0)
        return prom_fail(&a, r);
    spec.end_ms = spec.start_ms;
    return answer(&a, &spec, limit);
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

static int read_range(struct web_request *req, struct query_spec *spec)
{
    const char *step = web_query(req, "step");
    autobuf quoted = {0};

    spec->range = spec->as_cells = true;
    if (read_bound(req, "start", &spec->start_ms) < 0 || read_bound(req, "end", &spec->end_ms) < 0)
        return -EINVAL;
    if (spec->end_ms < spec->start_ms)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"end\": end timestamp must not be before start time");
    if (!parse_duration(slice_str(step != NULL ? step : ""), &spec->step_ms)) {
        quote_go(&quoted, slice_str(step != NULL ? step : ""));
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"step\": cannot parse %s to a valid duration",
                       quoted.data);
    }
    if (spec->step_ms <= 0)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"step\": zero or negative query resolution step widths "
                       "are not accepted. Try a positive integer");
    if ((spec->end_ms - spec->start_ms) / spec->step_ms > QUERY_POINTS_MAX)
        return op_fail(req->op, EINVAL,
                       "exceeded maximum resolution of 11,000 points per timeseries. Try "
                       "decreasing the query resolution (?step=XX)");
    return 0;
}

int api_query_range(struct web_request *req, struct web_response *resp)
{
    struct query_spec spec = {0};
    struct answer a;
    uint64_t limit = 0;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = param_limit(req, &limit);
    if (r == 0)
        r = read_range(req, &spec);
    if (r == 0)
        r = read_common(req, &spec);
    if (r < 0)
        return prom_fail(&a, r);
    return answer(&a, &spec, limit);
}

static int begin_parsed(struct answer *a, struct web_request *req, struct web_response *resp,
                        struct promql *q)
{
    const char *text;
    autobuf why = {0};
    int r = prom_begin(a, req, resp);

    if (r < 0)
        return r;
    text = web_query(req, "query");
    r = promql_parse(req->op, slice_str(text != NULL ? text : ""), q, &why);
    if (r < 0)
        return prom_fail(
            a, op_fail(req->op, EINVAL, "invalid parameter \"query\": %s", why.data));
    return 0;
}

int api_format_query(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct promql q = {0};
    autobuf text = {0};
    int r = begin_parsed(&a, req, resp, &q);

    if (r < 0)
        return r;
    promql_pretty(&text, q.root);
    promql_done(&q);
    json_slice(&a.json, buf_slice(&text));
    return prom_end(&a, false);
}

int api_parse_query(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct promql q = {0};
    int r = begin_parsed(&a, req, resp, &q);

    if (r < 0)
        return r;
    promql_json(&a.json, q.root);
    promql_done(&q);
    return prom_end(&a, false);
}
