/* config_lists.c: the two keys that are lists: where to listen, and who callers of the mount are.
 */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "config_schema.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

const struct config_area_name config_areas[] = {
    {"all", AREA_ALL},
    {"secrets", AREA_SECRETS},
    {"packages", AREA_PACKAGES},
    {"images", AREA_IMAGES},
    {"metrics", AREA_METRICS},
    {"tree", AREA_TREE},
    {NULL, 0},
};

void config_free_listen(struct config *c)
{
    for (size_t i = 0; i < c->n_listen; i++) {
        free(c->listen[i].address);
        free(c->listen[i].certificate);
        free(c->listen[i].key);
    }
    free(c->listen);
    c->listen = NULL;
    c->n_listen = 0;
}

void config_free_identities(struct config *c)
{
    for (size_t i = 0; i < c->n_identities; i++) {
        char **policies = c->identities[i].policies;

        for (size_t k = 0; policies != NULL && policies[k] != NULL; k++)
            free(policies[k]);
        free(policies);
        free(c->identities[i].user);
    }
    free(c->identities);
    c->identities = NULL;
    c->n_identities = 0;
}

bool config_address_valid(const char *address)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;

    if (colon == NULL || colon == address)
        return false;
    if (address[0] == '[' ? colon[-1] != ']' : strchr(address, ':') != colon)
        return false; /* an IPv6 address stands in brackets */
    for (const char *p = address; *p != 0; p++)
        if ((unsigned char)*p <= ' ' || *p == ',' || *p == 0x7f)
            return false;
    return parse_u64(slice_str(colon + 1), 65535, &port) == 0;
}

static struct config_listen *add_listen(struct config *c, const char *address)
{
    struct config_listen *l;

    c->listen = xrealloc(c->listen, (c->n_listen + 1) * sizeof *c->listen);
    l = &c->listen[c->n_listen++];
    *l = (struct config_listen){.address = xstrdup(address), .areas = AREA_ALL};
    return l;
}

static int read_area(const struct yaml *value, unsigned *areas, struct buf *why)
{
    const char *names[array_size(config_areas)] = {0};
    const char *name, *near;
    int r = yaml_string(value, &name, why);

    if (r < 0)
        return r;
    for (size_t i = 0; config_areas[i].name != NULL; i++) {
        names[i] = config_areas[i].name;
        if (strcmp(name, config_areas[i].name) == 0) {
            *areas |= config_areas[i].bits;
            return 0;
        }
    }
    near = nearest_name(name, names);
    if (near != NULL)
        return yaml_fail(value, why, "unknown area '%s'; did you mean '%s'?", name, near);
    return yaml_fail(value, why,
                     "unknown area '%s'; there are all, secrets, packages, images, metrics, tree",
                     name);
}

static int read_areas(const struct yaml *value, unsigned *ret, struct buf *why)
{
    unsigned areas = 0;
    int r = 0;

    if (value->kind == YAML_SCALAR) {
        r = read_area(value, &areas, why);
    } else {
        if (value->kind != YAML_LIST || value->n_items == 0)
            return yaml_fail(value, why, "expected a list of areas, such as [images, packages]");
        for (size_t i = 0; r == 0 && i < value->n_items; i++)
            r = read_area(value->items[i], &areas, why);
    }
    if (r == 0)
        *ret = areas;
    return r;
}

static int read_tls(struct config_listen *l, const struct yaml *tls, struct buf *why)
{
    static const char *const keys[] = {"certificate", "key", NULL};
    const struct yaml *certificate = yaml_get(tls, "certificate"), *key = yaml_get(tls, "key");
    const char *text;
    int r = yaml_check_map(tls, keys, why);

    if (r < 0)
        return r;
    if (certificate == NULL || key == NULL)
        return yaml_fail(tls, why, "tls needs both 'certificate' and 'key'");
    r = yaml_string(certificate, &text, why);
    if (r < 0)
        return r;
    l->certificate = xstrdup(text);
    r = yaml_string(key, &text, why);
    if (r < 0)
        return r;
    l->key = xstrdup(text);
    return 0;
}

static int read_listen(struct config *c, const struct yaml *item, struct buf *why)
{
    static const char *const keys[] = {"address", "areas", "tls", NULL};
    const struct yaml *address = item, *areas = NULL, *tls = NULL;
    struct config_listen *l;
    const char *text;
    int r = 0;

    if (item->kind != YAML_SCALAR) {
        r = yaml_check_map(item, keys, why);
        if (r < 0)
            return r;
        address = yaml_get(item, "address");
        areas = yaml_get(item, "areas");
        tls = yaml_get(item, "tls");
    }
    if (address == NULL)
        return yaml_fail(item, why, "'address' is missing, such as \"127.0.0.1:8080\"");
    r = yaml_string(address, &text, why);
    if (r < 0)
        return r;
    if (!config_address_valid(text))
        return yaml_fail(address, why, "'%s' is not an address and port, such as 127.0.0.1:8080",
                         text);
    l = add_listen(c, text);
    if (areas != NULL)
        r = read_areas(areas, &l->areas, why);
    if (r == 0 && tls != NULL)
        r = read_tls(l, tls, why);
    return r;
}

