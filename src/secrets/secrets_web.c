/* secrets_web.c: the routes of Vault's dialect, and what lies below mounts. */
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>

DEFINE_SCOPE(mount, struct mount, mount_unref)

/* "data/app/db" is the noun "data" and the path "app/db"; a last slash is dropped. */
static int cut_rest(struct kv_request *q, const char *rest)
{
    size_t len = strlen(rest);
    const char *slash;

    if (len > 0 && rest[len - 1] == '/')
        len--;
    rest = op_strndup(q->op, rest, len);
    if (q->mount->kind == MOUNT_KV2) {
        slash = strchrnul(rest, '/');
        q->noun = op_strndup(q->op, rest, (size_t)(slash - rest));
        q->path = *slash != 0 ? slash + 1 : slash;
    } else {
        q->noun = "";
        q->path = rest;
    }
    q->full = op_printf(q->op, "%s%s", q->mount->path, rest);
    return kv_path_check(q->op, q->path);
}

/* Each token has its own: its id, which nobody else has, is the first component. */
static int own_cubbyhole(struct kv_request *q)
{
    if (identity_is_batch(q->op->who))
        return op_fail(q->op, EINVAL,
                       "cubbyhole operations are only supported by 'service' type tokens");
    if (q->op->who->token_id[0] == 0)
        return op_fail(q->op, EACCES, "a cubbyhole belongs to a token");
    q->path = op_printf(q->op, "%s%s%s", q->op->who->token_id, q->path[0] != 0 ? "/" : "", q->path);
    return 0;
}

/* The route of all that lies below mounts hides that another route has this path. */
static bool takes_other_method(struct web_request *req)
{
    const struct route *found;
    const char *allow;

    for (const struct route *r = secrets_routes; r->pattern != NULL; r++) {
        const struct route one[] = {*r, {0}};

        if (strcmp(r->pattern, "/v1/{path...}") != 0 && strstr(r->pattern, "{verb}") == NULL &&
            web_route(one, req, &found, &allow) == -ENOTSUP)
            return true;
    }
    return false;
}

static bool is_write(const struct web_request *req)
{
    return strcmp(req->method, "PUT") == 0 || strcmp(req->method, "POST") == 0;
}

/* What a mount does not do is said to those only who might do it. */
static int unsupported(struct kv_request *q)
{
    const char *method = q->req->method;
    unsigned right = vault_is_list(q->req)           ? POLICY_LIST
                     : vault_is_scan(q->req)         ? POLICY_SCAN
                     : is_write(q->req)              ? POLICY_UPDATE
                     : strcmp(method, "DELETE") == 0 ? POLICY_DELETE
                     : strcmp(method, "PATCH") == 0  ? POLICY_PATCH
                                                     : POLICY_READ;
    int r = 0;

    if (right == POLICY_LIST || right == POLICY_SCAN)
        r = vault_check_list(q->op, right, q->full);
    else if (right != POLICY_UPDATE || !identity_may(q->op, POLICY_CREATE, "%s", q->full))
        r = identity_check(q->op, right, "%s", q->full);
    return r < 0 ? r : -ENOTSUP;
}

static int handle_mount(struct kv_request *q)
{
    int r;

    if (q->mount->kind == MOUNT_TRANSIT || q->mount->kind == MOUNT_APPROLE) {
        if (!q->req->may_wait)
            return -EINPROGRESS;
        r = q->mount->kind == MOUNT_TRANSIT ? transit_handle(q) : approle_handle(q);
    } else {
        r = q->mount->kind == MOUNT_KV2 ? kv2_handle(q) : kv1_handle(q);
    }
    return r == -ENOTSUP ? unsupported(q) : r;
}

