/* transit_import.c: keys made elsewhere. They come wrapped: an AES-256 key under the mount's RSA key
 * (OAEP), and under that the key itself (RFC 5649). Shapes and texts of OpenBao 2.7.2,
 * builtin/logical/transit/path_import.go. */
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sys/random.h>

#define WRAPPING_NAME "/wrapping" /* no key that a client names */
#define WRAPPED_BYTES 512         /* by RSA of 4,096 bits */
#define AES_BYTES     32
#define TARGET_MAX    16384

/* The mount's key pair, made when it is first asked for. */
static int load_wrapping(struct kv_request *q, struct transit_key *ret, struct transit_version *v)
{
    int r = transit_load(q, WRAPPING_NAME, ret);

    if (r == -ENOENT) {
        *ret = (struct transit_key){.name = WRAPPING_NAME, .type = transit_type_find("rsa-4096")};
        r = transit_key_row(q, WRAPPING_NAME, ret->row);
        if (r == 0)
            r = transit_rotate(q, ret);
        if (r == 0 || r == -EAGAIN) /* somebody else may have been first */
            r = transit_load(q, WRAPPING_NAME, ret);
    }
    if (r == 0)
        r = transit_load_version(q, ret, ret->latest, v);
    return r == 0 ? transit_version_open(ret, v) : r;
}

int transit_wrapping_key(struct kv_request *q)
{
    struct transit_version v = {0};
    struct transit_key k;
    struct vault_answer a;
    const char *text = "";
    int r = load_wrapping(q, &k, &v);

    if (r == 0)
        r = transit_public(q->op, &k, &v, slice_of(NULL, 0), &text);
    transit_version_done(&v);
    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_kstr(&a.json, "public_key", text);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 200);
    return 0;
}

static int read_hash(struct op *op, const struct object *body, const EVP_MD **ret)
{
    static const char *const names[] = {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"};
    const char *name = NULL;
    int r = vault_string(op, body, "hash_function", &name);

    if (r < 0)
        return r;
    for (size_t i = 0; i < array_size(names); i++)
        if (strcmp(name != NULL ? name : "SHA256", names[i]) == 0) {
            *ret = EVP_get_digestbyname(names[i]);
            return *ret != NULL ? 0 : -EIO;
        }
    return op_fail(op, EINVAL, "unknown hash function: %s", name);
}

/* What is wrong inside is told apart from nothing: OAEP has one error. */
static int unwrap_aes(struct op *op, EVP_PKEY *pkey, const EVP_MD *md, const uint8_t *in,
                      uint8_t ret[AES_BYTES])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
    uint8_t out[WRAPPED_BYTES];
    size_t n = sizeof out;
    int r = 0;

    if (ctx == NULL || EVP_PKEY_decrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) != 1 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1 ||
        EVP_PKEY_decrypt(ctx, out, &n, in, WRAPPED_BYTES) != 1)
        r = op_fail(op, EINVAL, "crypto/rsa: decryption error");
    else if (n != AES_BYTES)
        r = op_fail(op, EINVAL, "expected ephemeral AES key to be 256-bit");
    else
        memcpy(ret, out, AES_BYTES);
    explicit_bzero(out, sizeof out);
    EVP_PKEY_CTX_free(ctx);
    return r;
}

static int unwrap_target(struct op *op, const uint8_t aes[AES_BYTES], struct slice wrapped,
                         struct slice *ret)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *out = op_alloc(op, wrapped.len + 16);
    int n = 0, r = 0;

    if (ctx != NULL)
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (ctx == NULL ||
        EVP_DecryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, aes, NULL) != 1 ||
        EVP_DecryptUpdate(ctx, out, &n, wrapped.data, (int)wrapped.len) != 1 || n <= 0)
        r = op_fail(op, EINVAL, "kwp: unwrap failed integrity check");
    EVP_CIPHER_CTX_free(ctx);
    *ret = slice_of(out, (size_t)n);
    return r;
}

