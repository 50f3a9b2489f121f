#include "identity/policy.h"

#include "base/scope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct policy_set *compile(const char *const *texts, size_t n)
{
    struct policy *policies[4];
    struct policy_set *set;

    for (size_t i = 0; i < n; i++) {
        autobuf why = {0};

        if (policy_parse(slice_str(texts[i]), &policies[i], &why) < 0)
            fail_msg("%s: %s", texts[i], why.data);
    }
    set = policy_set_new(policies, n);
    while (n > 0)
        policy_free(policies[--n]);
    return set;
}

#define R POLICY_READ
#define L POLICY_LIST
#define D POLICY_DENY

static void test_rights(void **state)
{
    static const struct {
        const char *texts[3];
        const char *path;
        unsigned rights;
    } cases[] = {
        {{"path \"secret/foo\" { capabilities = [\"read\"] }"}, "secret/foo", R},
        {{"path \"secret/foo\" { capabilities = [\"read\"] }"}, "secret/foo/", 0},
        {{"path \"secret/foo\" { capabilities = [\"read\"] }"}, "secret/foobar", 0},
        {{"path \"/secret/foo\" { capabilities = [\"read\"] }"}, "secret/foo", R},
        {{"path \"secret/*\" { capabilities = [\"read\", \"list\"] }"}, "secret/a/b", R | L},
        {{"path \"secret/*\" { capabilities = [\"read\"] }"}, "secret/", R},
        {{"path \"secret/*\" { capabilities = [\"read\"] }"}, "secret", 0},
        {{"path \"*\" { capabilities = [\"read\"] }"}, "", R},
        {{"path \"a/zip-*\" { capabilities = [\"read\"] }"}, "a/zip-1/x", R},
        {{"path \"a/zip-*\" { capabilities = [\"read\"] }"}, "a/zap-1", 0},
        {{"path \"a/*/c\" { capabilities = [\"read\"] }"}, "a/b/c", 0}, /* a star inside is literal */
        {{"path \"a/*/c\" { capabilities = [\"read\"] }"}, "a/*/c", R},
        {{"path \"a/+/c\" { capabilities = [\"read\"] }"}, "a/b/c", R},
        {{"path \"a/+/c\" { capabilities = [\"read\"] }"}, "a//c", R},
        {{"path \"a/+/c\" { capabilities = [\"read\"] }"}, "a/b/b/c", 0},
        {{"path \"a/x+y/c\" { capabilities = [\"read\"] }"}, "a/xzy/c", 0},
        {{"path \"a/+/c*\" { capabilities = [\"read\"] }"}, "a/b/c/d", R},
        {{"path \"+/+\" { capabilities = [\"read\"] }"}, "a/b", R},
        {{"path \"+/+\" { capabilities = [\"read\"] }"}, "a", 0},
        /* of different patterns only the best counts */
        {{"path \"s/*\" { capabilities = [\"deny\"] }\npath \"s/a\" { capabilities = [\"read\"] }"},
         "s/a", R},
        {{"path \"s/*\" { capabilities = [\"read\"] }\npath \"s/a\" { capabilities = [\"deny\"] }"},
         "s/a", D},
        {{"path \"s/*\" { capabilities = [\"read\"] }\npath \"s/a/*\" { capabilities = [\"list\"] }"},
         "s/a/b", L},
        {{"path \"s/*\" { capabilities = [\"read\"] }\npath \"s/+/b\" { capabilities = [\"list\"] }"},
         "s/a/b", L},
        {{"path \"s/+/*\" { capabilities = [\"read\"] }\npath \"s/a/*\" { capabilities = [\"list\"] }"},
         "s/a/b", L},
        {{"path \"s/+/b\" { capabilities = [\"read\"] }\npath \"s/+/+\" { capabilities = [\"list\"] }"},
         "s/a/b", R},
        {{"path \"s/+/b*\" { capabilities = [\"read\"] }\npath \"s/+/b\" { capabilities = [\"list\"] }"},
         "s/a/b", L},
        /* the same pattern in several policies unites; deny wins inside it */
        {{"path \"a\" { capabilities = [\"read\"] }", "path \"a\" { capabilities = [\"list\"] }"},
         "a", R | L},
        {{"path \"a\" { capabilities = [\"read\"] }", "path \"a\" { capabilities = [\"deny\"] }"},
         "a", D},
        {{"path \"a*\" { capabilities = [\"read\"] }", "path \"a*\" { capabilities = [\"deny\"] }"},
         "ab", D},
        {{"path \"a\" { capabilities = [\"read\", \"deny\"] }"}, "a", D},
        /* a list also tries the path without its slash */
        {{"path \"m/meta\" { capabilities = [\"list\", \"read\"] }"}, "m/meta/", L},
        {{"path \"m/meta\" { capabilities = [\"list\"] }\npath \"m/*\" { capabilities = [\"read\"] }"},
         "m/meta/", R | L},
        {{"path \"m/meta\" { capabilities = [\"deny\"] }\npath \"m/*\" { capabilities = [\"list\"] }"},
         "m/meta/", D},
        {{"path \"m/+\" { capabilities = [\"list\", \"read\"] }"}, "m/meta/", L},
        {{"path \"m/+\" { capabilities = [\"list\"] }\npath \"m/meta/*\" { capabilities = [\"read\"] }"},
         "m/meta/", R},
        {{"path \"m/meta\" { capabilities = [\"list\"] }\npath \"m/meta/\" { capabilities = [\"deny\"] }"},
         "m/meta/", D},
        /* forms */
        {{"path \"a\" { policy = \"write\" }"}, "a", 1 | R | 4 | 16 | L},
        {{"path \"a\" { policy = \"sudo\" }"}, "a", 1 | R | 4 | 16 | L | POLICY_SUDO},
        {{"# one\n// two\n/* three\n */ path \"a\" { # four\n capabilities = [\"read\",], }"}, "a", R},
        {{"{\"path\": {\"a\": {\"capabilities\": [\"read\"]}}}"}, "a", R},
        {{" {\"path\": [{\"a\": {\"policy\": \"read\"}}], \"name\": \"n\"}"}, "a", R | L},
        {{"path \"a\\\"b\" { capabilities = [\"read\"] }"}, "a\"b", R},
        {{"path \"a/{{identity.entity.id}}\" { capabilities = [\"read\"] }"}, "a/x", 0},
        {{""}, "a", 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct policy_set *set;
        size_t n = 0;
        unsigned rights;

        while (n < 3 && cases[i].texts[n] != NULL)
            n++;
        set = compile(cases[i].texts, n);
        rights = policy_set_rights(set, slice_str(cases[i].path));
        policy_set_unref(set);
        if (rights != cases[i].rights)
            fail_msg("%s on '%s': %u, not %u", cases[i].texts[0], cases[i].path, rights,
                     cases[i].rights);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"path \"a\" { capabilities = [\"raed\"] }",
         "line 1, column 28: unknown capability 'raed'; did you mean 'read'?"},
        {"\n\npath \"a\" {\n  capabilitys = [\"read\"] }",
         "line 4, column 3: unknown key 'capabilitys'; did you mean 'capabilities'?"},
        {"pth \"a\" { }", "line 1, column 1: unknown key 'pth'; did you mean 'path'?"},
        {"path \"a\" { mfa_methods = [] }",
         "line 1, column 12: 'mfa_methods' is not supported: it would not be enforced"},
        {"path \"a\" { allowed_parameters = [] }", "line 1, column 33: expected '{'"},
        {"path \"a\" { required_parameters = [\"x\" }", "line 1, column 39: expected ',' or ']'"},
        {"path \"a\" { min_wrapping_ttl = \"x\" }",
         "line 1, column 31: 'x' is no duration, such as \"1h\""},
        {"path \"a\" { min_wrapping_ttl = \"2h\" max_wrapping_ttl = 60 }",
         "line 1, column 6: path 'a': max_wrapping_ttl cannot be less than min_wrapping_ttl"},
        {"{\"path\": {\"a\": {\"allowed_parameters\": {\"x\": 1}}}}",
         "line 1, column 1: unknown value of 'allowed_parameters'"},
        {"path \"a/+*\" { }", "line 1, column 6: path 'a/+*': '+*' is not allowed"},
        {"path a { }", "line 1, column 6: expected a path in quotes"},
        {"path \"a\" { capabilities = \"read\" }",
         "line 1, column 27: expected a list, such as [\"read\", \"list\"]"},
        {"path \"a\" { capabilities [\"read\"] }", "line 1, column 25: expected '='"},
        {"path \"a\" { capabilities = [\"read\" \"list\"] }", "line 1, column 35: expected ',' or ']'"},
        {"path \"a\" {", "line 1, column 11: expected a key or '}'"},
        {"path \"a", "line 1, column 6: a string is not closed"},
        {"path \"a\\q\" { }", "line 1, column 8: this escape is not known"},
        {"/* never", "line 1, column 1: a comment is not closed"},
        {"path \"a\" { policy = \"all\" }", "line 1, column 21: policy is read, write, sudo or deny"},
        {"\xff", "line 1, column 1: the text is not UTF-8"},
        {"{\"path\": {\"a\": {\"capabilities\": [\"raed\"]}}}",
         "line 1, column 1: path 'a': unknown capability 'raed'"},
        {"{\"path\": {\"a\": {\"capabilities\": \"read\"}}}",
         "line 1, column 1: path 'a': unknown key or value 'capabilities'"},
        {"{\"pth\": {}}", "line 1, column 1: path '': unknown key 'pth'"},
        {"{\"path\": {\"a\":\n }}", "line 2, column 2: unexpected token near '}'"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct policy *p = NULL;
        autobuf why = {0};

        if (policy_parse(slice_str(cases[i].text), &p, &why) != -EINVAL) {
            policy_free(p);
            fail_msg("accepted: %s", cases[i].text);
        }
        assert_null(p);
        assert_string_equal(why.data, cases[i].why);
    }
}

static void test_touches(void **state)
{
    static const char *const texts[] = {
        "path \"secret/data/app/*\" { capabilities = [\"read\"] }\n"
        "path \"kv/+/x\" { capabilities = [\"read\"] }\n"
        "path \"all/*\" { capabilities = [\"read\"] }\n"
        "path \"all/hidden/*\" { capabilities = [\"deny\"] }\n"
        "path \"none/*\" { capabilities = [\"deny\"] }\n",
    };
    static const struct {
        const char *prefix;
        bool touches;
    } cases[] = {
        {"", true},           {"secret", true},        {"secret/", true},
        {"secret/data", true}, {"secret/data/app", true}, {"secret/data/app/deep", true},
        {"secret/data/ap", false}, {"secret/data/other", false}, {"secre", false},
        {"kv", true},         {"kv/any", true},        {"kv/any/x", true},
        {"kv/any/y", false},  {"all/x/y", true},       {"all/hidden/x", false},
        {"all/hidden", true}, {"none", false},         {"none/x", false},
        {"nothing", false},
    };
    struct policy_set *set = compile(texts, 1), *root = policy_set_root();

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        if (policy_set_touches(set, slice_str(cases[i].prefix)) != cases[i].touches)
            fail_msg("'%s'", cases[i].prefix);
    assert_true(policy_set_touches(root, SLICE("sys/seal")));
    assert_int_equal(policy_set_rights(root, SLICE("sys/seal")), POLICY_ALL);
    policy_set_unref(set);
    policy_set_unref(root);
}

/* The compiled form against the rules one by one. */
static void test_many(void **state)
{
    autobuf text = {0};
    const char *texts[1];
    struct policy_set *set;

    (void)state;
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "path \"p/%d/*\" { capabilities = [\"read\"] }\n"
                          "path \"e/%d\" { capabilities = [\"list\"] }\n", i, i);
    texts[0] = text.data;
    set = compile(texts, 1);
    for (int i = 0; i < 3000; i++) {
        char path[64];

        snprintf(path, sizeof path, "p/%d/x", i);
        assert_int_equal(policy_set_rights(set, slice_str(path)), R);
        snprintf(path, sizeof path, "e/%d", i);
        assert_int_equal(policy_set_rights(set, slice_str(path)), L);
        snprintf(path, sizeof path, "e/%d/", 3000 + i);
        assert_int_equal(policy_set_rights(set, slice_str(path)), 0);
    }
    policy_set_unref(policy_set_ref(set));
    policy_set_unref(set);
}

