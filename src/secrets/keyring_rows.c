/* keyring_rows.c: the keyring in the store. Partition "secrets/keys", three rows:
 *   "seal"     format 1 · id (16) · nonce, root key, tag: under the unseal key; authenticated with
 *              it are format, id, and the row "form"
 *   "form"     what the unseal key is made of, in clear: format 1 · kind · shares · threshold ·
 *              salt (16) · passes (4) · KiB of memory (4); no row: one key
 *   "terms"    nonce · format 2, names key (32), reserved (8), schedule: enabled (1), operations
 *              (8), seconds (8); then per term: number (4), installed (8, Unix ns), key (32) · tag:
 *              under the root key. Format 1 is without the schedule. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/keyring_internal.h"

#include <errno.h>
#include <openssl/rand.h>

#define PART        SLICE("secrets/keys")
#define SEAL_KEY    SLICE("seal")
#define FORM_ROW    SLICE("form")
#define TERMS_KEY   SLICE("terms")
#define FORMAT      1
#define FORMAT_2    2
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define WRAP_BYTES  (NONCE_BYTES + TAG_BYTES)
#define SEAL_BYTES  (1 + KEYRING_ID_BYTES + WRAP_BYTES + KEYRING_KEY_BYTES)
#define HEAD_BYTES  (1 + KEYRING_KEY_BYTES + 8)
#define PLAN_BYTES  (1 + 8 + 8)
#define TERM_BYTES  (4 + 8 + KEYRING_KEY_BYTES)
#define FORM_BYTES  (4 + 16 + 4 + 4)

static void scope_context(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

int aead_wrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice plain,
              struct buf *out)
{
    scope_cleanup(scope_context) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *p;
    int n = 0;

    buf_reserve(out, plain.len + WRAP_BYTES);
    p = (uint8_t *)out->data + out->len;
    if (ctx == NULL || RAND_bytes(p, NONCE_BYTES) != 1 ||
        EVP_EncryptInit_ex2(ctx, k->gcm, key, p, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1 ||
        EVP_EncryptUpdate(ctx, p + NONCE_BYTES, &n, plain.data, (int)plain.len) != 1 ||
        EVP_EncryptFinal_ex(ctx, p + NONCE_BYTES + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, p + NONCE_BYTES + plain.len) !=
            1)
        return -EIO;
    out->len += plain.len + WRAP_BYTES;
    return 0;
}

int aead_unwrap(struct keyring *k, const uint8_t *key, struct slice aad, struct slice wrapped,
                uint8_t *ret)
{
    scope_cleanup(scope_context) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const uint8_t *p = wrapped.data;
    size_t len;
    int n = 0;

    if (ctx == NULL || wrapped.len < WRAP_BYTES)
        return -EBADMSG;
    len = wrapped.len - WRAP_BYTES;
    if (EVP_DecryptInit_ex2(ctx, k->gcm, key, p, NULL) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1 ||
        EVP_DecryptUpdate(ctx, ret, &n, p + NONCE_BYTES, (int)len) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES,
                            (void *)(uintptr_t)(p + NONCE_BYTES + len)) != 1 ||
        EVP_DecryptFinal_ex(ctx, ret + n, &n) != 1) {
        explicit_bzero(ret, len);
        return -EBADMSG;
    }
    return 0;
}

void keyring_seal_done(struct keyring_seal *seal)
{
    buf_done(&seal->row);
    buf_done(&seal->form_row);
}

static int load_row(struct keyring *k, struct slice key, struct buf *ret)
{
    struct store_value v = {0};
    int r = store_get(k->store, PART, key, &v);

    if (r < 0)
        return r;
    buf_add_slice(ret, v.data);
    store_value_release(&v);
    return 0;
}

static void print_form(const struct keyring_form *form, struct buf *out)
{
    uint8_t number[4];

    buf_add_char(out, FORMAT);
    buf_add_char(out, (char)form->kind);
    buf_add_char(out, (char)form->shares);
    buf_add_char(out, (char)form->threshold);
    buf_add(out, form->salt, sizeof form->salt);
    be32_put(number, form->passes);
    buf_add(out, number, 4);
    be32_put(number, form->memory_kib);
    buf_add(out, number, 4);
}

static int parse_form(struct slice row, struct keyring_form *ret)
{
    const uint8_t *p = row.data;

    *ret = (struct keyring_form){.kind = FORM_KEY, .shares = 1, .threshold = 1};
    if (row.len == 0)
        return 0;
    if (row.len != FORM_BYTES || p[0] != FORMAT || p[1] < FORM_KEY || p[1] > FORM_PASSPHRASE ||
        p[3] < 1 || p[2] < p[3])
        return -EIO;
    ret->kind = p[1];
    ret->shares = p[2];
    ret->threshold = p[3];
    memcpy(ret->salt, p + 4, sizeof ret->salt);
    ret->passes = be32_get(p + 20);
    ret->memory_kib = be32_get(p + 24);
    return 0;
}

int keyring_rows_load_seal(struct keyring *k, struct keyring_seal *ret)
{
    int r = load_row(k, SEAL_KEY, &ret->row);

    if (r < 0)
        return r;
    r = load_row(k, FORM_ROW, &ret->form_row);
    if (r < 0 && r != -ENOENT)
        return r;
    r = parse_form(buf_slice(&ret->form_row), &ret->form);
    return r == 0 && (ret->row.len != SEAL_BYTES || ret->row.data[0] != FORMAT) ? -EIO : r;
}

/* What is authenticated with the root key: the head of its row, and the form. */
static void print_seal_aad(struct slice head, struct slice form_row, struct buf *out)
{
    buf_add_slice(out, head);
    buf_add_slice(out, form_row);
}

