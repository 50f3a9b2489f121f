/* vault.h: what the handlers of Vault's dialect share. A handler returns 0 or a negative errno,
 * which secrets_render turns into Vault's body. */
#ifndef SECRETS_VAULT_H
#define SECRETS_VAULT_H

#include "base/json.h"
#include "identity/identity.h"
#include "secrets/object.h"
#include "secrets/secrets.h"

#define VAULT_VERSION                                                                              \
    "1.15.0" /* Terraform's provider gates features on a semver of 1.11 or later */

/* Before anything else: namespace, wrapping, sealed. */
int vault_begin(struct web_request *req);
/* The body as an object; an empty body is {}. */
int vault_body(struct web_request *req, struct object *ret);

/* A logical answer: {"request_id":…, then "data": and what the handler writes as its value. */
struct vault_answer {
    struct buf out;
    struct json json;
    struct web_request *req;
    bool envelope;        /* it is wrapped where that is asked for */
    const char *accessor; /* of a token in it; NULL */
};
void vault_answer_begin(struct vault_answer *a, struct web_request *req);
/* As before, up to the data, with these lease fields (KV v1). */
void vault_answer_begin_lease(struct vault_answer *a, struct web_request *req, int64_t duration_s);
/* Ends the envelope, and is the answer; `status` 0: 200. */
void vault_answer_end(struct vault_answer *a, struct web_response *resp, int status);
/* The same if r is 0; else there is no answer. Returns r. */
int vault_answer_finish(struct vault_answer *a, struct web_response *resp, int status, int r);
/* Ends an envelope that has "auth" already. */
void vault_answer_end_auth(struct vault_answer *a, struct web_response *resp);
/* Ends it with warnings, NULL-terminated. */
void vault_answer_end_warned(struct vault_answer *a, struct web_response *resp, int status,
                             const char *const *warnings);
/* The member "warnings": those (NULL-terminated; NULL: none), and what is said of parameters that
 * the path does not know; null without any. */
void json_warnings(struct json *j, struct web_request *req, const char *const *own);
/* Those of parameters alone: none to two texts, in the op. */
size_t vault_ignored(struct web_request *req, const char *ret[2]);
/* An envelope without data, and a warning. */
void vault_answer_warning(struct web_request *req, struct web_response *resp, int status,
                          const char *text);
/* An answer that is no envelope: begins an object, ends it. */
void vault_plain_begin(struct vault_answer *a, struct web_request *req);
void vault_plain_end(struct vault_answer *a, struct web_response *resp, int status);
void vault_answer_empty(struct web_response *resp); /* 204 */
/* {"errors":[text]} with a status of its own. Returns 0: it is the answer. */
int vault_answer_error(struct web_request *req, struct web_response *resp, int status,
                       const char *text);

void json_ktime(struct json *j, const char *key, int64_t unix_ns); /* 0: "" */
/* Durations in: "1h30m", 30, "30"; nanoseconds. -EINVAL. Out: "1h30m0s". */
int vault_duration(struct op *op, struct slice value, int64_t *ret_ns);
const char *vault_duration_text(struct op *op, int64_t ns);
/* A list of strings, as an array or as one string with commas. In the op, NULL-terminated. -EINVAL.
 */
int vault_strings(struct op *op, struct slice value, const char ***ret);
/* A member that is a string: NULL if it is absent, -EINVAL if it is something else. */
int vault_string(struct op *op, const struct object *o, const char *key, const char **ret);

const char *vault_lower(struct op *op, const char *text); /* names of policies are in lower case */
/* -EINVAL with the words that Go clients know, for a field that is no "int" or "bool". */
int vault_refuse_field(struct op *op, const char *field, const char *kind);

/* May the caller list (POLICY_LIST, POLICY_SCAN) what is below this path? The question is asked of
 * the path with a slash at its end, as Vault does. */
int vault_check_list(struct op *op, unsigned right, const char *path);
/* Is a list asked for? (LIST, or GET with list=true.) */
bool vault_is_list(struct web_request *req);
/* All below, OpenBao's (SCAN, or GET with scan=true). */
bool vault_is_scan(struct web_request *req);

/* A request below a mount. */
struct kv_request {
    struct secrets *s;
    struct mount *mount;
    const char *noun; /* "data", "metadata", …; v1: "" */
    const char *path; /* inside the mount, no slash at either end */
    const char *full; /* "secret/data/app/db": what rights are asked for */
    struct web_request *req;
    struct web_response *resp;
    struct op *op;
};
int vault_unsupported(struct kv_request *q); /* 404, "unsupported path" */
int vault_unsupported_path(struct web_request *req, struct web_response *resp);
int kv2_handle(struct kv_request *q);
int kv1_handle(struct kv_request *q);
int kv2_metadata(struct kv_request *q); /* metadata/, detailed-metadata/, config */
int kv2_fate(struct kv_request *q);     /* delete/, undelete/, destroy/ */
int kv_answer_list(struct kv_request *q, bool detailed);
int kv_answer_scan(struct kv_request *q);
int kv_check_write(struct kv_request *q); /* may the caller create or update it? */
int vault_take_patch(struct kv_request *q);
int vault_nothing_to_patch(struct kv_request *q);
int kv_nothing(struct kv_request *q);    /* 404 at the root of data/ and metadata/ */
int kv_wrong_path(struct kv_request *q); /* 404: such paths are of KV v1 */
void json_version_metadata(struct json *j, const struct kv_version *v, struct slice custom);

/* Settings of a mount beside its ttls: those that are sent over those that are kept. -EINVAL. */
int mount_config_merge(struct op *op, const struct object *sent, bool auth,
                       struct mount_tune *tune);
