/* kv_content.c: the content of a version, in rows of up to CHUNK_BYTES: 'v' · secret's id (16) ·
 * version (4) · chunk (2). The plaintext over all chunks:
 *   length (4) of all that follows · keys that are binary (varint), each: length (varint), bytes ·
 *   the JSON object */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>

#define ROW_CONTENT       'v'
#define TRIES             8 /* to read a secret while others write it */
#define CONTENT_KEY_BYTES (1 + KV_ID_BYTES + 4 + 2)

static struct slice content_key(const uint8_t id[KV_ID_BYTES], uint32_t version, size_t chunk,
                                uint8_t ret[CONTENT_KEY_BYTES])
{
    ret[0] = ROW_CONTENT;
    memcpy(ret + 1, id, KV_ID_BYTES);
    be32_put(ret + 1 + KV_ID_BYTES, version);
    ret[21] = (uint8_t)(chunk >> 8);
    ret[22] = (uint8_t)chunk;
    return slice_of(ret, CONTENT_KEY_BYTES);
}

static void print_content(const struct kv_content *content, struct buf *out)
{
    buf_reserve(out, content->text.len + 64);
    buf_add(out, "\0\0\0\0", 4);
    varint_put(out, content->n_binary);
    for (size_t i = 0; i < content->n_binary; i++) {
        varint_put(out, content->binary[i].len);
        buf_add_slice(out, content->binary[i]);
    }
    buf_add_slice(out, content->text);
    be32_put((uint8_t *)out->data, (uint32_t)(out->len - 4));
}

static int put_chunks(struct kv *kv, struct store_batch *batch, const uint8_t id[KV_ID_BYTES],
                      struct kv_version *version, struct slice plain)
{
    version->chunks = 0;
    while (plain.len > 0) {
        size_t n = plain.len < CHUNK_BYTES ? plain.len : CHUNK_BYTES;
        uint8_t key[CONTENT_KEY_BYTES];
        autobuf record = {0};
        int r;

        content_key(id, version->number, version->chunks, key);
        r = keyring_encrypt(kv->keyring, kv->part, slice_of(key, sizeof key),
                            slice_of(plain.data, n), &record);
        if (r < 0)
            return r;
        store_batch_put(batch, slice_of(key, sizeof key), buf_slice(&record));
        version->chunks++;
        plain = slice_skip(plain, n);
    }
    return 0;
}

int kv_content_put(struct op *op, struct kv *kv, struct store_batch *batch,
                   const uint8_t id[KV_ID_BYTES], struct kv_version *version,
                   const struct kv_content *content)
{
    struct buf plain = {0};
    int r;

    if (content->text.len > KV_CONTENT_BYTES)
        return op_fail(op, EFBIG, "a secret holds up to %u bytes", KV_CONTENT_BYTES);
    print_content(content, &plain);
    r = put_chunks(kv, batch, id, version, buf_slice(&plain));
    buf_wipe(&plain);
    return r;
}

void kv_content_delete(struct store_batch *batch, const uint8_t id[KV_ID_BYTES],
                       const struct kv_version *version)
{
    for (size_t i = 0; i < version->chunks && !version->destroyed; i++) {
        uint8_t key[CONTENT_KEY_BYTES];

        store_batch_delete(batch, content_key(id, version->number, i, key));
    }
}

struct pieces {
    uint8_t *bytes; /* in the op; made with the first chunk, whose size is then known */
    size_t len, cap;
};

static int read_chunk(struct op *op, struct kv *kv, struct slice key, size_t chunks,
                      struct pieces *to)
{
    struct store_value v = {0};
    size_t n;
    int r = store_get(kv->store, kv->part, key, &v);

    if (r < 0)
        return r == -ENOENT ? -EIO : r;
    n = v.data.len - KEYRING_OVERHEAD_BYTES;
    if (to->bytes == NULL) {
        to->cap = chunks == 1 ? v.data.len : chunks * CHUNK_BYTES;
        to->bytes = op_alloc(op, to->cap);
    }
    if (v.data.len < KEYRING_OVERHEAD_BYTES || n > to->cap - to->len)
        r = -EIO;
    else
        r = keyring_decrypt(kv->keyring, kv->part, key, v.data, to->bytes + to->len);
    to->len += n;
    store_value_release(&v);
    return r;
}

static int parse_content(struct op *op, struct slice in, struct kv_content *ret)
{
    uint64_t n = 0, len = 0;

    if (varint_get(&in, &n) < 0 || n > KV_FIELDS_LIMIT)
        return -EIO;
    ret->n_binary = n;
    ret->binary = op_alloc(op, (n + 1) * sizeof *ret->binary);
    for (uint64_t i = 0; i < n; i++) {
        if (varint_get(&in, &len) < 0 || len > in.len)
            return -EIO;
        ret->binary[i] = slice_of(in.data, len);
        in = slice_skip(in, len);
    }
    ret->text = in;
    return 0;
}

/* Rows of a version that was just found may be gone because somebody destroyed it, or wrote so many
 * new ones that it was dropped. */
static bool has_changed(struct kv *kv, const struct kv_entry *secret)
{
    struct store_value v = {0};
    int r = store_get(kv->store, kv->part, slice_of(secret->key, sizeof secret->key), &v);
    bool changed = r == -ENOENT || (r == 0 && !slice_eq(v.data, secret->raw));

    store_value_release(&v);
    return changed;
}

int kv_read(struct op *op, struct kv *kv, const struct kv_entry *secret,
            const struct kv_version *version, struct kv_content *ret)
{
    struct pieces all = {0};
    int r = 0;

    if (version->destroyed || version->chunks == 0)
        return -ENOENT;
    op->wiped = true;
    for (size_t i = 0; i < version->chunks && r == 0; i++) {
        uint8_t key[CONTENT_KEY_BYTES];

        content_key(secret->id, version->number, i, key);
        r = read_chunk(op, kv, slice_of(key, sizeof key), version->chunks, &all);
    }
    if (r == 0)
        r = all.len >= 4 && be32_get(all.bytes) == all.len - 4
                ? parse_content(op, slice_of(all.bytes + 4, all.len - 4), ret)
                : -EIO;
    if (r == -EIO && has_changed(kv, secret))
        return -ESTALE;
    return r == -EIO ? op_fail(op, EIO, "the content of a secret is damaged") : r;
}

int kv_get(struct op *op, struct kv *kv, const char *path, uint32_t number,
           struct kv_entry *ret_secret, struct kv_version *ret_version, struct kv_content *ret)
{
    int r = -ESTALE;

    for (int i = 0; i < TRIES && r == -ESTALE; i++) {
        *ret = (struct kv_content){0};
        r = kv_find(op, kv, path, ret_secret);
        if (r == 0)
            r = kv_version_find(ret_secret, number, ret_version);
        if (r == 0 && kv_version_is_live(ret_version))
            r = kv_read(op, kv, ret_secret, ret_version, ret);
    }
    return r == -ESTALE ? -EAGAIN : r;
}