/* The bytes of the key in the body. */
static int open_body(struct kv_request *q, const struct object *body, struct slice *ret)
{
    struct transit_version v = {0};
    struct transit_key wrapping;
    struct op *op = q->op;
    uint8_t aes[AES_BYTES];
    struct slice sealed;
    const EVP_MD *md = NULL;
    int r = read_hash(op, body, &md);

    op->wiped = true;
    if (r == 0 && object_value(body, "public_key").len > 0)
        r = op_fail(op, EINVAL, "a public key alone is not imported; wrap the private one");
    if (r == 0)
        r = transit_member(op, body, "ciphertext", "", &sealed);
    if (r == 0 && sealed.len == 0)
        r = op_fail(op, EINVAL, "provided type does not support public_key import");
    if (r == 0 && (sealed.len <= WRAPPED_BYTES || sealed.len > WRAPPED_BYTES + TARGET_MAX))
        r = op_fail(op, EINVAL, "provided ciphertext is too %s",
                    sealed.len > WRAPPED_BYTES ? "long" : "short");
    if (r == 0)
        r = load_wrapping(q, &wrapping, &v);
    if (r == 0)
        r = unwrap_aes(op, v.pkey, md, sealed.data, aes);
    if (r == 0)
        r = unwrap_target(op, aes, slice_skip(sealed, WRAPPED_BYTES), ret);
    explicit_bzero(aes, sizeof aes);
    transit_version_done(&v);
    return r;
}

static int take_bytes(struct op *op, struct transit_key *k, struct slice bytes,
                      struct transit_version *v)
{
    bool hmac = k->type->family == TRANSIT_HMAC;

    if (hmac ? bytes.len < 32 || bytes.len > 512 : bytes.len != (size_t)k->type->key_bytes)
        return op_fail(op, EINVAL, "error importing key: invalid key size %zu bytes for key type %s",
                       bytes.len, k->type->name);
    v->key = bytes;
    if (!hmac)
        return 0;
    k->key_size = (int64_t)bytes.len;
    v->hmac_key = bytes;
    return 0;
}

/* Is it a key of this type? */
static int check_pair(struct op *op, const struct transit_type *type, EVP_PKEY *pkey)
{
    char group[64] = "";
    const char *nist;
    size_t n;

    if (!EVP_PKEY_is_a(pkey, type->family == TRANSIT_RSA     ? "RSA"
                             : type->family == TRANSIT_ECDSA ? "EC"
                                                             : "ED25519"))
        return op_fail(op, EINVAL, "error importing key: invalid key type: expected %s",
                       type->name);
    if (type->family == TRANSIT_RSA && EVP_PKEY_get_bits(pkey) != type->bits)
        return op_fail(op, EINVAL,
                       "error importing key: invalid key size: expected %d bytes, got %d bytes",
                       type->bits / 8, EVP_PKEY_get_bits(pkey) / 8);
    if (type->family != TRANSIT_ECDSA)
        return 0;
    EVP_PKEY_get_group_name(pkey, group, sizeof group, &n);
    nist = EC_curve_nid2nist(OBJ_sn2nid(group));
    if (nist == NULL || strcmp(nist, type->shown) != 0)
        return op_fail(op, EINVAL, "error importing key: invalid curve: expected %s, got %s",
                       type->shown, nist != NULL ? nist : group);
    return 0;
}

static int take_pair(struct op *op, const struct transit_key *k, struct slice der,
                     struct transit_version *v)
{
    const unsigned char *p = der.data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)der.len);
    EVP_PKEY *pkey = info != NULL ? EVP_PKCS82PKEY(info) : NULL;
    EVP_PKEY_CTX *ctx = pkey != NULL ? EVP_PKEY_CTX_new(pkey, NULL) : NULL;
    uint8_t *pair;
    size_t n = 32;
    int r = 0;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (pkey == NULL)
        r = op_fail(op, EINVAL, "error importing key: error parsing asymmetric key: it is no PKCS "
                                "#8 in DER");
    if (r == 0)
        r = check_pair(op, k->type, pkey);
    if (r == 0 && (ctx == NULL || EVP_PKEY_pairwise_check(ctx) != 1))
        r = op_fail(op, EINVAL, "error importing key: its parts do not fit together");
    if (r == 0 && k->type->family == TRANSIT_ED25519) {
        pair = op_alloc(op, 64);
        if (EVP_PKEY_get_raw_private_key(pkey, pair, &n) != 1 ||
            EVP_PKEY_get_raw_public_key(pkey, pair + 32, &n) != 1)
            r = -EIO;
        v->key = slice_of(pair, 64);
    } else {
        v->key = der;
    }
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return r;
}

