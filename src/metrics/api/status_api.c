/* /api/v1/status/…, /targets, /scrape_pools, /metadata. */
#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int api_status_config(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct scraper_state state;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    scraper_state(a.m->scraper, &state);
    json_object(&a.json);
    json_kstr(&a.json, "yaml", state.jobs->yaml);
    json_object_end(&a.json);
    jobs_unref(state.jobs);
    return prom_end(&a, false);
}

static const char *days_text(struct op *op, int64_t ms)
{
    if (ms % 86400000 == 0)
        return op_printf(op, "%" PRId64 "d", ms / 86400000);
    return op_printf(op, "%" PRId64 "h", ms / 3600000);
}

int api_status_flags(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);
    const struct config *c;

    if (r < 0)
        return r;
    c = a.m->env.config;
    json_object(&a.json);
    json_kstr(&a.json, "config.file", c->prometheus);
    json_kstr(&a.json, "query.lookback-delta", "5m");
    json_kstr(&a.json, "query.max-samples", "10000000");
    json_kstr(&a.json, "query.timeout", "2m");
    json_kstr(&a.json, "scrape.adjust-timestamps", "true");
    json_kstr(&a.json, "scrape.timestamp-tolerance", "2ms");
    json_kstr(&a.json, "storage.tsdb.path", c->data);
    json_kstr(&a.json, "storage.tsdb.retention.size",
              op_printf(req->op, "%" PRIu64 "B", c->retention_bytes));
    json_kstr(&a.json, "storage.tsdb.retention.time", days_text(req->op, c->retention_ms));
    json_kstr(&a.json, "web.enable-admin-api", "true");
    json_kstr(&a.json, "web.enable-lifecycle", "true");
    json_kstr(&a.json, "web.enable-remote-write-receiver", "true");
    json_object_end(&a.json);
    return prom_end(&a, false);
}

/* Grafana reads from the version what it may ask for. */
int api_status_buildinfo(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    json_object(&a.json);
    json_kstr(&a.json, "version", "3.16.0+infrafs." INFRAFS_VERSION);
    json_kstr(&a.json, "revision", "");
    json_kstr(&a.json, "branch", "");
    json_kstr(&a.json, "buildUser", "");
    json_kstr(&a.json, "buildDate", "");
    json_kstr(&a.json, "goVersion", "");
    json_object_end(&a.json);
    return prom_end(&a, false);
}

int api_status_runtimeinfo(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct scraper_state state;
    char text[CLOCK_TEXT_MAX];
    char host[256] = "";
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    scraper_state(a.m->scraper, &state);
    gethostname(host, sizeof host - 1);
    json_object(&a.json);
    json_kstr(&a.json, "startTime", clock_print_ns(a.m->started_unix_ms * 1000000, 3, text));
    json_kstr(&a.json, "CWD", "/");
    json_kstr(&a.json, "hostname", host);
    json_kstr(&a.json, "serverTime", clock_print_ns(clock_unix_ns(), 9, text));
    json_kbool(&a.json, "reloadConfigSuccess", state.reload_ok);
    json_kstr(&a.json, "lastConfigTime", clock_print_ns(state.reloaded_ms * 1000000, 0, text));
    json_ku64(&a.json, "corruptionCount", 0);
    json_ku64(&a.json, "goroutineCount", 0);
    json_ki64(&a.json, "GOMAXPROCS", sysconf(_SC_NPROCESSORS_ONLN));
    json_ku64(&a.json, "GOMEMLIMIT", a.m->env.config->memory_bytes);
    json_kstr(&a.json, "GOGC", "");
    json_kstr(&a.json, "GODEBUG", "");
    json_kstr(&a.json, "storageRetention", days_text(req->op, a.m->env.config->retention_ms));
    json_object_end(&a.json);
    jobs_unref(state.jobs);
    return prom_end(&a, false);
}

/* The most frequent of something. */
struct top {
    struct slice name, value;
    size_t n;
};
struct tops {
    struct op *op;
    const struct index *ix;
    struct top *items;
    size_t n, max;
    struct slice label; /* of the values at hand */
};

static void top_put(struct tops *t, struct slice name, struct slice value, size_t n)
{
    size_t at = t->n < t->max ? t->n++ : t->max;

    if (t->max == 0)
        return;
    if (at == t->max) {
        if (t->items[at - 1].n >= n)
            return;
        at--;
    }
    for (; at > 0 && t->items[at - 1].n < n; at--)
        t->items[at] = t->items[at - 1];
    t->items[at] = (struct top){name, value, n};
}

static void top_value(void *ctx, struct slice text, size_t n_series)
{
    struct tops *t = ctx;

    top_put(t, text, t->label, n_series);
}

static void count_value(void *ctx, struct slice text, size_t n_series)
{
    size_t *counts = ctx;

    (void)n_series;
    counts[0]++;
    counts[1] += text.len;
}

