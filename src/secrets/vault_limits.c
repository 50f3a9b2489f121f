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

static bool has_required(struct op *op, const struct policy_limits *l, const struct object *body)
{
    for (size_t i = 0; i < l->required.n; i++) {
        bool found = false;

        for (size_t k = 0; k < body->n && !found; k++)
            found = strcmp(lower(op, body->members[k].key), l->required.items[i].name) == 0;
        if (!found)
            return false;
    }
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
    if (good && changes(req))
        good = vault_body(req, &body) == 0 && has_required(req->op, l, &body) &&
               are_allowed(req->op, l, &body);
    if (good)
        return 0;
    op_forgive(req->op);
    return op_fail(req->op, EACCES, "'%s' may not ask '%s' with these parameters",
                   req->op->who->name, req->path + 4);
}
