/* transit_crypto.c: encryption with a transit key, and keys made new. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sodium.h>
#include <sys/random.h>

#define TAG_BYTES     16
#define DERIVED_BYTES 64
#define XNONCE_BYTES  24

static void free_cipher(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

static void free_pkey_ctx(EVP_PKEY_CTX **ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}

static int random_slice(struct op *op, size_t n, struct slice *ret)
{
    uint8_t *p = op_alloc(op, n);

    if (getrandom(p, n, 0) != (ssize_t)n)
        return -EIO;
    *ret = slice_of(p, n);
    return 0;
}

/* A private key as PKCS #8, in the op. */
static int encode_private(struct op *op, EVP_PKEY *pkey, struct slice *ret)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    unsigned char *der = NULL;
    int n = info != NULL ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (n <= 0)
        return -EIO;
    *ret = op_slice(op, slice_of(der, (size_t)n));
    OPENSSL_clear_free(der, (size_t)n);
    return 0;
}

static EVP_PKEY *new_pkey(const struct transit_type *type)
{
    if (type->family == TRANSIT_RSA)
        return EVP_RSA_gen((size_t)type->bits);
    if (type->family == TRANSIT_ECDSA)
        return EVP_EC_gen(type->shown);
    return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

int transit_generate(struct op *op, const struct transit_key *k, struct transit_version *ret)
{
    EVP_PKEY *pkey;
    uint8_t *pair;
    size_t n = 32;
    int r;

    op->wiped = true;
    if (k->type->family == TRANSIT_HMAC) {
        r = random_slice(op, (size_t)k->key_size, &ret->key);
        ret->hmac_key = ret->key;
        return r;
    }
    r = random_slice(op, 32, &ret->hmac_key);
    if (r == 0 && k->type->family == TRANSIT_AEAD)
        return random_slice(op, (size_t)k->type->key_bytes, &ret->key);
    pkey = r == 0 ? new_pkey(k->type) : NULL;
    if (pkey == NULL)
        return -EIO;
    if (k->type->family != TRANSIT_ED25519) {
        r = encode_private(op, pkey, &ret->key);
    } else {
        pair = op_alloc(op, 64);
        if (EVP_PKEY_get_raw_private_key(pkey, pair, &n) != 1 ||
            EVP_PKEY_get_raw_public_key(pkey, pair + 32, &n) != 1)
            r = -EIO;
        ret->key = slice_of(pair, 64);
    }
    EVP_PKEY_free(pkey);
    return r;
}

int transit_version_open(const struct transit_key *k, struct transit_version *v)
{
    const unsigned char *der = v->key.data;

    if (v->pkey != NULL)
        return 0;
    if (k->type->family == TRANSIT_ED25519)
        v->pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, der, 32);
    else
        v->pkey = d2i_AutoPrivateKey(NULL, &der, (long)v->key.len);
    return v->pkey != NULL ? 0 : -EIO;
}

/* HKDF-SHA256 without salt. The bytes are in the op. */
static int derive(struct op *op, struct slice key, struct slice context, size_t n,
                  struct slice *ret)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    uint8_t *out = op_alloc(op, n);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key.data, key.len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)context.data,
                                          context.len),
        OSSL_PARAM_construct_end(),
    };
    int ok = ctx != NULL ? EVP_KDF_derive(ctx, out, n, params) : 0;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    *ret = slice_of(out, n);
    return ok == 1 ? 0 : -EIO;
}

int transit_check_context(struct op *op, const struct transit_key *k, struct slice context)
{
    if (!k->derived || context.len > 0)
        return 0;
    return op_fail(op, EINVAL,
                   "missing 'context' for key derivation; the key was created using a derived key, "
                   "which means additional, per-request information must be included in order to "
                   "perform operations with the key");
}

