#include "config.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/scope.h"
#include "config_images.h"
#include "config_schema.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_FILE   "/etc/infrafs/infrafs.yml"
#define PREFIX         "INFRAFS_" /* of variables of the environment */
#define PREFIX_LEN     (sizeof PREFIX - 1)
#define FILE_MAX_BYTES (1u << 20)

DEFINE_SCOPE(yaml, struct yaml, yaml_free)

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    config_free_listen(c);
    config_free_identities(c);
    config_free_grants(c);
    config_free_images_lists(c);
    free(c->file);
    free(c->data);
    free(c->mount);
    free(c->store);
    free(c->users);
    free(c->prometheus);
    free(c->rules);
    free(c->external_url);
    free(c->webhook);
    free(c->unseal);
    free(c->audit_file);
    free(c->credentials_socket);
    free(c->run_as);
    free(c->packages_mirror);
    config_free_names(&c->packages_mirror_allow);
    free(c->packages_mirror_credentials);
    free(c->packages_mirror_ca);
    free(c);
}

/* A value that stands in no file: it has no line. Lists are YAML in one line. */
static int set_from_text(struct config *c, const struct config_key *key, const char *text,
                         struct buf *why)
{
    scope_cleanup(scope_yaml) struct yaml *list = NULL;
    autofree char *copy = xstrdup(text);
    struct yaml scalar = {.kind = YAML_SCALAR, .text = copy, .text_len = strlen(copy)};
    bool is_list = key->type == CONFIG_IDENTITIES || key->type == CONFIG_GRANTS ||
                   config_is_images_list(key->type) ||
                   (key->type == CONFIG_LISTEN && text[0] == '[');

    if (!is_list)
        return config_set(c, key, &scalar, why);
    if (yaml_parse(slice_str(text), &list, why) < 0)
        return -EINVAL;
    return list != NULL ? config_set(c, key, list, why) : -EINVAL;
}

static struct config *new_with_defaults(void)
{
    struct config *c = xcalloc(1, sizeof *c);
    autobuf why = {0};

    for (const struct config_key *key = config_keys; key->name != NULL; key++)
        if (key->fallback != NULL && set_from_text(c, key, key->fallback, &why) < 0)
            abort(); /* the table is ours */
    return c;
}

/* The names of a section's keys; with NULL those of the top and the sections. */
static void names_of(const char *section, const char *names[64])
{
    size_t n = 0;

    for (const struct config_key *key = config_keys; key->name != NULL; key++)
        if (section == NULL ? key->section == NULL
                            : key->section != NULL && strcmp(key->section, section) == 0)
            names[n++] = key->name;
    for (size_t i = 0; section == NULL && config_sections[i] != NULL; i++)
        names[n++] = config_sections[i];
    names[n] = NULL;
}

static bool is_empty(const struct yaml *y)
{
    return y == NULL || (y->kind == YAML_SCALAR && y->text == NULL);
}

/* `audit: off` */
static bool turns_audit_off(struct config *c, const char *section, const struct yaml *y)
{
    bool on = true;
    autobuf ignored = {0};

    if (strcmp(section, "audit") != 0 || yaml_bool(y, &on, &ignored) < 0 || on)
        return false;
    free(c->audit_file);
    c->audit_file = xstrdup("");
    return true;
}

static int read_section(struct config *c, const char *section, const struct yaml *y,
                        struct buf *why)
{
    const char *names[64];
    int r;

    if (section != NULL && (is_empty(y) || turns_audit_off(c, section, y)))
        return 0;
    names_of(section, names);
    r = yaml_check_map(y, names, why);
    for (const struct config_key *key = config_keys; r == 0 && key->name != NULL; key++) {
        const struct yaml *value;

        if (section == NULL ? key->section != NULL
                            : key->section == NULL || strcmp(key->section, section) != 0)
            continue;
        value = yaml_get(y, key->name);
        if (value != NULL)
            r = config_set(c, key, value, why);
    }
    return r;
}

static int read_text(struct config *c, struct slice text, struct buf *why)
{
    scope_cleanup(scope_yaml) struct yaml *top = NULL;
    int r = yaml_parse(text, &top, why);

    if (r < 0 || top == NULL)
        return r;
    r = read_section(c, NULL, top, why);
    for (size_t i = 0; r == 0 && config_sections[i] != NULL; i++)
        r = read_section(c, config_sections[i], yaml_get(top, config_sections[i]), why);
    return r;
}

static void environment_name(const struct config_key *key, char name[64])
{
    snprintf(name, 64, PREFIX "%s%s%s", key->section != NULL ? key->section : "",
             key->section != NULL ? "_" : "", key->name);
    for (char *p = name; *p != 0; p++)
        *p = (char)toupper((unsigned char)*p);
}

