#include "secrets/tree_place.h"

#include "base/scope.h"
#include "secrets/tree_name.h"

#include <errno.h>

#define OTHER_ROOT ".infra/secrets"

void place_done(struct place *p)
{
    mount_unref(p->mount);
    p->mount = NULL;
}

bool place_may(struct op *op, const char *path, unsigned rights)
{
    return identity_may(op, rights, SECRETS_TREE_MOUNT "data/%s", path);
}

bool place_may_add(struct op *op, const char *path)
{
    const char *below = op_printf(op, SECRETS_TREE_MOUNT "data/%s/", path);

    return place_may(op, path, POLICY_CREATE) || place_may(op, path, POLICY_UPDATE) ||
           identity_may(op, POLICY_CREATE, "%s", below) ||
           identity_may(op, POLICY_UPDATE, "%s", below);
}

static bool may_anything(struct op *op, const char *full)
{
    unsigned rights = identity_rights(op->who, slice_str(full));

    return rights != 0 && (rights & POLICY_DENY) == 0;
}

static const char *const nouns[] = {"data", "metadata"};

bool place_is_visible(struct op *op, const char *path)
{
    if (path[0] == 0)
        return true;
    for (size_t i = 0; i < array_size(nouns); i++) {
        const char *full = op_printf(op, SECRETS_TREE_MOUNT "%s/%s", nouns[i], path);

        if (may_anything(op, full) ||
            identity_touches(op->who, slice_str(op_printf(op, "%s/", full))))
            return true;
    }
    return false;
}

/* Nobody without a right there, on the secret above either, is let look: how long the look takes
 * would tell what is there. */
static bool may_look(struct op *op, const char *parent, const char *path)
{
    for (size_t i = 0; i < array_size(nouns) && parent[0] != 0; i++) {
        if (may_anything(op, op_printf(op, SECRETS_TREE_MOUNT "%s/%s", nouns[i], parent)))
            return true;
    }
    return place_is_visible(op, path);
}

bool place_is_whole(const struct place *p)
{
    return p->kind == PLACE_ENV || p->kind == PLACE_DOCKER_ENV || p->kind == PLACE_JSON ||
           p->kind == PLACE_YAML;
}

int place_check_visible(struct op *op, const struct place *p)
{
    if (p->kind == PLACE_ABSENT || (place_is_whole(p) && !p->has_secret))
        return -ENOENT;
    if (p->kind == PLACE_FOLDER)
        return place_is_visible(op, p->path) ? 0 : -ENOENT;
    return place_may(op, p->path, POLICY_READ) ? 0 : -ENOENT;
}

int place_check(struct op *op, const struct place *p, unsigned rights)
{
    if (place_may(op, p->path, rights))
        return 0;
    return op_fail(op, EACCES, "'%s' may not do this to '" SECRETS_TREE_MOUNT "data/%s'",
                   op->who->name, p->path);
}

int place_load_version(struct op *op, struct place *p, uint32_t number)
{
    int r = kv_get(op, p->mount->kv, p->path, number, &p->secret, &p->version, &p->content);

    if (r == 0 && p->version.destroyed)
        r = -ENODATA;
    else if (r == 0 && p->content.text.len == 0)
        r = -ENOENT;
    return r == 0 ? object_parse(op, p->content.text, &p->object) : r;
}

int place_load(struct op *op, struct place *p)
{
    int r = place_load_version(op, p, 0);

    p->has_secret = r == 0;
    return r == -ENODATA ? -ENOENT : r;
}

static int find_member(struct op *op, struct place *p, int loaded, enum place_kind kind)
{
    if (loaded < 0 && loaded != -ENOENT)
        return loaded;
    op_forgive(op);
    if (loaded == 0)
        p->member = object_find(&p->object, p->field);
    p->kind = p->member != NULL ? kind : PLACE_ABSENT;
    return 0;
}

/* A folder's row, or a secret that can be read; else a field of the secret above. */
static int find_plain(struct op *op, struct place *p, const char *parent, const char *name)
{
    const char *folder = tree_folder_of(op, name);
    const char *path = op_printf(op, "%s%s%s", parent, parent[0] != 0 ? "/" : "", folder);
    int r;

    p->path = parent;
    p->child = path;
    p->field = tree_field_of(op, name);
    if (!may_look(op, parent, path))
        return 0;
    r = kv_find_folder(op, p->mount->kv, path, &p->folder);
    p->has_folder = r == 0 && (p->folder.folder_flags & KV_HIDDEN) == 0;
    if (r == 0 || r == -ENOENT)
        r = kv_find(op, p->mount->kv, path, &p->secret);
    if (r < 0 && r != -ENOENT)
        return r;
    op_forgive(op);
    p->has_secret = r == 0 && kv_is_live(&p->secret);
    if (p->has_folder || p->has_secret) {
        p->path = path;
        p->child = NULL;
        p->kind = PLACE_FOLDER;
        return 0;
    }
    return find_member(op, p, parent[0] != 0 ? place_load(op, p) : -ENOENT, PLACE_FIELD);
}

