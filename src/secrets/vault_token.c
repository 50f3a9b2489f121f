/* vault_token.c: auth/token. */
#include "base/clock.h"
#include "base/scope.h"
#include "identity/tokens.h"
#include "secrets/vault_auth.h"

#include <errno.h>
#include <strings.h>

static void json_policies(struct json *j, const char *key, const char *const *policies)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; policies[i] != NULL; i++)
        json_str(j, policies[i]);
    json_array_end(j);
}

static int64_t ttl_left(const struct token_info *t)
{
    int64_t left = (t->expire_unix_ms - clock_unix_ms() + 999) / 1000;

    return t->expire_unix_ms == 0 || left < 0 ? 0 : left;
}

static void json_info(struct op *op, struct json *j, const struct token_info *t, const char *id)
{
    json_kstr(j, "accessor", t->accessor);
    json_ki64(j, "creation_time", t->created_unix_s);
    json_ki64(j, "creation_ttl", t->creation_ttl_s);
    json_kstr(j, "display_name", t->display_name);
    json_kstr(j, "entity_id", "");
    if (t->expire_unix_ms == 0)
        json_knull(j, "expire_time"); /* the key must be there: External Secrets looks for it */
    else
        json_ktime(j, "expire_time", t->expire_unix_ms * 1000000);
    json_ki64(j, "explicit_max_ttl", t->explicit_max_ttl_s);
    json_kstr(j, "id", id);
    json_ktime(j, "issue_time", t->created_unix_s * INT64_C(1000000000));
    if (t->renewed_unix_s > 0)
        json_ki64(j, "last_renewal_time", t->renewed_unix_s);
    if (t->meta.len > 0)
        json_kraw(j, "meta", t->meta);
    else
        json_knull(j, "meta");
    json_ku64(j, "num_uses", t->num_uses);
    json_kbool(j, "orphan", t->parent[0] == 0);
    json_kstr(j, "path", t->path);
    if (t->period_s > 0)
        json_ki64(j, "period", t->period_s);
    json_policies(j, "policies", t->policies);
    json_kbool(j, "renewable", t->renewable);
    json_ki64(j, "ttl", ttl_left(t));
    json_kstr(j, "type", "service");
    (void)op;
}

void vault_answer_auth(struct web_request *req, struct web_response *resp,
                       const struct token_info *t, const char *token)
{
    struct vault_answer a;

    vault_answer_begin(&a, req);
    json_null(&a.json);
    json_knull(&a.json, "wrap_info");
    json_knull(&a.json, "warnings");
    json_key(&a.json, "auth");
    json_object(&a.json);
    json_kstr(&a.json, "client_token", token);
    json_kstr(&a.json, "accessor", t->accessor);
    json_policies(&a.json, "policies", t->policies);
    json_policies(&a.json, "token_policies", t->policies);
    if (t->meta.len > 0)
        json_kraw(&a.json, "metadata", t->meta);
    else
        json_knull(&a.json, "metadata");
    json_ki64(&a.json, "lease_duration", ttl_left(t));
    json_kbool(&a.json, "renewable", t->renewable);
    json_kstr(&a.json, "entity_id", "");
    json_kstr(&a.json, "token_type", "service");
    json_kbool(&a.json, "orphan", t->parent[0] == 0);
    json_knull(&a.json, "mfa_requirement");
    json_ku64(&a.json, "num_uses", t->num_uses);
    json_object_end(&a.json);
    vault_answer_end_auth(&a, resp);
}

/* The token as the caller sent it, to be shown back to it. */
static const char *own_token(struct web_request *req)
{
    const char *token = web_header(req, "X-Vault-Token");

    if (token != NULL)
        return token;
    token = web_header(req, "Authorization");
    return token != NULL && strncasecmp(token, "Bearer ", 7) == 0 ? token + 7 : "";
}

static void answer_info(struct web_request *req, struct web_response *resp,
                        const struct token_info *t, const char *id)
{
    struct vault_answer a;

    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_info(req->op, &a.json, t, id);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
}

static int read_increment(struct op *op, const struct object *body, int64_t *ret_s)
{
    struct slice value = object_value(body, "increment");

    *ret_s = 0;
    if (value.len > 0 && vault_duration(op, value, ret_s) < 0)
        return op_fail(op, EINVAL,
                       "error converting input for field \"increment\": expected a duration");
    *ret_s /= INT64_C(1000000000);
    return 0;
}

