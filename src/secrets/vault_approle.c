/* vault_approle.c: auth/approle: logging in, and roles. */
#include "base/scope.h"
#include "identity/cidr.h"
#include "secrets/approle.h"

#include <errno.h>

DEFINE_SCOPE(mount, struct mount, mount_unref)
DEFINE_SCOPE(batch, struct store_batch, store_batch_free)

static const char *const kept[] = {
    "bind_secret_id", "secret_id_num_uses", "secret_id_ttl", "secret_id_bound_cidrs",
    "bound_cidr_list", "local_secret_ids", "role_id", "policies", "period", "ttl", "max_ttl", NULL,
};

/* Settings that have a path of their own below the role. */
static const struct part {
    const char *path, *key;
    enum { LIST, SECONDS, NUMBER, FLAG } kind;
} parts[] = {
    {"policies", "token_policies", LIST},
    {"token-ttl", "token_ttl", SECONDS},
    {"token-max-ttl", "token_max_ttl", SECONDS},
    {"token-num-uses", "token_num_uses", NUMBER},
    {"token-bound-cidrs", "token_bound_cidrs", LIST},
    {"period", "token_period", SECONDS},
    {"secret-id-num-uses", "secret_id_num_uses", NUMBER},
    {"secret-id-ttl", "secret_id_ttl", SECONDS},
    {"secret-id-bound-cidrs", "secret_id_bound_cidrs", LIST},
    {"bound-cidr-list", "bound_cidr_list", LIST},
    {"bind-secret-id", "bind_secret_id", FLAG},
    {"local-secret-ids", "local_secret_ids", FLAG},
};

static bool is_write(const struct web_request *req)
{
    return strcmp(req->method, "PUT") == 0 || strcmp(req->method, "POST") == 0;
}

static bool is_read(const struct web_request *req)
{
    return strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
}

static int refuse(struct op *op)
{
    op_forgive(op);
    return op_fail(op, EINVAL, "invalid role or secret ID");
}

static int check_source(struct op *op, const struct object *role, const struct secret_id *id)
{
    const char *const *cidrs, *const *older;
    int r = object_list(op, role, "secret_id_bound_cidrs", &cidrs);

    if (r == 0)
        r = object_list(op, role, "bound_cidr_list", &older);
    if (r == 0 && cidrs[0] == NULL)
        cidrs = older;
    if (r < 0)
        return r;
    if (!cidrs_have(cidrs, op->remote))
        return op_fail(op, EINVAL,
                       "source address \"%s\" unauthorized by CIDR restrictions on the role",
                       op->remote);
    if (!cidrs_have(id->cidrs, op->remote))
        return op_fail(op, EINVAL,
                       "source address \"%s\" unauthorized by CIDR restrictions on the secret ID",
                       op->remote);
    return 0;
}

/* The secret id is right and may still be used: one use less. Two who use the last one: one wins. */
static int use_secret_id(const struct approle *a, const struct role *role, const char *sent,
                         struct secret_id *ret)
{
    int r;

    do {
        r = secret_id_find(a, role->name, sent, ret);
        if (r == 0)
            r = check_source(a->op, &role->settings, ret);
        if (r == 0 && ret->uses > 0)
            r = secret_id_use(a, ret);
    } while (r == -EAGAIN);
    return r == -ENOENT ? refuse(a->op) : r;
}

static struct slice login_meta(struct op *op, const char *role, struct slice more)
{
    struct buf base = {0}, merged = {0};
    struct slice ret;
    struct json j;

    json_init(&j, &base);
    json_object(&j);
    json_kstr(&j, "role_name", role);
    json_object_end(&j);
    if (value_merge(op, more, buf_slice(&base), &merged) < 0)
        merged.len = 0;
    ret = op_slice(op, merged.len > 0 ? buf_slice(&merged) : buf_slice(&base));
    buf_done(&base);
    buf_done(&merged);
    return ret;
}

static int login(struct web_request *req, struct web_response *resp, const struct approle *a,
                 const char *role_id, const char *sent)
{
    struct secret_id id = {.metadata = SLICE("{}")};
    struct token_wish wish = {.path = req->path + 4, .display_name = web_param(req, "mount")};
    const char *token = NULL;
    struct token_info t;
    struct role role = {.name = ""};
    int found = role_by_id(a, role_id, &role), r;
    bool bound = found < 0 || object_flag(&role.settings, "bind_secret_id", true);

    if (found < 0 && found != -ENOENT)
        return found;
    if (bound && (sent == NULL || sent[0] == 0))
        return op_fail(req->op, EINVAL, "missing secret_id");
    r = bound ? use_secret_id(a, &role, sent, &id) /* looked for also if there is no such role */
              : check_source(req->op, &role.settings, &id);
    if (found < 0)
        return refuse(req->op);
    if (r == 0)
        r = login_check_address(req->op, &role.settings);
    if (r == 0)
        r = login_wish(req->op, &role.settings, a->mount, &wish);
    if (r < 0)
        return r;
    if (id.token_cidrs != NULL && id.token_cidrs[0] != NULL)
        wish.cidrs = id.token_cidrs;
    wish.meta = login_meta(req->op, role.name, id.metadata);
    wish.entity = login_entity(a->s, req->op, a->mount, role_id);
    r = token_create(a->s->identities, req->op, &wish, &token, &t);
    if (r == 0)
        vault_answer_auth_warned(req, resp, &t, token, vault_token_warnings(req, &t, &wish));
    return r;
}

