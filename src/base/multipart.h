/* multipart.h: multipart/form-data (RFC 7578, RFC 2046 section 5.1.1) as it arrives: fed in pieces
 * of any size, it calls back for each part. Pure; holds no content.
 *
 * Accepted beside the letter of the RFCs: line ends of LF alone in the headers of a part, and
 * whatever stands before the first boundary or after the last. */
#ifndef BASE_MULTIPART_H
#define BASE_MULTIPART_H

#include "base/slice.h"

struct multipart;

/* A part's own headers. All text is lent until the callback returns; "" where it was not said. */
struct multipart_part {
    const char *name; /* of Content-Disposition, unescaped */
    const char *filename;
    bool has_filename; /* also an empty one: an unused file field */
    const char *content_type;
};

/* Each may end the parse with a negative errno, which multipart_feed returns. */
struct multipart_events {
    int (*part)(void *ctx, const struct multipart_part *part);
    int (*data)(void *ctx, const void *bytes, size_t n);
    int (*end)(void *ctx); /* of the part */
};

struct multipart_limits {
    size_t parts;        /* 0: 1000 */
    size_t header_bytes; /* of one part; 0: 16 KiB */
};

/* `content_type` is the request's: "multipart/form-data; boundary=…". -EINVAL if it is another type
 * or has no valid boundary (1 to 70 bytes). Returns new. `events` and `limits` are copied; limits
 * NULL: the defaults. */
int multipart_new(const char *content_type, const struct multipart_events *events, void *ctx,
                  const struct multipart_limits *limits, struct multipart **ret);
void multipart_free(struct multipart *m);

/* 0; -EINVAL malformed, -EFBIG over a limit, or what a callback said; multipart_why tells more.
 * Once it has failed it keeps failing. */
int multipart_feed(struct multipart *m, const void *bytes, size_t n);
/* The body has ended: -EINVAL if the final boundary was missing. */
int multipart_end(struct multipart *m);
const char *multipart_why(const struct multipart *m); /* "" if nothing failed or a callback did */

#endif
