#include "config.h"

#include "base/file.h"
#include "base/scope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

DEFINE_SCOPE(config, struct config, config_free)

static void test_defaults(void **state)
{
    scope_cleanup(scope_config) struct config *c = NULL;
    autobuf why = {0};

    (void)state;
    assert_int_equal(config_parse(SLICE(""), &c, &why), 0);
    assert_string_equal(c->data, "/var/lib/infrafs");
    assert_string_equal(c->mount, "/mnt/infra");
    assert_string_equal(c->store, "rocks:/var/lib/infrafs/store");
    assert_string_equal(c->users, "/var/lib/infrafs/htpasswd");
    assert_string_equal(c->prometheus, "/var/lib/infrafs/prometheus.yml");
    assert_string_equal(c->unseal, "keyfile:/var/lib/infrafs/unseal.key");
    assert_string_equal(c->audit_file, "/var/lib/infrafs/audit.log");
    assert_int_equal(c->audit_rotate_bytes, 100 << 20);
    assert_int_equal(c->audit_keep, 10);
    assert_int_equal(c->n_listen, 1);
    assert_string_equal(c->listen[0].address, "127.0.0.1:8080");
    assert_int_equal(c->listen[0].areas, AREA_ALL);
    assert_int_equal(c->retention_ms, 15ll * 86400000);
    assert_int_equal(c->out_of_order_ms, 3600000);
    assert_int_equal(c->gc_grace_ms, 3600000);
    assert_int_equal(c->limits.header_bytes, 32 << 10);
    assert_int_equal(c->limits.blob_bytes, 64ull << 30);
    assert_int_equal(c->limits.connections, 4096);
    assert_int_equal(c->limits.idle_timeout_ms, 60000);
    assert_int_equal(c->limits.request_timeout_ms, 0);
    assert_null(c->file);
    assert_null(c->run_as);
}

static const char full[] =
    "data: /srv/infra\n"
    "mount: none\n"
    "memory: 64MiB\n"
    "store: rocks:DATA\n"
    "listen:\n"
    "  - \"127.0.0.1:8080\"\n"
    "  - {address: \"[::1]:5000\", areas: [images, packages]}\n"
    "  - address: 0.0.0.0:8443\n"
    "    tls: {certificate: /etc/a.pem, key: /etc/a.key}\n"
    "users: /etc/htpasswd\n"
    "identities:\n"
    "  - {uid: 1000, user: alice}\n"
    "  - {group: 0, policies: [team, \"a b\"]}\n"
    "audit: {file: \"\", rotate: 1MiB, keep: 3}\n"
    "packages: {mirror: \"https://pypi.org/simple\", mirror_allow: [acme-*, Six], mirror_refresh: 1m, "
    "mirror_credentials: DATA/mirror}\n"
    "images:\n"
    "  gc_grace: 2m\n"
    "  upload_idle: 3h\n"
    "  auth: bearer\n"
    "  mirrors:\n"
    "    - {prefix: docker.io, upstream: \"https://registry-1.docker.io/\", username: bob,\n"
    "       password_file: /etc/p, realm: \"https://auth.docker.io\", fresh: 30s}\n"
    "    - {prefix: ghcr, upstream: \"http://127.0.0.1:5001\", default: true}\n"
    "  retention:\n"
    "    - {repositories: \"team/*\", tags: \"v*\", keep_last: 3, keep_pulled: 10d, untagged: 0}\n"
    "    - {keep_pushed: 1h}\n"
    "  webhooks:\n"
    "    - {url: \"http://127.0.0.1:9/h\", actions: [push, delete], authorization_file: /etc/a}\n"
    "    - {url: \"http://127.0.0.1:9/h\",\n"
    "       ignore: {mediatypes: [application/octet-stream, a/b], actions: [pull, mount]}}\n"
    "scrub: {every: 7d, rate: 1MiB}\n"
    "metrics: {retention: 1d12h, retention_size: 10GiB, out_of_order_window: 100y, "
    "created_timestamps: 1}\n"
    "limits:\n"
    "  connections: 10\n"
    "  json: 1MiB\n"
    "  request_timeout: 1500ms\n";

