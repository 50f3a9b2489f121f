/* vault_transit.c: transit/keys: made, shown, configured, rotated, trimmed. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>

#define SECOND INT64_C(1000000000)

static bool is_write(const struct kv_request *q)
{
    return strcmp(q->req->method, "POST") == 0 || strcmp(q->req->method, "PUT") == 0;
}

static bool is_read(const struct kv_request *q)
{
    return strcmp(q->req->method, "GET") == 0 || strcmp(q->req->method, "HEAD") == 0;
}

static int json_versions(struct kv_request *q, struct json *j, const struct transit_key *k)
{
    bool pairs = k->type->family != TRANSIT_AEAD;
    const char *sent = web_query(q->req, "context");
    struct slice context = {0};
    int r = sent != NULL ? transit_base64(q->op, "failed to base64-decode context: ",
                                          slice_str(sent), &context)
                         : 0;

    json_key(j, "keys");
    json_object(j);
    for (int64_t i = k->min_decryption; r == 0 && i <= k->latest; i++) {
        struct transit_version v;
        const char *public = "";

        r = transit_load_version(q, k, i, &v);
        json_key(j, op_printf(q->op, "%" PRId64, i));
        if (!pairs) {
            json_i64(j, v.created_ns / SECOND);
            continue;
        }
        if (r == 0)
            r = transit_public(q->op, k, &v, context, &public);
        json_object(j);
        json_kstr(j, "certificate_chain", "");
        json_ktime(j, "creation_time", v.created_ns);
        json_kstr(j, "name", k->type->shown);
        json_kstr(j, "public_key", public);
        json_object_end(j);
        transit_version_done(&v);
    }
    json_object_end(j);
    return r;
}

void transit_json(struct kv_request *q, struct json *j, const struct transit_key *k, int *ret)
{
    enum transit_family family = k->type->family;
    bool crypts = family == TRANSIT_AEAD || family == TRANSIT_RSA;

    json_object(j);
    json_kbool(j, "allow_plaintext_backup", k->plaintext_backup);
    json_ki64(j, "auto_rotate_period", k->auto_rotate_s);
    if (k->derived) {
        json_kbool(j, "convergent_encryption", k->convergent);
        if (k->convergent)
            json_ki64(j, "convergent_encryption_version", -1);
    }
    json_kbool(j, "deletion_allowed", k->deletion_allowed);
    json_kbool(j, "derived", k->derived);
    json_kbool(j, "exportable", k->exportable);
    json_kbool(j, "imported_key", k->imported);
    if (k->imported)
        json_kbool(j, "imported_key_allow_rotation", k->imported_rotation);
    if (k->derived)
        json_kstr(j, "kdf", "hkdf_sha256");
    if (family == TRANSIT_HMAC)
        json_ki64(j, "key_size", k->key_size);
    else
        *ret = json_versions(q, j, k);
    json_ki64(j, "latest_version", k->latest);
    json_ki64(j, "min_available_version", k->min_available);
    json_ki64(j, "min_decryption_version", k->min_decryption);
    json_ki64(j, "min_encryption_version", k->min_encryption);
    json_kstr(j, "name", k->name);
    json_kbool(j, "soft_deleted", false);
    json_kbool(j, "supports_decryption", crypts);
    json_kbool(j, "supports_derivation", family == TRANSIT_AEAD || family == TRANSIT_ED25519);
    json_kbool(j, "supports_encryption", crypts);
    json_kbool(j, "supports_signing",
               family == TRANSIT_ED25519 || family == TRANSIT_ECDSA || family == TRANSIT_RSA);
    json_kstr(j, "type", k->type->name);
    json_object_end(j);
}

int transit_answer_key(struct kv_request *q, const struct transit_key *k)
{
    struct vault_answer a;
    int r = 0;

    vault_answer_begin(&a, q->req);
    transit_json(q, &a.json, k, &r);
    return vault_answer_finish(&a, q->resp, 0, r);
}

int transit_read_period(struct op *op, const struct object *body, int64_t *ret_s)
{
    struct slice value = object_value(body, "auto_rotate_period");
    int64_t ns;

    if (value.len == 0)
        return 0;
    if (vault_duration(op, value, &ns) < 0)
        return op_fail(op, EINVAL,
                       "error converting input for field \"auto_rotate_period\": expected a "
                       "duration");
    if (ns != 0 && ns < 3600 * SECOND)
        return op_fail(op, EINVAL, "auto rotate period must be 0 to disable or at least an hour");
    *ret_s = ns / SECOND;
    return 0;
}

static int read_type(struct op *op, const struct object *body, struct transit_key *k)
{
    struct slice size = object_value(body, "key_size");
    const char *type = NULL;
    int r = vault_string(op, body, "type", &type);

    if (r < 0)
        return r;
    k->type = transit_type_find(type != NULL ? type : "aes256-gcm96");
    if (k->type == NULL)
        return op_fail(op, EINVAL, "unknown key type %s", type);
    if (size.len > 0 && value_integer(op, size, &k->key_size) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"key_size\": expected a "
                                   "number");
    if (k->key_size != 0 &&
        (k->type->family != TRANSIT_HMAC || k->key_size < 32 || k->key_size > 512))
        return op_fail(op, EINVAL, "invalid key_size %" PRId64, k->key_size);
    if (k->key_size == 0 && k->type->family == TRANSIT_HMAC)
        return op_fail(op, EINVAL,
                       "invalid key size for HMAC key, must be between 32 and 512 bytes");
    return 0;
}

/* Settings of a new key, checked. */
static int read_new(struct op *op, const struct object *body, struct transit_key *k)
{
    int r = read_type(op, body, k);

    if (r == 0)
        r = transit_read_period(op, body, &k->auto_rotate_s);
    if (r < 0)
        return r;
    value_boolean(object_value(body, "derived"), &k->derived);
    value_boolean(object_value(body, "convergent_encryption"), &k->convergent);
    value_boolean(object_value(body, "exportable"), &k->exportable);
    value_boolean(object_value(body, "allow_plaintext_backup"), &k->plaintext_backup);
    if (k->convergent && !k->derived)
        return op_fail(op, EINVAL, "convergent encryption requires derivation to be enabled");
    if ((k->derived && k->type->family != TRANSIT_AEAD && k->type->family != TRANSIT_ED25519) ||
        (k->convergent && k->type->family != TRANSIT_AEAD))
        return op_fail(op, EINVAL,
                       "key derivation and convergent encryption not supported for keys of type %s",
                       k->type->name);
    return 0;
}