/* A variable that is nearly one of ours is a mistake; others of our prefix may be somebody else's. */
static void warn_of_variables(void)
{
    const char *names[64] = {0};
    char texts[64][64];
    size_t n = 0;

    for (const struct config_key *key = config_keys; key->name != NULL; key++, n++) {
        environment_name(key, texts[n]);
        names[n] = texts[n] + PREFIX_LEN;
    }
    for (char **v = environ; *v != NULL; v++) {
        autofree char *name = xstrndup(*v, strcspn(*v, "="));
        const char *near;

        if (strncmp(name, PREFIX, PREFIX_LEN) != 0)
            continue;
        near = nearest_name(name + PREFIX_LEN, names);
        if (near != NULL && strcmp(near, name + PREFIX_LEN) != 0)
            log_line(LOG_WARN, NULL, "config.environment", "unknown=%s meant=" PREFIX "%s", name,
                     near);
    }
}

static int read_environment(struct config *c, struct buf *why)
{
    warn_of_variables();
    for (const struct config_key *key = config_keys; key->name != NULL; key++) {
        char name[64];
        const char *text;
        autobuf reason = {0};

        environment_name(key, name);
        text = getenv(name);
        if (text == NULL || set_from_text(c, key, text, &reason) == 0)
            continue;
        buf_printf(why, "%s: %s", name, reason.len > 0 ? reason.data : "is not valid");
        return -EINVAL;
    }
    return 0;
}

static void set_text(char **at, const char *text)
{
    if (text == NULL)
        return;
    free(*at);
    *at = xstrdup(text);
}

static int read_flags(struct config *c, const struct config_flags *flags, struct buf *why)
{
    set_text(&c->data, flags->data);
    set_text(&c->mount, flags->mount);
    set_text(&c->users, flags->htpasswd);
    set_text(&c->prometheus, flags->prometheus);
    if (flags->no_mount) {
        free(c->mount);
        c->mount = NULL;
    }
    if (flags->n_listen > 0)
        config_free_listen(c);
    for (size_t i = 0; i < flags->n_listen; i++) {
        struct yaml one = {.kind = YAML_SCALAR};
        struct yaml *items[] = {&one};
        struct yaml list = {.kind = YAML_LIST, .items = items, .n_items = 1};
        struct config single = {0};
        autofree char *copy = xstrdup(flags->listen[i]);
        autobuf reason = {0};

        one.text = copy;
        one.text_len = strlen(copy);
        if (config_set_listen(&single, &list, &reason) < 0) {
            config_free_listen(&single);
            buf_printf(why, "--listen: %s", reason.data);
            return -EINVAL;
        }
        c->listen = xrealloc(c->listen, (c->n_listen + 1) * sizeof *c->listen);
        c->listen[c->n_listen++] = single.listen[0];
        free(single.listen);
    }
    return 0;
}

/* DATA at the start, or behind the first colon, is the data folder. */
static void expand_data(const char *data, char **at)
{
    char *text = *at;
    char *start = text, *colon, *expanded;

    if (text == NULL)
        return;
    colon = strchr(text, ':');
    if (colon != NULL && memchr(text, '/', (size_t)(colon - text)) == NULL)
        start = colon + 1;
    if (strncmp(start, "DATA", 4) != 0 || (start[4] != '/' && start[4] != 0))
        return;
    if (asprintf(&expanded, "%.*s%s%s", (int)(start - text), text, data, start + 4) < 0)
        abort();
    free(text);
    *at = expanded;
}

static int finish(struct config *c, struct buf *why)
{
    for (const struct config_key *key = config_keys; key->name != NULL; key++)
        if (key->type == CONFIG_PATH || key->type == CONFIG_UNSEAL)
            expand_data(c->data, (char **)((char *)c + key->offset));
    if (c->users[0] == 0 || c->prometheus[0] == 0 || c->store[0] == 0) {
        buf_printf(why, "'users', 'prometheus' and 'store' must not be empty");
        return -EINVAL;
    }
    if (c->n_listen == 0) {
        buf_printf(why, "'listen' names no address");
        return -EINVAL;
    }
    return 0;
}

static int read_file(struct config *c, const char *path, bool required, struct buf *why)
{
    autobuf text = {0}, reason = {0};
    int r = file_read(path, FILE_MAX_BYTES, &text);

    if (r == -ENOENT && !required)
        return 0;
    if (r < 0) {
        buf_printf(why, "%s: %s", path, strerror(-r));
        return r;
    }
    r = read_text(c, buf_slice(&text), &reason);
    if (r < 0) {
        buf_printf(why, "%s: %s", path, reason.data != NULL ? reason.data : strerror(-r));
        return r;
    }
    set_text(&c->file, path);
    return 0;
}

int config_load(const struct config_flags *flags, struct config **ret, struct buf *why)
{
    struct config *c = new_with_defaults();
    const char *file = flags->config != NULL ? flags->config : getenv("INFRAFS_CONFIG");
    int r;

    r = read_file(c, file != NULL ? file : DEFAULT_FILE, file != NULL, why);
    if (r == 0)
        r = read_environment(c, why);
    if (r == 0)
        r = read_flags(c, flags, why);
    if (r == 0)
        r = finish(c, why);
    if (r < 0)
        config_free(c);
    else
        *ret = c;
    return r;
}

int config_parse(struct slice text, struct config **ret, struct buf *why)
{
    struct config *c = new_with_defaults();
    int r = read_text(c, text, why);

    if (r == 0)
        r = finish(c, why);
    if (r < 0)
        config_free(c);
    else
        *ret = c;
    return r;
}
