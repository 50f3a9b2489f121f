/* /api/v1/targets and /scrape_pools. */
#include "base/clock.h"
#include "metrics/api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct targets_look {
    struct json *json;
    const char *state, *pool;
    struct op *op;
};

/* The target's URL as others reach it: the host's name where it is the loopback. */
static const char *global_url(struct op *op, const char *url)
{
    static const char *const loopback[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *authority = strstr(url, "://");
    char host[256] = "";

    if (authority == NULL)
        return url;
    authority += 3;
    gethostname(host, sizeof host - 1);
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++) {
        size_t n = strlen(loopback[i]);

        if (strncmp(authority, loopback[i], n) == 0 && strchr(":/", authority[n]) != NULL)
            return op_printf(op, "%.*s%s%s", (int)(authority - url), url, host, authority + n);
    }
    return url;
}

static const char *span_text(struct op *op, int64_t ms)
{
    if (ms % 60000 == 0)
        return op_printf(op, "%" PRId64 "m", ms / 60000);
    if (ms % 1000 == 0)
        return op_printf(op, "%" PRId64 "s", ms / 1000);
    return op_printf(op, "%" PRId64 "ms", ms);
}

static void put_active(struct targets_look *l, const struct target *t)
{
    static const char *const health[] = {"unknown", "up", "down"};
    char text[CLOCK_TEXT_MAX];
    autobuf duration = {0};

    json_object(l->json);
    json_key(l->json, "discoveredLabels");
    json_pairs(l->json, &t->discovered);
    json_key(l->json, "labels");
    json_pairs(l->json, &t->labels);
    json_kstr(l->json, "scrapePool", t->job->name);
    json_kstr(l->json, "scrapeUrl", t->url);
    json_kstr(l->json, "globalUrl", global_url(l->op, t->url));
    json_kstr(l->json, "lastError", t->last_error != NULL ? t->last_error : "");
    json_kstr(l->json, "lastScrape",
              t->last_scrape_ns > 0 ? clock_print_ns(t->last_scrape_ns, 9, text)
                                    : "0001-01-01T00:00:00Z");
    print_value(&duration, t->last_duration_s);
    json_kraw(l->json, "lastScrapeDuration", buf_slice(&duration));
    json_kstr(l->json, "health", health[t->health]);
    json_kstr(l->json, "scrapeInterval", span_text(l->op, t->interval_ms));
    json_kstr(l->json, "scrapeTimeout", span_text(l->op, t->timeout_ms));
    json_object_end(l->json);
}

static bool wanted(const struct targets_look *l, const struct job *j)
{
    return l->pool == NULL || strcmp(l->pool, j->name) == 0;
}

static int by_pool(const void *a, const void *b)
{
    const struct target *x = *(struct target *const *)a;
    const struct target *y = *(struct target *const *)b;
    int r = strcmp(x->job->name, y->job->name);

    return r != 0 ? r : strcmp(x->url, y->url);
}

static void look_targets(void *ctx, const struct targets *targets)
{
    struct targets_look *l = ctx;
    bool active = strcmp(l->state, "dropped") != 0;
    struct target **sorted = op_alloc(l->op, (targets->n + 1) * sizeof(struct target *));

    if (targets->n > 0)
        memcpy(sorted, targets->items, targets->n * sizeof(struct target *));
    if (targets->n > 1)
        qsort(sorted, targets->n, sizeof(struct target *), by_pool);
    json_key(l->json, "activeTargets");
    json_array(l->json);
    for (size_t i = 0; active && i < targets->n; i++)
        if (wanted(l, sorted[i]->job))
            put_active(l, sorted[i]);
    json_array_end(l->json);
    json_key(l->json, "droppedTargets");
    json_array(l->json);
    for (size_t i = 0; strcmp(l->state, "active") != 0 && i < targets->n_dropped; i++) {
        if (!wanted(l, targets->dropped[i].job))
            continue;
        json_object(l->json);
        json_key(l->json, "discoveredLabels");
        json_pairs(l->json, &targets->dropped[i].discovered);
        json_kstr(l->json, "scrapePool", targets->dropped[i].job->name);
        json_object_end(l->json);
    }
    json_array_end(l->json);
}

struct dropped_look {
    struct json *json;
    const struct jobs *jobs;
};

static void look_dropped(void *ctx, const struct targets *targets)
{
    struct dropped_look *l = ctx;

    json_key(l->json, "droppedTargetCounts");
    json_object(l->json);
    for (size_t i = 0; i < l->jobs->n; i++) {
        uint64_t n = 0;

        for (size_t k = 0; k < targets->n_dropped; k++)
            n += strcmp(targets->dropped[k].job->name, l->jobs->items[i]->name) == 0;
        json_ku64(l->json, l->jobs->items[i]->name, n);
    }
    json_object_end(l->json);
}

int api_targets(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct targets_look look = {.op = req->op};
    struct scraper_state state;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    look.json = &a.json;
    look.pool = web_query(req, "scrapePool");
    if (look.pool != NULL && look.pool[0] == 0)
        look.pool = NULL;
    look.state = web_query(req, "state");
    if (look.state == NULL)
        look.state = "any";
    scraper_state(a.m->scraper, &state);
    json_object(&a.json);
    scraper_look(a.m->scraper, look_targets, &look);
    scraper_look(a.m->scraper, look_dropped, &(struct dropped_look){&a.json, state.jobs});
    json_object_end(&a.json);
    jobs_unref(state.jobs);
    return prom_end(&a, false);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int api_scrape_pools(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct scraper_state state;
    const char **names;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    scraper_state(a.m->scraper, &state);
    names = op_alloc(req->op, (state.jobs->n + 1) * sizeof *names);
    for (size_t i = 0; i < state.jobs->n; i++)
        names[i] = state.jobs->items[i]->name;
    if (state.jobs->n > 1)
        qsort(names, state.jobs->n, sizeof *names, by_name);
    json_object(&a.json);
    json_key(&a.json, "scrapePools");
    json_array(&a.json);
    for (size_t i = 0; i < state.jobs->n; i++)
        json_str(&a.json, names[i]);
    json_array_end(&a.json);
    json_object_end(&a.json);
    jobs_unref(state.jobs);
    return prom_end(&a, false);
}
