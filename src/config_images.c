#include "config_images.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/scope.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define FIELDS_MAX 9

enum field_type {
    FIELD_TEXT,
    FIELD_URL,
    FIELD_NUMBER,
    FIELD_DURATION, /* -1: not given */
    FIELD_BOOL,
    FIELD_ACTIONS,
    FIELD_IGNORE,
};

struct field {
    const char *name; /* NULL ends the list */
    enum field_type type;
    size_t offset;
    bool required;
    const char *fallback; /* of a text */
};

/* A list of maps. */
struct list {
    enum config_type type;
    size_t item_size;
    size_t items, n; /* offsets in struct config */
    struct field fields[FIELDS_MAX];
    int (*check)(const struct yaml *item, const void *made, struct buf *why);
};

static int check_mirror(const struct yaml *item, const void *made, struct buf *why)
{
    const struct config_mirror *m = made;
    size_t n = strlen(m->prefix);

    if (n == 0 || n > 128 || m->prefix[0] == '/' || m->prefix[n - 1] == '/')
        return yaml_fail(item, why, "a mirror's prefix is the head of a name, such as 'docker.io'");
    if ((m->username == NULL) != (m->password_file == NULL))
        return yaml_fail(item, why, "a mirror needs both 'username' and 'password_file', or none");
    return 0;
}

static int check_retention(const struct yaml *item, const void *made, struct buf *why)
{
    const struct config_retention *r = made;

    if (r->keep_last == 0 && r->keep_pulled_ms < 0 && r->keep_pushed_ms < 0 && r->untagged_ms < 0)
        return yaml_fail(item, why, "a rule of retention needs one of 'keep_last', 'keep_pulled', "
                                    "'keep_pushed', 'untagged'");
    return 0;
}

static int check_keep(const struct yaml *item, const void *made, struct buf *why)
{
    const struct config_keep *k = made;

    if (k->keep_ms <= 0)
        return yaml_fail(item, why, "a rule of retention needs 'keep', such as 2d");
    return 0;
}

static const struct list lists[] = {
    {CONFIG_MIRRORS,
     sizeof(struct config_mirror),
     offsetof(struct config, mirrors),
     offsetof(struct config, n_mirrors),
     {{"prefix", FIELD_TEXT, offsetof(struct config_mirror, prefix), true, NULL},
      {"upstream", FIELD_URL, offsetof(struct config_mirror, upstream), true, NULL},
      {"username", FIELD_TEXT, offsetof(struct config_mirror, username), false, NULL},
      {"password_file", FIELD_TEXT, offsetof(struct config_mirror, password_file), false, NULL},
      {"realm", FIELD_URL, offsetof(struct config_mirror, realm), false, NULL},
      {"fresh", FIELD_DURATION, offsetof(struct config_mirror, fresh_ms), false, NULL},
      {"default", FIELD_BOOL, offsetof(struct config_mirror, is_default), false, NULL},
      {NULL, FIELD_TEXT, 0, false, NULL}},
     check_mirror},
    {CONFIG_RETENTION,
     sizeof(struct config_retention),
     offsetof(struct config, retention),
     offsetof(struct config, n_retention),
     {{"repositories", FIELD_TEXT, offsetof(struct config_retention, repositories), false, "*"},
      {"tags", FIELD_TEXT, offsetof(struct config_retention, tags), false, "*"},
      {"keep_last", FIELD_NUMBER, offsetof(struct config_retention, keep_last), false, NULL},
      {"keep_pulled", FIELD_DURATION, offsetof(struct config_retention, keep_pulled_ms), false,
       NULL},
      {"keep_pushed", FIELD_DURATION, offsetof(struct config_retention, keep_pushed_ms), false,
       NULL},
      {"untagged", FIELD_DURATION, offsetof(struct config_retention, untagged_ms), false, NULL},
      {NULL, FIELD_TEXT, 0, false, NULL}},
     check_retention},
    {CONFIG_WEBHOOKS,
     sizeof(struct config_webhook),
     offsetof(struct config, webhooks),
     offsetof(struct config, n_webhooks),
     {{"url", FIELD_URL, offsetof(struct config_webhook, url), true, NULL},
      {"authorization_file", FIELD_TEXT, offsetof(struct config_webhook, authorization_file), false,
       NULL},
      {"repositories", FIELD_TEXT, offsetof(struct config_webhook, repositories), false, "*"},
      {"actions", FIELD_ACTIONS, offsetof(struct config_webhook, actions), false, NULL},
      {"ignore", FIELD_IGNORE, offsetof(struct config_webhook, ignore), false, NULL},
      {NULL, FIELD_TEXT, 0, false, NULL}},
     NULL},
    {CONFIG_KEEPS,
     sizeof(struct config_keep),
     offsetof(struct config, keeps),
     offsetof(struct config, n_keeps),
     {{"match", FIELD_TEXT, offsetof(struct config_keep, match), true, NULL},
      {"keep", FIELD_DURATION, offsetof(struct config_keep, keep_ms), false, NULL},
      {NULL, FIELD_TEXT, 0, false, NULL}},
     check_keep},
};

