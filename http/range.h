/* range.h: the Range header (RFC 9110 section 14.2). Pure. */
#ifndef HTTP_RANGE_H
#define HTTP_RANGE_H

#include "base/slice.h"

enum range_kind {
    RANGE_ALL,           /* no Range, another unit, or several ranges: send everything */
    RANGE_PART,          /* 206 with the bytes of ret */
    RANGE_UNSATISFIABLE, /* or bad syntax: 416 with Content-Range: bytes * /size */
};

struct range {
    uint64_t offset, length;
};

/* header NULL means no Range. A suffix range of an empty entity is unsatisfiable. */
enum range_kind range_parse(const char *header, uint64_t size_bytes, struct range *ret);

#endif
