/* vault_wrapping.c: answers put away for whoever brings the token of one use: X-Vault-Wrap-TTL and
 * sys/wrapping. The answer lies in the cubbyhole of that token, and dies with it. */
#include "base/clock.h"
#include "base/scope.h"
#include "secrets/vault_auth.h"

#include <errno.h>
#include <strings.h>

#define POLICY      "response-wrapping"
#define NOT_VALID   "wrapping token is not valid or does not exist"
#define TTL_MAX_S   (100ll * 365 * 86400)

DEFINE_SCOPE(mount, struct mount, mount_unref)

int vault_wrap_ttl(struct web_request *req, int64_t *ret_s)
{
    const char *text = web_header(req, "X-Vault-Wrap-TTL");
    struct buf quoted = {0};
    struct json j;
    int64_t ns = 0;
    int r = 0;

    *ret_s = 0;
    if (text == NULL || text[0] == 0)
        return 0;
    if (text[0] == '-')
        return op_fail(req->op, EINVAL, "error parsing X-Vault-Wrap-TTL header: requested wrap ttl "
                                        "cannot be negative");
    json_init(&j, &quoted);
    json_str(&j, text);
    r = vault_duration(req->op, buf_slice(&quoted), &ns);
    buf_done(&quoted);
    *ret_s = ns / INT64_C(1000000000);
    if (r < 0 || *ret_s > TTL_MAX_S)
        return op_fail(req->op, EINVAL,
                       "error parsing X-Vault-Wrap-TTL header: time: invalid duration \"%s\"",
                       text);
    return 0;
}

static struct mount *cubbyhole(struct secrets *s)
{
    const char *rest;
    struct mount *mount = mount_find(s->mounts, "cubbyhole/", &rest);

    if (mount != NULL && mount->kind != MOUNT_CUBBYHOLE) {
        mount_unref(mount);
        return NULL;
    }
    return mount;
}

static int put_answer(struct secrets *s, struct op *op, const char *id, struct slice answer)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct kv_content content = {0};
    struct store_batch *batch = NULL;
    struct buf text = {0};
    struct json j;
    int r;

    mount = cubbyhole(s);
    json_init(&j, &text);
    json_object(&j);
    json_kslice(&j, "response", answer);
    json_object_end(&j);
    content.text = buf_slice(&text);
    r = mount == NULL ? -EIO
                      : kv_put(op, mount->kv, op_printf(op, "%s/response", id), &content, -1,
                               &batch, NULL);
    if (r == 0)
        r = kv_commit(batch);
    buf_wipe(&text);
    return r;
}

int vault_wrap(struct web_request *req, struct web_response *resp, struct slice answer,
               int64_t ttl_s, const char *creation_path, const char *accessor)
{
    static const char *const policies[] = {POLICY, NULL};
    struct token_wish wish = {.policies = policies,
                              .no_default_policy = true,
                              .display_name = "response-wrapping",
                              .path = creation_path,
                              .ttl_s = ttl_s,
                              .max_ttl_s = ttl_s,
                              .num_uses = 1,
                              .not_renewable = true};
    struct secrets *s = req->self;
    const char *token = NULL;
    struct token_info t;
    struct vault_answer a;
    int r = token_create(s->identities, req->op, &wish, &token, &t);

    if (r == 0)
        r = put_answer(s, req->op, t.id, answer);
    if (r < 0)
        return r;
    vault_plain_begin(&a, req);
    json_kstr(&a.json, "request_id", op_id(req->op));
    json_kstr(&a.json, "lease_id", "");
    json_kbool(&a.json, "renewable", false);
    json_ku64(&a.json, "lease_duration", 0);
    json_knull(&a.json, "data");
    json_key(&a.json, "wrap_info");
    json_object(&a.json);
    json_kstr(&a.json, "token", token);
    json_kstr(&a.json, "accessor", t.accessor);
    json_ki64(&a.json, "ttl", t.creation_ttl_s);
    json_ktime(&a.json, "creation_time", t.created_unix_s * INT64_C(1000000000));
    json_kstr(&a.json, "creation_path", creation_path);
    if (accessor != NULL && accessor[0] != 0)
        json_kstr(&a.json, "wrapped_accessor", accessor);
    json_object_end(&a.json);
    json_knull(&a.json, "warnings");
    json_knull(&a.json, "auth");
    vault_plain_end(&a, resp, 200);
    return 0;
}

int sys_wrapping_wrap(struct web_request *req, struct web_response *resp)
{
    struct object body;
    struct vault_answer a;
    int64_t ttl_s;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "sys/wrapping/wrap");
    if (r == 0)
        r = vault_wrap_ttl(req, &ttl_s);
    if (r == 0 && ttl_s == 0)
        r = op_fail(req->op, EINVAL, "endpoint requires response wrapping to be used");
    if (r == 0)
        r = vault_body(req, &body);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_raw(&a.json, body.text);
    vault_answer_end(&a, resp, 0);
    return 0;
}