int approle_login(struct web_request *req, struct web_response *resp)
{
    const char *path = op_printf(req->op, "auth/%s/", web_param(req, "mount")), *rest = "";
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct approle a = {.s = req->self, .op = req->op};
    const char *role_id = NULL, *secret_id = NULL;
    struct object body;
    int r = vault_begin(req);

    if (r < 0)
        return r;
    mount = mount_find(a.s->mounts, path, &rest);
    if (mount == NULL || rest[0] != 0 || mount->kind != MOUNT_APPROLE)
        return op_fail(req->op, EPERM, "no such mount");
    a.mount = mount;
    r = vault_body(req, &body);
    if (r == 0)
        r = vault_string(req->op, &body, "role_id", &role_id);
    if (r == 0)
        r = vault_string(req->op, &body, "secret_id", &secret_id);
    if (r == 0 && (role_id == NULL || role_id[0] == 0))
        r = op_fail(req->op, EINVAL, "missing role_id");
    return r == 0 ? login(req, resp, &a, role_id, secret_id) : r;
}

static int check_ranges(struct op *op, const struct object *o, const char *key)
{
    const char *const *list;
    struct cidr range;
    int r = object_list(op, o, key, &list);

    for (size_t i = 0; r == 0 && list[i] != NULL; i++)
        if (cidr_parse(list[i], &range) < 0)
            r = op_fail(op, EINVAL, "invalid CIDR blocks");
    return r;
}

static int check_role(struct op *op, const struct object *o)
{
    int r = login_check(op, o);

    if (r == 0)
        r = object_check_seconds(op, o, "secret_id_ttl");
    if (r == 0)
        r = check_ranges(op, o, "secret_id_bound_cidrs");
    if (r == 0)
        r = check_ranges(op, o, "bound_cidr_list");
    if (r < 0)
        return r;
    if (object_number(op, o, "secret_id_num_uses") < 0)
        return op_fail(op, EINVAL, "secret_id_num_uses cannot be negative");
    if (!object_flag(o, "bind_secret_id", true) && object_value(o, "secret_id_bound_cidrs").len == 0 &&
        object_value(o, "bound_cidr_list").len == 0 &&
        object_value(o, "token_bound_cidrs").len == 0)
        return op_fail(op, EINVAL, "at least one constraint should be enabled on the role");
    return 0;
}

/* Row of the role id, if it is another than before; a taken one is refused. */
static int put_role_id(const struct approle *a, struct store_batch *batch, const struct role *role,
                       const char *old)
{
    const char *id = role_id_of(a, role);
    uint8_t key[VAULT_ROW_BYTES];
    struct object there;
    struct buf text = {0};
    struct json j;
    int r;

    if (strcmp(id, old) == 0)
        return 0;
    r = rows_load(a->s, a->op, &approle_rows[APPROLE_ID], a->mount, id, &there, NULL);
    if (r == 0)
        return op_fail(a->op, EINVAL, "role_id already in use");
    if (r != -ENOENT)
        return r;
    if (rows_key(a->s, &approle_rows[APPROLE_ID], a->mount, id, key) == 0)
        store_batch_expect_absent(batch, slice_of(key, sizeof key));
    json_init(&j, &text);
    json_object(&j);
    json_kstr(&j, "is", "role_id");
    json_kstr(&j, "role", role->name);
    json_object_end(&j);
    r = rows_put(a->s, &approle_rows[APPROLE_ID], batch, a->mount, id, buf_slice(&text));
    buf_done(&text);
    if (r == 0 && old[0] != 0)
        r = rows_put(a->s, &approle_rows[APPROLE_ID], batch, a->mount, old, slice_of(NULL, 0));
    return r;
}

