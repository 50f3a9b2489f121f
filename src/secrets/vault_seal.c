/* vault_seal.c: sys/: init, unseal, seal, and the terms of the keyring. */
#include "secrets/vault_seal.h"
#include "base/codec.h"
#include "base/scope.h"
#include "config.h"
#include "secrets/seal.h"
#include "secrets/vault.h"

#include <errno.h>

int sys_seal_status(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct seal_status status;
    struct vault_answer a;
    char id[37];
    int r = seal_get_status(s, &status);

    if (r < 0)
        return r;
    vault_cluster_id(s, id);
    vault_plain_begin(&a, req);
    json_kstr(&a.json, "type", "shamir"); /* the clients' word for "people may bring the key" */
    json_kbool(&a.json, "initialized", status.initialized);
    json_kbool(&a.json, "sealed", status.sealed);
    json_ku64(&a.json, "t", status.form.threshold);
    json_ku64(&a.json, "n", status.form.shares);
    json_ku64(&a.json, "progress", status.progress);
    json_kstr(&a.json, "nonce", status.nonce);
    json_kstr(&a.json, "version", VAULT_VERSION);
    json_kstr(&a.json, "build_date", "2026-01-01T00:00:00Z");
    json_kbool(&a.json, "migration", false);
    if (!status.sealed) {
        json_kstr(&a.json, "cluster_name", "infrafs");
        json_kstr(&a.json, "cluster_id", id);
    }
    json_kbool(&a.json, "recovery_seal", false);
    json_kstr(&a.json, "storage_type", "rocksdb");
    json_kbool(&a.json, "passphrase",
               status.initialized ? status.form.kind == FORM_PASSPHRASE
                                  : strcmp(s->config->unseal, "passphrase") == 0);
    vault_plain_end(&a, resp, 200);
    return 0;
}

int vault_read_wish(struct web_request *req, const struct object *body, struct seal_wish *ret)
{
    static const char *const others[] = {"pgp_keys", "root_token_pgp_key", "recovery_pgp_keys"};
    struct op *op = req->op;
    struct slice value;

    *ret = (struct seal_wish){0};
    for (size_t i = 0; i < array_size(others); i++) {
        struct slice *elements;
        size_t n = 0;

        value = object_value(body, others[i]);
        if (value.len == 0 || slice_eq(value, SLICE("\"\"")) ||
            (value_elements(op, value, &elements, &n) == 0 && n == 0))
            continue;
        return op_fail(op, EINVAL, "%s: shares are not encrypted here; leave it out", others[i]);
    }
    value = object_value(body, "secret_shares");
    if (value.len > 0 && value_integer(op, value, &ret->shares) < 0)
        return op_fail(op, EINVAL, "secret_shares is a number");
    value = object_value(body, "secret_threshold");
    if (value.len > 0 && value_integer(op, value, &ret->threshold) < 0)
        return op_fail(op, EINVAL, "secret_threshold is a number");
    value = object_value(body, "passphrase");
    if (value.len > 0 && value_string(op, value, &ret->passphrase) < 0)
        return op_fail(op, EINVAL, "passphrase is a string");
    return 0;
}

void json_shares(struct json *j, const struct shares *shares)
{
    char hex[2 * (KEYRING_KEY_BYTES + 1) + 1];

    json_key(j, "keys");
    json_array(j);
    for (unsigned i = 0; i < shares->n; i++) {
        hex_encode(slice_of(shares->bytes + i * shares->len, shares->len), hex);
        json_str(j, hex);
    }
    json_array_end(j);
    json_key(j, "keys_base64");
    json_array(j);
    for (unsigned i = 0; i < shares->n; i++) {
        struct buf text = {0};

        buf_reserve(&text, 64);
        base64_encode(&text, slice_of(shares->bytes + i * shares->len, shares->len));
        json_slice(j, buf_slice(&text));
        buf_wipe(&text);
    }
    json_array_end(j);
    explicit_bzero(hex, sizeof hex);
}

static int answer_initialized(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    int initialized = keyring_exists(s->keyring);
    struct vault_answer a;

    if (initialized < 0)
        return initialized;
    vault_plain_begin(&a, req);
    json_kbool(&a.json, "initialized", initialized);
    vault_plain_end(&a, resp, 200);
    return 0;
}

int sys_init(struct web_request *req, struct web_response *resp)
{
    const char *token = NULL;
    struct shares shares = {0};
    struct seal_wish wish;
    struct vault_answer a;
    struct object body;
    int r;

    if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
        return answer_initialized(req, resp);
    req->op->wiped = true;
    r = vault_body(req, &body);
    if (r == 0)
        r = vault_read_wish(req, &body, &wish);
    if (r == 0)
        r = seal_init(req->self, req->op, &wish, &shares, &token);
    if (r < 0)
        return r;
    vault_plain_begin(&a, req);
    buf_reserve(&a.out, 200 + shares.n * 128);
    json_shares(&a.json, &shares);
    json_kstr(&a.json, "root_token", token);
    vault_plain_end(&a, resp, 200);
    return 0;
}

