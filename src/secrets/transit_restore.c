/* transit_restore.c: a backup read back, ours or OpenBao's: foreign bytes, checked as such. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#define DIGITS_MAX 2600 /* of a number of 8,192 bits */

static int broken(struct op *op, const char *what)
{
    return op_fail(op, EINVAL, "the backup is damaged: %s", what);
}

static BIGNUM *read_number(struct op *op, struct slice value)
{
    BIGNUM *bn = NULL;
    const char *text;

    if (value.len == 0 || value.len > DIGITS_MAX)
        return NULL;
    text = op_strndup(op, value.data, value.len);
    if (strspn(text, "0123456789") != value.len || BN_dec2bn(&bn, text) != (int)value.len) {
        BN_clear_free(bn);
        return NULL;
    }
    return bn;
}

static BIGNUM *number_member(struct op *op, const struct object *o, const char *key)
{
    return read_number(op, object_value(o, key));
}

static int encode_pkey(struct op *op, EVP_PKEY *pkey, struct slice *ret)
{
    PKCS8_PRIV_KEY_INFO *info = pkey != NULL ? EVP_PKEY2PKCS8(pkey) : NULL;
    unsigned char *der = NULL;
    int n = info != NULL ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (n <= 0)
        return broken(op, "a private key does not fit together");
    *ret = op_slice(op, slice_of(der, (size_t)n));
    OPENSSL_clear_free(der, (size_t)n);
    return 0;
}

static EVP_PKEY *make_pkey(const char *kind, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL), *check = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY *pkey = NULL;

    if (ctx == NULL || params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
        pkey = NULL;
    if (pkey != NULL)
        check = EVP_PKEY_CTX_new(pkey, NULL);
    if (pkey != NULL && (check == NULL || EVP_PKEY_pairwise_check(check) != 1)) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static int read_rsa(struct op *op, const struct transit_key *k, struct slice text,
                    struct slice *ret)
{
    enum { N, E, D, P, Q, DP, DQ, QI, COUNT };
    static const char *const names[COUNT] = {
        OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
        OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
    };
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BN_CTX *bn_ctx = BN_CTX_secure_new();
    BIGNUM *n[COUNT] = {0}, *one = BN_new();
    struct slice *primes = NULL;
    EVP_PKEY *pkey = NULL;
    struct object o;
    size_t n_primes = 0;
    bool ok = object_parse(op, text, &o) == 0 &&
              value_elements(op, object_value(&o, "Primes"), &primes, &n_primes) == 0 &&
              n_primes == 2 && builder != NULL && bn_ctx != NULL && one != NULL;
    int r;

    if (ok) {
        n[N] = number_member(op, &o, "N");
        n[E] = number_member(op, &o, "E");
        n[D] = number_member(op, &o, "D");
        n[P] = read_number(op, primes[0]);
        n[Q] = read_number(op, primes[1]);
        n[DP] = BN_secure_new();
        n[DQ] = BN_secure_new();
        n[QI] = BN_secure_new();
        ok = n[N] != NULL && n[E] != NULL && n[D] != NULL && n[P] != NULL && n[Q] != NULL &&
             BN_num_bits(n[N]) == k->type->bits && BN_num_bits(n[P]) > 2 &&
             BN_num_bits(n[Q]) > 2 && BN_sub(one, n[P], BN_value_one()) == 1 &&
             BN_mod(n[DP], n[D], one, bn_ctx) == 1 && BN_sub(one, n[Q], BN_value_one()) == 1 &&
             BN_mod(n[DQ], n[D], one, bn_ctx) == 1 &&
             BN_mod_inverse(n[QI], n[Q], n[P], bn_ctx) != NULL;
    }
    for (int i = 0; ok && i < COUNT; i++)
        ok = OSSL_PARAM_BLD_push_BN(builder, names[i], n[i]) == 1;
    if (ok)
        pkey = make_pkey("RSA", builder);
    r = encode_pkey(op, pkey, ret);
    EVP_PKEY_free(pkey);
    for (int i = 0; i < COUNT; i++)
        BN_clear_free(n[i]);
    BN_clear_free(one);
    BN_CTX_free(bn_ctx);
    OSSL_PARAM_BLD_free(builder);
    return r;
}

static int read_ec(struct op *op, const struct transit_key *k, const struct object *o,
                   struct slice *ret)
{
    BIGNUM *x = number_member(op, o, "ec_x"), *y = number_member(op, o, "ec_y");
    BIGNUM *d = number_member(op, o, "ec_d");
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    int half = (k->type->bits + 7) / 8;
    uint8_t point[1 + 2 * 66] = {4};
    EVP_PKEY *pkey = NULL;
    int r;

    if (x != NULL && y != NULL && d != NULL && builder != NULL &&
        BN_bn2binpad(x, point + 1, half) == half &&
        BN_bn2binpad(y, point + 1 + half, half) == half &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, k->type->shown, 0) ==
            1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point,
                                         (size_t)(1 + 2 * half)) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1)
        pkey = make_pkey("EC", builder);
    r = encode_pkey(op, pkey, ret);
    EVP_PKEY_free(pkey);
    BN_free(x);
    BN_free(y);
    BN_clear_free(d);
    OSSL_PARAM_BLD_free(builder);
    return r;
}

