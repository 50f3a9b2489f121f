/* identities.c: who a caller is, and what the policies say of it. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "identity/state.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static const char **copy_names(const char *const *names)
{
    size_t n = 0;
    const char **copy;

    while (names[n] != NULL)
        n++;
    copy = xcalloc(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(names[i]);
    return copy;
}

void user_policy(struct identities *ids, const char *user, struct buf *ret)
{
    autobuf text = {0};

    buf_clear(ret);
    buf_add_str(ret, "user-");
    for (const char *c = user; *c != 0; c++)
        buf_add_char(ret, (char)tolower((unsigned char)*c));
    if (policy_text(ids, ret->data, &text) == 0)
        return;
    buf_clear(ret);
    buf_add_str(ret, "team");
}

/* Does this speak of a user of the file: the user, or a token it logged in for? */
static bool is_file_user(enum identity_kind kind, const struct policy_entity *entity)
{
    return kind == IDENTITY_USER || (kind == IDENTITY_TOKEN && entity != NULL &&
                                     entity->alias_accessor[0] == 0);
}

/* A user of the file has the policy "user-<name>" in place of "team", if there is one; so have its
 * tokens. Returns new. */
static const char **own_names(struct identities *ids, bool is_user, const char *name,
                              const char *const *names)
{
    const char **own = copy_names(names);
    autobuf policy = {0};

    for (size_t i = 0; is_user && own[i] != NULL; i++)
        if (strcmp(own[i], "team") == 0) {
            user_policy(ids, name, &policy);
            free((char *)own[i]);
            own[i] = xstrdup(policy.data);
        }
    return own;
}

static void free_names(const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++)
        free((char *)names[i]);
    free((const char **)names);
}

static const struct policy_entity *copy_entity(const struct policy_entity *from)
{
    struct policy_entity *e;
    struct policy_pair *pairs;

    if (from == NULL)
        return NULL;
    e = xcalloc(1, sizeof *e);
    pairs = xcalloc(from->n_metadata + 1, sizeof *pairs);
    *e = (struct policy_entity){
        .id = xstrdup(from->id),
        .name = xstrdup(from->name),
        .alias_accessor = xstrdup(from->alias_accessor != NULL ? from->alias_accessor : ""),
        .alias_name = xstrdup(from->alias_name != NULL ? from->alias_name : ""),
        .metadata = pairs,
        .n_metadata = from->n_metadata,
    };
    for (size_t i = 0; i < from->n_metadata; i++)
        pairs[i] = (struct policy_pair){xstrdup(from->metadata[i].key),
                                        xstrdup(from->metadata[i].value)};
    return e;
}

static void free_entity(struct policy_entity *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->n_metadata; i++) {
        free((char *)e->metadata[i].key);
        free((char *)e->metadata[i].value);
    }
    free((struct policy_pair *)e->metadata);
    free((char *)e->id);
    free((char *)e->name);
    free((char *)e->alias_accessor);
    free((char *)e->alias_name);
    free(e);
}

struct identity *identity_new(struct identities *ids, enum identity_kind kind, const char *name,
                              const char *const *policies, const char *accessor,
                              const char *token_id)
{
    return identity_new_for(ids, kind, name, policies, accessor, token_id, NULL);
}

struct identity *identity_new_for(struct identities *ids, enum identity_kind kind, const char *name,
                                  const char *const *policies, const char *accessor,
                                  const char *token_id, const struct policy_entity *entity)
{
    struct identity *who = xcalloc(1, sizeof *who);

    *who = (struct identity){
        .kind = kind,
        .name = xstrdup(name),
        .given_names = copy_names(policies),
        .policy_names = own_names(ids, is_file_user(kind, entity), name, policies),
        .accessor = xstrdup(accessor),
        .token_id = xstrdup(token_id),
        .entity = copy_entity(entity),
        .refs = 1,
        .ids = ids,
    };
    guard(&ids->lock);
    who->generation = __atomic_load_n(&ids->generation, __ATOMIC_ACQUIRE);
    who->policies = named_set_get(ids, who->policy_names, who->entity);
    return who;
}

