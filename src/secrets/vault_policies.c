/* vault_policies.c: sys/policies/acl, and the older sys/policy. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/vault.h"

#include <errno.h>

struct names {
    struct op *op;
    const char **list;
    size_t n, cap;
};

static int collect(void *ctx, const char *name)
{
    struct names *names = ctx;

    if (names->n == names->cap) {
        const char **more;

        names->cap = names->cap > 0 ? names->cap * 2 : 16;
        more = op_alloc(names->op, names->cap * sizeof *more);
        if (names->n > 0)
            memcpy(more, names->list, names->n * sizeof *more);
        names->list = more;
    }
    names->list[names->n++] = op_strdup(names->op, name);
    return 0;
}

static void json_names(struct json *j, const char *key, const struct names *names)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; i < names->n; i++)
        json_str(j, names->list[i]);
    json_array_end(j);
}

static bool is_old(const struct web_request *req)
{
    return strncmp(req->path, "/v1/sys/policies/", 17) != 0;
}

int sys_policies(struct web_request *req, struct web_response *resp)
{
    struct names names = {.op = req->op};
    struct secrets *s = req->self;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0 && !is_old(req) && !vault_is_list(req))
        return -ENOTSUP;
    if (r == 0)
        r = is_old(req) && !vault_is_list(req)
                ? identity_check(req->op, POLICY_READ, "%s", req->path + 4)
                : vault_check_list(req->op, POLICY_LIST, req->path + 4);
    if (r == 0)
        r = policies_list(s->identities, collect, &names);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_names(&a.json, "keys", &names);
    if (is_old(req))
        json_names(&a.json, "policies", &names);
    json_object_end(&a.json);
    if (is_old(req)) {
        json_names(&a.json, "keys", &names);
        json_names(&a.json, "policies", &names);
    }
    vault_answer_end(&a, resp, 200);
    return 0;
}

static int read_policy(struct web_request *req, struct web_response *resp, const char *name)
{
    struct secrets *s = req->self;
    struct slice text;
    struct vault_answer a;
    int r = policies_get(s->identities, req->op, name, &text);

    if (r == -ENOENT)
        op_forgive(req->op);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kstr(&a.json, "name", name); /* hvac wants exactly name and policy */
    json_kslice(&a.json, is_old(req) ? "rules" : "policy", text);
    json_object_end(&a.json);
    if (is_old(req)) {
        json_kstr(&a.json, "name", name);
        json_kslice(&a.json, "rules", text);
    }
    vault_answer_end(&a, resp, 200);
    return 0;
}

/* The text is HCL or JSON, and may come in base64, as Vault takes it. */
static int write_policy(struct web_request *req, struct web_response *resp, const char *name)
{
    struct secrets *s = req->self;
    const char *text = NULL;
    struct buf decoded = {0};
    struct object body;
    struct slice policy;
    int r = vault_body(req, &body);

    if (r == 0)
        r = vault_string(req->op, &body, "policy", &text);
    if (r == 0 && text == NULL)
        r = vault_string(req->op, &body, "rules", &text);
    if (r == 0 && (text == NULL || text[0] == 0))
        r = op_fail(req->op, EINVAL, "'policy' parameter not supplied or empty");
    if (r < 0)
        return r;
    policy = slice_str(text);
    if (strpbrk(text, " \n{#") == NULL && base64_decode(&decoded, policy) == 0)
        policy = op_slice(req->op, buf_slice(&decoded));
    buf_done(&decoded);
    r = policies_put(s->identities, req->op, name, policy);
    if (r == -EINVAL && strncmp(op_why(req->op, r), "line ", 5) == 0)
        req->op->why = op_printf(req->op, "failed to parse policy: %s", op_why(req->op, r));
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

int sys_policy(struct web_request *req, struct web_response *resp)
{
    const char *name = vault_lower(req->op, web_param(req, "name"));
    const char *method = req->method;
    struct secrets *s = req->self;
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    bool deletes = strcmp(method, "DELETE") == 0;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op,
                           reads     ? POLICY_READ
                           : deletes ? POLICY_DELETE
                                     : POLICY_UPDATE,
                           "%s", req->path + 4);
    if (r < 0)
        return r;
    if (reads)
        return read_policy(req, resp, name);
    if (!deletes)
        return write_policy(req, resp, name);
    r = policies_delete(s->identities, req->op, name);
    if (r == -ENOENT)
        r = 0;
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}
