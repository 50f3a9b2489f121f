/* Shares, unsealing by people, another key, another root token: over the Vault dialect. */
#include "base/codec.h"
#include "base/file.h"
#include "secrets/seal.h"
#include "secrets/shamir.h"
#include "secrets/unseal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "secrets_world.h"

static void open_world(struct world **ret, struct web_test *t, const char *unseal)
{
    setenv("INFRAFS_UNSEAL", unseal, 1);
    *ret = world_new();
    unsetenv("INFRAFS_UNSEAL");
    *t = (struct web_test){.domain = &secrets_domain, .self = (*ret)->s, .who = &(*ret)->root};
}

static int call(struct web_test *t, const char *method, const char *path, const char *body)
{
    char full[128];

    snprintf(full, sizeof full, "/v1/sys/%s", path);
    web_test_call(t, method, full, NULL, slice_str(body));
    return t->resp.status != 0 ? t->resp.status : 200;
}

/* The i-th string behind "key":[ or "key": of the answer; "" if there is none. */
static char *pick(struct web_test *t, const char *key, unsigned i, char *ret)
{
    struct slice body = web_test_body(t);
    autofree char *text = strndup(body.data != NULL ? body.data : "", body.len);
    char needle[64];
    const char *p;

    ret[0] = 0;
    snprintf(needle, sizeof needle, "\"%s\":", key);
    p = strstr(text, needle);
    if (p == NULL)
        return ret;
    p += strlen(needle);
    p += *p == '[';
    while (i-- > 0 && (p = strchr(p, ',')) != NULL)
        p++;
    if (p != NULL && *p == '"')
        snprintf(ret, 100, "%.*s", (int)strcspn(p + 1, "\""), p + 1);
    return ret;
}

static bool says(struct web_test *t, const char *part)
{
    struct slice body = web_test_body(t);

    return memmem(body.data, body.len, part, strlen(part)) != NULL;
}

static int give(struct web_test *t, const char *path, const char *key, const char *nonce)
{
    char body[300];

    snprintf(body, sizeof body, "{\"key\":\"%s\",\"nonce\":\"%s\"}", key, nonce);
    return call(t, "PUT", path, body);
}

static void any_enough_shares_give_it_back(void **state)
{
    static const struct {
        unsigned n, threshold;
    } cases[] = {{2, 2}, {3, 2}, {5, 3}, {255, 2}, {255, 255}, {7, 7}};
    uint8_t secret[32], got[32], shares[255 * 33], some[255 * 33];

    (void)state;
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)(i * 37 + 1);
    for (size_t c = 0; c < array_size(cases); c++) {
        unsigned t = cases[c].threshold, n = cases[c].n;

        shamir_split(slice_of(secret, 32), n, t, shares);
        for (unsigned shift = 0; shift < n; shift += n / 3 + 1) {
            for (unsigned i = 0; i < t; i++)
                memcpy(some + i * 33, shares + (i + shift) % n * 33, 33);
            assert_int_equal(shamir_combine(some, 33, t, got), 0);
            assert_memory_equal(got, secret, 32);
        }
        if (t > 2) { /* one too few */
            assert_int_equal(shamir_combine(some, 33, t - 1, got), 0);
            assert_memory_not_equal(got, secret, 32);
        }
        memcpy(some + 33, some, 33);
        assert_int_equal(shamir_combine(some, 33, 2, got), -EINVAL);
    }
}

/* Made by OpenBao 2.7.2, 2 of 3: whichever two are taken, it is one secret. */
static void shares_are_those_of_vault(void **state)
{
    static const char *const texts[] = {
        "73afb310d8f7bfdeb1a2ff9623cb1b536b0fd3d9c0e810bbd9ee1d942038e1eef2",
        "cb68464ea57859172623726bd24e05fe039d8f9e42918ff99e092f6b0c30e11654",
        "89d7894a7d9f1f53663fb0305718cd5a3d08aea2e4035b10a2d05f15b4a4e198de",
    };
    uint8_t raw[3][33], pair[2][33], first[32], got[32];

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(hex_decode(slice_str(texts[i]), raw[i], 33), 33);
    for (unsigned i = 0; i < 3; i++) {
        memcpy(pair[0], raw[i], 33);
        memcpy(pair[1], raw[(i + 1) % 3], 33);
        assert_int_equal(shamir_combine(pair[0], 33, 2, i == 0 ? first : got), 0);
        if (i > 0)
            assert_memory_equal(got, first, 32);
    }
}

