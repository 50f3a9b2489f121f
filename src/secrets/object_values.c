/* object_values.c: what stands in the members: strings, integers, arrays; and edits. */
#include "base/codec.h"
#include "base/json.h"
#include "base/utf8.h"
#include "secrets/object.h"

#include <errno.h>

struct member *object_find(const struct object *o, struct slice key)
{
    for (size_t i = 0; i < o->n; i++) {
        if (slice_eq(o->members[i].key, key))
            return &o->members[i];
    }
    return NULL;
}

struct slice object_value(const struct object *o, const char *key)
{
    const struct member *m = object_find(o, slice_str(key));

    return m == NULL || slice_eq(m->value, SLICE("null")) ? slice_of(NULL, 0) : m->value;
}

static unsigned code_unit(const uint8_t *p)
{
    uint8_t code[2] = {0};

    hex_decode(slice_of(p, 4), code, 2);
    return (unsigned)code[0] << 8 | code[1];
}

/* A \u escape at p (the text is checked). Returns what is behind it, NULL at half a pair. */
static const uint8_t *take_unicode(const uint8_t *p, const uint8_t *end, uint8_t **out)
{
    uint32_t c = code_unit(p + 2);

    p += 6;
    if (c >= 0xd800 && c < 0xe000) {
        uint32_t low = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? code_unit(p + 2) : 0;

        if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
            return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *out = (uint8_t *)utf8_put((char *)*out, c);
    return p;
}

static uint8_t unescaped(uint8_t c)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *at = strchr(from, c);

    return at != NULL ? (uint8_t)to[at - from] : c;
}

int value_string(struct op *op, struct slice value, struct slice *ret)
{
    const uint8_t *p = value.data;
    const uint8_t *end;
    uint8_t *out, *start;

    if (value.len < 2 || p[0] != '"')
        return -EINVAL;
    end = p + value.len - 1;
    p++;
    if (memchr(p, '\\', (size_t)(end - p)) == NULL) {
        *ret = slice_of(p, (size_t)(end - p));
        return 0;
    }
    start = out = op_alloc(op, value.len);
    while (p != NULL && p < end) {
        if (*p != '\\') {
            *out++ = *p++;
        } else if (p[1] == 'u') {
            p = take_unicode(p, end, &out);
        } else {
            *out++ = unescaped(p[1]);
            p += 2;
        }
    }
    if (p == NULL)
        return -EILSEQ;
    *ret = slice_of(start, (size_t)(out - start));
    return 0;
}

int value_integer(struct op *op, struct slice value, int64_t *ret)
{
    struct slice s = value;
    bool negative;
    uint64_t v = 0;
    int r;

    if (value.len > 0 && *(const char *)value.data == '"' && value_string(op, value, &s) < 0)
        return -EINVAL;
    negative = s.len > 0 && *(const char *)s.data == '-';
    r = parse_u64(negative ? slice_skip(s, 1) : s, INT64_MAX, &v);
    if (r < 0)
        return r;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return 0;
}

int value_boolean(struct slice value, bool *ret)
{
    static const struct {
        const char *text;
        bool value;
    } forms[] = {{"true", true}, {"false", false}, {"\"true\"", true}, {"\"false\"", false},
                 {"1", true},    {"0", false},     {"\"1\"", true},    {"\"0\"", false}};

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (slice_eq(value, slice_str(forms[i].text))) {
            *ret = forms[i].value;
            return 0;
        }
    }
    return -EINVAL;
}

/* Where the element that begins at p ends: the text is valid JSON, so only strings and brackets
 * count. */
static const char *element_end(const char *p, const char *end)
{
    unsigned depth = 0;
    bool quoted = false;

    for (; p < end; p++) {
        if (quoted && *p == '\\')
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (!quoted && (*p == '{' || *p == '['))
            depth++;
        else if (!quoted && (*p == '}' || *p == ']'))
            depth--;
        else if (!quoted && *p == ',' && depth == 0)
            break;
    }
    return p;
}

