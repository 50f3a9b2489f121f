/* utf8.h: RFC 3629, strict: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

size_t utf8_length(struct slice s); /* bytes of the first code point, 1 to 4; 0 if it is not valid */
bool utf8_valid(struct slice s);
/* Writes a code point, 1 to 4 bytes, and returns what is behind them. c is not looked at further: of
 * a surrogate, say, come bytes that are not valid. */
char *utf8_put(char *at, uint32_t c);

#endif
