/* vault_sys.c: sys/: health, and what a token may do. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/vault.h"

#include <errno.h>
#include <stdio.h>

void vault_cluster_id(struct secrets *s, char ret[37])
{
    uint8_t id[KEYRING_ID_BYTES];
    char hex[2 * KEYRING_ID_BYTES + 1];

    keyring_id(s->keyring, id);
    hex_encode(slice_of(id, sizeof id), hex);
    snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* ?sealedcode=200 and its sisters replace the status. */
static int health_status(struct web_request *req, const char *code, int status)
{
    const char *text = web_query(req, code);
    int64_t n;

    if (text == NULL || value_integer(req->op, slice_str(text), &n) < 0 || n < 100 || n > 599)
        return status;
    return (int)n;
}

int sys_health(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    bool sealed = secrets_is_sealed(s);
    int initialized = sealed ? keyring_exists(s->keyring) : 1;
    struct vault_answer a;
    char id[37];
    int status;

    if (initialized < 0)
        return initialized;
    if (!initialized)
        status = health_status(req, "uninitcode", 501);
    else
        status =
            sealed ? health_status(req, "sealedcode", 503) : health_status(req, "activecode", 200);
    vault_cluster_id(s, id);
    vault_plain_begin(&a, req);
    json_kbool(&a.json, "initialized", initialized);
    json_kbool(&a.json, "sealed", sealed);
    json_kbool(&a.json, "standby", false);
    json_kbool(&a.json, "performance_standby", false);
    json_kstr(&a.json, "replication_performance_mode", "disabled");
    json_kstr(&a.json, "replication_dr_mode", "disabled");
    json_ki64(&a.json, "server_time_utc", clock_unix_ms() / 1000);
    json_kstr(&a.json, "version", VAULT_VERSION);
    json_kstr(&a.json, "cluster_name", "infrafs");
    json_kstr(&a.json, "cluster_id", id);
    vault_plain_end(&a, resp, status);
    return 0;
}

int sys_leader(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = secrets_check(req->self, req->op);

    if (r < 0)
        return r;
    vault_plain_begin(&a, req);
    json_kbool(&a.json, "ha_enabled", false);
    json_kbool(&a.json, "is_self", true);
    json_kstr(&a.json, "active_time", "0001-01-01T00:00:00Z");
    json_kstr(&a.json, "leader_address", "");
    json_kstr(&a.json, "leader_cluster_address", "");
    json_kbool(&a.json, "performance_standby", false);
    json_ku64(&a.json, "performance_standby_last_remote_wal", 0);
    vault_plain_end(&a, resp, 200);
    return 0;
}

/* There is no other node that could lead: it goes on, as a single OpenBao does. */
int sys_step_down(struct web_request *req, struct web_response *resp)
{
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE | POLICY_SUDO, "sys/step-down");
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

static void json_rights(struct json *j, unsigned rights, bool is_root)
{
    static const struct {
        unsigned right;
        const char *name;
    } names[] = {
        {POLICY_CREATE, "create"}, {POLICY_DELETE, "delete"}, {POLICY_LIST, "list"},
        {POLICY_PATCH, "patch"},   {POLICY_READ, "read"},     {POLICY_SCAN, "scan"},
        {POLICY_SUDO, "sudo"},     {POLICY_UPDATE, "update"},
    };

    json_array(j);
    if (is_root)
        json_str(j, "root");
    else if ((rights & POLICY_DENY) != 0 || rights == 0)
        json_str(j, "deny");
    for (size_t i = 0; i < array_size(names) && !is_root && (rights & POLICY_DENY) == 0; i++) {
        if ((rights & names[i].right) != 0)
            json_str(j, names[i].name);
    }
    json_array_end(j);
}

static bool is_root(const struct identity *who)
{
    const char *const *names = identity_policy_names(who);

    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        if (strcmp(names[i], "root") == 0)
            return true;
    }
    return false;
}

static int answer_capabilities(struct web_request *req, struct web_response *resp,
                               const struct object *body, const struct identity *who)
{
    struct slice value = object_value(body, "paths");
    const char **paths;
    struct vault_answer a;

    if (value.len == 0)
        value = object_value(body, "path");
    if (vault_strings(req->op, value, &paths) < 0 || paths[0] == NULL)
        return op_fail(req->op, EINVAL, "paths must be supplied");
    vault_answer_begin(&a, req);
    json_object(&a.json);
    for (size_t i = 0; paths[i] != NULL; i++) {
        json_key(&a.json, paths[i]);
        json_rights(&a.json, identity_rights(who, slice_str(paths[i])), is_root(who));
    }
    if (paths[1] == NULL) {
        json_key(&a.json, "capabilities");
        json_rights(&a.json, identity_rights(who, slice_str(paths[0])), is_root(who));
    }
    json_object_end(&a.json);
    for (size_t i = 0; paths[i] != NULL; i++) {
        json_key(&a.json, paths[i]);
        json_rights(&a.json, identity_rights(who, slice_str(paths[i])), is_root(who));
    }
    if (paths[1] == NULL) {
        json_key(&a.json, "capabilities");
        json_rights(&a.json, identity_rights(who, slice_str(paths[0])), is_root(who));
    }
    vault_answer_end(&a, resp, 200);
    return 0;
}

static int find_accessor(struct web_request *req, const struct object *body, struct identity **ret)
{
    struct secrets *s = req->self;
    const char *accessor = NULL;
    int r = vault_string(req->op, body, "accessor", &accessor);

    if (r == 0 && (accessor == NULL || accessor[0] == 0))
        return op_fail(req->op, EINVAL, "missing accessor");
    if (r == 0)
        r = identity_accessor(s->identities, req->op, accessor, ret);
    if (r == -ENOENT || r == -EPERM) {
        op_forgive(req->op);
        return op_fail(req->op, EINVAL, "1 error occurred:\n\t* invalid accessor\n\n");
    }
    return r;
}

int sys_capabilities(struct web_request *req, struct web_response *resp)
{
    const char *verb = req->path + sizeof "/v1/sys/" - 1;
    struct secrets *s = req->self;
    struct identity *other = NULL;
    const char *token = NULL;
    struct object body;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "sys/%s", verb);
    if (r == 0)
        r = vault_body(req, &body);
    if (r == 0 && strcmp(verb, "capabilities-accessor") == 0)
        r = find_accessor(req, &body, &other);
    if (r == 0 && strcmp(verb, "capabilities") == 0)
        r = vault_string(req->op, &body, "token", &token);
    if (r == 0 && strcmp(verb, "capabilities") == 0 && token == NULL)
        r = op_fail(req->op, EINVAL, "1 error occurred:\n\t* no token found\n\n");
    if (r == 0 && token != NULL) {
        r = identity_token(s->identities, req->op, slice_str(token), &other);
        if (r < 0) {
            op_forgive(req->op);
            r = op_fail(req->op, EINVAL, "1 error occurred:\n\t* invalid token\n\n");
        }
    }
    if (r == 0)
        r = answer_capabilities(req, resp, &body, other != NULL ? other : req->op->who);
    identity_unref(other);
    return r;
}