/* "a:1,b:2", as the environment and the default have it */
static int read_listen_text(struct config *c, const struct yaml *value, struct buf *why)
{
    const char *text;
    autofree char *copy = NULL;
    char *rest, *word;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    copy = xstrdup(text);
    for (word = strtok_r(copy, ", ", &rest); word != NULL; word = strtok_r(NULL, ", ", &rest)) {
        if (!config_address_valid(word))
            return yaml_fail(value, why, "'%s' is not an address and port, such as 127.0.0.1:8080",
                             word);
        add_listen(c, word);
    }
    if (c->n_listen == 0)
        return yaml_fail(value, why, "an address to listen on is missing");
    return 0;
}

int config_set_listen(struct config *c, const struct yaml *value, struct buf *why)
{
    int r = 0;

    config_free_listen(c);
    if (value->kind == YAML_SCALAR)
        return read_listen_text(c, value, why);
    if (value->kind == YAML_MAP)
        return read_listen(c, value, why);
    for (size_t i = 0; r == 0 && i < value->n_items; i++)
        r = read_listen(c, value->items[i], why);
    return r;
}

void config_free_names(char ***names)
{
    for (char **name = *names; name != NULL && *name != NULL; name++)
        free(*name);
    free(*names);
    *names = NULL;
}

static void add_name(char ***names, size_t *n, const char *name)
{
    *names = xrealloc(*names, (*n + 2) * sizeof **names);
    (*names)[(*n)++] = xstrdup(name);
    (*names)[*n] = NULL;
}

int config_set_names(char ***names, const struct yaml *value, struct buf *why)
{
    const char *text;
    autofree char *copy = NULL;
    char *rest, *word;
    size_t n = 0;
    int r = 0;

    config_free_names(names);
    if (value->kind == YAML_MAP)
        return yaml_fail(value, why, "expected a list of names");
    for (size_t i = 0; value->kind == YAML_LIST && i < value->n_items; i++) {
        r = yaml_string(value->items[i], &text, why);
        if (r < 0)
            return r;
        add_name(names, &n, text);
    }
    if (value->kind == YAML_LIST)
        return 0;
    r = yaml_string(value, &text, why);
    if (r < 0)
        return r;
    copy = xstrdup(text);
    for (word = strtok_r(copy, ", ", &rest); word != NULL; word = strtok_r(NULL, ", ", &rest))
        add_name(names, &n, word);
    return 0;
}

static int find_user(const char *name, uint32_t *ret)
{
    char memory[16384];
    struct passwd record, *found = NULL;

    if (getpwnam_r(name, &record, memory, sizeof memory, &found) != 0 || found == NULL)
        return -ENOENT;
    *ret = record.pw_uid;
    return 0;
}

static int find_group(const char *name, uint32_t *ret)
{
    char memory[16384];
    struct group record, *found = NULL;

    if (getgrnam_r(name, &record, memory, sizeof memory, &found) != 0 || found == NULL)
        return -ENOENT;
    *ret = record.gr_gid;
    return 0;
}

/* A number, or a name of this machine's. */
static int read_id(const struct yaml *value, bool is_group, uint32_t *ret, struct buf *why)
{
    const char *text;
    uint64_t number;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    if (parse_u64(slice_str(text), UINT32_MAX - 1, &number) == 0) {
        *ret = (uint32_t)number;
        return 0;
    }
    r = is_group ? find_group(text, ret) : find_user(text, ret);
    if (r < 0)
        return yaml_fail(value, why, "this machine has no %s '%s'", is_group ? "group" : "user",
                         text);
    return 0;
}

static int read_policies(struct config_identity *id, const struct yaml *list, struct buf *why)
{
    if (list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list of policies, such as [team]");
    id->policies = xcalloc(list->n_items + 1, sizeof *id->policies);
    for (size_t i = 0; i < list->n_items; i++) {
        const char *name;
        int r = yaml_string(list->items[i], &name, why);

        if (r < 0)
            return r;
        id->policies[i] = xstrdup(name);
    }
    return 0;
}

static int read_identity(struct config *c, const struct yaml *item, struct buf *why)
{
    static const char *const keys[] = {"uid", "user", "gid", "group", "policies", NULL};
    const struct yaml *uid = yaml_get(item, "uid"), *user = yaml_get(item, "user");
    const struct yaml *gid = yaml_get(item, "gid"), *policies = yaml_get(item, "policies");
    struct config_identity *id;
    const char *name;
    int r = yaml_check_map(item, keys, why);

    if (r < 0)
        return r;
    if (gid == NULL)
        gid = yaml_get(item, "group");
    if ((uid == NULL) == (gid == NULL))
        return yaml_fail(item, why, "an identity names either 'uid' or 'group'");
    if ((user == NULL) == (policies == NULL))
        return yaml_fail(item, why, "an identity needs either 'user' or 'policies'");
    c->identities = xrealloc(c->identities, (c->n_identities + 1) * sizeof *c->identities);
    id = &c->identities[c->n_identities++];
    *id = (struct config_identity){.is_group = gid != NULL};
    r = read_id(uid != NULL ? uid : gid, id->is_group, &id->id, why);
    if (r < 0 || policies != NULL)
        return r < 0 ? r : read_policies(id, policies, why);
    r = yaml_string(user, &name, why);
    if (r == 0)
        id->user = xstrdup(name);
    return r;
}

int config_set_identities(struct config *c, const struct yaml *value, struct buf *why)
{
    int r = 0;

    config_free_identities(c);
    if (value->kind != YAML_LIST)
        return yaml_fail(value, why, "expected a list, such as [{uid: 1000, user: alice}]");
    for (size_t i = 0; r == 0 && i < value->n_items; i++)
        r = read_identity(c, value->items[i], why);
    return r;
}
