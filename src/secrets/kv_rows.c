/* kv_rows.c: an entry as bytes. All integers are big endian.
 *   folder   1 · id (16) · flags (1) · created (8) · name length (2) · name
 *   secret   2 · id (16) · created (8) · updated (8) · current (4) · oldest (4) ·
 *            max versions (4) · flags (1) · delete after (8) · custom length (4) ·
 *            name length (2) · versions (4) · name · custom · versions ·
 *            metadata version (4), if it has one (flag 8)
 *   name     kind (1) · name: key as of the entry, but for its first byte
 *   version  number (4) · created (8) · deletion (8) · destroyed (1) · chunks (2) */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>
#include <openssl/rand.h>

#define FLAG_CAS       1
#define FLAG_PROTECTED 2
#define FLAG_METADATA_CAS 4
#define FLAG_METADATA_VERSION 8
#define METADATA_VERSION_BYTES 4
#define FOLDER_HEAD    (1 + KV_ID_BYTES + 1 + 8 + 2)
#define SECRET_HEAD    (1 + KV_ID_BYTES + 8 + 8 + 4 + 4 + 4 + 1 + 8 + 4 + 2 + 4)

int kv_row_key(struct kv *kv, const uint8_t parent[KV_ID_BYTES], enum kv_kind kind,
               struct slice name, uint8_t ret[KV_ROW_KEY_BYTES])
{
    ret[0] = ROW_ENTRY;
    memcpy(ret + 1, parent, KV_ID_BYTES);
    return keyring_blind(kv->keyring, slice_of(parent, KV_ID_BYTES), (uint8_t)kind, name,
                         ret + 1 + KV_ID_BYTES);
}