static void check_images(const struct config *c)
{
    assert_int_equal(c->upload_idle_ms, 3 * 3600000);
    assert_int_equal(c->created_timestamps, 1);
    assert_int_equal(c->images_auth, IMAGES_AUTH_BEARER);
    assert_int_equal(c->n_mirrors, 2);
    assert_string_equal(c->mirrors[0].upstream, "https://registry-1.docker.io");
    assert_string_equal(c->mirrors[0].username, "bob");
    assert_string_equal(c->mirrors[0].realm, "https://auth.docker.io");
    assert_int_equal(c->mirrors[0].fresh_ms, 30000);
    assert_null(c->mirrors[1].username);
    assert_int_equal(c->mirrors[1].fresh_ms, -1);
    assert_true(!c->mirrors[0].is_default && c->mirrors[1].is_default);
    assert_int_equal(c->n_retention, 2);
    assert_string_equal(c->retention[0].tags, "v*");
    assert_int_equal(c->retention[0].keep_last, 3);
    assert_int_equal(c->retention[0].keep_pulled_ms, 10ll * 86400000);
    assert_int_equal(c->retention[0].keep_pushed_ms, -1);
    assert_int_equal(c->retention[0].untagged_ms, 0);
    assert_string_equal(c->retention[1].repositories, "*");
    assert_int_equal(c->retention[1].untagged_ms, -1);
    assert_int_equal(c->n_webhooks, 2);
    assert_int_equal(c->webhooks[0].actions, WEBHOOK_PUSH | WEBHOOK_DELETE);
    assert_string_equal(c->webhooks[0].repositories, "*");
    assert_int_equal(c->webhooks[0].ignore.n_media_types, 0);
    assert_int_equal(c->webhooks[1].actions, WEBHOOK_ALL);
    assert_int_equal(c->webhooks[1].ignore.n_media_types, 2);
    assert_string_equal(c->webhooks[1].ignore.media_types[1], "a/b");
    assert_int_equal(c->webhooks[1].ignore.actions, WEBHOOK_PULL | WEBHOOK_MOUNT);
    assert_int_equal(c->scrub_every_ms, 7ll * 86400000);
    assert_int_equal(c->scrub_rate_bytes, 1 << 20);
}

static void check_full(const struct config *c)
{
    check_images(c);
    assert_string_equal(c->data, "/srv/infra");
    assert_null(c->mount);
    assert_int_equal(c->memory_bytes, 64 << 20);
    assert_string_equal(c->store, "rocks:/srv/infra");
    assert_int_equal(c->n_listen, 3);
    assert_string_equal(c->listen[1].address, "[::1]:5000");
    assert_int_equal(c->listen[1].areas, AREA_IMAGES | AREA_PACKAGES);
    assert_string_equal(c->listen[2].certificate, "/etc/a.pem");
    assert_string_equal(c->listen[2].key, "/etc/a.key");
    assert_string_equal(c->users, "/etc/htpasswd");
    assert_int_equal(c->n_identities, 2);
    assert_false(c->identities[0].is_group);
    assert_int_equal(c->identities[0].id, 1000);
    assert_string_equal(c->identities[0].user, "alice");
    assert_true(c->identities[1].is_group);
    assert_string_equal(c->identities[1].policies[1], "a b");
    assert_null(c->identities[1].policies[2]);
    assert_string_equal(c->audit_file, "");
    assert_int_equal(c->audit_keep, 3);
    assert_string_equal(c->packages_mirror, "https://pypi.org/simple");
    assert_string_equal(c->packages_mirror_allow[0], "acme-*");
    assert_string_equal(c->packages_mirror_allow[1], "Six");
    assert_null(c->packages_mirror_allow[2]);
    assert_int_equal(c->packages_mirror_refresh_ms, 60000);
    assert_string_equal(c->packages_mirror_credentials, "/srv/infra/mirror");
    assert_int_equal(c->retention_ms, 36ll * 3600000);
    assert_int_equal(c->retention_bytes, 10ull << 30);
    assert_int_equal(c->out_of_order_ms, 100ll * 365 * 86400000);
    assert_int_equal(c->limits.connections, 10);
    assert_int_equal(c->limits.request_timeout_ms, 1500);
}