static int create(struct kv_request *q, const char *name)
{
    struct transit_key k = {.name = name}, there;
    struct object body;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = read_new(q->op, &body, &k);
    if (r < 0)
        return r;
    r = transit_load(q, name, &there);
    if (r == 0) /* made before: it stays as it is */
        return transit_answer_key(q, &there);
    if (r == -ENOENT)
        r = transit_key_row(q, name, k.row);
    if (r == 0)
        r = transit_rotate(q, &k);
    return r == 0 ? transit_answer_key(q, &k) : r;
}

static int show(struct kv_request *q, const char *name)
{
    struct transit_key k;
    int r = transit_load(q, name, &k);

    return r == 0 ? transit_answer_key(q, &k) : r;
}

static int remove_key(struct kv_request *q, const char *name)
{
    struct transit_key k;
    int r = transit_load(q, name, &k);

    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "error deleting policy %s: could not delete key; not found",
                       name);
    if (r == 0 && !k.deletion_allowed)
        return op_fail(q->op, EINVAL,
                       "error deleting policy %s: deletion is not allowed for this key", name);
    if (r == 0)
        r = transit_delete(q, &k);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}

static int rotate(struct kv_request *q, const char *name)
{
    struct transit_key k;
    int r = transit_load(q, name, &k);

    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "key not found");
    if (r == 0)
        r = transit_rotate(q, &k);
    return r == 0 ? transit_answer_key(q, &k) : r;
}

static int read_minimum(struct kv_request *q, const struct object *body, const char *kind,
                        const struct transit_key *k, int64_t *ret)
{
    struct slice value = object_value(body, op_printf(q->op, "min_%s_version", kind));
    int64_t n;

    if (value.len == 0)
        return 0;
    if (value_integer(q->op, value, &n) < 0)
        return op_fail(q->op, EINVAL,
                       "error converting input for field \"min_%s_version\": expected a number",
                       kind);
    if (n < 0)
        return op_fail(q->op, EINVAL, "min %s version cannot be negative", kind);
    if (n > k->latest)
        return op_fail(q->op, EINVAL,
                       "cannot set min %s version of %" PRId64 ", latest key version is %" PRId64,
                       kind, n, k->latest);
    *ret = n;
    return 0;
}

