/* transit_backup.c: keys given out (export), and whole (backup, restore). A backup is that of
 * OpenBao: base64 of its policy as JSON, so keys move between the two. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#define NO_TIME "0001-01-01T00:00:00Z"

static int private_pem(struct op *op, const struct transit_key *k, struct transit_version *v,
                       const char **ret)
{
    int r = transit_version_open(k, v);
    BIO *bio = r == 0 ? BIO_new(BIO_s_secmem()) : NULL;
    bool ec = k->type->family == TRANSIT_ECDSA;
    char *data;
    long n;

    if (bio == NULL)
        return r < 0 ? r : -ENOMEM;
    r = PEM_write_bio_PrivateKey_traditional(bio, v->pkey, NULL, NULL, 0, NULL, NULL) == 1 ? 0
                                                                                           : -EIO;
    n = BIO_get_mem_data(bio, &data);
    if (r == 0)
        *ret = op_strndup(op, data, (size_t)(n - ec)); /* without the last newline, as theirs */
    BIO_free(bio);
    return r;
}

static const char *base64_text(struct op *op, struct slice bytes)
{
    struct buf text = {0};
    const char *ret;

    base64_encode(&text, bytes);
    ret = op_strndup(op, text.data != NULL ? text.data : "", text.len);
    buf_wipe(&text);
    return ret;
}

static int public_part(struct op *op, const struct transit_key *k, struct transit_version *v,
                       const char **ret)
{
    int r = transit_public(op, k, v, slice_of(NULL, 0), ret);
    size_t n = strlen(*ret);

    if (r == 0 && k->type->family == TRANSIT_ECDSA && n > 0)
        *ret = op_strndup(op, *ret, n - 1);
    return r;
}

static int export_one(struct op *op, const struct transit_key *k, struct transit_version *v,
                      const char *kind, const char **ret)
{
    enum transit_family f = k->type->family;

    if (strcmp(kind, "hmac-key") == 0)
        *ret = base64_text(op, v->hmac_key);
    else if (strcmp(kind, "public-key") == 0)
        return public_part(op, k, v, ret);
    else if (f == TRANSIT_AEAD || f == TRANSIT_ED25519)
        *ret = base64_text(op, v->key);
    else
        return private_pem(op, k, v, ret);
    return 0;
}

static int check_kind(struct kv_request *q, const struct transit_key *k, const char *kind)
{
    enum transit_family f = k->type->family;

    if (strcmp(kind, "encryption-key") == 0 && f != TRANSIT_AEAD && f != TRANSIT_RSA)
        return op_fail(q->op, EINVAL, "encryption not supported for the key");
    if (strcmp(kind, "signing-key") == 0 && (f == TRANSIT_AEAD || f == TRANSIT_HMAC))
        return op_fail(q->op, EINVAL, "signing not supported for the key");
    if (strcmp(kind, "public-key") == 0) {
        if (f == TRANSIT_AEAD || f == TRANSIT_HMAC)
            return op_fail(q->op, EINVAL, "unknown key type %s for export type public-key",
                           k->type->name);
        return 0;
    }
    return k->exportable ? 0
                         : op_fail(q->op, EINVAL, "private key material is not exportable");
}

static int export_range(struct kv_request *q, const struct transit_key *k, const char *version,
                        int64_t *ret_from, int64_t *ret_to)
{
    int64_t n = k->latest;

    *ret_from = k->min_decryption;
    *ret_to = k->latest;
    if (version == NULL)
        return 0;
    if (strcmp(version, "latest") != 0 && value_integer(q->op, slice_str(version), &n) < 0)
        return op_fail(q->op, EINVAL, "invalid key version");
    if (n < k->min_decryption)
        return op_fail(q->op, EINVAL, "version for export is below minimum decryption version");
    if (n > k->latest)
        return op_fail(q->op, EINVAL, "version does not exist or cannot be found");
    *ret_from = *ret_to = n;
    return 0;
}