enum { TOP_VALUES, TOP_BYTES, TOP_PAIRS };
struct tops_of {
    struct tops *tops;
    unsigned kind;
};

static void top_name(void *ctx, struct slice text, size_t n_series)
{
    struct tops_of *of = ctx;
    size_t counts[2] = {0};

    if (of->kind == TOP_PAIRS) {
        of->tops->label = text;
        index_values(of->tops->ix, text, top_value, of->tops);
        return;
    }
    (void)n_series;
    index_values(of->tops->ix, text, count_value, counts);
    top_put(of->tops, text, SLICE(""), counts[of->kind]);
}

struct tsdb_look {
    struct answer *a;
    size_t max;
};

static void json_tops(struct json *j, const char *key, const struct tops *t, bool pairs)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; i < t->n; i++) {
        autobuf name = {0};

        if (pairs) {
            buf_add_slice(&name, t->items[i].value);
            buf_add_char(&name, '=');
        }
        buf_add_slice(&name, t->items[i].name);
        json_object(j);
        json_kslice(j, "name", buf_slice(&name));
        json_ku64(j, "value", t->items[i].n);
        json_object_end(j);
    }
    json_array_end(j);
}

static void look_tsdb(void *ctx, const struct index *ix)
{
    static const char *const keys[] = {"labelValueCountByLabelName", "memoryInBytesByLabelName",
                                       "seriesCountByLabelValuePair"};
    struct tsdb_look *look = ctx;
    struct tops t = {.op = look->a->req->op, .ix = ix, .max = look->max};

    t.items = op_alloc(t.op, (t.max + 1) * sizeof *t.items);
    index_values(ix, LABEL_NAME, top_value, &t);
    json_tops(&look->a->json, "seriesCountByMetricName", &t, false);
    for (unsigned kind = TOP_VALUES; kind <= TOP_PAIRS; kind++) {
        t.n = 0;
        index_names(ix, top_name, &(struct tops_of){&t, kind});
        json_tops(&look->a->json, keys[kind], &t, kind == TOP_PAIRS);
    }
}

int api_status_tsdb(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct db_stats s;
    uint64_t limit = 0;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = param_limit(req, &limit);
    if (r == 0 && limit > 10000)
        r = op_fail(req->op, EINVAL, "limit must not exceed 10000");
    if (r < 0)
        return prom_fail(&a, r);
    db_stats(a.m->db, &s);
    json_object(&a.json);
    json_key(&a.json, "headStats");
    json_object(&a.json);
    json_ku64(&a.json, "numSeries", s.series);
    json_ku64(&a.json, "numLabelPairs", s.label_pairs);
    json_ku64(&a.json, "chunkCount", s.series);
    json_ki64(&a.json, "minTime", s.min_ms);
    json_ki64(&a.json, "maxTime", s.max_ms);
    json_object_end(&a.json);
    db_look(a.m->db, look_tsdb, &(struct tsdb_look){&a, limit > 0 ? (size_t)limit : 10});
    json_object_end(&a.json);
    return prom_end(&a, false);
}

struct metadata_answer {
    struct json *json;
    const char *metric;
    uint64_t limit, limit_per_metric, n;
};

static int put_metadata(void *ctx, const char *metric, const struct metadata_item *items, size_t n)
{
    struct metadata_answer *m = ctx;

    if (m->metric != NULL && strcmp(m->metric, metric) != 0)
        return 0;
    if (m->limit > 0 && m->n == m->limit)
        return 1;
    m->n++;
    json_key(m->json, metric);
    json_array(m->json);
    for (size_t i = 0; i < n && (m->limit_per_metric == 0 || i < m->limit_per_metric); i++) {
        json_object(m->json);
        json_kstr(m->json, "type", metric_type_name(items[i].type));
        json_kstr(m->json, "unit", items[i].unit);
        json_kstr(m->json, "help", items[i].help);
        json_object_end(m->json);
    }
    json_array_end(m->json);
    return 0;
}

static int read_count(struct web_request *req, const char *name, uint64_t *ret)
{
    const char *text = web_query(req, name);
    char *end = NULL;

    if (text == NULL || text[0] == 0)
        return 0;
    *ret = (uint64_t)strtol(text, &end, 10);
    if (*end != 0)
        return op_fail(req->op, EINVAL, "%s must be a number", name);
    if ((int64_t)*ret < 0)
        *ret = 0;
    return 0;
}

int api_metadata(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct metadata_answer m = {.json = &a.json};
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    if (read_count(req, "limit", &m.limit) < 0 ||
        read_count(req, "limit_per_metric", &m.limit_per_metric) < 0)
        return prom_fail(&a, -EINVAL);
    m.metric = web_query(req, "metric");
    if (m.metric != NULL && m.metric[0] == 0)
        m.metric = NULL;
    json_object(&a.json);
    metadata_each(a.m->metadata, put_metadata, &m);
    json_object_end(&a.json);
    return prom_end(&a, false);
}
