/* vault_rekey.c: sys/rekey, its twin sys/rotate/root, and sys/generate-root. The first answers
 * without an envelope, the second (OpenBao's) with one. Both want a token with sudo: in Vault
 * anybody may end the ceremony of others (CVE-2025-52894). */
#include "base/scope.h"
#include "secrets/vault_seal.h"

#include <errno.h>

static bool is_read(const struct web_request *req)
{
    return strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;
}

static bool has_envelope(const struct web_request *req)
{
    return strncmp(req->path, "/v1/sys/rotate/", 15) == 0 ||
           strncmp(req->path, "/v1/sys/generate-root-token/", 28) == 0;
}

static void answer_begin(struct vault_answer *a, struct web_request *req)
{
    if (!has_envelope(req)) {
        vault_plain_begin(a, req);
        return;
    }
    vault_answer_begin(a, req);
    json_object(&a->json);
}

static void answer_end(struct vault_answer *a, struct web_response *resp)
{
    if (!has_envelope(a->req)) {
        vault_plain_end(a, resp, 200);
        return;
    }
    json_object_end(&a->json);
    vault_answer_end(a, resp, 200);
}

static int begin(struct web_request *req)
{
    int r = vault_begin(req);

    return r == 0
               ? identity_check(req->op, is_read(req) ? POLICY_READ : POLICY_UPDATE | POLICY_SUDO,
                                "%s", req->path + 4)
               : r;
}

static int answer_status(struct web_request *req, struct web_response *resp)
{
    struct rekey_status status;
    struct vault_answer a;
    int r = rekey_get_status(req->self, &status);

    if (r < 0)
        return r;
    answer_begin(&a, req);
    json_kstr(&a.json, "nonce", status.nonce);
    json_kbool(&a.json, "started", status.started);
    json_ku64(&a.json, "t", status.threshold);
    json_ku64(&a.json, "n", status.shares);
    json_ku64(&a.json, "progress", status.progress);
    json_ku64(&a.json, "required", status.required);
    json_knull(&a.json, "pgp_fingerprints");
    json_kbool(&a.json, "backup", false);
    json_kbool(&a.json, "verification_required", status.verifies);
    if (status.verify_nonce[0] != 0)
        json_kstr(&a.json, "verification_nonce", status.verify_nonce);
    answer_end(&a, resp);
    return 0;
}

int sys_rekey_init(struct web_request *req, struct web_response *resp)
{
    struct seal_wish wish;
    bool verifies = false;
    struct object body;
    int r = begin(req);

    if (r < 0 || is_read(req))
        return r < 0 ? r : answer_status(req, resp);
    if (strcmp(req->method, "DELETE") == 0) {
        rekey_cancel(req->self);
        vault_answer_empty(resp);
        return 0;
    }
    r = vault_body(req, &body);
    if (r == 0)
        r = vault_read_wish(req, &body, &wish);
    if (r < 0)
        return r;
    value_boolean(object_value(&body, "require_verification"), &verifies);
    r = rekey_begin(req->self, req->op, &wish, verifies);
    return r < 0 ? r : answer_status(req, resp);
}

/* "key" and "nonce" of a body. */
static int read_piece(struct web_request *req, struct slice *ret_key, const char **ret_nonce)
{
    const char *key = NULL;
    struct object body;
    int r = vault_body(req, &body);

    req->op->wiped = true;
    if (r == 0)
        r = vault_string(req->op, &body, "key", &key);
    if (r == 0)
        r = vault_string(req->op, &body, "nonce", ret_nonce);
    if (r == 0 && (key == NULL || key[0] == 0))
        r = op_fail(req->op, EINVAL, "'key' must be specified in request body as JSON");
    if (r == 0)
        *ret_key = slice_str(key);
    return r;
}

static int answer_too_soon(struct web_request *req, struct web_response *resp, int r)
{
    return r == -EBUSY ? vault_answer_error(req, resp, 429, op_why(req->op, r)) : r;
}

int sys_rekey_update(struct web_request *req, struct web_response *resp)
{
    struct rekey_status status = {0};
    const char *nonce = NULL;
    struct shares shares;
    struct vault_answer a;
    struct slice key;
    int r = begin(req);

    if (r == 0)
        r = read_piece(req, &key, &nonce);
    if (r == 0)
        r = rekey_update(req->self, req->op, nonce, key, &shares);
    if (r <= 0)
        return r < 0 ? answer_too_soon(req, resp, r) : answer_status(req, resp);
    r = rekey_get_status(req->self, &status);
    answer_begin(&a, req);
    buf_reserve(&a.out, 400 + shares.n * 128);
    json_kstr(&a.json, "nonce", nonce);
    json_kbool(&a.json, "complete", true);
    json_shares(&a.json, &shares);
    json_knull(&a.json, "pgp_fingerprints");
    json_kbool(&a.json, "backup", false);
    json_kbool(&a.json, "verification_required", status.verifies);
    if (status.verify_nonce[0] != 0)
        json_kstr(&a.json, "verification_nonce", status.verify_nonce);
    answer_end(&a, resp);
    return 0;
}

