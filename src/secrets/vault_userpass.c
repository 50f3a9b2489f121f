/* vault_userpass.c: logging in with a name and a password. The users of the htpasswd file log in at
 * every userpass mount, with the policy that they have everywhere. Users that are made through this
 * API are the mount's own, with policies of their own: they are no users of the other areas. Each
 * is a row of partition "secrets/userpass": key = the mount's id, the blinded name; value = JSON,
 * encrypted. */
#include "base/scope.h"
#include "identity/password.h"
#include "identity/userfile.h"
#include "secrets/vault_auth.h"

#include <errno.h>
#include <stdlib.h>

static const struct vault_rows rows = {{"secrets/userpass", 16}, 32};
static const char *const own_settings[] = {"name", "hash", "policies", "ttl", "max_ttl", NULL};

DEFINE_SCOPE(mount, struct mount, mount_unref)

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
        r = users_verify_hash(s->identities, op, hash, slice_str(password));
    if (r == 0 || r == -EBUSY)
        return r;
    op_forgive(op);
    return op_fail(op, EINVAL, "invalid username or password");
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

static int wish_of(struct secrets *s, struct op *op, const struct object *user,
                   struct mount *mount, const char *name, struct token_wish *wish)
{
    const char **policies = op_alloc(op, 2 * sizeof *policies);
    autobuf policy = {0};

    if (user != NULL) {
        wish->entity = login_entity(s, op, mount, name);
        return login_wish(op, user, mount, wish);
    }
    login_mount_ttls(mount, wish);
    user_policy(s->identities, name, &policy);
    policies[0] = op_strdup(op, policy.data);
    wish->policies = policies;
    wish->user = name;
    wish->entity = login_entity(s, op, NULL, name);
    return 0;
}

static struct slice username_meta(struct op *op, const char *name)
{
    struct buf meta = {0};
    struct slice ret;
    struct json j;

    json_init(&j, &meta);
    json_object(&j);
    json_kstr(&j, "username", name);
    json_object_end(&j);
    ret = op_slice(op, buf_slice(&meta));
    buf_done(&meta);
    return ret;
}

/* Names of users that are made here are in lower case, as with Vault, but for those that an older
 * infrafs kept as they were sent. Users of the file have their names as they stand there. */
static const char *row_name(struct web_request *req, const struct mount *mount)
{
    const char *sent = web_param(req, "user");
    const char *lower = vault_lower(req->op, sent);
    struct object user;

    if (strcmp(sent, lower) != 0 &&
        rows_load(req->self, req->op, &rows, mount, sent, &user, NULL) == 0)
        return sent;
    return lower;
}

int userpass_login(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "user");
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    struct token_wish wish = {0};
    const char *password = NULL;
    const char *token = NULL;
    struct object body, user, *own = NULL;
    struct token_info t;
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
    if (rows_load(s, req->op, &rows, mount, row_name(req, mount), &user, NULL) == 0) {
        own = &user;
        name = row_name(req, mount);
    }
    r = verify(s, req->op, own, name, password);
    if (r == 0 && own != NULL)
        r = login_check_address(req->op, own);
    if (r == 0)
        r = wish_of(s, req->op, own, mount, name, &wish);
    if (r < 0)
        return r;
    wish.meta = username_meta(req->op, name);
    wish.path = req->path + 4;
    wish.display_name = op_printf(req->op, "%s-%s", web_param(req, "mount"), name);
    r = token_create(s->identities, req->op, &wish, &token, &t);
    if (r == 0)
        vault_answer_auth_warned(req, resp, &t, token, vault_token_warnings(req, &t, &wish));
    return r;
}

/* A hash that was made elsewhere: bcrypt's alone, as with OpenBao. */
static int take_hash(struct op *op, const char *hash, const char **ret)
{
    autobuf why = {0};

    if (password_kind_of(hash) != PASSWORD_BCRYPT || password_check(hash, &why) < 0)
        return op_fail(op, EINVAL, "password_hash is not a valid bcrypt hash");
    *ret = hash;
    return 0;
}

static int hash_password(struct op *op, const struct object *body, const char **ret)
{
    const char *password = NULL, *given = NULL;
    char *hash = NULL;
    int r = vault_string(op, body, "password", &password);

    *ret = NULL;
    if (r == 0)
        r = vault_string(op, body, "password_hash", &given);
    if (password != NULL && password[0] == 0)
        password = NULL;
    if (r == 0 && password != NULL && given != NULL)
        r = op_fail(op, EINVAL, "only one of password or password_hash may be provided");
    if (r == 0 && given != NULL)
        return take_hash(op, given, ret);
    if (r < 0 || password == NULL)
        return r;
    r = users_hash(slice_str(password), &hash);
    if (r == -EINVAL)
        return op_fail(op, EINVAL, "a password has up to 72 bytes");
    if (r == 0)
        *ret = op_strdup(op, hash);
    free(hash);
    return r;
}