static const char *sent_token(struct web_request *req)
{
    const char *token = web_header(req, "X-Vault-Token");

    if (token != NULL)
        return token;
    token = web_header(req, "Authorization");
    return token != NULL && strncasecmp(token, "Bearer ", 7) == 0 ? token + 7 : "";
}

static int not_valid(struct op *op)
{
    op_forgive(op);
    return op_fail(op, EINVAL, NOT_VALID);
}

/* The wrapping token: of the body, asked for by whoever sends one of his own, or the one sent. Who
 * sends another must be known, and may be refused by his policies. */
static int find_token(struct web_request *req, const char *verb, struct token_info *ret)
{
    struct secrets *s = req->self;
    const char *own = sent_token(req), *token = NULL;
    struct identity *who = NULL;
    struct object body = {0};
    int r = vault_body(req, &body);

    if (r == 0)
        r = vault_string(req->op, &body, "token", &token);
    if (r < 0)
        return r;
    if (token != NULL && token[0] != 0 && strcmp(token, own) != 0 && own[0] != 0) {
        r = identity_token(s->identities, req->op, slice_str(own), &who);
        if (r < 0)
            return r;
        if ((identity_rights(who, slice_str(op_printf(req->op, "sys/wrapping/%s", verb))) &
             POLICY_UPDATE) == 0)
            r = op_fail(req->op, EACCES, "'%s' may not update 'sys/wrapping/%s'", who->name, verb);
        identity_unref(who);
        if (r < 0)
            return r;
    }
    token = token != NULL && token[0] != 0 ? token : own;
    if (token[0] == 0)
        return op_fail(req->op, EPERM, "error validating wrapping token: token is empty");
    r = token_lookup(s->identities, req->op, slice_str(token), ret);
    if (r == -EPERM)
        return not_valid(req->op);
    if (r == 0 && (ret->num_uses != 1 || ret->policies[0] == NULL ||
                   strcmp(ret->policies[0], POLICY) != 0 || ret->policies[1] != NULL))
        return not_valid(req->op);
    return r;
}

/* Takes the answer out, once: of several who ask, one has it. */
static int take_answer(struct web_request *req, const struct token_info *t, struct slice *ret)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    struct kv_content content;
    struct kv_version v;
    struct kv_entry e;
    struct object o;
    int r;

    mount = cubbyhole(s);
    r = mount == NULL ? -EIO
                      : kv_get(req->op, mount->kv, op_printf(req->op, "%s/response", t->id), 0, &e,
                               &v, &content);
    if (r == 0)
        r = object_parse(req->op, content.text, &o);
    if (r == 0)
        r = value_string(req->op, object_value(&o, "response"), ret);
    if (r == 0)
        *ret = op_slice(req->op, *ret);
    if (r == -ENOENT)
        return not_valid(req->op);
    if (r == 0)
        r = token_consume(s->identities, req->op, t->id);
    return r == -EPERM ? not_valid(req->op) : r;
}

static void answer_lookup(struct web_request *req, struct web_response *resp,
                          const struct token_info *t)
{
    struct vault_answer a;

    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kstr(&a.json, "creation_path", t->path);
    json_ktime(&a.json, "creation_time", t->created_unix_s * INT64_C(1000000000));
    json_ki64(&a.json, "creation_ttl", t->creation_ttl_s);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
}

int sys_wrapping_other(struct web_request *req, struct web_response *resp)
{
    const char *verb = req->path + sizeof "/v1/sys/wrapping/" - 1;
    struct token_info t;
    struct buf text = {0};
    struct slice answer;
    int64_t ttl_s = 0; /* asked for: of rewrap */
    int r;

    req->op->wiped = true;
    r = secrets_check(req->self, req->op);
    if (r == 0)
        r = vault_wrap_ttl(req, &ttl_s);
    if (r == 0)
        r = find_token(req, verb, &t);
    if (r < 0)
        return r;
    if (strcmp(verb, "lookup") == 0) {
        answer_lookup(req, resp, &t);
        return 0;
    }
    r = take_answer(req, &t, &answer);
    if (r < 0)
        return r;
    if (strcmp(verb, "rewrap") == 0)
        return vault_wrap(req, resp, answer, ttl_s > 0 ? ttl_s : t.creation_ttl_s, t.path, NULL);
    buf_add_slice(&text, answer);
    web_reply_buf(req, resp, 200, "application/json", &text);
    web_set_header(req, resp, "Cache-Control", "no-store");
    return 0;
}
