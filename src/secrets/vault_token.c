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
    if (t->cidrs != NULL && t->cidrs[0] != NULL)
        json_policies(j, "bound_cidrs", t->cidrs);
    json_ki64(j, "creation_time", t->created_unix_s);
    json_ki64(j, "creation_ttl", t->creation_ttl_s);
    json_kstr(j, "display_name", t->display_name);
    json_kstr(j, "entity_id", t->entity.id);
    if (t->expire_unix_ms == 0)
        json_knull(j, "expire_time"); /* the key must be there: External Secrets looks for it */
    else
        json_ktime(j, "expire_time", t->expire_unix_ms * 1000000);
    json_ki64(j, "explicit_max_ttl", t->explicit_max_ttl_s);
    json_kstr(j, "id", id);
    json_ktime(j, "issue_time", t->created_unix_s * INT64_C(1000000000));
    if (t->renewed_unix_s > 0) {
        json_ktime(j, "last_renewal", t->renewed_unix_s * INT64_C(1000000000));
        json_ki64(j, "last_renewal_time", t->renewed_unix_s);
    }
    if (t->meta.len > 0)
        json_kraw(j, "meta", t->meta);
    else
        json_knull(j, "meta");
    json_ki64(j, "num_uses", t->num_uses);
    json_kbool(j, "orphan", t->parent[0] == 0);
    json_kstr(j, "path", t->path);
    if (t->period_s > 0)
        json_ki64(j, "period", t->period_s);
    json_policies(j, "policies", t->policies);
    json_kbool(j, "renewable", t->renewable);
    if (t->role != NULL && t->role[0] != 0)
        json_kstr(j, "role", t->role);
    json_ki64(j, "ttl", ttl_left(t));
    json_kstr(j, "type", t->batch ? "batch" : "service");
    (void)op;
}

void vault_answer_auth(struct web_request *req, struct web_response *resp,
                       const struct token_info *t, const char *token)
{
    vault_answer_auth_warned(req, resp, t, token, NULL);
}

static void json_auth(struct json *j, const struct token_info *t, const char *token)
{
    json_object(j);
    json_kstr(j, "client_token", token);
    json_kstr(j, "accessor", t->accessor);
    json_policies(j, "policies", t->policies);
    json_policies(j, "token_policies", t->policies);
    if (t->meta.len > 0)
        json_kraw(j, "metadata", t->meta);
    else
        json_knull(j, "metadata");
    json_ki64(j, "lease_duration", ttl_left(t));
    json_kbool(j, "renewable", t->renewable);
    json_kstr(j, "entity_id", t->entity.id);
    json_kstr(j, "token_type", t->batch ? "batch" : "service");
    json_kbool(j, "orphan", t->parent[0] == 0);
    json_knull(j, "mfa_requirement");
    json_ki64(j, "num_uses", t->num_uses);
    json_object_end(j);
}

void vault_answer_auth_warned(struct web_request *req, struct web_response *resp,
                              const struct token_info *t, const char *token,
                              const char *const *warnings)
{
    struct vault_answer a;

    vault_answer_begin(&a, req);
    json_null(&a.json);
    json_knull(&a.json, "wrap_info");
    json_warnings(&a.json, req, warnings);
    json_key(&a.json, "auth");
    json_auth(&a.json, t, token);
    a.accessor = t->accessor;
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
    bool batch = strncmp(own_token(req), "b.", 2) == 0;
    int r = vault_begin(req);

    if (r == 0 && id[0] == 0 && !batch)
        r = op_fail(req->op, EPERM, "no token was sent");
    if (r == 0)
        r = identity_check(req->op, verb[0] == 'l' ? POLICY_READ : POLICY_UPDATE, "auth/token/%s",
                           verb);
    if (r == 0)
        r = vault_body(req, &body);
    if (r < 0)
        return r;
    if (batch && verb[0] != 'l')
        return op_fail(req->op, EINVAL, "batch tokens cannot be %s",
                       strcmp(verb, "renew-self") == 0 ? "renewed" : "revoked");
    if (strcmp(verb, "renew-self") == 0)
        return renew(req, resp, &body, id, own_token(req));
    if (strcmp(verb, "revoke-self") == 0) {
        r = token_revoke(s->identities, req->op, id, false);
        if (r == 0)
            vault_answer_empty(resp);
        return r;
    }
    r = batch ? token_lookup(s->identities, req->op, slice_str(own_token(req)), &t)
              : token_lookup_id(s->identities, req->op, id, &t);
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

    if (r == 0 && text == NULL && strcmp(web_param(req, "verb"), "lookup") == 0)
        text = own_token(req);
    if (r == 0 && (text == NULL || text[0] == 0))
        r = op_fail(req->op, EINVAL, "missing %s", by_accessor ? "accessor" : "token ID");
    if (r < 0)
        return r;
    *ret_token = by_accessor ? "" : text;
    r = by_accessor ? token_lookup_accessor(s->identities, req->op, text, ret)
                    : token_lookup(s->identities, req->op, slice_str(text), ret);
    if (r == -EPERM || r == -ENOENT) {
        op_forgive(req->op);
        r = op_fail(req->op, ENOENT, "%s",
                    by_accessor ? "1 error occurred:\n\t* invalid accessor\n\n" : "bad token");
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

static bool is_verb(const char *verb)
{
    static const char *const verbs[] = {"lookup", "lookup-accessor", "renew",        "renew-accessor",
                                        "revoke", "revoke-accessor", "revoke-orphan"};

    for (size_t i = 0; i < array_size(verbs); i++)
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    return false;
}

/* Vault's statuses for a token that is not there. */
static int not_found(struct web_request *req, struct web_response *resp, const char *verb,
                     bool by_accessor, const char *why)
{
    if (strcmp(verb, "revoke-accessor") == 0) {
        vault_answer_warning(req, resp, 200, "No token found with this accessor");
        return 0;
    }
    if (strcmp(verb, "revoke") == 0) {
        vault_answer_empty(resp); /* it is gone, as asked for */
        return 0;
    }
    if (strcmp(verb, "revoke-orphan") == 0)
        why = "token to revoke not found";
    else if (strcmp(verb, "renew") == 0)
        why = "token not found";
    return vault_answer_error(req, resp, !by_accessor && verb[0] == 'l' ? 403 : 400, why);
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
    if (!is_verb(verb))
        return vault_unsupported_path(req, resp);
    r = find_other(req, &body, by_accessor, &token, &t);
    if (r == -ENOENT)
        return not_found(req, resp, verb, by_accessor, op_why(req->op, r));
    if (r == 0 && t.batch && verb[0] != 'l')
        r = op_fail(req->op, EINVAL, "batch tokens cannot be %s",
                    strncmp(verb, "renew", 5) == 0 ? "renewed" : "revoked");
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
