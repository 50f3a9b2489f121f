#include "command/json_text.h"

#include <string.h>

struct reader {
    const char *p, *end;
};

static void skip_blanks(struct reader *in)
{
    while (in->p < in->end && strchr(" \t\r\n", *in->p) != NULL && *in->p != 0)
        in->p++;
}

static bool skip_string(struct reader *in)
{
    if (in->p == in->end || *in->p != '"')
        return false;
    for (in->p++; in->p < in->end && *in->p != '"'; in->p++) {
        if (*in->p == '\\' && in->p + 1 < in->end)
            in->p++;
    }
    if (in->p == in->end)
        return false;
    in->p++;
    return true;
}

/* Brackets are counted; what stands between them is the server's business. */
static bool skip_value(struct reader *in)
{
    unsigned depth = 0;

    do {
        skip_blanks(in);
        if (in->p == in->end)
            return false;
        if (*in->p == '"') {
            if (!skip_string(in))
                return false;
        } else if (*in->p == '{' || *in->p == '[') {
            depth++;
            in->p++;
        } else if (*in->p == '}' || *in->p == ']') {
            if (depth-- == 0)
                return false;
            in->p++;
        } else if (depth > 0) {
            in->p++;
        } else {
            while (in->p < in->end && strchr(",}] \t\r\n", *in->p) == NULL)
                in->p++;
        }
    } while (depth > 0);
    return true;
}

struct slice json_text_member(struct slice object, const char *key)
{
    struct reader in = {object.data, (const char *)object.data + object.len};
    struct slice nothing = {0};

    skip_blanks(&in);
    if (in.p == in.end || *in.p++ != '{')
        return nothing;
    for (;;) {
        const char *name, *value;
        size_t name_len;

        skip_blanks(&in);
        if (in.p < in.end && *in.p == ',') {
            in.p++;
            skip_blanks(&in);
        }
        name = in.p + 1;
        if (!skip_string(&in))
            return nothing;
        name_len = (size_t)(in.p - name - 1);
        skip_blanks(&in);
        if (in.p == in.end || *in.p++ != ':')
            return nothing;
        skip_blanks(&in);
        value = in.p;
        if (!skip_value(&in))
            return nothing;
        if (name_len == strlen(key) && memcmp(name, key, name_len) == 0)
            return slice_of(value, (size_t)(in.p - value));
    }
}