/* kind/NAME, kind/NAME/VERSION */
int transit_export(struct kv_request *q, const char *rest)
{
    static const char *const kinds[] = {"encryption-key", "signing-key", "hmac-key", "public-key"};
    const char *slash = strchrnul(rest, '/'), *version;
    const char *kind = op_strndup(q->op, rest, (size_t)(slash - rest)), *name;
    struct transit_key k;
    struct vault_answer a;
    int64_t from = 1, to = 0;
    bool known = false;
    int r;

    if (*slash == 0)
        return vault_unsupported(q);
    version = strchr(slash + 1, '/');
    name = version != NULL ? op_strndup(q->op, slash + 1, (size_t)(version - slash - 1))
                           : slash + 1;
    for (size_t i = 0; i < array_size(kinds); i++)
        known = known || strcmp(kind, kinds[i]) == 0;
    if (!known)
        return op_fail(q->op, EINVAL, "invalid export type: %s", kind);
    r = transit_load(q, name, &k);
    if (r == 0)
        r = check_kind(q, &k, kind);
    if (r == 0)
        r = export_range(q, &k, version != NULL ? version + 1 : NULL, &from, &to);
    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_key(&a.json, "keys");
    json_object(&a.json);
    for (; r == 0 && from <= to; from++) {
        struct transit_version v = {0};
        const char *text = "";

        r = transit_load_version(q, &k, from, &v);
        if (r == 0)
            r = export_one(q->op, &k, &v, kind, &text);
        json_kstr(&a.json, op_printf(q->op, "%" PRId64, from), text);
        transit_version_done(&v);
    }
    json_object_end(&a.json);
    json_kstr(&a.json, "name", k.name);
    json_kstr(&a.json, "type", k.type->name);
    json_object_end(&a.json);
    return vault_answer_finish(&a, q->resp, 0, r);
}

static BIGNUM *get_number(EVP_PKEY *pkey, const char *name)
{
    BIGNUM *bn = NULL;

    return EVP_PKEY_get_bn_param(pkey, name, &bn) == 1 ? bn : NULL;
}

static int json_number(struct json *j, const char *key, EVP_PKEY *pkey, const char *param)
{
    BIGNUM *bn = get_number(pkey, param);
    char *text = bn != NULL ? BN_bn2dec(bn) : NULL;
    int r = text != NULL ? 0 : -EIO;

    if (key != NULL)
        json_key(j, key);
    json_raw(j, text != NULL ? slice_str(text) : SLICE("null"));
    BN_clear_free(bn);
    if (text != NULL)
        OPENSSL_clear_free(text, strlen(text));
    return r;
}

static int json_rsa(struct json *j, EVP_PKEY *pkey)
{
    int r;

    json_object(j);
    r = json_number(j, "N", pkey, OSSL_PKEY_PARAM_RSA_N);
    if (r == 0)
        r = json_number(j, "E", pkey, OSSL_PKEY_PARAM_RSA_E);
    if (r == 0)
        r = json_number(j, "D", pkey, OSSL_PKEY_PARAM_RSA_D);
    json_key(j, "Primes");
    json_array(j);
    if (r == 0)
        r = json_number(j, NULL, pkey, OSSL_PKEY_PARAM_RSA_FACTOR1);
    if (r == 0)
        r = json_number(j, NULL, pkey, OSSL_PKEY_PARAM_RSA_FACTOR2);
    json_array_end(j);
    json_object_end(j);
    return r;
}

/* An entry of a backup; v NULL: the empty one in front. */
static int json_entry(struct op *op, struct json *j, const struct transit_key *k,
                      struct transit_version *v)
{
    enum transit_family f = v != NULL ? k->type->family : TRANSIT_HMAC;
    bool raw = v != NULL && f != TRANSIT_RSA && f != TRANSIT_ECDSA;
    const char *public = "";
    int r = 0;

    if (v != NULL && f != TRANSIT_AEAD && f != TRANSIT_HMAC)
        r = transit_public(op, k, v, slice_of(NULL, 0), &public);
    json_object(j);
    json_kstr(j, "key", raw ? base64_text(op, v->key) : NULL);
    json_kstr(j, "hmac_key", v != NULL ? base64_text(op, v->hmac_key) : NULL);
    if (v != NULL)
        json_ktime(j, "time", v->created_ns);
    else
        json_kstr(j, "time", NO_TIME);
    if (r == 0 && f == TRANSIT_ECDSA) {
        r = json_number(j, "ec_x", v->pkey, OSSL_PKEY_PARAM_EC_PUB_X);
        if (r == 0)
            r = json_number(j, "ec_y", v->pkey, OSSL_PKEY_PARAM_EC_PUB_Y);
        if (r == 0)
            r = json_number(j, "ec_d", v->pkey, OSSL_PKEY_PARAM_PRIV_KEY);
    } else {
        json_knull(j, "ec_x");
        json_knull(j, "ec_y");
        json_knull(j, "ec_d");
    }
    json_key(j, "rsa_key");
    if (r == 0 && f == TRANSIT_RSA)
        r = json_rsa(j, v->pkey);
    else
        json_null(j);
    json_knull(j, "rsa_public_key");
    json_kstr(j, "public_key", public);
    json_ki64(j, "convergent_version", v != NULL && k->convergent ? 3 : 0);
    json_ki64(j, "creation_time", v != NULL ? v->created_ns / 1000000000 : 0);
    json_knull(j, "certificate_chain");
    json_kstr(j, "external_key_ref", "");
    json_object_end(j);
    return r;
}