int keyring_rows_unwrap_root(struct keyring *k, const struct keyring_seal *seal,
                             const uint8_t *unseal, uint8_t *ret_root, uint8_t *ret_id)
{
    struct slice row = buf_slice(&seal->row);
    size_t head = 1 + KEYRING_ID_BYTES;
    autobuf aad = {0};
    int r;

    print_seal_aad(slice_of(row.data, head), buf_slice(&seal->form_row), &aad);
    r = aead_unwrap(k, unseal, buf_slice(&aad), slice_skip(row, head), ret_root);
    if (r == 0)
        memcpy(ret_id, (const uint8_t *)row.data + 1, KEYRING_ID_BYTES);
    return r;
}

static void print_terms(const struct keys *keys, const struct term_set *set, struct buf *out)
{
    uint8_t number[8];

    /* never moved: no copy is left behind */
    buf_reserve(out, HEAD_BYTES + PLAN_BYTES + set->n * TERM_BYTES);
    buf_add_char(out, FORMAT_2);
    buf_add(out, keys->names, sizeof keys->names);
    be64_put(number, set->reserved);
    buf_add(out, number, 8);
    buf_add_char(out, set->schedule.enabled);
    be64_put(number, set->schedule.max_operations);
    buf_add(out, number, 8);
    be64_put(number, (uint64_t)set->schedule.interval_s);
    buf_add(out, number, 8);
    for (size_t i = 0; i < set->n; i++) {
        be32_put(number, set->list[i].number);
        buf_add(out, number, 4);
        be64_put(number, (uint64_t)set->list[i].installed_unix_ns);
        buf_add(out, number, 8);
        buf_add(out, keys->terms[i], KEYRING_KEY_BYTES);
    }
}

static int put_seal(struct keyring *k, struct store_batch *batch, const struct keys *keys,
                    const struct keyring_wrap *wrap)
{
    autobuf row = {0}, form = {0}, aad = {0};
    int r;

    buf_add_char(&row, FORMAT);
    buf_add(&row, k->id, sizeof k->id);
    if (wrap->form.kind != FORM_KEY)
        print_form(&wrap->form, &form);
    print_seal_aad(buf_slice(&row), buf_slice(&form), &aad);
    r = aead_wrap(k, wrap->unseal, buf_slice(&aad), slice_of(keys->root, sizeof keys->root), &row);
    if (r < 0)
        return r;
    if (wrap->first)
        store_batch_expect_absent(batch, SEAL_KEY);
    store_batch_put(batch, SEAL_KEY, buf_slice(&row));
    if (form.len > 0)
        store_batch_put(batch, FORM_ROW, buf_slice(&form));
    else
        store_batch_delete(batch, FORM_ROW);
    return 0;
}

int keyring_rows_store(struct keyring *k, const struct keys *keys, const struct term_set *set,
                       const struct keyring_wrap *wrap)
{
    struct store_batch *batch = store_batch_new(k->store, PART);
    struct buf plain = {0};
    autobuf row = {0};
    int r;

    print_terms(keys, set, &plain);
    r = aead_wrap(k, keys->root, SLICE("secrets/keys/terms"), buf_slice(&plain), &row);
    buf_wipe(&plain);
    if (r == 0 && wrap != NULL)
        r = put_seal(k, batch, keys, wrap);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    store_batch_put(batch, TERMS_KEY, buf_slice(&row));
    r = store_commit(batch, STORE_DURABLE);
    return r == -EAGAIN ? -EEXIST : r;
}

static int parse_terms(const uint8_t *p, size_t len, struct keys *keys, struct term_set *set)
{
    size_t head = HEAD_BYTES + (len > 0 && p[0] == FORMAT_2 ? PLAN_BYTES : 0);
    size_t n;

    if (len < head + TERM_BYTES || (p[0] != FORMAT && p[0] != FORMAT_2) ||
        (len - head) % TERM_BYTES != 0)
        return -EIO;
    n = (len - head) / TERM_BYTES;
    if (n > TERMS_MAX)
        return -EIO;
    memcpy(keys->names, p + 1, KEYRING_KEY_BYTES);
    set->reserved = be64_get(p + 1 + KEYRING_KEY_BYTES);
    set->schedule = (struct keyring_schedule)KEYRING_SCHEDULE_DEFAULT;
    if (p[0] == FORMAT_2)
        set->schedule = (struct keyring_schedule){
            p[HEAD_BYTES] != 0,
            be64_get(p + HEAD_BYTES + 1),
            (int64_t)be64_get(p + HEAD_BYTES + 9),
        };
    p += head;
    for (size_t i = 0; i < n; i++, p += TERM_BYTES) {
        set->list[i] =
            (struct term){.number = be32_get(p), .installed_unix_ns = (int64_t)be64_get(p + 4)};
        memcpy(keys->terms[i], p + 12, KEYRING_KEY_BYTES);
    }
    set->n = n;
    return 0;
}

int keyring_rows_load_terms(struct keyring *k, struct keys *keys, struct term_set *set)
{
    struct store_value v = {0};
    struct buf plain = {0};
    int r = store_get(k->store, PART, TERMS_KEY, &v);

    if (r < 0)
        return r == -ENOENT ? -EIO : r;
    buf_reserve(&plain, v.data.len);
    r = aead_unwrap(k, keys->root, SLICE("secrets/keys/terms"), v.data, (uint8_t *)plain.data);
    if (r == 0)
        r = parse_terms((const uint8_t *)plain.data, v.data.len - WRAP_BYTES, keys, set);
    buf_wipe(&plain);
    store_value_release(&v);
    return r == -EBADMSG ? -EIO : r;
}
