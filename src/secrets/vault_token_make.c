/* vault_token_make.c: auth/token/create, and the roles that may shape it. */
#include "base/glob.h"
#include "base/scope.h"
#include "identity/cidr.h"
#include "secrets/vault_auth.h"

#include <ctype.h>
#include <errno.h>

static const struct vault_rows rows = {{"secrets/tokenroles", 18}, 34};
static const char *const settings[] = {
    "allowed_policies",       "allowed_policies_glob",    "disallowed_policies",
    "disallowed_policies_glob", "orphan",                 "period",
    "renewable",              "path_suffix",              "explicit_max_ttl",
    "allowed_entity_aliases", "bound_cidrs",              "name",
    NULL,
};

DEFINE_SCOPE(mount, struct mount, mount_unref)

static struct mount *token_mount(struct secrets *s)
{
    const char *rest;

    return mount_find(s->mounts, "auth/token/", &rest);
}

static bool has_name(const char *const *list, const char *name)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

static bool has_glob(const char *const *list, const char *name)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        if (glob_match(slice_str(list[i]), slice_str(name)))
            return true;
    return false;
}

static bool has_sudo(struct op *op, const char *path)
{
    return (identity_rights(op->who, slice_str(path)) & POLICY_SUDO) != 0;
}

/* A child may not do more than its parent: only root hands out what it likes. */
static int check_subset(struct op *op, const char *const *policies, bool sudo)
{
    for (size_t i = 0; policies[i] != NULL; i++) {
        bool is_root = strcmp(policies[i], "root") == 0;

        if (strcmp(policies[i], "default") == 0 || (sudo && !is_root) ||
            has_name(identity_policy_names(op->who), policies[i]))
            continue;
        return op_fail(op, EINVAL, "%s",
                       is_root ? "root tokens may not be created without parent token being root"
                               : "child policies must be subset of parent");
    }
    return 0;
}

static const char *quoted(struct op *op, const char *const *list)
{
    const char *text = "";

    for (size_t i = 0; list[i] != NULL; i++)
        text = op_printf(op, "%s%s\"%s\"", text, i > 0 ? " " : "", list[i]);
    return text;
}

static const char *const *with_default(struct op *op, const char *const *list)
{
    size_t n = 0;
    const char **more;

    while (list[n] != NULL)
        n++;
    if (has_name(list, "default"))
        return list;
    more = op_alloc(op, (n + 2) * sizeof *more);
    more[0] = "default";
    if (n > 0)
        memcpy(more + 1, list, n * sizeof *more);
    return more;
}

static int check_role_policies(struct op *op, const struct object *role, struct token_wish *w,
                               bool *ret_free)
{
    const char *const *allowed, *const *globs, *const *denied, *const *denied_globs;
    int r = object_list(op, role, "allowed_policies", &allowed);

    if (r == 0)
        r = object_list(op, role, "allowed_policies_glob", &globs);
    if (r == 0)
        r = object_list(op, role, "disallowed_policies", &denied);
    if (r == 0)
        r = object_list(op, role, "disallowed_policies_glob", &denied_globs);
    if (r < 0)
        return r;
    *ret_free = allowed[0] != NULL || globs[0] != NULL;
    if (w->policies[0] == NULL && allowed[0] != NULL)
        w->policies = allowed;
    for (size_t i = 0; w->policies[i] != NULL; i++) {
        const char *name = w->policies[i];

        if (*ret_free && strcmp(name, "default") != 0 && !has_name(allowed, name) &&
            !has_glob(globs, name))
            return op_fail(op, EINVAL,
                           "token policies ([%s]) must be subset of the role's allowed policies "
                           "([%s]) or glob policies ([%s])",
                           quoted(op, with_default(op, w->policies)),
                           quoted(op, with_default(op, allowed)), quoted(op, globs));
        if (has_name(denied, name) || has_glob(denied_globs, name))
            return op_fail(op, EINVAL, "token policy \"%s\" is disallowed by this role", name);
        if (strcmp(name, "root") == 0)
            return op_fail(op, EINVAL, "root tokens may not be created from a role");
    }
    return 0;
}

static int64_t either_seconds(struct op *op, const struct object *o, const char *key)
{
    return object_value(o, key).len > 0 ? object_seconds(op, o, key)
                                        : object_seconds(op, o, key + 6); /* without "token_" */
}

