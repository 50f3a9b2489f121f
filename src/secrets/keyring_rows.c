/* keyring_rows.c: the keyring in the store. Partition "secrets/keys", two rows:
 *   "seal"     format 1 · id (16) · nonce, root key, tag: under the unseal key
 *   "terms"    nonce · format 1, names key (32), reserved (8), then per term: number (4),
 *              installed (8, Unix ns), key (32) · tag: under the root key */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/keyring_internal.h"

#include <errno.h>
#include <openssl/rand.h>

#define PART        SLICE("secrets/keys")
#define SEAL_KEY    SLICE("seal")
#define TERMS_KEY   SLICE("terms")
#define FORMAT      1
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define WRAP_BYTES  (NONCE_BYTES + TAG_BYTES)
#define SEAL_BYTES  (1 + KEYRING_ID_BYTES + WRAP_BYTES + KEYRING_KEY_BYTES)
#define HEAD_BYTES  (1 + KEYRING_KEY_BYTES + 8)
#define TERM_BYTES  (4 + 8 + KEYRING_KEY_BYTES)

static void scope_context(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

int aead_wrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice plain,
              struct buf *out)
{
    scope_cleanup(scope_context) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *p;
    int n = 0;

    buf_reserve(out, plain.len + WRAP_BYTES);
    p = (uint8_t *)out->data + out->len;
    if (ctx == NULL || RAND_bytes(p, NONCE_BYTES) != 1 ||
        EVP_EncryptInit_ex2(ctx, k->gcm, key, p, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1 ||
        EVP_EncryptUpdate(ctx, p + NONCE_BYTES, &n, plain.data, (int)plain.len) != 1 ||
        EVP_EncryptFinal_ex(ctx, p + NONCE_BYTES + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, p + NONCE_BYTES + plain.len) !=
            1)
        return -EIO;
    out->len += plain.len + WRAP_BYTES;
    return 0;
}

int aead_unwrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice wrapped,
                uint8_t *ret)
{
    scope_cleanup(scope_context) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const uint8_t *p = wrapped.data;
    size_t len;
    int n = 0;

    if (ctx == NULL || wrapped.len < WRAP_BYTES)
        return -EBADMSG;
    len = wrapped.len - WRAP_BYTES;
    if (EVP_DecryptInit_ex2(ctx, k->gcm, key, p, NULL) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1 ||
        EVP_DecryptUpdate(ctx, ret, &n, p + NONCE_BYTES, (int)len) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES,
                            (void *)(uintptr_t)(p + NONCE_BYTES + len)) != 1 ||
        EVP_DecryptFinal_ex(ctx, ret + n, &n) != 1) {
        explicit_bzero(ret, len);
        return -EBADMSG;
    }
    return 0;
}

int keyring_rows_load_seal(struct keyring *k, struct buf *ret)
{
    struct store_value v = {0};
    int r = store_get(k->store, PART, SEAL_KEY, &v);

    if (r < 0)
        return r;
    buf_add_slice(ret, v.data);
    store_value_release(&v);
    return ret->len == SEAL_BYTES && ret->data[0] == FORMAT ? 0 : -EIO;
}

int keyring_rows_unwrap_root(struct keyring *k, struct slice seal, const uint8_t *unseal,
                             uint8_t *ret_root, uint8_t *ret_id)
{
    size_t head = 1 + KEYRING_ID_BYTES;
    int r = aead_unwrap(k, unseal, slice_of(seal.data, head), slice_skip(seal, head), ret_root);

    if (r == 0)
        memcpy(ret_id, (const uint8_t *)seal.data + 1, KEYRING_ID_BYTES);
    return r;
}

