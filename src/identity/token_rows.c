#include "identity/token_rows.h"

#include "base/alloc.h"
#include "base/json.h"
#include "base/scope.h"

#include <errno.h>
#include <stdio.h>

static void print_record(const struct token_info *t, struct buf *out)
{
    struct json j;

    json_init(&j, out);
    json_object(&j);
    json_kstr(&j, "accessor", t->accessor);
    json_key(&j, "policies");
    json_array(&j);
    for (size_t i = 0; t->policies[i] != NULL; i++)
        json_str(&j, t->policies[i]);
    json_array_end(&j);
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
    json_ku64(&j, "uses", t->num_uses);
    json_kbool(&j, "renewable", t->renewable);
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

static int read_record(struct slice row, const char *id, struct token_record *ret)
{
    json_t *json = json_loadb(row.data, row.len, 0, NULL);
    const json_t *policies = json_object_get(json, "policies");
    json_t *meta = json_object_get(json, "meta");
    size_t n = json_array_size(policies);

    if (!json_is_array(policies)) {
        json_decref(json);
        return -EPROTO;
    }
    json_object_set_new(json, "id", json_string(id));
    *ret = (struct token_record){.json = json, .policies = xcalloc(n + 1, sizeof *ret->policies)};
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(policies, i));

        ret->policies[i] = name != NULL ? name : "";
    }
    if (meta != NULL)
        ret->meta = json_dumps(meta, JSON_COMPACT);
    ret->info = (struct token_info){
        .id = text(json, "id"),
        .accessor = text(json, "accessor"),
        .policies = ret->policies,
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
        .num_uses = (uint64_t)number(json, "uses"),
        .renewable = json_is_true(json_object_get(json, "renewable")),
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
    r = read_record(value.data, id, ret);
    store_value_release(&value);
    return r;
}

void token_record_done(struct token_record *r)
{
    json_decref(r->json);
    free(r->policies);
    free(r->meta);
    *r = (struct token_record){0};
}

void token_record_copy(struct op *op, const struct token_info *from, struct token_info *ret)
{
    size_t n = 0;
    const char **policies;

    while (from->policies[n] != NULL)
        n++;
    policies = op_alloc(op, (n + 1) * sizeof *policies);
    for (size_t i = 0; i < n; i++)
        policies[i] = op_strdup(op, from->policies[i]);
    *ret = *from;
    ret->policies = policies;
    ret->id = op_strdup(op, from->id);
    ret->accessor = op_strdup(op, from->accessor);
    ret->parent = op_strdup(op, from->parent);
    ret->display_name = op_strdup(op, from->display_name);
    ret->path = op_strdup(op, from->path);
    ret->user = op_strdup(op, from->user);
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

void token_rows_put(struct store_batch *b, const struct token_info *t, int64_t old_expire_unix_ms)
{
    char key[192];
    autobuf record = {0};

    print_record(t, &record);
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
    char key[192];

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