static struct policy_set *set_for(const char *text, const struct policy_entity *entity)
{
    struct policy *p;
    struct policy_set *set;
    autobuf why = {0};

    if (policy_parse(slice_str(text), &p, &why) < 0)
        fail_msg("%s", why.data);
    set = policy_set_new_for(&p, 1, entity);
    policy_free(p);
    return set;
}

static void test_templates(void **state)
{
    static const struct policy_pair metadata[] = {{"team", "blue"}, {"bad", "a/*"}};
    static const struct policy_entity ann = {.id = "e1",
                                             .name = "ann",
                                             .alias_accessor = "auth_userpass_1",
                                             .alias_name = "ann",
                                             .metadata = metadata,
                                             .n_metadata = 2};
    static const struct {
        const char *pattern, *path;
        bool granted;
    } cases[] = {
        {"a/{{identity.entity.name}}/*", "a/ann/x", true},
        {"a/{{identity.entity.name}}/*", "a/ben/x", false},
        {"a/{{ identity.entity.id }}", "a/e1", true},
        {"a/{{identity.entity.metadata.team}}/+", "a/blue/x", true},
        {"a/{{identity.entity.metadata.bad}}", "a/a/x", false}, /* would be a pattern of its own */
        {"a/{{identity.entity.metadata.none}}*", "a/x", false},
        {"a/{{identity.entity.aliases.auth_userpass_1.name}}", "a/ann", true},
        {"a/{{identity.entity.aliases.auth_userpass_1.metadata.team}}", "a/blue", true},
        {"a/{{identity.entity.aliases.other.name}}", "a/ann", false},
        {"a/{{identity.groups.names.g.id}}*", "a/x", false},
        {"a/{{identity.entity.name", "a/{{identity.entity.name", false},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf text = {0};
        struct policy_set *set, *nobody;

        buf_printf(&text, "path \"%s\" { capabilities = [\"read\"] }", cases[i].pattern);
        set = set_for(text.data, &ann);
        nobody = set_for(text.data, NULL);
        if ((policy_set_rights(set, slice_str(cases[i].path)) != 0) != cases[i].granted)
            fail_msg("%s on %s", cases[i].pattern, cases[i].path);
        assert_int_equal(policy_set_rights(nobody, slice_str(cases[i].path)), 0);
        assert_true(policy_set_is_templated(set) && policy_set_is_templated(nobody));
        policy_set_unref(set);
        policy_set_unref(nobody);
    }
}

