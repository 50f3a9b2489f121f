/* /api/v1/rules, /alerts and /alertmanagers. */
#include "base/clock.h"
#include "metrics/api/api.h"
#include "metrics/promql/print.h"
#include "metrics/rules/rules.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define NEVER "0001-01-01T00:00:00Z"

struct rules_look {
    struct json *json;
    struct web_request *req;
    bool records, alerts; /* which kinds */
    bool bare;            /* without the alerts of a rule */
    struct exprs match;
    uint64_t limit, seen; /* of groups */
    const char *token;    /* group_next_token: where the page begins; NULL: at the first */
    char next[2 * 20 + 1];
};

/* As RFC3339Nano prints it: no zeros at the end. */
static void put_time(struct json *j, const char *key, int64_t ns)
{
    char text[CLOCK_TEXT_MAX], *z;

    if (ns == 0) {
        json_kstr(j, key, NEVER);
        return;
    }
    clock_print_ns(ns, 9, text);
    z = strchr(text, 'Z');
    while (z > text && z[-1] == '0')
        z--;
    if (z > text && z[-1] == '.')
        z--;
    z[0] = 'Z';
    z[1] = 0;
    json_kstr(j, key, text);
}

static void put_seconds(struct json *j, const char *key, double v)
{
    autobuf text = {0};

    print_value(&text, v);
    json_kraw(j, key, buf_slice(&text));
}

/* strconv.FormatFloat(v, 'e', -1, 64) */
static void put_alert_value(struct json *j, double v)
{
    char text[40];

    if (isnan(v) || isinf(v)) {
        json_kstr(j, "value", isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 0; digits < 18; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    json_kstr(j, "value", text);
}

static void put_alert(struct json *j, const struct alert *a)
{
    json_object(j);
    json_key(j, "labels");
    json_pairs(j, &a->labels);
    json_key(j, "annotations");
    json_pairs(j, &a->annotations);
    json_kstr(j, "state", alert_state_text(a->state));
    put_time(j, "activeAt", a->active_ms * 1000000);
    if (a->keep_since_ms > 0)
        put_time(j, "keepFiringSince", a->keep_since_ms * 1000000);
    put_alert_value(j, a->value);
    json_object_end(j);
}

static void put_alerts(struct json *j, const struct alert *alerts)
{
    json_array(j);
    for (const struct alert *a = alerts; a != NULL; a = a->hh.next)
        if (a->state != ALERT_INACTIVE)
            put_alert(j, a);
    json_array_end(j);
}

static void put_outcome(struct json *j, const struct rule_state *s)
{
    static const char *const health[] = {"unknown", "ok", "err"};

    json_kstr(j, "health", health[s->health]);
    if (s->error != NULL)
        json_kstr(j, "lastError", s->error);
    put_seconds(j, "evaluationTime", s->duration_s);
    put_time(j, "lastEvaluation", s->evaluated_ns);
    json_kstr(j, "type", s->rule->alerting ? "alerting" : "recording");
}

static void put_rule(struct rules_look *l, const struct rule_state *s)
{
    const struct rule *rule = s->rule;

    json_object(l->json);
    if (rule->alerting)
        json_kstr(l->json, "state", alert_state_text(alerts_state(s->alerts)));
    json_kstr(l->json, "name", rule->name);
    json_kstr(l->json, "query", rule->expression);
    if (rule->alerting) {
        put_seconds(l->json, "duration", (double)rule->for_ms / 1000);
        put_seconds(l->json, "keepFiringFor", (double)rule->keep_firing_ms / 1000);
    }
    if (rule->alerting || rule->labels.n > 0) {
        json_key(l->json, "labels");
        json_pairs(l->json, &rule->labels);
    }
    if (rule->alerting) {
        json_key(l->json, "annotations");
        json_pairs(l->json, &rule->annotations);
        json_key(l->json, "alerts");
        if (l->bare)
            json_null(l->json);
        else
            put_alerts(l->json, s->alerts);
    }
    put_outcome(l->json, s);
    json_object_end(l->json);
}

/* Is it one of the values asked for? None asked for: any. */
static bool is_asked(struct web_request *req, const char *key, const char *value)
{
    const char *v = web_query_nth(req, key, 0);

    for (size_t i = 0; v != NULL; v = web_query_nth(req, key, ++i))
        if (strcmp(v, value) == 0)
            return true;
    return web_query_nth(req, key, 0) == NULL;
}

static const char *label_of(const struct rule *rule, const char *name)
{
    const char *v = pairs_get(&rule->labels, name);

    return v != NULL ? v : "";
}

static bool matches(const struct rules_look *l, const struct rule *rule)
{
    if (l->match.n == 0)
        return true;
    for (size_t i = 0; i < l->match.n; i++) {
        const struct selector *s = l->match.items[i].root->selector;
        bool all = true;

        for (size_t k = 0; k < s->n_matchers && all; k++)
            all = matcher_holds(&s->matchers[k],
                                slice_str(label_of(rule, s->matchers[k].name)));
        if (all)
            return true;
    }
    return false;
}

static bool is_wanted(const struct rules_look *l, const struct rule *rule)
{
    return (rule->alerting ? l->alerts : l->records) &&
           is_asked(l->req, "rule_name[]", rule->name) && matches(l, rule);
}

static void token_of(const struct group_state *g, char ret[41])
{
    uint64_t h = hash_bytes(g->def->file, strlen(g->def->file), 1);

    snprintf(ret, 41, "%016" PRIx64, hash_bytes(g->def->name, strlen(g->def->name), h));
}

/* False: the page is full, or has not begun. */
static bool on_page(struct rules_look *l, const struct group_state *g)
{
    char token[41];

    token_of(g, token);
    if (l->token != NULL && strcmp(l->token, token) != 0)
        return false;
    l->token = NULL;
    if (l->limit == 0 || l->seen < l->limit) {
        l->seen++;
        return true;
    }
    if (l->next[0] == 0)
        memcpy(l->next, token, sizeof token);
    return false;
}

static void put_group(void *ctx, const struct group_state *g)
{
    struct rules_look *l = ctx;
    size_t wanted = 0;

    for (size_t i = 0; i < g->def->n; i++)
        wanted += is_wanted(l, &g->def->rules[i]);
    if (wanted == 0 || !is_asked(l->req, "rule_group[]", g->def->name) ||
        !is_asked(l->req, "file[]", g->def->file) || !on_page(l, g))
        return;
    json_object(l->json);
    json_kstr(l->json, "name", g->def->name);
    json_kstr(l->json, "file", g->def->file);
    json_key(l->json, "rules");
    json_array(l->json);
    for (size_t i = 0; i < g->def->n; i++)
        if (is_wanted(l, &g->def->rules[i]))
            put_rule(l, &g->rules[i]);
    json_array_end(l->json);
    put_seconds(l->json, "interval", (double)g->interval_ms / 1000);
    json_ku64(l->json, "limit", g->def->limit);
    put_seconds(l->json, "evaluationTime", g->duration_s);
    put_time(l->json, "lastEvaluation", g->evaluated_ns);
    json_object_end(l->json);
}

static int read_type(struct web_request *req, struct rules_look *l)
{
    const char *type = web_query(req, "type");

    l->records = l->alerts = true;
    if (type == NULL || type[0] == 0)
        return 0;
    l->records = strcasecmp(type, "record") == 0;
    l->alerts = strcasecmp(type, "alert") == 0;
    if (l->records || l->alerts)
        return 0;
    return op_fail(req->op, EINVAL, "invalid parameter \"type\": not supported value \"%s\"", type);
}

static int read_page(struct web_request *req, struct rules_look *l)
{
    const char *limit = web_query(req, "group_limit"), *token = web_query(req, "group_next_token");
    char *end = NULL;
    long v;

    if (token != NULL && token[0] != 0 && (limit == NULL || limit[0] == 0))
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"group_limit\": group_limit needs to be present in "
                       "order to paginate over the groups");
    if (limit == NULL || limit[0] == 0)
        return 0;
    v = strtol(limit, &end, 10);
    if (*end != 0)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"group_limit\": group_limit needs to be a valid number: "
                       "strconv.ParseInt: parsing \"%s\": invalid syntax",
                       limit);
    if (v <= 0)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"group_limit\": group_limit needs to be greater than 0");
    l->limit = (uint64_t)v;
    l->token = token != NULL && token[0] != 0 ? token : NULL;
    return 0;
}