static int check_minimums(struct kv_request *q, const struct transit_key *k)
{
    if (k->min_encryption > 0 && k->min_encryption < k->min_decryption)
        return op_fail(q->op, EINVAL,
                       "cannot set min encryption/decryption values; min encryption version of "
                       "%" PRId64 " must be greater than or equal to min decryption version of "
                       "%" PRId64,
                       k->min_encryption, k->min_decryption);
    if (k->min_available > 0 && k->min_decryption < k->min_available)
        return op_fail(q->op, EINVAL,
                       "min decryption version should not be less than min available version");
    return 0;
}

static int configure(struct kv_request *q, const char *name)
{
    struct transit_key k;
    struct object body;
    bool exportable, backup;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = transit_load(q, name, &k);
    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "no existing key named %s could be found", name);
    if (r == 0)
        r = read_minimum(q, &body, "decryption", &k, &k.min_decryption);
    if (r == 0 && k.min_decryption == 0)
        k.min_decryption = 1;
    if (r == 0)
        r = read_minimum(q, &body, "encryption", &k, &k.min_encryption);
    if (r == 0)
        r = check_minimums(q, &k);
    if (r == 0)
        r = transit_read_period(q->op, &body, &k.auto_rotate_s);
    if (r < 0)
        return r;
    exportable = k.exportable;
    backup = k.plaintext_backup;
    value_boolean(object_value(&body, "deletion_allowed"), &k.deletion_allowed);
    value_boolean(object_value(&body, "exportable"), &k.exportable);
    value_boolean(object_value(&body, "allow_plaintext_backup"), &k.plaintext_backup);
    k.exportable = k.exportable || exportable; /* once given, never taken back */
    k.plaintext_backup = k.plaintext_backup || backup;
    r = transit_save(q, &k);
    return r == 0 ? transit_answer_key(q, &k) : r;
}

static int trim(struct kv_request *q, const char *name)
{
    struct transit_key k;
    struct object body;
    struct slice value;
    int64_t n, old;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = transit_load(q, name, &k);
    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "invalid key name");
    if (r < 0)
        return r;
    value = object_value(&body, "min_available_version");
    if (value.len == 0 || value_integer(q->op, value, &n) < 0)
        return op_fail(q->op, EINVAL, "missing min_available_version");
    old = k.min_available;
    if (n < old)
        return op_fail(q->op, EINVAL, "minimum available version cannot be decremented");
    if (k.min_encryption == 0)
        return op_fail(q->op, EINVAL,
                       "minimum available version cannot be set when minimum encryption version is "
                       "not set");
    if (n > k.min_encryption)
        return op_fail(q->op, EINVAL, "minimum available version cannot be greater than minmum "
                                      "encryption version");
    if (n > k.min_decryption)
        return op_fail(q->op, EINVAL, "minimum available version cannot be greater than minimum "
                                      "decryption version");
    k.min_available = n;
    r = transit_trim(q, &k, old > 0 ? old : 1, n);
    return r == 0 ? transit_answer_key(q, &k) : r;
}

static int list_keys(struct kv_request *q)
{
    const char **names;
    struct vault_answer a;
    size_t n;
    int r = vault_check_list(q->op, POLICY_LIST, q->full);

    if (r == 0)
        r = transit_names(q, &names, &n);
    if (r < 0)
        return r;
    if (n == 0)
        return -ENOENT;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_key(&a.json, "keys");
    json_array(&a.json);
    for (size_t i = 0; i < n; i++)
        json_str(&a.json, names[i]);
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 0);
    return 0;
}

static int check(struct kv_request *q)
{
    const char *method = q->req->method;

    return identity_check(q->op,
                          is_read(q)                       ? POLICY_READ
                          : strcmp(method, "DELETE") == 0 ? POLICY_DELETE
                                                           : POLICY_UPDATE,
                          "%s", q->full);
}

/* keys/NAME: who makes one needs create. */
static int handle_key(struct kv_request *q, const char *name)
{
    struct transit_key k;
    int r;

    if (is_write(q)) {
        r = transit_load(q, name, &k);
        if (r < 0 && r != -ENOENT)
            return r;
        r = identity_check(q->op, r == 0 ? POLICY_UPDATE : POLICY_CREATE, "%s", q->full);
        return r == 0 ? create(q, name) : r;
    }
    r = check(q);
    if (r < 0)
        return r;
    if (is_read(q))
        return show(q, name);
    return strcmp(q->req->method, "DELETE") == 0 ? remove_key(q, name) : -ENOTSUP;
}

