/* Routes and errors of the Prometheus dialect. */
#include "base/clock.h"
#include "base/hash.h"
#include "identity/identity.h"
#include "metrics/api/api.h"

#include <errno.h>

static const char *error_type(int err, int *ret_status)
{
    switch (err) {
    case -EINVAL:
    case -EFBIG:
        *ret_status = err == -EINVAL ? 400 : 413;
        return "bad_data";
    case -EBADMSG:
    case -E2BIG:
        *ret_status = 422;
        return "execution";
    case -ECANCELED:
        *ret_status = 499;
        return "canceled";
    case -ETIMEDOUT:
        *ret_status = 503;
        return "timeout";
    case -EBUSY:
    case -EAGAIN:
        *ret_status = 503;
        return "unavailable";
    case -ENOENT:
        *ret_status = 404;
        return "not_found";
    default:
        *ret_status = web_status(err);
        return *ret_status == 401 || *ret_status == 403 ? "unauthorized" : "internal";
    }
}

void metrics_render(void *self, struct web_request *req, int err, struct web_response *resp)
{
    autobuf body = {0};
    struct json j;
    int status = 500;
    const char *type = error_type(err, &status);

    if (status == 401 || strncmp(req->path, "/api/v1/", 8) != 0) {
        web_render_plain(self, req, err, resp);
        return;
    }
    json_init(&j, &body);
    json_object(&j);
    json_kstr(&j, "status", "error");
    json_kstr(&j, "errorType", type);
    json_kstr(&j, "error", op_why(req->op, err));
    json_object_end(&j);
    web_reply_buf(req, resp, status, "application/json", &body);
}

/* What there is nothing to say about. */
static int answer_fixed(struct web_request *req, struct web_response *resp, const char *data)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    json_raw(&a.json, slice_str(data));
    return prom_end(&a, false);
}

static int api_walreplay(struct web_request *req, struct web_response *resp)
{
    return answer_fixed(req, resp, "{\"min\":0,\"max\":0,\"current\":0}");
}

/* A run as Prometheus names a block: a ULID of its time and its name. */
static void print_block(void *ctx, const struct db_run *run)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    struct json *j = ctx;
    uint64_t name = hash_bytes(run->name, strlen(run->name), 23);
    char ulid[27] = "";

    for (unsigned i = 0; i < 26; i++)
        ulid[25 - i] = i < 16 ? digits[i < 12 ? name >> (5 * i) & 31 : 0]
                              : digits[(uint64_t)run->start_ms >> (5 * (i - 16)) & 31];
    json_object(j);
    json_kstr(j, "ulid", ulid);
    json_ki64(j, "minTime", run->start_ms);
    json_ki64(j, "maxTime", run->end_ms);
    json_key(j, "stats");
    json_object(j);
    json_object_end(j);
    json_key(j, "compaction");
    json_object(j);
    json_ki64(j, "level", run->window_ms > 0 ? 2 : 1);
    json_key(j, "sources");
    json_array(j);
    json_str(j, ulid);
    json_array_end(j);
    json_object_end(j);
    json_ki64(j, "version", 1);
    json_object_end(j);
}

static int api_blocks(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    json_object(&a.json);
    json_key(&a.json, "blocks");
    json_array(&a.json);
    db_runs(a.m->db, print_block, &a.json);
    json_array_end(&a.json);
    json_object_end(&a.json);
    return prom_end(&a, false);
}

static int not_found(struct web_request *req, struct web_response *resp)
{
    web_set_header(req, resp, "X-Content-Type-Options", "nosniff");
    web_reply_str(req, resp, 404, "text/plain; charset=utf-8", "404 page not found\n");
    return 0;
}

static int healthy(struct web_request *req, struct web_response *resp)
{
    web_reply_str(req, resp, 200, "text/plain; charset=utf-8", "Prometheus Server is Healthy.\n");
    return 0;
}

static int ready(struct web_request *req, struct web_response *resp)
{
    web_reply_str(req, resp, 200, "text/plain; charset=utf-8", "Prometheus Server is Ready.\n");
    return 0;
}

