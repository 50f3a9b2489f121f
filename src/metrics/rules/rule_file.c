#include "metrics/rules/rule_file.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/yaml.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/print.h"
#include "metrics/rules/template.h"

#include <errno.h>
#include <stdlib.h>

#define GROUPS_MAX 10000
#define RULES_MAX  10000 /* of a group */

/* Which rule is being read, for messages. */
struct place {
    const char *group;
    size_t number; /* from 1; 0: the group itself */
    const char *name;
    struct buf *why;
};

static int fail(const struct yaml *at, const struct place *p, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(const struct yaml *at, const struct place *p, const char *format, ...)
{
    autobuf text = {0};
    va_list args;

    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    if (p->number == 0)
        return yaml_fail(at, p->why, "group \"%s\": %s", p->group, text.data);
    return yaml_fail(at, p->why, "group \"%s\", rule %zu, \"%s\": %s", p->group, p->number,
                     p->name, text.data);
}

static const struct yaml *value_of(const struct yaml *map, const char *key)
{
    const struct yaml *y = yaml_get(map, key);

    return y != NULL && y->kind == YAML_SCALAR && y->text == NULL ? NULL : y;
}

static int read_text(const struct yaml *map, const char *key, const char **ret, struct buf *why)
{
    const struct yaml *y = value_of(map, key);

    return y != NULL ? yaml_string(y, ret, why) : 0;
}

/* Expressions may be plain numbers. */
static const char *scalar_of(const struct yaml *map, const char *key)
{
    const struct yaml *y = value_of(map, key);

    return y != NULL && y->kind == YAML_SCALAR ? y->text : "";
}

static int read_duration(const struct yaml *map, const char *key, int64_t *ret, struct buf *why)
{
    const struct yaml *y = value_of(map, key);

    return y != NULL ? yaml_duration_ms(y, ret, why) : 0;
}

static int read_pairs(const struct yaml *y, const struct place *p, bool labels, struct pairs *ret)
{
    const char *what = labels ? "label" : "annotation";

    if (y == NULL)
        return 0;
    if (y->kind != YAML_MAP)
        return fail(y, p, "expected names and values of %ss", what);
    for (size_t i = 0; i < y->n_items; i++) {
        const struct yaml *key = y->items[i]->key;
        const char *text = y->items[i]->text != NULL ? y->items[i]->text : "";

        if (y->items[i]->kind != YAML_SCALAR)
            return fail(y->items[i], p, "the value of %s '%s' is no text", what, key->text);
        if (key->text_len == 0 || !utf8_valid(slice_of(key->text, key->text_len)) ||
            (labels && strcmp(key->text, "__name__") == 0) || strlen(key->text) != key->text_len)
            return fail(key, p, "invalid %s name: %s", what, key->text);
        if (!utf8_valid(slice_str(text)))
            return fail(y->items[i], p, "invalid %s value: %s", what, text);
        pairs_add(ret, key->text, text);
    }
    return 0;
}

static int check_templates(const struct yaml *y, const struct place *p, const char *what)
{
    struct op op;
    int r = 0;

    op_init(&op, DOOR_INTERNAL, NULL);
    for (size_t i = 0; y != NULL && i < y->n_items && r == 0; i++) {
        const char *name = op_printf(&op, "__alert_%s", p->name);
        autobuf why = {0};

        if (y->items[i]->text != NULL &&
            template_check(&op, name, slice_str(y->items[i]->text), &why) < 0)
            r = fail(y->items[i], p, "%s \"%s\": %s", what, y->items[i]->key->text, why.data);
    }
    op_done(&op);
    return r;
}

static int read_expression(const struct yaml *y, const struct place *p, char **ret)
{
    const char *text = scalar_of(y, "expr");
    struct promql q = {0};
    autobuf why = {0};
    autobuf printed = {0};
    struct op op;
    int r;

    if (text[0] == 0)
        return fail(y, p, "field 'expr' must be set in rule");
    op_init(&op, DOOR_INTERNAL, NULL);
    r = promql_parse(&op, slice_str(text), &q, &why);
    if (r < 0) {
        r = fail(value_of(y, "expr"), p, "could not parse expression: %s", why.data);
    } else {
        promql_print(&printed, q.root);
        *ret = buf_take(&printed, NULL);
        promql_done(&q);
    }
    op_done(&op);
    return r;
}

static int check_record(const struct yaml *y, const struct place *p)
{
    static const char *const alone[] = {"annotations", "for", "keep_firing_for", NULL};

    for (const char *const *key = alone; *key != NULL; key++)
        if (value_of(y, *key) != NULL)
            return fail(value_of(y, *key), p, "invalid field '%s' in recording rule", *key);
    if (!utf8_valid(slice_str(p->name)))
        return fail(y, p, "invalid recording rule name: %s", p->name);
    if (strpbrk(p->name, "{}") != NULL)
        return fail(y, p, "braces present in the recording rule name; should it be in expr?: %s",
                    p->name);
    return 0;
}

static void merge_labels(const struct pairs *group, struct pairs *rule)
{
    for (size_t i = 0; i < group->n; i++) {
        bool own = false;

        for (size_t k = 0; k < rule->n; k++)
            own = own || strcmp(rule->items[k].name, group->items[i].name) == 0;
        if (!own)
            pairs_add(rule, group->items[i].name, group->items[i].value);
    }
}

static int read_rule(const struct yaml *y, struct place *p, const struct pairs *group_labels,
                     struct rule *rule)
{
    static const char *const keys[] = {"record", "alert",  "expr",        "for",
                                       "keep_firing_for", "labels", "annotations", NULL};
    const char *record = NULL, *alert = NULL;

    if (y->kind != YAML_MAP)
        return yaml_fail(y, p->why, "group \"%s\", rule %zu: expected the keys of a rule",
                         p->group, p->number);
    if (yaml_check_map(y, keys, p->why) < 0 || read_text(y, "record", &record, p->why) < 0 ||
        read_text(y, "alert", &alert, p->why) < 0)
        return -EINVAL;
    p->name = record != NULL ? record : alert != NULL ? alert : "";
    if (record != NULL && alert != NULL)
        return fail(y, p, "only one of 'record' and 'alert' must be set");
    if (p->name[0] == 0)
        return fail(y, p, "one of 'record' or 'alert' must be set");
    rule->alerting = alert != NULL;
    rule->name = xstrdup(p->name);
    if (read_expression(y, p, &rule->expression) < 0 ||
        (!rule->alerting && check_record(y, p) < 0) ||
        read_duration(y, "for", &rule->for_ms, p->why) < 0 ||
        read_duration(y, "keep_firing_for", &rule->keep_firing_ms, p->why) < 0 ||
        read_pairs(value_of(y, "labels"), p, true, &rule->labels) < 0 ||
        read_pairs(value_of(y, "annotations"), p, false, &rule->annotations) < 0)
        return -EINVAL;
    merge_labels(group_labels, &rule->labels);
    if (!rule->alerting)
        return 0;
    if (check_templates(value_of(y, "labels"), p, "label") < 0)
        return -EINVAL;
    return check_templates(value_of(y, "annotations"), p, "annotation");
}

static uint64_t mark_of(const struct rule_group *g)
{
    autobuf text = {0};

    buf_printf(&text, "%s%c%s%c%" PRId64 " %" PRId64 " %" PRIu64, g->file, 0, g->name, 0,
               g->interval_ms, g->query_offset_ms, g->limit);
    for (size_t i = 0; i < g->n; i++) {
        const struct rule *r = &g->rules[i];
        const struct pairs *sets[] = {&r->labels, &r->annotations};

        buf_printf(&text, "%c%d%s%c%s%c%" PRId64 " %" PRId64, 0, r->alerting, r->name, 0,
                   r->expression, 0, r->for_ms, r->keep_firing_ms);
        for (size_t k = 0; k < 2; k++)
            for (size_t j = 0; j < sets[k]->n; j++)
                buf_printf(&text, "%c%s%c%s", 0, sets[k]->items[j].name, 0,
                           sets[k]->items[j].value);
    }
    return hash_bytes(text.data, text.len, 5);
}

static int read_rules(const struct yaml *list, struct place *p, const struct pairs *labels,
                      struct rule_group *g)
{
    if (list == NULL)
        return 0;
    if (list->kind != YAML_LIST || list->n_items > RULES_MAX)
        return fail(list, p, "expected a list of at most %d rules", RULES_MAX);
    g->rules = xcalloc(list->n_items, sizeof *g->rules);
    for (size_t i = 0; i < list->n_items; i++) {
        p->number = i + 1;
        g->n++;
        if (read_rule(list->items[i], p, labels, &g->rules[i]) < 0)
            return -EINVAL;
    }
    return 0;
}

static int read_group(const struct yaml *y, struct buf *why, struct rule_group *g)
{
    static const char *const keys[] = {"name",  "interval", "query_offset", "limit",
                                       "rules", "labels",   NULL};
    struct place p = {.why = why, .group = ""};
    const struct yaml *limit;
    struct pairs labels = {0};
    int r = -EINVAL;

    if (y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected the keys of a group");
    if (yaml_check_map(y, keys, why) < 0 || read_text(y, "name", &p.group, why) < 0)
        return -EINVAL;
    if (p.group[0] == 0)
        return yaml_fail(y, why, "Groupname must not be empty");
    g->name = xstrdup(p.group);
    g->query_offset_ms = -1;
    limit = value_of(y, "limit");
    if (read_duration(y, "interval", &g->interval_ms, why) == 0 &&
        read_duration(y, "query_offset", &g->query_offset_ms, why) == 0 &&
        (limit == NULL || yaml_u64(limit, UINT32_MAX, &g->limit, why) == 0) &&
        read_pairs(value_of(y, "labels"), &p, true, &labels) == 0)
        r = read_rules(value_of(y, "rules"), &p, &labels, g);
    pairs_done(&labels);
    return r;
}

static void add_group(struct rule_groups *to, struct rule_group *g)
{
    if (to->n == to->cap) {
        to->cap = to->cap > 0 ? 2 * to->cap : 8;
        to->items = xrealloc(to->items, to->cap * sizeof(struct rule_group *));
    }
    to->items[to->n++] = g;
}

static int read_groups(const struct yaml *y, const char *file, struct rule_groups *ret,
                       struct buf *why)
{
    static const char *const keys[] = {"groups", NULL};
    size_t before = ret->n;
    const struct yaml *list;

    if (y == NULL)
        return 0;
    if (yaml_check_map(y, keys, why) < 0)
        return -EINVAL;
    list = value_of(y, "groups");
    if (list != NULL && (list->kind != YAML_LIST || list->n_items > GROUPS_MAX))
        return yaml_fail(list, why, "expected a list of at most %d groups", GROUPS_MAX);
    for (size_t i = 0; list != NULL && i < list->n_items; i++) {
        struct rule_group *g = xcalloc(1, sizeof *g);

        g->file = xstrdup(file);
        add_group(ret, g);
        if (read_group(list->items[i], why, g) < 0)
            return -EINVAL;
        for (size_t k = before; k + 1 < ret->n; k++)
            if (strcmp(ret->items[k]->name, g->name) == 0)
                return yaml_fail(list->items[i], why,
                                 "groupname: \"%s\" is repeated in the same file", g->name);
        g->mark = mark_of(g);
    }
    return 0;
}

int rule_file_parse(struct slice text, const char *file, struct rule_groups *ret, struct buf *why)
{
    struct yaml *y = NULL;
    size_t before = ret->n;
    int r = yaml_parse(text, &y, why);

    if (r == 0 && y != NULL && y->kind != YAML_MAP)
        r = yaml_fail(y, why, "expected 'groups:'");
    if (r == 0)
        r = read_groups(y, file, ret, why);
    yaml_free(y);
    while (r < 0 && ret->n > before)
        rule_group_free(ret->items[--ret->n]);
    return r;
}

void rule_group_free(struct rule_group *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->n; i++) {
        free(g->rules[i].name);
        free(g->rules[i].expression);
        pairs_done(&g->rules[i].labels);
        pairs_done(&g->rules[i].annotations);
    }
    free(g->rules);
    free(g->name);
    free(g->file);
    free(g);
}

void rule_groups_done(struct rule_groups *g)
{
    for (size_t i = 0; i < g->n; i++)
        rule_group_free(g->items[i]);
    free(g->items);
    *g = (struct rule_groups){0};
}