static int read_entry(struct op *op, const struct transit_key *k, const struct object *o,
                      struct transit_version *ret)
{
    enum transit_family f = k->type->family;
    struct slice time;
    int r = transit_member(op, o, "hmac_key", "the backup is damaged: ", &ret->hmac_key);

    if (r == 0 && (value_string(op, object_value(o, "time"), &time) < 0 ||
                   clock_parse(time, &ret->created_ns) < 0))
        r = broken(op, "a version has no time");
    if (r == 0 && object_value(o, "convergent_version").len > 0 && k->convergent &&
        !slice_eq(object_value(o, "convergent_version"), SLICE("3")))
        r = broken(op, "only version 3 of convergent encryption is known");
    if (r < 0)
        return r;
    if (f == TRANSIT_RSA)
        return read_rsa(op, k, object_value(o, "rsa_key"), &ret->key);
    if (f == TRANSIT_ECDSA)
        return read_ec(op, k, o, &ret->key);
    r = transit_member(op, o, "key", "the backup is damaged: ", &ret->key);
    if (r == 0 && ret->key.len != (size_t)(f == TRANSIT_HMAC ? k->key_size : k->type->key_bytes))
        r = broken(op, "a key is not as long as its type says");
    if (r == 0 && f == TRANSIT_HMAC)
        ret->hmac_key = ret->key;
    return r;
}

static int64_t number_of(struct op *op, const struct object *o, const char *key)
{
    int64_t n;

    return value_integer(op, object_value(o, key), &n) == 0 ? n : -1;
}

static bool flag_of(const struct object *o, const char *key)
{
    bool value = false;

    value_boolean(object_value(o, key), &value);
    return value;
}

