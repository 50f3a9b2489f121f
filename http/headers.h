/* headers.h: the headers the server itself reads, taken in one pass, and the guard on framing. Pure.
 *
 * libmicrohttpd 0.9.75 is lax about where a message ends; what it lets through and another reader
 * would cut elsewhere is refused here, before anything else looks at the request. */
#ifndef HTTP_HEADERS_H
#define HTTP_HEADERS_H

#include "base/slice.h"

/* Texts are borrowed; NULL where the header is absent, the first where it came several times. */
struct headers {
    const char *host, *authorization, *vault_token, *accept, *accept_encoding;
    const char *if_none_match, *if_modified_since, *if_range, *range;
    const char *forwarded_proto, *forwarded_host, *expect, *destination, *overwrite;
    const char *content_length, *transfer_encoding;
    unsigned n_host, n_content_length, n_transfer_encoding;
    bool bad_name;
    bool several_if_none_match; /* a list over several lines: ask for all */
};

void headers_add(struct headers *h, const char *name, const char *value);
/* After the last: is the message framed in one way only (RFC 9112 section 6.3), and for one host?
 * 0, or -EINVAL with a reason. *ret_length: bytes of the body, UINT64_MAX if it is chunked. */
int headers_check(const struct headers *h, uint64_t *ret_length, const char **ret_why);

#endif
