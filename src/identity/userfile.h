/* userfile.h: the user file (htpasswd) as text: `name:hash` lines, comments (`#`) and blank lines,
 * which edits keep. No daemon is needed. */
#ifndef IDENTITY_USERFILE_H
#define IDENTITY_USERFILE_H

#include "base/buf.h"

#define USERFILE_MAX_BYTES (16u << 20)
#define USER_NAME_MAX      255u

/* Calls f for each line that names a user, with its number from 1; f's non-zero result ends it and
 * is returned. Lines that are no user are given to bad (may be NULL) with the reason, which never
 * holds the line itself. */
int userfile_each(struct slice text,
                  int (*f)(void *ctx, unsigned line, struct slice name, struct slice hash),
                  void (*bad)(void *ctx, unsigned line, const char *reason), void *ctx);
/* -EINVAL with a reason: empty, too long, with a colon, a blank at an end or a control byte. */
int user_name_check(struct slice name, struct buf *why);

enum userfile_change { USERFILE_ADD, USERFILE_CHANGE, USERFILE_REMOVE };
/* Edits the file under a lock that other edits of ours respect, and replaces it. The file is made
 * by USERFILE_ADD. -EEXIST, -ENOENT: the user is (not) there; else with a reason in why. `only_if`
 * (may be NULL): -EAGAIN unless this is the user's hash. */
int userfile_edit(const char *path, enum userfile_change change, const char *name,
                  const char *hash, const char *only_if, struct buf *why);

#endif
