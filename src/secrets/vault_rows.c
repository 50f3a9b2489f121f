/* vault_rows.c: small things of a mount, each a row: users, roles, secret ids. */
#include "base/scope.h"
#include "secrets/vault_auth.h"

#include <errno.h>
#include <stdlib.h>

DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

int rows_key(struct secrets *s, const struct vault_rows *rows, const struct mount *mount,
             const char *name, uint8_t ret[VAULT_ROW_BYTES])
{
    memcpy(ret, mount->id, KV_ID_BYTES);
    return keyring_blind(s->keyring, slice_of(mount->id, KV_ID_BYTES), rows->kind,
                         slice_str(name), ret + KV_ID_BYTES);
}

static int decode(struct secrets *s, struct op *op, const struct vault_rows *rows,
                  struct slice key, struct slice raw, struct object *ret)
{
    size_t len = raw.len - KEYRING_OVERHEAD_BYTES;
    uint8_t *p;
    int r;

    if (raw.len < KEYRING_OVERHEAD_BYTES)
        return -EIO;
    op->wiped = true;
    p = op_alloc(op, len + 1);
    r = keyring_decrypt(s->keyring, rows->part, key, raw, p);
    return r == 0 ? object_parse(op, slice_of(p, len), ret) : r;
}

int rows_load(struct secrets *s, struct op *op, const struct vault_rows *rows,
              const struct mount *mount, const char *name, struct object *ret,
              struct slice *ret_raw)
{
    struct store_value v = {0};
    uint8_t key[VAULT_ROW_BYTES];
    int r = rows_key(s, rows, mount, name, key);

    if (r == 0)
        r = store_get(s->store, rows->part, slice_of(key, sizeof key), &v);
    if (r < 0)
        return r;
    if (ret_raw != NULL)
        *ret_raw = op_slice(op, v.data);
    r = decode(s, op, rows, slice_of(key, sizeof key), v.data, ret);
    store_value_release(&v);
    return r;
}

int rows_put(struct secrets *s, const struct vault_rows *rows, struct store_batch *batch,
             const struct mount *mount, const char *name, struct slice text)
{
    uint8_t key[VAULT_ROW_BYTES];
    autobuf record = {0};
    int r = rows_key(s, rows, mount, name, key);

    if (r == 0 && text.len > STORE_VALUE_MAX / 2)
        r = -EFBIG;
    if (r == 0 && text.len > 0)
        r = keyring_encrypt(s->keyring, rows->part, slice_of(key, sizeof key), text, &record);
    if (r < 0)
        return r;
    if (text.len > 0)
        store_batch_put(batch, slice_of(key, sizeof key), buf_slice(&record));
    else
        store_batch_delete(batch, slice_of(key, sizeof key));
    return 0;
}

int rows_store(struct secrets *s, const struct vault_rows *rows, const struct mount *mount,
               const char *name, struct slice text)
{
    struct store_batch *batch = store_batch_new(s->store, rows->part);
    int r = rows_put(s, rows, batch, mount, name, text);

    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    return store_commit(batch, STORE_DURABLE);
}

int rows_each(struct secrets *s, struct op *op, const struct vault_rows *rows,
              const struct mount *mount, int (*f)(void *ctx, const struct object *o), void *ctx)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice id = slice_of(mount->id, KV_ID_BYTES), key, raw;
    int r = store_scan(s->store, rows->part, id, slice_of(NULL, 0), 0, &scan);

    while (r == 0 && (r = store_scan_next(scan, &key, &raw)) == 1 && slice_starts(key, id)) {
        struct object o;

        r = decode(s, op, rows, key, raw, &o);
        if (r == 0)
            r = f(ctx, &o);
    }
    return r < 0 ? r : 0;
}

int rows_drop(struct secrets *s, const struct vault_rows *rows, const struct mount *mount)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice id = slice_of(mount->id, KV_ID_BYTES), key, raw;
    struct store_batch *batch = store_batch_new(s->store, rows->part);
    int r = store_scan(s->store, rows->part, id, slice_of(NULL, 0), STORE_KEYS_ONLY, &scan);

    while (r == 0 && (r = store_scan_next(scan, &key, &raw)) == 1 && slice_starts(key, id)) {
        store_batch_delete(batch, key);
        r = 0;
    }
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    return store_commit(batch, STORE_DURABLE);
}

struct listing {
    struct op *op;
    const char *is;     /* NULL: any */
    const char **names; /* in the op */
    size_t n, cap;
};

static void add_name(struct listing *l, const char *name)
{
    if (l->n == l->cap) {
        const char **more = op_alloc(l->op, (l->cap = 2 * l->cap + 64) * sizeof *more);

        if (l->n > 0)
            memcpy(more, l->names, l->n * sizeof *more);
        l->names = more;
    }
    l->names[l->n++] = name;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int list_one(void *ctx, const struct object *o)
{
    struct listing *l = ctx;
    const char *name = NULL, *is = NULL;

    if (l->is != NULL &&
        (vault_string(l->op, o, "is", &is) < 0 || is == NULL || strcmp(is, l->is) != 0))
        return 0;
    if (vault_string(l->op, o, "name", &name) == 0 && name != NULL)
        add_name(l, name);
    return 0;
}

int rows_answer_names(struct web_request *req, struct web_response *resp,
                      const struct vault_rows *rows, const struct mount *mount, const char *is)
{
    struct listing l = {.op = req->op, .is = is};
    struct vault_answer a;
    int r = rows_each(req->self, req->op, rows, mount, list_one, &l);

    if (r < 0 || l.n == 0)
        return r < 0 ? r : -ENOENT;
    qsort(l.names, l.n, sizeof *l.names, compare_names); /* rows stand by their blinded names */
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "keys");
    json_array(&a.json);
    for (size_t i = 0; i < l.n; i++)
        json_str(&a.json, l.names[i]);
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}
