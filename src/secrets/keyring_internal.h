/* keyring_internal.h: what keyring.c and keyring_rows.c share. */
#ifndef SECRETS_KEYRING_INTERNAL_H
#define SECRETS_KEYRING_INTERNAL_H

#include "secrets/keyring.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>

#define TERMS_MAX 1024
#define KEYRING_SCHEDULE_DEFAULT                                                                   \
    {                                                                                              \
        true, KEYRING_OPERATIONS_MAX, 0                                                            \
    }

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
    struct keyring_schedule schedule;
    uint8_t id[KEYRING_ID_BYTES];
};

/* AES-256-GCM once, with a key at hand: nonce, ciphertext and tag are appended to out. */
int aead_wrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice plain,
              struct buf *out);
/* Writes wrapped.len - 28 bytes; -EBADMSG. */
int aead_unwrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice wrapped,
                uint8_t *ret);

/* The rows, as they stand in the store. */
struct keyring_seal {
    struct buf row, form_row; /* form_row: empty for FORM_KEY */
    struct keyring_form form;
};
#define autoseal __attribute__((cleanup(keyring_seal_done))) struct keyring_seal
void keyring_seal_done(struct keyring_seal *seal);
int keyring_rows_load_seal(struct keyring *k, struct keyring_seal *ret); /* -ENOENT */

/* How the root key is to be stored with the terms. */
struct keyring_wrap {
    const uint8_t *unseal;
    struct keyring_form form;
    bool first; /* there must be none yet: else -EEXIST */
};
/* The terms, without their keys, and what is stored with them. */
struct term_set {
    struct term *list; /* room for TERMS_MAX */
    size_t n;
    uint64_t reserved;
    struct keyring_schedule schedule;
};
/* Writes the keys and the terms; wrap (or NULL): the root key too. One batch, durable. */
int keyring_rows_store(struct keyring *k, const struct keys *keys, const struct term_set *set,
                       const struct keyring_wrap *wrap);
/* Fills keys (its root is set) and the set. */
int keyring_rows_load_terms(struct keyring *k, struct keys *keys, struct term_set *set);
int keyring_rows_unwrap_root(struct keyring *k, const struct keyring_seal *seal,
                             const uint8_t *unseal, uint8_t *ret_root, uint8_t *ret_id);

#endif
