/* The functions that Prometheus adds (prometheus.io, Template reference). */
#include "metrics/rules/template_internal.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/shim.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define NS 1000000000.0

static int text_arg(struct tpl *t, const char *name, const struct tpl_value *v, struct slice *ret)
{
    if (v->kind != TPL_STRING)
        return tpl_fail(t, "wrong type for value of %s; expected string; got %s", name,
                        tpl_type(v));
    *ret = v->s;
    return 0;
}

static struct tpl_value sample_of(struct op *op, const struct template_sample *s)
{
    struct tpl_map *map = op_alloc(op, sizeof *map);

    map->n = 2;
    map->items = op_alloc(op, 2 * sizeof *map->items);
    map->items[0] = (struct tpl_pair){SLICE("Labels"), tpl_map_of(op, &s->labels)};
    map->items[1] = (struct tpl_pair){SLICE("Value"), {.kind = TPL_FLOAT, .f = s->value}};
    return (struct tpl_value){.kind = TPL_STRUCT, .map = map};
}

static int query_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct tpl_list *list = op_alloc(t->op, sizeof *list);
    struct template_sample *samples = NULL;
    autobuf why = {0};
    struct slice text;
    int r = text_arg(t, "query", &args[0], &text);

    (void)n;
    if (r < 0)
        return r;
    if (t->env->query == NULL)
        return tpl_fail(t, "error calling query: there is nothing to ask");
    if (t->env->query(t->env->ctx, t->op, text, &samples, &list->n, &why) < 0)
        return tpl_fail(t, "error calling query: error executing template: %s",
                        why.len > 0 ? why.data : "failed");
    list->items = op_alloc(t->op, list->n * sizeof *list->items);
    for (size_t i = 0; i < list->n; i++)
        list->items[i] = sample_of(t->op, &samples[i]);
    *ret = (struct tpl_value){.kind = TPL_LIST, .list = list};
    return 0;
}

static int first_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    if (args[0].kind != TPL_LIST)
        return tpl_fail(t, "wrong type for value of first; expected template.queryResult; got %s",
                        tpl_type(&args[0]));
    if (args[0].list->n == 0)
        return tpl_fail(t, "error calling first: first() called on vector with no elements");
    *ret = args[0].list->items[0];
    return 0;
}

static int field(struct tpl *t, const char *function, const struct tpl_value *sample,
                 const char *name, struct tpl_value *ret)
{
    if (sample->kind != TPL_STRUCT || tpl_map_get(sample->map, slice_str(name)) == NULL)
        return tpl_fail(t, "wrong type for value of %s; expected *template.sample; got %s",
                        function, tpl_type(sample));
    *ret = *tpl_map_get(sample->map, slice_str(name));
    return 0;
}

static int label_of(struct tpl *t, const char *function, const struct tpl_value *sample,
                    struct slice name, struct tpl_value *ret)
{
    const struct tpl_value *found;
    struct tpl_value labels;
    int r = field(t, function, sample, "Labels", &labels);

    if (r < 0)
        return r;
    found = tpl_map_get(labels.map, name);
    *ret = found != NULL ? *found : tpl_string(SLICE(""));
    return 0;
}

static int label_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct slice name;
    int r = text_arg(t, "label", &args[0], &name);

    (void)n;
    return r < 0 ? r : label_of(t, "label", &args[1], name, ret);
}

static int value_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return field(t, "value", &args[0], "Value", ret);
}

static int strvalue_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return label_of(t, "strvalue", &args[0], SLICE("__value__"), ret);
}

static int args_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct tpl_map *map = op_alloc(t->op, sizeof *map);

    map->n = n;
    map->items = op_alloc(t->op, n * sizeof *map->items);
    for (size_t i = 0; i < n; i++)
        map->items[i] = (struct tpl_pair){slice_str(op_printf(t->op, "arg%zu", i)), args[i]};
    *ret = (struct tpl_value){.kind = TPL_MAP, .map = map};
    return 0;
}

static int reReplaceAll_(struct tpl *t, const struct tpl_value *args, size_t n,
                         struct tpl_value *ret)
{
    struct slice pattern, replacement, text;
    autobuf why = {0};
    struct buf out = {0};

    (void)n;
    if (text_arg(t, "reReplaceAll", &args[0], &pattern) < 0 ||
        text_arg(t, "reReplaceAll", &args[1], &replacement) < 0 ||
        text_arg(t, "reReplaceAll", &args[2], &text) < 0)
        return -EINVAL;
    if (regex_replace_all(pattern, text, replacement, &out, &why) < 0) {
        buf_done(&out);
        return tpl_fail(t, "error calling reReplaceAll: %s", why.data);
    }
    *ret = tpl_take(t, &out);
    return 0;
}

