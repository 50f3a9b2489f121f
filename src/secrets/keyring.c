#include "secrets/keyring.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/keyring_internal.h"
#include "secrets/lockmem.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define FORMAT      2 /* Vault's barrier: 2 means that the row's key is authenticated too */
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define AAD_MAX     512
/* Counted ahead, so that a restart costs one row and no write is ever missed. */
#define RESERVE (UINT64_C(1) << 24)
/* NIST SP 800-38D section 8.3 allows 2^32 random nonces a key; Vault stops at 90 % as well. */
#define TERM_LIMIT UINT64_C(3865470566)

struct keyring *keyring_new(struct store *store)
{
    struct keyring *k = xcalloc(1, sizeof *k);

    k->store = store;
    k->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (k->gcm == NULL || sodium_init() < 0)
        abort(); /* a libcrypto without AES, or no randomness: nothing can be promised */
    pthread_mutex_init(&k->lock, NULL);
    pthread_mutex_init(&k->change, NULL);
    return k;
}

static void cipher_free(struct cipher *c)
{
    EVP_CIPHER_CTX_free(c->ctx); /* wipes the expanded key */
    free(c);
}

void keyring_seal(struct keyring *k)
{
    guard(&k->lock);

    k->epoch++;
    for (size_t i = 0; i < k->n_terms; i++) {
        for (int way = 0; way < 2; way++) {
            while (k->terms[i].idle[way] != NULL) {
                struct cipher *c = k->terms[i].idle[way];

                k->terms[i].idle[way] = c->next;
                cipher_free(c);
            }
        }
    }
    k->n_terms = 0;
    lockmem_free(k->keys, sizeof *k->keys);
    k->keys = NULL;
}

void keyring_free(struct keyring *k)
{
    if (k == NULL)
        return;
    keyring_seal(k);
    EVP_CIPHER_free(k->gcm);
    pthread_mutex_destroy(&k->lock);
    pthread_mutex_destroy(&k->change);
    free(k);
}

bool keyring_is_sealed(struct keyring *k)
{
    guard(&k->lock);

    return k->keys == NULL;
}

void keyring_id(struct keyring *k, uint8_t ret[KEYRING_ID_BYTES])
{
    guard(&k->lock);

    memcpy(ret, k->id, KEYRING_ID_BYTES);
}

int keyring_exists(struct keyring *k)
{
    autobuf seal = {0};
    int r = keyring_rows_load_seal(k, &seal);

    return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

/* The template that keyring_blind copies. */
static void key_names(struct keys *keys)
{
    crypto_generichash_init(&keys->names_state, keys->names, sizeof keys->names,
                            KEYRING_BLIND_BYTES);
}

/* Puts new keys in force. Takes keys. */
static void install(struct keyring *k, struct keys *keys, const struct term *terms, size_t n,
                    uint64_t used, uint64_t reserved)
{
    guard(&k->lock);

    memcpy(k->terms, terms, n * sizeof *terms);
    k->n_terms = n;
    k->used = used;
    k->reserved = reserved;
    k->keys = keys;
}

int keyring_init(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES])
{
    struct keys *keys = lockmem_new(sizeof *keys);
    struct term first = {.number = 1, .installed_unix_ns = clock_unix_ns()};
    int r;

    guard(&k->change);
    r = keyring_exists(k);
    if (r == 1)
        r = -EEXIST;
    else if (r == 0)
        r = -EIO;
    if (r == -EIO && RAND_bytes(keys->root, sizeof keys->root) == 1 &&
        RAND_bytes(keys->names, sizeof keys->names) == 1 &&
        RAND_bytes(keys->terms[0], KEYRING_KEY_BYTES) == 1 && RAND_bytes(k->id, sizeof k->id) == 1)
        r = keyring_rows_store(k, keys, &first, 1, RESERVE, unseal);
    if (r < 0) {
        lockmem_free(keys, sizeof *keys);
        return r;
    }
    key_names(keys);
    install(k, keys, &first, 1, 0, RESERVE);
    return 0;
}

int keyring_unseal(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES])
{
    struct keys *keys = lockmem_new(sizeof *keys);
    autofree struct term *terms = xcalloc(TERMS_MAX, sizeof *terms);
    autobuf seal = {0};
    uint64_t reserved = 0;
    size_t n = 0;
    int r;

    guard(&k->change);
    r = keyring_rows_load_seal(k, &seal);
    if (r == 0)
        r = keyring_rows_unwrap_root(k, buf_slice(&seal), unseal, keys->root, k->id);
    if (r == 0)
        r = keyring_rows_load_terms(k, keys, terms, &n, &reserved);
    if (r < 0 || !keyring_is_sealed(k)) {
        lockmem_free(keys, sizeof *keys);
        return r;
    }
    key_names(keys);
    install(k, keys, terms, n, reserved, reserved);
    return 0;
}

/* A lent cipher: it goes back with cipher_return. */
struct lent {
    struct cipher *cipher;
    unsigned epoch;
    uint32_t number;
};