static int find_special(struct op *op, struct place *p, const char *name)
{
    static const struct {
        const char *name;
        enum place_kind kind;
    } names[] = {{"@env", PLACE_ENV},
                 {"@docker-env", PLACE_DOCKER_ENV},
                 {"@json", PLACE_JSON},
                 {"@yaml", PLACE_YAML},
                 {"@meta", PLACE_META},
                 {"@watch", PLACE_WATCH},
                 {"@versions", PLACE_VERSIONS}};
    bool seen = place_is_visible(op, p->path);
    int r;

    if (strncmp(name, TREE_KEY_PREFIX, strlen(TREE_KEY_PREFIX)) == 0) {
        p->is_key = true;
        p->field = tree_field_of(op, name + strlen(TREE_KEY_PREFIX));
        return find_member(op, p, seen ? place_load(op, p) : -ENOENT, PLACE_FIELD);
    }
    for (size_t i = 0; i < array_size(names); i++) {
        if (strcmp(name, names[i].name) != 0)
            continue;
        p->kind = names[i].kind;
        if (p->kind == PLACE_WATCH) /* also of a secret that is yet to come */
            return 0;
        if (p->kind == PLACE_META || p->kind == PLACE_VERSIONS)
            return seen ? kv_find(op, p->mount->kv, p->path, &p->secret) : -ENOENT;
        r = seen ? place_load(op, p) : -ENOENT;
        if (r == -ENOENT) /* it may be written */
            op_forgive(op);
        return r == -ENOENT ? 0 : r;
    }
    return -ENOENT;
}

/* What follows "@versions/". */
static int find_old(struct op *op, struct place *p, const char *rest)
{
    const char *number;
    const char *field = path_head(op, rest, &number);
    int64_t n = 0;
    int r;

    if (value_integer(op, slice_str(number), &n) < 0 || n < 1 || n > UINT32_MAX ||
        strchr(field, '/') != NULL || !place_is_visible(op, p->path))
        return -ENOENT;
    p->kind = PLACE_VERSION;
    r = place_load_version(op, p, (uint32_t)n);
    if (field[0] == 0)
        return r == -ENODATA ? 0 : r; /* a folder of what was destroyed: it is there, and empty */
    if (r < 0)
        return r;
    p->field = tree_field_of(op, strncmp(field, TREE_KEY_PREFIX, 5) == 0 ? field + 5 : field);
    r = find_member(op, p, 0, PLACE_OLD_FIELD);
    return p->kind == PLACE_ABSENT ? -ENOENT : r;
}

/* The components before the first that begins with a single '@', decoded; *ret_rest from there. */
static const char *plain_part(struct op *op, const char *path, const char **ret_rest)
{
    const char *ret = "";

    while (path[0] != 0 && (path[0] != '@' || path[1] == '@')) {
        const char *head;

        path = path_head(op, path, &head);
        ret = op_printf(op, "%s%s%s", ret, ret[0] != 0 ? "/" : "", tree_folder_of(op, head));
    }
    *ret_rest = path;
    return ret;
}

static int find_below(struct op *op, struct place *p, const char *path)
{
    const char *special, *name, *rest;

    p->path = plain_part(op, path, &special);
    if (special[0] == 0) /* the last component may be a field, whose name is decoded otherwise */
        return find_plain(op, p, path_folder(op, p->path), path_base(path));
    if (p->path[0] == 0)
        return -ENOENT; /* the root is no secret */
    rest = path_head(op, special, &name);
    if (strcmp(name, "@versions") == 0 && rest[0] != 0)
        return find_old(op, p, rest);
    return rest[0] == 0 ? find_special(op, p, name) : -ENOENT;
}

/* Behind which root; NULL: the path is a root itself. */
static const char *strip_root(const char *path)
{
    size_t len = strlen(OTHER_ROOT);

    if (strncmp(path, OTHER_ROOT, len) != 0 || (path[len] != 0 && path[len] != '/'))
        return path;
    return path[len] == 0 ? "" : path + len + 1;
}

int place_find(struct op *op, struct secrets *s, const char *path, struct place *ret)
{
    const char *inside = strip_root(path);
    int r;

    *ret = (struct place){.s = s, .path = "", .kind = PLACE_FOLDER, .is_root = inside[0] == 0};
    if (path[0] == 0) { /* other areas are listed here too, so it is there while sealed */
        ret->mount = secrets_tree_mount(s);
        return 0;
    }
    r = secrets_check(s, op);
    if (r < 0)
        return -EACCES;
    ret->mount = secrets_tree_mount(s);
    if (ret->mount == NULL)
        return -ENOENT;
    if (inside[0] != 0) {
        ret->kind = PLACE_ABSENT;
        r = find_below(op, ret, inside);
    }
    if (r < 0)
        place_done(ret);
    return r == -ESHUTDOWN ? -EACCES : r;
}