static int match_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct slice pattern, text;
    autobuf why = {0};
    int r;

    (void)n;
    if (text_arg(t, "match", &args[0], &pattern) < 0 || text_arg(t, "match", &args[1], &text) < 0)
        return -EINVAL;
    r = regex_search(pattern, text, &why);
    if (r < 0)
        return tpl_fail(t, "error calling match: %s", why.data);
    *ret = (struct tpl_value){.kind = TPL_BOOL, .b = r > 0};
    return 0;
}

static int same(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct slice s;

    (void)n;
    *ret = args[0];
    return text_arg(t, "safeHtml", &args[0], &s);
}

enum letters { LETTERS_UPPER, LETTERS_LOWER, LETTERS_TITLE };

static int letters(struct tpl *t, const char *name, enum letters how, const struct tpl_value *arg,
                   struct tpl_value *ret)
{
    struct slice s;
    int r = text_arg(t, name, arg, &s);
    bool start = true;
    char *p;

    if (r < 0)
        return r;
    p = op_strndup(t->op, s.data, s.len);
    for (size_t i = 0; i < s.len; i++) {
        bool low = p[i] >= 'a' && p[i] <= 'z', high = p[i] >= 'A' && p[i] <= 'Z';

        if (low && (how == LETTERS_UPPER || (how == LETTERS_TITLE && start)))
            p[i] = (char)(p[i] - 32);
        else if (high && how == LETTERS_LOWER)
            p[i] = (char)(p[i] + 32);
        start = !(low || high || p[i] == '_' || p[i] == '\'' || (p[i] >= '0' && p[i] <= '9') ||
                  (unsigned char)p[i] >= 0x80);
    }
    *ret = tpl_string(slice_of(p, s.len));
    return 0;
}

static int toUpper_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return letters(t, "toUpper", LETTERS_UPPER, &args[0], ret);
}

static int toLower_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return letters(t, "toLower", LETTERS_LOWER, &args[0], ret);
}

static int title_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return letters(t, "title", LETTERS_TITLE, &args[0], ret);
}

static int link_to(struct tpl *t, const struct tpl_value *args, int tab, struct tpl_value *ret)
{
    autobuf quoted = {0};
    struct buf out = {0};
    struct slice text;
    int r = text_arg(t, "graphLink", &args[0], &text);

    if (r < 0)
        return r;
    percent_encode(&quoted, text, " ");
    for (size_t i = 0; i < quoted.len; i++)
        if (quoted.data[i] == ' ')
            quoted.data[i] = '+';
    buf_printf(&out, "/graph?g0.expr=%s&g0.tab=%d", quoted.data != NULL ? quoted.data : "", tab);
    *ret = tpl_take(t, &out);
    return 0;
}

static int graphLink_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return link_to(t, args, 0, ret);
}

static int tableLink_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    return link_to(t, args, 1, ret);
}

struct sort_item {
    struct slice key;
    struct tpl_value value;
};

static int by_key(const void *a, const void *b)
{
    return slice_cmp(((const struct sort_item *)a)->key, ((const struct sort_item *)b)->key);
}

static int sortByLabel_(struct tpl *t, const struct tpl_value *args, size_t n,
                        struct tpl_value *ret)
{
    struct tpl_list *list = op_alloc(t->op, sizeof *list);
    struct sort_item *items;
    struct slice name;
    int r = text_arg(t, "sortByLabel", &args[0], &name);

    (void)n;
    if (r == 0 && args[1].kind != TPL_LIST)
        r = tpl_fail(t, "wrong type for value of sortByLabel; expected template.queryResult");
    if (r < 0)
        return r;
    *list = *args[1].list;
    items = op_alloc(t->op, list->n * sizeof *items);
    for (size_t i = 0; i < list->n && r == 0; i++) {
        struct tpl_value key = {0};

        r = label_of(t, "sortByLabel", &list->items[i], name, &key);
        items[i] = (struct sort_item){key.s, list->items[i]};
    }
    qsort(items, list->n, sizeof *items, by_key);
    list->items = op_alloc(t->op, list->n * sizeof *list->items);
    for (size_t i = 0; i < list->n; i++)
        list->items[i] = items[i].value;
    *ret = (struct tpl_value){.kind = TPL_LIST, .list = list};
    return r;
}

/* net.SplitHostPort, leniently: "[::1]:80" is "::1", what has no port stays. */
static int stripPort_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    struct slice s;
    const char *p, *colon;
    int r = text_arg(t, "stripPort", &args[0], &s);

    (void)n;
    if (r < 0)
        return r;
    *ret = args[0];
    p = s.data;
    colon = s.len > 0 ? memrchr(p, ':', s.len) : NULL;
    if (colon == NULL)
        return 0;
    if (p[0] == '[' && colon > p && colon[-1] == ']')
        *ret = tpl_string(slice_of(p + 1, (size_t)(colon - p) - 2));
    else if (memchr(p, ':', (size_t)(colon - p)) == NULL)
        *ret = tpl_string(slice_of(p, (size_t)(colon - p)));
    return 0;
}

