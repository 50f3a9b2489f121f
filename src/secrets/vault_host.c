/* vault_host.c: what the server says of itself: sys/host-info, ha-status, config/state, plugins,
 * namespaces, resultant-acl; path-help and the OpenAPI document, made of one table. */
#include "base/clock.h"
#include "base/scope.h"
#include "config.h"
#include "secrets/vault.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static int begin(struct web_request *req, unsigned right)
{
    int r = vault_begin(req);

    return r == 0 ? identity_check(req->op, right, "%s", req->path + 4) : r;
}

static bool is_read(const struct web_request *req)
{
    return strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
}

int sys_host_info(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct statvfs disk = {0};
    struct sysinfo info = {0};
    struct utsname name = {0};
    struct vault_answer a;
    uint64_t unit;
    int r = begin(req, POLICY_READ);

    if (r < 0)
        return r;
    sysinfo(&info);
    uname(&name);
    statvfs(s->config->data, &disk);
    unit = info.mem_unit;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_ktime(&a.json, "timestamp", clock_unix_ns());
    json_key(&a.json, "host");
    json_object(&a.json);
    json_kstr(&a.json, "hostname", name.nodename);
    json_kstr(&a.json, "os", "linux");
    json_kstr(&a.json, "kernelVersion", name.release);
    json_kstr(&a.json, "kernelArch", name.machine);
    json_ki64(&a.json, "uptime", info.uptime);
    json_ku64(&a.json, "procs", info.procs);
    json_object_end(&a.json);
    json_key(&a.json, "memory");
    json_object(&a.json);
    json_ku64(&a.json, "total", info.totalram * unit);
    json_ku64(&a.json, "free", info.freeram * unit);
    json_ku64(&a.json, "available", (info.freeram + info.bufferram) * unit);
    json_object_end(&a.json);
    json_key(&a.json, "cpu");
    json_array(&a.json);
    for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN); i++) {
        json_object(&a.json);
        json_ki64(&a.json, "cpu", i);
        json_object_end(&a.json);
    }
    json_array_end(&a.json);
    json_key(&a.json, "disk");
    json_array(&a.json);
    json_object(&a.json);
    json_kstr(&a.json, "path", s->config->data);
    json_ku64(&a.json, "total", (uint64_t)disk.f_blocks * disk.f_frsize);
    json_ku64(&a.json, "free", (uint64_t)disk.f_bavail * disk.f_frsize);
    json_object_end(&a.json);
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}

static void json_nodes(struct json *j, const char *url, const char *host)
{
    json_key(j, "nodes");
    json_array(j);
    json_object(j);
    json_kbool(j, "active_node", true);
    json_kstr(j, "api_address", url);
    json_kstr(j, "cluster_address", "");
    json_kstr(j, "hostname", host);
    json_knull(j, "last_echo");
    json_kstr(j, "version", VAULT_VERSION);
    json_object_end(j);
    json_array_end(j);
}

int sys_ha_status(struct web_request *req, struct web_response *resp)
{
    struct utsname name = {0};
    struct vault_answer a;
    int r = begin(req, POLICY_READ);

    if (r < 0)
        return r;
    uname(&name);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_nodes(&a.json, web_base_url(req), name.nodename);
    json_object_end(&a.json);
    json_nodes(&a.json, web_base_url(req), name.nodename);
    vault_answer_end(&a, resp, 0);
    return 0;
}

int sys_config_state(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = begin(req, POLICY_READ);

    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kstr(&a.json, "api_addr", "");
    json_kstr(&a.json, "cluster_addr", "");
    json_ku64(&a.json, "default_lease_ttl", 0);
    json_kbool(&a.json, "disable_cache", false);
    json_kbool(&a.json, "disable_clustering", true);
    json_kbool(&a.json, "enable_ui", true);
    json_kstr(&a.json, "log_format", "");
    json_kstr(&a.json, "log_level", "");
    json_ku64(&a.json, "max_lease_ttl", 0);
    json_key(&a.json, "storage");
    json_object(&a.json);
    json_kstr(&a.json, "type", "rocksdb");
    json_object_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}