static int below_mount(struct web_request *req, struct web_response *resp)
{
    struct kv_request q = {.s = req->self, .req = req, .resp = resp, .op = req->op};
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    const char *rest = "";
    int r = vault_begin(req);

    if (r < 0)
        return r;
    /* It grows with what is stored, or commits. */
    if (!req->may_wait && (vault_is_list(req) || vault_is_scan(req) ||
                           web_header(req, "X-Vault-Wrap-TTL") != NULL))
        return -EINPROGRESS;
    if (is_write(req) && req->path[strlen(req->path) - 1] == '/')
        return op_fail(req->op, EINVAL, "cannot write to a path ending in '/'");
    mount = mount_find(q.s->mounts, req->path + 4, &rest); /* behind "/v1/" */
    if (mount == NULL) /* "secret" is "secret/" */
        mount = mount_find(q.s->mounts, op_printf(req->op, "%s/", req->path + 4), &rest);
    if (mount != NULL && mount->kind != MOUNT_TRANSIT && mount->kind != MOUNT_APPROLE &&
        mount->kv == NULL) {
        r = identity_check(req->op, POLICY_READ, "%s", req->path + 4);
        if (r == 0 && takes_other_method(req))
            r = -ENOTSUP;
        return r < 0 ? r : vault_unsupported_path(req, resp);
    }
    if (mount == NULL) {
        /* Who may not ask here does not learn what is mounted. */
        r = identity_check(req->op, POLICY_READ, "%s", req->path + 4);
        return r < 0
                   ? r
                   : op_fail(req->op, ENOENT, "no handler for route \"%s\". route entry not found.",
                             req->path + 4);
    }
    q.mount = mount;
    r = cut_rest(&q, rest);
    if (r == 0 && mount->kind == MOUNT_CUBBYHOLE)
        r = own_cubbyhole(&q);
    return r < 0 ? r : handle_mount(&q);
}

#define SECRET_FLAGS (ROUTE_AUDIT | ROUTE_SECRET)
#define QUICK_FLAGS  (SECRET_FLAGS | ROUTE_INLINE)
#define PUBLIC_FLAGS (SECRET_FLAGS | ROUTE_PUBLIC)

