#include "metrics/labels.h"

#include "base/codec.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

static int label_cmp(const void *a, const void *b)
{
    return slice_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

void labels_sort(struct labels *l)
{
    for (size_t i = 1; i < l->n; i++)
        if (label_cmp(&l->items[i - 1], &l->items[i]) > 0) {
            qsort(l->items, l->n, sizeof *l->items, label_cmp);
            return;
        }
}

int labels_cmp(const struct labels *a, const struct labels *b)
{
    size_t n = a->n < b->n ? a->n : b->n;

    for (size_t i = 0; i < n; i++) {
        int r = slice_cmp(a->items[i].name, b->items[i].name);

        if (r == 0)
            r = slice_cmp(a->items[i].value, b->items[i].value);
        if (r != 0)
            return r;
    }
    return a->n < b->n ? -1 : a->n > b->n;
}

bool labels_eq(const struct labels *a, const struct labels *b)
{
    return a->n == b->n && labels_cmp(a, b) == 0;
}

struct slice labels_get(const struct labels *l, struct slice name)
{
    for (size_t i = 0; i < l->n; i++)
        if (slice_eq(l->items[i].name, name))
            return l->items[i].value;
    return SLICE("");
}

size_t labels_bytes(const struct labels *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += l->items[i].name.len + l->items[i].value.len;
    return n;
}

const struct label *labels_duplicate(const struct labels *l)
{
    for (size_t i = 1; i < l->n; i++)
        if (slice_eq(l->items[i - 1].name, l->items[i].name))
            return &l->items[i];
    return NULL;
}

uint64_t labels_hash(const struct labels *l)
{
    uint64_t h = l->n;

    for (size_t i = 0; i < l->n; i++) {
        h = hash_bytes(l->items[i].name.data, l->items[i].name.len, h);
        h = hash_bytes(l->items[i].value.data, l->items[i].value.len, h);
    }
    return h;
}

void label_builder_init(struct label_builder *b, struct op *op)
{
    *b = (struct label_builder){.op = op, .cap = 16};
    b->labels.items = op_alloc(op, b->cap * sizeof *b->labels.items);
}

static struct label *builder_find(const struct label_builder *b, struct slice name)
{
    for (size_t i = 0; i < b->labels.n; i++)
        if (slice_eq(b->labels.items[i].name, name))
            return &b->labels.items[i];
    return NULL;
}

struct slice label_builder_get(const struct label_builder *b, struct slice name)
{
    const struct label *l = builder_find(b, name);

    return l != NULL ? l->value : SLICE("");
}

bool label_builder_has(const struct label_builder *b, struct slice name)
{
    return builder_find(b, name) != NULL;
}

void label_builder_set(struct label_builder *b, struct slice name, struct slice value)
{
    struct label *l = builder_find(b, name);

    if (l != NULL) {
        l->value = value;
        return;
    }
    if (b->labels.n == b->cap) {
        struct label *larger = op_alloc(b->op, 2 * b->cap * sizeof *larger);

        memcpy(larger, b->labels.items, b->cap * sizeof *larger);
        b->labels.items = larger;
        b->cap *= 2;
    }
    b->labels.items[b->labels.n++] = (struct label){name, value};
}

struct labels label_builder_finish(struct label_builder *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->labels.n; i++)
        if (b->labels.items[i].value.len > 0)
            b->labels.items[n++] = b->labels.items[i];
    b->labels.n = n;
    labels_sort(&b->labels);
    return b->labels;
}

void labels_encode(struct buf *out, const struct labels *l)
{
    varint_put(out, l->n);
    for (size_t i = 0; i < l->n; i++) {
        varint_put(out, l->items[i].name.len);
        buf_add_slice(out, l->items[i].name);
        varint_put(out, l->items[i].value.len);
        buf_add_slice(out, l->items[i].value);
    }
}

static int string_decode(struct slice *in, struct slice *ret)
{
    uint64_t n = 0;

    if (varint_get(in, &n) < 0 || n > in->len)
        return -EINVAL;
    *ret = slice_of(in->data, (size_t)n);
    *in = slice_skip(*in, (size_t)n);
    return 0;
}

int labels_decode(struct op *op, struct slice *in, struct labels *ret)
{
    uint64_t n = 0;
    struct labels l = {0};

    if (varint_get(in, &n) < 0 || n > in->len)
        return -EINVAL;
    l.items = op_alloc(op, (size_t)n * sizeof *l.items + 1);
    for (l.n = 0; l.n < n; l.n++)
        if (string_decode(in, &l.items[l.n].name) < 0 || string_decode(in, &l.items[l.n].value) < 0)
            return -EINVAL;
    *ret = l;
    return 0;
}

/* A character of two or three bytes; what cannot be seen is escaped. */
static void quote_rune(struct buf *out, const unsigned char *p, size_t n)
{
    static const uint16_t hidden[][2] = {
        {0x80, 0xa0},     {0xad, 0xad},     {0x61c, 0x61c},   {0x1680, 0x1680}, {0x180e, 0x180e},
        {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0xe000, 0xf8ff},
        {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff}};
    unsigned c = n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
                        : (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);

    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        if (c >= hidden[i][0] && c <= hidden[i][1]) {
            buf_printf(out, "\\u%04x", c);
            return;
        }
    }
    buf_add(out, p, n);
}

void quote_go(struct buf *out, struct slice s)
{
    const unsigned char *p = s.data;
    size_t n;

    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len; i += n) {
        n = utf8_length(slice_skip(s, i));
        if (n == 0) {
            n = 1;
            buf_printf(out, "\\x%02x", p[i]);
        } else if (p[i] == '"' || p[i] == '\\') {
            buf_add_char(out, '\\');
            buf_add_char(out, (char)p[i]);
        } else if (p[i] >= '\a' && p[i] <= '\r') {
            buf_add_char(out, '\\');
            buf_add_char(out, "abtnvfr"[p[i] - '\a']);
        } else if (p[i] < 0x20 || p[i] == 0x7f) {
            buf_printf(out, "\\x%02x", p[i]);
        } else if (n == 2 || n == 3) {
            quote_rune(out, p + i, n);
        } else {
            buf_add(out, p + i, n);
        }
    }
    buf_add_char(out, '"');
}

void labels_print(struct buf *out, const struct labels *l)
{
    struct slice metric = labels_get(l, LABEL_NAME);
    bool plain = metric_name_legacy(metric);
    bool open = false;

    if (plain)
        buf_add_slice(out, metric);
    for (size_t i = 0; i < l->n; i++) {
        bool is_name = slice_eq(l->items[i].name, LABEL_NAME);

        if (is_name && plain)
            continue;
        buf_add_str(out, open ? ", " : "{");
        open = true;
        if (is_name) {
            quote_go(out, metric);
            continue;
        }
        if (label_name_legacy(l->items[i].name))
            buf_add_slice(out, l->items[i].name);
        else
            quote_go(out, l->items[i].name);
        buf_add_char(out, '=');
        quote_go(out, l->items[i].value);
    }
    if (open)
        buf_add_char(out, '}');
    else if (!plain)
        buf_add_str(out, "{}");
}

static bool name_legacy(struct slice name, bool colon)
{
    const char *p = name.data;

    for (size_t i = 0; i < name.len; i++) {
        char c = p[i];
        bool letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');

        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.len > 0;
}

bool label_name_legacy(struct slice name)
{
    return name_legacy(name, false);
}

bool metric_name_legacy(struct slice name)
{
    return name_legacy(name, true);
}