static int reload(struct web_request *req, struct web_response *resp)
{
    struct metrics *m = req->self;
    autobuf why = {0};
    int r = identity_check(req->op, POLICY_UPDATE, "metrics/config");

    if (r < 0)
        return r;
    r = scraper_reload(m->scraper, &why);
    if (r < 0) {
        web_reply_str(req, resp, 500, "text/plain; charset=utf-8",
                      op_printf(req->op, "failed to reload config: %s\n", why.data));
        return 0;
    }
    op_changed(req->op, CHANGE_CONTENT, "/metrics/prometheus.yml");
    op_changed(req->op, CHANGE_SUBTREE, "/metrics/targets");
    resp->status = 200;
    return 0;
}

#define BOTH "GET,POST"

const struct route metrics_routes[] = {
    {.methods = BOTH, .pattern = "/api/v1/query", .handle = api_query},
    {.methods = BOTH, .pattern = "/api/v1/query_range", .handle = api_query_range},
    {.methods = BOTH, .pattern = "/api/v1/format_query", .handle = api_format_query},
    {.methods = BOTH, .pattern = "/api/v1/parse_query", .handle = api_parse_query},
    {.methods = BOTH, .pattern = "/api/v1/series", .handle = api_series},
    {.methods = BOTH, .pattern = "/api/v1/labels", .handle = api_labels},
    {.methods = "GET", .pattern = "/api/v1/label/{name}/values", .handle = api_label_values},
    {.methods = "GET", .pattern = "/api/v1/targets", .handle = api_targets},
    {.methods = "GET", .pattern = "/api/v1/targets/metadata", .handle = api_targets_metadata},
    {.methods = "GET", .pattern = "/api/v1/features", .handle = api_features},
    {.methods = "GET", .pattern = "/api/v1/scrape_pools", .handle = api_scrape_pools},
    {.methods = "GET", .pattern = "/api/v1/metadata", .handle = api_metadata},
    {.methods = "GET", .pattern = "/api/v1/rules", .handle = api_rules},
    {.methods = "GET", .pattern = "/api/v1/alerts", .handle = api_alerts},
    {.methods = "GET", .pattern = "/api/v1/alertmanagers", .handle = api_alertmanagers},
    {.methods = BOTH, .pattern = "/api/v1/query_exemplars", .handle = api_exemplars},
    {.methods = "GET", .pattern = "/api/v1/status/config", .handle = api_status_config},
    {.methods = "GET", .pattern = "/api/v1/status/flags", .handle = api_status_flags},
    {.methods = "GET", .pattern = "/api/v1/status/buildinfo", .handle = api_status_buildinfo},
    {.methods = "GET", .pattern = "/api/v1/status/runtimeinfo", .handle = api_status_runtimeinfo},
    {.methods = "GET", .pattern = "/api/v1/status/tsdb", .handle = api_status_tsdb},
    {.methods = "GET", .pattern = "/api/v1/status/tsdb/blocks", .handle = api_blocks},
    {.methods = "GET", .pattern = "/api/v1/status/walreplay", .handle = api_walreplay},
    {.methods = "POST",
     .pattern = "/api/v1/write",
     .handle = api_write,
     .body_limit_bytes = WRITE_BYTES_MAX},
    {.methods = "POST",
     .pattern = "/api/v1/read",
     .handle = api_read,
     .body_limit_bytes = WRITE_BYTES_MAX},
    {.methods = "POST,PUT",
     .pattern = "/api/v1/admin/tsdb/delete_series",
     .handle = api_delete_series,
     .flags = ROUTE_AUDIT},
    {.methods = "POST,PUT",
     .pattern = "/api/v1/admin/tsdb/clean_tombstones",
     .handle = api_clean_tombstones,
     .flags = ROUTE_AUDIT},
    {.methods = "POST,PUT",
     .pattern = "/api/v1/admin/tsdb/snapshot",
     .handle = api_snapshot,
     .flags = ROUTE_AUDIT},
    {.methods = "*", .pattern = "/api/v1/{rest...}", .handle = not_found, .flags = ROUTE_PUBLIC},
    {.methods = "GET", .pattern = "/federate", .handle = api_federate},
    {.methods = "GET",
     .pattern = "/-/healthy",
     .handle = healthy,
     .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.methods = "GET",
     .pattern = "/-/ready",
     .handle = ready,
     .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.methods = "POST,PUT", .pattern = "/-/reload", .handle = reload, .flags = ROUTE_AUDIT},
    {0},
};