const struct route secrets_routes[] = {
    {"GET", "/v1/sys/health", sys_health, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {"GET", "/v1/sys/seal-status", sys_seal_status, .flags = ROUTE_PUBLIC},
    {"GET", "/v1/sys/init", sys_init, .flags = ROUTE_PUBLIC},
    {"PUT,POST", "/v1/sys/init", sys_init, .flags = ROUTE_PUBLIC | SECRET_FLAGS},
    {"GET", "/v1/sys/leader", sys_leader, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {"PUT,POST", "/v1/sys/step-down", sys_step_down, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/unseal", sys_unseal, .flags = ROUTE_PUBLIC | SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/seal", sys_seal, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/key-status", sys_key_status, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/rotate", sys_rotate, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/rotate/keyring", sys_rotate, .flags = SECRET_FLAGS},
    {"GET,PUT,POST", "/v1/sys/rotate/config", sys_rotate_config, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/rekey/init", sys_rekey_init, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/rekey/update", sys_rekey_update, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/rekey/verify", sys_rekey_verify, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/rotate/root/init", sys_rekey_init, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/rotate/root/update", sys_rekey_update, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/rotate/root/verify", sys_rekey_verify, .flags = SECRET_FLAGS},
    {"GET,PUT,POST", "/v1/sys/generate-root/attempt", sys_root_attempt,
     .flags = ROUTE_PUBLIC | SECRET_FLAGS},
    {"DELETE", "/v1/sys/generate-root/attempt", sys_root_cancel, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/generate-root/update", sys_root_update,
     .flags = ROUTE_PUBLIC | SECRET_FLAGS},
    {"GET,PUT,POST", "/v1/sys/generate-root-token/attempt", sys_root_attempt,
     .flags = SECRET_FLAGS},
    {"DELETE", "/v1/sys/generate-root-token/attempt", sys_root_cancel, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/generate-root-token/update", sys_root_update, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/metrics", sys_metrics, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/sys/version-history", sys_version_history, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/find", sys_find, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/audit", sys_audit, .flags = SECRET_FLAGS},
    {"PUT,POST,DELETE", "/v1/sys/audit/{name}", sys_audit_device, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/audit-hash/{name}", sys_audit_hash, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/capabilities", sys_capabilities, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/capabilities-self", sys_capabilities, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/capabilities-accessor", sys_capabilities, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/internal/ui/mounts", sys_ui_mounts, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/internal/ui/mounts/{path...}", sys_ui_mount, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/mounts", sys_mounts, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/auth", sys_mounts, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/mounts/{mount...}", sys_mount, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/auth/{mount...}", sys_mount, .flags = SECRET_FLAGS},
    {"GET,PUT,POST", "/v1/sys/mounts/{mount...}/tune", sys_mount_tune, .flags = SECRET_FLAGS},
    {"GET,PUT,POST", "/v1/sys/auth/{mount...}/tune", sys_mount_tune, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/tools/random", sys_random, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/tools/random/{rest...}", sys_random, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/tools/hash", sys_hash, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/tools/hash/{rest...}", sys_hash, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/remount", sys_remount, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/remount/status/{id}", sys_remount_status, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/sys/policies/acl", sys_policies, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/policies/acl/{name}", sys_policy, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/sys/policy", sys_policies, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/sys/policy/{name}", sys_policy, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/wrapping/wrap", sys_wrapping_wrap, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/wrapping/unwrap", sys_wrapping_other, .flags = PUBLIC_FLAGS},
    {"PUT,POST", "/v1/sys/wrapping/rewrap", sys_wrapping_other, .flags = PUBLIC_FLAGS},
    {"GET,PUT,POST", "/v1/sys/wrapping/lookup", sys_wrapping_other, .flags = PUBLIC_FLAGS},
    {"GET,LIST,PUT,POST", "/v1/sys/leases/lookup", sys_leases_list, .flags = SECRET_FLAGS},
    {"GET,LIST,PUT,POST", "/v1/sys/leases/lookup/", sys_leases_list, .flags = SECRET_FLAGS},
    {"GET,LIST,PUT,POST", "/v1/sys/leases/lookup/{prefix...}", sys_leases_list,
     .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/renew", sys_leases, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/renew/{lease...}", sys_leases, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/revoke", sys_leases, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/revoke/{lease...}", sys_leases, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/revoke-prefix/{prefix...}", sys_leases_prefix,
     .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/revoke-force/{prefix...}", sys_leases_prefix,
     .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/sys/leases/tidy", vault_token_tidy, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/leases/count", sys_leases_count, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/internal/ui/resultant-acl", sys_resultant_acl, .flags = SECRET_FLAGS},
    {"GET,POST,PUT", "/v1/sys/internal/specs/openapi", sys_openapi, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/host-info", sys_host_info, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/ha-status", sys_ha_status, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/config/state/sanitized", sys_config_state, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/sys/plugins/catalog", sys_plugins, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/sys/plugins/catalog/{type}", sys_plugins, .flags = SECRET_FLAGS},
    {"*", "/v1/sys/plugins/catalog/{type}/{name}", sys_plugin, .flags = SECRET_FLAGS},
    {"GET", "/v1/sys/config/cors", sys_cors, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/sys/namespaces", sys_namespaces, .flags = SECRET_FLAGS},
    {"*", "/v1/sys/namespaces/{name...}", sys_namespaces, .flags = SECRET_FLAGS},
    {"GET,PUT,POST", "/v1/auth/token/lookup-self", vault_token_self, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/renew-self", vault_token_self, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/revoke-self", vault_token_self, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/create", vault_token_make, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/create/{role}", vault_token_make, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/create-orphan", vault_token_make, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/auth/token/roles", vault_token_roles, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/auth/token/roles/{role}", vault_token_role,
     .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/tidy", vault_token_tidy, .flags = SECRET_FLAGS},
    {"GET,LIST", "/v1/auth/token/accessors", vault_token_accessors, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/token/{verb}", vault_token_other, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/{mount...}/login", approle_login, .flags = PUBLIC_FLAGS},
    {"PUT,POST", "/v1/auth/{mount...}/login/{user}", userpass_login, .flags = PUBLIC_FLAGS},
    {"GET,LIST", "/v1/auth/{mount...}/users", userpass_users, .flags = SECRET_FLAGS},
    {"GET,PUT,POST,DELETE", "/v1/auth/{mount...}/users/{user}", userpass_user,
     .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/{mount...}/users/{user}/password", userpass_part, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/auth/{mount...}/users/{user}/policies", userpass_part, .flags = SECRET_FLAGS},

    {"GET", "/v1/{path...}", below_mount, .flags = QUICK_FLAGS},
    {"LIST,SCAN,DELETE,PATCH", "/v1/{path...}", below_mount, .flags = SECRET_FLAGS},
    {"PUT,POST", "/v1/{path...}", below_mount, .flags = QUICK_FLAGS},
    {0},
};
