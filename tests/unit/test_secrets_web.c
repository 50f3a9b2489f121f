/* Vault's dialect: statuses and bodies as clients look for them (recorded on OpenBao 2.7.2). */
#include "secrets_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct world *w;
    struct web_test web;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->w = world_new();
    f->web = (struct web_test){.domain = &secrets_domain, .self = f->w->s, .who = &f->w->root};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    web_test_done(&f->web);
    world_free(f->w);
    free(f);
    return 0;
}

static const struct web_param patch_type[] = {{"Content-Type", "application/merge-patch+json"},
                                              {0}};

static int call(struct fixture *f, const char *method, const char *target, const char *body)
{
    bool patches = strcmp(method, "PATCH") == 0;

    return web_test_call(&f->web, method, target, patches ? patch_type : NULL, slice_str(body));
}

static void expect(struct fixture *f, const char *method, const char *target, const char *body,
                   int status, const char *part)
{
    int got = call(f, method, target, body);
    const char *text = web_test_text(&f->web);

    if (got != status || (part != NULL && strstr(text, part) == NULL))
        fail_msg("%s %s: %d, want %d with %s; body: %s", method, target, got, status, part, text);
}

static void write_read_delete(void **state)
{
    struct fixture *f = *state;

    expect(f, "GET", "/v1/secret/data/app/db", "", 404, "{\"errors\":[]}");
    expect(f, "POST", "/v1/secret/data/app/db",
           "{\"data\":{\"n\":12345678901234567890,\"e\":1e400}}", 200, "\"version\":1}");
    assert_string_equal(web_test_header(&f->web, "Cache-Control"), "no-store");
    expect(f, "PUT", "/v1/secret/data/app/db", "{\"data\":{\"a\":\"b\"},\"cas\":7}", 200,
           "\"version\":2}");
    expect(f, "GET", "/v1/secret/data/app/db?version=1", "", 200,
           "{\"data\":{\"n\":12345678901234567890,\"e\":1e400},\"metadata\":{\"created_time\":\"2");
    expect(f, "GET", "/v1/secret/data/app/db", "", 200,
           "\"custom_metadata\":null,\"deletion_time\":\"\",\"destroyed\":false,\"version\":2}},"
           "\"wrap_info\":null,\"warnings\":null,\"auth\":null}\n");
    expect(f, "GET", "/v1/secret/data/app/db?version=3", "", 404, "{\"errors\":[]}");
    expect(f, "GET", "/v1/secret/data/app/db?version=x", "", 400, "cannot parse value as");
    expect(f, "DELETE", "/v1/secret/data/app/db", "", 204, NULL);
    expect(f, "GET", "/v1/secret/data/app/db", "", 404,
           "\"data\":{\"data\":null,\"metadata\":{"); /* the whole envelope */
    expect(f, "POST", "/v1/secret/undelete/app/db", "{\"versions\":[\"2\"]}", 204, NULL);
    expect(f, "GET", "/v1/secret/data/app/db", "", 200, "{\"a\":\"b\"}");
    expect(f, "POST", "/v1/secret/delete/app/db", "{\"versions\":[1,2]}", 204, NULL);
    expect(f, "PUT", "/v1/secret/destroy/app/db", "{\"versions\":[1]}", 204, NULL);
    expect(f, "GET", "/v1/secret/data/app/db?version=1", "", 404,
           "\"destroyed\":true,\"version\":1");
    expect(f, "POST", "/v1/secret/destroy/app/db", "{}", 400, "no version number provided");
    expect(f, "DELETE", "/v1/secret/data/none", "", 204, NULL);
    expect(f, "POST", "/v1/secret/delete/none", "{\"versions\":[1]}", 204, NULL);
    expect(f, "DELETE", "/v1/secret/metadata/app/db", "", 204, NULL);
    expect(f, "GET", "/v1/secret/metadata/app/db", "", 404, "{\"errors\":[]}");
}