struct identity *identity_ref(const struct identity *who)
{
    struct identity *mine = (struct identity *)who; /* all but the count is immutable */

    __atomic_add_fetch(&mine->refs, 1, __ATOMIC_RELAXED);
    return mine;
}

void identity_unref(struct identity *who)
{
    if (who == NULL || __atomic_sub_fetch(&who->refs, 1, __ATOMIC_ACQ_REL) > 0 || who->ids == NULL)
        return;
    identity_unref(who->within);
    policy_set_unref(who->policies);
    for (size_t i = 0; i < who->n_retired; i++) {
        policy_set_unref(who->retired[i]);
        free_names(who->retired_names[i]);
    }
    free_names(who->policy_names);
    free_names(who->given_names);
    free(who->retired);
    free(who->retired_names);
    free((char *)who->name);
    free((char *)who->accessor);
    free((char *)who->token_id);
    free_entity((struct policy_entity *)who->entity);
    free(who);
}

/* A named policy changed: the set is compiled again. What was lives as long as the identity, since
 * another thread may be reading it. */
static void refresh(struct identity *who)
{
    struct identities *ids = who->ids;
    const char *const *names;
    struct policy_set *set;
    uint64_t now;

    guard(&ids->lock);
    now = __atomic_load_n(&ids->generation, __ATOMIC_ACQUIRE);
    if (who->generation == now)
        return;
    names = own_names(ids, is_file_user(who->kind, who->entity), who->name, who->given_names);
    set = named_set_get(ids, names, who->entity);
    who->retired = xrealloc(who->retired, (who->n_retired + 1) * sizeof *who->retired);
    who->retired_names =
        xrealloc(who->retired_names, (who->n_retired + 1) * sizeof *who->retired_names);
    who->retired_names[who->n_retired] = who->policy_names;
    who->retired[who->n_retired++] = who->policies;
    __atomic_store_n(&who->policy_names, names, __ATOMIC_RELEASE);
    __atomic_store_n(&who->policies, set, __ATOMIC_RELEASE);
    __atomic_store_n(&who->generation, now, __ATOMIC_RELEASE);
}

/* The set as it is now. */
static struct policy_set *current_set(const struct identity *who)
{
    if (who->ids != NULL && __atomic_load_n(&who->generation, __ATOMIC_ACQUIRE) !=
                                __atomic_load_n(&who->ids->generation, __ATOMIC_ACQUIRE))
        refresh((struct identity *)who);
    return __atomic_load_n(&who->policies, __ATOMIC_ACQUIRE);
}

const struct policy_set *identity_policies(const struct identity *who)
{
    return who->within != NULL ? who->policies : current_set(who);
}

bool identity_touches(const struct identity *who, struct slice prefix)
{
    return policy_set_touches(identity_policies(who), prefix);
}

unsigned identity_rights(const struct identity *who, struct slice path)
{
    unsigned rights;

    if (who->kind == IDENTITY_INTERNAL)
        return POLICY_ALL;
    if (who->within != NULL) {
        rights = policy_set_rights(who->policies, path);
        return rights & POLICY_DENY ? 0 : rights & identity_rights(who->within, path);
    }
    rights = policy_set_rights(current_set(who), path);
    return rights & POLICY_DENY ? 0 : rights;
}

const struct policy_limits *identity_limits(const struct identity *who, struct slice path)
{
    if (who->within != NULL) /* a scope sets no limits of its own */
        return identity_limits(who->within, path);
    return who->kind == IDENTITY_INTERNAL ? NULL : policy_set_limits(current_set(who), path);
}

