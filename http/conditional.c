#include "http/conditional.h"

#include "base/clock.h"

#define CODED "-gzip"

/* The opaque part of a tag, without W/, quotes, and the suffix of the coded form. */
static struct slice opaque(struct slice tag)
{
    const char *p = tag.data;
    size_t suffix = sizeof CODED - 1;

    if (tag.len >= 2 && p[0] == 'W' && p[1] == '/')
        tag = slice_skip(tag, 2);
    if (tag.len >= 2 && *(const char *)tag.data == '"') {
        tag = slice_skip(tag, 1);
        tag.len--;
    }
    p = tag.data;
    if (tag.len > suffix && memcmp(p + tag.len - suffix, CODED, suffix) == 0)
        tag.len -= suffix;
    return tag;
}

/* One tag of the list: W/"…" or "…"; what is not quoted goes up to the comma. */
static struct slice next_tag(const char **list)
{
    const char *p = *list + strspn(*list, " \t,"), *end = p;

    if (end[0] == 'W' && end[1] == '/')
        end += 2;
    if (*end == '"') {
        end = strchrnul(end + 1, '"');
        end += *end != 0;
    } else {
        end += strcspn(end, ", \t");
    }
    *list = end;
    return slice_of(p, (size_t)(end - p));
}

bool etag_is_listed(const char *list, const char *etag)
{
    struct slice want, tag;

    if (list == NULL || etag == NULL)
        return false;
    want = opaque(slice_str(etag));
    while ((tag = next_tag(&list)).len > 0)
        if (slice_eq(tag, SLICE("*")) || slice_eq(opaque(tag), want))
            return true;
    return false;
}

bool not_modified_since(const char *since, const char *last_modified)
{
    int64_t a, b;

    if (since == NULL || last_modified == NULL || clock_parse_http(slice_str(since), &a) < 0 ||
        clock_parse_http(slice_str(last_modified), &b) < 0)
        return false;
    return b <= a;
}

bool if_range_holds(const char *if_range, const char *etag, const char *last_modified)
{
    if (if_range == NULL)
        return true;
    /* strong comparison: a weak tag never fits */
    if (*if_range == '"')
        return etag != NULL && strcmp(if_range, etag) == 0;
    return *if_range != 'W' && last_modified != NULL && strcmp(if_range, last_modified) == 0;
}
