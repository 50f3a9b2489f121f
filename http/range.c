#include "http/range.h"

#include "base/codec.h"

#include <strings.h>

/* "-N": the last N bytes. */
static enum range_kind suffix_range(struct slice digits, uint64_t size_bytes, struct range *ret)
{
    uint64_t n;
    int r = parse_u64(digits, UINT64_MAX, &n);

    if (r < 0 && digits.len < 20)
        return RANGE_ALL;
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

enum range_kind range_parse(const char *header, uint64_t size_bytes, struct range *ret)
{
    struct slice spec, first, last;
    uint64_t from, to = UINT64_MAX;
    const char *dash;

    if (header == NULL || strncasecmp(header, "bytes=", 6) != 0)
        return RANGE_ALL;
    spec = trim(slice_str(header + 6));
    dash = memchr(spec.data, '-', spec.len);
    if (dash == NULL || memchr(spec.data, ',', spec.len) != NULL)
        return RANGE_ALL;
    first = slice_of(spec.data, (size_t)(dash - (const char *)spec.data));
    last = slice_skip(spec, first.len + 1);
    if (first.len == 0)
        return suffix_range(last, size_bytes, ret);
    if (parse_u64(first, UINT64_MAX, &from) < 0)
        return RANGE_ALL;
    if (last.len > 0 && (parse_u64(last, UINT64_MAX, &to) < 0 || to < from))
        return RANGE_ALL;
    if (from >= size_bytes)
        return RANGE_UNSATISFIABLE;
    if (to >= size_bytes)
        to = size_bytes - 1;
    *ret = (struct range){.offset = from, .length = to - from + 1};
    return RANGE_PART;
}