static void be16_put(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static size_t be16_get(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

void kv_version_pack(const struct kv_version *v, uint8_t ret[VERSION_BYTES])
{
    be32_put(ret, v->number);
    be64_put(ret + 4, (uint64_t)v->created_ns);
    be64_put(ret + 12, (uint64_t)v->deletion_ns);
    ret[20] = v->destroyed;
    be16_put(ret + 21, v->chunks);
}

void kv_version_at(const struct kv_entry *e, size_t i, struct kv_version *ret)
{
    const uint8_t *p = e->versions + i * VERSION_BYTES;

    *ret = (struct kv_version){
        .number = be32_get(p),
        .created_ns = (int64_t)be64_get(p + 4),
        .deletion_ns = (int64_t)be64_get(p + 12),
        .destroyed = p[20] != 0,
        .chunks = (uint16_t)be16_get(p + 21),
    };
}

static int parse_folder(const uint8_t *p, size_t len, struct kv_entry *ret)
{
    if (len < FOLDER_HEAD || len != FOLDER_HEAD + be16_get(p + FOLDER_HEAD - 2))
        return -EIO;
    ret->folder_flags = p[17];
    ret->created_ns = (int64_t)be64_get(p + 18);
    ret->name = slice_of(p + FOLDER_HEAD, len - FOLDER_HEAD);
    return 0;
}

static int parse_secret(const uint8_t *p, size_t len, struct kv_entry *ret)
{
    size_t n_name, n_custom, n_tail;

    if (len < SECRET_HEAD)
        return -EIO;
    ret->created_ns = (int64_t)be64_get(p + 17);
    ret->updated_ns = (int64_t)be64_get(p + 25);
    ret->current = be32_get(p + 33);
    ret->oldest = be32_get(p + 37);
    ret->max_versions = be32_get(p + 41);
    ret->cas_required = (p[45] & FLAG_CAS) != 0;
    ret->is_protected = (p[45] & FLAG_PROTECTED) != 0;
    ret->metadata_cas_required = (p[45] & FLAG_METADATA_CAS) != 0;
    n_tail = (p[45] & FLAG_METADATA_VERSION) != 0 ? METADATA_VERSION_BYTES : 0;
    ret->delete_after_ns = (int64_t)be64_get(p + 46);
    n_custom = be32_get(p + 54);
    n_name = be16_get(p + 58);
    ret->n_versions = be32_get(p + 60);
    if (len < SECRET_HEAD + n_tail)
        return -EIO;
    if (n_tail > 0)
        ret->metadata_version = be32_get(p + len - METADATA_VERSION_BYTES);
    p += SECRET_HEAD;
    len -= SECRET_HEAD + n_tail;
    if (n_name > len || n_custom > len - n_name ||
        (len - n_name - n_custom) != ret->n_versions * VERSION_BYTES)
        return -EIO;
    ret->name = slice_of(p, n_name);
    ret->custom = slice_of(p + n_name, n_custom);
    ret->versions = p + n_name + n_custom;
    return 0;
}

int kv_row_parse(struct op *op, struct kv *kv, struct slice key, struct slice raw,
                 struct kv_entry *ret)
{
    struct kv_entry e = {0};
    size_t len = raw.len - KEYRING_OVERHEAD_BYTES;
    uint8_t *plain;
    int r;

    if (raw.len < KEYRING_OVERHEAD_BYTES + FOLDER_HEAD || key.len != KV_ROW_KEY_BYTES)
        return op_fail(op, EIO, "a row of the mount is damaged");
    plain = op_alloc(op, len);
    op->wiped = true;
    r = keyring_decrypt(kv->keyring, kv->part, key, raw, plain);
    if (r < 0)
        return r == -EIO ? op_fail(op, EIO, "a row of the mount is damaged") : r;
    memcpy(e.key, key.data, KV_ROW_KEY_BYTES);
    memcpy(e.id, plain + 1, KV_ID_BYTES);
    e.kind = plain[0];
    r = e.kind == KV_FOLDER   ? parse_folder(plain, len, &e)
        : e.kind == KV_SECRET ? parse_secret(plain, len, &e)
                              : -EIO;
    if (r < 0)
        return op_fail(op, EIO, "a row of the mount is damaged");
    *ret = e;
    return 0;
}

int kv_row_get(struct op *op, struct kv *kv, const uint8_t parent[KV_ID_BYTES], enum kv_kind kind,
               struct slice name, struct kv_entry *ret)
{
    struct store_value v = {0};
    uint8_t key[KV_ROW_KEY_BYTES];
    int r = kv_row_key(kv, parent, kind, name, key);

    if (r < 0)
        return r;
    r = store_get(kv->store, kv->part, slice_of(key, sizeof key), &v);
    if (r == -ENOENT) {
        *ret = (struct kv_entry){.kind = kind, .name = name};
        memcpy(ret->key, key, sizeof key);
    }
    if (r < 0)
        return r;
    r = kv_row_parse(op, kv, slice_of(key, sizeof key), v.data, ret);
    if (r == 0)
        ret->raw = op_slice(op, v.data);
    store_value_release(&v);
    return r;
}

static void print_folder(const struct kv_entry *e, struct buf *out)
{
    uint8_t head[FOLDER_HEAD];

    head[0] = KV_FOLDER;
    memcpy(head + 1, e->id, KV_ID_BYTES);
    head[17] = (uint8_t)e->folder_flags;
    be64_put(head + 18, (uint64_t)e->created_ns);
    be16_put(head + 26, e->name.len);
    buf_add(out, head, sizeof head);
    buf_add_slice(out, e->name);
}

static void print_secret(const struct kv_entry *e, struct buf *out)
{
    uint8_t head[SECRET_HEAD], tail[METADATA_VERSION_BYTES];

    head[0] = KV_SECRET;
    memcpy(head + 1, e->id, KV_ID_BYTES);
    be64_put(head + 17, (uint64_t)e->created_ns);
    be64_put(head + 25, (uint64_t)e->updated_ns);
    be32_put(head + 33, e->current);
    be32_put(head + 37, e->oldest);
    be32_put(head + 41, e->max_versions);
    head[45] = (uint8_t)((e->cas_required ? FLAG_CAS : 0) | (e->is_protected ? FLAG_PROTECTED : 0) |
                         (e->metadata_cas_required ? FLAG_METADATA_CAS : 0) |
                         (e->metadata_version > 0 ? FLAG_METADATA_VERSION : 0));
    be64_put(head + 46, (uint64_t)e->delete_after_ns);
    be32_put(head + 54, (uint32_t)e->custom.len);
    be16_put(head + 58, e->name.len);
    be32_put(head + 60, (uint32_t)e->n_versions);
    buf_add(out, head, sizeof head);
    buf_add_slice(out, e->name);
    buf_add_slice(out, e->custom);
    buf_add(out, e->versions, e->n_versions * VERSION_BYTES);
    if (e->metadata_version > 0) {
        be32_put(tail, e->metadata_version);
        buf_add(out, tail, sizeof tail);
    }
}

int kv_row_put(struct kv *kv, struct store_batch *batch, const struct kv_entry *e)
{
    struct slice key = slice_of(e->key, sizeof e->key);
    struct buf plain = {0};
    autobuf record = {0};
    int r;

    if (e->kind == KV_FOLDER)
        print_folder(e, &plain);
    else
        print_secret(e, &plain);
    r = keyring_encrypt(kv->keyring, kv->part, key, buf_slice(&plain), &record);
    buf_wipe(&plain);
    if (r == 0)
        store_batch_put(batch, key, buf_slice(&record));
    return r;
}

static struct slice name_key(const struct kv_entry *e, uint8_t ret[KV_ROW_KEY_BYTES])
{
    memcpy(ret, e->key, KV_ROW_KEY_BYTES);
    ret[0] = ROW_NAME;
    return slice_of(ret, KV_ROW_KEY_BYTES);
}

int kv_name_put(struct kv *kv, struct store_batch *batch, const struct kv_entry *e)
{
    uint8_t room[KV_ROW_KEY_BYTES];
    struct slice key = name_key(e, room);
    struct buf plain = {0};
    autobuf record = {0};
    int r;

    kv_listings_add(kv, batch, e->key + 1, e->name, e->kind);
    buf_add_char(&plain, (char)e->kind);
    buf_add_slice(&plain, e->name);
    r = keyring_encrypt(kv->keyring, kv->part, key, buf_slice(&plain), &record);
    buf_wipe(&plain);
    if (r == 0)
        store_batch_put(batch, key, buf_slice(&record));
    return r;
}

void kv_name_delete(struct kv *kv, struct store_batch *batch, const struct kv_entry *e)
{
    uint8_t room[KV_ROW_KEY_BYTES];

    kv_listings_remove(kv, batch, e->key + 1);
    store_batch_delete(batch, name_key(e, room));
}

int kv_name_parse(struct op *op, struct kv *kv, struct slice key, struct slice raw, uint8_t *plain,
                  struct kv_name *ret)
{
    int r = keyring_decrypt(kv->keyring, kv->part, key, raw, plain);

    op->wiped = true;
    if (r == 0 &&
        (raw.len <= KEYRING_OVERHEAD_BYTES || (plain[0] != KV_FOLDER && plain[0] != KV_SECRET)))
        r = -EIO;
    if (r == -EIO)
        op_fail(op, EIO, "a name in the mount is damaged");
    if (r == 0)
        *ret =
            (struct kv_name){slice_of(plain + 1, raw.len - KEYRING_OVERHEAD_BYTES - 1), plain[0]};
    return r;
}

void kv_new_id(uint8_t ret[KV_ID_BYTES])
{
    if (RAND_bytes(ret, KV_ID_BYTES) != 1)
        abort();
}
