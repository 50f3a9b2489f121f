#include "infrafs/infrafs.h"

static int get_health(struct web_request *req, struct web_response *resp)
{
    autobuf text = {0};
    int r = report_health(req->self, &text);

    if (r == 0)
        buf_add_str(&text, "ok");
    buf_add_char(&text, '\n');
    web_reply_buf(req, resp, r < 0 ? 503 : 200, "text/plain; charset=utf-8", &text);
    return 0;
}

/* Prometheus, "Exposition formats", text format 0.0.4 */
static int get_metrics(struct web_request *req, struct web_response *resp)
{
    autobuf text = {0};
    int r = identity_check(req->op, POLICY_READ, "metrics");

    if (r < 0)
        return r;
    report_metrics(req->self, &text);
    web_reply_buf(req, resp, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
    resp->compress = true;
    return 0;
}

const struct route infrafs_routes[] = {
    {.methods = "GET",
     .pattern = "/health",
     .handle = get_health,
     .flags = ROUTE_INLINE | ROUTE_PUBLIC},
    {.methods = "GET", .pattern = "/metrics", .handle = get_metrics},
    {0},
};