static int handle_keys(struct kv_request *q, const char *rest)
{
    static const struct {
        const char *verb;
        int (*handle)(struct kv_request *q, const char *name);
    } verbs[] = {
        {"config", configure},      {"rotate", rotate}, {"trim", trim}, {"import", transit_import},
        {"import_version", transit_import_version},
    };
    const char *slash = strchrnul(rest, '/');
    const char *name = op_strndup(q->op, rest, (size_t)(slash - rest));
    int r;

    if (rest[0] == 0)
        return vault_is_list(q->req) ? list_keys(q) : vault_unsupported(q);
    if (*slash == 0)
        return handle_key(q, name);
    r = check(q);
    for (size_t i = 0; r == 0 && i < array_size(verbs); i++) {
        if (strcmp(slash + 1, verbs[i].verb) == 0)
            return is_write(q) ? verbs[i].handle(q, name) : -ENOTSUP;
    }
    return r < 0 ? r : vault_unsupported(q);
}

static int handle_config(struct kv_request *q)
{
    struct vault_answer a;
    struct object body = {0};
    bool allowed, disabled;
    int r = check(q);

    if (r == 0)
        r = transit_upsert_allowed(q, &allowed);
    if (r == 0 && is_write(q))
        r = vault_body(q->req, &body);
    if (r < 0)
        return r;
    disabled = !allowed;
    if (is_write(q)) {
        value_boolean(object_value(&body, "disable_upsert"), &disabled);
        r = transit_set_upsert(q, !disabled);
    }
    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_kbool(&a.json, "disable_upsert", disabled);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 0);
    return 0;
}

static int handle_cache(struct kv_request *q)
{
    struct vault_answer a;
    int r = check(q);

    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_ku64(&a.json, "size", 0); /* nothing is kept in memory */
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 0);
    return 0;
}

static int handle_checked(struct kv_request *q, const char *verb, const char *rest)
{
    int r = check(q);

    if (r < 0)
        return r;
    if (strcmp(verb, "export") == 0)
        return is_read(q) ? transit_export(q, rest) : -ENOTSUP;
    if (strcmp(verb, "backup") == 0)
        return is_read(q) ? transit_backup(q, rest) : -ENOTSUP;
    if (strcmp(verb, "restore") == 0)
        return is_write(q) ? transit_restore(q, rest) : -ENOTSUP;
    if (strcmp(verb, "random") == 0)
        return is_write(q) ? vault_random(q->req, q->resp, rest) : -ENOTSUP;
    if (strcmp(verb, "hash") == 0)
        return is_write(q) ? vault_hash(q->req, q->resp, rest) : -ENOTSUP;
    if (!is_write(q))
        return -ENOTSUP;
    return transit_signatures(q, verb, rest);
}

int transit_handle(struct kv_request *q)
{
    static const char *const data[] = {"encrypt", "decrypt", "rewrap", "datakey"};
    static const char *const others[] = {"export", "backup", "restore", "random",
                                         "hash",   "hmac",   "sign",    "verify"};
    const char *slash = strchrnul(q->path, '/');
    const char *verb = op_strndup(q->op, q->path, (size_t)(slash - q->path));
    const char *rest = *slash != 0 ? slash + 1 : slash;

    if (strcmp(verb, "keys") == 0)
        return handle_keys(q, rest);
    if (strcmp(q->path, "config/keys") == 0)
        return handle_config(q);
    if (strcmp(q->path, "wrapping_key") == 0 && !vault_is_list(q->req)) {
        int r = check(q);

        return r < 0 ? r : is_read(q) ? transit_wrapping_key(q) : -ENOTSUP;
    }
    if (strcmp(q->path, "cache-config") == 0 && is_read(q))
        return handle_cache(q);
    for (size_t i = 0; i < array_size(data); i++) {
        if (strcmp(verb, data[i]) != 0)
            continue;
        return is_write(q) ? transit_data(q, verb, rest) : -ENOTSUP;
    }
    for (size_t i = 0; i < array_size(others); i++) {
        if (strcmp(verb, others[i]) == 0)
            return handle_checked(q, verb, rest);
    }
    return vault_unsupported(q);
}
