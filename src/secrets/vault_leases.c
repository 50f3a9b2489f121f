/* vault_leases.c: sys/leases. Each token that expires has a lease, named by where it was made. */
#include "base/clock.h"
#include "base/scope.h"
#include "identity/tokens.h"
#include "secrets/vault.h"

#include <errno.h>

static int read_lease(struct web_request *req, const char *verb, struct token_info *ret,
                      const char **ret_lease)
{
    const char *rest = req->path + sizeof "/v1/sys/leases/" - 1 + strlen(verb);
    struct secrets *s = req->self;
    struct object body;
    int r = vault_body(req, &body);

    *ret_lease = NULL;
    if (*rest == '/')
        *ret_lease = rest + 1;
    if (r == 0 && *ret_lease == NULL)
        r = vault_string(req->op, &body, "lease_id", ret_lease);
    if (r == 0 && (*ret_lease == NULL || (*ret_lease)[0] == 0))
        r = op_fail(req->op, EINVAL, "lease_id must be specified");
    if (r < 0)
        return r;
    r = token_by_lease(s->identities, req->op, *ret_lease, ret);
    if (r == -EPERM || r == -ENOENT) {
        op_forgive(req->op);
        r = -ENOENT;
    }
    return r;
}

static int answer_lease(struct web_request *req, struct web_response *resp,
                        const struct token_info *t, const char *lease)
{
    int64_t left = (t->expire_unix_ms - clock_unix_ms() + 999) / 1000;
    struct vault_answer a;

    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_ktime(&a.json, "expire_time", t->expire_unix_ms * 1000000);
    json_kstr(&a.json, "id", lease);
    json_ktime(&a.json, "issue_time", t->created_unix_s * INT64_C(1000000000));
    if (t->renewed_unix_s > 0)
        json_ktime(&a.json, "last_renewal", t->renewed_unix_s * INT64_C(1000000000));
    else
        json_knull(&a.json, "last_renewal");
    json_kbool(&a.json, "renewable", t->renewable);
    json_ki64(&a.json, "ttl", left < 0 ? 0 : left);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}

static int end_lease(struct web_request *req, struct web_response *resp, int found,
                     const struct token_info *t)
{
    struct secrets *s = req->self;
    int r = found == -ENOENT ? 0 : token_revoke(s->identities, req->op, t->id, false);

    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

/* lookup, renew, revoke */
int sys_leases(struct web_request *req, struct web_response *resp)
{
    const char *path = req->path + sizeof "/v1/sys/leases/" - 1, *lease;
    const char *verb = op_strndup(req->op, path, strcspn(path, "/"));
    struct token_info t;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "%s", req->path + 4);
    if (r < 0)
        return r;
    r = read_lease(req, verb, &t, &lease);
    if (r < 0 && r != -ENOENT)
        return r;
    if (strcmp(verb, "revoke") == 0)
        return end_lease(req, resp, r, &t);
    if (r == -ENOENT)
        return op_fail(req->op, EINVAL, "%s",
                       strcmp(verb, "renew") == 0 ? "lease not found" : "invalid lease");
    if (strcmp(verb, "renew") == 0) /* Vault's answer, too: a token renews itself */
        return op_fail(req->op, EINVAL, "tokens cannot be renewed through this endpoint");
    return answer_lease(req, resp, &t, lease);
}

struct names {
    struct json *json;
    size_t prefix_len;
    char last[1024];
    bool any;
};

/* Names in one folder: "create/" once, however many are below. They come in order. */
static int list_one(void *ctx, const char *lease, const char *id)
{
    struct names *n = ctx;
    const char *name = lease + n->prefix_len, *slash = strchr(name, '/');
    size_t len = slash != NULL ? (size_t)(slash - name) + 1 : strlen(name);

    (void)id;
    if (len >= sizeof n->last ||
        (strncmp(n->last, name, len) == 0 && n->last[len] == 0 && slash != NULL))
        return 0;
    memcpy(n->last, name, len);
    n->last[len] = 0;
    json_str(n->json, n->last);
    n->any = true;
    return 0;
}

int sys_leases_list(struct web_request *req, struct web_response *resp)
{
    const char *rest = web_param(req, "prefix");
    size_t len = strlen(rest);
    const char *prefix =
        len > 0 && rest[len - 1] != '/' ? op_printf(req->op, "%s/", rest) : rest;
    struct names n = {.prefix_len = strlen(prefix)};
    struct secrets *s = req->self;
    struct vault_answer a;
    int r;

    if (!vault_is_list(req))
        return strcmp(req->method, "GET") == 0 ? -ENOTSUP : sys_leases(req, resp);
    r = vault_begin(req);
    if (r == 0)
        r = identity_check(req->op, POLICY_LIST | POLICY_SUDO, "sys/leases/lookup/%s", prefix);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    n.json = &a.json;
    json_object(&a.json);
    json_key(&a.json, "keys");
    json_array(&a.json);
    r = token_each_lease(s->identities, prefix, list_one, &n);
    json_array_end(&a.json);
    json_object_end(&a.json);
    return vault_answer_finish(&a, resp, 200, r == 0 && !n.any ? -ENOENT : r);
}

struct ending {
    struct op *op;
    const char **ids;
    size_t n, cap;
};

static int note_id(void *ctx, const char *lease, const char *id)
{
    struct ending *e = ctx;

    (void)lease;
    if (e->n == e->cap) {
        const char **more = op_alloc(e->op, (e->cap = 2 * e->cap + 64) * sizeof *more);

        if (e->n > 0)
            memcpy(more, e->ids, e->n * sizeof *more);
        e->ids = more;
    }
    e->ids[e->n++] = op_strdup(e->op, id);
    return 0;
}

/* revoke-prefix, revoke-force: done when it is answered, whatever "sync" says. */
int sys_leases_prefix(struct web_request *req, struct web_response *resp)
{
    const char *prefix = web_param(req, "prefix");
    struct ending e = {.op = req->op};
    struct secrets *s = req->self;
    size_t len = strlen(prefix);
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE | POLICY_SUDO, "%s", req->path + 4);
    if (r == 0 && (len == 0 || prefix[len - 1] != '/'))
        prefix = op_printf(req->op, "%s/", prefix);
    if (r == 0)
        r = token_each_lease(s->identities, prefix, note_id, &e);
    for (size_t i = 0; r == 0 && i < e.n; i++)
        r = token_revoke(s->identities, req->op, e.ids[i], false);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

static int count_one(void *ctx, const char *lease, const char *id)
{
    (void)lease;
    (void)id;
    ++*(uint64_t *)ctx;
    return 0;
}

int sys_leases_count(struct web_request *req, struct web_response *resp)
{
    const char *type = web_query(req, "type");
    struct secrets *s = req->self;
    struct vault_answer a;
    uint64_t n = 0;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "sys/leases/count");
    if (r == 0 && (type == NULL || strcmp(type, "irrevocable") != 0))
        r = token_each_lease(s->identities, "", count_one, &n);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "counts");
    json_object(&a.json);
    json_object_end(&a.json);
    json_ku64(&a.json, "lease_count", n); /* none is irrevocable */
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}