/* What a door that cannot keep the limits of a rule may still do. */
static unsigned unlimited_rights(const struct op *op, struct slice path, unsigned rights)
{
    const struct policy_limits *l;

    if (op->limits_kept)
        return rights;
    l = identity_limits(op->who, path);
    if (l == NULL)
        return rights;
    if (l->min_wrapping_s > 0 || l->max_wrapping_s > 0)
        return 0;
    return rights & ~(unsigned)(POLICY_CREATE | POLICY_UPDATE | POLICY_PATCH);
}

/* Most paths are short: no allocation then. */
static unsigned rights_on(struct op *op, char small[256], const char **ret_path, const char *format,
                          va_list args) __attribute__((format(printf, 4, 0)));

static unsigned rights_on(struct op *op, char small[256], const char **ret_path, const char *format,
                          va_list args)
{
    va_list again;
    char *path = small;
    int n;

    va_copy(again, args);
    n = vsnprintf(small, 256, format, again);
    va_end(again);
    if (n >= 256) {
        path = op_alloc(op, (size_t)n + 1);
        vsnprintf(path, (size_t)n + 1, format, args);
    }
    *ret_path = path;
    return n < 0 ? 0
                 : unlimited_rights(op, slice_of(path, (size_t)n),
                                    identity_rights(op->who, slice_of(path, (size_t)n)));
}

static void name_rights(unsigned rights, char text[64])
{
    static const char *const names[] = {"create", "read", "update", "patch", "delete",
                                        "list",   "sudo", "",       "scan"};
    size_t len = 0;

    text[0] = 0;
    for (size_t i = 0; i < array_size(names); i++)
        if (rights & 1u << i)
            len += (size_t)snprintf(text + len, 64 - len, "%s%s", len > 0 ? ", " : "", names[i]);
}

int identity_check(struct op *op, unsigned rights, const char *path_format, ...)
{
    char small[256], wanted[64];
    const char *path;
    va_list args;
    unsigned have;

    va_start(args, path_format);
    have = rights_on(op, small, &path, path_format, args);
    va_end(args);
    if ((have & rights) == rights)
        return 0;
    if (op->who->within != NULL &&
        (identity_rights(op->who->within, slice_str(path)) & rights) == rights)
        return op_fail(op, EPERM, "this token is not for that on '%s'; ask for one that is", path);
    if (op->who->kind == IDENTITY_ANONYMOUS && op->door == DOOR_HTTP) {
        if (op->who->ids != NULL && !users_any(op->who->ids))
            return op_fail(op, EPERM, "no users yet: run 'infrafs user add NAME'");
        return op_fail(op, EPERM, "'%s' needs a user and password, or a token", path);
    }
    name_rights(rights & ~have, wanted);
    return op_fail(op, EACCES, "'%s' may not %s '%s'; a policy must allow it", op->who->name,
                   wanted, path);
}

bool identity_may(struct op *op, unsigned rights, const char *path_format, ...)
{
    char small[256];
    const char *path;
    va_list args;
    unsigned have;

    va_start(args, path_format);
    have = rights_on(op, small, &path, path_format, args);
    va_end(args);
    return (have & rights) == rights;
}

const struct identity *identity_anonymous(struct identities *ids)
{
    return ids->anonymous;
}

const struct identity *identity_internal(struct identities *ids)
{
    return ids->internal;
}

/* The entry of config.identities for a caller: its uid first, then its gids in order. */
static ssize_t find_entry(const struct config *c, uid_t uid, const gid_t *gids, size_t n_gids)
{
    for (size_t i = 0; i < c->n_identities; i++)
        if (!c->identities[i].is_group && c->identities[i].id == uid)
            return (ssize_t)i;
    for (size_t g = 0; g < n_gids; g++)
        for (size_t i = 0; i < c->n_identities; i++)
            if (c->identities[i].is_group && c->identities[i].id == gids[g])
                return (ssize_t)i;
    return -1;
}

