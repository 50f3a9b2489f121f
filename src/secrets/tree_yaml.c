/* tree_yaml.c: a secret as YAML, and back, by the core schema's types. */
#include "base/json.h"
#include "base/yaml.h"
#include "secrets/tree_file.h"

#include <errno.h>

/* JSON strings, numbers, lists and maps are YAML as they stand (YAML 1.2, section 1.3). */
void yaml_print(const struct object *o, struct buf *out)
{
    if (o->n == 0)
        buf_add_str(out, "{}\n");
    for (size_t i = 0; i < o->n; i++) {
        buf_add_char(out, '"');
        json_escape(out, o->members[i].key);
        buf_add_str(out, "\": ");
        buf_add_slice(out, o->members[i].value);
        buf_add_char(out, '\n');
    }
}

static void print_scalar(const struct yaml *y, struct json *j)
{
    struct slice s = slice_of(y->text, y->text_len);
    bool is_number;

    if (y->text == NULL ||
        (!y->quoted && (s.len == 0 || slice_eq(s, SLICE("~")) || slice_eq(s, SLICE("null"))))) {
        json_null(j);
        return;
    }
    is_number = s.len > 0 && (y->text[0] == '-' || (y->text[0] >= '0' && y->text[0] <= '9')) &&
                value_is_valid(s);
    if (!y->quoted && (is_number || slice_eq(s, SLICE("true")) || slice_eq(s, SLICE("false"))))
        json_raw(j, s);
    else
        json_slice(j, s);
}

/* Recursion ends: yaml_parse refuses more than 32 levels. */
static void print_value(const struct yaml *y, struct json *j)
{
    if (y->kind == YAML_SCALAR) {
        print_scalar(y, j);
        return;
    }
    if (y->kind == YAML_MAP)
        json_object(j);
    else
        json_array(j);
    for (size_t i = 0; i < y->n_items; i++) {
        if (y->kind == YAML_MAP)
            json_key_slice(j, slice_of(y->items[i]->key->text, y->items[i]->key->text_len));
        print_value(y->items[i], j);
    }
    if (y->kind == YAML_MAP)
        json_object_end(j);
    else
        json_array_end(j);
}

int yaml_read(struct op *op, struct slice text, struct slice *ret)
{
    struct yaml *y = NULL;
    struct buf why = {0}, out = {0};
    struct json j;
    int r = yaml_parse(text, &y, &why);

    if (r < 0)
        op_fail(op, EINVAL, "%s", why.data);
    else if (y == NULL || y->kind != YAML_MAP)
        r = op_fail(op, EINVAL, "a secret is a map of fields");
    if (r == 0) {
        json_init(&j, &out);
        print_value(y, &j);
        *ret = op_slice(op, buf_slice(&out));
    }
    if (y != NULL)
        yaml_free(y);
    buf_done(&why);
    buf_wipe(&out);
    return r;
}
