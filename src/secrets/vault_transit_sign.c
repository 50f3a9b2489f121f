/* vault_transit_sign.c: transit/hmac, sign, verify; one by one, or in batches. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <openssl/rsa.h>

struct sign_call {
    struct kv_request *q;
    const struct object *body;
    struct transit_key key;
    struct transit_version version; /* the one used last */
    const char *hash;               /* of the path, or of the body */
    struct transit_signing signing;
};

static int use_version(struct sign_call *c, int64_t number)
{
    int r = 0;

    if (c->version.number != number) {
        transit_version_done(&c->version);
        r = transit_load_version(c->q, &c->key, number, &c->version);
        if (r < 0)
            c->version.number = 0;
    }
    c->signing.version = &c->version;
    return r;
}

static int signing_version(struct sign_call *c, const char *what, int64_t *ret)
{
    struct slice value = object_value(c->body, "key_version");
    bool mac = strcmp(what, "hmac") == 0;
    struct op *op = c->q->op;

    *ret = 0;
    if (value.len > 0 && value_integer(op, value, ret) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"key_version\": expected a "
                                   "number");
    if (*ret == 0)
        *ret = c->key.latest;
    if (*ret < 0)
        return op_fail(op, EINVAL, mac ? "key version does not exist (cannot be negative)"
                                       : "requested version for signing is negative");
    if (*ret > c->key.latest && mac)
        return op_fail(op, EINVAL,
                       "key version does not exist; latest key version is %" PRId64,
                       c->key.latest);
    if (*ret > c->key.latest)
        return op_fail(op, EINVAL,
                       "requested version for signing is higher than the latest key version");
    if (*ret < c->key.min_encryption)
        return op_fail(op, EINVAL, "%s",
                       mac ? "cannot generate HMAC: version is too old (disallowed by policy)"
                           : "requested version for signing is less than the minimum encryption "
                             "key version");
    return 0;
}

static int read_input(struct sign_call *c, const struct object *item, const char *missing,
                      struct slice *ret)
{
    if (missing != NULL && object_value(item, "input").len == 0)
        return op_fail(c->q->op, EINVAL, "%s", missing);
    return transit_member(c->q->op, item, "input", "unable to decode input as base64: ", ret);
}

static int hash_of_hmac(struct sign_call *c, const EVP_MD **ret)
{
    *ret = transit_digest(c->hash, false);
    return *ret != NULL ? 0
                        : op_fail(c->q->op, EINVAL, "unsupported algorithm '%s'", c->hash);
}

static int hmac_item(struct sign_call *c, const struct object *item, struct json *j)
{
    struct slice input, mac;
    const EVP_MD *md;
    int64_t number;
    struct buf text = {0};
    int r = hash_of_hmac(c, &md);

    if (r == 0)
        r = signing_version(c, "hmac", &number);
    if (r == 0)
        r = read_input(c, item, "missing input for HMAC", &input);
    if (r == 0)
        r = use_version(c, number);
    if (r == 0)
        r = transit_hmac(c->q->op, c->version.hmac_key, md, input, &mac);
    if (r < 0)
        return r;
    buf_printf(&text, "vault:v%" PRId64 ":", number);
    base64_encode(&text, mac);
    json_kslice(j, "hmac", buf_slice(&text));
    buf_done(&text);
    return 0;
}

static int verify_hmac(struct sign_call *c, const struct object *item, const char *sent, bool *ret)
{
    struct slice input, mac, want;
    const EVP_MD *md;
    const char *rest;
    int64_t number;
    int r = hash_of_hmac(c, &md);

    if (r == 0)
        r = transit_split(c->q->op, &c->key, sent, "HMAC", &number, &rest);
    if (r == 0)
        r = transit_base64(c->q->op, "unable to decode verification HMAC as base64: ",
                           slice_str(rest), &mac);
    if (r == 0)
        r = read_input(c, item, "missing input", &input);
    if (r == 0)
        r = use_version(c, number);
    if (r == 0)
        r = transit_hmac(c->q->op, c->version.hmac_key, md, input, &want);
    if (r == 0)
        *ret = want.len == mac.len && CRYPTO_memcmp(want.data, mac.data, mac.len) == 0;
    return r;
}