static void bad_writes(void **state)
{
    static const struct {
        const char *body;
        const char *part;
    } cases[] = {
        {"", "no data provided"},
        {"{}", "no data provided"},
        {"{\"data\":null}", "no data provided"},
        {"{\"data\":[1]}", "expected a map"},
        {"{\"data\":{\"a\":1}", "failed to decode JSON input"},
        {"[]", "failed to decode JSON input"},
        {"{\"data\":{\"a\":1,\"a\":2}}", "a key is there twice"},
        {"{\"data\":{},\"options\":{\"cas\":1}}",
         "check-and-set parameter did not match the current version"},
        {"{\"data\":{},\"options\":{\"cas\":\"x\"}}", "error parsing check-and-set parameter"},
        {"{\"data\":{\"a\":\"\xff\"}}", "invalid UTF-8"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < array_size(cases); i++)
        expect(f, "PUT", "/v1/secret/data/s", cases[i].body, 400, cases[i].part);
    expect(f, "GET", "/v1/secret/data/s", "", 404, "{\"errors\":[]}"); /* nothing half-written */
    expect(f, "PUT", "/v1/secret/data/a%2F%2Fb", "{\"data\":{}}", 400, NULL);
    expect(f, "PUT", "/v1/secret/metadata/s", "{\"cas_required\":true}", 204, NULL);
    expect(f, "PUT", "/v1/secret/data/s", "{\"data\":{}}", 400,
           "check-and-set parameter required for this call");
    expect(f, "PUT", "/v1/secret/data/s", "{\"data\":{},\"options\":{\"cas\":0}}", 200, NULL);
}

static void lists(void **state)
{
    struct fixture *f = *state;

    expect(f, "LIST", "/v1/secret/metadata", "", 404, "{\"errors\":[]}");
    expect(f, "PUT", "/v1/secret/data/b/two", "{\"data\":{}}", 200, NULL);
    expect(f, "PUT", "/v1/secret/data/b/one", "{\"data\":{}}", 200, NULL);
    expect(f, "PUT", "/v1/secret/data/b", "{\"data\":{}}", 200, NULL);
    expect(f, "PUT", "/v1/secret/data/a b", "{\"data\":{}}", 200, NULL);
    expect(f, "LIST", "/v1/secret/metadata", "", 200, "\"data\":{\"keys\":[\"a b\",\"b\",\"b/\"]}");
    expect(f, "GET", "/v1/secret/metadata/?list=true", "", 200, "[\"a b\",\"b\",\"b/\"]");
    expect(f, "LIST", "/v1/secret/metadata/b/", "", 200, "{\"keys\":[\"one\",\"two\"]}");
    expect(f, "LIST", "/v1/secret/metadata/b?after=one&limit=1", "", 200, "{\"keys\":[\"two\"]}");
    expect(f, "LIST", "/v1/secret/metadata/b/one", "", 404, "{\"errors\":[]}");
    expect(f, "LIST", "/v1/secret/detailed-metadata/b", "", 200, "\"key_info\":{\"one\":{");
    expect(f, "LIST", "/v1/secret/data", "", 405, "unsupported operation");
}

static void metadata(void **state)
{
    struct fixture *f = *state;

    /* External Secrets writes metadata before there is any data. */
    expect(f, "POST", "/v1/secret/metadata/s",
           "{\"custom_metadata\":{\"managed-by\":\"eso\"},\"max_versions\":2,"
           "\"delete_version_after\":\"3h0m0s\"}",
           204, NULL);
    expect(f, "GET", "/v1/secret/metadata/s", "", 200, "\"current_version\":0");
    expect(f, "GET", "/v1/secret/data/s", "", 404, "{\"errors\":[]}");
    for (int i = 0; i < 3; i++)
        expect(f, "PUT", "/v1/secret/data/s", "{\"data\":{}}", 200,
               "\"custom_metadata\":{\"managed-by\":\"eso\"}");
    expect(f, "GET", "/v1/secret/metadata/s", "", 200, "\"delete_version_after\":\"3h0m0s\"");
    assert_non_null(strstr(web_test_text(&f->web), "\"oldest_version\":2"));
    assert_non_null(strstr(web_test_text(&f->web), "\"versions\":{\"2\":{"));
    assert_null(strstr(web_test_text(&f->web), "\"deletion_time\":\"\"")); /* all will end */
    expect(f, "PATCH", "/v1/secret/metadata/s", "{\"custom_metadata\":{\"x\":\"y\"}}", 204, NULL);
    expect(f, "GET", "/v1/secret/metadata/s", "", 200, "{\"managed-by\":\"eso\",\"x\":\"y\"}");
    expect(f, "POST", "/v1/secret/metadata/s", "{\"custom_metadata\":{\"x\":[]}}", 400,
           "custom_metadata validation failed");
    expect(f, "POST", "/v1/secret/metadata/s", "{\"max_versions\":1001}", 400, "at most");
    expect(f, "POST", "/v1/secret/metadata/s", "{\"max_versions\":\"many\"}", 400, "max_versions");
    expect(f, "GET", "/v1/secret/config", "", 200,
           "\"cas_required\":false,\"delete_version_after\":\"0s\",\"max_versions\":0");
    expect(f, "POST", "/v1/secret/config", "{\"max_versions\":3,\"cas_required\":true}", 204, NULL);
    expect(f, "PUT", "/v1/secret/data/q", "{\"data\":{}}", 400, "check-and-set parameter required");
    world_restart(f->w);
    f->web.self = f->w->s;
    expect(f, "GET", "/v1/secret/config", "", 200, "\"cas_required\":true");
}

static void patches(void **state)
{
    struct fixture *f = *state;

    expect(f, "PATCH", "/v1/secret/data/s", "{\"data\":{\"a\":1}}", 404, NULL);
    expect(f, "PUT", "/v1/secret/data/s", "{\"data\":{\"a\":1,\"b\":{\"c\":2}}}", 200, NULL);
    assert_int_equal(
        web_test_call(&f->web, "PATCH", "/v1/secret/data/s", NULL, SLICE("{\"data\":{}}")), 415);
    expect(f, "PATCH", "/v1/secret/data/s", "{\"data\":{\"a\":null,\"b\":{\"d\":3}}}", 200, NULL);
    expect(f, "GET", "/v1/secret/data/s", "", 200, "\"data\":{\"b\":{\"c\":2,\"d\":3}}");
    expect(f, "PATCH", "/v1/secret/data/s", "{\"data\":{},\"options\":{\"cas\":1}}", 400,
           "did not match");
    expect(f, "GET", "/v1/secret/subkeys/s", "", 200,
           "\"subkeys\":{\"b\":{\"c\":null,\"d\":null}}");
    expect(f, "GET", "/v1/secret/subkeys/s?depth=1", "", 200, "\"subkeys\":{\"b\":null}");
}

static void rights(void **state)
{
    struct fixture *f = *state;

    expect(f, "PUT", "/v1/secret/data/shared", "{\"data\":{}}", 200, NULL);
    f->web.who = f->w->anonymous;
    expect(f, "GET", "/v1/secret/data/shared", "", 403, "{\"errors\":[\"permission denied\"]}");
    expect(f, "GET", "/v1/nope/x", "", 403, "permission denied");
    f->web.who = &f->w->app;
    expect(f, "GET", "/v1/secret/data/other", "", 403,
           "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}");
    expect(f, "GET", "/v1/secret/data/shared", "", 200, NULL);
    expect(f, "PUT", "/v1/secret/data/shared", "{\"data\":{}}", 403, NULL);
    expect(f, "PUT", "/v1/secret/data/app/x", "{\"data\":{}}", 200, NULL);
    expect(f, "DELETE", "/v1/secret/data/app/x", "", 403, NULL);
    expect(f, "LIST", "/v1/secret/metadata/app", "", 200, "\"x\"");
    expect(f, "LIST", "/v1/secret/metadata", "", 403, NULL);
    expect(f, "POST", "/v1/sys/seal", "", 403, NULL);
    expect(f, "POST", "/v1/sys/mounts/x", "{\"type\":\"kv\"}", 403, NULL);
    f->web.who = &f->w->root;
    expect(f, "GET", "/v1/nope/x", "", 404, "no handler for route");
    expect(f, "PATCH", "/v1/secret/undelete/x", "{}", 405, "unsupported operation");
    assert_int_equal(web_test_call(&f->web, "GET", "/v1/secret/data/shared",
                                   (struct web_param[]){{"X-Vault-Wrap-TTL", "zz"}, {0}},
                                   slice_of(NULL, 0)),
                     400);
    assert_int_equal(web_test_call(&f->web, "GET", "/v1/secret/data/shared",
                                   (struct web_param[]){{"X-Vault-Namespace", "team1"}, {0}},
                                   slice_of(NULL, 0)),
                     404);
    assert_int_equal(web_test_call(&f->web, "GET", "/v1/secret/data/shared",
                                   (struct web_param[]){{"X-Vault-Namespace", "root"}, {0}},
                                   slice_of(NULL, 0)),
                     200);
}

static void health_and_seal(void **state)
{
    struct fixture *f = *state;

    f->web.who = f->w->anonymous;
    expect(f, "GET", "/v1/sys/health", "", 200, "\"initialized\":true,\"sealed\":false");
    expect(f, "HEAD", "/v1/sys/health?activecode=299", "", 299, NULL);
    expect(f, "GET", "/v1/sys/init", "", 200, "{\"initialized\":true}");
    expect(f, "PUT", "/v1/sys/init", "{\"secret_shares\":1}", 400, "already initialized");
    expect(f, "GET", "/v1/sys/seal-status", "", 200, "\"version\":\"1.15.0\"");
    expect(f, "GET", "/v1/sys/leader", "", 200, "\"ha_enabled\":false");
    f->web.who = &f->w->root;
    expect(f, "PUT", "/v1/secret/data/s", "{\"data\":{\"a\":1}}", 200, NULL);
    expect(f, "PUT", "/v1/sys/rotate", "", 204, NULL);
    expect(f, "GET", "/v1/sys/key-status", "", 200, "\"term\":2");
    expect(f, "PUT", "/v1/sys/seal", "", 204, NULL);
    expect(f, "GET", "/v1/secret/data/s", "", 503, "{\"errors\":[\"Vault is sealed\"]}");
    expect(f, "GET", "/v1/sys/health", "", 503, "\"sealed\":true");
    expect(f, "GET", "/v1/sys/health?sealedcode=200", "", 200, NULL);
    expect(f, "PUT", "/v1/sys/unseal", "{\"key\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"}",
           400, "Unseal failed, invalid key");
    expect(f, "PUT", "/v1/sys/unseal", "{}", 400, "'key' must be specified");
    world_restart(f->w); /* the keyfile unseals it */
    f->web.self = f->w->s;
    expect(f, "GET", "/v1/secret/data/s", "", 200, "{\"a\":1}");
}

