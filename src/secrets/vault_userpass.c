/* vault_userpass.c: logging in with a name and a password. The users of the htpasswd file log in at
 * every userpass mount, with the policy `team`. Users that are made through this API are the
 * mount's own, with policies of their own: they are no users of the other areas. Each is a row of
 * partition "secrets/userpass": key = the mount's id, the blinded name; value = JSON, encrypted. */
#include "base/scope.h"
#include "identity/password.h"
#include "secrets/vault_auth.h"

#include <errno.h>

#define PART          SLICE("secrets/userpass")
#define BLIND_KIND    32 /* never that of an entry of a folder */
#define USER_KEY      (KV_ID_BYTES + KEYRING_BLIND_BYTES)
#define USER_NAME_MAX 255

DEFINE_SCOPE(mount, struct mount, mount_unref)

static int user_key(struct secrets *s, const struct mount *mount, const char *name,
                    uint8_t ret[USER_KEY])
{
    memcpy(ret, mount->id, KV_ID_BYTES);
    return keyring_blind(s->keyring, slice_of(mount->id, KV_ID_BYTES), BLIND_KIND, slice_str(name),
                         ret + KV_ID_BYTES);
}

/* The row's object: name, hash, token_policies, token_ttl and so on, as they were sent. */
static int decode_user(struct secrets *s, struct op *op, struct slice key, struct slice raw,
                       struct object *ret)
{
    size_t len = raw.len - KEYRING_OVERHEAD_BYTES;
    uint8_t *p;
    int r;

    if (raw.len < KEYRING_OVERHEAD_BYTES)
        return -EIO;
    p = op_alloc(op, len + 1);
    r = keyring_decrypt(s->keyring, PART, key, raw, p);
    return r == 0 ? object_parse(op, slice_of(p, len), ret) : r;
}

static int load_user(struct secrets *s, struct op *op, const struct mount *mount, const char *name,
                     struct object *ret)
{
    struct store_value v = {0};
    uint8_t key[USER_KEY];
    int r = user_key(s, mount, name, key);

    if (r == 0)
        r = store_get(s->store, PART, slice_of(key, sizeof key), &v);
    if (r < 0)
        return r;
    r = decode_user(s, op, slice_of(key, sizeof key), v.data, ret);
    store_value_release(&v);
    return r;
}

static int store_user(struct secrets *s, const struct mount *mount, const char *name,
                      struct slice text)
{
    struct store_batch *batch = store_batch_new(s->store, PART);
    uint8_t key[USER_KEY];
    autobuf record = {0};
    int r = user_key(s, mount, name, key);

    if (r == 0 && text.len > 0)
        r = keyring_encrypt(s->keyring, PART, slice_of(key, sizeof key), text, &record);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    if (text.len > 0)
        store_batch_put(batch, slice_of(key, sizeof key), buf_slice(&record));
    else
        store_batch_delete(batch, slice_of(key, sizeof key));
    return store_commit(batch, STORE_DURABLE);
}

/* Unknown users cost a hash too, and hear the same. */
static int verify(struct secrets *s, struct op *op, const struct object *user, const char *name,
                  const char *password)
{
    const char *hash = NULL;
    int r;

    if (user == NULL)
        r = users_verify(s->identities, op, slice_str(name), slice_str(password));
    else if (vault_string(op, user, "hash", &hash) < 0 || hash == NULL)
        r = -EPERM;
    else
        r = password_verify(hash, slice_str(password)) ? 0 : -EPERM;
    if (r == 0)
        return 0;
    op_forgive(op);
    return op_fail(op, EINVAL, "invalid username or password");
}

static int64_t seconds_of(struct op *op, const struct object *user, const char *key)
{
    struct slice value = object_value(user, key);
    int64_t ns = 0;

    return value.len > 0 && vault_duration(op, value, &ns) == 0 ? ns / INT64_C(1000000000) : 0;
}