/* What two policies say of one path is united; what only one of them says stays. */
static void test_limits(void **state)
{
    static const char *const texts[] = {
        "path \"a\" { capabilities = [\"update\"] allowed_parameters = { \"X\" = [\"1\"], y = [] }\n"
        "  denied_parameters = { \"z\" = [true, 5] } min_wrapping_ttl = \"1m\" }",
        "{\"path\": {\"a\": {\"capabilities\": [\"read\"], \"allowed_parameters\": {\"x\": [\"2*\"], "
        "\"y\": [\"3\"]}, \"required_parameters\": [\"x\"], \"min_wrapping_ttl\": 30, "
        "\"max_wrapping_ttl\": \"1h\"}, \"b\": {\"capabilities\": [\"read\"]}}}",
    };
    struct policy *parsed[2];
    struct policy_set *set;
    const struct policy_limits *l;
    const struct policy_parameter *p;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        autobuf why = {0};

        if (policy_parse(slice_str(texts[i]), &parsed[i], &why) < 0)
            fail_msg("%s", why.data);
    }
    set = policy_set_new(parsed, 2);
    assert_int_equal(policy_set_rights(set, SLICE("a")), POLICY_READ | POLICY_UPDATE);
    assert_null(policy_set_limits(set, SLICE("b")));
    assert_null(policy_set_limits(set, SLICE("c")));
    l = policy_set_limits(set, SLICE("a"));
    assert_non_null(l);
    p = policy_parameter_find(&l->allowed, "x");
    assert_int_equal(p->n, 2);
    assert_string_equal(p->values[1].text, "2*");
    assert_int_equal(policy_parameter_find(&l->allowed, "y")->n, 0); /* any value wins */
    p = policy_parameter_find(&l->denied, "z");
    assert_true(p->n == 2 && !p->values[0].is_string && strcmp(p->values[1].text, "5") == 0);
    assert_non_null(policy_parameter_find(&l->required, "x"));
    assert_int_equal(l->min_wrapping_s, 30);
    assert_int_equal(l->max_wrapping_s, 3600);
    policy_set_unref(set);
    policy_free(parsed[0]);
    policy_free(parsed[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_touches),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
