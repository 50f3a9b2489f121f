/* relabel_configs, read strictly: what an action needs must be there. */
#include "base/alloc.h"
#include "base/shim.h"
#include "base/yaml.h"
#include "metrics/scrape/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

static int read_action(const struct yaml *map, enum relabel_action *ret, struct buf *why)
{
    const struct yaml *y = yaml_get(map, "action");
    const char *text = "replace";
    const char *near;

    if (y != NULL && yaml_string(y, &text, why) < 0)
        return -EINVAL;
    for (unsigned i = 0; i < RELABEL_ACTIONS; i++)
        if (strcasecmp(text, relabel_action_names[i]) == 0) {
            *ret = (enum relabel_action)i;
            return 0;
        }
    near = nearest_name(text, relabel_action_names);
    return yaml_fail(y, why, "unknown relabel action '%s'%s%s%s", text,
                     near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                     near != NULL ? "'?" : "");
}

static int read_sources(const struct yaml *map, struct relabel *c, struct buf *why)
{
    const struct yaml *y = yaml_get(map, "source_labels");

    if (y == NULL || (y->kind == YAML_SCALAR && y->text == NULL))
        return 0;
    if (y->kind != YAML_LIST)
        return yaml_fail(y, why, "expected a list of labels");
    c->source_labels = xcalloc(y->n_items + 1, sizeof *c->source_labels);
    for (size_t i = 0; i < y->n_items; i++) {
        const char *text = NULL;

        if (yaml_string(y->items[i], &text, why) < 0)
            return -EINVAL;
        c->source_labels[i] = xstrdup(text);
    }
    return 0;
}

static int read_or(const struct yaml *map, const char *key, const char *otherwise, char **ret,
                   struct buf *why)
{
    const struct yaml *y = yaml_get(map, key);
    const char *text = otherwise;

    if (y != NULL && y->kind == YAML_SCALAR && y->text == NULL)
        text = "";
    else if (y != NULL && yaml_string(y, &text, why) < 0)
        return -EINVAL;
    *ret = xstrdup(text);
    return 0;
}

static bool is_plain_target(enum relabel_action a)
{
    return a == RELABEL_HASHMOD || a == RELABEL_LOWERCASE || a == RELABEL_UPPERCASE ||
           a == RELABEL_KEEPEQUAL || a == RELABEL_DROPEQUAL;
}

static int check(const struct yaml *map, const struct relabel *c, struct buf *why)
{
    const char *action = relabel_action_names[c->action];

    if (c->action == RELABEL_HASHMOD && c->modulus == 0)
        return yaml_fail(map, why, "relabel configuration for hashmod requires non-zero modulus");
    if ((c->action == RELABEL_REPLACE || is_plain_target(c->action)) && c->target_label[0] == 0)
        return yaml_fail(
            map, why, "relabel configuration for %s action requires 'target_label' value", action);
    if (is_plain_target(c->action) && !label_name_legacy(slice_str(c->target_label)))
        return yaml_fail(map, why, "'%s' is invalid 'target_label' for %s action", c->target_label,
                         action);
    if ((c->action == RELABEL_LABELDROP || c->action == RELABEL_LABELKEEP) &&
        (c->source_labels != NULL || c->target_label[0] != 0))
        return yaml_fail(map, why, "%s action requires only 'regex', and no other fields", action);
    return 0;
}

static int read_one(const struct yaml *y, struct relabel *c, struct buf *why)
{
    static const char *const keys[] = {"source_labels", "separator",   "target_label", "regex",
                                       "modulus",       "replacement", "action",       NULL};
    const struct yaml *modulus;
    autobuf reason = {0};

    if (yaml_check_map(y, keys, why) < 0 || read_action(y, &c->action, why) < 0 ||
        read_sources(y, c, why) < 0 || read_or(y, "separator", ";", &c->separator, why) < 0 ||
        read_or(y, "target_label", "", &c->target_label, why) < 0 ||
        read_or(y, "replacement", "$1", &c->replacement, why) < 0 ||
        read_or(y, "regex", "(.*)", &c->regex_text, why) < 0)
        return -EINVAL;
    modulus = yaml_get(y, "modulus");
    if (modulus != NULL && yaml_u64(modulus, UINT64_MAX, &c->modulus, why) < 0)
        return -EINVAL;
    if (regex_new(slice_str(c->regex_text), &c->regex, &reason) < 0)
        return yaml_fail(yaml_get(y, "regex"), why, "regex '%s': %s", c->regex_text,
                         reason.data != NULL ? reason.data : "is not valid");
    return check(y, c, why);
}

int relabels_read(const struct yaml *list, struct relabels *ret, struct buf *why)
{
    if (list == NULL)
        return 0;
    if (list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list of relabel configurations");
    ret->items = xcalloc(list->n_items + 1, sizeof *ret->items);
    for (size_t i = 0; i < list->n_items; i++) {
        ret->n++;
        if (read_one(list->items[i], &ret->items[i], why) < 0)
            return -EINVAL;
    }
    return 0;
}
