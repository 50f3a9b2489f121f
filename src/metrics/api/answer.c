#include "base/clock.h"
#include "base/shim.h"
#include "identity/identity.h"
#include "metrics/api/api.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int prom_begin(struct answer *a, struct web_request *req, struct web_response *resp)
{
    int r = identity_check(req->op, POLICY_READ, "metrics/api");

    *a = (struct answer){.req = req, .resp = resp, .m = req->self};
    if (r == 0)
        r = web_read_form(req);
    if (r < 0)
        return r;
    buf_add_str(&a->body, "{\"status\":\"success\",\"data\":");
    json_init(&a->json, &a->body);
    return 0;
}

int prom_end(struct answer *a, bool truncated)
{
    if (truncated)
        buf_add_str(&a->body, ",\"warnings\":[\"results truncated due to limit\"]");
    buf_add_char(&a->body, '}');
    a->resp->compress = true;
    web_reply_buf(a->req, a->resp, 200, "application/json", &a->body);
    buf_done(&a->body);
    return 0;
}

int prom_fail(struct answer *a, int r)
{
    buf_done(&a->body);
    return r;
}

bool parse_time(struct slice text, int64_t *ret_ms)
{
    double seconds = 0;
    int64_t ns = 0;

    if (double_parse(text, &seconds) == 0 && fabs(seconds) < 9e12) {
        *ret_ms = (int64_t)nearbyint(seconds * 1000);
        return true;
    }
    if (clock_parse(text, &ns) < 0)
        return false;
    *ret_ms = ns / 1000000;
    return true;
}

bool parse_duration(struct slice text, int64_t *ret_ms)
{
    double seconds = 0;

    if (double_parse(text, &seconds) == 0) {
        if (!(fabs(seconds) < 9e12))
            return false;
        *ret_ms = (int64_t)(seconds * 1000);
        return true;
    }
    return duration_parse_ms(text, ret_ms) == 0;
}

int param_time(struct web_request *req, const char *name, int64_t *ret_ms)
{
    const char *text = web_query(req, name);
    autobuf quoted = {0};

    if (text == NULL || text[0] == 0 || parse_time(slice_str(text), ret_ms))
        return 0;
    quote_go(&quoted, slice_str(text));
    return op_fail(req->op, EINVAL,
                   "invalid parameter \"%s\": invalid time value for '%s': cannot parse %s to a "
                   "valid timestamp",
                   name, name, quoted.data);
}

int param_duration(struct web_request *req, const char *name, int64_t *ret_ms)
{
    const char *text = web_query(req, name);
    autobuf quoted = {0};

    if (text == NULL || text[0] == 0 || parse_duration(slice_str(text), ret_ms))
        return 0;
    quote_go(&quoted, slice_str(text));
    return op_fail(req->op, EINVAL, "invalid parameter \"%s\": cannot parse %s to a valid duration",
                   name, quoted.data);
}

bool text_bool(const char *text, bool *ret)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

    for (size_t i = 0; i < 6; i++) {
        *ret = strcmp(text, yes[i]) == 0;
        if (*ret || strcmp(text, no[i]) == 0)
            return true;
    }
    return false;
}

int param_limit(struct web_request *req, uint64_t *ret)
{
    const char *text = web_query(req, "limit");
    char *end = NULL;
    long v;

    *ret = 0;
    if (text == NULL || text[0] == 0)
        return 0;
    v = strtol(text, &end, 10);
    if (*end != 0)
        return op_fail(req->op, EINVAL,
                       "invalid parameter \"limit\": strconv.Atoi: parsing \"%s\": invalid syntax",
                       text);
    if (v < 0)
        return op_fail(req->op, EINVAL, "invalid parameter \"limit\": limit must be non-negative");
    *ret = (uint64_t)v;
    return 0;
}

void exprs_done(struct exprs *e)
{
    for (size_t i = 0; i < e->n; i++)
        promql_done(&e->items[i]);
    *e = (struct exprs){0};
}

static bool matches_all(const struct selector *s)
{
    for (size_t i = 0; i < s->n_matchers; i++)
        if (!s->matchers[i].matches_empty)
            return false;
    return true;
}

int param_match(struct web_request *req, bool needed, struct exprs *ret)
{
    size_t n = 0;

    *ret = (struct exprs){0};
    while (web_query_nth(req, "match[]", n) != NULL)
        n++;
    if (n == 0)
        return needed ? op_fail(req->op, EINVAL, "no match[] parameter provided") : 0;
    ret->items = op_alloc(req->op, n * sizeof *ret->items);
    for (; ret->n < n; ret->n++) {
        autobuf why = {0};

        if (promql_parse_selector(req->op, slice_str(web_query_nth(req, "match[]", ret->n)),
                                  &ret->items[ret->n], &why) < 0) {
            exprs_done(ret);
            return op_fail(req->op, EINVAL, "invalid parameter \"match[]\": %s", why.data);
        }
        if (matches_all(ret->items[ret->n].root->selector)) {
            ret->n++;
            exprs_done(ret);
            return op_fail(req->op, EINVAL,
                           "invalid parameter \"match[]\": match[] must contain at least one "
                           "non-empty matcher");
        }
    }
    return 0;
}

static int by_ref(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

void select_any(const struct index *ix, const struct exprs *e, struct refs *ret)
{
    size_t kept = 0;

    if (e->n == 0) {
        index_select(ix, NULL, 0, ret);
        return;
    }
    *ret = (struct refs){0};
    for (size_t i = 0; i < e->n; i++) {
        const struct selector *s = e->items[i].root->selector;
        struct refs some;

        index_select(ix, s->matchers, s->n_matchers, &some);
        for (size_t k = 0; k < some.n; k++)
            refs_add(ret, some.items[k]);
        refs_done(&some);
    }
    if (ret->n > 1)
        qsort(ret->items, ret->n, sizeof *ret->items, by_ref);
    for (size_t i = 0; i < ret->n; i++)
        if (kept == 0 || ret->items[kept - 1] != ret->items[i])
            ret->items[kept++] = ret->items[i];
    ret->n = kept;
}

void json_labels(struct json *j, const struct label *labels, size_t n)
{
    json_object(j);
    for (size_t i = 0; i < n; i++) {
        json_key_slice(j, labels[i].name);
        json_slice(j, labels[i].value);
    }
    json_object_end(j);
}

void json_pairs(struct json *j, const struct pairs *pairs)
{
    json_object(j);
    for (size_t i = 0; i < pairs->n; i++)
        json_kstr(j, pairs->items[i].name, pairs->items[i].value);
    json_object_end(j);
}