static struct term *find_term(struct keyring *k, uint32_t number, size_t *ret_index)
{
    for (size_t i = k->n_terms; i-- > 0;) {
        if (k->terms[i].number == number) {
            *ret_index = i;
            return &k->terms[i];
        }
    }
    return NULL;
}

static struct cipher *cipher_new(struct keyring *k, const uint8_t *key, bool encrypts)
{
    struct cipher *c = xcalloc(1, sizeof *c);

    c->ctx = EVP_CIPHER_CTX_new();
    if (c->ctx == NULL || EVP_CipherInit_ex2(c->ctx, k->gcm, key, NULL, encrypts, NULL) != 1) {
        cipher_free(c);
        return NULL;
    }
    return c;
}

/* Called with the lock. */
static int lend(struct keyring *k, struct term *term, size_t index, bool encrypts, struct lent *ret)
{
    struct cipher *c = term->idle[encrypts];

    if (c != NULL)
        term->idle[encrypts] = c->next;
    else
        c = cipher_new(k, k->keys->terms[index], encrypts);
    if (c == NULL)
        return -EIO;
    *ret = (struct lent){.cipher = c, .epoch = k->epoch, .number = term->number};
    return 0;
}

static void cipher_return(struct keyring *k, struct lent *l, bool encrypts)
{
    size_t index = 0;
    struct term *term;

    guard(&k->lock);
    term = k->epoch == l->epoch ? find_term(k, l->number, &index) : NULL;
    if (term == NULL) {
        cipher_free(l->cipher);
        return;
    }
    l->cipher->next = term->idle[encrypts];
    term->idle[encrypts] = l->cipher;
}

/* The last term's cipher. 1: the reserve is used up, call reserve() first. */
static int lend_current(struct keyring *k, struct lent *ret)
{
    guard(&k->lock);

    if (k->keys == NULL)
        return -ESHUTDOWN;
    if (k->used >= k->reserved)
        return 1;
    k->used++;
    return lend(k, &k->terms[k->n_terms - 1], k->n_terms - 1, true, ret);
}

/* A private copy of the keys, to store them without the lock. NULL: sealed. Returns new. */
static struct keys *copy_keys(struct keyring *k, struct term **ret_terms, size_t *ret_n,
                              uint64_t *ret_reserved)
{
    struct keys *keys = lockmem_new(sizeof *keys);
    struct term *terms = xcalloc(TERMS_MAX, sizeof *terms);

    guard(&k->lock);
    if (k->keys == NULL) {
        lockmem_free(keys, sizeof *keys);
        free(terms);
        return NULL;
    }
    memcpy(keys, k->keys, sizeof *keys);
    for (size_t i = 0; i < k->n_terms; i++)
        terms[i] = (struct term){k->terms[i].number, k->terms[i].installed_unix_ns, {NULL, NULL}};
    *ret_terms = terms;
    *ret_n = k->n_terms;
    *ret_reserved = k->reserved;
    return keys;
}

/* Stores the keys with one more term (grow) or a larger reserve, then puts that in force. */
static int advance(struct keyring *k, bool grow)
{
    autofree struct term *terms = NULL;
    uint64_t reserved = 0;
    struct keys *keys;
    size_t n = 0;
    int r = 0;

    keys = copy_keys(k, &terms, &n, &reserved);
    if (keys == NULL)
        return -ESHUTDOWN;
    reserved = grow ? RESERVE : reserved + RESERVE;
    if (grow && n == TERMS_MAX)
        r = -EOVERFLOW;
    if (r == 0 && grow) {
        terms[n] =
            (struct term){.number = terms[n - 1].number + 1, .installed_unix_ns = clock_unix_ns()};
        r = RAND_bytes(keys->terms[n++], KEYRING_KEY_BYTES) == 1 ? 0 : -EIO;
    }
    if (r == 0)
        r = keyring_rows_store(k, keys, terms, n, reserved, NULL);
    pthread_mutex_lock(&k->lock);
    if (r == 0 && k->keys == NULL)
        r = -ESHUTDOWN;
    if (r == 0) {
        k->reserved = reserved;
        if (grow) {
            memcpy(k->keys->terms[n - 1], keys->terms[n - 1], KEYRING_KEY_BYTES);
            k->terms[n - 1] = terms[n - 1];
            k->n_terms = n;
            k->used = 0;
        }
    }
    pthread_mutex_unlock(&k->lock);
    lockmem_free(keys, sizeof *keys);
    return r;
}

int keyring_rotate(struct keyring *k)
{
    guard(&k->change);

    return advance(k, true);
}

static int reserve(struct keyring *k)
{
    bool full, needed;

    guard(&k->change);
    pthread_mutex_lock(&k->lock);
    needed = k->keys != NULL && k->used >= k->reserved; /* another thread may have done it */
    full = k->used + RESERVE >= TERM_LIMIT;
    pthread_mutex_unlock(&k->lock);
    return needed ? advance(k, full) : 0;
}

