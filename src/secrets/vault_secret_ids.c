/* vault_secret_ids.c: secret ids of a role: made, looked up, destroyed. */
#include "base/clock.h"
#include "base/scope.h"
#include "identity/cidr.h"
#include "secrets/approle.h"

#include <errno.h>

#define SECOND INT64_C(1000000000)

static bool is_write(const struct web_request *req)
{
    return strcmp(req->method, "PUT") == 0 || strcmp(req->method, "POST") == 0;
}

/* Metadata is JSON in a string; an object is taken as well. Values are strings. */
static int read_metadata(struct op *op, const struct object *body, struct slice *ret)
{
    struct slice value = object_value(body, "metadata"), text = value;
    struct object o;

    *ret = SLICE("{}");
    if (value.len == 0)
        return 0;
    if (*(const char *)value.data == '"' && value_string(op, value, &text) < 0)
        text.len = 0;
    if (text.len == 0)
        return 0;
    if (object_parse(op, text, &o) < 0) {
        op_forgive(op);
        return op_fail(op, EINVAL, "failed to parse metadata: failed to parse the input: invalid "
                                   "<key,value> format");
    }
    for (size_t i = 0; i < o.n; i++)
        if (value_string(op, o.members[i].value, &text) < 0)
            return op_fail(op, EINVAL, "failed to parse metadata: values are strings");
    *ret = o.text;
    return 0;
}

static bool is_within(const struct cidr *c, const char *const *ranges)
{
    char text[CIDR_TEXT_MAX];
    struct cidr outer, whole = *c;

    whole.bits = 128;
    cidr_print(&whole, text);
    for (size_t i = 0; ranges[i] != NULL; i++)
        if (cidr_parse(ranges[i], &outer) == 0 && outer.bits <= c->bits && cidr_has(&outer, text))
            return true;
    return ranges[0] == NULL;
}

/* Ranges of a secret id lie within those of its role. */
static int read_ranges(struct op *op, const struct object *body, const char *key,
                       const struct role *role, const char *role_key, const char *const **ret)
{
    const char *const *outer;
    int r = object_list(op, body, key, ret);

    if (r == 0)
        r = object_list(op, &role->settings, role_key, &outer);
    for (size_t i = 0; r == 0 && (*ret)[i] != NULL; i++) {
        struct cidr c;

        if (cidr_parse((*ret)[i], &c) < 0)
            r = op_fail(op, EINVAL, "failed to validate CIDR blocks: invalid CIDR address: %s",
                        (*ret)[i]);
        else if (!is_within(&c, outer))
            r = op_fail(op, EINVAL,
                        "failed to verify subset relationship between CIDR blocks on the role and "
                        "CIDR blocks on the secret ID: '%s'",
                        (*ret)[i]);
    }
    return r;
}

static int read_limits(struct op *op, const struct object *body, const struct role *role,
                       struct secret_id *id)
{
    struct slice uses = object_value(body, "num_uses");
    int64_t most = object_number(op, &role->settings, "secret_id_num_uses");
    int64_t longest = object_seconds(op, &role->settings, "secret_id_ttl");
    int r = object_check_seconds(op, body, "ttl");

    if (r < 0)
        return r;
    id->uses = most;
    id->ttl_s = longest;
    if (uses.len > 0 && (value_integer(op, uses, &id->uses) < 0 || id->uses < 0))
        return op_fail(op, EINVAL, "num_uses cannot be negative");
    if (most > 0 && (id->uses > most || id->uses == 0))
        return op_fail(op, EINVAL,
                       "num_uses cannot be higher than the role's secret_id_num_uses");
    if (object_value(body, "ttl").len > 0)
        id->ttl_s = object_seconds(op, body, "ttl");
    if (longest > 0 && (id->ttl_s > longest || id->ttl_s == 0))
        return op_fail(op, EINVAL, "ttl cannot be longer than the role's secret_id_ttl");
    return 0;
}

static int make(struct kv_request *q, const struct approle *a, const struct role *role,
                bool custom)
{
    char made[37], accessor[37];
    struct secret_id id = {.role = role->name, .accessor = accessor};
    const char *secret = made;
    struct vault_answer answer;
    struct object body;
    int r = vault_body(q->req, &body);

    if (r == 0 && custom)
        r = vault_string(q->op, &body, "secret_id", &secret);
    if (r == 0 && custom && (secret == NULL || secret == made || secret[0] == 0))
        r = op_fail(q->op, EINVAL, "missing secret_id");
    if (r == 0)
        r = read_limits(q->op, &body, role, &id);
    if (r == 0)
        r = read_metadata(q->op, &body, &id.metadata);
    if (r == 0)
        r = read_ranges(q->op, &body, "cidr_list", role, "secret_id_bound_cidrs", &id.cidrs);
    if (r == 0)
        r = read_ranges(q->op, &body, "token_bound_cidrs", role, "token_bound_cidrs",
                        &id.token_cidrs);
    if (r == 0 && !object_flag(&role->settings, "bind_secret_id", true))
        r = op_fail(q->op, EINVAL, "bind_secret_id is not set on the role");
    if (r < 0)
        return r;
    approle_uuid(made);
    approle_uuid(accessor);
    id.created_ns = id.updated_ns = clock_unix_ns();
    id.expires_ns = id.ttl_s > 0 ? id.created_ns + id.ttl_s * SECOND : 0;
    id.key = secret_id_key(a, role->name, secret);
    r = secret_id_add(a, &id);
    if (r < 0)
        explicit_bzero(made, sizeof made);
    if (r == -EEXIST)
        return op_fail(q->op, EINVAL, "failed to store secret_id: SecretID is already registered");
    if (r == -EFBIG)
        return op_fail(q->op, EFBIG, "the metadata is too large");
    if (r < 0)
        return r;
    vault_answer_begin(&answer, q->req);
    json_object(&answer.json);
    json_kstr(&answer.json, "secret_id", secret);
    json_kstr(&answer.json, "secret_id_accessor", accessor);
    answer.accessor = op_strdup(q->op, accessor);
    json_ki64(&answer.json, "secret_id_num_uses", id.uses);
    json_ki64(&answer.json, "secret_id_ttl", id.ttl_s);
    json_object_end(&answer.json);
    vault_answer_end(&answer, q->resp, 0);
    explicit_bzero(made, sizeof made);
    return 0;
}