static void mount_table(void **state)
{
    struct fixture *f = *state;

    expect(f, "GET", "/v1/sys/internal/ui/mounts/secret/app/db", "", 200,
           "\"options\":{\"version\":\"2\"}");
    assert_non_null(strstr(web_test_text(&f->web), "\"path\":\"secret/\""));
    expect(f, "GET", "/v1/sys/internal/ui/mounts/nope/x", "", 403, "preflight capability check");
    expect(f, "GET", "/v1/sys/mounts", "", 200, "\"data\":{\"cubbyhole/\":{");
    expect(f, "POST", "/v1/sys/mounts/kv2", "{\"type\":\"kv\",\"options\":{\"version\":\"2\"}}",
           204, NULL);
    expect(f, "POST", "/v1/sys/mounts/kv2", "{\"type\":\"kv\"}", 400,
           "path is already in use at kv2/");
    expect(f, "POST", "/v1/sys/mounts/x", "{\"type\":\"database\"}", 400,
           "plugin not found in the catalog: database");
    expect(f, "PUT", "/v1/kv2/data/s", "{\"data\":{\"a\":1}}", 200, NULL);
    expect(f, "POST", "/v1/sys/mounts/old", "{\"type\":\"kv\"}", 204, NULL);
    expect(f, "PUT", "/v1/old/a/b", "{\"n\":1e400}", 204, NULL);
    expect(f, "GET", "/v1/old/a/b", "", 200, "\"lease_duration\":2764800,\"data\":{\"n\":1e400}");
    expect(f, "LIST", "/v1/old", "", 200, "{\"keys\":[\"a/\"]}");
    expect(f, "DELETE", "/v1/old/a/b", "", 204, NULL);
    expect(f, "GET", "/v1/old/a/b", "", 404, "{\"errors\":[]}");
    expect(f, "POST", "/v1/sys/mounts/kv2/tune",
           "{\"description\":\"d\",\"default_lease_ttl\":\"1h\"}", 204, NULL);
    expect(f, "GET", "/v1/sys/mounts/kv2/tune", "", 200, "\"default_lease_ttl\":3600");
    expect(f, "POST", "/v1/sys/remount", "{\"from\":\"kv2\",\"to\":\"moved/kv\"}", 200,
           "migration_id");
    world_restart(f->w);
    f->web.self = f->w->s;
    expect(f, "GET", "/v1/moved/kv/data/s", "", 200, "{\"a\":1}");
    expect(f, "GET", "/v1/kv2/data/s", "", 404, "no handler for route");
    expect(f, "DELETE", "/v1/sys/mounts/moved/kv", "", 204, NULL);
    expect(f, "GET", "/v1/moved/kv/data/s", "", 404, "no handler for route");
    expect(f, "DELETE", "/v1/sys/mounts/secret", "", 400, "cannot unmount");
    expect(f, "PUT", "/v1/cubbyhole/mine", "{\"a\":1}", 204, NULL);
    expect(f, "GET", "/v1/cubbyhole/mine", "", 200, "{\"a\":1}");
    expect(f, "LIST", "/v1/cubbyhole", "", 200, "{\"keys\":[\"mine\"]}");
    f->w->root.token_id = "another";
    expect(f, "GET", "/v1/cubbyhole/mine", "", 404, "{\"errors\":[]}");
}