static int answer_verify(struct web_request *req, struct web_response *resp)
{
    struct rekey_status status;
    struct vault_answer a;
    int r = rekey_get_status(req->self, &status);

    if (r == 0 && !status.started)
        r = op_fail(req->op, EINVAL, "no rekey configuration found");
    if (r < 0)
        return r;
    answer_begin(&a, req);
    json_kstr(&a.json, "nonce", status.verify_nonce);
    json_kbool(&a.json, "started", status.verify_nonce[0] != 0);
    json_ku64(&a.json, "t", status.threshold);
    json_ku64(&a.json, "n", status.shares);
    json_ku64(&a.json, "progress", status.verify_progress);
    answer_end(&a, resp);
    return 0;
}

int sys_rekey_verify(struct web_request *req, struct web_response *resp)
{
    const char *nonce = NULL;
    struct vault_answer a;
    struct slice key;
    int r = begin(req);

    if (r < 0 || is_read(req))
        return r < 0 ? r : answer_verify(req, resp);
    if (strcmp(req->method, "DELETE") == 0) {
        r = rekey_verify_restart(req->self, req->op);
        return r < 0 ? r : answer_verify(req, resp);
    }
    r = read_piece(req, &key, &nonce);
    if (r == 0)
        r = rekey_verify(req->self, req->op, nonce, key);
    if (r <= 0)
        return r < 0 ? answer_too_soon(req, resp, r) : answer_verify(req, resp);
    answer_begin(&a, req);
    json_kstr(&a.json, "nonce", nonce);
    json_kbool(&a.json, "complete", true);
    answer_end(&a, resp);
    return 0;
}

/* generate-root asks for no token, as in Vault: it is for who has lost theirs. */
static int root_check(struct web_request *req)
{
    return has_envelope(req) ? begin(req) : vault_begin(req);
}

static int answer_root(struct web_request *req, struct web_response *resp, const char *nonce,
                       const char *otp, const char *encoded)
{
    struct root_status status;
    struct vault_answer a;
    int r = root_get_status(req->self, &status);

    if (r < 0)
        return r;
    answer_begin(&a, req);
    json_kstr(&a.json, "nonce", nonce != NULL ? nonce : status.nonce);
    json_kbool(&a.json, "started", status.started || encoded[0] != 0);
    json_ku64(&a.json, "progress", encoded[0] != 0 ? status.required : status.progress);
    json_ku64(&a.json, "required", status.required);
    json_kbool(&a.json, "complete", encoded[0] != 0);
    json_kstr(&a.json, "encoded_token", encoded);
    json_kstr(&a.json, "encoded_root_token", encoded);
    json_kstr(&a.json, "pgp_fingerprint", "");
    json_kstr(&a.json, "otp", otp);
    json_ku64(&a.json, "otp_length", ROOT_TOKEN_BYTES);
    answer_end(&a, resp);
    return 0;
}

int sys_root_attempt(struct web_request *req, struct web_response *resp)
{
    const char *otp = NULL, *pgp = NULL;
    struct object body;
    int r = root_check(req);

    if (r < 0 || is_read(req))
        return r < 0 ? r : answer_root(req, resp, NULL, "", "");
    r = vault_body(req, &body);
    if (r == 0)
        r = vault_string(req->op, &body, "otp", &otp);
    if (r == 0)
        r = vault_string(req->op, &body, "pgp_key", &pgp);
    if (r == 0 && pgp != NULL && pgp[0] != 0)
        r = op_fail(req->op, EINVAL, "pgp_key: a token is not encrypted here; give an otp");
    if (r == 0)
        r = root_begin(req->self, req->op, otp != NULL ? otp : "", &otp);
    return r < 0 ? r : answer_root(req, resp, NULL, otp, "");
}

int sys_root_cancel(struct web_request *req, struct web_response *resp)
{
    int r = begin(req);

    if (r < 0)
        return r;
    root_cancel(req->self);
    vault_answer_empty(resp);
    return 0;
}

int sys_root_update(struct web_request *req, struct web_response *resp)
{
    const char *nonce = NULL, *encoded = "";
    struct slice key;
    int r = root_check(req);

    if (r == 0)
        r = read_piece(req, &key, &nonce);
    if (r == 0)
        r = root_update(req->self, req->op, nonce, key, &encoded);
    return r < 0 ? answer_too_soon(req, resp, r)
                 : answer_root(req, resp, r == 1 ? nonce : NULL, "", encoded);
}
