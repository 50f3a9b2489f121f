/* unseal.h: where the unseal key comes from: `keyfile:PATH` (made at the first start, 0600) or
 * `credential:NAME` (a systemd credential, $CREDENTIALS_DIRECTORY/NAME).
 *
 * A key is one line, "infrafs-unseal-1 <64 hex> <8 hex, the start of its SHA-256>", so that a cut
 * or mistyped one is told from a wrong one. */
#ifndef SECRETS_UNSEAL_H
#define SECRETS_UNSEAL_H

#include "secrets/keyring.h"

/* Opens the keyring by the configured way: makes it at the first start, else unseals it. On failure
 * the keyring stays sealed and why has the reason for a person. */
int unseal_open(struct keyring *k, const char *method, struct buf *why);
/* Reads a key as a person gives it: the line, 64 hex, or base64 of 32 bytes. -EINVAL. */
int unseal_parse(struct slice text, uint8_t ret[KEYRING_KEY_BYTES], struct buf *why);

#endif