/* The text of "client_token" in the answer. */
static char *client_token(struct fixture *f)
{
    const char *start = strstr(web_test_text(&f->web), "\"client_token\":\"");

    assert_non_null(start);
    start += strlen("\"client_token\":\"");
    return strndup(start, strcspn(start, "\""));
}

static void tokens_and_policies(void **state)
{
    struct fixture *f = *state;
    struct identity *child = NULL;
    char *token, *body = NULL;
    struct op op;

    expect(f, "PUT", "/v1/sys/policies/acl/p", "{\"policy\":\"path \\\"secret/data/x\\\" {\"}", 400,
           "failed to parse policy");
    expect(f, "PUT", "/v1/sys/policies/acl/p",
           "{\"policy\":\"path \\\"secret/data/x\\\" { capabilities = [\\\"read\\\"] }\"}", 204,
           NULL);
    expect(f, "GET", "/v1/sys/policies/acl/p", "", 200,
           "\"data\":{\"name\":\"p\",\"policy\":\"path");
    expect(f, "GET", "/v1/sys/policies/acl/none", "", 404, "{\"errors\":[]}");
    expect(f, "LIST", "/v1/sys/policies/acl", "", 200, "\"p\"");
    expect(f, "POST", "/v1/sys/capabilities-self", "{\"paths\":[\"secret/data/x\"]}", 200,
           "\"capabilities\":[\"root\"]");
    f->w->root.token_id = ""; /* an orphan: there is no row of this test's root */
    expect(f, "POST", "/v1/auth/token/create",
           "{\"policies\":[\"p\"],\"ttl\":\"1h\",\"no_parent\":true}", 200,
           "\"lease_duration\":3600");
    token = client_token(f);
    op_init(&op, DOOR_HTTP, &f->w->root);
    assert_int_equal(identity_token(f->w->identities, &op, slice_str(token), &child), 0);
    expect(f, "PUT", "/v1/secret/data/x", "{\"data\":{\"a\":1}}", 200, NULL);
    f->web.who = child;
    expect(f, "GET", "/v1/secret/data/x", "", 200, "{\"a\":1}");
    expect(f, "PUT", "/v1/secret/data/x", "{\"data\":{}}", 403, NULL);
    expect(f, "GET", "/v1/auth/token/lookup-self", "", 200, "\"type\":\"service\"");
    expect(f, "POST", "/v1/auth/token/renew-self", "{\"increment\":\"30m\"}", 200,
           "\"lease_duration\":1800");
    expect(f, "POST", "/v1/auth/token/create", "{}", 403, NULL);
    expect(f, "PUT", "/v1/cubbyhole/deep/down", "{\"a\":1}", 204, NULL);
    expect(f, "GET", "/v1/cubbyhole/deep/down", "", 200, "{\"a\":1}");
    f->web.who = &f->w->root;
    assert_true(asprintf(&body, "{\"token\":\"%s\"}", token) > 0);
    expect(f, "POST", "/v1/auth/token/lookup", body, 200, "\"display_name\":\"token\"");
    expect(f, "POST", "/v1/auth/token/revoke", body, 204, NULL);
    expect(f, "POST", "/v1/auth/token/lookup", body, 403, "bad token");
    f->web.who = &f->w->sudo;
    expect(f, "POST", "/v1/auth/token/create", "{\"policies\":[\"root\"],\"no_parent\":true}", 400,
           "root tokens may not be created");
    expect(f, "POST", "/v1/auth/token/create", "{\"policies\":[\"p\"],\"no_parent\":true}", 200,
           NULL);
    f->web.who = child; /* its cubbyhole went with it, though it is still held here */
    expect(f, "GET", "/v1/cubbyhole/deep/down", "", 404, "{\"errors\":[]}");
    f->web.who = f->w->anonymous;
    expect(f, "GET", "/v1/auth/token/lookup-self", "", 403, "{\"errors\":[\"permission denied\"]}");
    identity_unref(child);
    op_done(&op);
    free(token);
    free(body);
}

