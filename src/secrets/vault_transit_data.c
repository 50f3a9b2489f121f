/* vault_transit_data.c: transit/encrypt, decrypt, rewrap, datakey; one by one, or in batches. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <sys/random.h>

/* One item: of the body, or of its batch_input. */
struct item {
    struct object body;
    struct slice reference;
};

struct data_call {
    struct kv_request *q;
    struct transit_key key;
    struct transit_version versions[2]; /* those used last: most batches have one */
    unsigned next;
};

static int use_version(struct data_call *c, int64_t number, struct transit_version **ret)
{
    struct transit_version *v;
    int r;

    for (size_t i = 0; i < array_size(c->versions); i++) {
        if (c->versions[i].number == number && number > 0) {
            *ret = &c->versions[i];
            return 0;
        }
    }
    v = &c->versions[c->next++ % array_size(c->versions)];
    transit_version_done(v);
    r = transit_load_version(c->q, &c->key, number, v);
    if (r < 0)
        v->number = 0;
    *ret = v;
    return r;
}

static int read_version(struct data_call *c, const struct object *body, int64_t *ret)
{
    struct slice value = object_value(body, "key_version");
    struct op *op = c->q->op;

    *ret = c->key.latest;
    if (value.len == 0)
        return 0;
    if (value_integer(op, value, ret) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"key_version\": expected a "
                                   "number");
    if (*ret < 0)
        return op_fail(op, EINVAL, "requested version for encryption is negative");
    if (*ret > c->key.latest)
        return op_fail(op, EINVAL,
                       "requested version for encryption is higher than the latest key version");
    if (*ret == 0)
        *ret = c->key.latest;
    if (*ret < c->key.min_encryption)
        return op_fail(
            op, EINVAL,
            "requested version for encryption is less than the minimum encryption key version");
    if (*ret < c->key.min_decryption)
        return op_fail(op, EINVAL, "no such key version");
    return 0;
}

static int read_common(struct data_call *c, const struct object *body,
                       struct transit_cipher *cipher)
{
    struct op *op = c->q->op;
    int r = transit_member(op, body, "context", "", &cipher->context);

    cipher->key = &c->key;
    if (r == 0)
        r = transit_member(op, body, "associated_data",
                           "unable to get associated_data/additional_data from factory[0]: ",
                           &cipher->aad);
    if (r == 0 && cipher->aad.len > 0 && c->key.type->family == TRANSIT_RSA)
        r = op_fail(op, EINVAL, "associated_data is not supported for key type %s",
                    c->key.type->name);
    return r;
}

/* Under the version that the item asks for; ciphertext and version are the answer. */
static int seal_item(struct data_call *c, const struct object *body, struct slice plain,
                     struct json *j)
{
    struct transit_cipher cipher = {0};
    struct transit_version *v;
    struct buf text = {0};
    int64_t number;
    int r = read_common(c, body, &cipher);

    if (r == 0)
        r = read_version(c, body, &number);
    if (r == 0)
        r = use_version(c, number, &v);
    if (r < 0)
        return r;
    cipher.version = v;
    r = transit_encrypt(c->q->op, &cipher, plain, &text);
    if (r == 0) {
        json_kslice(j, "ciphertext", buf_slice(&text));
        json_ki64(j, "key_version", number);
    }
    buf_done(&text);
    return r;
}

static int encrypt_item(struct data_call *c, const struct object *body, struct json *j)
{
    struct slice plain;
    int r;

    if (object_value(body, "plaintext").len == 0)
        return op_fail(c->q->op, EINVAL, "missing plaintext to encrypt");
    r = transit_member(c->q->op, body, "plaintext", "", &plain);
    return r == 0 ? seal_item(c, body, plain, j) : r;
}

static int open_item(struct data_call *c, const struct object *body, struct slice *ret)
{
    struct transit_cipher cipher = {0};
    struct transit_version *v;
    const char *text = NULL, *rest;
    struct buf sealed = {0};
    struct op *op = c->q->op;
    int64_t number;
    int r = vault_string(op, body, "ciphertext", &text);

    if (r == 0 && (text == NULL || text[0] == 0))
        r = op_fail(op, EINVAL, "missing ciphertext to decrypt");
    if (r == 0)
        r = read_common(c, body, &cipher);
    if (r == 0)
        r = transit_split(op, &c->key, text, "ciphertext", &number, &rest);
    if (r == 0 && base64_decode(&sealed, slice_str(rest)) < 0)
        r = op_fail(op, EINVAL, "invalid ciphertext: could not decode base64");
    if (r == 0)
        r = use_version(c, number, &v);
    if (r == 0) {
        cipher.version = v;
        r = transit_decrypt(op, &cipher, buf_slice(&sealed), ret);
    }
    buf_done(&sealed);
    return r;
}

