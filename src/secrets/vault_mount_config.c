/* vault_mount_config.c: the settings of a mount beside its ttls. They are kept and shown as they
 * were sent; two of them count here: whether who is not known sees the mount, and which kind of
 * token a login gives. (Values in the audit log are HMACs whatever audit_non_hmac_… says.) */
#include "base/scope.h"
#include "secrets/vault.h"

#include <errno.h>

static const char *const lists[] = {"audit_non_hmac_request_keys", "audit_non_hmac_response_keys",
                                    "passthrough_request_headers", "allowed_response_headers"};
static const char *const words[] = {"listing_visibility", "token_type"};

static bool is_one_of(const char *word, const char *const *known)
{
    for (size_t i = 0; known[i] != NULL; i++)
        if (strcmp(word, known[i]) == 0)
            return true;
    return false;
}

static int check_words(struct op *op, const struct object *sent, bool auth)
{
    static const char *const seen[] = {"", "hidden", "unauth", NULL};
    static const char *const types[] = {"", "service", "batch", "default-service", "default-batch",
                                        NULL};
    const char *visibility = NULL, *type = NULL;
    int r = vault_string(op, sent, "listing_visibility", &visibility);

    if (r == 0)
        r = vault_string(op, sent, "token_type", &type);
    if (r < 0)
        return r;
    if (visibility != NULL && !is_one_of(visibility, seen))
        return op_fail(op, EINVAL, "invalid listing_visibility %s", visibility);
    if (auth && type != NULL && !is_one_of(type, types))
        return op_fail(op, EINVAL, "invalid value for 'token_type'");
    return 0;
}

/* What was sent stands in for what is kept; a list without members is none. */
static int add_list(struct op *op, struct json *j, const char *key, struct slice value)
{
    const char **list;

    if (vault_strings(op, value, &list) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"%s\": expected a list",
                       key);
    if (list[0] == NULL)
        return 0;
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; list[i] != NULL; i++)
        json_str(j, list[i]);
    json_array_end(j);
    return 0;
}

static struct slice either(const struct object *sent, const struct object *old, const char *key)
{
    return object_find(sent, slice_str(key)) != NULL ? object_value(sent, key)
                                                     : object_value(old, key);
}

static int print(struct op *op, const struct object *sent, const struct object *old, bool auth,
                 struct json *j)
{
    int r = 0;

    json_object(j);
    for (size_t i = 0; r == 0 && i < array_size(lists); i++)
        r = add_list(op, j, lists[i], either(sent, old, lists[i]));
    for (size_t i = 0; r == 0 && i < array_size(words); i++) {
        struct slice value = either(sent, old, words[i]);

        if (value.len > 2 && (auth || strcmp(words[i], "token_type") != 0)) {
            json_key(j, words[i]);
            json_raw(j, value);
        }
    }
    json_object_end(j);
    return r;
}

static int parse_kept(struct op *op, const char *text, struct object *ret)
{
    *ret = (struct object){0};
    return text[0] != 0 ? object_parse(op, op_slice(op, slice_str(text)), ret) : 0;
}

int mount_config_merge(struct op *op, const struct object *sent, bool auth, struct mount_tune *tune)
{
    struct buf out = {0};
    struct object old;
    struct json j;
    int r = check_words(op, sent, auth);

    if (r == 0)
        r = parse_kept(op, tune->config, &old);
    if (r < 0)
        return r;
    json_init(&j, &out);
    r = print(op, sent, &old, auth, &j);
    if (r == 0 && out.len >= sizeof tune->config)
        r = op_fail(op, EINVAL, "the settings of a mount have up to %zu bytes",
                    sizeof tune->config - 1);
    if (r == 0) {
        memcpy(tune->config, out.data, out.len);
        tune->config[out.len] = 0;
        if (out.len == 2) /* {} */
            tune->config[0] = 0;
    }
    buf_done(&out);
    return r;
}

void mount_config_json(struct op *op, struct json *j, const struct mount_tune *tune, bool auth)
{
    struct object kept;

    if (parse_kept(op, tune->config, &kept) < 0)
        kept = (struct object){0};
    for (size_t i = 0; i < kept.n; i++) {
        json_key_slice(j, kept.members[i].key);
        json_raw(j, kept.members[i].value);
    }
    if (auth && object_value(&kept, "token_type").len == 0)
        json_kstr(j, "token_type", "default-service");
}

const char *mount_config_word(struct op *op, const struct mount_tune *tune, const char *key)
{
    const char *word = NULL;
    struct object kept;

    if (parse_kept(op, tune->config, &kept) < 0 || vault_string(op, &kept, key, &word) < 0 ||
        word == NULL)
        return "";
    return word;
}