/* A v1 mount keeps versions from the moment it is told to. */
static void enable_versioning(void **state)
{
    struct fixture *f = *state;

    expect(f, "POST", "/v1/sys/mounts/old", "{\"type\":\"kv\"}", 204, NULL);
    expect(f, "PUT", "/v1/old/deep/a", "{\"n\":1}", 204, NULL);
    expect(f, "POST", "/v1/sys/mounts/old/tune", "{\"options\":{\"version\":\"3\"}}", 400, NULL);
    expect(f, "POST", "/v1/sys/mounts/old/tune", "{\"options\":{\"version\":\"2\"}}", 204, NULL);
    expect(f, "GET", "/v1/old/data/deep/a", "", 200, "\"data\":{\"data\":{\"n\":1}");
    expect(f, "PUT", "/v1/old/data/deep/a", "{\"data\":{\"n\":2}}", 200, "\"version\":2");
    expect(f, "GET", "/v1/old/data/deep/a?version=1", "", 200, "{\"n\":1}");
    expect(f, "POST", "/v1/sys/mounts/old/tune", "{\"options\":{\"version\":\"1\"}}", 400,
           "cannot downgrade");
    world_restart(f->w);
    f->web.self = f->w->s;
    expect(f, "LIST", "/v1/old/metadata/deep", "", 200, "[\"a\"]");
    expect(f, "GET", "/v1/sys/mounts/old/tune", "", 200, "\"version\":\"2\"");
}

