/* vault_limits.c: a request's parameters, and how its answer is wrapped, against what policies say
 * of them (Vault, "Parameter constraints"). */
#include "base/glob.h"
#include "base/scope.h"
#include "secrets/vault.h"

#include <ctype.h>
#include <errno.h>

static const char *lower(struct op *op, struct slice key)
{
    char *text = op_strndup(op, key.data, key.len);

    for (size_t i = 0; i < key.len; i++)
        text[i] = (char)tolower((unsigned char)text[i]);
    return text;
}

static bool is_value(struct op *op, const struct policy_value *want, struct slice value)
{
    struct slice text;

    if (!want->is_string)
        return slice_eq(value_trim(value), slice_of(want->text, want->len));
    return value_string(op, value, &text) == 0 &&
           glob_match(slice_of(want->text, want->len), text);
}

/* No values in the list are all values. */
static bool has_value(struct op *op, const struct policy_parameter *p, struct slice value)
{
    for (size_t i = 0; i < p->n; i++)
        if (is_value(op, &p->values[i], value))
            return true;
    return p->n == 0;
}

static bool are_allowed(struct op *op, const struct policy_limits *l, const struct object *body)
{
    const struct policy_parameter *any = policy_parameter_find(&l->allowed, "*");

    if (body->n == 0)
        return true;
    if (policy_parameter_find(&l->denied, "*") != NULL)
        return false;
    for (size_t i = 0; i < body->n; i++) {
        const char *name = lower(op, body->members[i].key);
        const struct policy_parameter *denied = policy_parameter_find(&l->denied, name);
        const struct policy_parameter *allowed = policy_parameter_find(&l->allowed, name);

        if (denied != NULL && has_value(op, denied, body->members[i].value))
            return false;
        if (l->allowed.n > 0 && allowed == NULL && any == NULL)
            return false;
        if (allowed != NULL && !has_value(op, allowed, body->members[i].value))
            return false;
    }
    return true;
}

static bool has_required(const struct policy_limits *l, const struct object *body)
{
    /* unlike those that are allowed or denied, the name sent counts as it was sent */
    for (size_t i = 0; i < l->required.n; i++)
        if (object_find(body, slice_str(l->required.items[i].name)) == NULL)
            return false;
    return true;
}

static bool is_wrapped_right(const struct policy_limits *l, int64_t ttl_s)
{
    if (l->max_wrapping_s > 0 && (ttl_s == 0 || ttl_s > l->max_wrapping_s))
        return false;
    if (l->min_wrapping_s > 0 && (ttl_s == 0 || ttl_s < l->min_wrapping_s))
        return false;
    return l->min_wrapping_s == 0 || l->max_wrapping_s == 0 ||
           l->max_wrapping_s >= l->min_wrapping_s;
}

static bool changes(const struct web_request *req)
{
    return strcmp(req->method, "PUT") == 0 || strcmp(req->method, "POST") == 0 ||
           strcmp(req->method, "PATCH") == 0;
}

static bool reads(struct web_request *req)
{
    return (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0) &&
           !vault_is_list(req) && !vault_is_scan(req);
}

/* Of a read, what stands in the query is what is sent. */
static int query_as_body(struct web_request *req, struct object *ret)
{
    struct buf text = {0};
    struct json j;
    int r;

    json_init(&j, &text);
    json_object(&j);
    for (size_t i = 0; i < req->n_query; i++) {
        bool again = false;

        for (size_t k = 0; k < i && !again; k++)
            again = strcmp(req->query[i].name, req->query[k].name) == 0;
        if (!again)
            json_kstr(&j, req->query[i].name, req->query[i].value);
    }
    json_object_end(&j);
    r = object_parse(req->op, op_slice(req->op, buf_slice(&text)), ret);
    buf_done(&text);
    return r;
}

int vault_check_limits(struct web_request *req)
{
    const struct policy_limits *l = identity_limits(req->op->who, slice_str(req->path + 4));
    struct object body;
    int64_t ttl_s = 0;
    bool good;

    req->op->limits_kept = true;
    if (l == NULL)
        return 0;
    good = vault_wrap_ttl(req, &ttl_s) == 0 && is_wrapped_right(l, ttl_s);
    if (good && (changes(req) || reads(req)))
        good = (reads(req) ? query_as_body(req, &body) : vault_body(req, &body)) == 0 &&
               has_required(l, &body) && are_allowed(req->op, l, &body);
    if (good)
        return 0;
    op_forgive(req->op);
    return op_fail(req->op, EACCES, "'%s' may not ask '%s' with these parameters",
                   req->op->who->name, req->path + 4);
}