static void test_whole_file_and_dump(void **state)
{
    scope_cleanup(scope_config) struct config *c = NULL, *again = NULL;
    autobuf why = {0}, dump = {0}, second = {0};

    (void)state;
    if (config_parse(SLICE(full), &c, &why) < 0)
        fail_msg("%s", why.data);
    check_full(c);
    config_dump(c, &dump);
    if (config_parse(buf_slice(&dump), &again, &why) < 0)
        fail_msg("%s\n%s", why.data, dump.data);
    check_full(again);
    config_dump(again, &second);
    assert_string_equal(dump.data, second.data);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"dta: /x", "line 1, column 1: unknown key 'dta'; did you mean 'data'?"},
        {"images: {auth: token}", "line 1, column 16: auth is auto, basic or bearer, not 'token'"},
        {"images: {mirrors: [{prefix: a}]}", "line 1, column 20: 'upstream' is missing"},
        {"images: {mirrors: [{prefix: a, upstream: ftp://b}]}",
         "line 1, column 42: 'upstream' begins with http:// or https://"},
        {"images: {mirrors: [{prefix: a, upstream: \"http://u:p@b\"}]}",
         "line 1, column 42: 'upstream' holds no blanks and no user"},
        {"images: {mirrors: [{prefix: /a, upstream: \"http://b\"}]}",
         "line 1, column 20: a mirror's prefix is the head of a name, such as 'docker.io'"},
        {"images: {mirrors: [{prefix: a, upstream: \"http://b\", username: c}]}",
         "line 1, column 20: a mirror needs both 'username' and 'password_file', or none"},
        {"images: {retention: [{tags: a}]}",
         "line 1, column 22: a rule of retention needs one of 'keep_last', 'keep_pulled', "
         "'keep_pushed', 'untagged'"},
        {"images: {retention: 5}", "line 1, column 21: 'retention' is a list"},
        {"images: {webhooks: [{url: \"http://b\", actions: [pushes]}]}",
         "line 1, column 49: unknown action 'pushes'; there are push, pull, delete, mount"},
        {"images: {gcgrace: 1h}", "line 1, column 10: unknown key 'gcgrace'; did you mean 'gc_grace'?"},
        {"packages: {mirrors: x}",
         "line 1, column 12: unknown key 'mirrors'; did you mean 'mirror'?"},
        {"packages: {mirror: pypi.org}",
         "line 1, column 20: 'mirror' does not begin with https:// or http://"},
        {"packages: {mirror: \"https:///simple\"}",
         "line 1, column 20: 'mirror' is not a URL of a host and a path"},
        {"packages: {mirror: \"https://a/simple?b=c\"}",
         "line 1, column 20: 'mirror' is not a URL of a host and a path"},
        {"packages: {mirror: \"https://u:p@a/simple\"}",
         "line 1, column 20: 'mirror' holds a password; use 'mirror_credentials'"},
        {"packages: {mirror_allow: {a: b}}", "line 1, column 26: expected a list of names"},
        {"images: {mirror: x}",
         "line 1, column 10: unknown key 'mirror'; did you mean 'mirrors'?"},
        {"run_as: nobody", "line 1, column 1: unknown key 'run_as'"},
        {"metrics: {retenshun_policy: x}", "line 1, column 11: unknown key 'retenshun_policy'"},
        {"data: ''", "line 1, column 7: 'data' must not be empty"},
        {"data: [a]", "line 1, column 7: expected a text"},
        {"memory: lots", "line 1, column 9: 'lots' is not a size, such as 100MiB"},
        {"memory: 99%", "line 1, column 9: a share of memory is from 1% to 90%"},
        {"listen: ['8080']", "line 1, column 10: '8080' is not an address and port, such as "
                             "127.0.0.1:8080"},
        {"listen: [':::80']", "line 1, column 10: ':::80' is not an address and port, such as "
                              "127.0.0.1:8080"},
        {"listen: ['a:65536']", "line 1, column 10: 'a:65536' is not an address and port, such as "
                                "127.0.0.1:8080"},
        {"listen: []", "'listen' names no address"},
        {"listen: [{address: 'a:1', areas: [image]}]",
         "line 1, column 35: unknown area 'image'; did you mean 'images'?"},
        {"listen: [{address: 'a:1', areas: []}]",
         "line 1, column 34: expected a list of areas, such as [images, packages]"},
        {"listen: [{address: 'a:1', tls: {key: k}}]",
         "line 1, column 32: tls needs both 'certificate' and 'key'"},
        {"listen: [{areas: [all]}]",
         "line 1, column 10: 'address' is missing, such as \"127.0.0.1:8080\""},
        {"unseal: pgp", "line 1, column 9: unseal is 'keyfile:FILE', 'credential:NAME', 'shamir' or "
                        "'passphrase', not 'pgp'"},
        {"identities: [{uid: 1}]", "line 1, column 14: an identity needs either 'user' or 'policies'"},
        {"identities: [{user: a}]", "line 1, column 14: an identity names either 'uid' or 'group'"},
        {"identities: [{uid: no-such-user-x, user: a}]",
         "line 1, column 20: this machine has no user 'no-such-user-x'"},
        {"identities: [{group: no-such-group-x, user: a}]",
         "line 1, column 22: this machine has no group 'no-such-group-x'"},
        {"audit: {keep: 0}", "line 1, column 15: keep '0' is below the least allowed"},
        {"limits: {header: 1GiB}", "line 1, column 18: header '1GiB' is above the most allowed"},
        {"limits: {idle_timeout: 1}",
         "line 1, column 24: '1' is not a duration, such as 15s or 1h30m"},
        {"a: [", "line 2, column 1: did not find expected node content"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct config *c = NULL;
        autobuf why = {0};

        if (config_parse(slice_str(cases[i].text), &c, &why) != -EINVAL) {
            config_free(c);
            fail_msg("accepted: %s", cases[i].text);
        }
        assert_null(c);
        assert_string_equal(why.data, cases[i].why);
    }
}