static int read_bare(struct web_request *req, struct rules_look *l)
{
    const char *text = web_query(req, "exclude_alerts");

    if (text == NULL || text[0] == 0 || text_bool(text, &l->bare))
        return 0;
    return op_fail(req->op, EINVAL,
                   "invalid parameter \"exclude_alerts\": error converting exclude_alerts: "
                   "strconv.ParseBool: parsing \"%s\": invalid syntax",
                   text);
}

int api_rules(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct rules_look l = {.req = req};
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = read_type(req, &l);
    if (r == 0)
        r = read_page(req, &l);
    if (r == 0)
        r = read_bare(req, &l);
    if (r == 0)
        r = param_match(req, false, &l.match);
    if (r < 0)
        return prom_fail(&a, r);
    l.json = &a.json;
    json_object(&a.json);
    json_key(&a.json, "groups");
    json_array(&a.json);
    rules_look(a.m->rules, put_group, &l);
    json_array_end(&a.json);
    if (l.next[0] != 0)
        json_kstr(&a.json, "groupNextToken", l.next);
    json_object_end(&a.json);
    exprs_done(&l.match);
    if (l.token != NULL) {
        prom_fail(&a, 0);
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"group_next_token\": invalid group_next_token '%s'. "
                       "were rule groups changed?",
                       l.token);
    }
    return prom_end(&a, false);
}

static void put_active(void *ctx, const struct group_state *g)
{
    struct json *j = ctx;

    for (size_t i = 0; i < g->def->n; i++)
        for (const struct alert *a = g->rules[i].alerts; a != NULL; a = a->hh.next)
            if (a->state != ALERT_INACTIVE)
                put_alert(j, a);
}

int api_alerts(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    json_object(&a.json);
    json_key(&a.json, "alerts");
    json_array(&a.json);
    rules_look(a.m->rules, put_active, &a.json);
    json_array_end(&a.json);
    json_object_end(&a.json);
    return prom_end(&a, false);
}

static void put_manager(void *ctx, const char *url)
{
    struct json *j = ctx;

    json_object(j);
    json_kstr(j, "url", url);
    json_object_end(j);
}

int api_alertmanagers(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    json_object(&a.json);
    json_key(&a.json, "activeAlertmanagers");
    json_array(&a.json);
    notifier_each(rules_notifier(a.m->rules), put_manager, &a.json);
    json_array_end(&a.json);
    json_key(&a.json, "droppedAlertmanagers");
    json_array(&a.json);
    json_array_end(&a.json);
    json_object_end(&a.json);
    return prom_end(&a, false);
}
