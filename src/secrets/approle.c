#include "secrets/approle.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

const struct vault_rows approle_rows[4] = {
    [APPROLE_ROLE] = {{"secrets/approle", 15}, 35},
    [APPROLE_ID] = {{"secrets/approle", 15}, 36},
    [APPROLE_ACCESSOR] = {{"secrets/approle", 15}, 37},
    [APPROLE_SECRET] = {{"secrets/approle", 15}, 38},
};

DEFINE_SCOPE(batch, struct store_batch, store_batch_free)

void approle_uuid(char ret[37])
{
    uint8_t bytes[16];
    char hex[33];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        abort();
    hex_encode(slice_of(bytes, sizeof bytes), hex);
    snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(hex, sizeof hex);
}

int role_load(const struct approle *a, const char *name, struct role *ret)
{
    ret->name = name;
    return rows_load(a->s, a->op, &approle_rows[APPROLE_ROLE], a->mount, name, &ret->settings,
                     &ret->raw);
}

int role_by_id(const struct approle *a, const char *role_id, struct role *ret)
{
    const char *name = NULL;
    struct object o;
    int r = rows_load(a->s, a->op, &approle_rows[APPROLE_ID], a->mount, role_id, &o, NULL);

    if (r == 0)
        r = vault_string(a->op, &o, "role", &name);
    if (r == 0 && name == NULL)
        r = -EIO;
    return r == 0 ? role_load(a, name, ret) : r;
}

const char *role_id_of(const struct approle *a, const struct role *role)
{
    const char *id = NULL;

    vault_string(a->op, &role->settings, "role_id", &id);
    return id != NULL ? id : "";
}

const char *secret_id_key(const struct approle *a, const char *role, const char *secret_id)
{
    char hex[2 * KEYRING_BLIND_BYTES + 1];
    uint8_t key[VAULT_ROW_BYTES];

    if (rows_key(a->s, &approle_rows[APPROLE_SECRET], a->mount,
                 op_printf(a->op, "%s\n%s", role, secret_id), key) < 0)
        return "";
    hex_encode(slice_of(key + KV_ID_BYTES, KEYRING_BLIND_BYTES), hex);
    return op_strdup(a->op, hex);
}

static int decode(const struct approle *a, const struct object *o, struct secret_id *ret)
{
    int r = vault_string(a->op, o, "role", &ret->role);

    if (r == 0)
        r = vault_string(a->op, o, "accessor", &ret->accessor);
    if (r == 0)
        r = vault_string(a->op, o, "key", &ret->key);
    if (r == 0)
        r = object_list(a->op, o, "cidrs", &ret->cidrs);
    if (r == 0)
        r = object_list(a->op, o, "token_cidrs", &ret->token_cidrs);
    if (r < 0 || ret->role == NULL || ret->accessor == NULL || ret->key == NULL)
        return -EIO;
    ret->uses = object_number(a->op, o, "uses");
    ret->ttl_s = object_number(a->op, o, "ttl");
    ret->created_ns = object_number(a->op, o, "created");
    ret->updated_ns = object_number(a->op, o, "updated");
    ret->expires_ns = object_number(a->op, o, "expires");
    ret->metadata = object_value(o, "metadata");
    return 0;
}

int secret_id_by_accessor(const struct approle *a, const char *accessor, struct secret_id *ret)
{
    struct object o;
    int r = rows_load(a->s, a->op, &approle_rows[APPROLE_ACCESSOR], a->mount, accessor, &o,
                      &ret->raw);

    if (r == 0)
        r = decode(a, &o, ret);
    return r == 0 && ret->expires_ns != 0 && ret->expires_ns <= clock_unix_ns() ? -ENOENT : r;
}

int secret_id_find(const struct approle *a, const char *role, const char *secret_id,
                   struct secret_id *ret)
{
    const char *accessor = NULL, *key = secret_id_key(a, role, secret_id);
    struct object o;
    int r = rows_load(a->s, a->op, &approle_rows[APPROLE_SECRET], a->mount, key, &o, NULL);

    if (r == 0)
        r = vault_string(a->op, &o, "accessor", &accessor);
    if (r == 0 && accessor == NULL)
        r = -EIO;
    return r == 0 ? secret_id_by_accessor(a, accessor, ret) : r;
}

static void json_texts(struct json *j, const char *key, const char *const *list)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        json_str(j, list[i]);
    json_array_end(j);
}

