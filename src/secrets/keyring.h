/* keyring.h: encryption at rest, and names that stand in keys.
 *
 * Each value is a record of its own: term (4 bytes, big endian), format (1), nonce (12, random),
 * ciphertext, tag (16); AES-256-GCM; the additional data are the partition and the key of the row,
 * so that a record cannot be moved. A term is one data key; rotation adds a term, older ones stay
 * for reading. All terms and the key for names are one row, encrypted under the root key; the root
 * key is another row, encrypted under the unseal key, which is never stored here. What the unseal
 * key is made of (a key, shares, a passphrase) is a third row, authenticated with the second.
 * Names are replaced in row keys by a keyed BLAKE2b.
 *
 * A keyring is sealed (holds no key: every call is -ESHUTDOWN) or unsealed. Keys live in lockmem.
 * Any thread. */
#ifndef SECRETS_KEYRING_H
#define SECRETS_KEYRING_H

#include "base/buf.h"
#include "store/store.h"

#define KEYRING_KEY_BYTES      32
#define KEYRING_OVERHEAD_BYTES 33 /* what a record is longer than its plaintext */
#define KEYRING_BLIND_BYTES    16
#define KEYRING_ID_BYTES       16

enum keyring_form_kind {
    FORM_KEY = 1,    /* the key itself: a keyfile, a credential; threshold and shares are 1 */
    FORM_SHARES = 2, /* of Shamir; 1 of 1 is the key itself */
    FORM_PASSPHRASE = 3,
}; /* stored on disk: never renumber */

/* What the unseal key is made of. */
struct keyring_form {
    enum keyring_form_kind kind;
    uint8_t shares, threshold;
    uint8_t salt[16]; /* FORM_PASSPHRASE: Argon2id's */
    uint32_t passes, memory_kib;
};

struct keyring;

struct keyring *keyring_new(struct store *store); /* sealed; returns new; borrows the store */
void keyring_free(struct keyring *k);             /* seals first; NULL is fine */

/* Has keyring_init ever been called on this store? 1, 0, or the store's errno. */
int keyring_exists(struct keyring *k);
/* Makes the first term and the root key, wraps it under the unseal key, stores all; durable. Then
 * it is unsealed. -EEXIST if there already is one. No form: FORM_KEY. */
int keyring_init(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES],
                 const struct keyring_form *form);
/* What unseals it. -ENOENT: there is no keyring. */
int keyring_get_form(struct keyring *k, struct keyring_form *ret);
/* Does this unseal key fit? 0; -EBADMSG; -ENOENT. Also while sealed. */
int keyring_fits(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES]);
/* Another unseal key, and another root key too, so that what the old one opened is of no use; one
 * batch, durable. -ESHUTDOWN while sealed. */
int keyring_rekey(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES],
                  const struct keyring_form *form);
/* -EBADMSG: this unseal key does not fit; -ENOENT: there is no keyring; -EIO: its rows are damaged.
 * 0 also if it is unsealed already (and the key fits). */
int keyring_unseal(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES]);
/* Wipes all keys, also those expanded in cipher contexts. */
void keyring_seal(struct keyring *k);
bool keyring_is_sealed(struct keyring *k);
/* A random id made with the keyring: the cluster's. Zeros before keyring_init. */
void keyring_id(struct keyring *k, uint8_t ret[KEYRING_ID_BYTES]);

/* Appends the record of `plain` to out. */
int keyring_encrypt(struct keyring *k, struct slice part, struct slice key, struct slice plain,
                    struct buf *out);
/* Writes record.len - KEYRING_OVERHEAD_BYTES bytes to ret. -EIO: damaged, moved, or cut. */
int keyring_decrypt(struct keyring *k, struct slice part, struct slice key, struct slice record,
                    void *ret);
/* What `name` is called in row keys below `scope`. */
int keyring_blind(struct keyring *k, struct slice scope, uint8_t kind, struct slice name,
                  uint8_t ret[KEYRING_BLIND_BYTES]);

struct keyring_status {
    uint32_t term;
    int64_t installed_unix_ns;
    uint64_t encryptions; /* with this term; an upper bound after a restart */
};
int keyring_status(struct keyring *k, struct keyring_status *ret);
/* Adds a term; durable. Happens by itself as the schedule says, and in any case before a term's
 * random nonces come near their limit. */
int keyring_rotate(struct keyring *k);

#define KEYRING_OPERATIONS_MIN UINT64_C(1000000)
/* NIST SP 800-38D section 8.3 allows 2^32 random nonces a key; Vault stops at 90 % as well. */
#define KEYRING_OPERATIONS_MAX UINT64_C(3865470566)
#define KEYRING_INTERVAL_MIN_S INT64_C(86400)

struct keyring_schedule {
    bool enabled;
    uint64_t max_operations; /* a term is followed by another after so many encryptions */
    int64_t interval_s;      /* and at this age; 0: at no age */
};
int keyring_get_schedule(struct keyring *k, struct keyring_schedule *ret);
int keyring_set_schedule(struct keyring *k, const struct keyring_schedule *schedule); /* durable */

#endif