static int decrypt_item(struct data_call *c, const struct object *body, struct json *j)
{
    struct buf text = {0};
    struct slice plain;
    int r = open_item(c, body, &plain);

    if (r == 0) {
        base64_encode(&text, plain);
        json_kslice(j, "plaintext", buf_slice(&text));
        buf_wipe(&text);
    }
    return r;
}

static int rewrap_item(struct data_call *c, const struct object *body, struct json *j)
{
    struct slice plain;
    int r = open_item(c, body, &plain);

    return r == 0 ? seal_item(c, body, plain, j) : r;
}

typedef int item_fn(struct data_call *c, const struct object *body, struct json *j);

static const char *needed_member(item_fn *f)
{
    return f == encrypt_item ? "plaintext" : "ciphertext";
}

/* What is no item at all spoils the batch, before anything is done. */
static int read_items(struct data_call *c, item_fn *f, struct slice batch, struct object **ret,
                      size_t *ret_n)
{
    const char *needed = needed_member(f);
    struct op *op = c->q->op;
    struct slice *items;
    int r = 0;

    if (value_elements(op, batch, &items, ret_n) < 0)
        return op_fail(op, EINVAL,
                       "failed to parse batch input: source data must be an array or slice");
    if (*ret_n == 0)
        return op_fail(op, EINVAL, "missing batch input to process");
    *ret = op_alloc(op, *ret_n * sizeof **ret);
    for (size_t i = 0; r == 0 && i < *ret_n; i++) {
        r = object_parse(op, items[i], &(*ret)[i]);
        if (r == 0 && object_value(&(*ret)[i], needed).len == 0)
            r = op_fail(op, EINVAL, "failed to parse batch input: '[%zu].%s' missing %s to %s", i,
                        needed, needed, f == encrypt_item ? "encrypt" : "decrypt");
    }
    return r;
}

/* Each item answers for itself; the whole is 400, or what the client asked for, if one failed. */
static int run_batch(struct data_call *c, item_fn *f, const struct object *body,
                     struct slice batch, bool rewraps)
{
    struct slice reference, code = object_value(body, "partial_failure_response_code");
    struct op *op = c->q->op;
    struct vault_answer a;
    int64_t status = 400;
    bool failed = false, good = false;
    struct object *items;
    size_t n;
    int r = read_items(c, f, batch, &items, &n);

    if (r < 0)
        return r;
    vault_answer_begin(&a, c->q->req);
    json_object(&a.json);
    json_key(&a.json, "batch_results");
    json_array(&a.json);
    for (size_t i = 0; i < n; i++) {
        json_object(&a.json);
        r = f(c, &items[i], &a.json);
        if (r < 0) {
            json_kstr(&a.json, "error", op_why(op, r));
            if (f == decrypt_item)
                json_kstr(&a.json, "plaintext", "");
            op_forgive(op);
            failed = true;
        } else {
            good = true;
        }
        if (value_string(op, object_value(&items[i], "reference"), &reference) < 0)
            reference = SLICE("");
        json_kslice(&a.json, "reference", reference);
        json_object_end(&a.json);
    }
    json_array_end(&a.json);
    json_object_end(&a.json);
    if (code.len > 0 && good)
        value_integer(op, code, &status);
    if (status < 200 || status > 599)
        status = 400;
    vault_answer_end(&a, c->q->resp, failed && !rewraps ? (int)status : 200);
    return 0;
}

static int run_one(struct data_call *c, item_fn *f, const struct object *body)
{
    struct vault_answer a;
    int r;

    vault_answer_begin(&a, c->q->req);
    json_object(&a.json);
    r = f(c, body, &a.json);
    json_object_end(&a.json);
    return vault_answer_finish(&a, c->q->resp, 0, r);
}

static int check_type(struct data_call *c)
{
    enum transit_family family = c->key.type->family;

    if (family == TRANSIT_AEAD || family == TRANSIT_RSA)
        return 0;
    return op_fail(c->q->op, EINVAL, "message encryption not supported for key type %s",
                   c->key.type->name);
}

