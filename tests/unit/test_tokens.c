#include "identity/cidr.h"
#include "identity/tokens.h"

#include "test_identity.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

static struct op op;

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    world_start(w, "identities: [{uid: 1000, user: alice}, {uid: 1001, policies: [reader]}, "
                   "{group: 7, policies: [team]}, {uid: 1002, user: nobody-there}]\n",
                "alice:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n");
    op_init(&op, DOOR_HTTP, identity_anonymous(w->ids));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    op_done(&op);
    world_end(*state);
    free(*state);
    return 0;
}

static const char *create(struct world *w, const struct token_wish *wish, struct token_info *ret)
{
    const char *text = NULL;

    assert_int_equal(token_create(w->ids, &op, wish, &text, ret), 0);
    assert_non_null(text);
    return text;
}

static int use(struct world *w, const char *text, struct identity **ret)
{
    int r = identity_token(w->ids, &op, slice_str(text), ret);

    op_forgive(&op);
    return r;
}

static void test_root(void **state)
{
    struct world *w = *state;
    struct identity *who = NULL;
    struct token_info info;
    char path[128];
    struct stat st;
    autobuf text = {0}, again = {0}, other = {0};

    snprintf(path, sizeof path, "%s/root-token", w->folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(file_read(path, 4096, &text), 0);
    assert_int_equal(text.len, 27); /* "s.", 24, a newline */
    text.data[26] = 0;
    assert_int_equal(use(w, text.data, &who), 0);
    assert_string_equal(who->name, "root");
    assert_int_equal(identity_rights(who, SLICE("sys/seal")), POLICY_ALL);
    assert_int_equal(token_lookup_id(w->ids, &op, who->token_id, &info), 0);
    assert_int_equal(info.expire_unix_ms, 0);
    assert_string_equal(info.policies[0], "root");
    assert_int_equal(token_revoke(w->ids, &op, who->token_id, false), -EINVAL);
    identity_unref(who);

    world_restart(w);
    op.who = identity_anonymous(w->ids);
    assert_int_equal(file_read(path, 4096, &again), 0);
    assert_memory_equal(again.data, text.data, 26);
    unlink(path);
    world_restart(w);
    op.who = identity_anonymous(w->ids);
    assert_int_equal(file_read(path, 4096, &other), 0);
    assert_memory_not_equal(other.data, text.data, 26);
    assert_int_equal(use(w, text.data, &who), -EPERM);
}

static void test_create_and_use(void **state)
{
    struct world *w = *state;
    const char *const policies[] = {"team", "default", "team", NULL};
    struct token_info info, found;
    const char *text = create(w, &(struct token_wish){.policies = policies,
                                                      .display_name = "userpass-bob",
                                                      .user = "bob",
                                                      .meta = SLICE("{\"username\":\"bob\"}"),
                                                      .ttl_s = 60},
                              &info);
    struct identity *who = NULL;

    for (int round = 0; round < 3; round++) { /* from the store, from memory, after a restart */
        if (round == 2) {
            world_restart(w);
            op.who = identity_anonymous(w->ids);
        }
        assert_int_equal(use(w, text, &who), 0);
        assert_string_equal(who->name, "bob");
        assert_string_equal(who->accessor, info.accessor);
        assert_string_equal(who->policy_names[0], "default");
        assert_string_equal(who->policy_names[1], "team");
        assert_null(who->policy_names[2]);
        assert_true(identity_rights(who, SLICE("secret/data/x")) & POLICY_CREATE);
        assert_int_equal(identity_rights(who, SLICE("sys/mounts")), 0);
        identity_unref(who);
    }
    assert_int_equal(token_lookup(w->ids, &op, slice_str(text), &found), 0);
    assert_string_equal(found.display_name, "userpass-bob");
    assert_int_equal(found.creation_ttl_s, 60);
    assert_true(slice_eq(found.meta, SLICE("{\"username\":\"bob\"}")));
    assert_true(found.renewable);
    assert_int_equal(token_lookup_accessor(w->ids, &op, info.accessor, &found), 0);
    assert_string_equal(found.id, info.id);
    assert_int_equal(token_lookup_accessor(w->ids, &op, "none", &found), -ENOENT);
    assert_int_equal(use(w, "s.nothing", &who), -EPERM);
    assert_int_equal(use(w, "", &who), -EPERM);
    assert_int_equal(use(w, info.id, &who), -EPERM); /* the row's key is no token */
}

static void test_ttl(void **state)
{
    static const struct {
        struct token_wish wish;
        int64_t ttl, renewed; /* s; renewed by 100 at once; -1: refused */
    } cases[] = {
        {{0}, TOKEN_TTL_S, 100},
        {{.ttl_s = 50}, 50, 100},
        {{.ttl_s = 10 * TOKEN_TTL_S}, TOKEN_TTL_S, 100},
        {{.ttl_s = 50, .explicit_max_ttl_s = 60}, 50, 60},
        {{.ttl_s = 50, .explicit_max_ttl_s = 20}, 20, 20},
        {{.period_s = 70}, 70, 70},
        {{.period_s = 7000, .explicit_max_ttl_s = 90}, 90, 90},
        {{.ttl_s = 50, .not_renewable = true}, 50, -1},
    };
    struct world *w = *state;

    for (size_t i = 0; i < array_size(cases); i++) {
        struct token_info info;
        int r;

        create(w, &cases[i].wish, &info);
        assert_int_equal(info.creation_ttl_s, cases[i].ttl);
        r = token_renew(w->ids, &op, info.id, 100, &info);
        op_forgive(&op);
        assert_int_equal(r, cases[i].renewed < 0 ? -EINVAL : 0);
        if (r == 0)
            assert_in_range(info.expire_unix_ms / 1000 - info.created_unix_s,
                            cases[i].renewed - 1, cases[i].renewed + 2);
    }
}

static void test_expiry(void **state)
{
    struct world *w = *state;
    struct token_info info, child;
    const char *text = create(w, &(struct token_wish){.ttl_s = 2}, &info);
    const char *below = create(w, &(struct token_wish){.parent = info.id}, &child);
    struct identity *who = NULL;
    struct timespec nap = {.tv_nsec = 50000000};
    unsigned naps = 0;

    assert_int_equal(use(w, text, &who), 0);
    identity_unref(who);
    assert_int_equal(use(w, below, &who), 0);
    identity_unref(who);
    for (; naps < 1200 && use(w, below, &who) == 0; naps++) { /* until the sweeper ended it */
        identity_unref(who);
        nanosleep(&nap, NULL);
    }
    assert_int_equal(use(w, below, &who), -EPERM);
    assert_int_equal(use(w, text, &who), -EPERM);
    assert_int_equal(token_lookup_accessor(w->ids, &op, child.accessor, &child), -ENOENT);
}

static int count(void *ctx, const char *accessor)
{
    (void)accessor;
    ++*(int *)ctx;
    return 0;
}

static void test_revoke(void **state)
{
    struct world *w = *state;
    struct token_info a, b, c, d;
    const char *ta = create(w, &(struct token_wish){0}, &a);
    const char *tb = create(w, &(struct token_wish){.parent = a.id}, &b);
    const char *tc = create(w, &(struct token_wish){.parent = b.id}, &c);
    const char *td = create(w, &(struct token_wish){.parent = c.id}, &d);
    struct identity *who = NULL;
    int n = 0;

    assert_int_equal(token_each_accessor(w->ids, &op, count, &n), 0);
    assert_int_equal(n, 5); /* and root */
    assert_int_equal(use(w, tb, &who), 0);
    identity_unref(who);
    assert_int_equal(token_revoke(w->ids, &op, c.id, true), 0); /* d is an orphan now */
    assert_int_equal(use(w, tc, &who), -EPERM);
    assert_int_equal(token_revoke(w->ids, &op, a.id, false), 0);
    assert_int_equal(use(w, ta, &who), -EPERM);
    assert_int_equal(use(w, tb, &who), -EPERM);
    assert_int_equal(use(w, td, &who), 0);
    identity_unref(who);
    assert_int_equal(token_lookup_id(w->ids, &op, d.id, &d), 0);
    assert_string_equal(d.parent, "");
    n = 0;
    assert_int_equal(token_each_accessor(w->ids, &op, count, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(token_revoke(w->ids, &op, a.id, false), 0); /* again: nothing to do */
}

static void test_uses(void **state)
{
    struct world *w = *state;
    struct token_info info;
    const char *text = create(w, &(struct token_wish){.num_uses = 2}, &info);
    struct identity *who = NULL;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(use(w, text, &who), 0);
        identity_unref(who);
    }
    assert_int_equal(use(w, text, &who), -EPERM);
    assert_null(who);
}

static void test_chosen_text(void **state)
{
    struct world *w = *state;
    struct token_info info;
    const char *text;
    const struct token_wish wish = {.token = SLICE("my-own-token")};
    const struct token_wish bad = {.token = SLICE("short")}, negative = {.ttl_s = -1};

    assert_string_equal(create(w, &wish, &info), "my-own-token");
    assert_int_equal(token_create(w->ids, &op, &wish, &text, &info), -EEXIST);
    op_forgive(&op);
    assert_int_equal(token_create(w->ids, &op, &bad, &text, &info), -EINVAL);
    assert_int_equal(token_create(w->ids, &op, &negative, &text, &info), -EINVAL);
}

/* Nothing is answered that was not stored. */
static void test_store_fails(void **state)
{
    struct world *w = *state;
    struct token_info info;
    const char *text = NULL;

    store_fault(w->store, 0, ENOSPC);
    assert_int_equal(token_create(w->ids, &op, &(struct token_wish){0}, &text, &info), -ENOSPC);
    assert_null(text);
    op_forgive(&op);
    assert_int_equal(policies_put(w->ids, &op, "x", SLICE("")), -ENOSPC);
    store_fault(w->store, 0, 0);
}

static int collect(void *ctx, const char *name)
{
    buf_printf(ctx, "%s ", name);
    return 0;
}

static void test_policies(void **state)
{
    struct world *w = *state;
    const char *const names[] = {"reader", NULL};
    struct token_info info;
    const char *token = create(w, &(struct token_wish){.policies = names}, &info);
    struct identity *who = NULL;
    struct slice text;
    autobuf list = {0};

    assert_int_equal(use(w, token, &who), 0);
    assert_int_equal(identity_rights(who, SLICE("a/b")), 0); /* a policy that is not there */
    assert_int_equal(policies_put(w->ids, &op, "reader",
                                  SLICE("path \"a/*\" { capabilities = [\"read\"] }")), 0);
    assert_int_equal(identity_rights(who, SLICE("a/b")), POLICY_READ); /* at once, for all */
    assert_int_equal(policies_put(w->ids, &op, "reader", SLICE("path \"a")), -EINVAL);
    assert_string_equal(op.why, "line 1, column 6: a string is not closed");
    op_forgive(&op);
    assert_int_equal(identity_rights(who, SLICE("a/b")), POLICY_READ);
    assert_int_equal(policies_list(w->ids, collect, &list), 0);
    assert_string_equal(list.data, "anonymous default reader root team ");
    assert_int_equal(policies_get(w->ids, &op, "reader", &text), 0);
    assert_true(slice_eq(text, SLICE("path \"a/*\" { capabilities = [\"read\"] }")));
    assert_int_equal(policies_get(w->ids, &op, "none", &text), -ENOENT);
    op_forgive(&op);
    assert_int_equal(policies_put(w->ids, &op, "root", SLICE("")), -EINVAL);
    op_forgive(&op);
    assert_int_equal(policies_put(w->ids, &op, "UPPER", SLICE("")), -EINVAL);
    op_forgive(&op);
    assert_int_equal(policies_put(w->ids, &op, "a/b", SLICE("")), -EINVAL);
    op_forgive(&op);
    assert_int_equal(policies_delete(w->ids, &op, "team"), -EINVAL);
    op_forgive(&op);
    assert_int_equal(policies_delete(w->ids, &op, "reader"), 0);
    assert_int_equal(identity_rights(who, SLICE("a/b")), 0);
    identity_unref(who);

    assert_int_equal(identity_rights(identity_anonymous(w->ids), SLICE("packages/x")), 0);
    assert_int_equal(policies_put(w->ids, &op, "anonymous",
                                  SLICE("path \"packages/*\" { capabilities = [\"read\"] }")), 0);
    assert_int_equal(identity_rights(identity_anonymous(w->ids), SLICE("packages/x")), POLICY_READ);
    assert_int_equal(identity_rights(identity_anonymous(w->ids), SLICE("metrics/x")), 0);
    assert_int_equal(policies_list(w->ids, collect, &list), 0);
    assert_string_equal(list.data + 35, "anonymous default root team ");
}

static void test_local(void **state)
{
    struct world *w = *state;
    static const struct {
        uid_t uid;
        gid_t gids[2];
        size_t n;
        const char *name;
        enum identity_kind kind;
    } cases[] = {
        {0, {0}, 1, "root", IDENTITY_USER},
        {1000, {1000}, 1, "alice", IDENTITY_USER},
        {1000, {7}, 1, "alice", IDENTITY_USER}, /* the uid goes before groups */
        {1001, {1}, 1, "uid:1001", IDENTITY_USER},
        {1002, {1}, 1, "anonymous", IDENTITY_ANONYMOUS}, /* no such user in the file */
        {5000, {1, 7}, 2, "group:7", IDENTITY_USER},
        {5000, {1, 2}, 2, "anonymous", IDENTITY_ANONYMOUS},
    };

    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < array_size(cases); i++) {
            struct identity *who = NULL;

            assert_int_equal(identity_local(w->ids, cases[i].uid, cases[i].gids, cases[i].n, &who),
                             0);
            assert_string_equal(who->name, cases[i].name);
            assert_int_equal(who->kind, cases[i].kind);
            identity_unref(who);
        }
}

static void test_check(void **state)
{
    struct world *w = *state;
    struct identity *who = NULL;
    struct op mine;

    assert_int_equal(identity_check(&op, POLICY_READ, "metrics/%s", "up"), 0);
    assert_int_equal(identity_check(&op, POLICY_READ, "secret/data/%s", "x"), -EPERM);
    assert_string_equal(op.why, "'secret/data/x' needs a user and password, or a token");
    op_forgive(&op);
    assert_false(identity_may(&op, POLICY_READ, "secret/data/x"));
    assert_null(op.why);

    assert_int_equal(identity_local(w->ids, 1001, (gid_t[]){1}, 1, &who), 0);
    op_init(&mine, DOOR_MOUNT, who);
    assert_int_equal(identity_check(&mine, POLICY_READ | POLICY_UPDATE, "secret/data/x"), -EACCES);
    assert_string_equal(mine.why, "'uid:1001' may not read, update 'secret/data/x'; a policy must "
                                  "allow it");
    op_done(&mine);
    identity_unref(who);
    op_init(&mine, DOOR_INTERNAL, identity_internal(w->ids));
    assert_int_equal(identity_check(&mine, POLICY_SUDO, "sys/%s", "anything"), 0);
    op_done(&mine);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* A sealer that turns bytes around, and knows its own by their first one. */
static int turn(void *ctx, struct slice plain, struct buf *out)
{
    (void)ctx;
    buf_add_char(out, '!');
    for (size_t i = 0; i < plain.len; i++)
        buf_add_char(out, (char)~((const char *)plain.data)[i]);
    return 0;
}

static int turn_back(void *ctx, struct slice sealed, struct buf *out)
{
    (void)ctx;
    if (sealed.len == 0 || *(const char *)sealed.data != '!')
        return -EIO;
    for (size_t i = 1; i < sealed.len; i++)
        buf_add_char(out, (char)~((const char *)sealed.data)[i]);
    return 0;
}

static void test_batch(void **state)
{
    static const char *const reader[] = {"reader", NULL}, *const root[] = {"root", NULL};
    struct world *w = *state;
    struct identity *who = NULL;
    struct token_info parent, info;
    const char *text = NULL, *stored;
    struct token_wish wish = {.policies = reader, .batch = true, .ttl_s = 60};

    assert_int_equal(token_create(w->ids, &op, &wish, &text, &info), -ESHUTDOWN);
    tokens_seal_with(w->ids, &(struct token_sealer){turn, turn_back, NULL});
    stored = create(w, &(struct token_wish){.policies = reader}, &parent);
    wish.parent = parent.id;
    text = create(w, &wish, &info);
    assert_memory_equal(text, "b.", 2);
    assert_true(info.batch && !info.renewable && info.accessor[0] == 0 && info.lease[0] == 0);
    assert_int_equal(use(w, text, &who), 0);
    assert_true(identity_is_batch(who));
    identity_unref(who);
    assert_int_equal(token_lookup(w->ids, &op, slice_str(text), &info), 0);
    assert_int_equal(info.creation_ttl_s, 60);
    assert_int_equal(use(w, "b.AAAA", &who), -EPERM);
    assert_int_equal(use(w, "b.", &who), -EPERM);
    assert_int_equal(use(w, "b.a+b=", &who), -EPERM);
    assert_int_equal(token_revoke(w->ids, &op, parent.id, false), 0);
    assert_int_equal(use(w, stored, &who), -EPERM);
    assert_int_equal(use(w, text, &who), -EPERM); /* it ends with its parent, remembered or not */
    wish = (struct token_wish){.policies = root, .batch = true};
    assert_int_equal(token_create(w->ids, &op, &wish, &text, &info), -EINVAL);
    op_forgive(&op);
    wish = (struct token_wish){.policies = reader, .batch = true, .num_uses = 1};
    assert_int_equal(token_create(w->ids, &op, &wish, &text, &info), -EINVAL);
    op_forgive(&op);
    tokens_seal_with(w->ids, NULL);
}

static int count_lease(void *ctx, const char *lease, const char *id)
{
    assert_non_null(strstr(lease, "/h"));
    assert_int_equal(strlen(id), 64);
    ++*(int *)ctx;
    return 0;
}

static void test_leases(void **state)
{
    static const char *const reader[] = {"reader", NULL};
    struct world *w = *state;
    struct token_info a, b, found;
    int n = 0;

    create(w, &(struct token_wish){.policies = reader, .path = "auth/x/login"}, &a);
    create(w, &(struct token_wish){.policies = reader, .path = "auth/y/login"}, &b);
    assert_int_equal(token_by_lease(w->ids, &op, a.lease, &found), 0);
    assert_string_equal(found.id, a.id);
    token_each_lease(w->ids, "auth/", count_lease, &n);
    assert_int_equal(n, 2);
    n = 0;
    token_each_lease(w->ids, "auth/y/", count_lease, &n);
    assert_int_equal(n, 1);
    assert_int_equal(token_consume(w->ids, &op, a.id), 0);
    assert_int_equal(token_consume(w->ids, &op, a.id), -EPERM); /* once */
    op_forgive(&op);
    assert_int_equal(token_by_lease(w->ids, &op, a.lease, &found), -ENOENT);
    n = 0;
    token_each_lease(w->ids, "", count_lease, &n);
    assert_int_equal(n, 1);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *range, *address;
        bool has;
    } cases[] = {
        {"10.0.0.0/8", "10.1.2.3", true},     {"10.0.0.0/8", "11.0.0.1", false},
        {"127.0.0.1", "127.0.0.1", true},     {"127.0.0.1", "127.0.0.2", false},
        {"0.0.0.0/0", "1.2.3.4", true},       {"0.0.0.0/0", "::1", false},
        {"::/0", "1.2.3.4", true},            {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},      {"192.168.1.128/25", "192.168.1.127", false},
        {"10.0.0.0/8", "", false},            {"::1", "[::1]", true},
        {"10.0.0.0/33", "10.0.0.1", false},   {"10.0.0.0/", "10.0.0.0", false},
        {"10.0.0.0/-1", "10.0.0.0", false},   {"x", "x", false},
        {"10.0.0.0/8", "10.1.2.3.4", false},
    };
    static const char *const reader[] = {"reader", NULL}, *const bad[] = {"10.0.0.0/99", NULL};
    static const char *const ranges[] = {"10.0.0.0/8", "::1", NULL};
    struct world *w = *state;
    struct identity *who = NULL;
    struct token_info info;
    const char *text;

    for (size_t i = 0; i < array_size(cases); i++) {
        const char *const one[] = {cases[i].range, NULL};

        if (cidrs_have(one, cases[i].address) != cases[i].has)
            fail_msg("%s in %s", cases[i].address, cases[i].range);
    }
    text = create(w, &(struct token_wish){.policies = reader, .cidrs = ranges}, &info);
    for (int again = 0; again < 2; again++) { /* looked up, and remembered */
        op.remote = "10.9.9.9";
        assert_int_equal(use(w, text, &who), 0);
        identity_unref(who);
        op.remote = "192.168.0.1";
        assert_int_equal(use(w, text, &who), -EPERM);
    }
    op.remote = "::1";
    assert_int_equal(use(w, text, &who), 0);
    identity_unref(who);
    assert_int_equal(token_create(w->ids, &op, &(struct token_wish){.policies = reader, .cidrs = bad},
                                  &text, &info),
                     -EINVAL);
    op.remote = "";
}

/* What holds for a user of the file holds for its tokens: they are no way around it. */
static void test_a_users_own_policy(void **state)
{
    static const char *const team[] = {"team", NULL};
    static const struct policy_entity alice = {
        .id = "1", .name = "alice", .alias_accessor = "", .alias_name = "alice"};
    static const struct policy_entity other = {
        .id = "2", .name = "alice", .alias_accessor = "auth_userpass_1", .alias_name = "alice"};
    struct world *w = *state;
    struct identity *own = NULL, *apart = NULL;
    struct token_info info;
    const char *text = create(w,
                              &(struct token_wish){
                                  .policies = team, .user = "alice", .entity = &alice},
                              &info);
    const char *elsewhere = create(w,
                                   &(struct token_wish){
                                       .policies = team, .user = "alice", .entity = &other},
                                   &info);

    assert_int_equal(use(w, text, &own), 0);
    assert_int_equal(use(w, elsewhere, &apart), 0); /* a user of that name, but of a mount */
    assert_true(identity_rights(own, SLICE("packages/x")) & POLICY_UPDATE);
    assert_int_equal(policies_put(w->ids, &op, "user-alice",
                                  SLICE("path \"packages/*\" { capabilities = [\"read\"] }")),
                     0);
    assert_int_equal(identity_rights(own, SLICE("packages/x")), POLICY_READ);
    assert_true(identity_rights(apart, SLICE("packages/x")) & POLICY_UPDATE);
    identity_unref(own);
    identity_unref(apart);
}

static void test_longest_life(void **state)
{
    static const char *const reader[] = {"reader", NULL};
    struct world *w = *state;
    struct token_info info;

    create(w, &(struct token_wish){.policies = reader, .ttl_s = 7200, .max_ttl_s = 3600}, &info);
    assert_int_equal(info.creation_ttl_s, 3600);
    assert_int_equal(token_renew(w->ids, &op, info.id, 7200, &info), 0);
    assert_true(info.expire_unix_ms <= (info.created_unix_s + 3600) * 1000);
    create(w, &(struct token_wish){.policies = reader, .default_ttl_s = 600}, &info);
    assert_int_equal(info.creation_ttl_s, 600);
    create(w, &(struct token_wish){.policies = reader, .lasting = true}, &info);
    assert_true(info.expire_unix_ms == 0 && !info.renewable && info.lease[0] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_root),   TEST(test_create_and_use), TEST(test_ttl),         TEST(test_expiry),
        TEST(test_revoke), TEST(test_uses),           TEST(test_chosen_text), TEST(test_store_fails),
        TEST(test_policies), TEST(test_local),        TEST(test_check),      TEST(test_batch),
        TEST(test_leases), TEST(test_addresses),      TEST(test_longest_life),
        TEST(test_a_users_own_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
