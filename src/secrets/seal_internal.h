/* seal_internal.h: what seal.c and seal_proof.c share. */
#ifndef SECRETS_SEAL_INTERNAL_H
#define SECRETS_SEAL_INTERNAL_H

#include "secrets/lockmem.h"
#include "secrets/seal.h"

struct rekey {
    bool started, verifies;
    char nonce[NONCE_TEXT_BYTES], verify_nonce[NONCE_TEXT_BYTES];
    struct keyring_form form; /* of the new key */
    struct gather present, shown;
    uint8_t *key; /* the new one, in lockmem: a passphrase's, or one that waits to be verified */
};

struct root_attempt {
    bool started;
    char nonce[NONCE_TEXT_BYTES];
    char otp[ROOT_TOKEN_BYTES + 1];
    struct gather present;
    int64_t touched_ms;
};

struct seal {
    pthread_mutex_t lock; /* guards all below; before secrets.lock */
    struct gather unseal;
    struct rekey rekey;
    struct root_attempt root;
    int64_t wrong_ms; /* when a passphrase was wrong; 0: never */
};

void rekey_drop(struct rekey *k);
void root_drop(struct root_attempt *a);
/* by_key: one share is a key of a file. -EINVAL with Vault's text. */
int wish_form(struct op *op, const struct seal_wish *wish, bool by_key, struct keyring_form *ret);
int wish_key(struct op *op, const struct seal_wish *wish, const struct keyring_form *form,
             uint8_t ret[KEYRING_KEY_BYTES]);
int root_token_make(struct secrets *s, struct op *op, const char *path, const char **ret);
int check_pause(struct secrets *s, struct op *op, const struct keyring_form *form);

#endif
