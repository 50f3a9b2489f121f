/* password.h: password hashes of all the kinds a user file holds. Private to src/identity/. */
#ifndef IDENTITY_PASSWORD_H
#define IDENTITY_PASSWORD_H

#include "base/buf.h"

enum password_kind {
    PASSWORD_UNKNOWN,
    PASSWORD_BCRYPT,   /* $2y$ $2b$ $2a$ */
    PASSWORD_SHA256,   /* $5$ */
    PASSWORD_SHA512,   /* $6$ */
    PASSWORD_YESCRYPT, /* $y$ */
    PASSWORD_APR1,     /* $apr1$, htpasswd -m: old, replaced at the next login */
    PASSWORD_SHA1,     /* {SHA}, htpasswd -s: the same */
};

#define PASSWORD_MAX 511 /* bytes; crypt(3) takes no more */

enum password_kind password_kind_of(const char *hash);
/* "bcrypt"; for messages. */
const char *password_kind_name(enum password_kind kind);
/* Is this a whole hash of a known kind, and one that can be computed in less than some seconds?
 * -EINVAL with a reason. */
int password_check(const char *hash, struct buf *why);
/* Hashes and compares: true if it is the password. Costs what the hash costs. */
bool password_verify(const char *hash, struct slice password);

#endif
