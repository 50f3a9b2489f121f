#include "domain.h"
#include "feed.h"
#include "identity/audit.h"
#include "identity/tokens.h"
#include "tree.h"

#include "test_identity.h"
#include "web_test.h"

#include <sys/stat.h>

extern const struct domain infrafs_domain;

struct place {
    struct world w;
    struct domain_instance domain;
    struct daemon daemon;
    struct audit *audit;
    struct identity *root, *team;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct domain_env env;
    autobuf why = {0};

    world_start(&p->w, "images: {gc_grace: 0}\n", "alice:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n");
    assert_int_equal(audit_open(p->w.config, &p->audit, &why), 0);
    p->daemon = (struct daemon){.domains = &p->domain, .started_unix_ms = 1000};
    env = (struct domain_env){
        .config = p->w.config,
        .store = p->w.store,
        .identities = p->w.ids,
        .audit = p->audit,
        .daemon = &p->daemon,
    };
    assert_int_equal(infrafs_domain.open(&env, &p->domain.self, &why), 0);
    p->domain.domain = &infrafs_domain;
    p->daemon.n_domains = 1;
    p->daemon.tree = tree_new(&p->domain, 1);
    assert_int_equal(identity_local(p->w.ids, 0, NULL, 0, &p->root), 0);
    {
        struct op op;

        op_init(&op, DOOR_HTTP, identity_anonymous(p->w.ids));
        assert_int_equal(identity_basic(p->w.ids, &op, SLICE("alice"), SLICE("correct horse"), 0,
                                        &p->team), 0);
        op_done(&op);
    }
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    tree_free(p->daemon.tree);
    infrafs_domain.close(p->domain.self);
    identity_unref(p->root);
    identity_unref(p->team);
    audit_close(p->audit);
    world_end(&p->w);
    free(p);
    return 0;
}

/* Reads a file of the tree; a negative errno as "!EINVAL: reason". */
static void get(struct place *p, const struct identity *who, const char *path, struct buf *ret)
{
    struct node_file *f = NULL;
    struct op op;
    char bytes[4096];
    int r;

    buf_clear(ret);
    op_init(&op, DOOR_MOUNT, who);
    r = tree_open(p->daemon.tree, &op, path, NODE_READ, &f);
    if (r < 0)
        buf_printf(ret, "!%s", strerrorname_np(-r));
    for (uint64_t at = 0; r == 0;) {
        ssize_t n = f->ops->read(&op, f, at, bytes, sizeof bytes);

        assert_true(n >= 0);
        if (n == 0)
            break;
        buf_add(ret, bytes, (size_t)n);
        at += (uint64_t)n;
    }
    if (f != NULL)
        f->ops->close(f);
    op_done(&op);
}

static int put(struct place *p, const struct identity *who, const char *path, const char *text,
               struct buf *why)
{
    struct node_file *f = NULL;
    struct op op;
    int r;

