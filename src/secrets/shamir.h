/* shamir.h: a secret cut into shares, any `threshold` of which give it back, and fewer of which say
 * nothing (Shamir 1979, byte by byte over GF(2^8) with the polynomial 0x11b). A share is as Vault
 * hands it out: the bytes of the secret's polynomials at x, then x itself, from 1 to 255. No table
 * is looked up and no branch depends on a byte. */
#ifndef SECRETS_SHAMIR_H
#define SECRETS_SHAMIR_H

#include "base/slice.h"

#define SHAMIR_SHARES_MAX 255u

/* Writes n shares of len + 1 bytes each, one behind the other. 2 <= threshold <= n <= 255. */
void shamir_split(struct slice secret, unsigned n, unsigned threshold, uint8_t *ret);
/* Puts the shares together, which lie one behind the other, share_len bytes each; writes share_len
 * - 1 bytes. -EINVAL: an x is there twice, or 0. Shares that do not belong together give a secret
 * that nothing fits. */
int shamir_combine(const uint8_t *shares, size_t share_len, unsigned n, uint8_t *ret);

#endif
