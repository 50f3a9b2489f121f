/* vault_login.c: settings that users and roles share, and the token they give. */
#include "base/codec.h"
#include "base/scope.h"
#include "identity/cidr.h"
#include "secrets/vault_auth.h"

#include <errno.h>
#include <stdio.h>

#define SECOND INT64_C(1000000000)

static const char *const durations[] = {"token_ttl", "token_max_ttl", "token_explicit_max_ttl",
                                        "token_period"};

int64_t object_seconds(struct op *op, const struct object *o, const char *key)
{
    struct slice value = object_value(o, key);
    int64_t ns = 0;

    return value.len > 0 && vault_duration(op, value, &ns) == 0 ? ns / SECOND : 0;
}

int64_t object_number(struct op *op, const struct object *o, const char *key)
{
    int64_t n = 0;

    return value_integer(op, object_value(o, key), &n) == 0 ? n : 0;
}

bool object_flag(const struct object *o, const char *key, bool standard)
{
    value_boolean(object_value(o, key), &standard);
    return standard;
}

int object_list(struct op *op, const struct object *o, const char *key, const char *const **ret)
{
    const char **list;

    if (vault_strings(op, object_value(o, key), &list) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"%s\": expected a list",
                       key);
    *ret = list;
    return 0;
}

void json_klist(struct op *op, struct json *j, const char *key, struct slice value,
                bool null_if_absent)
{
    const char **list;

    json_key(j, key);
    if (value.len == 0 && null_if_absent) {
        json_null(j);
        return;
    }
    json_array(j);
    if (vault_strings(op, value, &list) == 0) {
        for (size_t i = 0; list[i] != NULL; i++)
            json_str(j, list[i]);
    }
    json_array_end(j);
}

int object_check_seconds(struct op *op, const struct object *o, const char *key)
{
    struct slice value = object_value(o, key), text;
    int64_t ns;

    if (value.len == 0 || vault_duration(op, value, &ns) == 0)
        return 0;
    if (value_string(op, value, &text) < 0)
        text = value;
    if (text.len > 0 && *(const char *)text.data == '-')
        return op_fail(op, EINVAL, "'%s' cannot be negative", key);
    return op_fail(op, EINVAL, "error converting input for field \"%s\": expected a duration", key);
}

static int check_cidrs(struct op *op, const struct object *o)
{
    const char *const *list;
    struct cidr range;
    int r = object_list(op, o, "token_bound_cidrs", &list);

    for (size_t i = 0; r == 0 && list[i] != NULL; i++)
        if (cidr_parse(list[i], &range) < 0)
            r = op_fail(op, EINVAL,
                        "error parsing address \"%s\": Unable to convert \"%s\" to an IPv4 or IPv6 "
                        "address, or a UNIX Socket",
                        list[i], list[i]);
    return r;
}

int login_check(struct op *op, const struct object *o)
{
    static const char *const types[] = {"", "default", "service", "batch", "default-service",
                                        "default-batch"};
    const char *type = NULL;
    const char *const *policies;
    bool known = false;
    int r = check_cidrs(op, o);

    for (size_t i = 0; r == 0 && i < array_size(durations); i++)
        r = object_check_seconds(op, o, durations[i]);
    if (r == 0)
        r = object_list(op, o, "token_policies", &policies);
    if (r == 0)
        r = vault_string(op, o, "token_type", &type);
    if (r < 0)
        return r;
    for (size_t i = 0; type != NULL && i < array_size(types); i++)
        known = known || strcmp(type, types[i]) == 0;
    if (type != NULL && !known)
        return op_fail(op, EINVAL, "invalid 'token_type' value \"%s\"", type);
    if (object_number(op, o, "token_num_uses") < 0)
        return op_fail(op, EINVAL, "'token_num_uses' cannot be negative");
    if (type != NULL && strcmp(type, "batch") == 0 &&
        (object_number(op, o, "token_num_uses") != 0 || object_seconds(op, o, "token_period") != 0))
        return op_fail(op, EINVAL, "'token_type' cannot be 'batch' when set to generate tokens with "
                                   "limited use count or a period");
    if (object_seconds(op, o, "token_max_ttl") > 0 &&
        object_seconds(op, o, "token_ttl") > object_seconds(op, o, "token_max_ttl"))
        return op_fail(op, EINVAL, "'token_ttl' cannot be greater than 'token_max_ttl'");
    return 0;
}

static bool is_kept(struct slice key, const char *const *more)
{
    for (size_t i = 0; more != NULL && more[i] != NULL; i++)
        if (slice_eq(key, slice_str(more[i])))
            return true;
    return slice_starts(key, SLICE("token_"));
}

int login_merge(struct op *op, const struct object *old, const struct object *body,
                const char *const *more, struct buf *out)
{
    struct buf sent = {0};
    struct json j;
    int r;

    json_init(&j, &sent);
    json_object(&j);
    for (size_t i = 0; i < body->n; i++) {
        if (!is_kept(body->members[i].key, more))
            continue;
        json_key_slice(&j, body->members[i].key);
        json_raw(&j, body->members[i].value);
    }
    json_object_end(&j);
    r = value_merge(op, old != NULL ? old->text : slice_of(NULL, 0), buf_slice(&sent), out);
    buf_wipe(&sent);
    return r;
}