static const struct {
    const char *name;
    unsigned bit;
} actions[] = {{"push", WEBHOOK_PUSH},
               {"pull", WEBHOOK_PULL},
               {"delete", WEBHOOK_DELETE},
               {"mount", WEBHOOK_MOUNT}};

static const struct list *list_of(enum config_type type)
{
    for (size_t i = 0; i < array_size(lists); i++)
        if (lists[i].type == type)
            return &lists[i];
    return NULL;
}

bool config_is_images_list(enum config_type type)
{
    return list_of(type) != NULL;
}

static int read_actions(const struct yaml *value, unsigned *ret, struct buf *why)
{
    unsigned bits = 0;

    if (value->kind != YAML_LIST || value->n_items == 0)
        return yaml_fail(value, why, "expected a list of actions, such as [push, delete]");
    for (size_t i = 0; i < value->n_items; i++) {
        const char *name;
        size_t k = 0;
        int r = yaml_string(value->items[i], &name, why);

        if (r < 0)
            return r;
        while (k < array_size(actions) && strcmp(actions[k].name, name) != 0)
            k++;
        if (k == array_size(actions))
            return yaml_fail(value->items[i], why,
                             "unknown action '%s'; there are push, pull, delete, mount", name);
        bits |= actions[k].bit;
    }
    *ret = bits;
    return 0;
}

static int read_media_types(const struct yaml *value, struct config_ignore *ret, struct buf *why)
{
    int r = 0;

    if (value->kind != YAML_LIST)
        return yaml_fail(value, why, "expected a list of media types");
    ret->media_types = xcalloc(value->n_items + 1, sizeof *ret->media_types);
    for (size_t i = 0; r == 0 && i < value->n_items; i++) {
        const char *text;

        r = yaml_string(value->items[i], &text, why);
        if (r == 0)
            ret->media_types[ret->n_media_types++] = xstrdup(text);
    }
    return r;
}

static int read_ignore(const struct yaml *value, struct config_ignore *ret, struct buf *why)
{
    static const char *const names[] = {"mediatypes", "actions", NULL};
    const struct yaml *types, *ignored;
    int r;

    if (value->kind != YAML_MAP)
        return yaml_fail(value, why, "expected {mediatypes: […], actions: […]}");
    r = yaml_check_map(value, names, why);
    types = yaml_get(value, "mediatypes");
    ignored = yaml_get(value, "actions");
    if (r == 0 && types != NULL)
        r = read_media_types(types, ret, why);
    if (r == 0 && ignored != NULL)
        r = read_actions(ignored, &ret->actions, why);
    return r;
}

static void free_ignore(struct config_ignore *ignore)
{
    for (size_t i = 0; i < ignore->n_media_types; i++)
        free(ignore->media_types[i]);
    free(ignore->media_types);
}

static int read_text(const struct yaml *value, const struct field *f, char **ret, struct buf *why)
{
    const char *text;
    size_t n;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    n = strlen(text);
    if (n == 0)
        return yaml_fail(value, why, "'%s' must not be empty", f->name);
    if (f->type == FIELD_URL) {
        if (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0)
            return yaml_fail(value, why, "'%s' begins with http:// or https://", f->name);
        if (strpbrk(text, " \t\r\n@") != NULL)
            return yaml_fail(value, why, "'%s' holds no blanks and no user", f->name);
        while (n > 0 && text[n - 1] == '/')
            n--;
    }
    *ret = xstrndup(text, n);
    return 0;
}

static int read_field(const struct yaml *item, const struct field *f, char *made, struct buf *why)
{
    const struct yaml *value = yaml_get(item, f->name);
    void *at = made + f->offset;

    if (value == NULL && f->required)
        return yaml_fail(item, why, "'%s' is missing", f->name);
    if (value == NULL) {
        if (f->type == FIELD_DURATION)
            *(int64_t *)at = -1;
        if (f->type == FIELD_ACTIONS)
            *(unsigned *)at = WEBHOOK_ALL;
        if (f->fallback != NULL)
            *(char **)at = xstrdup(f->fallback);
        return 0;
    }
    switch (f->type) {
    case FIELD_NUMBER:
        return yaml_u64(value, 1000000, at, why);
    case FIELD_DURATION:
        return yaml_duration_ms(value, at, why);
    case FIELD_BOOL:
        return yaml_bool(value, at, why);
    case FIELD_ACTIONS:
        return read_actions(value, at, why);
    case FIELD_IGNORE:
        return read_ignore(value, at, why);
    default:
        return read_text(value, f, at, why);
    }
}

static int read_item(struct config *c, const struct list *l, const struct yaml *item,
                     struct buf *why)
{
    char **items = (char **)((char *)c + l->items);
    size_t *n = (size_t *)((char *)c + l->n);
    const char *names[FIELDS_MAX] = {0};
    char *made;
    int r;

    for (size_t i = 0; l->fields[i].name != NULL; i++)
        names[i] = l->fields[i].name;
    r = yaml_check_map(item, names, why);
    if (r < 0)
        return r;
    *items = xrealloc(*items, (*n + 1) * l->item_size);
    made = *items + (*n)++ * l->item_size;
    memset(made, 0, l->item_size);
    for (size_t i = 0; r == 0 && l->fields[i].name != NULL; i++)
        r = read_field(item, &l->fields[i], made, why);
    return r < 0 || l->check == NULL ? r : l->check(item, made, why);
}

