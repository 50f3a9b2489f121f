#include "images/reference.h"

#include "base/codec.h"

#include <errno.h>

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Length of a separator of words at the head of s: ".", "_", "__" or dashes; 0 if there is none. */
static size_t separator(const char *s, size_t n)
{
    size_t i = 0;

    if (n == 0)
        return 0;
    if (s[0] == '.')
        return 1;
    if (s[0] == '_')
        return n > 1 && s[1] == '_' ? 2 : 1;
    while (i < n && s[i] == '-')
        i++;
    return i;
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_valid(const char *s, size_t n)
{
    size_t i = 0;

    for (;;) {
        size_t word = i;
        size_t gap;

        while (i < n && is_word(s[i]))
            i++;
        if (i == word)
            return false;
        if (i == n)
            return true;
        gap = separator(s + i, n - i);
        if (gap == 0)
            return false;
        i += gap;
    }
}

bool repository_name_valid(struct slice name)
{
    const char *s = name.data;
    size_t left = name.len;

    if (left == 0 || left > IMAGES_NAME_MAX)
        return false;
    for (;;) {
        const char *slash = memchr(s, '/', left);
        size_t n = slash != NULL ? (size_t)(slash - s) : left;

        if (!component_valid(s, n))
            return false;
        if (slash == NULL)
            return true;
        s += n + 1;
        left -= n + 1;
    }
}

bool tag_valid(struct slice tag)
{
    const char *s = tag.data;

    if (tag.len == 0 || tag.len > IMAGES_TAG_MAX || s[0] == '.' || s[0] == '-')
        return false;
    for (size_t i = 0; i < tag.len; i++)
        if (!is_word(s[i]) && !(s[i] >= 'A' && s[i] <= 'Z') && s[i] != '_' && s[i] != '.' &&
            s[i] != '-')
            return false;
    return true;
}

int reference_parse(struct slice text, struct reference *ret)
{
    struct reference r = {0};

    if (text.len > 0 && memchr(text.data, ':', text.len) != NULL) {
        if (digest_parse(text, &r.digest) < 0)
            return -EILSEQ;
        r.is_digest = true;
    } else {
        if (!tag_valid(text))
            return -EDOM;
        r.tag = text;
    }
    *ret = r;
    return 0;
}

char *digest_file_name(const struct digest *d, char text[DIGEST_TEXT_MAX])
{
    char *colon = memchr(digest_print(d, text), ':', DIGEST_TEXT_MAX);

    *colon = '-';
    return text;
}

int digest_file_parse(struct slice text, struct digest *ret)
{
    char copy[DIGEST_TEXT_MAX];
    char *dash;

    if (text.len >= sizeof copy || memchr(text.data, ':', text.len) != NULL)
        return -EINVAL;
    memcpy(copy, text.data, text.len);
    dash = memchr(copy, '-', text.len);
    if (dash == NULL)
        return -EINVAL;
    *dash = ':';
    return digest_parse(slice_of(copy, text.len), ret);
}

int chunk_range_parse(struct slice text, struct chunk_range *ret)
{
    const char *dash, *slash;
    struct slice start, end;
    struct chunk_range r;

    if (slice_starts(text, SLICE("bytes ")) || slice_starts(text, SLICE("bytes=")))
        text = slice_skip(text, 6);
    slash = text.len > 0 ? memchr(text.data, '/', text.len) : NULL;
    if (slash != NULL)
        text.len = (size_t)(slash - (const char *)text.data);
    dash = text.len > 0 ? memchr(text.data, '-', text.len) : NULL;
    if (dash == NULL)
        return -EINVAL;
    start = slice_of(text.data, (size_t)(dash - (const char *)text.data));
    end = slice_skip(text, start.len + 1);
    if (parse_u64(start, INT64_MAX, &r.start) < 0 || parse_u64(end, INT64_MAX, &r.end) < 0)
        return -EINVAL;
    if (r.end < r.start)
        return -EINVAL;
    *ret = r;
    return 0;
}
