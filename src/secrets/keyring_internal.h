/* keyring_internal.h: what keyring.c and keyring_rows.c share. */
#ifndef SECRETS_KEYRING_INTERNAL_H
#define SECRETS_KEYRING_INTERNAL_H

#include "secrets/keyring.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>

#define TERMS_MAX 1024

/* Lives in lockmem as a whole. */
struct keys {
    uint8_t root[KEYRING_KEY_BYTES];
    uint8_t names[KEYRING_KEY_BYTES];
    crypto_generichash_state names_state; /* keyed, nothing hashed */
    uint8_t terms[TERMS_MAX][KEYRING_KEY_BYTES];
};

struct cipher {
    struct cipher *next;
    EVP_CIPHER_CTX *ctx; /* its key is set: only the nonce is new each time */
};

struct term {
    uint32_t number;
    int64_t installed_unix_ns;
    struct cipher *idle[2]; /* by direction: 0 decrypts, 1 encrypts */
};

struct keyring {
    struct store *store;
    EVP_CIPHER *gcm;
    pthread_mutex_t lock;   /* guards all below; never held over a call into the store */
    pthread_mutex_t change; /* one init, unseal or rotate at a time; before `lock` */
    struct keys *keys;      /* NULL: sealed */
    struct term terms[TERMS_MAX];
    size_t n_terms;    /* ascending by number; the last one encrypts */
    unsigned epoch;    /* counts seals: a cipher of an older epoch is freed, not kept */
    uint64_t used;     /* encryptions with the last term */
    uint64_t reserved; /* what its row says; used < reserved, else it is written first */
    uint8_t id[KEYRING_ID_BYTES];
};

/* AES-256-GCM once, with a key at hand: nonce, ciphertext and tag are appended to out. */
int aead_wrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice plain,
              struct buf *out);
/* Writes wrapped.len - 28 bytes; -EBADMSG. */
int aead_unwrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice wrapped,
                uint8_t *ret);

/* The two rows, as they stand in the store. */
int keyring_rows_load_seal(struct keyring *k, struct buf *ret); /* -ENOENT */
/* Writes the terms in k->keys, `used` raised to `reserved`; with_seal: the root key too. Durable.
 */
int keyring_rows_store(struct keyring *k, const struct keys *keys, const struct term *terms,
                       size_t n_terms, uint64_t reserved, const uint8_t *unseal_or_null);
/* Fills keys (its root is set) and terms. */
int keyring_rows_load_terms(struct keyring *k, struct keys *keys, struct term *terms, size_t *ret_n,
                            uint64_t *ret_reserved);
int keyring_rows_unwrap_root(struct keyring *k, struct slice seal, const uint8_t *unseal,
                             uint8_t *ret_root, uint8_t *ret_id);

#endif