static const struct plugin {
    const char *type, *name;
} plugins[] = {
    {"auth", "approle"}, {"auth", "userpass"}, {"secret", "kv"}, {"secret", "transit"},
};

static void json_plugin_names(struct json *j, const char *key, const char *type)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; i < array_size(plugins); i++)
        if (strcmp(plugins[i].type, type) == 0)
            json_str(j, plugins[i].name);
    json_array_end(j);
}

static void json_catalog(struct json *j)
{
    json_plugin_names(j, "auth", "auth");
    json_plugin_names(j, "database", "database");
    json_key(j, "detailed");
    json_array(j);
    for (size_t i = 0; i < array_size(plugins); i++) {
        json_object(j);
        json_kbool(j, "builtin", true);
        json_kstr(j, "deprecation_status", "supported");
        json_kstr(j, "name", plugins[i].name);
        json_kstr(j, "type", plugins[i].type);
        json_kstr(j, "version", "v" VAULT_VERSION "+builtin");
        json_object_end(j);
    }
    json_array_end(j);
    json_plugin_names(j, "secret", "secret");
}

int sys_plugins(struct web_request *req, struct web_response *resp)
{
    const char *type = web_param(req, "type");
    struct vault_answer a;
    int r = begin(req, vault_is_list(req) ? POLICY_LIST : POLICY_READ);

    if (r < 0)
        return r;
    if (type[0] != 0 && !vault_is_list(req))
        return -ENOTSUP;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    if (type[0] != 0)
        json_plugin_names(&a.json, "keys", type);
    else
        json_catalog(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}

int sys_plugin(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = begin(req, is_read(req) ? POLICY_READ : POLICY_UPDATE | POLICY_SUDO);

    if (r < 0)
        return r;
    if (!is_read(req))
        return op_fail(req->op, EINVAL, "engines are built in; none can be registered");
    for (size_t i = 0; i < array_size(plugins); i++) {
        if (strcmp(plugins[i].type, web_param(req, "type")) != 0 ||
            strcmp(plugins[i].name, web_param(req, "name")) != 0)
            continue;
        vault_answer_begin(&a, req);
        json_object(&a.json);
        json_knull(&a.json, "args");
        json_kbool(&a.json, "builtin", true);
        json_kstr(&a.json, "command", "");
        json_kstr(&a.json, "deprecation_status", "supported");
        json_kstr(&a.json, "name", plugins[i].name);
        json_kstr(&a.json, "sha256", "");
        json_kstr(&a.json, "version", "v" VAULT_VERSION "+builtin");
        json_object_end(&a.json);
        vault_answer_end(&a, resp, 0);
        return 0;
    }
    return -ENOENT;
}

int sys_cors(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = begin(req, POLICY_READ);

    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kbool(&a.json, "enabled", false);
    json_object_end(&a.json);
    json_kbool(&a.json, "enabled", false);
    vault_answer_end(&a, resp, 0);
    return 0;
}

/* There is the root namespace, and no other. */
int sys_namespaces(struct web_request *req, struct web_response *resp)
{
    bool reads = is_read(req) || vault_is_list(req);
    int r = begin(req, vault_is_list(req) ? POLICY_LIST : reads ? POLICY_READ : POLICY_UPDATE);

    (void)resp;
    if (r < 0)
        return r;
    return reads ? -ENOENT : op_fail(req->op, EINVAL, "namespaces are not supported");
}

struct acl {
    struct json *json;
    bool prefix;
};

static void json_rule(void *ctx, struct slice path, bool prefix, unsigned rights)
{
    static const struct {
        unsigned right;
        const char *name;
    } names[] = {
        {POLICY_CREATE, "create"}, {POLICY_DELETE, "delete"}, {POLICY_DENY, "deny"},
        {POLICY_LIST, "list"},     {POLICY_PATCH, "patch"},   {POLICY_READ, "read"},
        {POLICY_SCAN, "scan"},     {POLICY_SUDO, "sudo"},     {POLICY_UPDATE, "update"},
    };
    struct acl *acl = ctx;

    if (prefix != acl->prefix)
        return;
    json_key_slice(acl->json, path);
    json_object(acl->json);
    json_key(acl->json, "capabilities");
    json_array(acl->json);
    for (size_t i = 0; i < array_size(names); i++)
        if ((rights & names[i].right) != 0)
            json_str(acl->json, names[i].name);
    json_array_end(acl->json);
    json_object_end(acl->json);
}

int sys_resultant_acl(struct web_request *req, struct web_response *resp)
{
    const struct policy_set *set = identity_policies(req->op->who);
    struct vault_answer a;
    struct acl acl = {.json = &a.json};
    int r = begin(req, POLICY_READ);

    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    if (!policy_set_is_root(set)) {
        json_key(&a.json, "exact_paths");
        json_object(&a.json);
        policy_set_each(set, json_rule, &acl);
        json_object_end(&a.json);
        acl.prefix = true;
        json_key(&a.json, "glob_paths");
        json_object(&a.json);
        policy_set_each(set, json_rule, &acl);
        json_object_end(&a.json);
    }
    json_kbool(&a.json, "root", policy_set_is_root(set));
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}

/* One line on each path, of which path-help and the OpenAPI document are made. */
static const struct help {
    const char *pattern, *methods, *text;
} help[] = {
    {"/secret/data/{path}", "get post patch delete", "Read, write, patch and delete a secret."},
    {"/secret/metadata/{path}", "get post patch delete", "A secret's settings and versions; lists."},
    {"/secret/subkeys/{path}", "get", "The keys of a secret without their values."},
    {"/secret/delete/{path}", "post", "Delete versions of a secret; they can be undeleted."},
    {"/secret/undelete/{path}", "post", "Undelete versions of a secret."},
    {"/secret/destroy/{path}", "post", "Destroy versions of a secret for good."},
    {"/secret/config", "get post", "Settings of the KV mount."},
    {"/cubbyhole/{path}", "get post delete", "Secrets of one token, which die with it."},
    {"/transit/keys/{name}", "get post delete", "Keys that never leave: make, show, delete."},
    {"/transit/encrypt/{name}", "post", "Encrypt with a named key."},
    {"/transit/decrypt/{name}", "post", "Decrypt with a named key."},
    {"/transit/sign/{name}", "post", "Sign with a named key."},
    {"/transit/verify/{name}", "post", "Verify a signature or an HMAC."},
    {"/auth/token/create", "post", "Make a token."},
    {"/auth/token/lookup-self", "get", "What the caller's token is."},
    {"/auth/token/renew-self", "post", "Renew the caller's token."},
    {"/auth/token/revoke-self", "post", "End the caller's token."},
    {"/auth/token/roles/{role}", "get post delete", "Roles that shape new tokens."},
    {"/auth/userpass/login/{user}", "post", "Log in with a name and a password."},
    {"/auth/userpass/users/{user}", "get post delete", "Users of this mount."},
    {"/auth/approle/login", "post", "Log in with a role id and a secret id."},
    {"/auth/approle/role/{role}", "get post delete", "Roles of programs."},
    {"/sys/auth/{path}", "get post delete", "Ways to log in."},
    {"/sys/capabilities-self", "post", "What the caller may do with paths."},
    {"/sys/health", "get", "Is the server initialized and unsealed?"},
    {"/sys/leases/lookup", "post", "When a lease ends."},
    {"/sys/leases/revoke", "post", "End a lease."},
    {"/sys/mounts", "get", "The secret engines."},
    {"/sys/mounts/{path}", "get post delete", "Enable, show and disable a secret engine."},
    {"/sys/policies/acl/{name}", "get post delete", "Policies."},
    {"/sys/remount", "post", "Move a mount to another path."},
    {"/sys/seal-status", "get", "How the server is sealed."},
    {"/sys/tools/hash", "post", "Hash bytes."},
    {"/sys/tools/random", "post", "Random bytes."},
    {"/sys/wrapping/unwrap", "post", "Open a wrapped answer."},
    {"/sys/wrapping/wrap", "post", "Wrap what is sent."},
};

bool vault_asks_help(struct web_request *req)
{
    const char *value = strcmp(req->method, "GET") == 0 ? web_query(req, "help") : NULL;

    return value != NULL && strcmp(value, "0") != 0 && strcmp(value, "false") != 0;
}

/* How much of a pattern's fixed text begins the path; 0: it does not fit. */
static size_t fit(const char *pattern, const char *path)
{
    size_t fixed = strcspn(pattern, "{"), len = strlen(path);

    if (pattern[fixed] == 0)
        return strcmp(pattern, path) == 0 ? fixed + 1 : 0;
    return len >= fixed - 1 && strncmp(pattern, path, len < fixed ? len : fixed) == 0 ? fixed : 0;
}

void vault_answer_help(struct web_request *req, struct web_response *resp)
{
    const char *path = req->path + 3; /* behind "/v1" */
    const struct help *best = NULL;
    struct buf text = {0};
    struct vault_answer a;
    size_t most = 0;

    for (size_t i = 0; i < array_size(help); i++) {
        if (fit(help[i].pattern, path) <= most)
            continue;
        most = fit(help[i].pattern, path);
        best = &help[i];
    }
    buf_printf(&text, "Request:        %s\n", path + 1);
    if (best != NULL)
        buf_printf(&text, "Matching Route: %s (%s)\n\n%s\n", best->pattern + 1, best->methods,
                   best->text);
    else
        buf_add_str(&text, "\n## PATHS\n\n");
    for (size_t i = 0; best == NULL && i < array_size(help); i++)
        buf_printf(&text, "    %s\n        %s\n", help[i].pattern + 1, help[i].text);
    vault_plain_begin(&a, req);
    json_kslice(&a.json, "help", buf_slice(&text));
    json_knull(&a.json, "see_also");
    vault_plain_end(&a, resp, 200);
    buf_done(&text);
}

static void json_operations(struct json *j, const struct help *h)
{
    for (const char *p = h->methods; *p != 0; p += strcspn(p, " "), p += *p == ' ') {
        json_key_slice(j, slice_of(p, strcspn(p, " ")));
        json_object(j);
        json_kstr(j, "summary", h->text);
        json_key(j, "responses");
        json_object(j);
        json_key(j, "200");
        json_object(j);
        json_kstr(j, "description", "OK");
        json_object_end(j);
        json_object_end(j);
        json_object_end(j);
    }
}

int sys_openapi(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = begin(req, POLICY_READ);

    if (r < 0)
        return r;
    vault_plain_begin(&a, req);
    json_kstr(&a.json, "openapi", "3.0.2");
    json_key(&a.json, "info");
    json_object(&a.json);
    json_kstr(&a.json, "title", "infrafs, Vault's dialect");
    json_kstr(&a.json, "version", VAULT_VERSION);
    json_object_end(&a.json);
    json_key(&a.json, "paths");
    json_object(&a.json);
    for (size_t i = 0; i < array_size(help); i++) {
        const char *open = strchr(help[i].pattern, '{');

        json_key(&a.json, help[i].pattern);
        json_object(&a.json);
        if (open != NULL) {
            json_key(&a.json, "parameters");
            json_array(&a.json);
            json_object(&a.json);
            json_kslice(&a.json, "name", slice_of(open + 1, strcspn(open, "}") - 1));
            json_kstr(&a.json, "in", "path");
            json_kbool(&a.json, "required", true);
            json_kraw(&a.json, "schema", SLICE("{\"type\":\"string\"}"));
            json_object_end(&a.json);
            json_array_end(&a.json);
        }
        json_operations(&a.json, &help[i]);
        json_object_end(&a.json);
    }
    json_object_end(&a.json);
    vault_plain_end(&a, resp, 200);
    return 0;
}
