/* credentials.h: what a client shows to be known: Basic, Bearer, or Vault's token. Pure. */
#ifndef HTTP_CREDENTIALS_H
#define HTTP_CREDENTIALS_H

#include "base/slice.h"

enum credentials_kind { CREDENTIALS_NONE, CREDENTIALS_BASIC, CREDENTIALS_TOKEN };

/* Longer ones than fit here are refused: nobody has them. */
#define CREDENTIALS_MAX 4096

struct credentials {
    enum credentials_kind kind;
    struct slice user, password; /* BASIC; into text */
    struct slice token;          /* TOKEN; into text */
    char text[CREDENTIALS_MAX];  /* the caller wipes it: credentials_wipe */
};

/* From the values of Authorization and X-Vault-Token, which wins; NULL where absent. 0, or -EINVAL
 * if it is of another scheme or cannot be read (RFC 7617, RFC 6750). */
int credentials_parse(const char *authorization, const char *vault_token, struct credentials *ret);
void credentials_wipe(struct credentials *c);

#endif