static void userpass(void **state)
{
    struct fixture *f = *state;

    expect(f, "POST", "/v1/sys/auth/up", "{\"type\":\"userpass\"}", 204, NULL);
    expect(f, "POST", "/v1/auth/up/users/bob", "{}", 400,
           "must provide either password");
    expect(f, "POST", "/v1/auth/up/users/bob",
           "{\"password\":\"pw\",\"token_policies\":\"a,b\",\"token_ttl\":\"10m\"}", 204, NULL);
    expect(f, "GET", "/v1/auth/up/users/bob", "", 200, "\"token_policies\":[\"a\",\"b\"]");
    assert_null(strstr(web_test_text(&f->web), "$2"));
    expect(f, "LIST", "/v1/auth/up/users", "", 200, "[\"bob\"]");
    f->web.who = f->w->anonymous;
    expect(f, "POST", "/v1/auth/up/login/bob", "{\"password\":\"no\"}", 400,
           "invalid username or password");
    expect(f, "POST", "/v1/auth/up/login/eve", "{\"password\":\"pw\"}", 400,
           "invalid username or password");
    expect(f, "POST", "/v1/auth/userpass/login/bob", "{\"password\":\"pw\"}", 400,
           "invalid username or password"); /* a user of another mount */
    expect(f, "POST", "/v1/auth/none/login/bob", "{\"password\":\"pw\"}", 403, "permission denied");
    expect(f, "POST", "/v1/auth/up/login/bob", "{\"password\":\"pw\"}", 200,
           "\"policies\":[\"a\",\"b\",\"default\"]");
    assert_non_null(strstr(web_test_text(&f->web), "\"metadata\":{\"username\":\"bob\"}"));
    assert_non_null(strstr(web_test_text(&f->web), "\"lease_duration\":600"));
    f->web.who = &f->w->root;
    expect(f, "POST", "/v1/auth/up/users/bob/password", "{\"password\":\"new\"}", 204, NULL);
    expect(f, "POST", "/v1/auth/up/login/bob", "{\"password\":\"new\"}", 200, NULL);
    expect(f, "POST", "/v1/auth/up/users/bob/policies", "{\"token_policies\":[\"root\"]}", 204,
           NULL);
    expect(f, "POST", "/v1/auth/up/login/bob", "{\"password\":\"new\"}", 400,
           "auth methods cannot create root tokens");
    expect(f, "DELETE", "/v1/auth/up/users/bob", "", 204, NULL);
    expect(f, "POST", "/v1/auth/up/login/bob", "{\"password\":\"new\"}", 400, NULL);
}

