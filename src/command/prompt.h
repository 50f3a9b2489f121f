/* prompt.h: secrets from a person, at the terminal and not shown, or from standard input. Private to
 * src/command/. Each is an exit code, with the reason printed. Wipe what they return. */
#ifndef COMMAND_PROMPT_H
#define COMMAND_PROMPT_H

#include "base/buf.h"

int prompt_once(const char *prompt, struct buf *ret);
int prompt_twice(const char *prompt, struct buf *ret); /* the same again, or it is refused */
int prompt_stdin(struct buf *ret);                     /* without the newline behind it */

#endif