int keyring_status(struct keyring *k, struct keyring_status *ret)
{
    const struct term *last;

    guard(&k->lock);
    if (k->keys == NULL)
        return -ESHUTDOWN;
    last = &k->terms[k->n_terms - 1];
    *ret = (struct keyring_status){last->number, last->installed_unix_ns, k->used};
    return 0;
}

/* Length-prefixed, so that no two pairs give the same bytes. */
static int make_aad(struct slice part, struct slice key, uint8_t aad[AAD_MAX], int *ret_len)
{
    if (part.len + key.len + 4 > AAD_MAX)
        return -EINVAL;
    be32_put(aad, (uint32_t)part.len);
    memcpy(aad + 4, part.data, part.len);
    memcpy(aad + 4 + part.len, key.data, key.len);
    *ret_len = (int)(4 + part.len + key.len);
    return 0;
}

int keyring_encrypt(struct keyring *k, struct slice part, struct slice key, struct slice plain,
                    struct buf *out)
{
    uint8_t aad[AAD_MAX];
    struct lent l = {0};
    int aad_len = 0, n = 0;
    uint8_t *p;
    int r = make_aad(part, key, aad, &aad_len);

    while (r == 0 && (r = lend_current(k, &l)) == 1)
        r = reserve(k);
    if (r < 0)
        return r;
    buf_reserve(out, plain.len + KEYRING_OVERHEAD_BYTES);
    p = (uint8_t *)out->data + out->len;
    be32_put(p, l.number);
    p[4] = FORMAT;
    if (RAND_bytes(p + 5, NONCE_BYTES) != 1 ||
        EVP_EncryptInit_ex2(l.cipher->ctx, NULL, NULL, p + 5, NULL) != 1 ||
        EVP_EncryptUpdate(l.cipher->ctx, NULL, &n, aad, aad_len) != 1 ||
        EVP_EncryptUpdate(l.cipher->ctx, p + 17, &n, plain.data, (int)plain.len) != 1 ||
        EVP_EncryptFinal_ex(l.cipher->ctx, p + 17 + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(l.cipher->ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, p + 17 + plain.len) !=
            1)
        r = -EIO;
    else
        out->len += plain.len + KEYRING_OVERHEAD_BYTES;
    cipher_return(k, &l, true);
    return r;
}

static int lend_numbered(struct keyring *k, uint32_t number, struct lent *ret)
{
    size_t index = 0;
    struct term *term;

    guard(&k->lock);
    if (k->keys == NULL)
        return -ESHUTDOWN;
    term = find_term(k, number, &index);
    return term != NULL ? lend(k, term, index, false, ret) : -EIO;
}

int keyring_decrypt(struct keyring *k, struct slice part, struct slice key, struct slice record,
                    void *ret)
{
    const uint8_t *p = record.data;
    uint8_t aad[AAD_MAX];
    OSSL_PARAM params[2];
    struct lent l = {0};
    size_t len = record.len - KEYRING_OVERHEAD_BYTES;
    int aad_len = 0, n = 0;
    int r = make_aad(part, key, aad, &aad_len);

    if (r < 0)
        return r;
    if (record.len < KEYRING_OVERHEAD_BYTES || p[4] != FORMAT)
        return keyring_is_sealed(k) ? -ESHUTDOWN : -EIO;
    r = lend_numbered(k, be32_get(p), &l);
    if (r < 0)
        return r;
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG,
                                                  (void *)(uintptr_t)(p + 17 + len), TAG_BYTES);
    params[1] = OSSL_PARAM_construct_end();
    if (EVP_DecryptInit_ex2(l.cipher->ctx, NULL, NULL, p + 5, params) != 1 ||
        EVP_DecryptUpdate(l.cipher->ctx, NULL, &n, aad, aad_len) != 1 ||
        EVP_DecryptUpdate(l.cipher->ctx, ret, &n, p + 17, (int)len) != 1 ||
        EVP_DecryptFinal_ex(l.cipher->ctx, (uint8_t *)ret + n, &n) != 1) {
        explicit_bzero(ret, len);
        r = -EIO;
    }
    cipher_return(k, &l, false);
    return r;
}

int keyring_blind(struct keyring *k, struct slice scope, uint8_t kind, struct slice name,
                  uint8_t ret[KEYRING_BLIND_BYTES])
{
    crypto_generichash_state state;

    pthread_mutex_lock(&k->lock);
    if (k->keys == NULL) {
        pthread_mutex_unlock(&k->lock);
        return -ESHUTDOWN;
    }
    memcpy(&state, &k->keys->names_state, sizeof state);
    pthread_mutex_unlock(&k->lock);
    crypto_generichash_update(&state, scope.data, scope.len); /* of one length everywhere */
    crypto_generichash_update(&state, &kind, 1);
    crypto_generichash_update(&state, name.data, name.len);
    crypto_generichash_final(&state, ret, KEYRING_BLIND_BYTES);
    explicit_bzero(&state, sizeof state);
    return 0;
}
