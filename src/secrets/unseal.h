/* unseal.h: where the unseal key comes from: `keyfile:PATH` (made at the first start, 0600),
 * `credential:NAME` (a systemd credential, $CREDENTIALS_DIRECTORY/NAME), `shamir` (people with a
 * share each) or `passphrase` (a person).
 *
 * A key is one line, "infrafs-unseal-1 <64 hex> <8 hex, the start of its SHA-256>", so that a cut
 * or mistyped one is told from a wrong one. */
#ifndef SECRETS_UNSEAL_H
#define SECRETS_UNSEAL_H

#include "op/op.h"
#include "secrets/keyring.h"

/* Opens the keyring by the configured way: makes it at the first start, else unseals it. On failure
 * the keyring stays sealed and why has the reason for a person. -ENOKEY: nothing is wrong, people
 * are to bring the key. */
int unseal_open(struct keyring *k, const char *method, struct buf *why);
/* Do people bring the key? */
bool unseal_by_people(const char *method);
/* Reads a key as a person gives it: the line, 64 hex, or base64 of 32 bytes. -EINVAL. */
int unseal_parse(struct slice text, uint8_t ret[KEYRING_KEY_BYTES], struct buf *why);

#define PASSPHRASE_MIN 8u /* bytes */
#define PASSPHRASE_MAX 1024u
/* A form with fresh salt and the costs of today. */
void unseal_passphrase_form(struct keyring_form *ret);
/* Argon2id; takes about 0.1 s and 64 MiB. -EINVAL: a form that asks for too much. */
int unseal_passphrase_key(const struct keyring_form *form, struct slice passphrase,
                          uint8_t ret[KEYRING_KEY_BYTES]);

/* A new key for the keyfile at PATH, in two steps, since file and store cannot change at once: it
 * is written beside as PATH.new; the keyring takes it; it is renamed over PATH. A start in between
 * finds which of the two fits. -errno with the reason in the op. */
int unseal_keyfile_stage(struct op *op, const char *path, const uint8_t key[KEYRING_KEY_BYTES]);
int unseal_keyfile_settle(struct op *op, const char *path, bool keep);

#endif