static int renew(struct web_request *req, struct web_response *resp, const struct object *body,
                 const char *id, const char *token)
{
    struct secrets *s = req->self;
    struct token_info t;
    int64_t increment;
    int r = read_increment(req->op, body, &increment);

    if (r == 0)
        r = token_renew(s->identities, req->op, id, increment, &t);
    if (r == 0)
        vault_answer_auth(req, resp, &t, token);
    return r;
}

int vault_token_self(struct web_request *req, struct web_response *resp)
{
    const char *verb = req->path + sizeof "/v1/auth/token/" - 1;
    const char *id = req->op->who->token_id;
    struct secrets *s = req->self;
    struct object body;
    struct token_info t;
    int r = vault_begin(req);

    if (r == 0 && id[0] == 0)
        r = op_fail(req->op, EPERM, "no token was sent");
    if (r == 0)
        r = identity_check(req->op, verb[0] == 'l' ? POLICY_READ : POLICY_UPDATE, "auth/token/%s",
                           verb);
    if (r == 0)
        r = vault_body(req, &body);
    if (r < 0)
        return r;
    if (strcmp(verb, "renew-self") == 0)
        return renew(req, resp, &body, id, own_token(req));
    if (strcmp(verb, "revoke-self") == 0) {
        r = token_revoke(s->identities, req->op, id, false);
        if (r == 0)
            vault_answer_empty(resp);
        return r;
    }
    r = token_lookup_id(s->identities, req->op, id, &t);
    if (r == 0)
        answer_info(req, resp, &t, own_token(req));
    return r;
}

/* The token that a body names, by itself or by its accessor. */
static int find_other(struct web_request *req, const struct object *body, bool by_accessor,
                      const char **ret_token, struct token_info *ret)
{
    struct secrets *s = req->self;
    const char *text = NULL;
    int r = vault_string(req->op, body, by_accessor ? "accessor" : "token", &text);

    if (r == 0 && text == NULL)
        r = op_fail(req->op, EINVAL, "missing %s", by_accessor ? "accessor" : "token");
    if (r < 0)
        return r;
    *ret_token = by_accessor ? "" : text;
    r = by_accessor ? token_lookup_accessor(s->identities, req->op, text, ret)
                    : token_lookup(s->identities, req->op, slice_str(text), ret);
    if (r == -EPERM || r == -ENOENT) {
        op_forgive(req->op);
        r = op_fail(req->op, ENOENT, by_accessor ? "invalid accessor" : "bad token");
    }
    return r;
}

static int end_other(struct web_request *req, struct web_response *resp, const struct token_info *t,
                     bool orphan)
{
    struct secrets *s = req->self;
    int r = token_revoke(s->identities, req->op, t->id, orphan);

    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

int vault_token_other(struct web_request *req, struct web_response *resp)
{
    const char *verb = web_param(req, "verb");
    bool by_accessor = strstr(verb, "-accessor") != NULL;
    const char *token = "";
    struct object body;
    struct token_info t;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "auth/token/%s", verb);
    if (r == 0)
        r = vault_body(req, &body);
    if (r < 0)
        return r;
    if (strncmp(verb, "lookup", 6) != 0 && strncmp(verb, "renew", 5) != 0 &&
        strncmp(verb, "revoke", 6) != 0)
        return op_fail(req->op, ENOENT, "unsupported path");
    r = find_other(req, &body, by_accessor, &token, &t);
    if (r == -ENOENT && strncmp(verb, "lookup", 6) == 0) /* Vault's status for it */
        return vault_answer_error(req, resp, 403, op_why(req->op, r));
    if (r == -ENOENT && !by_accessor && strncmp(verb, "revoke", 6) == 0) {
        vault_answer_empty(resp); /* it is gone, as asked for */
        return 0;
    }
    if (r == -ENOENT)
        return vault_answer_error(req, resp, 400, op_why(req->op, r));
    if (r < 0)
        return r;
    if (verb[0] == 'l')
        answer_info(req, resp, &t, token);
    else if (strncmp(verb, "renew", 5) == 0)
        r = renew(req, resp, &body, t.id, token);
    else
        r = end_other(req, resp, &t, strcmp(verb, "revoke-orphan") == 0);
    return r;
}

static int read_seconds(struct op *op, const struct object *body, const char *key, int64_t *ret_s)
{
    struct slice value = object_value(body, key);

    *ret_s = 0;
    if (value.len > 0 && vault_duration(op, value, ret_s) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"%s\": expected a duration",
                       key);
    *ret_s /= INT64_C(1000000000);
    return 0;
}

