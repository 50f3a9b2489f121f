/* Names of files that differ only in how they are spelled. */
#include "packages_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct world w;

static int setup(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static void make(struct buf *out, bool sdist, const char *version, const char *what)
{
    autobuf header = {0};

    buf_printf(&header, "Summary: %s\n", what);
    if (sdist)
        make_sdist(out, "foo_bar", version, header.data);
    else
        make_wheel(out, "foo_bar", version, header.data, what);
}

/* Names that differ only in how they are spelled are one, whichever came first. */
static void test_spellings(void **state)
{
    static const struct {
        const char *first, *second, *version;
        bool sdist, same;
    } cases[] = {
        {"foo_bar-1.0-py3-none-any.whl", "Foo_Bar-1.0-py3-none-any.whl", "1.0", false, true},
        {"foo_bar-1.0-py3-none-any.whl", "foo.bar-1.0-py3-none-any.whl", "1.0", false, true},
        {"foo_bar-1.0-py3-none-any.whl", "foo_bar-1.0-PY3-none-any.whl", "1.0", false, true},
        {"foo_bar-1.0rc1-py3-none-any.whl", "foo_bar-1.0.RC1-py3-none-any.whl", "1.0rc1", false,
         true},
        {"foo_bar-1.0.tar.gz", "Foo-Bar-1.0.tar.gz", "1.0", true, true},
        {"FOO_bar-1.0.tar.gz", "foo.bar-1.0.tar.gz", "1.0", true, true},
        {"foo_bar-1.0-py3-none-any.whl", "foo_bar-1.0-1-py3-none-any.whl", "1.0", false, false},
        {"foo_bar-1.0-py3-none-any.whl", "foo_bar-1.0-py2-none-any.whl", "1.0", false, false},
    };

    (void)state;
    for (size_t i = 0; i < 2 * array_size(cases); i++) {
        const char *first = cases[i / 2].first, *second = cases[i / 2].second;
        autobuf one = {0}, other = {0}, why = {0};
        struct op op;

        make(&one, cases[i / 2].sdist, cases[i / 2].version, "x");
        make(&other, cases[i / 2].sdist, cases[i / 2].version, "y");
        if (i % 2) {
            first = cases[i / 2].second;
            second = cases[i / 2].first;
        }
        op_init(&op, DOOR_HTTP, &w.team);
        assert_int_equal(world_publish(&w, &w.team, first, buf_slice(&one), NULL), 0);
        assert_int_equal(world_publish(&w, &w.team, first, buf_slice(&one), NULL), 0);
        assert_int_equal(world_publish(&w, &w.team, second, buf_slice(&other), &why),
                         cases[i / 2].same ? -EEXIST : 0);
        if (cases[i / 2].same) {
            assert_non_null(strstr(why.data, "File already exists"));
            assert_non_null(strstr(why.data, first));
            assert_int_equal(package_delete(&op, w.pk, "foo-bar", first), 0);
            assert_int_equal(world_publish(&w, &w.team, second, buf_slice(&other), NULL), 0);
        } else {
            assert_int_equal(package_delete(&op, w.pk, "foo-bar", first), 0);
        }
        assert_int_equal(package_delete(&op, w.pk, "foo-bar", second), 0);
        op_done(&op);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_spellings, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