static int read_context(struct sign_call *c, const struct object *item)
{
    return transit_member(c->q->op, item, "context", "failed to base64-decode context: ",
                          &c->signing.context);
}

static void print_signature(struct json *j, const struct sign_call *c, struct slice sig,
                            int64_t number)
{
    struct buf text = {0};

    buf_printf(&text, "vault:v%" PRId64 ":", number);
    if (c->signing.jws)
        base64url_encode(&text, sig);
    else
        base64_encode(&text, sig);
    json_kslice(j, "signature", buf_slice(&text));
    buf_done(&text);
}

static int sign_item(struct sign_call *c, const struct object *item, struct json *j)
{
    const char *missing = item != c->body ? "missing input" : NULL;
    struct slice input, sig, public;
    int64_t number;
    int r = signing_version(c, "sign", &number);

    if (r == 0)
        r = read_input(c, item, missing, &input);
    if (r == 0)
        r = read_context(c, item);
    if (r == 0)
        r = use_version(c, number);
    if (r == 0)
        r = transit_sign(c->q->op, &c->signing, input, &sig, &public);
    if (r < 0)
        return r;
    json_ki64(j, "key_version", number);
    if (public.len > 0)
        json_kslice(j, "public_key", public);
    print_signature(j, c, sig, number);
    return 0;
}

/* Base64url without padding is made into the other kind first. */
static int decode_signature(struct sign_call *c, const char *text, struct slice *ret)
{
    struct buf bytes = {0};
    char *copy = op_strdup(c->q->op, text);
    size_t n = strlen(copy);
    int r;

    if (c->signing.jws && strpbrk(copy, "+/=") == NULL) {
        for (size_t i = 0; i < n; i++)
            copy[i] = (char)(copy[i] == '-' ? '+' : copy[i] == '_' ? '/' : copy[i]);
        copy = op_printf(c->q->op, "%s%s", copy, n % 4 == 2 ? "==" : n % 4 == 3 ? "=" : "");
    }
    r = base64_decode(&bytes, slice_str(copy));
    if (r == 0)
        *ret = op_slice(c->q->op, buf_slice(&bytes));
    buf_done(&bytes);
    return r == 0 ? 0 : op_fail(c->q->op, EINVAL, "invalid base64 signature value");
}

static int verify_signature(struct sign_call *c, const struct object *item, const char *sent,
                            bool *ret)
{
    struct slice input, sig;
    const char *rest;
    int64_t number;
    int r = read_input(c, item, NULL, &input);

    if (r == 0)
        r = read_context(c, item);
    if (r == 0)
        r = transit_split(c->q->op, &c->key, sent, "signature", &number, &rest);
    if (r == 0)
        r = decode_signature(c, rest, &sig);
    if (r == 0)
        r = use_version(c, number);
    return r == 0 ? transit_verify(c->q->op, &c->signing, input, sig, ret) : r;
}

static int verify_item(struct sign_call *c, const struct object *item, struct json *j)
{
    const char *mac = NULL, *sig = NULL;
    bool valid = false;
    int r = vault_string(c->q->op, item, "hmac", &mac);

    if (r == 0)
        r = vault_string(c->q->op, item, "signature", &sig);
    if (r == 0 && mac == NULL && sig == NULL)
        r = op_fail(c->q->op, EINVAL, "neither a 'signature' nor an 'hmac' were given to verify");
    if (r == 0 && sig != NULL)
        r = verify_signature(c, item, sig, &valid);
    else if (r == 0)
        r = verify_hmac(c, item, mac, &valid);
    if (r == 0 || item != c->body)
        json_kbool(j, "valid", valid);
    return r;
}

static bool signs(const struct transit_key *k)
{
    enum transit_family f = k->type->family;

    return f == TRANSIT_ED25519 || f == TRANSIT_ECDSA || f == TRANSIT_RSA;
}

