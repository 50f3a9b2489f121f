/* negotiate.h: the Accept and Accept-Encoding headers (RFC 9110 sections 12.5.1 and 12.5.3). Pure.
 */
#ifndef BASE_NEGOTIATE_H
#define BASE_NEGOTIATE_H

#include "base/slice.h"

/* Of the offered media types (NULL-terminated, best first) the one that `accept` prefers. Ties go
 * to the earlier offer; an empty `accept`, or one without a readable range, takes the first. NULL
 * if none is acceptable. Parameters of a range must stand in the offer too, but for q. */
const char *negotiate_type(struct slice accept, const char *const *offers);

/* Does the client take this content coding ("gzip")? No header: no. */
bool negotiate_coding(struct slice accept_encoding, struct slice coding);

#endif