static int apply_role(struct op *op, const struct object *role, const char *name,
                      struct token_wish *w, bool *orphan, bool *ret_free)
{
    int64_t period = either_seconds(op, role, "token_period");
    int64_t most = either_seconds(op, role, "token_explicit_max_ttl");
    const char *suffix = NULL, *type = NULL;
    int r = check_role_policies(op, role, w, ret_free);

    if (r == 0)
        r = object_list(op, role, object_value(role, "token_bound_cidrs").len > 0
                                      ? "token_bound_cidrs"
                                      : "bound_cidrs", &w->cidrs);
    if (r == 0)
        r = vault_string(op, role, "path_suffix", &suffix);
    if (r == 0)
        r = vault_string(op, role, "token_type", &type);
    if (r < 0)
        return r;
    w->role = name;
    *orphan = *orphan || object_flag(role, "orphan", false);
    w->not_renewable = w->not_renewable || !object_flag(role, "renewable", true);
    w->no_default_policy =
        w->no_default_policy || object_flag(role, "token_no_default_policy", false);
    if (period > 0)
        w->period_s = period;
    if (most > 0 && (w->explicit_max_ttl_s == 0 || most < w->explicit_max_ttl_s))
        w->explicit_max_ttl_s = most;
    if (object_number(op, role, "token_num_uses") > 0 &&
        (w->num_uses == 0 || w->num_uses > object_number(op, role, "token_num_uses")))
        w->num_uses = object_number(op, role, "token_num_uses");
    if (suffix != NULL && suffix[0] != 0)
        w->path = op_printf(op, "%s/%s", w->path, suffix);
    if (type != NULL && strcmp(type, "batch") == 0)
        w->batch = true;
    else if (type != NULL && strcmp(type, "service") == 0)
        w->batch = false;
    if (w->batch) /* what a role says of service tokens alone */
        w->explicit_max_ttl_s = w->period_s = w->num_uses = 0;
    return 0;
}

static int read_seconds(struct op *op, const struct object *body, const char *key, int64_t *ret_s)
{
    struct slice value = object_value(body, key), text;
    int64_t ns = 0;

    if (value.len > 0 && vault_duration(op, value, &ns) < 0) {
        if (value_string(op, value, &text) < 0)
            text = value;
        if (text.len > 0 && *(const char *)text.data == '-')
            return op_fail(op, EINVAL, "%s must be positive", key);
        return op_fail(op, EINVAL, "time: invalid duration \"%.*s\"", (int)text.len,
                       (const char *)text.data);
    }
    *ret_s = ns / INT64_C(1000000000);
    return 0;
}

static int read_flags(struct op *op, const struct object *body, struct token_wish *w, bool *orphan)
{
    struct slice uses = object_value(body, "num_uses");
    const char *type = NULL;
    int r = vault_string(op, body, "type", &type);

    if (r < 0)
        return r;
    if (type != NULL && type[0] != 0 && strcmp(type, "service") != 0 && strcmp(type, "batch") != 0)
        return op_fail(op, EINVAL, "invalid 'token_type' value");
    w->batch = type != NULL && strcmp(type, "batch") == 0;
    w->no_default_policy = object_flag(body, "no_default_policy", false);
    *orphan = *orphan || object_flag(body, "no_parent", false);
    w->not_renewable = !object_flag(body, "renewable", true);
    if (uses.len > 0 && (value_integer(op, uses, &w->num_uses) < 0 || w->num_uses < 0))
        return w->num_uses < 0 ? op_fail(op, EINVAL, "number of uses cannot be negative")
                               : vault_refuse_field(op, "num_uses", "int");
    return 0;
}

static int read_id(struct op *op, const struct object *body, struct token_wish *w)
{
    const char *id = NULL;
    int r = vault_string(op, body, "id", &id);

    if (r == 0 && id != NULL && (strncmp(id, "s.", 2) == 0 || strncmp(id, "b.", 2) == 0))
        return op_fail(op, EINVAL, "custom token ID cannot have the '%.2s' prefix", id);
    if (r == 0 && id != NULL && strchr(id, '.') != NULL)
        return op_fail(op, EINVAL, "custom token ID cannot have a '.' in the value");
    w->token = slice_str(id);
    return r;
}

