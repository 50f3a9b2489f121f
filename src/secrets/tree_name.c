#include "secrets/tree_name.h"

#include "base/codec.h"

#include <strings.h>

#define FILE_NAME_MAX 255u

static const char *checked(struct op *op, const char *escape, struct buf *text)
{
    const char *ret = NULL;

    if (strlen(escape) + text->len <= FILE_NAME_MAX)
        ret = op_printf(op, "%s%s", escape, text->data != NULL ? text->data : "");
    buf_wipe(text);
    return ret;
}

static const char *at_escape(struct slice name)
{
    return name.len > 0 && *(const char *)name.data == '@' ? "@" : "";
}

const char *tree_folder_name(struct op *op, struct slice name)
{
    struct buf text = {0};

    buf_add_slice(&text, name);
    return checked(op, at_escape(name), &text);
}

/* Is this '%' the start of something that tree_field_of would decode? */
static bool is_escape(const char *p, size_t len, char *ret)
{
    static const struct {
        const char *text;
        char byte;
    } escapes[] = {{"%2F", '/'}, {"%00", 0}, {"%25", '%'}, {"%2E", '.'}};

    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        if (len >= 3 && strncasecmp(p, escapes[i].text, 3) == 0) {
            *ret = escapes[i].byte;
            return true;
        }
    }
    return false;
}

const char *tree_field_name(struct op *op, struct slice name)
{
    const char *p = name.data;
    struct buf text = {0};
    char unused;

    if (name.len == 0)
        return TREE_KEY_PREFIX; /* a file cannot have no name */
    if (slice_eq(name, SLICE(".")))
        return "%2E";
    if (slice_eq(name, SLICE("..")))
        return "%2E%2E";
    for (size_t i = 0; i < name.len; i++) {
        if (p[i] == '/')
            buf_add_str(&text, "%2F");
        else if (p[i] == 0)
            buf_add_str(&text, "%00");
        else if (p[i] == '%' && is_escape(p + i, name.len - i, &unused))
            buf_add_str(&text, "%25");
        else
            buf_add_char(&text, p[i]);
    }
    return checked(op, at_escape(name), &text);
}

const char *tree_folder_of(struct op *op, const char *file_name)
{
    return op_strdup(op, strncmp(file_name, "@@", 2) == 0 ? file_name + 1 : file_name);
}

struct slice tree_field_of(struct op *op, const char *file_name)
{
    const char *p = strncmp(file_name, "@@", 2) == 0 ? file_name + 1 : file_name;
    size_t left = strlen(p), n = 0;
    char *out = op_alloc(op, left + 1);

    while (left > 0) {
        size_t used = *p == '%' && is_escape(p, left, &out[n]) ? 3 : 1;

        if (used == 1)
            out[n] = *p;
        n++;
        p += used;
        left -= used;
    }
    return slice_of(out, n);
}

const char *tree_node_path(struct op *op, const char *path)
{
    const char *ret = "";

    while (*path != 0) {
        size_t n = strcspn(path, "/");
        const char *name = tree_folder_name(op, slice_of(path, n));

        if (name == NULL)
            return NULL;
        ret = op_printf(op, "%s%s%s", ret, ret[0] != 0 ? "/" : "", name);
        path += n + (path[n] == '/');
    }
    return ret;
}