    buf_clear(why);
    op_init(&op, DOOR_MOUNT, who);
    r = tree_open(p->daemon.tree, &op, path, NODE_WRITE | NODE_CREATE | NODE_TRUNC, &f);
    if (r == 0)
        r = f->ops->write(&op, f, 0, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -EIO;
    if (r == 0)
        r = f->ops->commit(&op, f);
    if (r < 0)
        buf_add_str(why, op_why(&op, r));
    if (f != NULL)
        f->ops->close(f);
    op_done(&op);
    return r;
}

static void test_users(void **state)
{
    struct place *p = *state;
    autobuf text = {0}, why = {0};
    struct identity *who = NULL;
    struct node_stat st;
    struct op op;

    get(p, p->root, ".htpasswd", &text);
    assert_non_null(strstr(text.data, "alice:$2y$11$")); /* replaced when she logged in */
    assert_int_equal(put(p, p->root, ".htpasswd", "bob:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n", &why),
                     0);
    op_init(&op, DOOR_MOUNT, p->root);
    assert_int_equal(tree_stat(p->daemon.tree, &op, ".htpasswd", &st), 0);
    assert_int_equal(st.size_bytes, 38);
    assert_true(st.flags & NODE_SECRET);
    assert_int_equal(identity_basic(p->w.ids, &op, SLICE("alice"), SLICE("correct horse"), 0, &who),
                     -EPERM);
    op_forgive(&op);
    assert_int_equal(identity_basic(p->w.ids, &op, SLICE("bob"), SLICE("correct horse"), 0, &who),
                     0);
    identity_unref(who);
    op_done(&op);
    assert_int_equal(put(p, p->root, ".htpasswd", "bob\n", &why), -EINVAL);
    assert_string_equal(why.data, "line 1: a line is 'name:hash'");
    get(p, p->root, ".htpasswd", &text);
    assert_non_null(strstr(text.data, "bob:$2y$"));
}

/* What one has no right to is not there. */
static void test_rights(void **state)
{
    static const struct {
        const char *path;
        bool root, team, anonymous;
    } cases[] = {
        {".htpasswd", true, false, false},        {".status", true, true, false},
        {".infra/status", true, true, false},     {".infra/health", true, true, true},
        {".infra/ready", true, true, true},       {".infra/version", true, true, true},
        {".infra/config", true, false, false},    {".infra/metrics", true, true, true},
        {".infra/errors", true, true, true},      {".infra/audit.log", true, false, false},
        {".infra/gc", true, false, false},        {".infra/policies/team.hcl", true, false, false},
        {".infra/nothing", false, false, false},  {".infra/policies/none.hcl", false, false, false},
        {".infra/policies/team", false, false, false},
    };
    struct place *p = *state;
    autobuf text = {0}, why = {0};

    for (size_t i = 0; i < array_size(cases); i++) {
        const struct identity *who[] = {p->root, p->team, identity_anonymous(p->w.ids)};
        const bool may[] = {cases[i].root, cases[i].team, cases[i].anonymous};

        for (int k = 0; k < 3; k++) {
            get(p, who[k], cases[i].path, &text);
            if (may[k] == (text.len > 0 && strcmp(text.data, "!ENOENT") == 0))
                fail_msg("%s, caller %d: %s", cases[i].path, k, text.data);
            if (k > 0)
                assert_true(put(p, who[k], cases[i].path, "x", &why) < 0);
        }
    }
    assert_int_equal(put(p, p->root, ".infra/version", "x", &why), -EROFS);
    assert_string_equal(why.data, "'.infra/version' cannot be written");
}

static int collect(void *ctx, const char *name, const struct node_stat *st)
{
    (void)st;
    buf_printf(ctx, "%s ", name);
    return 0;
}

static void list(struct place *p, const struct identity *who, const char *path, struct buf *ret)
{
    struct op op;
    int r;

    buf_clear(ret);
    op_init(&op, DOOR_MOUNT, who);
    r = tree_list(p->daemon.tree, &op, path, collect, ret);
    if (r < 0)
        buf_printf(ret, "!%s", strerrorname_np(-r));
    op_done(&op);
}

static void test_lists(void **state)
{
    struct place *p = *state;
    autobuf names = {0};

    list(p, p->root, "", &names); /* a root with a dot is not listed */
    assert_string_equal(names.data != NULL ? names.data : "", "");
    list(p, p->root, ".infra", &names);
    assert_string_equal(names.data, "status health ready version config metrics errors audit.log gc "
                                    "backup scrub policies ");
    list(p, p->team, ".infra", &names);
    assert_string_equal(names.data, "status health ready version metrics errors ");
    list(p, p->root, ".infra/policies", &names);
    assert_string_equal(names.data, "anonymous.hcl default.hcl root.hcl team.hcl ");
    list(p, p->team, ".infra/policies", &names);
    assert_string_equal(names.data, "!ENOENT");
    list(p, p->root, ".status", &names);
    assert_string_equal(names.data, "!ENOTDIR");
}

static void test_policies(void **state)
{
    struct place *p = *state;
    const char *path = ".infra/policies/mine.hcl";
    autobuf text = {0}, why = {0};
    struct op op;

    assert_int_equal(put(p, p->root, path, "path \"a\" { capabilities = [\"read\"] }", &why), 0);
    get(p, p->root, path, &text);
    assert_string_equal(text.data, "path \"a\" { capabilities = [\"read\"] }");
    assert_int_equal(put(p, p->root, path, "path", &why), -EINVAL);
    assert_string_equal(why.data, "line 1, column 5: expected a path in quotes");
    get(p, p->root, path, &text);
    assert_string_equal(text.data, "path \"a\" { capabilities = [\"read\"] }");
    op_init(&op, DOOR_MOUNT, p->root);
    assert_int_equal(tree_unlink(p->daemon.tree, &op, path), 0);
    assert_int_equal(tree_unlink(p->daemon.tree, &op, ".infra/policies/team.hcl"), -EINVAL);
    op_forgive(&op);
    assert_int_equal(tree_unlink(p->daemon.tree, &op, ".htpasswd"), -EPERM);
    op_done(&op);
    get(p, p->root, path, &text);
    assert_string_equal(text.data, "!ENOENT");
    store_fault(p->w.store, 0, ENOSPC);
    assert_int_equal(put(p, p->root, path, "", &why), -ENOSPC);
    store_fault(p->w.store, 0, 0);
    get(p, p->root, path, &text);
    assert_string_equal(text.data, "!ENOENT");
}

static void test_gc(void **state)
{
    struct place *p = *state;
    autobuf text = {0}, why = {0};
    struct digest d, held;
    struct blob_stat blob;

    assert_int_equal(blob_put(p->w.store, DIGEST_SHA256, "nobody's", 8, &d), 0);
    assert_int_equal(blob_put(p->w.store, DIGEST_SHA256, "mine", 4, &held), 0);
    assert_int_equal(blob_hold(p->w.store, &held, SLICE("test")), 0);
    get(p, p->root, ".infra/gc", &text);
    assert_string_equal(text.data, "no run yet; grace 0s\n");
    assert_int_equal(put(p, p->root, ".infra/gc", "walk", &why), -EINVAL);
    assert_string_equal(why.data, "write 'run' or 'dry-run'");
    assert_int_equal(put(p, p->root, ".infra/gc", "dry-run\n", &why), 0);
    get(p, p->root, ".infra/gc", &text);
    assert_non_null(strstr(text.data, " would free 1 blobs of 8 bytes and 0 unfinished uploads"));
    assert_int_equal(put(p, p->root, ".infra/gc", "run", &why), 0);
    get(p, p->root, ".infra/gc", &text);
    assert_non_null(strstr(text.data, " freed 1 blobs of 8 bytes"));
    assert_int_equal(blob_stat(p->w.store, &d, &blob), -ENOENT);
    assert_int_equal(blob_stat(p->w.store, &held, &blob), 0);
    get(p, p->root, ".infra/metrics", &text);
    assert_non_null(strstr(text.data, "\ninfrafs_reaped_bytes_total 8\n"));
}

static void test_reports(void **state)
{
    struct place *p = *state;
    autobuf text = {0};
    struct op op;

    get(p, p->team, ".status", &text);
    assert_int_equal(strncmp(text.data, "infrafs " INFRAFS_VERSION ": ok, up ", 22), 0);
    get(p, p->root, ".infra/config", &text);
    assert_int_equal(strncmp(text.data, "data: \"", 7), 0);
    op_init(&op, DOOR_MOUNT, p->team);
    op_fail(&op, EINVAL, "a reason");
    refusals_note(&op, "packages/x", -EINVAL);
    op_done(&op);
    get(p, p->team, ".infra/errors", &text);
    assert_non_null(strstr(text.data, " mount packages/x: a reason (EINVAL)\n"));
    get(p, p->root, ".infra/errors", &text);
    assert_int_equal(text.len, 0);

    op_init(&op, DOOR_HTTP, p->team);
    assert_int_equal(audit_write(p->audit, &op, "read", "some/path", 0), 0);
    op_done(&op);
    get(p, p->root, ".infra/audit.log", &text);
    assert_non_null(strstr(text.data, "\"who\":\"alice\""));
}

static void test_web(void **state)
{
    struct place *p = *state;
    struct web_test t = {.domain = &infrafs_domain,
                         .self = p->domain.self,
                         .who = identity_anonymous(p->w.ids)};

    web_test_call(&t, "GET", "/health", NULL, SLICE(""));
    assert_int_equal(t.resp.status, 200);
    assert_true(slice_eq(web_test_body(&t), SLICE("ok\n")));
    web_test_call(&t, "GET", "/metrics", NULL, SLICE(""));
    assert_int_equal(t.resp.status, 200);
    assert_true(slice_starts(web_test_body(&t), SLICE("# HELP infrafs_build_info ")));
    assert_string_equal(web_test_header(&t, "Content-Type"),
                        "text/plain; version=0.0.4; charset=utf-8");
    {
        struct tree *tree = p->daemon.tree;

        p->daemon.tree = NULL; /* not all is open yet */
        web_test_call(&t, "GET", "/health", NULL, SLICE(""));
        assert_int_equal(t.resp.status, 503);
        p->daemon.tree = tree;
    }
    web_test_done(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_users), TEST(test_rights),  TEST(test_lists), TEST(test_policies),
        TEST(test_gc),    TEST(test_reports), TEST(test_web),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