void login_mount_ttls(struct mount *mount, struct token_wish *ret)
{
    struct mount_tune tune = mount_get_tune(mount);

    ret->default_ttl_s = tune.default_ttl_s;
    ret->max_ttl_s = tune.max_ttl_s;
}

/* The older names of userpass stand in for those that are absent. */
static int64_t setting(struct op *op, const struct object *o, const char *key)
{
    return object_value(o, key).len > 0 ? object_seconds(op, o, key)
                                        : object_seconds(op, o, key + 6); /* without "token_" */
}

/* The kind of token a login gives: what the mount says plainly counts, else what the role says. */
static bool gives_batch(struct op *op, struct mount *mount, const char *type)
{
    struct mount_tune tune = mount_get_tune(mount);
    const char *word = mount_config_word(op, &tune, "token_type");

    if (strcmp(word, "batch") == 0 || strcmp(word, "service") == 0)
        return word[0] == 'b';
    if (strcmp(word, "default-batch") == 0)
        return type[0] == 0 || strcmp(type, "default") == 0 || strcmp(type, "batch") == 0 ||
               strcmp(type, "default-batch") == 0;
    return strcmp(type, "batch") == 0 || strcmp(type, "default-batch") == 0;
}

int login_wish(struct op *op, const struct object *o, struct mount *mount, struct token_wish *ret)
{
    const char *const *policies;
    const char *type = NULL;
    int64_t most;
    int r = object_list(op, o, object_value(o, "token_policies").len > 0 ? "token_policies"
                                                                         : "policies", &policies);

    if (r == 0)
        r = object_list(op, o, "token_bound_cidrs", &ret->cidrs);
    if (r == 0)
        r = vault_string(op, o, "token_type", &type);
    if (r < 0)
        return r;
    for (size_t i = 0; policies[i] != NULL; i++) {
        if (strcmp(policies[i], "root") == 0) /* as Vault has it */
            return op_fail(op, EINVAL, "auth methods cannot create root tokens");
    }
    login_mount_ttls(mount, ret);
    ret->policies = policies;
    ret->ttl_s = setting(op, o, "token_ttl");
    most = setting(op, o, "token_max_ttl");
    if (most > 0 && (ret->max_ttl_s == 0 || most < ret->max_ttl_s))
        ret->max_ttl_s = most < TOKEN_TTL_S || ret->max_ttl_s > 0 ? most : TOKEN_TTL_S;
    ret->explicit_max_ttl_s = object_seconds(op, o, "token_explicit_max_ttl");
    ret->period_s = setting(op, o, "token_period");
    ret->no_default_policy = object_flag(o, "token_no_default_policy", false);
    ret->num_uses = object_number(op, o, "token_num_uses");
    ret->batch = gives_batch(op, mount, type != NULL ? type : "");
    if (ret->batch)
        ret->explicit_max_ttl_s = ret->num_uses = ret->period_s = 0;
    return 0;
}

int login_check_address(struct op *op, const struct object *o)
{
    const char *const *cidrs;
    int r = object_list(op, o, "token_bound_cidrs", &cidrs);

    if (r < 0 || cidrs_have(cidrs, op->remote))
        return r;
    return op_fail(op, EPERM, "the address is not among those that are allowed");
}

static void json_cidrs(struct op *op, struct json *j, const struct object *o)
{
    char text[CIDR_TEXT_MAX];
    const char *const *list;
    struct cidr range;

    json_key(j, "token_bound_cidrs");
    json_array(j);
    if (object_list(op, o, "token_bound_cidrs", &list) == 0) {
        for (size_t i = 0; list[i] != NULL; i++)
            json_str(j, cidr_parse(list[i], &range) == 0 ? cidr_print(&range, text) : list[i]);
    }
    json_array_end(j);
}

void login_json(struct op *op, struct json *j, const struct object *o)
{
    const char *type = NULL;

    json_cidrs(op, j, o);
    json_ki64(j, "token_explicit_max_ttl", object_seconds(op, o, "token_explicit_max_ttl"));
    json_ki64(j, "token_max_ttl", setting(op, o, "token_max_ttl"));
    json_kbool(j, "token_no_default_policy", object_flag(o, "token_no_default_policy", false));
    json_ki64(j, "token_num_uses", object_number(op, o, "token_num_uses"));
    json_ki64(j, "token_period", setting(op, o, "token_period"));
    json_klist(op, j, "token_policies",
               object_value(o, "token_policies").len > 0 ? object_value(o, "token_policies")
                                                         : object_value(o, "policies"),
               false);
    json_kbool(j, "token_strictly_bind_ip", object_flag(o, "token_strictly_bind_ip", false));
    json_ki64(j, "token_ttl", setting(op, o, "token_ttl"));
    vault_string(op, o, "token_type", &type);
    json_kstr(j, "token_type", type != NULL && type[0] != 0 ? type : "default");
}

const struct policy_entity *login_entity(struct secrets *s, struct op *op,
                                         const struct mount *mount, const char *name)
{
    struct policy_entity *e = op_alloc(op, sizeof *e);
    char id[37];

    identity_entity_id(s->identities, mount != NULL ? mount->uuid : "", name, id);
    e->id = op_strdup(op, id);
    e->name = mount != NULL ? op_printf(op, "entity_%.8s", id) : name;
    e->alias_accessor = mount != NULL ? mount->accessor : "";
    e->alias_name = name;
    return e;
}