static int json_entries(struct kv_request *q, struct json *j, const struct transit_key *k,
                        int64_t from, bool named)
{
    int r = 0;

    for (int64_t i = from; r == 0 && i <= k->latest; i++) {
        struct transit_version v = {0};

        r = transit_load_version(q, k, i, &v);
        if (named)
            json_key(j, op_printf(q->op, "%" PRId64, i));
        if (r == 0)
            r = json_entry(q->op, j, k, &v);
        else
            json_null(j);
        transit_version_done(&v);
    }
    return r;
}

static int json_backup(struct kv_request *q, struct json *j, const struct transit_key *k)
{
    int64_t first = k->min_available > 0 ? k->min_available : 1;
    int r;

    json_object(j);
    json_key(j, "policy");
    json_object(j);
    json_kstr(j, "name", k->name);
    if (k->key_size > 0)
        json_ki64(j, "key_size", k->key_size);
    json_key(j, "keys");
    json_object(j);
    r = json_entries(q, j, k, k->min_decryption > first ? k->min_decryption : first, true);
    json_object_end(j);
    json_kbool(j, "derived", k->derived);
    json_ki64(j, "kdf", k->derived);
    json_kbool(j, "convergent_encryption", k->convergent);
    json_kbool(j, "exportable", k->exportable);
    json_ki64(j, "min_decryption_version", k->min_decryption);
    json_ki64(j, "min_encryption_version", k->min_encryption);
    json_ki64(j, "latest_version", k->latest);
    json_ki64(j, "archive_version", k->latest);
    json_ki64(j, "archive_min_version", k->min_available);
    json_ki64(j, "min_available_version", k->min_available);
    json_kbool(j, "deletion_allowed", k->deletion_allowed);
    json_ki64(j, "convergent_version", k->convergent ? -1 : 0);
    json_ki64(j, "type", k->type->number);
    json_key(j, "backup_info");
    json_object(j);
    json_ktime(j, "time", clock_unix_ns());
    json_ki64(j, "version", k->latest);
    json_object_end(j);
    json_knull(j, "restore_info");
    json_kbool(j, "allow_plaintext_backup", k->plaintext_backup);
    json_kstr(j, "version_template", "");
    json_kstr(j, "storage_prefix", "");
    json_ki64(j, "auto_rotate_period", k->auto_rotate_s * INT64_C(1000000000));
    json_kbool(j, "Imported", k->imported);
    json_kbool(j, "AllowImportedKeyRotation", k->imported_rotation);
    json_kbool(j, "soft_deleted", false);
    json_object_end(j);
    json_key(j, "archived_keys");
    json_object(j);
    json_key(j, "keys");
    json_array(j);
    if (r == 0 && k->min_available == 0)
        r = json_entry(q->op, j, k, NULL); /* index 0 stands for no version */
    if (r == 0)
        r = json_entries(q, j, k, first, false);
    json_array_end(j);
    json_object_end(j);
    json_object_end(j);
    return r;
}

int transit_backup(struct kv_request *q, const char *name)
{
    struct transit_key k;
    struct buf plain = {0}, text = {0};
    struct vault_answer a;
    struct json j;
    int r = transit_load(q, name, &k);

    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "key \"%s\" not found", name);
    if (r == 0 && !k.exportable)
        r = op_fail(q->op, EINVAL, "exporting is disallowed on the policy");
    if (r == 0 && !k.plaintext_backup)
        r = op_fail(q->op, EINVAL, "plaintext backup is disallowed on the policy");
    if (r < 0)
        return r;
    json_init(&j, &plain);
    r = json_backup(q, &j, &k);
    buf_add_char(&plain, '\n');
    base64_encode(&text, buf_slice(&plain));
    buf_wipe(&plain);
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_kslice(&a.json, "backup", buf_slice(&text));
    json_object_end(&a.json);
    buf_wipe(&text);
    return vault_answer_finish(&a, q->resp, 0, r);
}
