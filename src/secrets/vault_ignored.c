/* vault_ignored.c: parameters that a request has and its path does not know. OpenBao does what it
 * can, and warns; so here. What the paths know was read from its sys/internal/specs/openapi. */
#include "base/scope.h"
#include "secrets/vault.h"

#include <errno.h>
#include <stdlib.h>

#define BODY_MAX 65536 /* of larger ones nothing is said: they would be parsed twice */

DEFINE_SCOPE(mount, struct mount, mount_unref)

#define CREATE_TOKEN                                                                               \
    "display_name entity_alias explicit_max_ttl id lease meta no_default_policy no_parent num_uses " \
    "period policies renewable ttl type"
#define TOKEN_SETTINGS                                                                             \
    "token_bound_cidrs token_explicit_max_ttl token_no_default_policy token_num_uses token_period " \
    "token_type "
#define LOGIN_SETTINGS TOKEN_SETTINGS "token_max_ttl token_policies token_strictly_bind_ip token_ttl "
#define POLICY                                                                                     \
    "allow_slashes_in_identity_templates allow_wildcards_in_identity_templates cas cas_required "  \
    "expiration policy rules ttl"
#define SIGN                                                                                       \
    "algorithm batch_input context hash_algorithm input key_version marshaling_algorithm "         \
    "prehashed salt_length signature_algorithm "

