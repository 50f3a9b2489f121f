#include "identity/token_rows.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/scope.h"

#include <errno.h>
#include <stdio.h>

static void print_list(struct json *j, const char *key, const char *const *list)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        json_str(j, list[i]);
    json_array_end(j);
}

static void print_entity(struct json *j, const struct policy_entity *e)
{
    json_key(j, "entity");
    json_object(j);
    json_kstr(j, "id", e->id);
    json_kstr(j, "name", e->name);
    json_kstr(j, "accessor", e->alias_accessor);
    json_kstr(j, "alias", e->alias_name);
    json_object_end(j);
}

void token_record_print(const struct token_info *t, struct buf *out)
{
    struct json j;

    json_init(&j, out);
    json_object(&j);
    json_kstr(&j, "accessor", t->accessor);
    print_list(&j, "policies", t->policies);
    json_kstr(&j, "parent", t->parent);
    json_kstr(&j, "display_name", t->display_name);
    json_kstr(&j, "path", t->path);
    json_kstr(&j, "user", t->user);
    if (t->meta.len > 0)
        json_kraw(&j, "meta", t->meta);
    json_ki64(&j, "created", t->created_unix_s);
    json_ki64(&j, "creation_ttl", t->creation_ttl_s);
    json_ki64(&j, "expire_ms", t->expire_unix_ms);
    json_ki64(&j, "max_ttl", t->explicit_max_ttl_s);
    json_ki64(&j, "period", t->period_s);
    json_ki64(&j, "renewed", t->renewed_unix_s);
    json_ki64(&j, "uses", t->num_uses);
    json_kbool(&j, "renewable", t->renewable);
    json_kbool(&j, "batch", t->batch);
    json_ki64(&j, "system_max", t->max_ttl_s);
    json_ki64(&j, "spent_ms", t->spent_unix_ms);
    json_kstr(&j, "role", t->role);
    json_kstr(&j, "lease", t->lease);
    if (t->cidrs != NULL && t->cidrs[0] != NULL)
        print_list(&j, "cidrs", t->cidrs);
    if (t->entity.id != NULL && t->entity.id[0] != 0)
        print_entity(&j, &t->entity);
    json_object_end(&j);
}

static const char *text(const json_t *record, const char *key)
{
    const char *s = json_string_value(json_object_get(record, key));

    return s != NULL ? s : "";
}

static int64_t number(const json_t *record, const char *key)
{
    return json_integer_value(json_object_get(record, key));
}

static const char **read_list(const json_t *list)
{
    size_t n = json_array_size(list);
    const char **ret = xcalloc(n + 1, sizeof *ret);

    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        ret[i] = name != NULL ? name : "";
    }
    return ret;
}

int token_record_parse(struct slice row, const char *id, struct token_record *ret)
{
    json_t *json = json_loadb(row.data, row.len, 0, NULL);
    const json_t *policies = json_object_get(json, "policies");
    const json_t *entity = json_object_get(json, "entity");
    json_t *meta = json_object_get(json, "meta");

    if (!json_is_array(policies)) {
        json_decref(json);
        return -EPROTO;
    }
    json_object_set_new(json, "id", json_string(id));
    *ret = (struct token_record){.json = json,
                                 .policies = read_list(policies),
                                 .cidrs = read_list(json_object_get(json, "cidrs"))};
    if (meta != NULL)
        ret->meta = json_dumps(meta, JSON_COMPACT);
    ret->info = (struct token_info){
        .id = text(json, "id"),
        .accessor = text(json, "accessor"),
        .policies = ret->policies,
        .cidrs = ret->cidrs,
        .parent = text(json, "parent"),
        .display_name = text(json, "display_name"),
        .path = text(json, "path"),
        .user = text(json, "user"),
        .meta = slice_str(ret->meta),
        .created_unix_s = number(json, "created"),
        .creation_ttl_s = number(json, "creation_ttl"),
        .expire_unix_ms = number(json, "expire_ms"),
        .explicit_max_ttl_s = number(json, "max_ttl"),
        .period_s = number(json, "period"),
        .renewed_unix_s = number(json, "renewed"),
        .num_uses = number(json, "uses"),
        .renewable = json_is_true(json_object_get(json, "renewable")),
        .batch = json_is_true(json_object_get(json, "batch")),
        .max_ttl_s = number(json, "system_max"),
        .spent_unix_ms = number(json, "spent_ms"),
        .role = text(json, "role"),
        .lease = text(json, "lease"),
        .entity = {.id = text(entity, "id"),
                   .name = text(entity, "name"),
                   .alias_accessor = text(entity, "accessor"),
                   .alias_name = text(entity, "alias")},
    };
    return 0;
}

int token_record_load(struct store *s, const char *id, struct token_record *ret)
{
    struct store_value value = {0};
    char key[96];
    int r;

    snprintf(key, sizeof key, "t/%.80s", id);
    r = store_get(s, TOKEN_PARTITION, slice_str(key), &value);
    if (r < 0)
        return r;
    r = token_record_parse(value.data, id, ret);
    store_value_release(&value);
    return r;
}

void token_record_done(struct token_record *r)
{
    json_decref(r->json);
    free(r->policies);
    free(r->cidrs);
    free(r->meta);
    *r = (struct token_record){0};
}

