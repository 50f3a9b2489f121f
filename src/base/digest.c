#include "base/digest.h"

#include "base/alloc.h"
#include "base/codec.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

/* OpenSSL 3.0 has BLAKE2b with 64 bytes of output only; the 32 that packages need are libsodium's. */
struct hash {
    EVP_MD_CTX *context; /* NULL for BLAKE2b */
    crypto_generichash_state *blake;
    enum hash_kind kind;
};

static EVP_MD *fetched[4];
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

static void fetch_all(void)
{
    fetched[HASH_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
    fetched[HASH_SHA512] = EVP_MD_fetch(NULL, "SHA512", NULL);
    fetched[HASH_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
}

size_t digest_length(enum digest_algorithm a)
{
    return a == DIGEST_SHA512 ? 64 : 32;
}

const char *digest_name(enum digest_algorithm a)
{
    return a == DIGEST_SHA512 ? "sha512" : "sha256";
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static int parse_hex(struct slice hex, enum digest_algorithm a, struct digest *ret)
{
    struct digest d = {.algorithm = (uint8_t)a};

    if (hex.len != 2 * digest_length(a))
        return -EINVAL;
    for (size_t i = 0; i < hex.len; i++) {
        char c = ((const char *)hex.data)[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return -EINVAL;
    }
    if (hex_decode(hex, d.bytes, digest_length(a)) < 0)
        return -EINVAL;
    *ret = d;
    return 0;
}

int digest_parse(struct slice text, struct digest *ret)
{
    if (slice_starts(text, SLICE("sha256:")))
        return parse_hex(slice_skip(text, 7), DIGEST_SHA256, ret);
    if (slice_starts(text, SLICE("sha512:")))
        return parse_hex(slice_skip(text, 7), DIGEST_SHA512, ret);
    return -EINVAL;
}

char *digest_print(const struct digest *d, char text[DIGEST_TEXT_MAX])
{
    enum digest_algorithm a = (enum digest_algorithm)d->algorithm;

    memcpy(text, digest_name(a), 6);
    text[6] = ':';
    hex_encode(slice_of(d->bytes, digest_length(a)), text + 7);
    return text;
}

static void hash_start(struct hash *h)
{
    int ok;

    if (h->kind == HASH_BLAKE2B_256)
        ok = crypto_generichash_init(h->blake, NULL, 0, 32) == 0;
    else
        ok = EVP_DigestInit_ex2(h->context, fetched[h->kind], NULL) == 1;
    assert(ok);
    (void)ok;
}

struct hash *hash_new(enum hash_kind kind)
{
    struct hash *h = xcalloc(1, sizeof *h);

    pthread_once(&fetch_once, fetch_all);
    h->kind = kind;
    if (kind == HASH_BLAKE2B_256) {
        h->blake = aligned_alloc(64, (sizeof *h->blake + 63) / 64 * 64);
        if (h->blake == NULL)
            abort();
    } else {
        h->context = EVP_MD_CTX_new();
        if (h->context == NULL)
            abort();
    }
    hash_start(h);
    return h;
}

void hash_free(struct hash *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->context);
    free(h->blake);
    free(h);
}

void hash_update(struct hash *h, const void *data, size_t n)
{
    if (h->kind == HASH_BLAKE2B_256)
        crypto_generichash_update(h->blake, data, n);
    else
        EVP_DigestUpdate(h->context, data, n);
}

size_t hash_final(struct hash *h, uint8_t ret[64])
{
    unsigned n = 32;

    if (h->kind == HASH_BLAKE2B_256)
        crypto_generichash_final(h->blake, ret, 32);
    else
        EVP_DigestFinal_ex(h->context, ret, &n);
    hash_start(h);
    return n;
}

enum hash_kind hash_kind_of(enum digest_algorithm a)
{
    return a == DIGEST_SHA512 ? HASH_SHA512 : HASH_SHA256;
}

void digest_of(enum digest_algorithm a, const void *data, size_t n, struct digest *ret)
{
    unsigned len = 0;

    pthread_once(&fetch_once, fetch_all);
    *ret = (struct digest){.algorithm = (uint8_t)a};
    EVP_Digest(data, n, ret->bytes, &len, fetched[hash_kind_of(a)], NULL);
}