static int read_policy(struct op *op, const struct object *o, struct transit_key *k)
{
    int64_t rotate;

    k->type = transit_type_numbered(number_of(op, o, "type"));
    if (k->type == NULL)
        return broken(op, "its type of key is not known");
    k->derived = flag_of(o, "derived");
    k->convergent = flag_of(o, "convergent_encryption");
    k->exportable = flag_of(o, "exportable");
    k->plaintext_backup = flag_of(o, "allow_plaintext_backup");
    k->deletion_allowed = flag_of(o, "deletion_allowed");
    k->imported = flag_of(o, "Imported");
    k->imported_rotation = flag_of(o, "AllowImportedKeyRotation");
    k->latest = number_of(op, o, "latest_version");
    k->min_decryption = number_of(op, o, "min_decryption_version");
    k->min_encryption = number_of(op, o, "min_encryption_version");
    k->min_available = number_of(op, o, "min_available_version");
    k->key_size = object_value(o, "key_size").len > 0 ? number_of(op, o, "key_size") : 0;
    rotate = number_of(op, o, "auto_rotate_period");
    k->auto_rotate_s = rotate > 0 ? rotate / 1000000000 : 0;
    if (k->latest < 1 || k->latest > TRANSIT_VERSIONS_MAX || k->min_decryption < 0 ||
        k->min_decryption > k->latest || k->min_encryption < 0 || k->min_encryption > k->latest ||
        k->min_available < 0 || k->min_available > k->latest || k->key_size < 0 ||
        k->key_size > 512 || (k->derived && number_of(op, o, "kdf") != 1))
        return broken(op, "its versions or its kdf are not possible");
    if (k->min_decryption == 0)
        k->min_decryption = 1;
    return 0;
}

/* archived_keys.keys is every version, index 0 unused unless it was trimmed. */
int transit_backup_parse(struct op *op, struct slice text, struct transit_key *k,
                         struct transit_version **ret, size_t *ret_n)
{
    struct object top, policy, archive, entry;
    struct slice *items;
    size_t n = 0, first, skip;
    int r = object_parse(op, text, &top);

    if (r == 0)
        r = object_parse(op, object_value(&top, "policy"), &policy);
    if (r == 0)
        r = read_policy(op, &policy, k);
    if (r == 0)
        r = object_parse(op, object_value(&top, "archived_keys"), &archive);
    if (r == 0 && value_elements(op, object_value(&archive, "keys"), &items, &n) < 0)
        r = broken(op, "it has no list of versions");
    if (r < 0)
        return r;
    first = k->min_available > 0 ? (size_t)k->min_available : 1;
    skip = k->min_available > 0 ? 0 : 1;
    if (n != (size_t)k->latest - first + 1 + skip)
        return broken(op, "versions are missing");
    *ret_n = n - skip;
    *ret = op_alloc(op, (*ret_n + 1) * sizeof **ret);
    for (size_t i = 0; r == 0 && i < *ret_n; i++) {
        r = object_parse(op, items[i + skip], &entry);
        if (r == 0)
            r = read_entry(op, k, &entry, &(*ret)[i]);
        (*ret)[i].number = (int64_t)(first + i);
    }
    if (r == 0 && k->name == NULL)
        r = vault_string(op, &policy, "name", &k->name);
    return r == 0 && (k->name == NULL || k->name[0] == 0 || strchr(k->name, '/') != NULL)
               ? broken(op, "it has no name")
               : r;
}

int transit_restore(struct kv_request *q, const char *name)
{
    struct transit_key k = {.name = name[0] != 0 ? name : NULL}, there;
    struct transit_version *versions = NULL;
    struct object body;
    struct slice text;
    bool force = false;
    size_t n = 0;
    int r = vault_body(q->req, &body);

    if (r == 0 && object_value(&body, "backup").len == 0)
        r = op_fail(q->op, EINVAL, "'backup' must be supplied");
    if (r == 0 && strchr(name, '/') != NULL)
        return vault_unsupported(q);
    if (r == 0)
        r = transit_member(q->op, &body, "backup", "", &text);
    if (r == 0)
        r = transit_backup_parse(q->op, text, &k, &versions, &n);
    if (r == 0)
        r = kv_path_check(q->op, k.name);
    if (r < 0)
        return r;
    value_boolean(object_value(&body, "force"), &force);
    r = transit_load(q, k.name, &there);
    if (r == 0 && !force)
        return op_fail(q->op, EINVAL, "key \"%s\" already exists", k.name);
    if (r < 0 && r != -ENOENT)
        return r;
    r = transit_key_row(q, k.name, k.row);
    if (r == 0)
        r = transit_put(q, &k, versions, n);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}