static int read_wish(struct op *op, const struct object *body, struct token_wish *w, bool *orphan)
{
    const char *name = NULL;
    int r = object_list(op, body, "policies", &w->policies);

    w->meta = object_value(body, "meta");
    if (r == 0)
        w->policies = token_clean_policies(op, w->policies);
    if (r == 0)
        r = read_flags(op, body, w, orphan);
    if (r == 0)
        r = read_seconds(op, body, "ttl", &w->ttl_s);
    if (r == 0 && w->ttl_s == 0)
        r = read_seconds(op, body, "lease", &w->ttl_s);
    if (r == 0)
        r = read_seconds(op, body, "explicit_max_ttl", &w->explicit_max_ttl_s);
    if (r == 0)
        r = read_seconds(op, body, "period", &w->period_s);
    if (r == 0)
        r = vault_string(op, body, "display_name", &name);
    if (r == 0)
        r = read_id(op, body, w);
    w->display_name =
        name != NULL && name[0] != 0 ? token_plain_name(op, op_printf(op, "token-%s", name)) : "token";
    return r;
}

/* "768h", not "768h0m0s". */
static const char *short_duration(struct op *op, int64_t s)
{
    if (s % 3600 == 0)
        return op_printf(op, "%" PRId64 "h", s / 3600);
    return s % 60 == 0 ? op_printf(op, "%" PRId64 "m", s / 60) : op_printf(op, "%" PRId64 "s", s);
}

const char *const *vault_token_warnings(struct web_request *req, const struct token_info *t,
                                        const struct token_wish *wish)
{
    bool made = wish->entity == NULL || strncmp(t->path, "auth/token/", 11) == 0;
    int64_t asked = wish->period_s > 0        ? wish->period_s
                    : wish->ttl_s > 0         ? wish->ttl_s
                    : wish->default_ttl_s > 0 ? wish->default_ttl_s
                                              : TOKEN_TTL_S;
    struct secrets *s = req->self;
    struct op *op = req->op;
    struct slice text;
    size_t n = 0;
    const char **list;

    while (t->policies[n] != NULL)
        n++;
    list = op_alloc(op, (n + 2) * sizeof *list);
    n = 0;
    if (!wish->lasting && asked > t->creation_ttl_s)
        list[n++] = op_printf(op,
                              "TTL of \"%s\" exceeded the effective max_ttl of \"%s\"; TTL value "
                              "is capped accordingly",
                              short_duration(op, asked), short_duration(op, t->creation_ttl_s));
    for (size_t i = 0; made && t->policies[i] != NULL; i++) {
        if (policies_get(s->identities, op, t->policies[i], &text) == -ENOENT) {
            list[n++] = op_printf(op, "Policy \"%s\" does not exist", t->policies[i]);
            op_forgive(op);
        }
    }
    return list;
}

/* Who makes it, and what of that it keeps: its place in the tree, its entity. */
static int read_parent(struct web_request *req, struct token_wish *w, bool orphan)
{
    struct secrets *s = req->self;
    struct token_info *own = op_alloc(req->op, sizeof *own);
    const char *id = req->op->who->token_id;
    int r;

    w->parent = orphan ? "" : id;
    if (id[0] == 0)
        return 0;
    r = token_lookup_id(s->identities, req->op, id, own);
    if (r == 0 && own->entity.id[0] != 0) {
        w->entity = &own->entity;
        w->user = own->user[0] != 0 ? own->user : NULL;
    }
    op_forgive(req->op);
    return r == 0 || strcmp(id, "root") == 0 || r == -EPERM ? 0 : r;
}

/* The policy `default` comes to who asks for others with the right to; else a child has it if its
 * parent has. */
static void settle_default(struct token_wish *w, const char *const *parents, bool sudo)
{
    if (w->policies[0] == NULL || !sudo)
        w->no_default_policy = w->no_default_policy || !has_name(parents, "default");
}