/* "auto", "hash", or a number of bytes. */
static int read_salt(struct sign_call *c)
{
    struct slice value = object_value(c->body, "salt_length"), text;
    struct op *op = c->q->op;
    int64_t n;
    int most = c->key.type->bits / 8 - 2;

    c->signing.salt = RSA_PSS_SALTLEN_AUTO;
    if (value.len == 0)
        return 0;
    if (value_integer(op, value, &n) == 0) {
        if (n < 0 || n > most)
            return op_fail(op, EINVAL, "requested salt length %" PRId64 " is invalid", n);
        c->signing.salt = n == 0 ? RSA_PSS_SALTLEN_AUTO : (int)n;
        return 0;
    }
    if (value_string(op, value, &text) < 0 ||
        (!slice_eq(text, SLICE("auto")) && !slice_eq(text, SLICE("hash"))))
        return op_fail(op, EINVAL, "salt length neither 'auto', 'hash', nor an int: %.*s",
                       (int)text.len, (const char *)text.data);
    if (slice_eq(text, SLICE("hash")))
        c->signing.salt = RSA_PSS_SALTLEN_DIGEST;
    return 0;
}

static int read_signing(struct sign_call *c)
{
    struct transit_signing *s = &c->signing;
    const char *marshaling = NULL;
    struct op *op = c->q->op;
    int r = vault_string(op, c->body, "signature_algorithm", &s->algorithm);

    s->key = &c->key;
    s->hash = c->hash;
    if (r == 0)
        r = vault_string(op, c->body, "marshaling_algorithm", &marshaling);
    if (r < 0)
        return r;
    if (s->algorithm == NULL)
        s->algorithm = "";
    value_boolean(object_value(c->body, "prehashed"), &s->prehashed);
    s->jws = marshaling != NULL && strcmp(marshaling, "jws") == 0;
    if (marshaling != NULL && !s->jws && strcmp(marshaling, "asn1") != 0 && marshaling[0] != 0)
        return op_fail(op, EINVAL, "invalid marshaling type \"%s\"", marshaling);
    if (transit_digest(s->hash, true) == NULL && strcmp(s->hash, "none") != 0)
        return op_fail(op, EINVAL, "invalid hash algorithm \"%s\"", s->hash);
    if (strcmp(s->hash, "none") == 0 && c->key.type->family != TRANSIT_ED25519 &&
        (!s->prehashed || strcmp(s->algorithm, "pkcs1v15") != 0))
        return op_fail(op, EINVAL, "hash_algorithm=none requires both prehashed=true and "
                                   "signature_algorithm=pkcs1v15");
    if (c->key.type->family == TRANSIT_RSA && s->algorithm[0] != 0 &&
        strcmp(s->algorithm, "pss") != 0 && strcmp(s->algorithm, "pkcs1v15") != 0)
        return op_fail(op, EINVAL, "unsupported rsa signature algorithm %s", s->algorithm);
    return read_salt(c);
}

typedef int item_fn(struct sign_call *c, const struct object *item, struct json *j);

static int run_batch(struct sign_call *c, item_fn *f, struct slice batch)
{
    struct slice *items, reference;
    struct op *op = c->q->op;
    struct vault_answer a;
    size_t n;

    if (value_elements(op, batch, &items, &n) < 0)
        return op_fail(op, EINVAL,
                       "failed to parse batch input: source data must be an array or slice");
    if (n == 0)
        return op_fail(op, EINVAL, "missing batch input to process");
    vault_answer_begin(&a, c->q->req);
    json_object(&a.json);
    json_key(&a.json, "batch_results");
    json_array(&a.json);
    for (size_t i = 0; i < n; i++) {
        struct object item = {0};
        int r = object_parse(op, items[i], &item);

        json_object(&a.json);
        if (r == 0)
            r = f(c, &item, &a.json);
        if (r < 0) {
            json_kstr(&a.json, "error", op_why(op, r));
            if (f == sign_item)
                json_ki64(&a.json, "key_version", 0);
            op_forgive(op);
        }
        if (value_string(op, object_value(&item, "reference"), &reference) < 0)
            reference = SLICE("");
        json_kslice(&a.json, "reference", reference);
        json_object_end(&a.json);
    }
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, c->q->resp, 200);
    return 0;
}

