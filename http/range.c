#include "http/range.h"

#include "base/codec.h"

#include <strings.h>

/* It may be larger than any size. */
static bool is_number(struct slice s)
{
    const char *p = s.data;

    for (size_t i = 0; i < s.len; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return s.len > 0;
}

/* "-N": the last N bytes. */
static enum range_kind suffix_range(struct slice digits, uint64_t size_bytes, struct range *ret)
{
    uint64_t n;
    int r = parse_u64(digits, UINT64_MAX, &n);

    if (r < 0 && !is_number(digits))
        return RANGE_UNSATISFIABLE;
    if (r < 0 || n > size_bytes)
        n = size_bytes;
    if (n == 0)
        return RANGE_UNSATISFIABLE;
    *ret = (struct range){.offset = size_bytes - n, .length = n};
    return RANGE_PART;
}

static struct slice trim(struct slice s)
{
    const char *p = s.data;

    while (s.len > 0 && (p[s.len - 1] == ' ' || p[s.len - 1] == '\t'))
        s.len--;
    while (s.len > 0 && (*(const char *)s.data == ' ' || *(const char *)s.data == '\t'))
        s = slice_skip(s, 1);
    return s;
}

/* What is no range at all is refused, as nginx and Go's servers do; RFC 9110, section 14.2, leaves the
 * choice. Of another unit, and several at once, all is sent. */
enum range_kind range_parse(const char *header, uint64_t size_bytes, struct range *ret)
{
    struct slice spec, first, last;
    uint64_t from, to = UINT64_MAX;
    const char *dash;

    if (header == NULL || strncasecmp(header, "bytes=", 6) != 0)
        return RANGE_ALL;
    spec = trim(slice_str(header + 6));
    dash = spec.len > 0 ? memchr(spec.data, '-', spec.len) : NULL;
    if (spec.len > 0 && memchr(spec.data, ',', spec.len) != NULL)
        return RANGE_ALL;
    if (dash == NULL)
        return RANGE_UNSATISFIABLE;
    first = slice_of(spec.data, (size_t)(dash - (const char *)spec.data));
    last = slice_skip(spec, first.len + 1);
    if (first.len == 0)
        return suffix_range(last, size_bytes, ret);
    if (parse_u64(first, UINT64_MAX, &from) < 0 || (last.len > 0 && !is_number(last)))
        return RANGE_UNSATISFIABLE;
    if (last.len > 0 && parse_u64(last, UINT64_MAX, &to) < 0)
        to = UINT64_MAX;
    if (from >= size_bytes || to < from)
        return RANGE_UNSATISFIABLE;
    if (to >= size_bytes)
        to = size_bytes - 1;
    *ret = (struct range){.offset = from, .length = to - from + 1};
    return RANGE_PART;
}