static int make(struct web_request *req, struct web_response *resp, struct token_wish *wish,
                bool orphan, const char *role_name)
{
    bool sudo = has_sudo(req->op, wish->path), from_role = false;
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    struct secrets *s = req->self;
    const char *token = NULL;
    struct token_info t;
    struct object role;
    int r = 0;

    mount = token_mount(s);
    if (mount == NULL)
        return -EIO;
    if (!sudo && role_name == NULL && (orphan || wish->token.len > 0 || wish->period_s > 0))
        return op_fail(req->op, EINVAL,
                       "root or sudo privileges required to create an orphan or periodic token, or "
                       "to choose its id");
    if (role_name != NULL) {
        r = rows_load(s, req->op, &rows, mount, role_name, &role, NULL);
        if (r == -ENOENT)
            return op_fail(req->op, EINVAL, "unknown role %s", role_name);
        if (r == 0)
            r = apply_role(req->op, &role, role_name, wish, &orphan, &from_role);
    }
    if (role_name == NULL && req->op->who->token_id[0] != 0)
        settle_default(wish, identity_policy_names(req->op->who), sudo);
    if (r == 0 && wish->policies[0] == NULL && identity_policy_names(req->op->who) != NULL)
        wish->policies = identity_policy_names(req->op->who);
    if (r == 0 && !from_role)
        r = check_subset(req->op, wish->policies, sudo);
    if (r == 0)
        r = token_clean_meta(req->op, &wish->meta);
    if (r == 0)
        r = read_parent(req, wish, orphan);
    login_mount_ttls(mount, wish);
    if (r == 0 && has_name(wish->policies, "root") && wish->ttl_s == 0 && !wish->batch &&
        wish->period_s == 0 && wish->explicit_max_ttl_s == 0)
        wish->lasting = true; /* root's child without a ttl lives as root does */
    if (r == 0)
        r = token_create(s->identities, req->op, wish, &token, &t);
    if (r == 0)
        vault_answer_auth_warned(req, resp, &t, token, vault_token_warnings(req, &t, wish));
    return r;
}

int vault_token_make(struct web_request *req, struct web_response *resp)
{
    bool orphan = strcmp(req->path, "/v1/auth/token/create-orphan") == 0;
    const char *role = web_param(req, "role");
    struct token_wish wish = {.path = req->path + 4};
    struct object body;
    int r = vault_begin(req);

    if (r == 0 && identity_is_batch(req->op->who))
        r = op_fail(req->op, EACCES, "a batch token makes no tokens");
    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "%s", wish.path);
    if (r == 0)
        r = vault_body(req, &body);
    if (r == 0)
        r = read_wish(req->op, &body, &wish, &orphan);
    return r == 0 ? make(req, resp, &wish, orphan, role[0] != 0 ? role : NULL) : r;
}

static int check_suffix(struct op *op, const char *suffix)
{
    for (size_t i = 0; suffix != NULL && suffix[i] != 0; i++)
        if (!isalnum((unsigned char)suffix[i]) && strchr("_-.", suffix[i]) == NULL)
            return op_fail(op, EINVAL, "given role path suffix contains invalid characters; must "
                                       "match \\w[\\w-.]+\\w");
    return 0;
}

static int check_role(struct op *op, const struct object *o)
{
    static const char *const lists[] = {"allowed_policies", "allowed_policies_glob",
                                        "disallowed_policies", "disallowed_policies_glob",
                                        "allowed_entity_aliases"};
    const char *suffix = NULL, *type = NULL;
    const char *const *list;
    int r = login_check(op, o);

    for (size_t i = 0; r == 0 && i < array_size(lists); i++)
        r = object_list(op, o, lists[i], &list);
    if (r == 0)
        r = object_check_seconds(op, o, "period");
    if (r == 0)
        r = object_check_seconds(op, o, "explicit_max_ttl");
    if (r == 0)
        r = vault_string(op, o, "path_suffix", &suffix);
    if (r == 0)
        r = check_suffix(op, suffix);
    if (r == 0)
        r = vault_string(op, o, "token_type", &type);
    if (r == 0 && type != NULL && strcmp(type, "batch") == 0 && !object_flag(o, "orphan", false))
        r = op_fail(op, EINVAL, "'token_type' cannot be 'batch' when role is set to generate "
                                "non-orphan tokens");
    return r;
}

static int write_role(struct web_request *req, struct mount *mount, const char *name)
{
    struct secrets *s = req->self;
    struct object body, old, all;
    struct buf text = {0}, named = {0};
    int known = rows_load(s, req->op, &rows, mount, name, &old, NULL);
    int r = known < 0 && known != -ENOENT ? known : vault_body(req, &body);

    if (r == 0)
        r = login_merge(req->op, known == 0 ? &old : NULL, &body, settings, &text);
    if (r == 0)
        r = object_parse(req->op, op_slice(req->op, buf_slice(&text)), &all);
    buf_done(&text);
    if (r == 0)
        r = check_role(req->op, &all);
    if (r == 0) {
        struct buf quoted_name = {0};
        struct json j;

        json_init(&j, &quoted_name);
        json_str(&j, name);
        object_edit(&all, SLICE("name"), buf_slice(&quoted_name), &named);
        r = rows_store(s, &rows, mount, name, buf_slice(&named));
        buf_done(&quoted_name);
    }
    buf_done(&named);
    return r == -EFBIG ? op_fail(req->op, EFBIG, "a role's settings are too large") : r;
}