static int run(struct sign_call *c, item_fn *f)
{
    struct slice batch = object_value(c->body, "batch_input");
    struct vault_answer a;
    int r;

    if (batch.len > 0)
        return run_batch(c, f, batch);
    vault_answer_begin(&a, c->q->req);
    json_object(&a.json);
    r = f(c, c->body, &a.json);
    json_object_end(&a.json);
    return vault_answer_finish(&a, c->q->resp, 0, r);
}

/* Is any item of a batch about a signature? -EINVAL: about nothing. */
static int batch_signs(struct sign_call *c, bool *ret)
{
    struct slice batch = object_value(c->body, "batch_input"), *items;
    bool any = false;
    size_t n;

    *ret = object_value(c->body, "signature").len > 0;
    if (batch.len == 0 || value_elements(c->q->op, batch, &items, &n) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct object item;

        if (object_parse(c->q->op, items[i], &item) < 0)
            return -EINVAL;
        *ret = *ret || object_value(&item, "signature").len > 0;
        any = any || object_value(&item, "hmac").len > 0;
    }
    return *ret || any ? 0
                       : op_fail(c->q->op, EINVAL,
                                 "no batch_input elements have 'signature' or 'hmac'");
}

static int run_verify(struct sign_call *c)
{
    bool signature;
    int r = batch_signs(c, &signature);

    if (r < 0 || !signature)
        return r < 0 ? r : run(c, verify_item);
    if (!signs(&c->key))
        return op_fail(c->q->op, EINVAL, "key type %s does not support verification",
                       c->key.type->name);
    r = read_signing(c);
    return r == 0 ? run(c, verify_item) : r;
}

static int run_sign(struct sign_call *c)
{
    int r;

    if (!signs(&c->key))
        return op_fail(c->q->op, EINVAL, "key type %s does not support signing",
                       c->key.type->name);
    r = read_signing(c);
    return r == 0 ? run(c, sign_item) : r;
}

static int read_hash(struct sign_call *c, const char *verb, const char *path)
{
    int r = 0;

    c->hash = NULL;
    if (*path == '/') {
        c->hash = path + 1;
        return 0;
    }
    r = vault_string(c->q->op, c->body, "hash_algorithm", &c->hash);
    if (r == 0 && c->hash == NULL)
        r = vault_string(c->q->op, c->body, "algorithm", &c->hash);
    if (c->hash == NULL || c->hash[0] == 0)
        c->hash = "sha2-256";
    (void)verb;
    return r;
}

int transit_signatures(struct kv_request *q, const char *verb, const char *rest)
{
    const char *slash = strchrnul(rest, '/');
    const char *name = op_strndup(q->op, rest, (size_t)(slash - rest));
    struct sign_call c = {.q = q};
    struct object body;
    int r = vault_body(q->req, &body);

    if (name[0] == 0 || (*slash != 0 && strchr(slash + 1, '/') != NULL))
        return vault_unsupported(q);
    c.body = &body;
    if (r == 0)
        r = read_hash(&c, verb, slash);
    if (r == 0)
        r = transit_load(q, name, &c.key);
    if (r == -ENOENT)
        return op_fail(q->op, EINVAL, "%s",
                       strcmp(verb, "sign") == 0     ? "signing key not found"
                       : strcmp(verb, "verify") == 0 ? "signature verification key not found"
                                                     : "encryption key not found");
    if (r == 0)
        r = strcmp(verb, "hmac") == 0   ? run(&c, hmac_item)
            : strcmp(verb, "sign") == 0 ? run_sign(&c)
                                        : run_verify(&c);
    transit_version_done(&c.version);
    return r;
}