static int take_key(struct kv_request *q, const struct object *body, struct transit_key *k,
                    struct transit_version *v)
{
    enum transit_family family = k->type->family;
    struct slice bytes = {0};
    uint8_t *mac_key;
    int r = open_body(q, body, &bytes);

    if (r < 0)
        return r;
    mac_key = op_alloc(q->op, 32);
    if (getrandom(mac_key, 32, 0) != 32)
        return -EIO;
    *v = (struct transit_version){.hmac_key = slice_of(mac_key, 32)};
    return family == TRANSIT_AEAD || family == TRANSIT_HMAC ? take_bytes(q->op, k, bytes, v)
                                                            : take_pair(q->op, k, bytes, v);
}

static int read_settings(struct op *op, const struct object *body, struct transit_key *k)
{
    const char *type = NULL;
    int r = vault_string(op, body, "type", &type);

    if (r < 0)
        return r;
    value_boolean(object_value(body, "derived"), &k->derived);
    value_boolean(object_value(body, "convergent_encryption"), &k->convergent);
    value_boolean(object_value(body, "exportable"), &k->exportable);
    value_boolean(object_value(body, "allow_plaintext_backup"), &k->plaintext_backup);
    value_boolean(object_value(body, "allow_rotation"), &k->imported_rotation);
    if (k->convergent)
        return op_fail(op, EINVAL,
                       "import cannot be used on keys with convergent encryption enabled");
    k->type = transit_type_find(type != NULL ? type : "aes256-gcm96");
    if (k->type == NULL)
        return op_fail(op, EINVAL, "unknown key type: %s", type);
    if (object_value(body, "auto_rotate_period").len > 0 && !k->imported_rotation)
        return op_fail(op, EINVAL,
                       "allow_rotation must be set to true if auto-rotation is enabled");
    if (k->derived && k->type->family != TRANSIT_AEAD && k->type->family != TRANSIT_ED25519)
        return op_fail(op, EINVAL, "key derivation is not supported for keys of type %s",
                       k->type->name);
    return transit_read_period(op, body, &k->auto_rotate_s);
}

int transit_import(struct kv_request *q, const char *name)
{
    struct transit_key k = {.name = name, .imported = true}, there;
    struct transit_version v;
    struct object body;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = read_settings(q->op, &body, &k);
    if (r < 0)
        return r;
    r = transit_load(q, name, &there);
    if (r == 0)
        return op_fail(q->op, EINVAL,
                       "the import path cannot be used with an existing key; use import-version to "
                       "rotate an existing imported key");
    if (r == -ENOENT)
        r = take_key(q, &body, &k, &v);
    if (r == 0)
        r = transit_key_row(q, name, k.row);
    if (r == 0)
        r = transit_add(q, &k, &v);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}

int transit_import_version(struct kv_request *q, const char *name)
{
    struct transit_key k;
    struct transit_version v;
    struct object body;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = transit_load(q, name, &k);
    if (r == -ENOENT)
        return op_fail(q->op, EINVAL,
                       "no key found with name %s; to import a new key, use the import/ endpoint",
                       name);
    if (r < 0)
        return r;
    if (!k.imported)
        return op_fail(q->op, EINVAL,
                       "the import_version endpoint can only be used with an imported key");
    if (object_value(&body, "version").len > 0)
        return op_fail(q->op, EINVAL, "provided type does not support importing key versions");
    r = take_key(q, &body, &k, &v);
    if (r == 0)
        r = transit_add(q, &k, &v);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}
