/* transit_key.c: keys as rows. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <stdlib.h>

#define BLIND_KIND 33 /* of no other name */
#define SECOND     INT64_C(1000000000)

DEFINE_SCOPE(batch, struct store_batch, store_batch_free)
DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

static const struct transit_type types[] = {
    {"aes256-gcm96", TRANSIT_AEAD, 0, 32, 0, NULL},
    {"ecdsa-p256", TRANSIT_ECDSA, 1, 0, 256, "P-256"},
    {"ed25519", TRANSIT_ED25519, 2, 64, 0, "ed25519"},
    {"rsa-2048", TRANSIT_RSA, 3, 0, 2048, "rsa-2048"},
    {"rsa-4096", TRANSIT_RSA, 4, 0, 4096, "rsa-4096"},
    {"chacha20-poly1305", TRANSIT_AEAD, 5, 32, 0, NULL},
    {"ecdsa-p384", TRANSIT_ECDSA, 6, 0, 384, "P-384"},
    {"ecdsa-p521", TRANSIT_ECDSA, 7, 0, 521, "P-521"},
    {"aes128-gcm96", TRANSIT_AEAD, 8, 16, 0, NULL},
    {"rsa-3072", TRANSIT_RSA, 9, 0, 3072, "rsa-3072"},
    {"hmac", TRANSIT_HMAC, 10, 0, 0, NULL},
    {"xchacha20-poly1305", TRANSIT_AEAD, 11, 32, 0, NULL},
};