static int wish_of_user(struct op *op, const struct object *user, struct token_wish *w)
{
    static const char *const team[] = {"team", NULL};
    struct slice policies;
    int64_t uses = 0;
    const char **list;

    w->policies = team;
    if (user == NULL)
        return 0;
    policies = object_value(user, "token_policies");
    if (policies.len == 0)
        policies = object_value(user, "policies");
    if (vault_strings(op, policies, &list) < 0)
        return -EIO;
    for (size_t i = 0; list[i] != NULL; i++) {
        if (strcmp(list[i], "root") == 0) /* as Vault has it */
            return op_fail(op, EINVAL, "auth methods cannot create root tokens");
    }
    w->policies = list;
    w->ttl_s = seconds_of(op, user, "token_ttl");
    if (w->ttl_s == 0)
        w->ttl_s = seconds_of(op, user, "ttl");
    w->explicit_max_ttl_s = seconds_of(op, user, "token_explicit_max_ttl");
    w->period_s = seconds_of(op, user, "token_period");
    value_boolean(object_value(user, "token_no_default_policy"), &w->no_default_policy);
    if (value_integer(op, object_value(user, "token_num_uses"), &uses) == 0 && uses > 0)
        w->num_uses = (uint64_t)uses;
    return 0;
}

static int find_mount(struct web_request *req, struct mount **ret)
{
    struct secrets *s = req->self;
    const char *path = op_printf(req->op, "auth/%s/", web_param(req, "mount"));
    const char *rest = "";
    struct mount *mount = mount_find(s->mounts, path, &rest);

    if (mount == NULL || rest[0] != 0 || mount->kind != MOUNT_USERPASS) {
        mount_unref(mount);
        return -ENOENT;
    }
    *ret = mount;
    return 0;
}

int userpass_login(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "user");
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    struct token_wish wish = {0};
    const char *password = NULL;
    const char *token = NULL;
    struct object body, user;
    struct token_info t;
    struct buf meta = {0};
    struct json j;
    bool own;
    int r = vault_begin(req);

    if (r == 0 && find_mount(req, &mount) < 0) /* who is not known does not learn what is there */
        r = op_fail(req->op, EPERM, "no such mount");
    if (r == 0)
        r = vault_body(req, &body);
    if (r == 0)
        r = vault_string(req->op, &body, "password", &password);
    if (r == 0 && password == NULL)
        r = op_fail(req->op, EINVAL, "missing password");
    if (r < 0)
        return r;
    own = load_user(s, req->op, mount, name, &user) == 0;
    r = verify(s, req->op, own ? &user : NULL, name, password);
    if (r == 0)
        r = wish_of_user(req->op, own ? &user : NULL, &wish);
    if (r < 0)
        return r;
    json_init(&j, &meta);
    json_object(&j);
    json_kstr(&j, "username", name);
    json_object_end(&j);
    wish.meta = op_slice(req->op, buf_slice(&meta));
    buf_done(&meta);
    wish.path = req->path + 4;
    wish.display_name = op_printf(req->op, "%.*s-%s", (int)strlen(web_param(req, "mount")),
                                  web_param(req, "mount"), name);
    wish.user = own ? NULL : name;
    r = token_create(s->identities, req->op, &wish, &token, &t);
    if (r == 0)
        vault_answer_auth(req, resp, &t, token);
    return r;
}

static bool is_setting(struct slice key)
{
    return slice_starts(key, SLICE("token_")) || slice_eq(key, SLICE("policies")) ||
           slice_eq(key, SLICE("ttl")) || slice_eq(key, SLICE("max_ttl"));
}

/* The user's object after a write: what the body says over what was there. */
static int merge_user(struct op *op, const struct object *old, const struct object *body,
                      const char *name, struct buf *out)
{
    const char *password = NULL;
    char *hash = NULL;
    struct buf sent = {0};
    struct json j;
    int r = vault_string(op, body, "password", &password);

    if (r == 0 && password == NULL && old == NULL)
        r = op_fail(op, EINVAL, "missing password");
    if (r == 0 && password != NULL)
        r = users_hash(slice_str(password), &hash);
    if (r == -EINVAL)
        return op_fail(op, EINVAL, "a password has 1 to 72 bytes");
    if (r < 0)
        return r;
    json_init(&j, &sent);
    json_object(&j);
    json_kstr(&j, "name", name);
    if (hash != NULL)
        json_kstr(&j, "hash", hash);
    for (size_t i = 0; i < body->n; i++) {
        if (!is_setting(body->members[i].key))
            continue;
        json_key_slice(&j, body->members[i].key);
        json_raw(&j, body->members[i].value);
    }
    json_object_end(&j);
    free(hash);
    r = value_merge(op, old != NULL ? old->text : slice_of(NULL, 0), buf_slice(&sent), out);
    buf_wipe(&sent);
    return r;
}

