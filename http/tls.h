/* tls.h: the certificate of a listener, read again when its files change. */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include "base/buf.h"

#include <gnutls/abstract.h>

struct tls;

/* Reads certificate chain and key, PEM. -errno with a reason in why. Returns new. */
int tls_open(const char *certificate, const char *key, struct tls **ret, struct buf *why);
void tls_close(struct tls *t); /* no handshake is under way */
/* The certificate in force: looks at the files at most once a second. What cannot be read, or does
 * not fit together, is logged, and the old one stays. Lent for as long as a handshake may take.
 * Any thread. */
void tls_current(struct tls *t, gnutls_pcert_st **ret_chain, unsigned *ret_n,
                 gnutls_privkey_t *ret_key);

#endif