static int store_user(struct secrets *s, struct op *op, struct mount *mount, const char *name,
                      const struct object *old, const struct object *body, const char *hash)
{
    struct buf base = {0}, text = {0};
    struct object o;
    struct json j;
    int r;

    json_init(&j, &base);
    json_object(&j);
    json_kstr(&j, "name", name);
    if (hash != NULL)
        json_kstr(&j, "hash", hash);
    json_object_end(&j);
    r = value_merge(op, old != NULL ? old->text : slice_of(NULL, 0), buf_slice(&base), &text);
    buf_wipe(&base);
    if (r == 0)
        r = object_parse(op, op_slice(op, buf_slice(&text)), &o);
    buf_wipe(&text);
    if (r == 0)
        r = login_merge(op, &o, body, own_settings + 2, &text);
    if (r == 0)
        r = rows_store(s, &rows, mount, name, buf_slice(&text));
    buf_wipe(&text);
    return r == -EFBIG ? op_fail(op, EFBIG, "a user's settings are too large") : r;
}

static int write_user(struct web_request *req, struct web_response *resp, struct mount *mount,
                      const char *name)
{
    struct secrets *s = req->self;
    const char *hash = NULL;
    struct object body, old;
    int known = rows_load(s, req->op, &rows, mount, name, &old, NULL);
    int r = vault_body(req, &body);

    if (known < 0 && known != -ENOENT)
        return known;
    if (strlen(name) > USER_NAME_MAX)
        return op_fail(req->op, EINVAL, "a user's name has up to %u bytes", USER_NAME_MAX);
    if (r == 0)
        r = login_check(req->op, &body);
    if (r == 0)
        r = hash_password(req->op, &body, &hash);
    if (r == 0 && hash == NULL && known == -ENOENT)
        r = op_fail(req->op, EINVAL, "must provide either password or password_hash");
    if (r == 0)
        r = store_user(s, req->op, mount, name, known == 0 ? &old : NULL, &body, hash);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

/* A user of the htpasswd file: its line is replaced, and with it the password of every area. */
static int change_file(struct secrets *s, struct op *op, const char *name, const char *hash)
{
    autobuf why = {0};
    int r = userfile_edit(users_path(s->identities), USERFILE_CHANGE, name, hash, NULL, &why);

    if (r == -ENOENT)
        return op_fail(op, EINVAL, "username does not exist");
    if (r < 0)
        return op_fail(op, -r, "the user file was not changed: %s",
                       why.len > 0 ? why.data : strerror(-r));
    users_reload(s->identities);
    return 0;
}

static int write_password(struct web_request *req, struct mount *mount, const char *row)
{
    struct object body, old, none = {.text = SLICE("{}")};
    struct secrets *s = req->self;
    const char *hash = NULL;
    int known = rows_load(s, req->op, &rows, mount, row, &old, NULL);
    int r = known < 0 && known != -ENOENT ? known : vault_body(req, &body);

    if (r == 0)
        r = hash_password(req->op, &body, &hash);
    if (r == 0 && hash == NULL)
        r = op_fail(req->op, EINVAL, "must provide either password or password_hash");
    if (r < 0)
        return r;
    if (known == -ENOENT)
        return change_file(s, req->op, web_param(req, "user"), hash);
    return store_user(s, req->op, mount, row, &old, &none, hash);
}

static int write_policies(struct web_request *req, struct mount *mount, const char *name)
{
    struct object body, old;
    struct secrets *s = req->self;
    int r = rows_load(s, req->op, &rows, mount, name, &old, NULL);

    if (r == -ENOENT)
        return op_fail(req->op, EINVAL, "username does not exist");
    if (r == 0)
        r = vault_body(req, &body);
    if (r == 0)
        r = login_check(req->op, &body);
    return r == 0 ? store_user(s, req->op, mount, name, &old, &body, NULL) : r;
}

static int read_user(struct web_request *req, struct web_response *resp, struct mount *mount,
                     const char *name)
{
    struct object user;
    struct vault_answer a;
    int r = rows_load(req->self, req->op, &rows, mount, name, &user, NULL);

    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    login_json(req->op, &a.json, &user);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}

static int begin(struct web_request *req, struct mount **ret)
{
    const char *method = req->method;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op,
                           strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ? POLICY_READ
                           : strcmp(method, "DELETE") == 0                          ? POLICY_DELETE
                                                                                    : POLICY_UPDATE,
                           "%s", req->path + 4);
    return r == 0 ? find_mount(req, ret) : r;
}

int userpass_user(struct web_request *req, struct web_response *resp)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    int r = begin(req, &mount);
    const char *name;

    if (r < 0)
        return r;
    name = row_name(req, mount);
    if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
        return read_user(req, resp, mount, name);
    if (strcmp(req->method, "DELETE") != 0)
        return write_user(req, resp, mount, name);
    r = rows_store(req->self, &rows, mount, name, slice_of(NULL, 0));
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

int userpass_part(struct web_request *req, struct web_response *resp)
{
    const char *part = strrchr(req->path, '/') + 1;
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    int r = begin(req, &mount);
    const char *name;

    if (r < 0)
        return r;
    name = row_name(req, mount);
    r = strcmp(part, "password") == 0 ? write_password(req, mount, name)
                                      : write_policies(req, mount, name);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

int userpass_users(struct web_request *req, struct web_response *resp)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    int r = vault_begin(req);

    if (r == 0)
        r = vault_check_list(req->op, POLICY_LIST, req->path + 4);
    if (r == 0)
        r = find_mount(req, &mount);
    if (r < 0)
        return r;
    return rows_answer_names(req, resp, &rows, mount, NULL);
}

int userpass_drop(struct secrets *s, const struct mount *mount)
{
    return rows_drop(s, &rows, mount);
}