/* The role with these settings over those it had. */
static int store_role(const struct approle *a, struct role *role, bool exists,
                      const struct object *body)
{
    scope_cleanup(scope_batch) struct store_batch *batch =
        store_batch_new(a->s->store, APPROLE_PART);
    const char *old_id = exists ? role_id_of(a, role) : "";
    struct buf text = {0}, base = {0};
    uint8_t key[VAULT_ROW_BYTES];
    char made[37];
    struct json j;
    int r;

    approle_uuid(made);
    json_init(&j, &base);
    json_object(&j);
    json_kstr(&j, "is", "role");
    json_kstr(&j, "name", role->name);
    json_kstr(&j, "role_id", made);
    json_object_end(&j);
    if (!exists)
        r = object_parse(a->op, op_slice(a->op, buf_slice(&base)), &role->settings);
    else
        r = 0;
    buf_done(&base);
    if (r == 0)
        r = login_merge(a->op, &role->settings, body, kept, &text);
    if (r == 0)
        r = object_parse(a->op, op_slice(a->op, buf_slice(&text)), &role->settings);
    if (r == 0)
        r = check_role(a->op, &role->settings);
    if (r == 0 && role_id_of(a, role)[0] == 0)
        r = op_fail(a->op, EINVAL, "missing role_id");
    if (r == 0)
        r = rows_key(a->s, &approle_rows[APPROLE_ROLE], a->mount, role->name, key);
    if (r == 0 && exists)
        store_batch_expect(batch, slice_of(key, sizeof key), role->raw);
    else if (r == 0)
        store_batch_expect_absent(batch, slice_of(key, sizeof key));
    if (r == 0)
        r = rows_put(a->s, &approle_rows[APPROLE_ROLE], batch, a->mount, role->name,
                     role->settings.text);
    buf_done(&text);
    if (r == 0)
        r = put_role_id(a, batch, role, old_id);
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

static int answer_role(struct kv_request *q, const struct role *role)
{
    const struct object *o = &role->settings;
    struct vault_answer a;

    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_kbool(&a.json, "bind_secret_id", object_flag(o, "bind_secret_id", true));
    json_kbool(&a.json, "local_secret_ids", object_flag(o, "local_secret_ids", false));
    json_klist(q->op, &a.json, "secret_id_bound_cidrs", object_value(o, "secret_id_bound_cidrs"),
               true);
    json_ki64(&a.json, "secret_id_num_uses", object_number(q->op, o, "secret_id_num_uses"));
    json_ki64(&a.json, "secret_id_ttl", object_seconds(q->op, o, "secret_id_ttl"));
    login_json(q->op, &a.json, o);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 0);
    return 0;
}

static int remove_one(void *ctx, const struct secret_id *id)
{
    return secret_id_remove(ctx, id);
}

/* Its secret ids first: a role of the same name that comes later must not find them. */
static int remove_role(struct approle *a, const struct role *role)
{
    scope_cleanup(scope_batch) struct store_batch *batch =
        store_batch_new(a->s->store, APPROLE_PART);
    int r = secret_id_each(a, role->name, remove_one, a);

    if (r == 0)
        r = rows_put(a->s, &approle_rows[APPROLE_ROLE], batch, a->mount, role->name,
                     slice_of(NULL, 0));
    if (r == 0)
        r = rows_put(a->s, &approle_rows[APPROLE_ID], batch, a->mount, role_id_of(a, role),
                     slice_of(NULL, 0));
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

static int answer_part(struct kv_request *q, const struct role *role, const struct part *part)
{
    struct slice value = object_value(&role->settings, part->key);
    struct vault_answer a;

    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    if (part->kind == LIST)
        json_klist(q->op, &a.json, part->key, value, true);
    else if (part->kind == SECONDS)
        json_ki64(&a.json, part->key, object_seconds(q->op, &role->settings, part->key));
    else if (part->kind == NUMBER)
        json_ki64(&a.json, part->key, object_number(q->op, &role->settings, part->key));
    else
        json_kbool(&a.json, part->key,
                   object_flag(&role->settings, part->key, strcmp(part->key, "bind_secret_id") == 0));
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 0);
    return 0;
}

static int handle_part(struct kv_request *q, const struct approle *a, struct role *role,
                       const struct part *part)
{
    struct object body, one;
    int r;

    if (is_read(q->req))
        return answer_part(q, role, part);
    if (is_write(q->req)) {
        r = vault_body(q->req, &body);
        if (r == 0 && object_value(&body, part->key).len == 0)
            r = op_fail(q->op, EINVAL, "missing %s", part->key);
    } else if (strcmp(q->req->method, "DELETE") == 0) {
        r = object_parse(q->op, slice_str(op_printf(q->op, "{\"%s\":null}", part->key)), &body);
    } else {
        return -ENOTSUP;
    }
    one = body;
    if (r == 0)
        r = store_role(a, role, true, &one);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}

