#include "http/credentials.h"

#include "base/scope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct {
    const char *authorization, *vault;
    int want;
    enum credentials_kind kind;
    const char *user, *secret;
} cases[] = {
    {NULL, NULL, 0, CREDENTIALS_NONE, NULL, NULL},
    {"", "", 0, CREDENTIALS_NONE, NULL, NULL},
    {"Basic YTpi", NULL, 0, CREDENTIALS_BASIC, "a", "b"},
    {"bAsIc   YTpi  ", NULL, 0, CREDENTIALS_BASIC, "a", "b"},
    {"Basic YTpiOmM=", NULL, 0, CREDENTIALS_BASIC, "a", "b:c"},
    {"Basic YTpiOmM", NULL, 0, CREDENTIALS_BASIC, "a", "b:c"},
    {"Basic Og==", NULL, 0, CREDENTIALS_NONE, NULL, NULL},
    {"Basic YTo=", NULL, 0, CREDENTIALS_BASIC, "a", ""},
    {"Basic w6k6w7w=", NULL, 0, CREDENTIALS_BASIC, "\xc3\xa9", "\xc3\xbc"},
    {"Basic YQ==", NULL, -EINVAL, 0, NULL, NULL},     /* no colon */
    {"Basic YQA6Yg==", NULL, -EINVAL, 0, NULL, NULL}, /* a NUL */
    {"Basic ", NULL, -EINVAL, 0, NULL, NULL},
    {"Basic", NULL, -EINVAL, 0, NULL, NULL},
    {"Basic a b", NULL, -EINVAL, 0, NULL, NULL},
    {"Basic YTpi=", NULL, -EINVAL, 0, NULL, NULL},
    {"BasicYTpi", NULL, -EINVAL, 0, NULL, NULL},
    {"Bearer hvs.x", NULL, 0, CREDENTIALS_TOKEN, NULL, "hvs.x"},
    {"bearer  hvs.x ", NULL, 0, CREDENTIALS_TOKEN, NULL, "hvs.x"},
    {"Bearer ", NULL, -EINVAL, 0, NULL, NULL},
    {NULL, "s.x", 0, CREDENTIALS_TOKEN, NULL, "s.x"},
    {"Basic YTpi", "s.x", 0, CREDENTIALS_TOKEN, NULL, "s.x"},
    {"Digest username=a", NULL, -EINVAL, 0, NULL, NULL},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct credentials c;
        int r = credentials_parse(cases[i].authorization, cases[i].vault, &c);

        if (r != cases[i].want)
            fail_msg("'%s': %d", cases[i].authorization, r);
        if (r < 0)
            continue;
        if (c.kind != cases[i].kind)
            fail_msg("'%s': kind %d", cases[i].authorization, c.kind);
        if (c.kind == CREDENTIALS_TOKEN)
            assert_true(slice_eq(c.token, slice_str(cases[i].secret)));
        if (c.kind == CREDENTIALS_BASIC) {
            assert_true(slice_eq(c.user, slice_str(cases[i].user)));
            assert_true(slice_eq(c.password, slice_str(cases[i].secret)));
        }
        credentials_wipe(&c);
        for (size_t k = 0; k < sizeof c.text; k++)
            assert_int_equal(c.text[k], 0);
    }
}

static void test_limit(void **state)
{
    static char token[CREDENTIALS_MAX + 1];
    struct credentials c;

    (void)state;
    memset(token, 'x', CREDENTIALS_MAX);
    assert_int_equal(credentials_parse(NULL, token, &c), -EINVAL);
    assert_int_equal(credentials_parse(NULL, token + 1, &c), 0);
    memcpy(token, "Basic ", 6);
    assert_int_equal(credentials_parse(token, NULL, &c), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