static const struct known {
    enum mount_kind kind;
    const char *path;    /* below the mount; "*" is one segment, a last "**" is all that follows */
    const char *fields;
    const char *in_path; /* what the path itself says, whatever the body does */
} known[] = {
    {MOUNT_KV2, "config", "cas_required delete_version_after max_versions metadata_cas_required", ""},
    {MOUNT_KV2, "data/**", "data options version", "path"},
    {MOUNT_KV2, "subkeys/**", "version depth", "path"},
    {MOUNT_KV2, "metadata/**",
     "after cas_required custom_metadata delete_version_after limit max_versions metadata_cas "
     "metadata_cas_required", "path"},
    {MOUNT_KV2, "detailed-metadata/**", "after limit", "path"},
    {MOUNT_KV1, "**", "after limit", "path"},
    {MOUNT_CUBBYHOLE, "**", "after limit", "path"},
    {MOUNT_TRANSIT, "keys/*",
     "allow_plaintext_backup auto_rotate_period context convergent_encryption derived exportable "
     "external_key_ref key_size type", "name"},
    {MOUNT_TRANSIT, "keys/*/config",
     "allow_plaintext_backup auto_rotate_period deletion_allowed exportable min_decryption_version "
     "min_encryption_version", "name"},
    {MOUNT_TRANSIT, "keys/*/rotate", "external_key_ref", "name"},
    {MOUNT_TRANSIT, "keys/*/trim", "min_available_version", "name"},
    {MOUNT_TRANSIT, "encrypt/*",
     "associated_data batch_input context convergent_encryption key_version nonce "
     "partial_failure_response_code plaintext type", "name"},
    {MOUNT_TRANSIT, "decrypt/*",
     "associated_data batch_input ciphertext context nonce partial_failure_response_code", "name"},
    {MOUNT_TRANSIT, "rewrap/*", "batch_input ciphertext context key_version nonce", "name"},
    {MOUNT_TRANSIT, "datakey/*/*", "associated_data bits context key_version nonce",
     "name plaintext"},
    {MOUNT_TRANSIT, "hmac/*", "algorithm batch_input input key_version urlalgorithm", "name"},
    {MOUNT_TRANSIT, "hmac/*/*", "algorithm batch_input input key_version", "name urlalgorithm"},
    {MOUNT_TRANSIT, "sign/*", SIGN "urlalgorithm", "name"},
    {MOUNT_TRANSIT, "sign/*/*", SIGN, "name urlalgorithm"},
    {MOUNT_TRANSIT, "verify/*", SIGN "hmac signature urlalgorithm", "name"},
    {MOUNT_TRANSIT, "verify/*/*", SIGN "hmac signature", "name urlalgorithm"},
    {MOUNT_TRANSIT, "hash", "algorithm format input urlalgorithm", ""},
    {MOUNT_TRANSIT, "hash/*", "algorithm format input", "urlalgorithm"},
    {MOUNT_TRANSIT, "random", "bytes format source urlbytes", ""},
    {MOUNT_TRANSIT, "random/*", "bytes format source urlbytes", ""},
    {MOUNT_TRANSIT, "backup/*", "", "name"},
    {MOUNT_TRANSIT, "export/*/*", "", "name type"},
    {MOUNT_APPROLE, "login", "role_id secret_id", ""},
    {MOUNT_APPROLE, "role/*",
     LOGIN_SETTINGS "bind_secret_id bound_cidr_list local_secret_ids period policies role_id "
                    "secret_id_bound_cidrs secret_id_num_uses secret_id_ttl", "role_name"},
    {MOUNT_APPROLE, "role/*/role-id", "role_id", "role_name"},
    {MOUNT_APPROLE, "role/*/secret-id",
     "after cidr_list limit metadata num_uses token_bound_cidrs ttl", "role_name"},
    {MOUNT_APPROLE, "role/*/custom-secret-id",
     "cidr_list metadata num_uses secret_id token_bound_cidrs ttl", "role_name"},
    {MOUNT_APPROLE, "role/*/secret-id/lookup", "secret_id", "role_name"},
    {MOUNT_APPROLE, "role/*/secret-id-accessor/lookup", "secret_id_accessor", "role_name"},
    {MOUNT_USERPASS, "login/*", "password", "username"},
    {MOUNT_USERPASS, "users", "after limit", ""},
    {MOUNT_USERPASS, "users/*",
     LOGIN_SETTINGS "bound_cidrs max_ttl password password_hash policies ttl", "username"},
    {MOUNT_TOKEN, "create", CREATE_TOKEN, ""},
    {MOUNT_TOKEN, "create-orphan", CREATE_TOKEN, ""},
    {MOUNT_TOKEN, "create/*", CREATE_TOKEN, "role_name"},
    {MOUNT_TOKEN, "lookup", "token", ""},
    {MOUNT_TOKEN, "lookup-accessor", "accessor", ""},
    {MOUNT_TOKEN, "lookup-self", "token", ""},
    {MOUNT_TOKEN, "renew", "increment token", ""},
    {MOUNT_TOKEN, "renew-accessor", "accessor increment", ""},
    {MOUNT_TOKEN, "renew-self", "increment token", ""},
    {MOUNT_TOKEN, "roles/*",
     TOKEN_SETTINGS "allowed_entity_aliases allowed_policies allowed_policies_glob bound_cidrs "
                    "disallowed_policies disallowed_policies_glob explicit_max_ttl orphan "
                    "path_suffix period renewable", "role_name"},
    {MOUNT_SYSTEM, "capabilities", "path paths token", ""},
    {MOUNT_SYSTEM, "capabilities-accessor", "accessor path paths", ""},
    {MOUNT_SYSTEM, "capabilities-self", "path paths token", ""},
    {MOUNT_SYSTEM, "policies/acl/*", POLICY, "name"},
    {MOUNT_SYSTEM, "policy/*", POLICY, "name"},
    {MOUNT_SYSTEM, "tools/hash", "algorithm format input urlalgorithm", ""},
    {MOUNT_SYSTEM, "tools/hash/*", "algorithm format input", "urlalgorithm"},
    {MOUNT_SYSTEM, "tools/random", "bytes format source urlbytes", ""},
    {MOUNT_SYSTEM, "tools/random/*", "bytes format source urlbytes", ""},
    {MOUNT_SYSTEM, "wrapping/lookup", "token", ""},
    {MOUNT_SYSTEM, "leases/lookup", "lease_id", ""},
    {MOUNT_SYSTEM, "leases/renew", "increment lease_id url_lease_id", ""},
    {MOUNT_SYSTEM, "remount", "from to", ""},
    {MOUNT_SYSTEM, "key-status", "", ""},
    {MOUNT_SYSTEM, "mounts", "", ""},
    {MOUNT_SYSTEM, "auth", "", ""},
    {MOUNT_SYSTEM, "rotate/config", "enabled interval max_operations", ""},
    {MOUNT_SYSTEM, "internal/ui/mounts", "", ""},
    {MOUNT_SYSTEM, "internal/ui/mounts/**", "", "path"},
    {MOUNT_SYSTEM, "audit-hash/**", "input", "path"},
};

