/* vault_mounts.c: sys/mounts, sys/auth, sys/remount, and the preflight of `kv` commands. */
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <stdio.h>

#define SECOND INT64_C(1000000000)

DEFINE_SCOPE(mount, struct mount, mount_unref)

static const char *shown_path(const struct mount *mount)
{
    return mount_is_auth(mount) ? mount->path + 5 : mount->path; /* behind "auth/" */
}

static void json_mount_options(struct json *j, const struct mount *mount)
{
    if (mount->kind == MOUNT_KV2 || mount->kind == MOUNT_KV1) {
        json_object(j);
        json_kstr(j, "version", mount->kind == MOUNT_KV2 ? "2" : "1");
        json_object_end(j);
    } else if (mount->kind == MOUNT_TRANSIT || mount->kind > MOUNT_TOKEN) {
        json_object(j);
        json_object_end(j);
    } else {
        json_null(j);
    }
}

/* The members of a mount's row, without its braces. */
static void json_mount(struct op *op, struct json *j, struct mount *mount)
{
    struct mount_tune tune = mount_get_tune(mount);

    json_kstr(j, "accessor", mount->accessor);
    json_key(j, "config");
    json_object(j);
    json_ki64(j, "default_lease_ttl", tune.default_ttl_s);
    json_kbool(j, "force_no_cache", false);
    json_ki64(j, "max_lease_ttl", tune.max_ttl_s);
    mount_config_json(op, j, &tune, mount_is_auth(mount));
    json_object_end(j);
    if (mount->kind != MOUNT_SYSTEM && mount->kind != MOUNT_IDENTITY &&
        mount->kind != MOUNT_CUBBYHOLE && mount->kind != MOUNT_TOKEN)
        json_kstr(j, "deprecation_status", "supported");
    json_kstr(j, "description", tune.description);
    json_kbool(j, "external_entropy_access", false);
    json_kbool(j, "local", mount->kind == MOUNT_CUBBYHOLE);
    json_key(j, "options");
    json_mount_options(j, mount);
    json_kstr(j, "plugin_version", "");
    json_kstr(j, "running_plugin_version", "v" VAULT_VERSION "+builtin");
    json_kstr(j, "running_sha256", "");
    json_kbool(j, "seal_wrap", false);
    json_kstr(j, "type", mount_type(mount->kind));
    json_kstr(j, "uuid", mount->uuid);
}

/* What who is not known sees of a mount that says so. */
static void json_public_mount(struct json *j, struct mount *mount)
{
    struct mount_tune tune = mount_get_tune(mount);

    json_kstr(j, "description", tune.description);
    json_key(j, "options");
    json_mount_options(j, mount);
    json_kstr(j, "type", mount_type(mount->kind));
}

static bool is_public(struct op *op, struct mount *mount)
{
    struct mount_tune tune = mount_get_tune(mount);

    return strcmp(mount_config_word(op, &tune, "listing_visibility"), "unauth") == 0;
}

/* filter: 0 secret engines, 1 auth; only those that the caller may see, if `who` is given. */
static void json_mounts(struct op *op, struct json *j, struct mounts *mounts, bool auth,
                        const struct identity *who)
{
    struct mount **list;
    size_t n = mounts_list(mounts, op, &list);

    for (size_t i = 0; i < n; i++) {
        bool known = who == NULL || who->kind != IDENTITY_ANONYMOUS;
        bool shown = who == NULL   ? true
                     : known       ? identity_touches(who, slice_str(list[i]->path))
                                   : is_public(op, list[i]);

        if (mount_is_auth(list[i]) == auth && shown) {
            json_key(j, shown_path(list[i]));
            json_object(j);
            if (known)
                json_mount(op, j, list[i]);
            else
                json_public_mount(j, list[i]);
            json_object_end(j);
        }
        mount_unref(list[i]);
    }
}

int sys_mounts(struct web_request *req, struct web_response *resp)
{
    bool auth = strncmp(req->path, "/v1/sys/auth", 12) == 0;
    struct secrets *s = req->self;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "%s", auth ? "sys/auth" : "sys/mounts");
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_mounts(req->op, &a.json, s->mounts, auth, NULL);
    json_object_end(&a.json);
    json_mounts(req->op, &a.json, s->mounts, auth, NULL); /* old clients read the top level */
    vault_answer_end(&a, resp, 200);
    return 0;
}

