/* transit_text.c: what the texts of transit share: versions in front, base64, hashes by name. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <stdlib.h>

/* Where Go's decoder stops, for its text. */
static size_t bad_byte(struct slice text)
{
    const char *p = text.data;

    for (size_t i = 0; i < text.len; i++) {
        bool letter = (p[i] >= 'A' && p[i] <= 'Z') || (p[i] >= 'a' && p[i] <= 'z') ||
                      (p[i] >= '0' && p[i] <= '9') || p[i] == '+' || p[i] == '/';

        if (!letter && !(p[i] == '=' && i + 2 >= text.len && i % 4 >= 2))
            return i;
    }
    return text.len / 4 * 4;
}

int transit_base64(struct op *op, const char *prefix, struct slice text, struct slice *ret)
{
    struct buf bytes = {0};
    int r = base64_decode(&bytes, text);

    if (r == 0)
        *ret = op_slice(op, buf_slice(&bytes));
    buf_wipe(&bytes);
    if (r < 0)
        return op_fail(op, EINVAL, "%sillegal base64 data at input byte %zu", prefix,
                       bad_byte(text));
    if (ret->data == NULL)
        ret->data = "";
    return 0;
}

int transit_member(struct op *op, const struct object *o, const char *key, const char *prefix,
                   struct slice *ret)
{
    struct slice value = object_value(o, key), text = value;

    *ret = slice_of(NULL, 0);
    if (value.len == 0)
        return 0;
    if (value_string(op, value, &text) == -EILSEQ)
        return op_fail(op, EINVAL, "%sillegal base64 data at input byte 0", prefix);
    return transit_base64(op, prefix, text, ret);
}

int transit_split(struct op *op, const struct transit_key *k, const char *text, const char *what,
                  int64_t *ret_version, const char **ret_rest)
{
    bool mac = strcmp(what, "HMAC") == 0;
    char *end;
    long long version;

    if (strncmp(text, "vault:v", 7) != 0)
        return op_fail(op, EINVAL, "invalid %s%s: no prefix", what, mac ? " to verify" : "");
    if (strchr(text + 7, ':') == NULL)
        return op_fail(op, EINVAL, "invalid %s: wrong number of fields", what);
    errno = 0;
    version = strtoll(text + 7, &end, 10);
    if (end == text + 7 || *end != ':' || errno != 0 || text[7] == ' ')
        return op_fail(op, EINVAL, "invalid %s: version number could not be decoded", what);
    if (version == 0)
        version = 1; /* as before there were versions */
    if (version > k->latest)
        return op_fail(op, EINVAL, "invalid %s: version is too new", what);
    if (version < 1 || version < k->min_decryption)
        return op_fail(op, EINVAL,
                       "ciphertext or signature version is disallowed by policy (too old)");
    *ret_version = version;
    *ret_rest = end + 1;
    return 0;
}

const EVP_MD *transit_digest(const char *name, bool with_sha1)
{
    static const struct {
        const char *name;
        const EVP_MD *(*md)(void);
    } digests[] = {
        {"sha2-256", EVP_sha256},   {"sha2-224", EVP_sha224},   {"sha2-384", EVP_sha384},
        {"sha2-512", EVP_sha512},   {"sha3-224", EVP_sha3_224}, {"sha3-256", EVP_sha3_256},
        {"sha3-384", EVP_sha3_384}, {"sha3-512", EVP_sha3_512},
    };

    if (with_sha1 && strcmp(name, "sha1") == 0)
        return EVP_sha1();
    for (size_t i = 0; i < array_size(digests); i++)
        if (strcmp(digests[i].name, name) == 0)
            return digests[i].md();
    return NULL;
}

int transit_hmac(struct op *op, struct slice key, const EVP_MD *md, struct slice input,
                 struct slice *ret)
{
    uint8_t *out = op_alloc(op, EVP_MAX_MD_SIZE);
    unsigned n = EVP_MAX_MD_SIZE;

    if (HMAC(md, key.data, (int)key.len, input.len > 0 ? input.data : (const void *)"", input.len,
             out, &n) == NULL)
        return -EIO;
    *ret = slice_of(out, n);
    return 0;
}
