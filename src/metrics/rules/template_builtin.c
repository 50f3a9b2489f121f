/* The functions that Go's templates bring along (pkg.go.dev/text/template, Functions). */
#include "metrics/rules/template_internal.h"

#include "base/codec.h"

#include <errno.h>

static int bool_of(struct tpl_value *ret, bool b)
{
    *ret = (struct tpl_value){.kind = TPL_BOOL, .b = b};
    return 0;
}

/* Never called: the expansion looks at their arguments itself. */
static int logic(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)t;
    *ret = n > 0 ? args[0] : (struct tpl_value){0};
    return 0;
}

static int not_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)t;
    (void)n;
    return bool_of(ret, !tpl_true(&args[0]));
}

static int len_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    size_t len;

    (void)n;
    if (args->kind == TPL_STRING)
        len = args->s.len;
    else if (args->kind == TPL_MAP)
        len = args->map->n;
    else if (args->kind == TPL_LIST)
        len = args->list->n;
    else
        return tpl_fail(t, "error calling len: len of type %s", tpl_type(args));
    *ret = (struct tpl_value){.kind = TPL_INT, .i = (int64_t)len};
    return 0;
}

static int index_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct tpl_value v = args[0];

    for (size_t i = 1; i < n; i++) {
        const struct tpl_value *key = &args[i], *found;
        bool text = v.kind == TPL_STRING;

        if (v.kind == TPL_MAP) {
            if (key->kind != TPL_STRING)
                return tpl_fail(t, "error calling index: value has type %s; should be string",
                                tpl_type(key));
            found = tpl_map_get(v.map, key->s);
            v = found != NULL      ? *found
                : v.map->strings ? tpl_string(SLICE(""))
                                 : (struct tpl_value){0};
        } else if (v.kind == TPL_LIST || text) {
            size_t len = text ? v.s.len : v.list->n;

            if (key->kind != TPL_INT)
                return tpl_fail(t, "error calling index: cannot index slice/array with type %s",
                                tpl_type(key));
            if (key->i < 0 || (uint64_t)key->i >= len)
                return tpl_fail(t, "error calling index: index out of range: %" PRId64, key->i);
            v = text ? (struct tpl_value){.kind = TPL_INT,
                                          .i = ((const unsigned char *)v.s.data)[key->i]}
                     : v.list->items[key->i];
        } else {
            return tpl_fail(t, "error calling index: can't index item of type %s", tpl_type(&v));
        }
    }
    *ret = v;
    return 0;
}

static int slice_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    bool text = args[0].kind == TPL_STRING;
    size_t len, at[2];
    struct tpl_list *list;

    if (!text && args[0].kind != TPL_LIST)
        return tpl_fail(t, "error calling slice: can't slice item of type %s", tpl_type(&args[0]));
    len = text ? args[0].s.len : args[0].list->n;
    at[0] = 0;
    at[1] = len;
    for (size_t i = 1; i < n; i++) {
        if (args[i].kind != TPL_INT || args[i].i < 0 || (uint64_t)args[i].i > len)
            return tpl_fail(t, "error calling slice: index out of range");
        at[i - 1] = (size_t)args[i].i;
    }
    if (at[0] > at[1])
        return tpl_fail(t, "error calling slice: invalid slice index: %zu > %zu", at[0], at[1]);
    if (text) {
        *ret = tpl_string(slice_of((const char *)args[0].s.data + at[0], at[1] - at[0]));
        return 0;
    }
    list = op_alloc(t->op, sizeof *list);
    *list = (struct tpl_list){args[0].list->items + at[0], at[1] - at[0]};
    *ret = (struct tpl_value){.kind = TPL_LIST, .list = list};
    return 0;
}

/* As fmt.Sprint: a blank between two that are no strings; `line`: always one, and a newline. */
static int print_all(struct tpl *t, const struct tpl_value *args, size_t n, bool line,
                     struct tpl_value *ret)
{
    struct buf b = {0};

    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (line || (args[i].kind != TPL_STRING && args[i - 1].kind != TPL_STRING)))
            buf_add_char(&b, ' ');
        if (args[i].kind == TPL_NIL)
            buf_add_str(&b, "<nil>");
        else
            tpl_print(&b, &args[i]);
    }
    if (line)
        buf_add_char(&b, '\n');
    *ret = tpl_take(t, &b);
    return 0;
}

static int print_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    return print_all(t, args, n, false, ret);
}

static int println_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    return print_all(t, args, n, true, ret);
}

static int printf_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct buf b = {0};
    int r;

    if (args[0].kind != TPL_STRING)
        return tpl_fail(t, "wrong type for value; expected string; got %s", tpl_type(&args[0]));
    r = tpl_sprintf(t, args[0].s, args + 1, n - 1, &b);
    *ret = tpl_take(t, &b);
    return r;
}