int sys_seal(struct web_request *req, struct web_response *resp)
{
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE | POLICY_SUDO, "sys/seal");
    if (r < 0)
        return r;
    secrets_seal(req->self);
    seal_forget(req->self);
    vault_answer_empty(resp);
    return 0;
}

int sys_unseal(struct web_request *req, struct web_response *resp)
{
    const char *key = NULL;
    bool reset = false;
    struct object body;
    int r;

    req->op->wiped = true;
    r = vault_body(req, &body);
    if (r == 0)
        r = vault_string(req->op, &body, "key", &key);
    if (r < 0)
        return r;
    value_boolean(object_value(&body, "reset"), &reset);
    if (key == NULL && !reset)
        return op_fail(req->op, EINVAL,
                       "'key' must be specified in request body as JSON, or 'reset' set to true");
    if (reset)
        seal_unseal_reset(req->self);
    else
        r = seal_unseal(req->self, req->op, slice_str(key));
    if (r == -EBADMSG) {
        op_forgive(req->op);
        return op_fail(req->op, EINVAL, "Unseal failed, invalid key");
    }
    if (r == -EBUSY) /* clients try again by themselves */
        return vault_answer_error(req, resp, 429, op_why(req->op, r));
    return r < 0 ? r : sys_seal_status(req, resp);
}

static void json_term(struct json *j, const struct keyring_status *status)
{
    json_ku64(j, "term", status->term);
    json_ktime(j, "install_time", status->installed_unix_ns);
    json_ku64(j, "encryptions", status->encryptions);
}

int sys_key_status(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct keyring_status status;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "sys/key-status");
    if (r == 0)
        r = keyring_status(s->keyring, &status);
    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_term(&a.json, &status);
    json_object_end(&a.json);
    json_term(&a.json, &status);
    vault_answer_end(&a, resp, 200);
    return 0;
}

int sys_rotate(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE | POLICY_SUDO, "sys/rotate");
    if (r == 0)
        r = keyring_rotate(s->keyring);
    if (r == -EOVERFLOW)
        return op_fail(req->op, EINVAL, "the keyring holds as many terms as it can");
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}

static int answer_schedule(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct keyring_schedule schedule;
    struct vault_answer a;
    int r = keyring_get_schedule(s->keyring, &schedule);

    if (r < 0)
        return r;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kbool(&a.json, "enabled", schedule.enabled);
    if (schedule.interval_s > 0)
        json_kstr(&a.json, "interval",
                  vault_duration_text(req->op, schedule.interval_s * INT64_C(1000000000)));
    else
        json_ku64(&a.json, "interval", 0);
    json_ku64(&a.json, "max_operations", schedule.max_operations);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}

static int read_schedule(struct op *op, const struct object *body, struct keyring_schedule *ret)
{
    struct slice value = object_value(body, "max_operations");
    int64_t n = 0;

    if (value.len > 0) {
        if (value_integer(op, value, &n) < 0 || n < (int64_t)KEYRING_OPERATIONS_MIN ||
            n > (int64_t)KEYRING_OPERATIONS_MAX)
            return op_fail(op, EINVAL,
                           "max_operations must be in the range [%" PRIu64 ",%" PRIu64 "]",
                           KEYRING_OPERATIONS_MIN, KEYRING_OPERATIONS_MAX);
        ret->max_operations = (uint64_t)n;
    }
    value = object_value(body, "interval");
    if (value.len > 0) {
        if (vault_duration(op, value, &n) < 0 ||
            (n != 0 && n / INT64_C(1000000000) < KEYRING_INTERVAL_MIN_S))
            return op_fail(op, EINVAL, "interval must be greater or equal to 24h0m0s");
        ret->interval_s = n / INT64_C(1000000000);
    }
    value = object_value(body, "enabled");
    if (value.len > 0 && value_boolean(value, &ret->enabled) < 0)
        return op_fail(op, EINVAL, "enabled is true or false");
    return 0;
}

int sys_rotate_config(struct web_request *req, struct web_response *resp)
{
    bool reads = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
    struct secrets *s = req->self;
    struct keyring_schedule schedule;
    struct object body;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, reads ? POLICY_READ : POLICY_UPDATE | POLICY_SUDO,
                           "sys/rotate/config");
    if (r < 0 || reads)
        return r < 0 ? r : answer_schedule(req, resp);
    r = vault_body(req, &body);
    if (r == 0)
        r = keyring_get_schedule(s->keyring, &schedule);
    if (r == 0)
        r = read_schedule(req->op, &body, &schedule);
    if (r == 0)
        r = keyring_set_schedule(s->keyring, &schedule);
    if (r == 0)
        vault_answer_empty(resp);
    return r;
}