/* The store fails at the write: an error, and everything is as before. */
static void faults(void **state)
{
    static const struct {
        const char *method, *target, *body;
    } calls[] = {
        {"PUT", "/v1/secret/data/s", "{\"data\":{\"v\":2}}"},
        {"PUT", "/v1/secret/data/new/s", "{\"data\":{\"v\":2}}"},
        {"PATCH", "/v1/secret/data/s", "{\"data\":{\"v\":2}}"},
        {"DELETE", "/v1/secret/data/s", ""},
        {"POST", "/v1/secret/destroy/s", "{\"versions\":[1]}"},
        {"POST", "/v1/secret/metadata/s", "{\"max_versions\":1}"},
        {"DELETE", "/v1/secret/metadata/s", ""},
        {"POST", "/v1/secret/config", "{\"cas_required\":true}"},
        {"POST", "/v1/sys/mounts/m", "{\"type\":\"kv\"}"},
        {"PUT", "/v1/sys/rotate", ""},
        {"POST", "/v1/auth/userpass/users/u", "{\"password\":\"pw\"}"},
        {"POST", "/v1/t/keys/new", "{}"},
        {"POST", "/v1/t/keys/k/rotate", ""},
        {"POST", "/v1/t/keys/k/config", "{\"exportable\":true}"},
        {"POST", "/v1/t/encrypt/new", "{\"plaintext\":\"aGk=\"}"},
        {"POST", "/v1/auth/ar/role/new", "{}"},
        {"POST", "/v1/auth/ar/role/r/secret-id", ""},
        {"POST", "/v1/auth/ar/role/r/role-id", "{\"role_id\":\"other\"}"},
        {"DELETE", "/v1/auth/ar/role/r", ""},
        {"POST", "/v1/auth/token/roles/new", "{}"},
        {"POST", "/v1/sys/mounts/v1/tune", "{\"options\":{\"version\":\"2\"}}"},
    };
    struct fixture *f = *state;

    expect(f, "PUT", "/v1/secret/data/s", "{\"data\":{\"v\":1}}", 200, NULL);
    expect(f, "POST", "/v1/sys/mounts/t", "{\"type\":\"transit\"}", 204, NULL);
    expect(f, "POST", "/v1/sys/mounts/v1", "{\"type\":\"kv\"}", 204, NULL);
    expect(f, "POST", "/v1/t/keys/k", "", 200, NULL);
    expect(f, "POST", "/v1/sys/auth/ar", "{\"type\":\"approle\"}", 204, NULL);
    expect(f, "POST", "/v1/auth/ar/role/r", "{\"role_id\":\"id\"}", 204, NULL);
    for (size_t i = 0; i < array_size(calls); i++) {
        store_fault(f->w->store, 0, ENOSPC);
        expect(f, calls[i].method, calls[i].target, calls[i].body, 507, "{\"errors\":[");
        store_fault(f->w->store, 0, 0);
        expect(f, "GET", "/v1/secret/data/s", "", 200, "{\"v\":1}");
        expect(f, "GET", "/v1/secret/data/new/s", "", 404, NULL);
        expect(f, "GET", "/v1/secret/config", "", 200, "\"cas_required\":false");
        expect(f, "GET", "/v1/sys/mounts/m", "", 400, NULL);
        expect(f, "GET", "/v1/sys/key-status", "", 200, "\"term\":1");
        expect(f, "LIST", "/v1/t/keys", "", 200, "{\"keys\":[\"k\"]}");
        expect(f, "GET", "/v1/t/keys/k", "", 200, "\"latest_version\":1");
        expect(f, "LIST", "/v1/auth/ar/role", "", 200, "{\"keys\":[\"r\"]}");
        expect(f, "GET", "/v1/auth/ar/role/r/role-id", "", 200, "\"role_id\":\"id\"");
        expect(f, "LIST", "/v1/auth/ar/role/r/secret-id", "", 404, NULL);
        expect(f, "LIST", "/v1/auth/token/roles", "", 404, NULL);
        expect(f, "GET", "/v1/sys/mounts/v1", "", 200, "\"version\":\"1\"");
    }
    store_fault(f->w->store, 0, ENOSPC); /* a wrapped write whose wrapping fails is not made */
    assert_int_equal(web_test_call(&f->web, "PUT", "/v1/secret/data/s",
                                   (struct web_param[]){{"X-Vault-Wrap-TTL", "60"}, {0}},
                                   SLICE("{\"data\":{\"v\":2}}")),
                     507);
    store_fault(f->w->store, 0, 0);
    expect(f, "GET", "/v1/secret/data/s", "", 200, "{\"v\":1}");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(write_read_delete), TEST(bad_writes),  TEST(lists),
        TEST(metadata),          TEST(patches),     TEST(rights),
        TEST(health_and_seal),   TEST(mount_table), TEST(tokens_and_policies),
        TEST(enable_versioning), TEST(userpass),
        TEST(faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
