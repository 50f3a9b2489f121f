#include "secrets/gather.h"

#include "base/codec.h"
#include "base/scope.h"
#include "secrets/lockmem.h"
#include "secrets/shamir.h"
#include "secrets/unseal.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define SHARE_BYTES (KEYRING_KEY_BYTES + 1u)
#define ROOM        (SHAMIR_SHARES_MAX * SHARE_BYTES)
#define PIECE_MIN   16u /* Vault's bound */

void nonce_make(char ret[NONCE_TEXT_BYTES])
{
    uint8_t id[16];
    char hex[33];

    randombytes_buf(id, sizeof id);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4 */
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    hex_encode(slice_of(id, sizeof id), hex);
    snprintf(ret, NONCE_TEXT_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
}

void gather_reset(struct gather *g)
{
    lockmem_free(g->shares, ROOM);
    *g = (struct gather){0};
}

static int check_length(struct op *op, size_t len)
{
    if (len < PIECE_MIN)
        return op_fail(op, EINVAL, "invalid key: key is shorter than minimum %u bytes", PIECE_MIN);
    if (len > SHARE_BYTES)
        return op_fail(op, EINVAL, "invalid key: key is longer than maximum %u bytes", SHARE_BYTES);
    if (len < SHARE_BYTES)
        return op_fail(op, EINVAL, "invalid key: a share has %u bytes, this has %zu", SHARE_BYTES,
                       len);
    return 0;
}

static int decode_share(struct op *op, struct slice text, uint8_t ret[SHARE_BYTES])
{
    struct buf raw = {.limit_bytes = 4096};
    int r = 0;

    buf_reserve(&raw, text.len < 4000 ? text.len : 4000);
    if (text.len % 2 == 0 && text.len < 4000) {
        ssize_t n = hex_decode(text, (uint8_t *)raw.data, raw.cap - 1);

        raw.len = n > 0 ? (size_t)n : 0;
    }
    if (raw.len == 0 && (base64_decode(&raw, text) < 0 || raw.len == 0))
        r = op_fail(op, EINVAL, "'key' must be a valid hex or base64 string");
    if (r == 0)
        r = check_length(op, raw.len);
    if (r == 0)
        memcpy(ret, raw.data, SHARE_BYTES);
    buf_wipe(&raw);
    return r;
}

static int whole_key(struct op *op, const struct keyring_form *form, struct slice text,
                     uint8_t *ret)
{
    autobuf why = {0};
    int r;

    if (form->kind == FORM_PASSPHRASE) {
        r = text.len <= PASSPHRASE_MAX ? unseal_passphrase_key(form, text, ret) : -EINVAL;
        return r < 0 ? op_fail(op, -r, "the passphrase cannot be taken") : 1;
    }
    if (unseal_parse(text, ret, &why) < 0)
        return op_fail(op, EINVAL, "invalid key: %s", why.data);
    return 1;
}

int gather_add(struct op *op, struct gather *g, const struct keyring_form *form, struct slice text,
               uint8_t ret[KEYRING_KEY_BYTES])
{
    uint8_t share[SHARE_BYTES];
    int r;

    if (form->threshold == 1)
        return whole_key(op, form, text, ret);
    r = decode_share(op, text, share);
    if (r < 0)
        return r;
    if (g->shares == NULL) {
        g->shares = lockmem_new(ROOM);
        nonce_make(g->nonce);
    }
    for (unsigned i = 0; i < g->n; i++) { /* the same again says nothing new */
        if (sodium_memcmp(g->shares + i * SHARE_BYTES, share, SHARE_BYTES) == 0)
            return 0;
    }
    memcpy(g->shares + g->n++ * SHARE_BYTES, share, SHARE_BYTES);
    explicit_bzero(share, sizeof share);
    if (g->n < form->threshold)
        return 0;
    r = shamir_combine(g->shares, SHARE_BYTES, g->n, ret);
    gather_reset(g);
    return r < 0 ? op_fail(op, EINVAL, "invalid key: two shares have one number") : 1;
}

void shares_make(struct op *op, const uint8_t key[KEYRING_KEY_BYTES],
                 const struct keyring_form *form, struct shares *ret)
{
    op->wiped = true;
    *ret = (struct shares){0};
    if (form->kind == FORM_PASSPHRASE)
        return;
    *ret = (struct shares){.n = form->shares,
                           .len = form->threshold > 1 ? SHARE_BYTES : KEYRING_KEY_BYTES};
    ret->bytes = op_alloc(op, ret->n * ret->len);
    if (form->threshold > 1)
        shamir_split(slice_of(key, KEYRING_KEY_BYTES), form->shares, form->threshold, ret->bytes);
    else
        memcpy(ret->bytes, key, KEYRING_KEY_BYTES);
}