void identity_entity_id(struct identities *ids, const char *mount, const char *name, char ret[37])
{
    autobuf text = {0};
    uint8_t mac[32];
    char hex[65];

    buf_printf(&text, "entity/%s/%s", mount, name);
    salt_hmac(ids->salt, buf_slice(&text), mac);
    hex_encode(slice_of(mac, sizeof mac), hex);
    snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

struct identity *identity_new_user(struct identities *ids, const char *name,
                                   const char *const *policies)
{
    struct policy_entity entity = {.name = name};
    char id[37];

    identity_entity_id(ids, "", name, id);
    entity.id = id;
    return identity_new_for(ids, IDENTITY_USER, name, policies, "", "", &entity);
}

static const char *const team_policies[] = {"default", "team", NULL};

static struct identity *make_local(struct identities *ids, const struct config_identity *entry)
{
    char name[32];

    if (entry->user != NULL && !users_know(ids, entry->user))
        return identity_ref(ids->anonymous);
    if (entry->user != NULL)
        return identity_new_user(ids, entry->user, team_policies);
    snprintf(name, sizeof name, "%s:%u", entry->is_group ? "group" : "uid", entry->id);
    return identity_new(ids, IDENTITY_USER, name, (const char *const *)entry->policies, "", "");
}

int identity_local(struct identities *ids, uid_t uid, const gid_t *gids, size_t n_gids,
                   struct identity **ret)
{
    ssize_t entry = find_entry(ids->config, uid, gids, n_gids);
    struct identity *made, *old;
    uint64_t users;

    if (entry < 0) {
        *ret = identity_ref(uid == 0 ? ids->root : ids->anonymous);
        return 0;
    }
    users = users_generation(ids);
    {
        guard(&ids->lock);
        if (ids->slots[entry].who != NULL && ids->slots[entry].users_generation == users) {
            *ret = identity_ref(ids->slots[entry].who);
            return 0;
        }
    }
    made = make_local(ids, &ids->config->identities[entry]);
    *ret = identity_ref(made);
    pthread_mutex_lock(&ids->lock);
    old = ids->slots[entry].who;
    ids->slots[entry] = (struct local_slot){.who = made, .users_generation = users};
    pthread_mutex_unlock(&ids->lock);
    identity_unref(old);
    return 0;
}

int identities_open(const struct config *config, struct store *store, struct identities **ret,
                    struct buf *why)
{
    static const char *const anonymous[] = {"anonymous", NULL}, *const root[] = {"root", NULL};
    struct identities *ids = xcalloc(1, sizeof *ids);
    int r;

    ids->config = config;
    ids->store = store;
    ids->generation = 1;
    pthread_mutex_init(&ids->lock, NULL);
    ids->slots = xcalloc(config->n_identities + 1, sizeof *ids->slots);
    ids->refusals = refusals_new();
    ids->anonymous = identity_new(ids, IDENTITY_ANONYMOUS, "anonymous", anonymous, "", "");
    ids->internal = identity_new(ids, IDENTITY_INTERNAL, "infrafs", root, "", "");
    ids->root = identity_new(ids, IDENTITY_USER, "root", root, "", "");
    r = salt_read(config->data, ids->salt, why);
    if (r == 0)
        r = users_open(ids, why);
    if (r == 0)
        r = tokens_open(ids, why);
    if (r < 0)
        identities_close(ids);
    else
        *ret = ids;
    return r;
}

void identities_close(struct identities *ids)
{
    if (ids == NULL)
        return;
    tokens_close(ids);
    users_close(ids);
    for (size_t i = 0; i < ids->config->n_identities; i++)
        identity_unref(ids->slots[i].who);
    free(ids->slots);
    identity_unref(ids->anonymous);
    identity_unref(ids->internal);
    identity_unref(ids->root);
    named_sets_free(ids);
    refusals_free(ids->refusals);
    pthread_mutex_destroy(&ids->lock);
    explicit_bzero(ids->salt, sizeof ids->salt);
    free(ids);
}