int value_elements(struct op *op, struct slice value, struct slice **ret, size_t *ret_n)
{
    const char *p = value.data;
    const char *end = p + value.len;
    struct slice *list = NULL;
    size_t n = 0, cap = 0;

    if (value.len < 2 || p[0] != '[' || !value_is_valid(value))
        return -EINVAL;
    end--;
    p++;
    if (value_trim(slice_of(p, (size_t)(end - p))).len == 0)
        p = end + 1;
    while (p <= end) {
        const char *stop = element_end(p, end);

        if (n == cap) {
            struct slice *more;

            cap = cap > 0 ? cap * 2 : 8;
            more = op_alloc(op, cap * sizeof *more);
            if (n > 0)
                memcpy(more, list, n * sizeof *more);
            list = more;
        }
        list[n++] = value_trim(slice_of(p, (size_t)(stop - p)));
        p = stop + 1;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

static void add_key(struct buf *out, struct slice key)
{
    buf_add_char(out, '"');
    json_escape(out, key);
    buf_add_str(out, "\":");
}

/* Where member i begins, with its key, and where the member before it ended. Members are cut out by
 * the commas around them; the text between stays as it is. */
static const char *value_start(const struct member *m)
{
    return m->value.data;
}

static const char *value_stop(const struct member *m)
{
    return (const char *)m->value.data + m->value.len;
}

static void add_range(struct buf *out, const char *from, const char *to)
{
    buf_add(out, from, (size_t)(to - from));
}

static void remove_member(const struct object *o, size_t i, struct buf *out)
{
    const char *start = o->text.data;
    const char *end = start + o->text.len;

    if (i > 0) { /* from the end of the one before: its comma goes too */
        add_range(out, start, value_stop(&o->members[i - 1]));
        add_range(out, value_stop(&o->members[i]), end);
        return;
    }
    buf_add_char(out, '{');
    if (o->n > 1) {
        const char *comma =
            memchr(value_stop(&o->members[0]), ',', (size_t)(end - value_stop(&o->members[0])));

        add_range(out, comma + 1, end);
    } else {
        add_range(out, value_stop(&o->members[0]), end);
    }
}

void object_edit(const struct object *o, struct slice key, struct slice value, struct buf *out)
{
    const struct member *m = object_find(o, key);
    const char *start = o->text.data;
    const char *end = start + o->text.len;

    if (m != NULL && value.len > 0) {
        add_range(out, start, value_start(m));
        buf_add_slice(out, value);
        add_range(out, value_stop(m), end);
    } else if (m != NULL) {
        remove_member(o, (size_t)(m - o->members), out);
    } else if (value.len == 0) {
        buf_add_slice(out, o->text);
    } else {
        const char *tail = o->n > 0 ? value_stop(&o->members[o->n - 1]) : start + 1;

        add_range(out, start, tail);
        if (o->n > 0)
            buf_add_char(out, ',');
        add_key(out, key);
        buf_add_slice(out, value);
        add_range(out, tail, end);
    }
}

static void merge_separator(struct buf *out, bool *first)
{
    if (!*first)
        buf_add_char(out, ',');
    *first = false;
}

static int merge_kept(struct op *op, const struct object *target, const struct object *patch,
                      struct buf *out, bool *first)
{
    for (size_t i = 0; i < target->n; i++) {
        const struct member *change = object_find(patch, target->members[i].key);
        int r;

        if (change != NULL && slice_eq(change->value, SLICE("null")))
            continue;
        merge_separator(out, first);
        add_key(out, target->members[i].key);
        if (change == NULL) {
            buf_add_slice(out, target->members[i].value);
            continue;
        }
        r = value_merge(op, target->members[i].value, change->value, out);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Recursion ends: each step is one level down in the patch, whose depth object_parse limits. */
int value_merge(struct op *op, struct slice target, struct slice patch, struct buf *out)
{
    struct object into = {0}, changes = {0};
    bool first = true;
    int r;

    if (patch.len == 0 || *(const char *)patch.data != '{') {
        buf_add_slice(out, patch);
        return 0;
    }
    r = object_parse(op, patch, &changes);
    if (r == 0 && target.len > 0 && *(const char *)target.data == '{')
        r = object_parse(op, target, &into);
    if (r < 0)
        return r;
    buf_add_char(out, '{');
    r = merge_kept(op, &into, &changes, out, &first);
    for (size_t i = 0; r == 0 && i < changes.n; i++) {
        if (object_find(&into, changes.members[i].key) != NULL ||
            slice_eq(changes.members[i].value, SLICE("null")))
            continue;
        merge_separator(out, &first);
        add_key(out, changes.members[i].key);
        r = value_merge(op, slice_of(NULL, 0), changes.members[i].value, out);
    }
    buf_add_char(out, '}');
    return r;
}
