/* conditional.h: If-None-Match, If-Modified-Since and If-Range (RFC 9110 section 13). Pure. */
#ifndef HTTP_CONDITIONAL_H
#define HTTP_CONDITIONAL_H

#include "base/slice.h"

/* Is the tag in the list of If-None-Match? Weak comparison; "*" fits any; of a tag "x" the coded
 * form "x-gzip" counts as the same. NULL fits nothing. */
bool etag_is_listed(const char *list, const char *etag);
/* Has it not been changed since? Both are HTTP dates; false if one cannot be read or is NULL. */
bool not_modified_since(const char *since, const char *last_modified);
/* Does If-Range still name this representation? NULL: there is none, so the range counts. */
bool if_range_holds(const char *if_range, const char *etag, const char *last_modified);

#endif
