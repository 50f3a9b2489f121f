/* json_text.h: parts of JSON as they were written, for what must arrive byte for byte: a parser
 * would round numbers and lose the order of keys. Private to src/command/. */
#ifndef COMMAND_JSON_TEXT_H
#define COMMAND_JSON_TEXT_H

#include "base/slice.h"

/* The value of a key of the object, which is JSON written by a server: found, or empty. */
struct slice json_text_member(struct slice object, const char *key);

#endif