static void test_empty_sections(void **state)
{
    scope_cleanup(scope_config) struct config *c = NULL, *off = NULL;
    autobuf why = {0};

    (void)state;
    assert_int_equal(config_parse(SLICE("metrics:\nlimits:\n"), &c, &why), 0);
    assert_int_equal(config_parse(SLICE("audit: off\n"), &off, &why), 0);
    assert_string_equal(off->audit_file, "");
}

static void test_flags_environment_file(void **state)
{
    char path[] = "/tmp/infrafs-config-XXXXXX";
    int fd = mkstemp(path);
    const char *listen[] = {"127.0.0.1:1", "127.0.0.1:2"};
    struct config_flags flags = {.config = path};
    scope_cleanup(scope_config) struct config *file = NULL, *environment = NULL, *flag = NULL;
    struct config *none = NULL;
    autobuf why = {0};

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_replace(path, SLICE("data: /file\nmetrics: {retention: 1d}\n"), 0600), 0);
    assert_int_equal(config_load(&flags, &file, &why), 0);
    assert_string_equal(file->data, "/file");
    assert_string_equal(file->file, path);
    assert_string_equal(file->store, "rocks:/file/store");

    setenv("INFRAFS_DATA", "/environment", 1);
    setenv("INFRAFS_LISTEN", "127.0.0.1:7,[::1]:8", 1);
    setenv("INFRAFS_METRICS_RETENTION", "2d", 1);
    setenv("INFRAFS_METRICS_OUT_OF_ORDER_WINDOW", "100y", 1);
    setenv("INFRAFS_IDENTITIES", "[{uid: 5, user: bob}]", 1);
    assert_int_equal(config_load(&flags, &environment, &why), 0);
    assert_string_equal(environment->data, "/environment");
    assert_int_equal(environment->n_listen, 2);
    assert_string_equal(environment->listen[1].address, "[::1]:8");
    assert_int_equal(environment->retention_ms, 2ll * 86400000);
    assert_int_equal(environment->out_of_order_ms, 100ll * 365 * 86400000);
    assert_int_equal(environment->n_identities, 1);

    flags.data = "/flag";
    flags.no_mount = true;
    flags.listen = listen;
    flags.n_listen = 2;
    assert_int_equal(config_load(&flags, &flag, &why), 0);
    assert_string_equal(flag->data, "/flag");
    assert_string_equal(flag->users, "/flag/htpasswd");
    assert_null(flag->mount);
    assert_int_equal(flag->n_listen, 2);
    assert_string_equal(flag->listen[0].address, "127.0.0.1:1");

    setenv("INFRAFS_METRICS_RETENTION", "soon", 1);
    assert_int_equal(config_load(&flags, &none, &why), -EINVAL);
    assert_string_equal(why.data, "INFRAFS_METRICS_RETENTION: 'soon' is not a duration, such as "
                                  "15s or 1h30m");
    unsetenv("INFRAFS_METRICS_RETENTION");
    unsetenv("INFRAFS_METRICS_OUT_OF_ORDER_WINDOW");
    unsetenv("INFRAFS_DATA");
    unsetenv("INFRAFS_LISTEN");
    unsetenv("INFRAFS_IDENTITIES");

    listen[1] = "nowhere";
    buf_clear(&why);
    assert_int_equal(config_load(&flags, &none, &why), -EINVAL);
    assert_string_equal(why.data, "--listen: 'nowhere' is not an address and port, such as "
                                  "127.0.0.1:8080");
    flags.n_listen = 0;
    flags.config = "/nonexistent/infrafs.yml";
    buf_clear(&why);
    assert_int_equal(config_load(&flags, &none, &why), -ENOENT);
    assert_string_equal(why.data, "/nonexistent/infrafs.yml: No such file or directory");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_whole_file_and_dump),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_empty_sections),
        cmocka_unit_test(test_flags_environment_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
