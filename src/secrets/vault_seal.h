/* vault_seal.h: what the handlers around the unseal key share. */
#ifndef SECRETS_VAULT_SEAL_H
#define SECRETS_VAULT_SEAL_H

#include "secrets/seal.h"
#include "secrets/vault.h"

/* secret_shares, secret_threshold, passphrase. */
int vault_read_wish(struct web_request *req, const struct object *body, struct seal_wish *ret);
void json_shares(struct json *j, const struct shares *shares); /* "keys", "keys_base64" */

#endif
