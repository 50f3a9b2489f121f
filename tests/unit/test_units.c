/* Which unit of systemd gets which secret. */
#include "secrets/units.h"

#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void addresses(void **state)
{
    static const struct {
        struct slice address;
        const char *unit, *credential; /* NULL: refused */
    } cases[] = {
        {SLICE("\0a0b1c2d3/unit/shop.service/db"), "shop.service", "db"},
        {SLICE("\0a/unit/a@b.service/x.y"), "a@b.service", "x.y"},
        {SLICE("\0/unit/a/b"), "a", "b"},
        {SLICE("\0a/unit/unit/unit"), "unit", "unit"},
        {SLICE("a/unit/a/b"), NULL, NULL},     /* a file's name */
        {SLICE("\0a/b/unit/a/b"), NULL, NULL}, /* not where systemd puts it */
        {SLICE("\0a/unit/a/b/c"), NULL, NULL}, /* a credential is one component */
        {SLICE("\0a/unit//b"), NULL, NULL},
        {SLICE("\0a/unit/a/"), NULL, NULL},
        {SLICE("\0a/unit/a"), NULL, NULL},
        {SLICE("\0a/unit/a/b\0"), NULL, NULL},
        {SLICE("\0a/unit/a/.."), NULL, NULL},
        {SLICE("\0a/unit/a/\xff"), NULL, NULL},
        {SLICE("\0"), NULL, NULL},
        {SLICE(""), NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice unit = {0}, credential = {0};
        int r = unit_parse(cases[i].address, &unit, &credential);

        if ((r == 0) != (cases[i].unit != NULL))
            fail_msg("case %zu: %d", i, r);
        if (r == 0) {
            assert_true(slice_eq(unit, slice_str(cases[i].unit)));
            assert_true(slice_eq(credential, slice_str(cases[i].credential)));
        }
    }
}

static void grants(void **state)
{
    static const char text[] =
        "credentials:\n"
        "  serve:\n"
        "    - {unit: shop.service, credential: db, secret: shop/prod/db}\n"
        "    - {unit: 'w@*.service', credential: '*', secret: 'w/{credential}/x'}\n";
    static const struct {
        const char *unit, *credential, *path;
    } cases[] = {
        {"shop.service", "db", "shop/prod/db"},
        {"shop.service", "other", NULL},
        {"Shop.service", "db", NULL},
        {"w@1.service", "k", "w/k/x"},
        {"w.service", "k", NULL},
    };
    struct config *config = NULL, *again = NULL;
    autobuf why = {0}, dump = {0};
    struct op op;

    (void)state;
    assert_int_equal(config_parse(slice_str(text), &config, &why), 0);
    op_init(&op, DOOR_INTERNAL, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path =
            unit_find(&op, config, slice_str(cases[i].unit), slice_str(cases[i].credential));

        if (cases[i].path == NULL)
            assert_null(path);
        else
            assert_string_equal(path, cases[i].path);
    }
    op_done(&op);
    config_dump(config, &dump);
    assert_int_equal(config_parse(buf_slice(&dump), &again, &why), 0);
    assert_int_equal(again->n_grants, 2);
    assert_string_equal(again->grants[1].secret, "w/{credential}/x");
    config_free(config);
    config_free(again);
    assert_int_equal(
        config_parse(SLICE("credentials: {serve: [{unit: a, secret: b}]}"), &config, &why),
        -EINVAL);
    assert_non_null(strstr(why.data, "'credential' is missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(grants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