int sys_ui_mounts(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "auth");
    json_object(&a.json);
    json_mounts(req->op, &a.json, s->mounts, true, req->op->who);
    json_object_end(&a.json);
    json_key(&a.json, "secret");
    json_object(&a.json);
    json_mounts(req->op, &a.json, s->mounts, false, req->op->who);
    json_object_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}

/* The preflight of every `kv` command of the CLI: which mount is this, and which version of KV. */
int sys_ui_mount(struct web_request *req, struct web_response *resp)
{
    const char *path = op_printf(req->op, "%s/", web_param(req, "path"));
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    const char *rest;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r < 0)
        return r;
    if (req->op->who->kind == IDENTITY_ANONYMOUS)
        return -EPERM;
    mount = mount_find(s->mounts, path, &rest);
    if (mount == NULL ||
        !identity_touches(req->op->who, slice_str(mount->path))) {
        path = op_printf(req->op,
                         "preflight capability check returned 403, please ensure client's policies "
                         "grant access to path \"%s\"",
                         path);
        return vault_answer_error(req, resp, 403, path);
    }
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_mount(req->op, &a.json, mount);
    json_kstr(&a.json, "path", shown_path(mount));
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}

/* "/v1/sys/mounts/kv2" is "kv2/", "/v1/sys/auth/up" and "/v1/sys/mounts/auth/up" are "auth/up/". */
static const char *mount_param(struct web_request *req)
{
    const char *name = web_param(req, "mount");
    size_t len = strlen(name);
    bool auth = strncmp(req->path, "/v1/sys/auth/", 13) == 0;

    return op_printf(req->op, "%s%s%s", auth ? "auth/" : "", name,
                     len > 0 && name[len - 1] == '/' ? "" : "/");
}

/* options.version, of KV: as a string or a number. 0: not said. */
static int read_version(struct op *op, const struct object *body, int64_t *ret)
{
    struct slice value, text = object_value(body, "options");
    struct object options = {0};
    int r = text.len > 0 ? object_parse(op, text, &options) : 0;

    value = object_value(&options, "version");
    if (r < 0 || value.len == 0)
        return r;
    if (value_integer(op, value, ret) < 0)
        return op_fail(op, EINVAL, "unable to parse options: the version %.*s is no number",
                       (int)value.len, (const char *)value.data);
    if (*ret != 1 && *ret != 2)
        return op_fail(op, EINVAL, "KV has the versions 1 and 2, not %" PRId64, *ret);
    return 0;
}

static int mount_kind(struct op *op, const struct object *body, bool auth, enum mount_kind *ret)
{
    const char *type = NULL;
    int64_t version = 0;
    int r = vault_string(op, body, "type", &type);

    if (r == 0)
        r = read_version(op, body, &version);
    if (r < 0)
        return r;
    if (type == NULL)
        return op_fail(op, EINVAL, "backend type must be specified as a string");
    if (auth && strcmp(type, "token") == 0)
        return op_fail(op, EINVAL, "token credential backend cannot be instantiated");
    if (auth && strcmp(type, "userpass") == 0)
        *ret = MOUNT_USERPASS;
    else if (auth && strcmp(type, "approle") == 0)
        *ret = MOUNT_APPROLE;
    else if (!auth && strcmp(type, "transit") == 0)
        *ret = MOUNT_TRANSIT;
    else if (!auth && (strcmp(type, "kv-v2") == 0 ||
                       (strcmp(type, "kv") == 0 && version == 2)))
        *ret = MOUNT_KV2;
    else if (!auth && (strcmp(type, "kv") == 0 || strcmp(type, "generic") == 0))
        *ret = MOUNT_KV1;
    else
        return op_fail(op, EINVAL, "plugin not found in the catalog: %s", type);
    return 0;
}

/* description, and the ttls of `config` or (tune) of the body itself. */
static int read_tune(struct op *op, const struct object *body, const struct object *config,
                     struct mount_tune *tune)
{
    static const char *const names[] = {"default_lease_ttl", "max_lease_ttl"};
    int64_t *values[] = {&tune->default_ttl_s, &tune->max_ttl_s};
    const char *description = NULL;
    int r = vault_string(op, body, "description", &description);