static void print_terms(const struct keys *keys, const struct term *terms, size_t n,
                        uint64_t reserved, struct buf *out)
{
    uint8_t number[8];

    buf_reserve(out, HEAD_BYTES + n * TERM_BYTES); /* never moved: no copy is left behind */
    buf_add_char(out, FORMAT);
    buf_add(out, keys->names, sizeof keys->names);
    be64_put(number, reserved);
    buf_add(out, number, 8);
    for (size_t i = 0; i < n; i++) {
        be32_put(number, terms[i].number);
        buf_add(out, number, 4);
        be64_put(number, (uint64_t)terms[i].installed_unix_ns);
        buf_add(out, number, 8);
        buf_add(out, keys->terms[i], KEYRING_KEY_BYTES);
    }
}

static int put_seal(struct keyring *k, struct store_batch *batch, const struct keys *keys,
                    const uint8_t *unseal)
{
    autobuf row = {0};
    int r;

    buf_add_char(&row, FORMAT);
    buf_add(&row, k->id, sizeof k->id);
    buf_reserve(&row, SEAL_BYTES);
    r = aead_wrap(k, unseal, buf_slice(&row), slice_of(keys->root, sizeof keys->root), &row);
    if (r < 0)
        return r;
    store_batch_expect_absent(batch, SEAL_KEY);
    store_batch_put(batch, SEAL_KEY, buf_slice(&row));
    return 0;
}

int keyring_rows_store(struct keyring *k, const struct keys *keys, const struct term *terms,
                       size_t n_terms, uint64_t reserved, const uint8_t *unseal_or_null)
{
    struct store_batch *batch = store_batch_new(k->store, PART);
    struct buf plain = {0};
    autobuf row = {0};
    int r;

    print_terms(keys, terms, n_terms, reserved, &plain);
    r = aead_wrap(k, keys->root, SLICE("secrets/keys/terms"), buf_slice(&plain), &row);
    buf_wipe(&plain);
    if (r == 0 && unseal_or_null != NULL)
        r = put_seal(k, batch, keys, unseal_or_null);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    store_batch_put(batch, TERMS_KEY, buf_slice(&row));
    r = store_commit(batch, STORE_DURABLE);
    return r == -EAGAIN ? -EEXIST : r;
}

static int parse_terms(const uint8_t *p, size_t len, struct keys *keys, struct term *terms,
                       size_t *ret_n, uint64_t *ret_reserved)
{
    size_t n;

    if (len < HEAD_BYTES + TERM_BYTES || p[0] != FORMAT || (len - HEAD_BYTES) % TERM_BYTES != 0)
        return -EIO;
    n = (len - HEAD_BYTES) / TERM_BYTES;
    if (n > TERMS_MAX)
        return -EIO;
    memcpy(keys->names, p + 1, KEYRING_KEY_BYTES);
    *ret_reserved = be64_get(p + 1 + KEYRING_KEY_BYTES);
    p += HEAD_BYTES;
    for (size_t i = 0; i < n; i++, p += TERM_BYTES) {
        terms[i] =
            (struct term){.number = be32_get(p), .installed_unix_ns = (int64_t)be64_get(p + 4)};
        memcpy(keys->terms[i], p + 12, KEYRING_KEY_BYTES);
    }
    *ret_n = n;
    return 0;
}

int keyring_rows_load_terms(struct keyring *k, struct keys *keys, struct term *terms, size_t *ret_n,
                            uint64_t *ret_reserved)
{
    struct store_value v = {0};
    struct buf plain = {0};
    int r = store_get(k->store, PART, TERMS_KEY, &v);

    if (r < 0)
        return r == -ENOENT ? -EIO : r;
    buf_reserve(&plain, v.data.len);
    r = aead_unwrap(k, keys->root, SLICE("secrets/keys/terms"), v.data, (uint8_t *)plain.data);
    if (r == 0)
        r = parse_terms((const uint8_t *)plain.data, v.data.len - WRAP_BYTES, keys, terms, ret_n,
                        ret_reserved);
    buf_wipe(&plain);
    store_value_release(&v);
    return r == -EBADMSG ? -EIO : r;
}