/* The bytes to encrypt with, and those that convergent nonces are made with. */
static int cipher_keys(struct op *op, const struct transit_cipher *c, struct slice *ret_key,
                       struct slice *ret_nonce_key)
{
    size_t n = (size_t)c->key->type->key_bytes, more = c->key->convergent ? 32 : 0;
    struct slice all;
    int r = transit_check_context(op, c->key, c->context);

    *ret_key = c->version->key;
    *ret_nonce_key = slice_of(NULL, 0);
    if (r < 0 || !c->key->derived)
        return r;
    r = derive(op, c->version->key, c->context, n + more, &all);
    *ret_key = slice_of(all.data, n);
    if (more > 0)
        *ret_nonce_key = slice_skip(all, n);
    return r;
}

static const EVP_CIPHER *cipher_of(const struct transit_type *type)
{
    if (type->number == 5)
        return EVP_chacha20_poly1305();
    return type->key_bytes == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
}

static size_t nonce_bytes(const struct transit_type *type)
{
    return type->number == 11 ? XNONCE_BYTES : 12;
}

static int seal_aead(const struct transit_cipher *c, struct slice key, const uint8_t *nonce,
                     struct slice plain, uint8_t *out)
{
    scope_cleanup(free_cipher) EVP_CIPHER_CTX *ctx = NULL;
    const struct transit_type *type = c->key->type;
    int n = 0;

    if (type->number == 11)
        return crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, plain.data, plain.len,
                                                          c->aad.data, c->aad.len, NULL, nonce,
                                                          key.data);
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_EncryptInit_ex(ctx, cipher_of(type), NULL, key.data, nonce) != 1 ||
        (c->aad.len > 0 &&
         EVP_EncryptUpdate(ctx, NULL, &n, c->aad.data, (int)c->aad.len) != 1) ||
        (plain.len > 0 && EVP_EncryptUpdate(ctx, out, &n, plain.data, (int)plain.len) != 1) ||
        EVP_EncryptFinal_ex(ctx, out + plain.len, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, out + plain.len) != 1)
        return -EIO;
    return 0;
}

static int open_aead(const struct transit_cipher *c, struct slice key, const uint8_t *nonce,
                     struct slice sealed, uint8_t *out)
{
    scope_cleanup(free_cipher) EVP_CIPHER_CTX *ctx = NULL;
    const struct transit_type *type = c->key->type;
    size_t len = sealed.len - TAG_BYTES;
    const uint8_t *p = sealed.data;
    int n = 0;

    if (type->number == 11)
        return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, p, sealed.len,
                                                          c->aad.data, c->aad.len, nonce,
                                                          key.data) == 0
                   ? 0
                   : -EBADMSG;
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_DecryptInit_ex(ctx, cipher_of(type), NULL, key.data, nonce) != 1)
        return -EIO;
    if ((c->aad.len > 0 &&
         EVP_DecryptUpdate(ctx, NULL, &n, c->aad.data, (int)c->aad.len) != 1) ||
        (len > 0 && EVP_DecryptUpdate(ctx, out, &n, p, (int)len) != 1) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, (void *)(uintptr_t)(p + len)) !=
            1 ||
        EVP_DecryptFinal_ex(ctx, out + len, &n) != 1)
        return -EBADMSG;
    return 0;
}

/* RSA-OAEP with SHA-256. */
static int crypt_rsa(struct op *op, const struct transit_cipher *c, bool seals, struct slice in,
                     struct slice *ret)
{
    scope_cleanup(free_pkey_ctx) EVP_PKEY_CTX *ctx = NULL;
    struct transit_version v = *c->version;
    size_t n = (size_t)c->key->type->bits / 8;
    uint8_t *out = op_alloc(op, n);
    int r = transit_version_open(c->key, &v), ok;

