#include "identity/password.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "identity/identity.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define BCRYPT_COST     11
#define BCRYPT_COST_MAX 15 /* some seconds */
#define ROUNDS_MAX      5000000u

static const struct {
    const char *prefix;
    enum password_kind kind;
    const char *name;
    size_t tail; /* characters after the last `$` (bcrypt: after the cost) */
} kinds[] = {
    {"$2y$", PASSWORD_BCRYPT, "bcrypt", 53},      {"$2b$", PASSWORD_BCRYPT, "bcrypt", 53},
    {"$2a$", PASSWORD_BCRYPT, "bcrypt", 53},      {"$5$", PASSWORD_SHA256, "sha256-crypt", 43},
    {"$6$", PASSWORD_SHA512, "sha512-crypt", 86}, {"$y$", PASSWORD_YESCRYPT, "yescrypt", 43},
    {"$apr1$", PASSWORD_APR1, "apr1", 22},        {"{SHA}", PASSWORD_SHA1, "sha1", 28},
};

static size_t find_kind(const char *hash)
{
    size_t i = 0;

    while (i < array_size(kinds) && strncmp(hash, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
        i++;
    return i;
}

enum password_kind password_kind_of(const char *hash)
{
    size_t i = find_kind(hash);

    return i < array_size(kinds) ? kinds[i].kind : PASSWORD_UNKNOWN;
}

const char *password_kind_name(enum password_kind kind)
{
    for (size_t i = 0; i < array_size(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "unknown";
}

static int check_cost(const char *hash, enum password_kind kind, struct buf *why)
{
    const char *rounds = strstr(hash, "$rounds=");

    if (kind == PASSWORD_BCRYPT) {
        int cost = (hash[4] - '0') * 10 + hash[5] - '0';

        if (cost > BCRYPT_COST_MAX) {
            buf_printf(why, "a bcrypt cost of %d takes too long; at most %d", cost,
                       BCRYPT_COST_MAX);
            return -EINVAL;
        }
    }
    if (rounds != NULL && strtoul(rounds + 8, NULL, 10) > ROUNDS_MAX) {
        buf_printf(why, "so many rounds take too long; at most %u", ROUNDS_MAX);
        return -EINVAL;
    }
    return 0;
}

int password_check(const char *hash, struct buf *why)
{
    size_t i = find_kind(hash);
    const char *tail;
    int salt;

    if (i == array_size(kinds)) {
        buf_printf(why, "the hash is of no kind that is taken; use 'infrafs user passwd NAME', or "
                        "htpasswd -B");
        return -EINVAL;
    }
    tail = kinds[i].kind == PASSWORD_SHA1 ? hash + 5 : strrchr(hash, '$') + 1;
    if (strlen(tail) != kinds[i].tail || strchr(hash, ' ') != NULL ||
        (kinds[i].kind == PASSWORD_BCRYPT && strspn(hash + 4, "0123456789") != 2)) {
        buf_printf(why, "the %s hash is cut or damaged", kinds[i].name);
        return -EINVAL;
    }
    if (kinds[i].kind == PASSWORD_APR1 || kinds[i].kind == PASSWORD_SHA1)
        return 0;
    salt = crypt_checksalt(hash);
    if (salt == CRYPT_SALT_INVALID || salt == CRYPT_SALT_METHOD_DISABLED) {
        buf_printf(why, "the %s hash is cut or damaged", kinds[i].name);
        return -EINVAL;
    }
    return check_cost(hash, kinds[i].kind, why);
}

static bool same_text(const char *a, const char *b)
{
    size_t n = strlen(a);

    return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

static void md5(const struct slice *parts, size_t n, uint8_t ret[16])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned len = 16;

    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_md5(), NULL) != 1)
        abort();
    for (size_t i = 0; i < n; i++)
        EVP_DigestUpdate(ctx, parts[i].data, parts[i].len);
    EVP_DigestFinal_ex(ctx, ret, &len);
    EVP_MD_CTX_free(ctx);
}

/* The base64 of crypt(3): six bits a character, lowest first. */
static char *print_bits(char *at, uint32_t bits, unsigned n)
{
    static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    for (; n > 0; n--, bits >>= 6)
        *at++ = digits[bits & 0x3f];
    return at;
}

/* Apache's MD5 (apr_md5.c: 1000 rounds, as FreeBSD's crypt with another magic). */
static void apr1_digest(struct slice password, struct slice salt, uint8_t sum[16])
{
    struct slice first[] = {password, salt, password};
    struct slice parts[3 + 64 + 16];
    size_t n = 0;

    md5(first, 3, sum);
    parts[n++] = password;
    parts[n++] = SLICE("$apr1$");
    parts[n++] = salt;
    for (size_t left = password.len; left > 0; left -= left > 16 ? 16 : left)
        parts[n++] = slice_of(sum, left > 16 ? 16 : left);
    for (size_t bits = password.len; bits > 0; bits >>= 1)
        parts[n++] = (bits & 1) != 0 ? slice_of("", 1) : slice_of(password.data, 1);
    md5(parts, n, sum);
    for (unsigned round = 0; round < 1000; round++) {
        struct slice digest = slice_of(sum, 16);

        n = 0;
        parts[n++] = round & 1 ? password : digest;
        if (round % 3 != 0)
            parts[n++] = salt;
        if (round % 7 != 0)
            parts[n++] = password;
        parts[n++] = round & 1 ? digest : password;
        md5(parts, n, sum);
    }
}

static bool verify_apr1(const char *hash, struct slice password)
{
    const char *salt = hash + 6, *end = strchr(salt, '$');
    uint8_t s[16];
    char text[23], *at = text;

    if (end == NULL || end - salt > 8)
        return false;
    apr1_digest(password, slice_of(salt, (size_t)(end - salt)), s);
    for (unsigned i = 0; i < 5; i++) {
        unsigned c = i == 4 ? 5 : i + 12;

        at = print_bits(at, (uint32_t)s[i] << 16 | (uint32_t)s[i + 6] << 8 | s[c], 4);
    }
    at = print_bits(at, s[11], 2);
    *at = 0;
    explicit_bzero(s, sizeof s);
    return same_text(text, end + 1);
}

static bool verify_sha1(const char *hash, struct slice password)
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    autobuf text = {0};

    if (EVP_Digest(password.data, password.len, sum, &len, EVP_sha1(), NULL) != 1)
        return false;
    base64_encode(&text, slice_of(sum, len));
    return same_text(text.data, hash + 5);
}

bool password_verify(const char *hash, struct slice password)
{
    struct crypt_data *data;
    char *text;
    const char *result;
    bool same;

    if (password.len == 0 || password.len > PASSWORD_MAX ||
        memchr(password.data, 0, password.len) != NULL)
        return false;
    if (password_kind_of(hash) == PASSWORD_APR1)
        return verify_apr1(hash, password);
    if (password_kind_of(hash) == PASSWORD_SHA1)
        return verify_sha1(hash, password);
    data = xcalloc(1, sizeof *data); /* 32 KiB */
    text = xmemdup(password.data, password.len);
    result = crypt_r(text, hash, data);
    same = result != NULL && result[0] != '*' && same_text(result, hash);
    explicit_bzero(text, password.len);
    explicit_bzero(data, sizeof *data);
    free(text);
    free(data);
    return same;
}

int users_hash(struct slice password, char **ret)
{
    struct crypt_data *data;
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    char *text;
    const char *result;
    int r = 0;

    if (password.len == 0 || password.len > 72 || memchr(password.data, 0, password.len) != NULL)
        return -EINVAL;
    if (crypt_gensalt_rn("$2y$", BCRYPT_COST, NULL, 0, setting, sizeof setting) == NULL)
        return -errno;
    data = xcalloc(1, sizeof *data);
    text = xmemdup(password.data, password.len);
    result = crypt_r(text, setting, data);
    if (result == NULL || result[0] == '*')
        r = -EIO;
    else
        *ret = xstrdup(result);
    explicit_bzero(text, password.len);
    explicit_bzero(data, sizeof *data);
    free(text);
    free(data);
    return r;
}