void mount_config_json(struct op *op, struct json *j, const struct mount_tune *tune,
                       bool auth); /* as members */
const char *mount_config_word(struct op *op, const struct mount_tune *tune,
                              const char *key); /* "" if it is not set */

/* The cluster's id, a UUID. */
void vault_cluster_id(struct secrets *s, char ret[37]);

/* Handlers of fixed routes, by file. */
int sys_health(struct web_request *req, struct web_response *resp);
int sys_seal_status(struct web_request *req, struct web_response *resp);
int sys_init(struct web_request *req, struct web_response *resp);
int sys_leader(struct web_request *req, struct web_response *resp);
int sys_step_down(struct web_request *req, struct web_response *resp);
int sys_seal(struct web_request *req, struct web_response *resp);
int sys_unseal(struct web_request *req, struct web_response *resp);
int sys_key_status(struct web_request *req, struct web_response *resp);
int sys_rotate(struct web_request *req, struct web_response *resp);
int sys_rotate_config(struct web_request *req, struct web_response *resp);
int sys_rekey_init(struct web_request *req, struct web_response *resp);
int sys_rekey_update(struct web_request *req, struct web_response *resp);
int sys_rekey_verify(struct web_request *req, struct web_response *resp);
int sys_root_attempt(struct web_request *req, struct web_response *resp);
int sys_root_cancel(struct web_request *req, struct web_response *resp);
int sys_root_update(struct web_request *req, struct web_response *resp);
int sys_metrics(struct web_request *req, struct web_response *resp);
int sys_version_history(struct web_request *req, struct web_response *resp);
int sys_find(struct web_request *req, struct web_response *resp);
int sys_audit(struct web_request *req, struct web_response *resp);
int sys_audit_device(struct web_request *req, struct web_response *resp);
int sys_audit_hash(struct web_request *req, struct web_response *resp);
int sys_capabilities(struct web_request *req, struct web_response *resp);
int sys_ui_mounts(struct web_request *req, struct web_response *resp);
int sys_ui_mount(struct web_request *req, struct web_response *resp);
int sys_mounts(struct web_request *req, struct web_response *resp);
int sys_mount(struct web_request *req, struct web_response *resp);
int sys_mount_tune(struct web_request *req, struct web_response *resp);
int sys_remount(struct web_request *req, struct web_response *resp);
int sys_remount_status(struct web_request *req, struct web_response *resp);
int sys_policies(struct web_request *req, struct web_response *resp);
int sys_policy(struct web_request *req, struct web_response *resp);
int vault_token_self(struct web_request *req, struct web_response *resp);
int vault_token_other(struct web_request *req, struct web_response *resp);
int vault_token_make(struct web_request *req, struct web_response *resp);
int vault_token_accessors(struct web_request *req, struct web_response *resp);
int sys_random(struct web_request *req, struct web_response *resp);
int sys_hash(struct web_request *req, struct web_response *resp);
/* The same below transit; `path` is what follows "random" and "hash". The caller has checked. */
int vault_random(struct web_request *req, struct web_response *resp, const char *path);
int vault_hash(struct web_request *req, struct web_response *resp, const char *path);
int userpass_login(struct web_request *req, struct web_response *resp);
int userpass_user(struct web_request *req, struct web_response *resp);
int userpass_part(struct web_request *req, struct web_response *resp); /* password, policies */
int userpass_drop(struct secrets *s, const struct mount *mount);
int approle_login(struct web_request *req, struct web_response *resp);
int approle_handle(struct kv_request *q); /* everything below the mount but login */
int approle_drop(struct secrets *s, const struct mount *mount);
int vault_token_tidy(struct web_request *req, struct web_response *resp);
int vault_token_roles(struct web_request *req, struct web_response *resp);
int vault_token_role(struct web_request *req, struct web_response *resp);
int sys_wrapping_wrap(struct web_request *req, struct web_response *resp);
int sys_wrapping_other(struct web_request *req, struct web_response *resp);
int sys_leases(struct web_request *req, struct web_response *resp);
int sys_leases_list(struct web_request *req, struct web_response *resp);
int sys_leases_prefix(struct web_request *req, struct web_response *resp);
int sys_leases_count(struct web_request *req, struct web_response *resp);
int sys_resultant_acl(struct web_request *req, struct web_response *resp);
int sys_host_info(struct web_request *req, struct web_response *resp);
int sys_ha_status(struct web_request *req, struct web_response *resp);
int sys_config_state(struct web_request *req, struct web_response *resp);
int sys_plugins(struct web_request *req, struct web_response *resp);
int sys_plugin(struct web_request *req, struct web_response *resp);
int sys_cors(struct web_request *req, struct web_response *resp);
int sys_namespaces(struct web_request *req, struct web_response *resp);
int sys_openapi(struct web_request *req, struct web_response *resp);
/* GET with ?help=1 on any path: vault_begin fails with this, and the answer is rendered. */
#define VAULT_HELP ENOEXEC
bool vault_asks_help(struct web_request *req);
void vault_answer_help(struct web_request *req, struct web_response *resp);

/* Seconds of X-Vault-Wrap-TTL, 0: none was sent. -EINVAL with Vault's text. */
int vault_wrap_ttl(struct web_request *req, int64_t *ret_s);
/* Puts an answer away, and makes another of the token that opens it. */
int vault_wrap(struct web_request *req, struct web_response *resp, struct slice answer,
               int64_t ttl_s, const char *creation_path, const char *accessor);
/* The request's parameters and wrapping against what the caller's policies say. -EACCES. */
int vault_check_limits(struct web_request *req);
int userpass_users(struct web_request *req, struct web_response *resp);

#endif