static bool is_address(struct slice s)
{
    const char *p = s.data;
    bool dots = true, hex = memchr(p, ':', s.len) != NULL;

    for (size_t i = 0; i < s.len; i++)
        dots = dots && ((p[i] >= '0' && p[i] <= '9') || p[i] == '.');
    return dots || hex;
}

static int stripDomain_(struct tpl *t, const struct tpl_value *args, size_t n,
                        struct tpl_value *ret)
{
    struct slice s, host;
    const char *colon, *dot;
    struct buf out = {0};
    int r = text_arg(t, "stripDomain", &args[0], &s);

    (void)n;
    if (r < 0)
        return r;
    *ret = args[0];
    if (s.len == 0)
        return 0;
    colon = memchr(s.data, ':', s.len);
    host = slice_of(s.data, colon != NULL ? (size_t)(colon - (const char *)s.data) : s.len);
    dot = host.len > 0 ? memchr(host.data, '.', host.len) : NULL;
    if (dot == NULL || is_address(host))
        return 0;
    buf_add(&out, host.data, (size_t)(dot - (const char *)host.data));
    buf_add_slice(&out, slice_skip(s, host.len));
    *ret = tpl_take(t, &out);
    return 0;
}

static int time_arg(struct tpl *t, const struct tpl_value *arg, int64_t *ret_ns)
{
    double v = 0;
    int r = tpl_float(t, arg, &v);

    if (r == 0 && (isnan(v) || fabs(v) * NS >= 9.2e18))
        r = tpl_fail(t, "%g cannot be represented as a nanoseconds timestamp since it overflows "
                        "int64", v);
    *ret_ns = r == 0 ? (int64_t)(v * NS) : 0;
    return r;
}

static int toTime_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)n;
    *ret = (struct tpl_value){.kind = TPL_TIME};
    return time_arg(t, &args[0], &ret->i);
}

static int toDuration_(struct tpl *t, const struct tpl_value *args, size_t n,
                       struct tpl_value *ret)
{
    (void)n;
    *ret = (struct tpl_value){.kind = TPL_DURATION};
    return time_arg(t, &args[0], &ret->i);
}

static int now_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    (void)args;
    (void)n;
    *ret = (struct tpl_value){.kind = TPL_FLOAT, .f = (double)t->env->now_ms / 1000};
    return 0;
}

static int parseDuration_(struct tpl *t, const struct tpl_value *args, size_t n,
                          struct tpl_value *ret)
{
    struct slice s;
    int64_t ms = 0;
    int r = text_arg(t, "parseDuration", &args[0], &s);

    (void)n;
    if (r == 0 && duration_parse_ms(s, &ms) < 0)
        r = tpl_fail(t, "error calling parseDuration: not a valid duration string: \"%.*s\"",
                     (int)s.len, (const char *)s.data);
    *ret = (struct tpl_value){.kind = TPL_FLOAT, .f = (double)ms / 1000};
    return r;
}

static int externalURL_(struct tpl *t, const struct tpl_value *args, size_t n,
                        struct tpl_value *ret)
{
    (void)args;
    (void)n;
    *ret = tpl_string(slice_str(t->env->external_url));
    return 0;
}

static int pathPrefix_(struct tpl *t, const struct tpl_value *args, size_t n,
                       struct tpl_value *ret)
{
    const char *p = strstr(t->env->external_url, "://");

    (void)args;
    (void)n;
    p = p != NULL ? strchr(p + 3, '/') : NULL;
    *ret = tpl_string(slice_str(p != NULL ? p : ""));
    return 0;
}

static const struct tpl_function FUNCTIONS[] = {
    {"query", 1, 1, query_},
    {"first", 1, 1, first_},
    {"label", 2, 2, label_},
    {"value", 1, 1, value_},
    {"strvalue", 1, 1, strvalue_},
    {"args", 0, -1, args_},
    {"reReplaceAll", 3, 3, reReplaceAll_},
    {"safeHtml", 1, 1, same},
    {"match", 2, 2, match_},
    {"title", 1, 1, title_},
    {"toUpper", 1, 1, toUpper_},
    {"toLower", 1, 1, toLower_},
    {"graphLink", 1, 1, graphLink_},
    {"tableLink", 1, 1, tableLink_},
    {"sortByLabel", 2, 2, sortByLabel_},
    {"stripPort", 1, 1, stripPort_},
    {"stripDomain", 1, 1, stripDomain_},
    {"toTime", 1, 1, toTime_},
    {"toDuration", 1, 1, toDuration_},
    {"now", 0, 0, now_},
    {"parseDuration", 1, 1, parseDuration_},
    {"externalURL", 0, 0, externalURL_},
    {"pathPrefix", 0, 0, pathPrefix_},
    {0},
};

const struct tpl_function *tpl_function(struct slice name)
{
    const struct tpl_function *const tables[] = {FUNCTIONS, tpl_human, tpl_builtins};

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct tpl_function *f = tables[i]; f->name != NULL; f++)
            if (slice_eq(name, slice_str(f->name)))
                return f;
    return NULL;
}