static int handle_role_id(struct kv_request *q, const struct approle *a, struct role *role)
{
    struct vault_answer answer;
    struct object body;
    int r;

    if (is_read(q->req)) {
        vault_answer_begin(&answer, q->req);
        json_object(&answer.json);
        json_kstr(&answer.json, "role_id", role_id_of(a, role));
        json_object_end(&answer.json);
        vault_answer_end(&answer, q->resp, 0);
        return 0;
    }
    if (!is_write(q->req))
        return -ENOTSUP;
    r = vault_body(q->req, &body);
    if (r == 0 && object_value(&body, "role_id").len == 0)
        r = op_fail(q->op, EINVAL, "missing role_id");
    if (r == 0)
        r = store_role(a, role, true, &body);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}

static int list_roles(struct kv_request *q)
{
    int r = vault_check_list(q->op, POLICY_LIST, q->full);

    return r < 0 ? r
                 : rows_answer_names(q->req, q->resp, &approle_rows[APPROLE_ROLE], q->mount,
                                     "role");
}

static int handle_whole(struct kv_request *q, struct approle *a, struct role *role, bool exists)
{
    struct object body;
    int r;

    if (is_write(q->req)) {
        r = vault_body(q->req, &body);
        if (r == 0)
            r = store_role(a, role, exists, &body);
    } else if (is_read(q->req)) {
        return exists ? answer_role(q, role) : -ENOENT;
    } else if (strcmp(q->req->method, "DELETE") == 0) {
        r = exists ? remove_role(a, role) : 0;
    } else {
        return -ENOTSUP;
    }
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}

static int tidy_one(void *ctx, const struct secret_id *id)
{
    struct secret_id alive;
    int r = secret_id_by_accessor(ctx, id->accessor, &alive);

    return r == -ENOENT ? secret_id_remove(ctx, id) : r;
}

static int tidy(struct kv_request *q, struct approle *a)
{
    int r = is_write(q->req) ? secret_id_each(a, NULL, tidy_one, a) : -ENOTSUP;

    if (r == 0)
        vault_answer_warning(q->req, q->resp, 202,
                             "Tidy operation successfully started. Any information from the "
                             "operation will be printed to the server's log.");
    return r;
}

static int check(struct kv_request *q, bool exists)
{
    unsigned right = is_read(q->req)                               ? POLICY_READ
                     : strcmp(q->req->method, "DELETE") == 0       ? POLICY_DELETE
                     : strcmp(q->req->method, "LIST") == 0         ? POLICY_LIST
                     : exists                                      ? POLICY_UPDATE
                                                                   : POLICY_CREATE;

    return identity_check(q->op, right, "%s", q->full);
}

/* role/NAME and what is below it. */
static int handle_role(struct kv_request *q, struct approle *a, const char *rest)
{
    const char *slash = strchrnul(rest, '/');
    struct role role = {.name = op_strndup(q->op, rest, (size_t)(slash - rest))};
    const char *below = *slash != 0 ? slash + 1 : "";
    int found = role_load(a, role.name, &role), r;

    if (found < 0 && found != -ENOENT)
        return found;
    role.name = op_strndup(q->op, rest, (size_t)(slash - rest));
    r = vault_is_list(q->req) ? identity_check(q->op, POLICY_LIST, "%s", q->full)
                              : check(q, below[0] != 0 || found == 0);
    if (r < 0)
        return r;
    if (below[0] == 0)
        return handle_whole(q, a, &role, found == 0);
    if (strncmp(below, "secret-id", 9) == 0 && strchr("/", below[9]) != NULL)
        return approle_secret_ids(q, found == 0 ? &role : NULL, "secret-id", below + 9);
    if (strncmp(below, "secret-id-accessor/", 19) == 0)
        return approle_secret_ids(q, found == 0 ? &role : NULL, "secret-id-accessor", below + 18);
    if (strcmp(below, "custom-secret-id") == 0)
        return approle_secret_ids(q, found == 0 ? &role : NULL, "custom-secret-id", "");
    if (strcmp(below, "role-id") == 0)
        return found == 0 ? handle_role_id(q, a, &role)
                          : vault_unsupported_path(q->req, q->resp);
    for (size_t i = 0; i < array_size(parts); i++) {
        if (strcmp(below, parts[i].path) == 0)
            return found == 0 ? handle_part(q, a, &role, &parts[i]) : -ENOENT;
    }
    return vault_unsupported_path(q->req, q->resp);
}

int approle_handle(struct kv_request *q)
{
    struct approle a = {.s = q->s, .mount = q->mount, .op = q->op};
    int r;

    if (strcmp(q->path, "role") == 0)
        return vault_is_list(q->req) ? list_roles(q) : vault_unsupported(q);
    if (strncmp(q->path, "role/", 5) == 0)
        return handle_role(q, &a, q->path + 5);
    if (strcmp(q->path, "tidy/secret-id") == 0) {
        r = check(q, true);
        return r == 0 ? tidy(q, &a) : r;
    }
    return vault_unsupported(q);
}

int approle_drop(struct secrets *s, const struct mount *mount)
{
    return rows_drop(s, &approle_rows[APPROLE_ROLE], mount);
}