static void json_texts(struct json *j, const char *key, const char *const *list)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        json_str(j, list[i]);
    json_array_end(j);
}

static int answer_lookup(struct kv_request *q, const struct secret_id *id)
{
    struct vault_answer a;

    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_texts(&a.json, "cidr_list", id->cidrs);
    json_ktime(&a.json, "creation_time", id->created_ns);
    if (id->expires_ns > 0)
        json_ktime(&a.json, "expiration_time", id->expires_ns);
    else
        json_kstr(&a.json, "expiration_time", "0001-01-01T00:00:00Z");
    json_ktime(&a.json, "last_updated_time", id->updated_ns);
    json_kraw(&a.json, "metadata", id->metadata);
    json_kstr(&a.json, "secret_id_accessor", id->accessor);
    json_ki64(&a.json, "secret_id_num_uses", id->uses);
    json_ki64(&a.json, "secret_id_ttl", id->ttl_s);
    json_texts(&a.json, "token_bound_cidrs", id->token_cidrs);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 0);
    return 0;
}

/* A lookup of an accessor that is not there is a 404 with a body of its own. */
static int answer_no_accessor(struct kv_request *q, const char *accessor)
{
    struct vault_answer a;

    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_kstr(&a.json, "error",
              op_printf(q->op, "failed to find accessor entry for secret_id_accessor: \"%s\"",
                        accessor));
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 404);
    return 0;
}

static int handle_one(struct kv_request *q, const struct approle *a, const struct role *role,
                      bool by_accessor, bool destroys)
{
    const char *key = by_accessor ? "secret_id_accessor" : "secret_id";
    const char *text = NULL;
    struct secret_id id = {0};
    struct object body;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = vault_string(q->op, &body, key, &text);
    if (r == 0 && (text == NULL || text[0] == 0))
        r = op_fail(q->op, EINVAL, "missing %s", key);
    if (r < 0)
        return r;
    r = by_accessor ? secret_id_by_accessor(a, text, &id)
                    : secret_id_find(a, role->name, text, &id);
    if (r == 0 && strcmp(id.role, role->name) != 0)
        r = -ENOENT;
    if (r == -ENOENT && by_accessor && destroys)
        return op_fail(q->op, EINVAL,
                       "failed to find accessor entry for secret_id_accessor: \"%s\"", text);
    if (r == -ENOENT && by_accessor)
        return answer_no_accessor(q, text);
    if (r == 0 && !destroys)
        return answer_lookup(q, &id);
    if (r == 0)
        r = secret_id_remove(a, &id);
    if (r == 0 || r == -ENOENT) {
        vault_answer_empty(q->resp);
        return 0;
    }
    return r;
}

struct listing {
    struct json *json;
    bool any;
};

static int list_one(void *ctx, const struct secret_id *id)
{
    struct listing *l = ctx;

    json_str(l->json, id->accessor);
    l->any = true;
    return 0;
}

static int list(struct kv_request *q, const struct approle *a, const struct role *role)
{
    struct vault_answer answer;
    struct listing l = {.json = &answer.json};
    int r;

    vault_answer_begin(&answer, q->req);
    json_object(&answer.json);
    json_key(&answer.json, "keys");
    json_array(&answer.json);
    r = secret_id_each(a, role->name, list_one, &l);
    json_array_end(&answer.json);
    json_object_end(&answer.json);
    return vault_answer_finish(&answer, q->resp, 0, r == 0 && !l.any ? -ENOENT : r);
}

int approle_secret_ids(struct kv_request *q, const struct role *role, const char *verb,
                       const char *rest)
{
    struct approle a = {.s = q->s, .mount = q->mount, .op = q->op};
    bool by_accessor = strcmp(verb, "secret-id-accessor") == 0;
    bool deletes = strcmp(q->req->method, "DELETE") == 0;

    if (role == NULL)
        return vault_answer_error(q->req, q->resp, 404,
                                  op_printf(q->op, "role \"%.*s\" does not exist",
                                            (int)strcspn(q->path + 5, "/"), q->path + 5));
    if (rest[0] == 0 && vault_is_list(q->req))
        return list(q, &a, role);
    if (rest[0] == 0)
        return is_write(q->req) ? make(q, &a, role, strcmp(verb, "custom-secret-id") == 0)
                                : -ENOTSUP;
    if (strcmp(rest, "/lookup") == 0)
        return is_write(q->req) ? handle_one(q, &a, role, by_accessor, false) : -ENOTSUP;
    if (strcmp(rest, "/destroy") == 0)
        return is_write(q->req) || deletes ? handle_one(q, &a, role, by_accessor, true) : -ENOTSUP;
    return vault_unsupported_path(q->req, q->resp);
}
