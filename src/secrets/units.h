/* units.h: secrets for systemd's `LoadCredential=NAME:/path/to.sock`.
 *
 * systemd connects, and its own abstract address says for whom: NUL, random letters, "/unit/", the
 * unit, "/", the credential's name (systemd.exec(5)). Any process could take such an address, so
 * only root is answered. Which unit gets what stands in the configuration. Who is refused is sent
 * more than systemd takes (1 MiB): then the unit does not start, where an empty answer would start
 * it with an empty password. While sealed, the answer waits. */
#ifndef SECRETS_UNITS_H
#define SECRETS_UNITS_H

#include "base/buf.h"
#include "secrets/secrets.h"

struct units;

/* Listens as configured. *ret is NULL if nothing is configured. -errno with the reason in why. */
int units_start(struct secrets *s, struct units **ret, struct buf *why);
void units_stop(struct units *c); /* NULL is fine */

/* Cuts a peer's address (the bytes of sun_path, with the NUL) into unit and credential, which
 * borrow it. -EINVAL: it is not one of systemd's. */
int unit_parse(struct slice address, struct slice *ret_unit, struct slice *ret_credential);
/* The path that a unit's credential is, in the op; NULL: none is meant for it. */
const char *unit_find(struct op *op, const struct config *config, struct slice unit,
                      struct slice credential);

#endif
