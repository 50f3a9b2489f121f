/* gather.h: an unseal key that comes in pieces, one from each person. One thread at a time. */
#ifndef SECRETS_GATHER_H
#define SECRETS_GATHER_H

#include "op/op.h"
#include "secrets/keyring.h"

#define NONCE_TEXT_BYTES 37 /* a UUID and its NUL */

struct gather {
    char nonce[NONCE_TEXT_BYTES]; /* "": no piece came yet; names this gathering */
    unsigned n;
    uint8_t *shares; /* in lockmem */
};

/* Takes a piece: a share as hexadecimal digits or base64; where one piece is enough, the key as
 * unseal_parse takes it, or the passphrase. 1: the key is whole (whether it fits is another
 * question), and the pieces are forgotten; 0: more are needed; -EINVAL with Vault's text. */
int gather_add(struct op *op, struct gather *g, const struct keyring_form *form, struct slice text,
               uint8_t ret[KEYRING_KEY_BYTES]);
void gather_reset(struct gather *g); /* wipes */

void nonce_make(char ret[NONCE_TEXT_BYTES]);

/* What is handed out: n shares of len bytes each, in the op (which is wiped). */
struct shares {
    unsigned n;
    size_t len;
    uint8_t *bytes;
};
/* Cuts a key into the shares of the form: FORM_PASSPHRASE has none, one share is the key. */
void shares_make(struct op *op, const uint8_t key[KEYRING_KEY_BYTES],
                 const struct keyring_form *form, struct shares *ret);

#endif