    if (r < 0)
        return r;
    if (description != NULL)
        snprintf(tune->description, sizeof tune->description, "%s", description);
    for (size_t i = 0; i < array_size(names); i++) {
        struct slice value = object_value(config, names[i]);

        if (value.len == 0)
            continue;
        if (vault_duration(op, value, values[i]) < 0)
            return op_fail(op, EINVAL, "time: invalid duration %.*s", (int)value.len,
                           (const char *)value.data);
        *values[i] /= SECOND;
    }
    if (tune->max_ttl_s > 0 && tune->default_ttl_s > tune->max_ttl_s)
        return op_fail(op, EINVAL, "given default lease TTL greater than given max lease TTL");
    return 0;
}

static int enable(struct web_request *req, struct web_response *resp, const char *path)
{
    struct secrets *s = req->self;
    struct mount_tune tune = {0};
    struct object body, config = {0};
    enum mount_kind kind;
    int r = vault_body(req, &body);

    if (r == 0)
        r = mount_kind(req->op, &body, strncmp(path, "auth/", 5) == 0, &kind);
    if (r == 0 && object_value(&body, "config").len > 0)
        r = object_parse(req->op, object_value(&body, "config"), &config);
    if (r == 0)
        r = read_tune(req->op, &body, &config, &tune);
    if (r == 0)
        r = mount_config_merge(req->op, &config, strncmp(path, "auth/", 5) == 0, &tune);
    if (r == 0)
        r = mount_add(s->mounts, req->op, kind, path, &tune);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

static int disable(struct web_request *req, struct web_response *resp, const char *path)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    const char *rest = "";
    int r;

    if (strcmp(path, "auth/token/") == 0)
        return op_fail(req->op, EINVAL, "token credential backend cannot be disabled");
    mount = mount_find(s->mounts, path, &rest);
    r = mount_remove(s->mounts, req->op, path);
    if (r == 0 && mount != NULL && mount->kind == MOUNT_TRANSIT)
        r = transit_drop(s, mount);
    else if (r == 0 && mount != NULL && mount->kind == MOUNT_APPROLE)
        r = approle_drop(s, mount);
    else if (r == 0 && mount != NULL && mount->kind == MOUNT_USERPASS)
        r = userpass_drop(s, mount);
    if (r < 0 && r != -ENOENT)
        return r;
    vault_answer_empty(resp);
    return 0;
}

static int show(struct web_request *req, struct web_response *resp, const char *path)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    const char *rest = "";
    struct vault_answer a;

    mount = mount_find(s->mounts, path, &rest);
    if (mount == NULL || rest[0] != 0)
        return strncmp(path, "auth/", 5) == 0
                   ? op_fail(req->op, EINVAL, "No auth engine at %s", path + 5)
                   : op_fail(req->op, EINVAL, "No secret engine mount at %s", path);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_mount(req->op, &a.json, mount);
    json_object_end(&a.json);
    json_mount(req->op, &a.json, mount);
    vault_answer_end(&a, resp, 200);
    return 0;
}

int sys_mount(struct web_request *req, struct web_response *resp)
{
    const char *path = mount_param(req);
    const char *method = req->method;
    unsigned right = strcmp(method, "DELETE") == 0 ? POLICY_DELETE
                     : strcmp(method, "GET") == 0  ? POLICY_READ
                                                   : POLICY_UPDATE;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, right, "%s", req->path + 4);
    if (r < 0)
        return r;
    if (right == POLICY_UPDATE)
        return enable(req, resp, path);
    return right == POLICY_READ ? show(req, resp, path) : disable(req, resp, path);
}