static void init_refuses(void **state)
{
    static const struct {
        const char *body, *why;
    } cases[] = {
        {"{}", "shares must be at least one"},
        {"{\"secret_shares\":0,\"secret_threshold\":1}", "shares must be at least one"},
        {"{\"secret_shares\":3}", "threshold must be at least one"},
        {"{\"secret_shares\":3,\"secret_threshold\":1}", "threshold must be greater than one"},
        {"{\"secret_shares\":2,\"secret_threshold\":3}", "threshold cannot be larger"},
        {"{\"secret_shares\":256,\"secret_threshold\":3}", "shares must be less than 256"},
        {"{\"secret_shares\":\"x\"}", "secret_shares is a number"},
        {"{\"secret_shares\":2,\"secret_threshold\":2,\"pgp_keys\":[\"a\"]}", "pgp_keys"},
        {"{\"passphrase\":\"long enough\"}", "'bao operator init' makes shares"},
        {"{", "JSON"},
    };
    struct web_test t;
    struct world *w;

    (void)state;
    open_world(&w, &t, "shamir");
    for (size_t i = 0; i < array_size(cases); i++) {
        assert_int_equal(call(&t, "PUT", "init", cases[i].body), 400);
        if (!says(&t, cases[i].why))
            fail_msg("%s: %.*s", cases[i].body, (int)web_test_body(&t).len,
                     (const char *)web_test_body(&t).data);
    }
    assert_int_equal(call(&t, "PUT", "unseal", "{\"key\":\"aa\"}"), 400);
    assert_true(says(&t, "not initialized"));
    assert_int_equal(call(&t, "GET", "init", ""), 200);
    assert_true(says(&t, "false"));
    web_test_done(&t);
    world_free(w);
}

static void shares_unseal(void **state)
{
    char key[3][100], token[100], nonce[100], other[100];
    struct web_test t;
    struct world *w;

    (void)state;
    open_world(&w, &t, "shamir");
    assert_int_equal(call(&t, "PUT", "init", "{\"secret_shares\":3,\"secret_threshold\":2}"), 200);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(strlen(pick(&t, "keys", i, key[i])), 66);
    assert_int_equal(strlen(pick(&t, "keys_base64", 2, other)), 44);
    assert_int_equal(strlen(pick(&t, "root_token", 0, token)), 26);
    assert_true(secrets_is_sealed(w->s)); /* as Vault: init leaves it sealed */
    assert_int_equal(call(&t, "PUT", "init", "{\"secret_shares\":3,\"secret_threshold\":2}"), 400);
    assert_true(says(&t, "already initialized"));
    assert_int_equal(call(&t, "GET", "rekey/init", ""), 503);

    assert_int_equal(call(&t, "PUT", "unseal", "{}"), 400);
    assert_int_equal(give(&t, "unseal", "zz", ""), 400);
    assert_true(says(&t, "valid hex or base64"));
    assert_int_equal(give(&t, "unseal", "aabb", ""), 400);
    assert_true(says(&t, "shorter than minimum 16 bytes"));
    memcpy(nonce, key[0], 67);
    strcat(nonce, "00");
    assert_int_equal(give(&t, "unseal", nonce, ""), 400);
    assert_true(says(&t, "longer than maximum 33 bytes"));

    assert_int_equal(give(&t, "unseal", key[0], ""), 200);
    assert_true(says(&t, "\"t\":2,\"n\":3,\"progress\":1"));
    assert_int_equal(strlen(pick(&t, "nonce", 0, nonce)), 36);
    assert_int_equal(give(&t, "unseal", key[0], ""), 200); /* the same again counts once */
    assert_true(says(&t, "\"progress\":1"));
    assert_string_equal(pick(&t, "nonce", 0, other), nonce);
    assert_int_equal(call(&t, "PUT", "unseal", "{\"reset\":true}"), 200);
    assert_true(says(&t, "\"progress\":0,\"nonce\":\"\""));
    give(&t, "unseal", key[0], "");
    snprintf(other, sizeof other, "%s", key[1]);
    other[0] = other[0] == '0' ? '1' : '0';
    assert_int_equal(give(&t, "unseal", other, ""), 400); /* a share with a wrong digit */
    assert_true(says(&t, "Unseal failed, invalid key"));
    assert_true(secrets_is_sealed(w->s));
    give(&t, "unseal", key[2], "");
    assert_int_equal(give(&t, "unseal", key[1], ""), 200);
    assert_true(says(&t, "\"sealed\":false"));
    assert_int_equal(give(&t, "unseal", "0000", ""), 200); /* nothing to open: nothing to say */

    world_restart(w); /* and again after a restart */
    t.self = w->s;
    assert_int_equal(call(&t, "GET", "mounts", ""), 503);
    give(&t, "unseal", key[1], "");
    assert_int_equal(give(&t, "unseal", key[0], ""), 200);
    assert_int_equal(call(&t, "GET", "mounts", ""), 200);
    web_test_done(&t);
    world_free(w);
}