static void free_list(struct config *c, const struct list *l)
{
    char **items = (char **)((char *)c + l->items);
    size_t *n = (size_t *)((char *)c + l->n);

    for (size_t i = 0; i < *n; i++)
        for (const struct field *f = l->fields; f->name != NULL; f++) {
            void *at = *items + i * l->item_size + f->offset;

            if (f->type == FIELD_TEXT || f->type == FIELD_URL)
                free(*(char **)at);
            else if (f->type == FIELD_IGNORE)
                free_ignore(at);
        }
    free(*items);
    *items = NULL;
    *n = 0;
}

int config_set_images_list(struct config *c, const struct config_key *key,
                           const struct yaml *value, struct buf *why)
{
    const struct list *l = list_of(key->type);
    int r = 0;

    free_list(c, l);
    if (value->kind != YAML_LIST)
        return yaml_fail(value, why, "'%s' is a list", key->name);
    for (size_t i = 0; r == 0 && i < value->n_items; i++)
        r = read_item(c, l, value->items[i], why);
    return r;
}

void config_free_images_lists(struct config *c)
{
    for (size_t i = 0; i < array_size(lists); i++)
        free_list(c, &lists[i]);
}

static void print_actions(struct buf *out, unsigned bits)
{
    const char *comma = "";

    buf_add_char(out, '[');
    for (size_t i = 0; i < array_size(actions); i++)
        if (bits & actions[i].bit) {
            buf_printf(out, "%s%s", comma, actions[i].name);
            comma = ", ";
        }
    buf_add_char(out, ']');
}

static void print_text(struct buf *out, const char *text)
{
    buf_add_char(out, '"');
    json_escape(out, slice_str(text));
    buf_add_char(out, '"');
}

static void print_ignore(struct buf *out, const struct config_ignore *ignore)
{
    buf_add_str(out, "{mediatypes: [");
    for (size_t i = 0; i < ignore->n_media_types; i++) {
        buf_add_str(out, i > 0 ? ", " : "");
        print_text(out, ignore->media_types[i]);
    }
    buf_add_char(out, ']');
    if (ignore->actions != 0) {
        buf_add_str(out, ", actions: ");
        print_actions(out, ignore->actions);
    }
    buf_add_char(out, '}');
}

static bool is_given(const struct field *f, const void *at)
{
    switch (f->type) {
    case FIELD_NUMBER:
        return *(const uint64_t *)at != 0;
    case FIELD_DURATION:
        return *(const int64_t *)at >= 0;
    case FIELD_BOOL:
        return *(const bool *)at;
    case FIELD_ACTIONS:
        return true;
    case FIELD_IGNORE:
        return ((const struct config_ignore *)at)->n_media_types > 0 ||
               ((const struct config_ignore *)at)->actions != 0;
    default:
        return *(char *const *)at != NULL;
    }
}

static void print_item(const struct list *l, const char *item, struct buf *out)
{
    const char *comma = "";

    buf_add_str(out, "\n    - {");
    for (const struct field *f = l->fields; f->name != NULL; f++) {
        const void *at = item + f->offset;

        if (!is_given(f, at))
            continue;
        buf_printf(out, "%s%s: ", comma, f->name);
        comma = ", ";
        if (f->type == FIELD_NUMBER) {
            buf_add_u64(out, *(const uint64_t *)at);
        } else if (f->type == FIELD_DURATION) {
            config_print_duration(out, *(const int64_t *)at);
        } else if (f->type == FIELD_BOOL) {
            buf_add_str(out, "true");
        } else if (f->type == FIELD_ACTIONS) {
            print_actions(out, *(const unsigned *)at);
        } else if (f->type == FIELD_IGNORE) {
            print_ignore(out, at);
        } else {
            print_text(out, *(char *const *)at);
        }
    }
    buf_add_char(out, '}');
}

void config_print_images_list(const struct config *c, const struct config_key *key, struct buf *out)
{
    const struct list *l = list_of(key->type);
    const char *items = *(char *const *)((const char *)c + l->items);
    size_t n = *(const size_t *)((const char *)c + l->n);

    if (n == 0)
        buf_add_str(out, "[]");
    for (size_t i = 0; i < n; i++)
        print_item(l, items + i * l->item_size, out);
}

static const char *const auth_names[] = {"auto", "basic", "bearer", NULL};

int config_set_images_auth(struct config *c, const struct config_key *key,
                           const struct yaml *value, struct buf *why)
{
    const char *text;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    for (unsigned i = 0; auth_names[i] != NULL; i++)
        if (strcmp(text, auth_names[i]) == 0) {
            c->images_auth = (enum images_auth)i;
            return 0;
        }
    return yaml_fail(value, why, "%s is auto, basic or bearer, not '%s'", key->name, text);
}

const char *config_images_auth_name(enum images_auth auth)
{
    return auth_names[auth];
}
