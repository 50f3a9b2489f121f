#include "secrets/tree_value.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/utf8.h"

#include <errno.h>

bool value_is_binary(const struct kv_content *content, struct slice key)
{
    for (size_t i = 0; i < content->n_binary; i++) {
        if (slice_eq(content->binary[i], key))
            return true;
    }
    return false;
}

struct slice value_bytes(struct op *op, const struct kv_content *content, const struct member *m)
{
    struct buf raw = {0};
    struct slice text;

    if (value_string(op, m->value, &text) < 0)
        return m->value;
    if (!value_is_binary(content, m->key) || base64_decode(&raw, text) < 0) {
        buf_wipe(&raw);
        return text;
    }
    text = op_slice(op, buf_slice(&raw));
    buf_wipe(&raw);
    return text;
}

/* What a value is, by its first byte: numbers are 'n', true and false 'b', null '0'. */
static char type_of(struct slice value)
{
    char c = value.len > 0 ? *(const char *)value.data : 0;

    if (c == '-' || (c >= '0' && c <= '9'))
        return 'n';
    if (c == 't' || c == 'f')
        return 'b';
    return c == 'n' ? '0' : c;
}

static bool keeps_type(struct op *op, const struct member *old, struct slice bytes,
                       struct slice *ret_value)
{
    struct slice unused;

    if (value_string(op, old->value, &unused) == 0)
        return false;
    if (bytes.len > 0 && ((const char *)bytes.data)[bytes.len - 1] == '\n')
        bytes.len--;
    if (value_trim(bytes).len != bytes.len || !value_is_valid(bytes) ||
        type_of(bytes) != type_of(old->value))
        return false;
    *ret_value = bytes;
    return true;
}

void value_of_bytes(struct op *op, const struct member *old, bool old_is_binary, struct slice bytes,
                    struct slice *ret_value, bool *ret_binary)
{
    struct buf text = {0};

    *ret_binary = !utf8_valid(bytes);
    if (old != NULL && !old_is_binary && !*ret_binary && keeps_type(op, old, bytes, ret_value)) {
        *ret_value = op_slice(op, *ret_value);
        return;
    }
    buf_reserve(&text, bytes.len + bytes.len / 2 + 2);
    buf_add_char(&text, '"');
    if (*ret_binary)
        base64_encode(&text, bytes);
    else
        json_escape(&text, bytes);
    buf_add_char(&text, '"');
    *ret_value = op_slice(op, buf_slice(&text));
    buf_wipe(&text);
}

void content_edit(struct op *op, const struct kv_content *content, const struct object *o,
                  struct slice key, struct slice value, bool binary, struct kv_content *ret)
{
    struct buf text = {0};

    *ret = (struct kv_content){0};
    object_edit(o, key, value, &text);
    ret->text = op_slice(op, buf_slice(&text));
    buf_wipe(&text);
    ret->binary = op_alloc(op, (content->n_binary + 1) * sizeof *ret->binary);
    for (size_t i = 0; i < content->n_binary; i++) {
        if (!slice_eq(content->binary[i], key))
            ret->binary[ret->n_binary++] = content->binary[i];
    }
    if (binary && value.len > 0)
        ret->binary[ret->n_binary++] = key;
}

int content_keep_binary(struct op *op, const struct kv_content *from, struct kv_content *to)
{
    struct object before, after;
    int r;

    if (from->n_binary == 0)
        return 0;
    r = object_parse(op, from->text, &before);
    if (r == 0)
        r = object_parse(op, to->text, &after);
    if (r < 0)
        return r;
    to->binary = op_alloc(op, from->n_binary * sizeof *to->binary);
    to->n_binary = 0;
    for (size_t i = 0; i < before.n; i++) {
        const struct member *m = object_find(&after, before.members[i].key);

        if (m != NULL && value_is_binary(from, m->key) &&
            slice_eq(m->value, before.members[i].value))
            to->binary[to->n_binary++] = m->key;
    }
    return 0;
}