/* To three shares, two of them needed, from a keyfile; and what is between. */
static void rekey_by_shares(void **state)
{
    char old[100], key[3][100], nonce[100], verify[100];
    struct web_test t;
    struct world *w;

    (void)state;
    open_world(&w, &t, "shamir");
    call(&t, "PUT", "init", "{\"secret_shares\":1,\"secret_threshold\":1}");
    assert_int_equal(strlen(pick(&t, "keys", 0, old)), 64);
    assert_int_equal(give(&t, "unseal", old, ""), 200);

    t.who = &w->team;
    assert_int_equal(call(&t, "PUT", "rekey/init", "{\"secret_shares\":1}"), 403);
    assert_int_equal(call(&t, "DELETE", "rekey/init", ""), 403);
    t.who = &w->root;
    assert_int_equal(call(&t, "GET", "rekey/init", ""), 200);
    assert_true(says(&t, "\"nonce\":\"\",\"started\":false,\"t\":0,\"n\":0,\"progress\":0,"
                         "\"required\":1,\"pgp_fingerprints\":null,\"backup\":false,"
                         "\"verification_required\":false"));
    assert_int_equal(give(&t, "rekey/update", old, ""), 400);
    assert_true(says(&t, "no rekey in progress"));
    assert_int_equal(call(&t, "PUT", "rekey/init",
                          "{\"secret_shares\":3,\"secret_threshold\":2,"
                          "\"require_verification\":true}"),
                     200);
    pick(&t, "nonce", 0, nonce);
    assert_int_equal(call(&t, "PUT", "rekey/init", "{\"secret_shares\":3,\"secret_threshold\":2}"),
                     400);
    assert_true(says(&t, "rekey already in progress"));
    assert_int_equal(give(&t, "rekey/update", old, "no"), 400);
    assert_true(says(&t, "incorrect nonce supplied; nonce for this rekey operation is"));
    assert_int_equal(give(&t, "rekey/update",
                          "1111111111111111111111111111111111111111111111111111111111111111",
                          nonce),
                     400);
    assert_int_equal(give(&t, "rekey/update", old, nonce), 200);
    for (unsigned i = 0; i < 3; i++)
        pick(&t, "keys", i, key[i]);
    pick(&t, "verification_nonce", 0, verify);
    assert_int_equal(strlen(verify), 36);
    assert_true(says(&t, "\"complete\":true"));
    give(&t, "rekey/verify", key[0], verify);
    assert_true(says(&t, "\"progress\":1"));
    assert_int_equal(call(&t, "DELETE", "rekey/verify", ""), 200);
    pick(&t, "nonce", 0, verify);
    give(&t, "rekey/verify", key[2], verify);
    assert_int_equal(give(&t, "rekey/verify", key[0], verify), 200);
    assert_true(says(&t, "\"complete\":true"));

    call(&t, "PUT", "seal", "");
    assert_int_equal(give(&t, "unseal", old, ""), 400); /* a whole key is no share */
    give(&t, "unseal", key[1], "");
    assert_int_equal(give(&t, "unseal", key[2], ""), 200);
    assert_true(says(&t, "\"sealed\":false"));

    /* OpenBao's twin has an envelope */
    assert_int_equal(call(&t, "PUT", "rotate/root/init",
                          "{\"secret_shares\":1,"
                          "\"secret_threshold\":1}"),
                     200);
    assert_true(says(&t, "\"data\":{"));
    pick(&t, "nonce", 0, nonce);
    give(&t, "rotate/root/update", key[0], nonce);
    assert_true(says(&t, "\"progress\":1"));
    assert_int_equal(give(&t, "rotate/root/update", key[1], nonce), 200);
    assert_int_equal(strlen(pick(&t, "keys", 0, old)), 64);
    call(&t, "PUT", "seal", "");
    assert_int_equal(give(&t, "unseal", old, ""), 200);
    assert_true(says(&t, "\"sealed\":false"));
    web_test_done(&t);
    world_free(w);
}

