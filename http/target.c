#include "http/target.h"

#include "base/codec.h"

#include <errno.h>
#include <strings.h>

static const char *skip_authority(const char *uri)
{
    const char *path;

    if (strncasecmp(uri, "http://", 7) != 0 && strncasecmp(uri, "https://", 8) != 0)
        return uri;
    path = strchrnul(strchr(uri, ':') + 3, '/');
    return *path == '/' ? path : "/";
}

static bool has_control(const char *s)
{
    for (; *s != 0; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7f)
            return true;
    return false;
}

/* No empty segment but the last, no "." or "..": nobody downstream has to think of them. */
static int check_segments(struct op *op, const char *path)
{
    while (*path == '/') {
        size_t len = (size_t)(strchrnul(path + 1, '/') - (path + 1));

        if (len == 0 && path[1] != 0)
            return op_fail(op, EINVAL, "the path has an empty segment");
        if ((len == 1 && path[1] == '.') || (len == 2 && path[1] == '.' && path[2] == '.'))
            return op_fail(op, EINVAL, "the path has a segment of dots");
        path += 1 + len;
    }
    return 0;
}

static int decode(struct op *op, const char *raw, const char **ret)
{
    char *out;
    size_t n = 0;

    if (strchr(raw, '%') == NULL) {
        *ret = raw;
        return 0;
    }
    out = op_alloc(op, strlen(raw) + 1);
    for (; *raw != 0; raw++) {
        uint8_t byte = (uint8_t)*raw;

        if (byte == '%') {
            if (hex_decode(slice_of(raw + 1, strnlen(raw + 1, 2)), &byte, 1) != 1)
                return op_fail(op, EINVAL, "the path has a bad percent escape");
            if (byte == 0)
                return op_fail(op, EINVAL, "the path holds %%00");
            raw += 2;
        }
        out[n++] = (char)byte;
    }
    *ret = out;
    return 0;
}

int target_parse(struct op *op, const char *uri, struct target *ret)
{
    const char *query;
    int r;

    *ret = (struct target){.path = "/", .raw_path = "/", .query = SLICE("")};
    uri = skip_authority(uri);
    if (*uri != '/')
        return op_fail(op, EINVAL, "the request's target is no path");
    if (has_control(uri))
        return op_fail(op, EINVAL, "the request's target holds a control byte");
    query = strchrnul(uri, '?');
    if (query - uri > TARGET_PATH_MAX)
        return op_fail(op, EINVAL, "the path is longer than %d bytes", TARGET_PATH_MAX);
    ret->raw_path = op_strndup(op, uri, (size_t)(query - uri));
    if (*query == '?')
        ret->query = op_slice(op, slice_str(query + 1));
    r = decode(op, ret->raw_path, &ret->path);
    if (r < 0)
        ret->path = "/";
    return r < 0 ? r : check_segments(op, ret->path);
}