    ctx = r == 0 ? EVP_PKEY_CTX_new(v.pkey, NULL) : NULL;
    ok = ctx != NULL && (seals ? EVP_PKEY_encrypt_init(ctx) : EVP_PKEY_decrypt_init(ctx)) == 1 &&
         EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1;
    if (ok && seals)
        ok = EVP_PKEY_encrypt(ctx, out, &n, in.data, in.len) == 1;
    else if (ok)
        ok = EVP_PKEY_decrypt(ctx, out, &n, in.data, in.len) == 1;
    transit_version_done(&v);
    *ret = slice_of(out, n);
    if (ok)
        return 0;
    if (r < 0)
        return r;
    return op_fail(op, EINVAL, "%s",
                   seals ? "failed to RSA encrypt the plaintext: message too long for RSA key size"
                         : "failed to RSA decrypt the ciphertext: crypto/rsa: decryption error");
}

int transit_encrypt(struct op *op, const struct transit_cipher *c, struct slice plain,
                    struct buf *out)
{
    size_t n = nonce_bytes(c->key->type), len = n + plain.len + TAG_BYTES;
    struct slice key, nonce_key, mac, sealed;
    uint8_t *p;
    int r = 0;

    if (c->key->type->family == TRANSIT_RSA) {
        r = crypt_rsa(op, c, true, plain, &sealed);
    } else {
        p = op_alloc(op, len);
        r = cipher_keys(op, c, &key, &nonce_key);
        if (r == 0 && nonce_key.len > 0) {
            r = transit_hmac(op, nonce_key, EVP_sha256(), plain, &mac);
            if (r == 0)
                memcpy(p, mac.data, n);
        } else if (r == 0 && getrandom(p, n, 0) != (ssize_t)n) {
            r = -EIO;
        }
        if (r == 0)
            r = seal_aead(c, key, p, plain, p + n);
        sealed = slice_of(p, len);
    }
    if (r < 0)
        return r;
    buf_printf(out, "vault:v%" PRId64 ":", c->version->number);
    base64_encode(out, sealed);
    return 0;
}

int transit_decrypt(struct op *op, const struct transit_cipher *c, struct slice sealed,
                    struct slice *ret)
{
    size_t n = nonce_bytes(c->key->type);
    struct slice key, nonce_key;
    uint8_t *out;
    int r;

    if (c->key->type->family == TRANSIT_RSA)
        return crypt_rsa(op, c, false, sealed, ret);
    r = cipher_keys(op, c, &key, &nonce_key);
    if (r == 0 && sealed.len < n + TAG_BYTES)
        r = op_fail(op, EINVAL, "invalid ciphertext length");
    if (r < 0)
        return r;
    out = op_alloc(op, sealed.len - n);
    r = open_aead(c, key, sealed.data, slice_skip(sealed, n), out);
    if (r == -EBADMSG)
        return op_fail(op, EINVAL, "cipher: message authentication failed");
    *ret = slice_of(out, sealed.len - n - TAG_BYTES);
    return r;
}

/* The version a signature is made with: of a derived key, one made of the context. */
static int signing_key(struct op *op, const struct transit_signing *s, struct transit_version *own,
                       EVP_PKEY **ret)
{
    struct slice seed;
    int r;

    if (s->key->type->family == TRANSIT_ED25519 && s->key->derived) {
        r = transit_check_context(op, s->key, s->context);
        if (r == 0)
            r = derive(op, s->version->key, s->context, 32, &seed);
        if (r == 0)
            own->pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed.data, 32);
        *ret = own->pkey;
        return r < 0 ? r : own->pkey != NULL ? 0 : -EIO;
    }
    r = transit_version_open(s->key, s->version);
    *ret = s->version->pkey;
    return r;
}

static int public_text(struct op *op, EVP_PKEY *pkey, struct slice *ret)
{
    uint8_t raw[32];
    size_t n = sizeof raw;
    struct buf text = {0};

    if (EVP_PKEY_get_raw_public_key(pkey, raw, &n) != 1)
        return -EIO;
    base64_encode(&text, slice_of(raw, n));
    *ret = op_slice(op, buf_slice(&text));
    buf_done(&text);
    return 0;
}