/* The keyfile changes with the key; a start finds the right one wherever the daemon was killed. */
static void rekey_by_keyfile(void **state)
{
    char path[128], next[140], line[200], body[400], nonce[100];
    autobuf old = {0}, new = {0};
    struct web_test t;
    struct world *w;

    (void)state;
    open_world(&w, &t, "keyfile:DATA/unseal.key");
    snprintf(path, sizeof path, "%s/unseal.key", w->dir);
    snprintf(next, sizeof next, "%s.new", path);
    assert_false(secrets_is_sealed(w->s));
    assert_int_equal(file_read(path, 4096, &old), 0);
    snprintf(line, sizeof line, "%.*s", (int)old.len - 1, old.data);

    store_fault(w->store, 0, EIO); /* the first of the two writes is made, the second fails */
    call(&t, "PUT", "rekey/init", "{\"secret_shares\":1,\"secret_threshold\":1}");
    pick(&t, "nonce", 0, nonce);
    snprintf(body, sizeof body, "{\"key\":\"%s\",\"nonce\":\"%s\"}", line, nonce);
    assert_int_equal(call(&t, "PUT", "rekey/update", body), 500);
    store_fault(w->store, 0, 0);
    assert_int_equal(access(next, F_OK), -1);
    world_restart(w);
    t.self = w->s;
    assert_false(secrets_is_sealed(w->s)); /* the old key is the key */

    call(&t, "PUT", "rekey/init", "{\"secret_shares\":1,\"secret_threshold\":1}");
    pick(&t, "nonce", 0, nonce);
    snprintf(body, sizeof body, "{\"key\":\"%s\",\"nonce\":\"%s\"}", line, nonce);
    assert_int_equal(call(&t, "PUT", "rekey/update", body), 200);
    assert_int_equal(file_read(path, 4096, &new), 0);
    assert_false(slice_eq(buf_slice(&old), buf_slice(&new)));

    /* killed before the keyring was stored: the next key is of no use, and goes */
    assert_int_equal(file_replace(next, buf_slice(&old), 0600), 0);
    world_restart(w);
    assert_false(secrets_is_sealed(w->s));
    assert_int_equal(access(next, F_OK), -1);
    /* killed after that: the next key is the key */
    assert_int_equal(rename(path, next), 0);
    assert_int_equal(file_replace(path, buf_slice(&old), 0600), 0);
    world_restart(w);
    assert_false(secrets_is_sealed(w->s));
    assert_int_equal(access(next, F_OK), -1);
    /* the old key alone opens nothing */
    assert_int_equal(file_replace(path, buf_slice(&old), 0600), 0);
    world_restart(w);
    assert_true(secrets_is_sealed(w->s));
    web_test_done(&t);
    world_free(w);
}

static void passphrase(void **state)
{
    char nonce[100], key[100];
    struct seal_status status;
    struct web_test t;
    struct world *w;

    (void)state;
    open_world(&w, &t, "passphrase");
    assert_int_equal(call(&t, "PUT", "init", "{\"secret_shares\":1,\"secret_threshold\":1}"), 400);
    assert_true(says(&t, "'infrafs unseal' sets it"));
    assert_int_equal(call(&t, "PUT", "init", "{\"passphrase\":\"short\"}"), 400);
    assert_int_equal(call(&t, "PUT", "init", "{\"passphrase\":\"open s\\u00e9same\"}"), 200);
    assert_true(says(&t, "\"keys\":[]"));
    assert_int_equal(give(&t, "unseal", "open sesame", ""), 400);
    assert_int_equal(give(&t, "unseal", "open s\xc3\xa9same", ""),
                     429); /* a second has not passed */
    assert_int_equal(seal_get_status(w->s, &status), 0);
    assert_int_equal(status.form.kind, FORM_PASSPHRASE);
    world_restart(w);
    t.self = w->s;
    assert_int_equal(give(&t, "unseal", "open s\xc3\xa9same", ""), 200);
    assert_true(says(&t, "\"sealed\":false"));

    call(&t, "PUT", "rekey/init", "{\"passphrase\":\"another one\"}");
    pick(&t, "nonce", 0, nonce);
    assert_int_equal(give(&t, "rekey/update", "open s\xc3\xa9same", nonce), 200);
    call(&t, "PUT", "seal", "");
    assert_int_equal(give(&t, "unseal", "another one", ""), 200);
    /* to shares */
    call(&t, "PUT", "rekey/init", "{\"secret_shares\":2,\"secret_threshold\":2}");
    pick(&t, "nonce", 0, nonce);
    assert_int_equal(give(&t, "rekey/update", "another one", nonce), 200);
    assert_int_equal(strlen(pick(&t, "keys", 0, key)), 66);
    web_test_done(&t);
    world_free(w);
}

