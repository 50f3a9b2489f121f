/* vault_auth.h: what the ways to log in share. */
#ifndef SECRETS_VAULT_AUTH_H
#define SECRETS_VAULT_AUTH_H

#include "identity/tokens.h"
#include "secrets/vault.h"

/* Answers with "auth" of a token; `token` is its text, "" where it is not told. */
void vault_answer_auth(struct web_request *req, struct web_response *resp,
                       const struct token_info *t, const char *token);

#endif