/* A child may not do more than its parent: only root hands out what it likes. */
static int check_policies(struct op *op, const char *const *policies)
{
    const char *const *own = op->who->policy_names;
    bool sudo = (identity_rights(op->who, SLICE("auth/token/create")) & POLICY_SUDO) != 0;

    for (size_t i = 0; policies[i] != NULL; i++) {
        bool is_root = strcmp(policies[i], "root") == 0;
        bool has = strcmp(policies[i], "default") == 0 || (sudo && !is_root);

        for (size_t k = 0; own != NULL && own[k] != NULL && !has; k++)
            has = strcmp(own[k], policies[i]) == 0;
        if (!has)
            return op_fail(op, EINVAL, "%s",
                           is_root
                               ? "root tokens may not be created without parent token being root"
                               : "child policies must be subset of parent");
    }
    return 0;
}

static int read_flags(struct op *op, const struct object *body, struct token_wish *w, bool *orphan)
{
    struct slice renewable = object_value(body, "renewable");
    struct slice uses = object_value(body, "num_uses");
    bool may_renew = true;
    int64_t n = 0;

    value_boolean(object_value(body, "no_default_policy"), &w->no_default_policy);
    value_boolean(object_value(body, "no_parent"), orphan);
    if (renewable.len > 0)
        value_boolean(renewable, &may_renew);
    w->not_renewable = !may_renew;
    if (uses.len > 0 && (value_integer(op, uses, &n) < 0 || n < 0))
        return op_fail(op, EINVAL, "number of uses cannot be negative");
    w->num_uses = (uint64_t)n;
    return 0;
}

static int read_wish(struct op *op, const struct object *body, struct token_wish *w, bool *orphan)
{
    const char *name = NULL;
    const char *type = NULL;
    const char *id = NULL;
    const char **policies;
    int r = vault_strings(op, object_value(body, "policies"), &policies);

    if (r < 0)
        return op_fail(op, EINVAL,
                       "error converting input for field \"policies\": expected a list");
    w->policies = policies[0] != NULL ? policies : op->who->policy_names;
    w->meta = object_value(body, "meta");
    r = read_flags(op, body, w, orphan);
    if (r == 0)
        r = read_seconds(op, body, "ttl", &w->ttl_s);
    if (r == 0 && w->ttl_s == 0)
        r = read_seconds(op, body, "lease", &w->ttl_s);
    if (r == 0)
        r = read_seconds(op, body, "explicit_max_ttl", &w->explicit_max_ttl_s);
    if (r == 0)
        r = read_seconds(op, body, "period", &w->period_s);
    if (r == 0)
        r = vault_string(op, body, "display_name", &name);
    if (r == 0)
        r = vault_string(op, body, "type", &type);
    if (r == 0)
        r = vault_string(op, body, "id", &id);
    if (r == 0 && type != NULL && strcmp(type, "batch") == 0)
        r = op_fail(op, EINVAL, "batch tokens are not supported; ask for type service");
    w->display_name = name != NULL ? op_printf(op, "token-%s", name) : "token";
    w->token = slice_str(id);
    return r;
}

int vault_token_make(struct web_request *req, struct web_response *resp)
{
    bool orphan = strcmp(req->path, "/v1/auth/token/create-orphan") == 0;
    struct token_wish wish = {.path = req->path + 4};
    struct secrets *s = req->self;
    const char *token = NULL;
    struct token_info t;
    struct object body;
    bool sudo;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "%s", wish.path);
    if (r == 0)
        r = vault_body(req, &body);
    if (r == 0)
        r = read_wish(req->op, &body, &wish, &orphan);
    if (r == 0)
        r = check_policies(req->op, wish.policies);
    if (r < 0)
        return r;
    sudo = (identity_rights(req->op->who, SLICE("auth/token/create")) & POLICY_SUDO) != 0;
    if (!sudo && (orphan || wish.token.len > 0 || wish.period_s > 0))
        return op_fail(req->op, EINVAL,
                       "root or sudo privileges required to create an orphan or periodic token, or "
                       "to choose its id");
    wish.parent = orphan ? "" : req->op->who->token_id;
    r = token_create(s->identities, req->op, &wish, &token, &t);
    if (r == 0)
        vault_answer_auth(req, resp, &t, token);
    return r;
}

static int add_accessor(void *ctx, const char *accessor)
{
    json_str(ctx, accessor);
    return 0;
}

int vault_token_accessors(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_LIST | POLICY_SUDO, "auth/token/accessors");
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "keys");
    json_array(&a.json);
    r = token_each_accessor(s->identities, req->op, add_accessor, &a.json);
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return r;
}