static const char *const *copy_list(struct op *op, const char *const *from)
{
    size_t n = 0;
    const char **list;

    while (from != NULL && from[n] != NULL)
        n++;
    list = op_alloc(op, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = op_strdup(op, from[i]);
    return list;
}

static const char *copy_text(struct op *op, const char *s)
{
    return s != NULL && s[0] != 0 ? op_strdup(op, s) : "";
}

void token_record_copy(struct op *op, const struct token_info *from, struct token_info *ret)
{
    *ret = *from;
    ret->policies = copy_list(op, from->policies);
    ret->cidrs = copy_list(op, from->cidrs);
    ret->id = copy_text(op, from->id);
    ret->accessor = copy_text(op, from->accessor);
    ret->parent = copy_text(op, from->parent);
    ret->display_name = copy_text(op, from->display_name);
    ret->path = copy_text(op, from->path);
    ret->user = copy_text(op, from->user);
    ret->role = copy_text(op, from->role);
    ret->lease = copy_text(op, from->lease);
    ret->entity = (struct policy_entity){
        .id = copy_text(op, from->entity.id),
        .name = copy_text(op, from->entity.name),
        .alias_accessor = copy_text(op, from->entity.alias_accessor),
        .alias_name = copy_text(op, from->entity.alias_name),
    };
    if (from->meta.len > 0)
        ret->meta = op_slice(op, from->meta);
}

static struct slice expiry_key(int64_t unix_ms, const char *id, char key[128])
{
    return slice_of(key,
                    (size_t)snprintf(key, 128, "e/%016llx/%.80s", (unsigned long long)unix_ms, id));
}

static struct slice child_key(const char *parent, const char *id, char key[192])
{
    return slice_of(key, (size_t)snprintf(key, 192, "c/%.80s/%.80s", parent, id));
}

static struct slice short_key(char kind, const char *name, char key[128])
{
    return slice_of(key, (size_t)snprintf(key, 128, "%c/%.80s", kind, name));
}

static void lease_key(const char *lease, struct buf *key)
{
    buf_add_str(key, "l/");
    buf_add_str(key, lease);
}

void token_rows_put(struct store_batch *b, const struct token_info *t, int64_t old_expire_unix_ms)
{
    char key[192];
    autobuf record = {0}, lease = {0};

    token_record_print(t, &record);
    if (t->lease != NULL && t->lease[0] != 0) {
        lease_key(t->lease, &lease);
        store_batch_put(b, buf_slice(&lease), slice_str(t->id));
    }
    if (t->spent_unix_ms != 0)
        store_batch_put(b, expiry_key(t->spent_unix_ms, t->id, key), SLICE(""));
    if (old_expire_unix_ms != 0 && old_expire_unix_ms != t->expire_unix_ms)
        store_batch_delete(b, expiry_key(old_expire_unix_ms, t->id, key));
    store_batch_put(b, short_key('t', t->id, key), buf_slice(&record));
    store_batch_put(b, short_key('a', t->accessor, key), slice_str(t->id));
    if (t->parent[0] != 0)
        store_batch_put(b, child_key(t->parent, t->id, key), SLICE(""));
    if (t->expire_unix_ms != 0)
        store_batch_put(b, expiry_key(t->expire_unix_ms, t->id, key), SLICE(""));
}

void token_rows_delete(struct store_batch *b, const struct token_info *t)
{
    autobuf lease = {0};
    char key[192];

    if (t->lease != NULL && t->lease[0] != 0) {
        lease_key(t->lease, &lease);
        store_batch_delete(b, buf_slice(&lease));
    }
    if (t->spent_unix_ms != 0)
        store_batch_delete(b, expiry_key(t->spent_unix_ms, t->id, key));
    store_batch_delete(b, short_key('t', t->id, key));
    store_batch_delete(b, short_key('a', t->accessor, key));
    if (t->parent[0] != 0)
        store_batch_delete(b, child_key(t->parent, t->id, key));
    if (t->expire_unix_ms != 0)
        store_batch_delete(b, expiry_key(t->expire_unix_ms, t->id, key));
}

int token_rows_orphan(struct store *s, struct store_batch *b, const char *child)
{
    struct token_record record;
    char key[192];
    int r = token_record_load(s, child, &record);

    if (r < 0)
        return r;
    store_batch_delete(b, child_key(record.info.parent, child, key));
    record.info.parent = "";
    token_rows_put(b, &record.info, record.info.expire_unix_ms);
    token_record_done(&record);
    return 0;
}

int token_rows_by_accessor(struct store *s, struct op *op, const char *accessor, const char **ret)
{
    struct store_value value = {0};
    char key[128];
    int r = store_get(s, TOKEN_PARTITION, short_key('a', accessor, key), &value);

    if (r < 0)
        return r;
    *ret = op_strndup(op, value.data.data, value.data.len);
    store_value_release(&value);
    return 0;
}

int token_rows_by_lease(struct store *s, struct op *op, const char *lease, const char **ret)
{
    struct store_value value = {0};
    autobuf key = {0};
    int r;

    lease_key(lease, &key);
    r = store_get(s, TOKEN_PARTITION, buf_slice(&key), &value);
    if (r < 0)
        return r;
    *ret = op_strndup(op, value.data.data, value.data.len);
    store_value_release(&value);
    return 0;
}

int token_rows_each(struct store *s, const char *prefix, const char *end,
                    int (*f)(void *ctx, const char *id), void *ctx)
{
    struct store_scan *scan;
    struct slice key, value;
    int r =
        store_scan(s, TOKEN_PARTITION, slice_str(prefix), slice_str(end), STORE_KEYS_ONLY, &scan);
    int more = 0;

    if (r < 0)
        return r;
    while (r == 0 && (more = store_scan_next(scan, &key, &value)) > 0) {
        autofree char *copy = xmemdup(key.data, key.len);
        const char *slash = strrchr(copy, '/');

        r = f(ctx, slash != NULL ? slash + 1 : copy);
    }
    store_scan_free(scan);
    return more < 0 ? more : r;
}