static void json_tune(struct op *op, struct json *j, struct mount *mount)
{
    struct mount_tune tune = mount_get_tune(mount);

    json_ki64(j, "default_lease_ttl", tune.default_ttl_s > 0 ? tune.default_ttl_s : 2764800);
    json_kstr(j, "description", tune.description);
    json_kbool(j, "force_no_cache", false);
    json_ki64(j, "max_lease_ttl", tune.max_ttl_s > 0 ? tune.max_ttl_s : 2764800);
    if (mount->kind == MOUNT_KV2 || mount->kind == MOUNT_KV1) {
        json_key(j, "options");
        json_object(j);
        json_kstr(j, "version", mount->kind == MOUNT_KV2 ? "2" : "1");
        json_object_end(j);
    }
    mount_config_json(op, j, &tune, mount_is_auth(mount));
}

static int check_tune(struct op *op, const struct mount *mount, const struct object *body)
{
    if (object_value(body, "token_type").len == 0)
        return 0;
    if (!mount_is_auth(mount))
        return op_fail(op, EINVAL, "'token_type' can only be modified on auth mounts");
    return mount->kind == MOUNT_TOKEN
               ? op_fail(op, EINVAL, "'token_type' cannot be set for 'token' auth mounts")
               : 0;
}

static int write_tune(struct web_request *req, struct web_response *resp, struct mount *mount)
{
    struct secrets *s = req->self;
    struct mount_tune tune = mount_get_tune(mount);
    struct object body;
    int64_t version = 0;
    int r = vault_body(req, &body);

    if (r == 0)
        r = read_version(req->op, &body, &version);
    if (r == 0 && version == 1 && mount->kind == MOUNT_KV2)
        r = op_fail(req->op, EINVAL, "cannot downgrade mount from version 2");
    if (r == 0)
        r = check_tune(req->op, mount, &body);
    if (r == 0)
        r = read_tune(req->op, &body, &body, &tune);
    if (r == 0)
        r = mount_config_merge(req->op, &body, mount_is_auth(mount), &tune);
    if (r == 0)
        r = mount_save(s->mounts, mount, &tune, NULL);
    if (r == 0 && version == 2 && mount->kind == MOUNT_KV1)
        r = mount_upgrade(s->mounts, req->op, mount->path);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

int sys_mount_tune(struct web_request *req, struct web_response *resp)
{
    bool reads = strcmp(req->method, "GET") == 0;
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    const char *rest = "";
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, reads ? POLICY_READ : POLICY_UPDATE, "%s", req->path + 4);
    if (r < 0)
        return r;
    mount = mount_find(s->mounts, mount_param(req), &rest);
    if (mount == NULL || rest[0] != 0)
        return op_fail(req->op, EINVAL,
                       reads ? "cannot fetch sysview for path \"%s\""
                             : "tune of path \"%s\" failed: no mount entry found",
                       mount_param(req));
    if (!reads)
        return write_tune(req, resp, mount);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_tune(req->op, &a.json, mount);
    json_object_end(&a.json);
    json_tune(req->op, &a.json, mount);
    vault_answer_end(&a, resp, 200);
    return 0;
}

int sys_remount(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    const char *from = NULL;
    const char *to = NULL;
    struct object body;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE | POLICY_SUDO, "sys/remount");
    if (r == 0)
        r = vault_body(req, &body);
    if (r == 0)
        r = vault_string(req->op, &body, "from", &from);
    if (r == 0)
        r = vault_string(req->op, &body, "to", &to);
    if (r == 0 && (from == NULL || to == NULL))
        r = op_fail(req->op, EINVAL, "both 'from' and 'to' path must be specified as a string");
    if (r < 0)
        return r;
    from =
        op_printf(req->op, "%s%s", from, from[0] != 0 && from[strlen(from) - 1] == '/' ? "" : "/");
    to = op_printf(req->op, "%s%s", to, to[0] != 0 && to[strlen(to) - 1] == '/' ? "" : "/");
    r = mount_move(s->mounts, req->op, from, to);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kstr(&a.json, "migration_id", op_id(req->op));
    json_object_end(&a.json);
    json_kstr(&a.json, "migration_id", op_id(req->op));
    vault_answer_end(&a, resp, 200);
    return 0;
}

/* It was done when it was answered. */
int sys_remount_status(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "%s", req->path + 4);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kstr(&a.json, "migration_id", web_param(req, "id"));
    json_key(&a.json, "migration_info");
    json_object(&a.json);
    json_kstr(&a.json, "status", "success");
    json_object_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}