static int read_role(struct web_request *req, struct web_response *resp, struct mount *mount,
                     const char *name)
{
    struct op *op = req->op;
    const char *suffix = NULL, *type = NULL;
    struct object o;
    struct vault_answer a;
    int r = rows_load(req->self, op, &rows, mount, name, &o, NULL);

    if (r < 0)
        return r;
    vault_string(op, &o, "path_suffix", &suffix);
    vault_string(op, &o, "token_type", &type);
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_klist(op, &a.json, "allowed_entity_aliases", object_value(&o, "allowed_entity_aliases"),
               true);
    json_klist(op, &a.json, "allowed_policies", object_value(&o, "allowed_policies"), false);
    json_klist(op, &a.json, "allowed_policies_glob", object_value(&o, "allowed_policies_glob"),
               false);
    json_klist(op, &a.json, "disallowed_policies", object_value(&o, "disallowed_policies"), false);
    json_klist(op, &a.json, "disallowed_policies_glob",
               object_value(&o, "disallowed_policies_glob"), false);
    json_ki64(&a.json, "explicit_max_ttl", object_seconds(op, &o, "explicit_max_ttl"));
    json_kstr(&a.json, "name", name);
    json_kbool(&a.json, "orphan", object_flag(&o, "orphan", false));
    json_kstr(&a.json, "path_suffix", suffix != NULL ? suffix : "");
    json_ki64(&a.json, "period", object_seconds(op, &o, "period"));
    json_kbool(&a.json, "renewable", object_flag(&o, "renewable", true));
    if (object_value(&o, "token_bound_cidrs").len > 0)
        json_klist(op, &a.json, "token_bound_cidrs", object_value(&o, "token_bound_cidrs"), false);
    json_ki64(&a.json, "token_explicit_max_ttl",
              either_seconds(op, &o, "token_explicit_max_ttl"));
    json_kbool(&a.json, "token_no_default_policy",
               object_flag(&o, "token_no_default_policy", false));
    if (object_number(op, &o, "token_num_uses") > 0)
        json_ki64(&a.json, "token_num_uses", object_number(op, &o, "token_num_uses"));
    json_ki64(&a.json, "token_period", either_seconds(op, &o, "token_period"));
    json_kstr(&a.json, "token_type", type != NULL && type[0] != 0 ? type : "default-service");
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    return 0;
}

int vault_token_role(struct web_request *req, struct web_response *resp)
{
    const char *name = web_param(req, "role");
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    bool reads = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
    bool deletes = strcmp(req->method, "DELETE") == 0;
    struct secrets *s = req->self;
    struct object old;
    int r = vault_begin(req);

    if (r == 0) {
        mount = token_mount(s);
        r = mount != NULL ? rows_load(s, req->op, &rows, mount, name, &old, NULL) : -EIO;
    }
    if (r == 0 || r == -ENOENT)
        r = identity_check(req->op,
                           reads          ? POLICY_READ
                           : deletes      ? POLICY_DELETE
                           : r == -ENOENT ? POLICY_CREATE
                                          : POLICY_UPDATE,
                           "%s", req->path + 4);
    if (r < 0)
        return r;
    if (reads)
        return read_role(req, resp, mount, name);
    r = deletes ? rows_store(s, &rows, mount, name, slice_of(NULL, 0))
                : write_role(req, mount, name);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

int vault_token_roles(struct web_request *req, struct web_response *resp)
{
    scope_cleanup(scope_mount) struct mount *mount = NULL;
    int r = vault_begin(req);

    if (r == 0)
        r = vault_check_list(req->op, POLICY_LIST, "auth/token/roles");
    if (r < 0)
        return r;
    if (!vault_is_list(req))
        return -ENOTSUP;
    mount = token_mount(req->self);
    if (mount == NULL)
        return -EIO;
    return rows_answer_names(req, resp, &rows, mount, NULL);
}

/* What has expired ends by itself, at its time: there is nothing to tidy. */
int vault_token_tidy(struct web_request *req, struct web_response *resp)
{
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "%s", req->path + 4);
    if (r == 0)
        vault_answer_warning(req, resp, 202,
                             "Tidy operation successfully started. Any information from the "
                             "operation will be printed to the server's log.");
    return r;
}