static int write_user(struct web_request *req, struct web_response *resp, struct mount *mount,
                      const char *name)
{
    struct secrets *s = req->self;
    struct object body, old;
    struct buf text = {0};
    int known = load_user(s, req->op, mount, name, &old);
    int r = vault_body(req, &body);

    if (known < 0 && known != -ENOENT)
        return known;
    if (strlen(name) > USER_NAME_MAX)
        return op_fail(req->op, EINVAL, "a user's name has up to %d bytes", USER_NAME_MAX);
    if (r == 0)
        r = merge_user(req->op, known == 0 ? &old : NULL, &body, name, &text);
    if (r == 0 && text.len > STORE_VALUE_MAX / 2)
        r = op_fail(req->op, EFBIG, "a user's settings are too large");
    if (r == 0)
        r = store_user(s, mount, name, buf_slice(&text));
    buf_wipe(&text);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

static void json_list(struct op *op, struct json *j, const char *key, struct slice value)
{
    const char **list;

    json_key(j, key);
    json_array(j);
    if (vault_strings(op, value, &list) == 0) {
        for (size_t i = 0; list[i] != NULL; i++)
            json_str(j, list[i]);
    }
    json_array_end(j);
}

static int read_user(struct web_request *req, struct web_response *resp, struct mount *mount,
                     const char *name)
{
    static const char *const durations[] = {"token_explicit_max_ttl", "token_max_ttl",
                                            "token_period", "token_ttl"};
    struct secrets *s = req->self;
    struct object user;
    struct vault_answer a;
    bool no_default = false;
    int64_t uses = 0;
    int r = load_user(s, req->op, mount, name, &user);

    if (r < 0)
        return r;
    value_boolean(object_value(&user, "token_no_default_policy"), &no_default);
    if (object_value(&user, "token_num_uses").len > 0)
        value_integer(req->op, object_value(&user, "token_num_uses"), &uses);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_list(req->op, &a.json, "token_bound_cidrs", slice_of(NULL, 0));
    for (size_t i = 0; i < array_size(durations); i++)
        json_ki64(&a.json, durations[i], seconds_of(req->op, &user, durations[i]));
    json_kbool(&a.json, "token_no_default_policy", no_default);
    json_ki64(&a.json, "token_num_uses", uses);
    json_list(req->op, &a.json, "token_policies",
              object_value(&user, "token_policies").len > 0 ? object_value(&user, "token_policies")
                                                            : object_value(&user, "policies"));
    json_kstr(&a.json, "token_type", "default");
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}

int userpass_user(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "user");
    const char *method = req->method;
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    bool deletes = strcmp(method, "DELETE") == 0;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op,
                           reads     ? POLICY_READ
                           : deletes ? POLICY_DELETE
                                     : POLICY_UPDATE,
                           "%s", req->path + 4);
    if (r == 0)
        r = find_mount(req, &mount);
    if (r < 0)
        return r;
    if (reads)
        return read_user(req, resp, mount, name);
    if (!deletes)
        return write_user(req, resp, mount, name);
    r = store_user(req->self, mount, name, slice_of(NULL, 0));
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

int userpass_users(struct web_request *req, struct web_response *resp)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    struct slice key, raw;
    bool any = false;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0 && !identity_may(req->op, POLICY_LIST, "%s/", req->path + 4))
        r = identity_check(req->op, POLICY_LIST, "%s", req->path + 4);
    if (r == 0)
        r = find_mount(req, &mount);
    if (r == 0)
        r = store_scan(s->store, PART, slice_of(mount->id, KV_ID_BYTES), slice_of(NULL, 0), 0,
                       &scan);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "keys");
    json_array(&a.json);
    while ((r = store_scan_next(scan, &key, &raw)) == 1 &&
           slice_starts(key, slice_of(mount->id, KV_ID_BYTES))) {
        const char *name = NULL;
        struct object user;

        if (decode_user(s, req->op, key, raw, &user) == 0 &&
            vault_string(req->op, &user, "name", &name) == 0 && name != NULL) {
            json_str(&a.json, name);
            any = true;
        }
    }
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    if (r >= 0 && !any)
        return -ENOENT;
    return r < 0 ? r : 0;
}
