/* audit.h: one line of JSON for each thing that was asked for through any door. Values are replaced
 * by HMACs, so a known value can be looked up and an unknown one not learned. */
#ifndef IDENTITY_AUDIT_H
#define IDENTITY_AUDIT_H

#include "base/buf.h"
#include "op/op.h"

struct audit;
struct config;

int audit_open(const struct config *config, struct audit **ret, struct buf *why);
void audit_close(struct audit *a);
/* Opens the file at the path again (somebody moved it away). NULL does nothing. */
void audit_reopen(struct audit *a);

/* Writes the line: time, id, door, who, accessor, remote or uid and pid, what, path, result, why.
 * `what` is a verb ("read", "write", "delete", "list", "login") or an HTTP method; `result` 0, a
 * negative errno, or an HTTP status. On disk order is the order of calls. 0, or -EIO if the line
 * could not be written: then a secret must not be handed out. NULL `a` does nothing. */
int audit_write(struct audit *a, struct op *op, const char *what, const char *path, int result);
/* Has the op's line tell which values were read or written, as HMACs. Names are not told: they may
 * be secrets too. Up to 64 values, 1 MiB together. */
void audit_note_values(struct audit *a, struct op *op, const struct slice *values, size_t n);
/* "hmac-sha256:<hex>" of a value, as it would stand in a line. Copied into the op. */
const char *audit_hmac(struct audit *a, struct op *op, struct slice value);

/* The last refusals, for `.infra/errors`: kept per caller, newest first, bounded. */
void refusals_note(struct op *op, const char *path, int err);
void refusals_print(const struct op *op, struct buf *out); /* those of op's caller */

#endif
