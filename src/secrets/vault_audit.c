/* vault_audit.c: sys/audit. There is one device, the file of the configuration. Devices are not
 * made through the API: who may write any file of the host owns the host (CVE-2025-54997). */
#include "config.h"
#include "identity/audit.h"
#include "secrets/vault.h"

#include <errno.h>
#include <stdio.h>

#define DEVICE "file"

static bool is_on(const struct secrets *s)
{
    return s->config->audit_file != NULL && s->config->audit_file[0] != 0;
}

static void json_devices(struct json *j, const struct secrets *s)
{
    if (!is_on(s))
        return;
    json_key(j, DEVICE "/");
    json_object(j);
    json_kstr(j, "type", "file");
    json_kstr(j, "path", DEVICE "/");
    json_kstr(j, "description", "every door: HTTP, the mount, units");
    json_kbool(j, "local", false);
    json_key(j, "options");
    json_object(j);
    json_kstr(j, "file_path", s->config->audit_file);
    json_kstr(j, "format", "json");
    json_kstr(j, "mode", "0600");
    json_object_end(j);
    json_object_end(j);
}

int sys_audit(struct web_request *req, struct web_response *resp)
{
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_READ | POLICY_SUDO, "sys/audit");
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_devices(&a.json, req->self);
    json_object_end(&a.json);
    json_devices(&a.json, req->self);
    vault_answer_end(&a, resp, 200);
    return 0;
}

static bool names_device(const struct secrets *s, const char *name)
{
    return is_on(s) && (strcmp(name, DEVICE) == 0 || strcmp(name, DEVICE "/") == 0);
}

int sys_audit_device(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "name");
    bool deletes = strcmp(req->method, "DELETE") == 0;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, (deletes ? POLICY_DELETE : POLICY_UPDATE) | POLICY_SUDO,
                           "sys/audit/%s", name);
    if (r < 0)
        return r;
    if (!deletes)
        return op_fail(req->op, EINVAL,
                       "cannot enable audit device via API; use declarative, "
                       "config-based audit device management instead");
    if (names_device(req->self, name))
        return op_fail(req->op, EINVAL,
                       "cannot disable audit device via API; use declarative, "
                       "config-based audit device management instead");
    vault_answer_empty(resp);
    return 0;
}

int sys_audit_hash(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "name"), *hash;
    struct secrets *s = req->self;
    struct vault_answer a;
    struct object body;
    struct slice input;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "sys/audit-hash/%s", name);
    if (r == 0)
        r = vault_body(req, &body);
    if (r < 0)
        return r;
    if (!names_device(s, name))
        return op_fail(req->op, EINVAL, "unknown audit backend \"%s/\"", name);
    if (value_string(req->op, object_value(&body, "input"), &input) < 0)
        return op_fail(req->op, EINVAL, "the \"input\" parameter is empty");
    hash = audit_hmac(s->audit, req->op, input);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kstr(&a.json, "hash", hash);
    json_object_end(&a.json);
    json_kstr(&a.json, "hash", hash);
    vault_answer_end(&a, resp, 200);
    return 0;
}