const struct transit_type *transit_type_find(const char *name)
{
    for (size_t i = 0; i < array_size(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const struct transit_type *transit_type_numbered(int64_t number)
{
    for (size_t i = 0; i < array_size(types); i++)
        if (types[i].number == number)
            return &types[i];
    return NULL;
}

void transit_version_done(struct transit_version *v)
{
    EVP_PKEY_free(v->pkey);
    v->pkey = NULL;
}

int transit_key_row(struct kv_request *q, const char *name, uint8_t ret[TRANSIT_ROW_BYTES])
{
    memset(ret, 0, TRANSIT_ROW_BYTES);
    memcpy(ret, q->mount->id, KV_ID_BYTES);
    return keyring_blind(q->s->keyring, slice_of(q->mount->id, KV_ID_BYTES), BLIND_KIND,
                         slice_str(name), ret + KV_ID_BYTES);
}

static struct slice version_row(const struct transit_key *k, int64_t number,
                                uint8_t row[TRANSIT_ROW_BYTES])
{
    memcpy(row, k->row, TRANSIT_ROW_BYTES);
    be32_put(row + TRANSIT_ROW_BYTES - 4, (uint32_t)number);
    return slice_of(row, TRANSIT_ROW_BYTES);
}

/* Decrypts a row into an object in the op. */
static int open_row(struct kv_request *q, struct slice row, struct slice raw, struct object *ret)
{
    size_t len = raw.len - KEYRING_OVERHEAD_BYTES;
    uint8_t *p;
    int r;

    if (raw.len < KEYRING_OVERHEAD_BYTES)
        return -EIO;
    q->op->wiped = true;
    p = op_alloc(q->op, len + 1);
    r = keyring_decrypt(q->s->keyring, TRANSIT_PART, row, raw, p);
    return r == 0 ? object_parse(q->op, slice_of(p, len), ret) : r;
}

static int seal_row(struct kv_request *q, struct store_batch *batch, struct slice row,
                    struct buf *plain)
{
    autobuf record = {0};
    int r = keyring_encrypt(q->s->keyring, TRANSIT_PART, row, buf_slice(plain), &record);

    buf_wipe(plain);
    if (r == 0 && record.len > STORE_VALUE_MAX)
        r = -EFBIG;
    if (r == 0)
        store_batch_put(batch, row, buf_slice(&record));
    return r;
}

static bool flag(const struct object *o, const char *key)
{
    bool value = false;

    value_boolean(object_value(o, key), &value);
    return value;
}

static int64_t number(struct op *op, const struct object *o, const char *key)
{
    int64_t n = 0;

    return value_integer(op, object_value(o, key), &n) == 0 ? n : 0;
}

static int read_settings(struct kv_request *q, const struct object *o, struct transit_key *ret)
{
    const char *type = NULL;
    int r = vault_string(q->op, o, "name", &ret->name);

    if (r == 0)
        r = vault_string(q->op, o, "type", &type);
    if (r < 0 || ret->name == NULL || type == NULL)
        return -EIO;
    ret->type = transit_type_find(type);
    ret->derived = flag(o, "derived");
    ret->convergent = flag(o, "convergent");
    ret->exportable = flag(o, "exportable");
    ret->plaintext_backup = flag(o, "plaintext_backup");
    ret->deletion_allowed = flag(o, "deletion_allowed");
    ret->imported = flag(o, "imported");
    ret->imported_rotation = flag(o, "imported_rotation");
    ret->min_decryption = number(q->op, o, "min_decryption");
    ret->min_encryption = number(q->op, o, "min_encryption");
    ret->min_available = number(q->op, o, "min_available");
    ret->latest = number(q->op, o, "latest");
    ret->auto_rotate_s = number(q->op, o, "auto_rotate");
    ret->key_size = number(q->op, o, "key_size");
    return ret->type != NULL ? 0 : -EIO;
}

static int put_settings(struct kv_request *q, struct store_batch *batch,
                        const struct transit_key *k)
{
    struct buf plain = {0};
    struct json j;

    json_init(&j, &plain);
    json_object(&j);
    json_kstr(&j, "name", k->name);
    json_kstr(&j, "type", k->type->name);
    json_kbool(&j, "derived", k->derived);
    json_kbool(&j, "convergent", k->convergent);
    json_kbool(&j, "exportable", k->exportable);
    json_kbool(&j, "plaintext_backup", k->plaintext_backup);
    json_kbool(&j, "deletion_allowed", k->deletion_allowed);
    json_kbool(&j, "imported", k->imported);
    json_kbool(&j, "imported_rotation", k->imported_rotation);
    json_ki64(&j, "min_decryption", k->min_decryption);
    json_ki64(&j, "min_encryption", k->min_encryption);
    json_ki64(&j, "min_available", k->min_available);
    json_ki64(&j, "latest", k->latest);
    json_ki64(&j, "auto_rotate", k->auto_rotate_s);
    json_ki64(&j, "key_size", k->key_size);
    json_object_end(&j);
    return seal_row(q, batch, slice_of(k->row, sizeof k->row), &plain);
}

static int put_version(struct kv_request *q, struct store_batch *batch,
                       const struct transit_key *k, const struct transit_version *v)
{
    uint8_t row[TRANSIT_ROW_BYTES];
    struct buf plain = {0}, text = {0};
    struct json j;

    json_init(&j, &plain);
    json_object(&j);
    json_ki64(&j, "created", v->created_ns);
    base64_encode(&text, v->key);
    json_kslice(&j, "key", buf_slice(&text));
    buf_clear(&text);
    base64_encode(&text, v->hmac_key);
    json_kslice(&j, "hmac_key", buf_slice(&text));
    json_object_end(&j);
    buf_wipe(&text);
    return seal_row(q, batch, version_row(k, v->number, row), &plain);
}

static int load_settings(struct kv_request *q, const char *name, struct transit_key *ret)
{
    struct store_value value = {0};
    struct object o;
    int r;

    *ret = (struct transit_key){0};
    r = transit_key_row(q, name, ret->row);
    if (r == 0)
        r = store_get(q->s->store, TRANSIT_PART, slice_of(ret->row, sizeof ret->row), &value);
    if (r < 0)
        return r;
    ret->raw = op_slice(q->op, value.data);
    store_value_release(&value);
    r = open_row(q, slice_of(ret->row, sizeof ret->row), ret->raw, &o);
    return r == 0 ? read_settings(q, &o, ret) : r;
}

static int decode_member(struct op *op, const struct object *o, const char *key, struct slice *ret)
{
    struct slice text;
    struct buf bytes = {0};

    if (value_string(op, object_value(o, key), &text) < 0 || base64_decode(&bytes, text) < 0) {
        buf_wipe(&bytes);
        return -EIO;
    }
    *ret = op_slice(op, buf_slice(&bytes));
    buf_wipe(&bytes);
    return 0;
}

int transit_load_version(struct kv_request *q, const struct transit_key *k, int64_t number_,
                         struct transit_version *ret)
{
    uint8_t row[TRANSIT_ROW_BYTES];
    struct store_value value = {0};
    struct object o;
    int r;

    *ret = (struct transit_version){.number = number_};
    if (number_ < 1 || number_ > k->latest)
        return op_fail(q->op, EINVAL, "no such key version");
    r = store_get(q->s->store, TRANSIT_PART, version_row(k, number_, row), &value);
    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "no such key version");
    if (r < 0)
        return r;
    r = open_row(q, slice_of(row, sizeof row), value.data, &o);
    store_value_release(&value);
    if (r == 0)
        r = decode_member(q->op, &o, "key", &ret->key);
    if (r == 0)
        r = decode_member(q->op, &o, "hmac_key", &ret->hmac_key);
    if (r == 0)
        ret->created_ns = number(q->op, &o, "created");
    return r;
}

int transit_load(struct kv_request *q, const char *name, struct transit_key *ret)
{
    struct transit_version v;
    int r = load_settings(q, name, ret);

    if (r < 0 || ret->auto_rotate_s == 0 || (ret->imported && !ret->imported_rotation))
        return r;
    r = transit_load_version(q, ret, ret->latest, &v);
    if (r < 0 || clock_unix_ns() - v.created_ns < ret->auto_rotate_s * SECOND)
        return r;
    r = transit_rotate(q, ret);
    if (r == 0 || r == -EAGAIN)
        r = load_settings(q, name, ret);
    return r;
}

static struct store_batch *change(struct kv_request *q, const struct transit_key *k)
{
    struct store_batch *batch = store_batch_new(q->s->store, TRANSIT_PART);

    if (k->raw.len > 0)
        store_batch_expect(batch, slice_of(k->row, sizeof k->row), k->raw);
    else
        store_batch_expect_absent(batch, slice_of(k->row, sizeof k->row));
    return batch;
}

int transit_add(struct kv_request *q, struct transit_key *k, struct transit_version *v)
{
    scope_cleanup(scope_batch) struct store_batch *batch = change(q, k);
    int r;

    if (k->latest >= TRANSIT_VERSIONS_MAX)
        return op_fail(q->op, EINVAL, "a key has at most %d versions", TRANSIT_VERSIONS_MAX);
    v->number = ++k->latest;
    v->created_ns = clock_unix_ns();
    if (k->min_decryption == 0)
        k->min_decryption = 1;
    r = put_version(q, batch, k, v);
    if (r == 0)
        r = put_settings(q, batch, k);
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

int transit_rotate(struct kv_request *q, struct transit_key *k)
{
    struct transit_version v = {0};
    int r;

    if (k->imported && !k->imported_rotation)
        return op_fail(q->op, EINVAL, "imported key %s does not allow rotation within Vault",
                       k->name);
    k->imported = false;
    r = transit_generate(q->op, k, &v);
    return r == 0 ? transit_add(q, k, &v) : r;
}

int transit_save(struct kv_request *q, const struct transit_key *k)
{
    scope_cleanup(scope_batch) struct store_batch *batch = change(q, k);
    int r = put_settings(q, batch, k);

    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

static void delete_versions(struct store_batch *batch, const struct transit_key *k, int64_t from,
                            int64_t to)
{
    uint8_t row[TRANSIT_ROW_BYTES];

    for (int64_t i = from; i < to; i++)
        store_batch_delete(batch, version_row(k, i, row));
}

int transit_trim(struct kv_request *q, const struct transit_key *k, int64_t from, int64_t to)
{
    scope_cleanup(scope_batch) struct store_batch *batch = change(q, k);
    int r = put_settings(q, batch, k);

    delete_versions(batch, k, from, to);
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

int transit_delete(struct kv_request *q, const struct transit_key *k)
{
    struct store_batch *batch = change(q, k);

    store_batch_delete(batch, slice_of(k->row, sizeof k->row));
    delete_versions(batch, k, 1, k->latest + 1);
    return store_commit(batch, STORE_DURABLE);
}

int transit_put(struct kv_request *q, const struct transit_key *k, struct transit_version *versions,
                size_t n)
{
    scope_cleanup(scope_batch) struct store_batch *batch = NULL;
    struct transit_key old;
    int r = load_settings(q, k->name, &old);

    if (r < 0 && r != -ENOENT)
        return r;
    batch = change(q, &old);
    if (r == 0)
        delete_versions(batch, &old, 1, old.latest + 1);
    r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = put_version(q, batch, k, &versions[i]);
    if (r == 0)
        r = put_settings(q, batch, k);
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int transit_names(struct kv_request *q, const char ***ret, size_t *ret_n)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice id = slice_of(q->mount->id, KV_ID_BYTES), key, raw;
    const char **names = NULL;
    size_t n = 0, cap = 0;
    int r = store_scan(q->s->store, TRANSIT_PART, id, slice_of(NULL, 0), 0, &scan);

    while (r == 0 && (r = store_scan_next(scan, &key, &raw)) == 1 && slice_starts(key, id)) {
        struct transit_key k = {0};
        struct object o;

        r = 0;
        if (key.len != TRANSIT_ROW_BYTES || be32_get((const uint8_t *)key.data + 32) != 0)
            continue; /* a version */
        r = open_row(q, key, raw, &o);
        if (r < 0)
            return r;
        if (read_settings(q, &o, &k) < 0 || k.name[0] == '/') /* the mount's own */
            continue;
        if (n == cap) {
            const char **more = op_alloc(q->op, (cap = 2 * cap + 16) * sizeof *more);

            if (n > 0)
                memcpy(more, names, n * sizeof *more);
            names = more;
        }
        names[n++] = k.name;
    }
    if (r < 0)
        return r;
    if (n > 0)
        qsort(names, n, sizeof *names, compare_names);
    *ret = names;
    *ret_n = n;
    return 0;
}

int transit_drop(struct secrets *s, const struct mount *mount)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice id = slice_of(mount->id, KV_ID_BYTES), key, raw;
    struct store_batch *batch = store_batch_new(s->store, TRANSIT_PART);
    int r = store_scan(s->store, TRANSIT_PART, id, slice_of(NULL, 0), STORE_KEYS_ONLY, &scan);

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

int transit_upsert_allowed(struct kv_request *q, bool *ret)
{
    uint8_t row[TRANSIT_ROW_BYTES];
    struct store_value value = {0};
    struct object o;
    int r = transit_key_row(q, "", row);

    *ret = true;
    if (r == 0)
        r = store_get(q->s->store, TRANSIT_PART, slice_of(row, sizeof row), &value);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = open_row(q, slice_of(row, sizeof row), value.data, &o);
    store_value_release(&value);
    if (r == 0)
        *ret = !flag(&o, "disable_upsert");
    return r;
}

int transit_set_upsert(struct kv_request *q, bool allowed)
{
    scope_cleanup(scope_batch) struct store_batch *batch =
        store_batch_new(q->s->store, TRANSIT_PART);
    uint8_t row[TRANSIT_ROW_BYTES];
    struct buf plain = {0};
    int r = transit_key_row(q, "", row);

    buf_printf(&plain, "{\"disable_upsert\":%s}", allowed ? "false" : "true");
    if (r == 0)
        r = seal_row(q, batch, slice_of(row, sizeof row), &plain);
    else
        buf_done(&plain);
    return r == 0 ? store_commit(take(batch), STORE_DURABLE) : r;
}
