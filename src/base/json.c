#include "base/json.h"

#include "base/utf8.h"

#include <assert.h>

void json_init(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out};
}

static void before_value(struct json *j)
{
    if (j->after_key) {
        j->after_key = false;
        return;
    }
    if (j->has_value[j->depth / 64] >> j->depth % 64 & 1)
        buf_add_char(j->out, ',');
    j->has_value[j->depth / 64] |= UINT64_C(1) << j->depth % 64;
}

static void open_level(struct json *j, char c)
{
    before_value(j);
    buf_add_char(j->out, c);
    j->depth++;
    assert(j->depth < JSON_DEPTH_MAX);
    j->has_value[j->depth / 64] &= ~(UINT64_C(1) << j->depth % 64);
}

static void close_level(struct json *j, char c)
{
    assert(j->depth > 0 && !j->after_key);
    j->depth--;
    buf_add_char(j->out, c);
}

void json_object(struct json *j)
{
    open_level(j, '{');
}

void json_object_end(struct json *j)
{
    close_level(j, '}');
}

void json_array(struct json *j)
{
    open_level(j, '[');
}

void json_array_end(struct json *j)
{
    close_level(j, ']');
}

/* How many bytes of s may be copied as they are. */
static size_t plain_run(struct slice s)
{
    const unsigned char *p = s.data;
    size_t n = 0;

    while (n < s.len && p[n] >= 0x20 && p[n] < 0x7f && p[n] != '"' && p[n] != '\\')
        n++;
    return n;
}

static void escape_byte(struct buf *out, unsigned char c)
{
    switch (c) {
    case '"':
        buf_add(out, "\\\"", 2);
        break;
    case '\\':
        buf_add(out, "\\\\", 2);
        break;
    case '\n':
        buf_add(out, "\\n", 2);
        break;
    case '\r':
        buf_add(out, "\\r", 2);
        break;
    case '\t':
        buf_add(out, "\\t", 2);
        break;
    default:
        buf_printf(out, "\\u%04x", c);
    }
}

void json_escape(struct buf *out, struct slice s)
{
    while (s.len > 0) {
        size_t n = plain_run(s);
        unsigned char c;

        buf_add(out, s.data, n);
        s = slice_skip(s, n);
        if (s.len == 0)
            return;
        c = *(const unsigned char *)s.data;
        if (c < 0x80) {
            escape_byte(out, c);
            s = slice_skip(s, 1);
            continue;
        }
        n = utf8_length(s);
        if (n > 0)
            buf_add(out, s.data, n);
        else
            buf_add(out, "\xef\xbf\xbd", 3);
        s = slice_skip(s, n > 0 ? n : 1);
    }
}

void json_slice(struct json *j, struct slice s)
{
    before_value(j);
    buf_add_char(j->out, '"');
    json_escape(j->out, s);
    buf_add_char(j->out, '"');
}

void json_key_slice(struct json *j, struct slice key)
{
    assert(!j->after_key);
    json_slice(j, key);
    buf_add_char(j->out, ':');
    j->after_key = true;
}

void json_key(struct json *j, const char *key)
{
    json_key_slice(j, slice_str(key));
}

void json_str(struct json *j, const char *s)
{
    if (s == NULL)
        json_null(j);
    else
        json_slice(j, slice_str(s));
}

void json_u64(struct json *j, uint64_t v)
{
    before_value(j);
    buf_add_u64(j->out, v);
}

void json_i64(struct json *j, int64_t v)
{
    before_value(j);
    if (v < 0)
        buf_add_char(j->out, '-');
    buf_add_u64(j->out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void json_bool(struct json *j, bool v)
{
    before_value(j);
    buf_add_str(j->out, v ? "true" : "false");
}

void json_null(struct json *j)
{
    before_value(j);
    buf_add_str(j->out, "null");
}

void json_raw(struct json *j, struct slice text)
{
    before_value(j);
    buf_add_slice(j->out, text);
}

void json_kstr(struct json *j, const char *key, const char *s)
{
    json_key(j, key);
    json_str(j, s);
}

void json_kslice(struct json *j, const char *key, struct slice s)
{
    json_key(j, key);
    json_slice(j, s);
}

void json_ku64(struct json *j, const char *key, uint64_t v)
{
    json_key(j, key);
    json_u64(j, v);
}

void json_ki64(struct json *j, const char *key, int64_t v)
{
    json_key(j, key);
    json_i64(j, v);
}

void json_kbool(struct json *j, const char *key, bool v)
{
    json_key(j, key);
    json_bool(j, v);
}

void json_knull(struct json *j, const char *key)
{
    json_key(j, key);
    json_null(j);
}

void json_kraw(struct json *j, const char *key, struct slice text)
{
    json_key(j, key);
    json_raw(j, text);
}