static int prepare_rsa(EVP_PKEY_CTX *ctx, const struct transit_signing *s, const EVP_MD *md)
{
    bool pss = strcmp(s->algorithm, "pkcs1v15") != 0;

    if (EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1)
        return -EIO;
    if (md != NULL && EVP_PKEY_CTX_set_signature_md(ctx, md) != 1)
        return -EIO;
    if (pss && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, s->salt) != 1)
        return -EINVAL;
    return 0;
}

/* What is signed: the input's hash, or the input where it is one. */
static int digest_input(struct op *op, const struct transit_signing *s, struct slice input,
                        const EVP_MD **ret_md, struct slice *ret)
{
    const EVP_MD *md = strcmp(s->hash, "none") == 0 ? NULL : transit_digest(s->hash, true);
    unsigned n = EVP_MAX_MD_SIZE;
    uint8_t *out;

    *ret_md = md;
    *ret = input;
    if (s->prehashed) {
        if (md != NULL && s->key->type->family == TRANSIT_RSA &&
            input.len != (size_t)EVP_MD_get_size(md))
            return op_fail(op, EINVAL, "crypto/rsa: input must be hashed with given hash");
        return 0;
    }
    out = op_alloc(op, EVP_MAX_MD_SIZE);
    if (EVP_Digest(input.len > 0 ? input.data : "", input.len, out, &n, md, NULL) != 1)
        return -EIO;
    *ret = slice_of(out, n);
    return 0;
}

/* r and s, each as long as the curve's order (RFC 7518, section 3.4). */
static int to_jws(struct op *op, const struct transit_signing *s, struct slice *sig)
{
    const unsigned char *p = sig->data;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &p, (long)sig->len);
    int half = (s->key->type->bits + 7) / 8;
    uint8_t *out = op_alloc(op, (size_t)half * 2);
    int r = pair != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, half) == half &&
                    BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + half, half) == half
                ? 0
                : -EIO;

    ECDSA_SIG_free(pair);
    *sig = slice_of(out, (size_t)half * 2);
    return r;
}

static int from_jws(struct op *op, struct slice *sig)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    const uint8_t *p = sig->data;
    int half = (int)(sig->len / 2), n;
    unsigned char *der = NULL;

    if (pair == NULL)
        return -ENOMEM;
    ECDSA_SIG_set0(pair, BN_bin2bn(p, half, NULL), BN_bin2bn(p + half, half, NULL));
    n = i2d_ECDSA_SIG(pair, &der);
    ECDSA_SIG_free(pair);
    if (n <= 0)
        return -EIO;
    *sig = op_slice(op, slice_of(der, (size_t)n));
    OPENSSL_free(der);
    return 0;
}

static int sign_ed25519(struct op *op, EVP_PKEY *pkey, struct slice input, struct slice *ret)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = 64;
    uint8_t *out = op_alloc(op, n);
    int ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
             EVP_DigestSign(ctx, out, &n, input.len > 0 ? input.data : (const void *)"",
                            input.len) == 1;

    EVP_MD_CTX_free(ctx);
    *ret = slice_of(out, n);
    return ok ? 0 : -EIO;
}

int transit_sign(struct op *op, const struct transit_signing *s, struct slice input,
                 struct slice *ret, struct slice *ret_public)
{
    scope_cleanup(free_pkey_ctx) EVP_PKEY_CTX *ctx = NULL;
    struct transit_version own = {0};
    EVP_PKEY *pkey = NULL;
    const EVP_MD *md;
    size_t n;
    int r = signing_key(op, s, &own, &pkey);