static bool path_fits(const char *pattern, const char *path)
{
    while (*pattern != 0) {
        if (strcmp(pattern, "**") == 0)
            return true;
        if (*pattern == '*') {
            size_t len = strcspn(path, "/");

            if (len == 0)
                return false;
            pattern++;
            path += len;
        } else if (*pattern++ != *path++) {
            /* "metadata/" + all that follows is "metadata" too */
            return path[-1] == 0 && strcmp(pattern - 1, "/**") == 0;
        }
    }
    return *path == 0 || strcmp(path, "/") == 0;
}

static const struct known *find(struct web_request *req)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    const char *rest = "";

    mount = mount_find(s->mounts, req->path + 4, &rest); /* behind "/v1/" */
    if (mount == NULL)
        return NULL;
    for (size_t i = 0; i < array_size(known); i++)
        if (known[i].kind == mount->kind && path_fits(known[i].path, rest))
            return &known[i];
    return NULL;
}

static bool has_word(const char *words, struct slice word)
{
    while (*words != 0) {
        size_t len = strcspn(words, " ");

        if (len > 0 && slice_eq(slice_of(words, len), word))
            return true;
        words += len + (words[len] == ' ');
    }
    return false;
}

static bool sends_body(const struct web_request *req)
{
    return strcmp(req->method, "PUT") == 0 || strcmp(req->method, "POST") == 0 ||
           strcmp(req->method, "PATCH") == 0;
}

/* The names of what was sent, sorted; in the op. */
static size_t sent_names(struct web_request *req, struct slice **ret)
{
    struct object body = {0};
    struct slice *list;
    size_t n = 0;

    if (sends_body(req)) {
        if (req->body.len > BODY_MAX || vault_body(req, &body) < 0)
            return 0;
        list = op_alloc(req->op, (body.n + 1) * sizeof *list);
        for (size_t i = 0; i < body.n; i++)
            list[n++] = body.members[i].key;
    } else {
        list = op_alloc(req->op, (req->n_query + 1) * sizeof *list);
        for (size_t i = 0; i < req->n_query; i++)
            if (!has_word("list scan help", slice_str(req->query[i].name)))
                list[n++] = slice_str(req->query[i].name);
    }
    *ret = list;
    return n;
}

static int compare(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static const char *join(struct op *op, const char *text, struct slice word)
{
    return op_printf(op, "%s%s%.*s", text, text[0] != 0 ? " " : "", (int)word.len,
                     (const char *)word.data);
}

size_t vault_ignored(struct web_request *req, const char *ret[2])
{
    const char *ignored = "", *replaced = "";
    const struct known *k;
    struct slice *names;
    size_t n_names, n = 0;

    if (req->n_query == 0 && !sends_body(req))
        return 0;
    k = find(req);
    n_names = k != NULL ? sent_names(req, &names) : 0;
    if (n_names > 1)
        qsort(names, n_names, sizeof *names, compare);
    for (size_t i = 0; i < n_names; i++) {
        if (has_word(k->in_path, names[i]))
            replaced = join(req->op, replaced, names[i]);
        else if (!has_word(k->fields, names[i]))
            ignored = join(req->op, ignored, names[i]);
    }
    if (ignored[0] != 0)
        ret[n++] = op_printf(req->op, "Endpoint ignored these unrecognized parameters: [%s]",
                             ignored);
    if (replaced[0] != 0)
        ret[n++] = op_printf(req->op,
                             "Endpoint replaced the value of these parameters with the values "
                             "captured from the endpoint's path: [%s]",
                             replaced);
    return n;
}