/* Encrypting with a key that is not there makes it, for who may create. */
static int upsert(struct data_call *c, const struct object *body, const char *name)
{
    struct transit_key *k = &c->key;
    const char *type = NULL;
    struct op *op = c->q->op;
    bool allowed;
    int r = transit_upsert_allowed(c->q, &allowed);

    if (r == 0 && object_value(body, "batch_input").len == 0 &&
        object_value(body, "plaintext").len == 0)
        r = op_fail(op, EINVAL, "missing plaintext to encrypt");
    if (r == 0 && !allowed)
        r = op_fail(op, EINVAL, "encryption key not found");
    if (r == 0)
        r = vault_string(op, body, "type", &type);
    if (r < 0)
        return r;
    *k = (struct transit_key){.name = name};
    k->type = transit_type_find(type != NULL ? type : "aes256-gcm96");
    if (k->type != NULL && k->type->family == TRANSIT_ECDSA)
        return op_fail(op, EINVAL, "key type %s not supported for this operation", type);
    if (k->type == NULL || k->type->family != TRANSIT_AEAD)
        return op_fail(op, EINVAL, "unknown key type %s", type);
    k->derived = object_value(body, "context").len > 0;
    value_boolean(object_value(body, "convergent_encryption"), &k->convergent);
    if (k->convergent && !k->derived)
        return op_fail(op, EINVAL, "convergent encryption requires derivation to be enabled");
    r = transit_key_row(c->q, name, k->row);
    return r == 0 ? transit_rotate(c->q, k) : r;
}

static int find_key(struct data_call *c, const char *verb, const char *name,
                    const struct object *body)
{
    bool encrypts = strcmp(verb, "encrypt") == 0;
    int r = transit_load(c->q, name, &c->key);
    int found = r;

    if (r < 0 && r != -ENOENT)
        return r;
    r = identity_check(c->q->op, found == -ENOENT && encrypts ? POLICY_CREATE : POLICY_UPDATE, "%s",
                       c->q->full);
    if (r < 0)
        return r;
    if (found == -ENOENT && encrypts)
        return upsert(c, body, name);
    return found == -ENOENT ? op_fail(c->q->op, EINVAL, "encryption key not found") : 0;
}

static int answer_datakey(struct data_call *c, const struct object *body, bool plain)
{
    struct slice value = object_value(body, "bits");
    struct transit_cipher cipher = {0};
    struct transit_version *v;
    struct buf text = {0}, secret = {0};
    struct vault_answer a;
    uint8_t bytes[64];
    int64_t bits = 256;
    int r;

    if (value.len > 0 && value_integer(c->q->op, value, &bits) < 0)
        bits = 0;
    if (bits != 128 && bits != 256 && bits != 512)
        return op_fail(c->q->op, EINVAL, "invalid bit length");
    r = read_common(c, body, &cipher);
    if (r == 0)
        r = use_version(c, c->key.latest, &v);
    if (r == 0 && getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        r = -EIO;
    if (r < 0)
        return r;
    cipher.version = v;
    r = transit_encrypt(c->q->op, &cipher, slice_of(bytes, (size_t)bits / 8), &text);
    base64_encode(&secret, slice_of(bytes, (size_t)bits / 8));
    explicit_bzero(bytes, sizeof bytes);
    vault_answer_begin(&a, c->q->req);
    json_object(&a.json);
    json_kslice(&a.json, "ciphertext", buf_slice(&text));
    json_ki64(&a.json, "key_version", c->key.latest);
    if (plain)
        json_kslice(&a.json, "plaintext", buf_slice(&secret));
    json_object_end(&a.json);
    buf_done(&text);
    buf_wipe(&secret);
    return vault_answer_finish(&a, c->q->resp, 0, r);
}

static int datakey(struct data_call *c, const char *rest, const struct object *body)
{
    bool plain = strncmp(rest, "plaintext/", 10) == 0;
    const char *name = strchr(rest, '/');
    int r;

    if (name == NULL || (!plain && strncmp(rest, "wrapped/", 8) != 0))
        return op_fail(c->q->op, EINVAL, "Invalid path, must be 'plaintext' or 'wrapped'");
    r = find_key(c, "datakey", name + 1, body);
    if (r == 0)
        r = check_type(c);
    return r == 0 ? answer_datakey(c, body, plain) : r;
}

int transit_data(struct kv_request *q, const char *verb, const char *rest)
{
    item_fn *f = strcmp(verb, "encrypt") == 0   ? encrypt_item
                 : strcmp(verb, "decrypt") == 0 ? decrypt_item
                                                : rewrap_item;
    struct data_call c = {.q = q};
    struct object body;
    struct slice batch;
    int r = vault_body(q->req, &body);

    if (r < 0)
        return r;
    if (strcmp(verb, "datakey") == 0) {
        r = datakey(&c, rest, &body);
    } else if (rest[0] == 0 || strchr(rest, '/') != NULL) {
        return vault_unsupported(q);
    } else {
        batch = object_value(&body, "batch_input");
        r = find_key(&c, verb, rest, &body);
        if (r == 0)
            r = check_type(&c);
        if (r == 0)
            r = batch.len > 0 ? run_batch(&c, f, &body, batch, f == rewrap_item)
                              : run_one(&c, f, &body);
    }
    for (size_t i = 0; i < array_size(c.versions); i++)
        transit_version_done(&c.versions[i]);
    return r;
}
