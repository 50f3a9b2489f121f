/* Scopes, challenges, and tokens that are kept nowhere. */
#include "base/codec.h"
#include "identity/scoped.h"
#include "identity/tokens.h"
#include "images/challenge.h"
#include "images/scope.h"

#include "test_identity.h"

#include <errno.h>

static void test_scopes(void **state)
{
    static const struct {
        const char *text;
        int result;
        const char *name;
        unsigned actions;
    } cases[] = {
        {"repository:app:pull", 0, "app", SCOPE_PULL},
        {"repository:team/app:pull,push", 0, "team/app", SCOPE_PULL | SCOPE_PUSH},
        {"repository:app:push,delete,x", 0, "app", SCOPE_PUSH | SCOPE_DELETE},
        {"repository:app:*", 0, "app", SCOPE_ALL},
        {"repository:app:", 0, "app", 0},
        {"repository:app:,,", 0, "app", 0},
        {"repository:app:PULL", 0, "app", 0},
        {"registry:catalog:*", 0, "", SCOPE_CATALOG},
        {"registry:catalog:pull", 0, "", 0},
        {"repository(plugin):app:pull", -ENOTSUP, NULL, 0},
        {"registry:other:*", -ENOTSUP, NULL, 0},
        {"", -EINVAL, NULL, 0},
        {"repository", -EINVAL, NULL, 0},
        {"repository:app", -EINVAL, NULL, 0},
        {"repository::pull", -EINVAL, NULL, 0},
        {"repository:../x:pull", -EINVAL, NULL, 0},
        {"repository:a*:pull", -EINVAL, NULL, 0},
        {"repository:App:pull", -EINVAL, NULL, 0},
        {":::", -ENOTSUP, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct scope s = {0};
        int r = scope_parse(slice_str(cases[i].text), &s);

        if (r != cases[i].result ||
            (r == 0 && (!slice_eq(s.name, slice_str(cases[i].name)) ||
                        s.actions != cases[i].actions)))
            fail_msg("'%s': %d, %u", cases[i].text, r, s.actions);
    }
}

static void test_challenges(void **state)
{
    static const struct {
        const char *text;
        int result;
        enum challenge_scheme scheme;
        const char *realm, *service, *scope;
    } cases[] = {
        {"Basic realm=\"r\"", 0, CHALLENGE_BASIC, "r", "", ""},
        {"basic", 0, CHALLENGE_BASIC, "", "", ""},
        {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\"", 0,
         CHALLENGE_BEARER, "https://a/t", "s", "repository:x:pull,push"},
        {"  BEARER  realm = \"a\\\"b\" , Service=plain,error=\"x\"", 0, CHALLENGE_BEARER, "a\"b",
         "plain", ""},
        {"Basic realm=\"r\", Bearer realm=\"other\"", 0, CHALLENGE_BASIC, "r", "", ""},
        {"Negotiate", 0, CHALLENGE_OTHER, "", "", ""},
        {"", -EINVAL, 0, NULL, NULL, NULL},
        {"\"", -EINVAL, 0, NULL, NULL, NULL},
        {"Bearer realm", -EINVAL, 0, NULL, NULL, NULL},
        {"Bearer realm=", -EINVAL, 0, NULL, NULL, NULL},
        {"Bearer realm=\"open", -EINVAL, 0, NULL, NULL, NULL},
        {"Bearer realm=\"a\\", -EINVAL, 0, NULL, NULL, NULL},
        {"Bearer realm=\"a\nb\"", -EINVAL, 0, NULL, NULL, NULL},
        {"Bearer realm=\"a\" service=b", -EINVAL, 0, NULL, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct challenge c;
        int r = challenge_parse(slice_str(cases[i].text), &c);

        if (r != cases[i].result)
            fail_msg("'%s': %d", cases[i].text, r);
        if (r < 0)
            continue;
        if (c.scheme != cases[i].scheme || strcmp(c.realm, cases[i].realm) != 0 ||
            strcmp(c.service, cases[i].service) != 0 || strcmp(c.scope, cases[i].scope) != 0)
            fail_msg("'%s': %d '%s' '%s' '%s'", cases[i].text, c.scheme, c.realm, c.service,
                     c.scope);
    }
}

static void test_long_challenge(void **state)
{
    struct challenge c;
    autobuf text = {0};

    (void)state;
    buf_add_str(&text, "Bearer realm=\"");
    for (size_t i = 0; i + 1 < CHALLENGE_TEXT_MAX; i++)
        buf_add_char(&text, 'x');
    buf_add_char(&text, '"');
    assert_int_equal(challenge_parse(buf_slice(&text), &c), 0);
    text.data[text.len - 1] = 'x';
    buf_add_char(&text, '"');
    assert_int_equal(challenge_parse(buf_slice(&text), &c), -EINVAL);
}

/* Scoped tokens. */

struct tokens_test {
    struct world w;
    struct op op;
    struct identity *alice;
};

static int setup(void **state)
{
    struct tokens_test *t = calloc(1, sizeof *t);

    world_start(&t->w, "", "alice:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n");
    op_init(&t->op, DOOR_HTTP, identity_anonymous(t->w.ids));
    assert_int_equal(identity_basic(t->w.ids, &t->op, SLICE("alice"), SLICE("correct horse"), 0,
                                    &t->alice),
                     0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tokens_test *t = *state;

    identity_unref(t->alice);
    op_done(&t->op);
    world_end(&t->w);
    free(t);
    return 0;
}

static int use(struct tokens_test *t, const char *text, struct identity **ret)
{
    int r = identity_token(t->w.ids, &t->op, slice_str(text), ret);

    op_forgive(&t->op);
    return r;
}

static const char *issue(struct tokens_test *t, const struct identity *who, int64_t ttl_s)
{
    static const struct scoped_access access[] = {
        {"images/app", POLICY_READ | POLICY_CREATE},
        {"images/more/*", POLICY_READ},
        {"sys/users", POLICY_READ | POLICY_SUDO}, /* alice has no right to it */
    };
    const char *text = NULL;

    assert_int_equal(
        scoped_issue(t->w.ids, &t->op, who, access, array_size(access), ttl_s, &text), 0);
    return text;
}

static void test_narrowed(void **state)
{
    struct tokens_test *t = *state;
    struct identity *who = NULL;

    assert_int_equal(use(t, issue(t, t->alice, 60), &who), 0);
    assert_int_equal(who->kind, IDENTITY_USER);
    assert_string_equal(who->name, "alice");
    assert_int_equal(identity_rights(who, SLICE("images/app")), POLICY_READ | POLICY_CREATE);
    assert_int_equal(identity_rights(who, SLICE("images/more/x")), POLICY_READ);
    assert_int_equal(identity_rights(who, SLICE("images/other")), 0);
    assert_int_equal(identity_rights(who, SLICE("secret/data/x")), 0);
    assert_int_equal(identity_rights(who, SLICE("sys/users")), 0);
    t->op.who = who;
    assert_int_equal(identity_check(&t->op, POLICY_READ, "images/app"), 0);
    assert_int_equal(identity_check(&t->op, POLICY_DELETE, "images/app"), -EPERM); /* alice may */
    op_forgive(&t->op);
    assert_int_equal(identity_check(&t->op, POLICY_READ, "sys/users"), -EACCES); /* she may not */
    op_forgive(&t->op);
    t->op.who = identity_anonymous(t->w.ids);
    {
        const char *text;

        assert_int_equal(scoped_issue(t->w.ids, &t->op, who, NULL, 0, 60, &text), -EINVAL);
        op_forgive(&t->op);
    }
    identity_unref(who);
}

/* What her policies give no longer, no token gives. */
static void test_follows_policies(void **state)
{
    struct tokens_test *t = *state;
    const char *const wish_policies[] = {"app", NULL};
    struct token_wish wish = {.policies = wish_policies, .no_default_policy = true};
    const char *text = NULL, *scoped;
    struct identity *made = NULL, *who = NULL;
    struct token_info info;

    assert_int_equal(policies_put(t->w.ids, &t->op, "app",
                                  SLICE("path \"images/app\" { capabilities = [\"read\"] }")),
                     0);
    assert_int_equal(token_create(t->w.ids, &t->op, &wish, &text, &info), 0);
    assert_int_equal(use(t, text, &made), 0);
    scoped = issue(t, made, 60);
    assert_int_equal(use(t, scoped, &who), 0);
    assert_int_equal(identity_rights(who, SLICE("images/app")), POLICY_READ);
    assert_int_equal(policies_put(t->w.ids, &t->op, "app", SLICE("")), 0);
    assert_int_equal(identity_rights(who, SLICE("images/app")), 0);
    identity_unref(who);
    assert_int_equal(token_revoke(t->w.ids, &t->op, info.id, false), 0);
    assert_int_equal(use(t, scoped, &who), -EPERM);
    identity_unref(made);
}

static void test_ends(void **state)
{
    struct tokens_test *t = *state;
    const char *text = issue(t, t->alice, 60), *refresh = NULL;
    struct identity *who = NULL;

    assert_int_equal(use(t, issue(t, t->alice, 0), &who), -EPERM);
    assert_int_equal(use(t, issue(t, t->alice, -5), &who), -EPERM);
    assert_int_equal(scoped_issue_refresh(t->w.ids, &t->op, t->alice, 60, &refresh), 0);
    assert_int_equal(use(t, refresh, &who), -EPERM);
    assert_int_equal(scoped_refresh(t->w.ids, &t->op, slice_str(refresh), &who), 0);
    assert_string_equal(who->name, "alice");
    assert_null(who->within);
    identity_unref(who);
    assert_int_equal(scoped_refresh(t->w.ids, &t->op, slice_str(text), &who), -EPERM);
    op_forgive(&t->op);
    /* another life of the daemon; then another password */
    identity_unref(t->alice);
    t->alice = NULL;
    world_restart(&t->w);
    t->op.who = identity_anonymous(t->w.ids);
    assert_int_equal(use(t, text, &who), 0);
    identity_unref(who);
    assert_int_equal(file_replace(t->w.users, SLICE("alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"),
                                  0600),
                     0);
    assert_int_equal(users_reload(t->w.ids), 0);
    assert_int_equal(use(t, text, &who), -EPERM);
    assert_int_equal(scoped_refresh(t->w.ids, &t->op, slice_str(refresh), &who), -EPERM);
    op_forgive(&t->op);
    assert_int_equal(file_replace(t->w.users, SLICE("bob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"),
                                  0600),
                     0);
    assert_int_equal(users_reload(t->w.ids), 0);
    assert_int_equal(use(t, text, &who), -EPERM);
}

/* Every byte of it counts. */
static void test_forged(void **state)
{
    struct tokens_test *t = *state;
    char *text = strdup(issue(t, t->alice, 60));
    struct identity *who = NULL;
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        if (use(t, text, &who) != -EPERM)
            fail_msg("byte %zu of %zu does not count", i, n);
        text[i] = was;
    }
    for (size_t i = 0; i < n; i++)
        if (identity_token(t->w.ids, &t->op, slice_of(text, i), &who) != -EPERM)
            fail_msg("%zu of %zu bytes are enough", i, n);
    free(text);
}

static void test_nobody_in_particular(void **state)
{
    struct tokens_test *t = *state;
    struct identity *who = NULL;
    const char *text;

    assert_int_equal(scoped_issue_refresh(t->w.ids, &t->op, identity_anonymous(t->w.ids), 60,
                                          &text),
                     -EINVAL);
    op_forgive(&t->op);
    assert_int_equal(use(t, issue(t, identity_anonymous(t->w.ids), 60), &who), 0);
    assert_int_equal(who->kind, IDENTITY_ANONYMOUS);
    assert_int_equal(identity_rights(who, SLICE("images/app")), 0);
    identity_unref(who);
    assert_int_equal(
        policies_put(t->w.ids, &t->op, "anonymous",
                     SLICE("path \"images/*\" { capabilities = [\"read\", \"delete\"] }")),
        0);
    assert_int_equal(use(t, issue(t, identity_anonymous(t->w.ids), 60), &who), 0);
    assert_int_equal(identity_rights(who, SLICE("images/app")), POLICY_READ);
    identity_unref(who);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_long_challenge),
        TEST(test_narrowed),
        TEST(test_follows_policies),
        TEST(test_ends),
        TEST(test_forged),
        TEST(test_nobody_in_particular),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