static void as_text(const struct tpl_value *args, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        tpl_print(out, &args[i]);
}

static int html_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    static const char signs[] = "\"'&<>";
    static const char *const escapes[] = {"&#34;", "&#39;", "&amp;", "&lt;", "&gt;"};
    autobuf text = {0};
    struct buf b = {0};

    as_text(args, n, &text);
    for (size_t i = 0; i < text.len; i++) {
        const char *sign = text.data[i] != 0 ? strchr(signs, text.data[i]) : NULL;

        if (sign != NULL)
            buf_add_str(&b, escapes[sign - signs]);
        else
            buf_add_char(&b, text.data[i]);
    }
    *ret = tpl_take(t, &b);
    return 0;
}

static int js_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    autobuf text = {0};
    struct buf b = {0};

    as_text(args, n, &text);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c == '\\' || c == '\'' || c == '"')
            buf_printf(&b, "\\%c", c);
        else if (c < 0x20 || c == '<' || c == '>' || c == '&' || c == '=')
            buf_printf(&b, "\\u%04X", c);
        else
            buf_add_char(&b, (char)c);
    }
    *ret = tpl_take(t, &b);
    return 0;
}

static int urlquery_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    autobuf text = {0};
    autobuf quoted = {0};
    struct buf b = {0};

    as_text(args, n, &text);
    percent_encode(&quoted, buf_slice(&text), " ");
    for (size_t i = 0; i < quoted.len; i++)
        buf_add_char(&b, quoted.data[i] == ' ' ? '+' : quoted.data[i]);
    *ret = tpl_take(t, &b);
    return 0;
}

/* Numbers with numbers of their kind, strings with strings, booleans with booleans. */
static int compare(struct tpl *t, const char *name, const struct tpl_value *a,
                   const struct tpl_value *b, int *ret)
{
    if (a->kind != b->kind)
        return tpl_fail(t, "error calling %s: incompatible types for comparison", name);
    switch (a->kind) {
    case TPL_BOOL:
        *ret = a->b != b->b;
        return 0;
    case TPL_INT:
    case TPL_DURATION:
        *ret = a->i < b->i ? -1 : a->i > b->i;
        return 0;
    case TPL_FLOAT:
        *ret = a->f < b->f ? -1 : a->f == b->f ? 0 : a->f > b->f ? 1 : 2; /* NaN equals nothing */
        return 0;
    case TPL_STRING:
        *ret = slice_cmp(a->s, b->s);
        return 0;
    default:
        return tpl_fail(t, "error calling %s: invalid type for comparison", name);
    }
}

static int eq_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    int order = 1, r = 0;

    for (size_t i = 1; i < n && r == 0 && order != 0; i++)
        r = compare(t, "eq", &args[0], &args[i], &order);
    bool_of(ret, order == 0);
    return r;
}

static int ordered(struct tpl *t, const char *name, const struct tpl_value *args, int low, int high,
                   struct tpl_value *ret)
{
    int order = 2, r;

    if (args[0].kind == TPL_BOOL)
        return tpl_fail(t, "error calling %s: invalid type for comparison", name);
    r = compare(t, name, &args[0], &args[1], &order);
    if (args[0].kind == TPL_STRING && order != 0)
        order = order < 0 ? -1 : 1;
    bool_of(ret, order >= low && order <= high);
    return r;
}

static int ne_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    int r = eq_(t, args, n, ret);

    ret->b = !ret->b;
    return r;
}

#define ORDERED(function, name, low, high)                                                         \
    static int function(struct tpl *t, const struct tpl_value *args, size_t n,                     \
                        struct tpl_value *ret)                                                     \
    {                                                                                              \
        (void)n;                                                                                   \
        return ordered(t, name, args, low, high, ret);                                             \
    }
ORDERED(lt_, "lt", -1, -1)
ORDERED(le_, "le", -1, 0)
ORDERED(gt_, "gt", 1, 1)
ORDERED(ge_, "ge", 0, 1)

static int call_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    (void)ret;
    return tpl_fail(t, "error calling call: non-function of type %s", tpl_type(&args[0]));
}

const struct tpl_function tpl_builtins[] = {
    {"and", 1, -1, logic},      {"or", 1, -1, logic},      {"not", 1, 1, not_},
    {"len", 1, 1, len_},        {"index", 1, -1, index_},  {"slice", 1, 3, slice_},
    {"print", 0, -1, print_},   {"println", 0, -1, println_}, {"printf", 1, -1, printf_},
    {"html", 0, -1, html_},     {"js", 0, -1, js_},        {"urlquery", 0, -1, urlquery_},
    {"eq", 2, -1, eq_},         {"ne", 2, 2, ne_},         {"lt", 2, 2, lt_},
    {"le", 2, 2, le_},          {"gt", 2, 2, gt_},         {"ge", 2, 2, ge_},
    {"call", 1, -1, call_},     {0},
};