    *ret_public = slice_of(NULL, 0);
    if (r == 0 && s->key->type->family == TRANSIT_ED25519) {
        r = sign_ed25519(op, pkey, input, ret);
        if (r == 0 && s->key->derived)
            r = public_text(op, pkey, ret_public);
        transit_version_done(&own);
        return r;
    }
    if (r == 0)
        r = digest_input(op, s, input, &md, &input);
    if (r < 0)
        return r;
    ctx = EVP_PKEY_CTX_new(pkey, NULL);
    if (ctx == NULL || EVP_PKEY_sign_init(ctx) != 1)
        return -EIO;
    if (s->key->type->family == TRANSIT_RSA)
        r = prepare_rsa(ctx, s, md);
    if (r < 0 || EVP_PKEY_sign(ctx, NULL, &n, input.data, input.len) != 1)
        return op_fail(op, EINVAL, "the input cannot be signed with this key and these parameters");
    ret->data = op_alloc(op, n);
    if (EVP_PKEY_sign(ctx, (void *)(uintptr_t)ret->data, &n, input.data, input.len) != 1)
        return op_fail(op, EINVAL, "the input cannot be signed with this key and these parameters");
    ret->len = n;
    return s->jws && s->key->type->family == TRANSIT_ECDSA ? to_jws(op, s, ret) : 0;
}

int transit_verify(struct op *op, const struct transit_signing *s, struct slice input,
                   struct slice sig, bool *ret)
{
    scope_cleanup(free_pkey_ctx) EVP_PKEY_CTX *ctx = NULL;
    struct transit_version own = {0};
    EVP_MD_CTX *md_ctx;
    EVP_PKEY *pkey = NULL;
    const EVP_MD *md;
    int r = signing_key(op, s, &own, &pkey);

    *ret = false;
    if (r == 0 && s->key->type->family == TRANSIT_ED25519) {
        md_ctx = EVP_MD_CTX_new();
        *ret = md_ctx != NULL && EVP_DigestVerifyInit(md_ctx, NULL, NULL, NULL, pkey) == 1 &&
               EVP_DigestVerify(md_ctx, sig.data, sig.len,
                                input.len > 0 ? input.data : (const void *)"", input.len) == 1;
        EVP_MD_CTX_free(md_ctx);
        transit_version_done(&own);
        return 0;
    }
    if (r == 0)
        r = digest_input(op, s, input, &md, &input);
    if (r == 0 && s->jws && s->key->type->family == TRANSIT_ECDSA)
        r = from_jws(op, &sig);
    if (r < 0)
        return r;
    ctx = EVP_PKEY_CTX_new(pkey, NULL);
    if (ctx == NULL || EVP_PKEY_verify_init(ctx) != 1)
        return -EIO;
    if (s->key->type->family == TRANSIT_RSA && prepare_rsa(ctx, s, md) < 0)
        return op_fail(op, EINVAL, "requested salt length %d is invalid", s->salt);
    *ret = EVP_PKEY_verify(ctx, sig.data, sig.len, input.data, input.len) == 1;
    return 0;
}

int transit_public(struct op *op, const struct transit_key *k, struct transit_version *v,
                   struct slice context, const char **ret)
{
    struct transit_signing s = {.key = k, .version = v, .context = context};
    struct transit_version own = {0};
    EVP_PKEY *pkey = NULL;
    struct slice text;
    BIO *bio;
    char *data;
    long n;
    int r;

    *ret = "";
    if (k->type->family == TRANSIT_ED25519 && k->derived && context.len == 0)
        return 0;
    r = signing_key(op, &s, &own, &pkey);
    if (r == 0 && k->type->family == TRANSIT_ED25519) {
        r = public_text(op, pkey, &text);
        *ret = text.data;
        transit_version_done(&own);
        return r;
    }
    bio = r == 0 ? BIO_new(BIO_s_mem()) : NULL;
    if (bio == NULL)
        return r < 0 ? r : -ENOMEM;
    r = PEM_write_bio_PUBKEY(bio, pkey) == 1 ? 0 : -EIO;
    n = BIO_get_mem_data(bio, &data);
    if (r == 0)
        *ret = op_strndup(op, data, (size_t)n);
    BIO_free(bio);
    return r;
}
