/* seal.h: what people do with the keys that open the keyring: make them (init), bring them
 * (unseal), exchange them (rekey), and have a root token for them (generate-root). Results and
 * texts are Vault's. Any thread; one of these at a time. */
#ifndef SECRETS_SEAL_H
#define SECRETS_SEAL_H

#include "secrets/gather.h"
#include "secrets/secrets.h"

struct seal;
struct seal *seal_new(void); /* returns new */
void seal_free(struct seal *seal);
void seal_forget(struct secrets *s); /* all that is under way: at a seal */

struct seal_status {
    bool initialized, sealed;
    struct keyring_form form; /* zeroed before init */
    unsigned progress;
    char nonce[NONCE_TEXT_BYTES];
};
int seal_get_status(struct secrets *s, struct seal_status *ret);

/* What the unseal key shall be made of. */
struct seal_wish {
    int64_t shares, threshold;
    struct slice passphrase; /* or this */
};
/* Only where people bring the key. Leaves it sealed. *ret_token: a root token. */
int seal_init(struct secrets *s, struct op *op, const struct seal_wish *wish, struct shares *ret,
              const char **ret_token);
/* A piece of the unseal key. -EINVAL with Vault's text; -EBUSY: a passphrase was wrong less than a
 * second ago. */
int seal_unseal(struct secrets *s, struct op *op, struct slice piece);
void seal_unseal_reset(struct secrets *s);

struct rekey_status {
    bool started, verifies; /* verifies: the new key is to be shown before it counts */
    char nonce[NONCE_TEXT_BYTES], verify_nonce[NONCE_TEXT_BYTES];
    unsigned shares, threshold, progress, verify_progress;
    unsigned required; /* pieces of the present key */
};
int rekey_get_status(struct secrets *s, struct rekey_status *ret);
int rekey_begin(struct secrets *s, struct op *op, const struct seal_wish *wish, bool verifies);
void rekey_cancel(struct secrets *s);
/* A piece of the present key. 1: done, or done but for the verification; *ret has the new shares.
 */
int rekey_update(struct secrets *s, struct op *op, const char *nonce, struct slice piece,
                 struct shares *ret);
/* A piece of the new key. 1: it counts now. */
int rekey_verify(struct secrets *s, struct op *op, const char *nonce, struct slice piece);
/* Forgets what was shown of the new key; it stays to be verified. */
int rekey_verify_restart(struct secrets *s, struct op *op);

#define ROOT_TOKEN_BYTES 26
struct root_status {
    bool started;
    char nonce[NONCE_TEXT_BYTES];
    unsigned progress, required;
};
int root_get_status(struct secrets *s, struct root_status *ret);
/* otp "": one is made. *ret_otp in the op. */
int root_begin(struct secrets *s, struct op *op, const char *otp, const char **ret_otp);
void root_cancel(struct secrets *s);
/* 1: *ret_encoded is a new root token, xor the otp, in base64 without padding. */
int root_update(struct secrets *s, struct op *op, const char *nonce, struct slice piece,
                const char **ret_encoded);

#endif