static int put_settings(const struct approle *a, struct store_batch *batch,
                        const struct secret_id *id)
{
    struct buf text = {0};
    struct json j;
    int r;

    json_init(&j, &text);
    json_object(&j);
    json_kstr(&j, "is", "accessor");
    json_kstr(&j, "role", id->role);
    json_kstr(&j, "accessor", id->accessor);
    json_kstr(&j, "key", id->key);
    json_ki64(&j, "uses", id->uses);
    json_ki64(&j, "ttl", id->ttl_s);
    json_ki64(&j, "created", id->created_ns);
    json_ki64(&j, "updated", id->updated_ns);
    json_ki64(&j, "expires", id->expires_ns);
    json_kraw(&j, "metadata", id->metadata);
    json_texts(&j, "cidrs", id->cidrs);
    json_texts(&j, "token_cidrs", id->token_cidrs);
    json_object_end(&j);
    r = rows_put(a->s, &approle_rows[APPROLE_ACCESSOR], batch, a->mount, id->accessor,
                 buf_slice(&text));
    buf_wipe(&text);
    return r;
}

static int expect(const struct approle *a, struct store_batch *batch, enum approle_row kind,
                  const char *name, struct slice raw)
{
    uint8_t key[VAULT_ROW_BYTES];
    int r = rows_key(a->s, &approle_rows[kind], a->mount, name, key);

    if (r < 0)
        return r;
    if (raw.len > 0)
        store_batch_expect(batch, slice_of(key, sizeof key), raw);
    else
        store_batch_expect_absent(batch, slice_of(key, sizeof key));
    return 0;
}

int secret_id_add(const struct approle *a, const struct secret_id *id)
{
    scope_cleanup(scope_batch) struct store_batch *batch =
        store_batch_new(a->s->store, APPROLE_PART);
    struct buf text = {0};
    struct json j;
    int r = expect(a, batch, APPROLE_SECRET, id->key, slice_of(NULL, 0));

    json_init(&j, &text);
    json_object(&j);
    json_kstr(&j, "is", "secret");
    json_kstr(&j, "accessor", id->accessor);
    json_object_end(&j);
    if (r == 0)
        r = rows_put(a->s, &approle_rows[APPROLE_SECRET], batch, a->mount, id->key,
                     buf_slice(&text));
    buf_done(&text);
    if (r == 0)
        r = put_settings(a, batch, id);
    if (r == 0)
        r = store_commit(take(batch), STORE_DURABLE);
    return r == -EAGAIN ? -EEXIST : r;
}

static int remove_rows(const struct approle *a, struct store_batch *batch,
                       const struct secret_id *id)
{
    int r = rows_put(a->s, &approle_rows[APPROLE_ACCESSOR], batch, a->mount, id->accessor,
                     slice_of(NULL, 0));

    return r == 0 ? rows_put(a->s, &approle_rows[APPROLE_SECRET], batch, a->mount, id->key,
                             slice_of(NULL, 0))
                  : r;
}

int secret_id_use(const struct approle *a, const struct secret_id *id)
{
    scope_cleanup(scope_batch) struct store_batch *batch =
        store_batch_new(a->s->store, APPROLE_PART);
    struct secret_id less = *id;
    int r = expect(a, batch, APPROLE_ACCESSOR, id->accessor, id->raw);

    less.uses--;
    less.updated_ns = clock_unix_ns();
    if (r == 0)
        r = less.uses > 0 ? put_settings(a, batch, &less) : remove_rows(a, batch, id);
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

int secret_id_remove(const struct approle *a, const struct secret_id *id)
{
    scope_cleanup(scope_batch) struct store_batch *batch =
        store_batch_new(a->s->store, APPROLE_PART);
    int r = remove_rows(a, batch, id);

    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

struct each {
    const struct approle *a;
    const char *role;
    int (*f)(void *ctx, const struct secret_id *id);
    void *ctx;
};

static int give(void *ctx, const struct object *o)
{
    struct each *e = ctx;
    struct secret_id id = {0};
    int r;

    if (!slice_eq(object_value(o, "is"), SLICE("\"accessor\"")))
        return 0;
    r = decode(e->a, o, &id);
    if (r < 0 || (e->role != NULL && strcmp(id.role, e->role) != 0))
        return r;
    return e->f(e->ctx, &id);
}

int secret_id_each(const struct approle *a, const char *role,
                   int (*f)(void *ctx, const struct secret_id *id), void *ctx)
{
    struct each e = {a, role, f, ctx};

    return rows_each(a->s, a->op, &approle_rows[APPROLE_ACCESSOR], a->mount, give, &e);
}
