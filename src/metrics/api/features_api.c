/* /api/v1/features: what may be asked for. Grafana and others read it. */
#include "metrics/api/api.h"
#include "metrics/promql/functions.h"

static const char *const ON_API[] = {"admin", "label_values_match", "lifecycle", "query_stats",
                                     "query_warnings", "remote_write_receiver", NULL};
static const char *const OFF_API[] = {"otlp_write_receiver", "search", NULL};
static const char *const ON_PROMETHEUS[] = {"auto_reload_config", "server_mode", NULL};
static const char *const OFF_PROMETHEUS[] = {"agent_mode", NULL};
static const char *const ON_PROMQL[] = {
    "anchored",    "at_modifier", "bool",     "by",         "duration_expr",
    "fill",        "fill_left",   "fill_right", "group_left", "group_right",
    "ignoring",    "negative_offset", "offset", "on",       "per_query_lookback_delta",
    "smoothed",    "subqueries",  "without",  NULL};
static const char *const OFF_PROMQL[] = {"per_step_stats", "type_and_unit_labels",
                                         "unquoted_utf8_names", NULL};
static const char *const ON_SCRAPE[] = {"extra_scrape_metrics", NULL};
static const char *const OFF_SCRAPE[] = {"openmetrics2", "start_timestamp_zero_ingestion",
                                         "type_and_unit_labels", NULL};
static const char *const ON_SD[] = {"file", "http", "static", NULL};
static const char *const ON_TSDB[] = {"exemplar_storage", "isolation", "native_histograms",
                                      "st_storage", NULL};
static const char *const OFF_TSDB[] = {"delayed_compaction", NULL};
static const char *const OPERATORS[] = {
    "!=",  "!~",  "%",     "*",       "+",            "-",     "/",           "<",      "</",
    "<=",  "==",  "=~",    ">",       ">/",           ">=",    "@",           "^",      "and",
    "atan2", "avg", "bottomk", "count", "count_values", "group", "limit_ratio", "limitk", "max",
    "min", "or",  "quantile", "stddev", "stdvar",     "sum",   "topk",        "unless", NULL};
#define NAME(id, name, arguments, variadic, type, experimental) name,
static const char *const FUNCTIONS[] = {PROMQL_FUNCTIONS(NAME) NULL};
#undef NAME

static void put(struct json *j, const char *key, const char *const *on, const char *const *off)
{
    json_key(j, key);
    json_object(j);
    for (; *on != NULL; on++)
        json_kbool(j, *on, true);
    for (; off != NULL && *off != NULL; off++)
        json_kbool(j, *off, false);
    json_object_end(j);
}

int api_features(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    json_object(&a.json);
    put(&a.json, "api", ON_API, OFF_API);
    put(&a.json, "prometheus", ON_PROMETHEUS, OFF_PROMETHEUS);
    put(&a.json, "promql", ON_PROMQL, OFF_PROMQL);
    put(&a.json, "promql_functions", FUNCTIONS, NULL);
    put(&a.json, "promql_operators", OPERATORS, NULL);
    put(&a.json, "scrape", ON_SCRAPE, OFF_SCRAPE);
    put(&a.json, "service_discovery_providers", ON_SD, NULL);
    put(&a.json, "tsdb", ON_TSDB, OFF_TSDB);
    json_object_end(&a.json);
    return prom_end(&a, false);
}