static void root_token_for_the_key(void **state)
{
    char key[2][100], otp[100], nonce[100], encoded[100], text[64];
    struct buf token = {0};
    struct identity *who = NULL;
    struct web_test t;
    struct world *w;
    struct op op;

    (void)state;
    open_world(&w, &t, "shamir");
    call(&t, "PUT", "init", "{\"secret_shares\":2,\"secret_threshold\":2}");
    pick(&t, "keys", 0, key[0]);
    pick(&t, "keys", 1, key[1]);
    assert_int_equal(call(&t, "GET", "generate-root/attempt", ""), 503);
    give(&t, "unseal", key[0], "");
    give(&t, "unseal", key[1], "");
    t.who = w->anonymous;
    assert_int_equal(call(&t, "PUT", "generate-root/attempt", "{\"otp\":\"abc\"}"), 400);
    assert_true(says(&t, "OTP string has incorrect length"));
    assert_int_equal(call(&t, "PUT", "generate-root/attempt", "{}"), 200);
    pick(&t, "otp", 0, otp);
    pick(&t, "nonce", 0, nonce);
    assert_int_equal(strlen(otp), 26);
    assert_int_equal(call(&t, "PUT", "generate-root/attempt", "{}"), 400);
    assert_int_equal(call(&t, "DELETE", "generate-root/attempt", ""), 403);
    assert_int_equal(call(&t, "GET", "generate-root/attempt", ""), 200);
    assert_false(says(&t, otp)); /* told once */
    give(&t, "generate-root/update", key[0], nonce);
    assert_true(says(&t, "\"progress\":1"));
    assert_int_equal(give(&t, "generate-root/update", key[1], nonce), 200);
    assert_true(says(&t, "\"complete\":true"));
    pick(&t, "encoded_token", 0, encoded);
    assert_int_equal(strlen(encoded), 35);
    strcat(encoded, "=");
    assert_int_equal(base64_decode(&token, slice_str(encoded)), 0);
    for (unsigned i = 0; i < 26; i++)
        text[i] = (char)(token.data[i] ^ otp[i]);
    text[26] = 0;
    op_init(&op, DOOR_INTERNAL, w->anonymous);
    assert_int_equal(identity_token(w->identities, &op, slice_str(text), &who), 0);
    assert_string_equal(who->policy_names[0], "root");
    identity_unref(who);
    op_done(&op);
    buf_done(&token);
    web_test_done(&t);
    world_free(w);
}

static void a_term_ends_as_scheduled(void **state)
{
    struct keyring_status status;
    struct web_test t;
    struct world *w;
    struct op op;
    autobuf out = {0};

    (void)state;
    open_world(&w, &t, "keyfile:DATA/unseal.key");
    assert_int_equal(call(&t, "GET", "rotate/config", ""), 200);
    assert_true(says(&t, "\"enabled\":true,\"interval\":0,\"max_operations\":3865470566"));
    assert_int_equal(call(&t, "PUT", "rotate/config", "{\"max_operations\":5}"), 400);
    assert_true(says(&t, "max_operations must be in the range [1000000,3865470566]"));
    assert_int_equal(call(&t, "PUT", "rotate/config", "{\"interval\":\"5h\"}"), 400);
    assert_true(says(&t, "interval must be greater or equal to 24h0m0s"));
    assert_int_equal(
        call(&t, "PUT", "rotate/config", "{\"max_operations\":2000000,\"interval\":\"25h\"}"), 204);
    world_restart(w); /* what was counted ahead is over the new limit */
    t.self = w->s;
    assert_int_equal(call(&t, "GET", "rotate/config", ""), 200);
    assert_true(says(&t, "\"interval\":\"25h0m0s\",\"max_operations\":2000000"));
    op_init(&op, DOOR_INTERNAL, &w->root);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(keyring_encrypt(w->s->keyring, SLICE("p"), SLICE("k"), SLICE("v"), &out),
                         0);
        assert_int_equal(keyring_status(w->s->keyring, &status), 0);
        assert_int_equal(status.term, i < 16 ? 2 : 3);
        world_restart(w);
    }
    op_done(&op);
    web_test_done(&t);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_enough_shares_give_it_back),
        cmocka_unit_test(shares_are_those_of_vault),
        cmocka_unit_test(init_refuses),
        cmocka_unit_test(shares_unseal),
        cmocka_unit_test(rekey_by_shares),
        cmocka_unit_test(rekey_by_keyfile),
        cmocka_unit_test(passphrase),
        cmocka_unit_test(root_token_for_the_key),
        cmocka_unit_test(a_term_ends_as_scheduled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
