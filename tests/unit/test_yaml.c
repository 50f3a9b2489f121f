#include "base/scope.h"
#include "base/yaml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

DEFINE_SCOPE(yaml, struct yaml, yaml_free)

/* The tree as one line: maps {k:v,}, lists [v,], scalars 'text' if quoted, ~ for null. */
static void show(const struct yaml *y, struct buf *out)
{
    if (y == NULL) {
        buf_add_str(out, "none");
    } else if (y->kind == YAML_SCALAR) {
        const char *quote = y->quoted ? "'" : "";

        buf_printf(out, "%s%s%s", quote, y->text != NULL ? y->text : "~", quote);
    } else {
        buf_add_char(out, y->kind == YAML_MAP ? '{' : '[');
        for (size_t i = 0; i < y->n_items; i++) {
            if (y->kind == YAML_MAP)
                buf_printf(out, "%s:", y->items[i]->key->text);
            show(y->items[i], out);
            buf_add_char(out, ',');
        }
        buf_add_char(out, y->kind == YAML_MAP ? '}' : ']');
    }
}

static void test_trees(void **state)
{
    static const struct {
        const char *text, *tree;
    } cases[] = {
        {"", "none"},
        {"# only a comment\n", "none"},
        {"~", "none"},
        {"---\n...\n", "none"},
        {"a: 1\nb: [x, \"y\", ~]\n", "{a:1,b:[x,'y',~,],}"},
        {"a:\n  - b: c\n    d:\n", "{a:[{b:c,d:~,},],}"},
        {"a: &x {k: v}\nb: *x\nc: *x\n", "{a:{k:v,},b:{k:v,},c:{k:v,},}"},
        {"a: &x 1\nb: &x 2\nc: *x\n", "{a:1,b:2,c:2,}"},
        {"a: !!str 5\n", "{a:'5',}"},
        {"null: 1\n", "{null:1,}"},
        {"a: |\n  two\n  lines\n", "{a:'two\nlines\n',}"},
        {"\xef\xbb\xbf" "a: \xc3\xa4\n", "{a:\xc3\xa4,}"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        scope_cleanup(scope_yaml) struct yaml *y = NULL;
        autobuf why = {0}, tree = {0};

        if (yaml_parse(slice_str(cases[i].text), &y, &why) < 0)
            fail_msg("%s: %s", cases[i].text, why.data);
        show(y, &tree);
        assert_string_equal(tree.data, cases[i].tree);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "line 3, column 1: key 'a' was given before, in line 1"},
        {"a: [1, 2\n", "line 2, column 1: did not find expected ',' or ']'"},
        {"a: b: c\n", "line 1, column 5: mapping values are not allowed in this context"},
        {"a: *nope\n", "line 1, column 4: this alias has no anchor before it"},
        {"a: &x [*x]\n", "line 1, column 8: this alias has no anchor before it"},
        {"a: {<<: {b: c}}\n", "line 1, column 5: merge keys ('<<') are not supported"},
        {"a: !python/object:os.system x\n", "line 1, column 4: this tag is not known"},
        {"[a]: 1\n", "line 1, column 1: a key must be a plain name"},
        {"a: 1\n---\nb: 2\n", "line 2, column 1: a second document begins here; one is expected"},
        {"a: 1\nb: \xff\n", "line 2, column 4: invalid leading UTF-8 octet"},
        {"a: \"\\0\": 1\n", "line 1, column 8: mapping values are not allowed in this context"},
        {"\"a\\0b\": 1\n", "line 1, column 1: a key holds a NUL byte"},
        {"a:\n\t- b\n", "line 2, column 1: found character that cannot start any token"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct yaml *y = NULL;
        autobuf why = {0};

        if (yaml_parse(slice_str(cases[i].text), &y, &why) != -EINVAL)
            fail_msg("accepted: %s", cases[i].text);
        assert_null(y);
        assert_string_equal(why.data, cases[i].why);
    }
}

static void test_depth_and_expansion(void **state)
{
    autobuf deep = {0}, laughs = {0}, why = {0};
    struct yaml *y = NULL;

    (void)state;
    for (int i = 0; i < 32; i++)
        buf_add_char(&deep, '[');
    for (int i = 0; i < 32; i++)
        buf_add_char(&deep, ']');
    assert_int_equal(yaml_parse(buf_slice(&deep), &y, &why), 0);
    yaml_free(y);
    y = NULL;
    buf_clear(&deep);
    for (int i = 0; i < 33; i++)
        buf_add_char(&deep, '[');
    assert_int_equal(yaml_parse(buf_slice(&deep), &y, &why), -EINVAL);
    assert_string_equal(why.data, "line 1, column 33: nested too deeply");

    buf_add_str(&laughs, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++)
        buf_printf(&laughs, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    buf_clear(&why);
    assert_int_equal(yaml_parse(buf_slice(&laughs), &y, &why), -EINVAL);
    assert_non_null(strstr(why.data, "too large once its aliases are expanded"));
    assert_null(y);
}

static void test_typed(void **state)
{
    static const struct {
        const char *text;
        char type;
        const char *result; /* of a success in decimal; else the reason */
    } cases[] = {
        {"true", 'b', "1"},
        {"off", 'b', "0"},
        {"\"true\"", 'b', "line 1, column 4: expected true or false"},
        {"15", 'n', "15"},
        {"1001", 'n', "line 1, column 4: '1001' is too large; the limit is 1000"},
        {"-1", 'n', "line 1, column 4: expected a whole number"},
        {"[1]", 'n', "line 1, column 4: expected a whole number"},
        {"15s", 'd', "15000"},
        {"1h30m", 'd', "5400000"},
        {"0", 'd', "0"},
        {"15", 'd', "line 1, column 4: '15' is not a duration, such as 15s or 1h30m"},
        {"{}", 'd', "line 1, column 4: expected a duration, such as 15s or 1h30m"},
        {"100MiB", 's', "104857600"},
        {"1GB", 's', "1000000000"},
        {"5", 's', "5"},
        {"16777215TiB", 's', "18446742974197923840"},
        {"16777216TiB", 's', "line 1, column 4: '16777216TiB' is not a size, such as 100MiB"},
        {"MiB", 's', "line 1, column 4: 'MiB' is not a size, such as 100MiB"},
        {"", 's', "line 1, column 3: expected a size, such as 100MiB"},
        {"\"a\\0b\"", 't', "line 1, column 4: the text holds a NUL byte"},
        {"~", 't', "line 1, column 4: expected a text"},
        {"12", 't', "12"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        scope_cleanup(scope_yaml) struct yaml *y = NULL;
        autobuf why = {0}, text = {0}, result = {0};
        uint64_t n = 0;
        int64_t ms = 0;
        bool yes = false;
        const char *s = "";
        int r = 0;
        const struct yaml *v;

        buf_printf(&text, "k: %s", cases[i].text);
        assert_int_equal(yaml_parse(buf_slice(&text), &y, &why), 0);
        v = yaml_get(y, "k");
        assert_non_null(v);
        switch (cases[i].type) {
        case 'b':
            r = yaml_bool(v, &yes, &why);
            buf_printf(&result, "%d", yes);
            break;
        case 'n':
            r = yaml_u64(v, 1000, &n, &why);
            buf_add_u64(&result, n);
            break;
        case 'd':
            r = yaml_duration_ms(v, &ms, &why);
            buf_printf(&result, "%lld", (long long)ms);
            break;
        case 's':
            r = yaml_size(v, &n, &why);
            buf_add_u64(&result, n);
            break;
        default:
            r = yaml_string(v, &s, &why);
            buf_add_str(&result, s);
        }
        assert_string_equal(r < 0 ? why.data : result.data, cases[i].result);
    }
}

static void test_check_map(void **state)
{
    static const char *const keys[] = {"scrape_interval", "scrape_timeout", "job_name", NULL};
    static const struct {
        const char *text, *why; /* NULL: passes */
    } cases[] = {
        {"job_name: x", NULL},
        {"scrape_intervall: x", "line 1, column 1: unknown key 'scrape_intervall'; did you mean "
                                "'scrape_interval'?"},
        {"jobname: x", "line 1, column 1: unknown key 'jobname'; did you mean 'job_name'?"},
        {"zebra: x", "line 1, column 1: unknown key 'zebra'"},
        {"[job_name]", "line 1, column 1: expected keys and values here"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        scope_cleanup(scope_yaml) struct yaml *y = NULL;
        autobuf why = {0};
        int r;

        assert_int_equal(yaml_parse(slice_str(cases[i].text), &y, &why), 0);
        r = yaml_check_map(y, keys, &why);
        assert_int_equal(r, cases[i].why != NULL ? -EINVAL : 0);
        if (cases[i].why != NULL)
            assert_string_equal(why.data, cases[i].why);
    }
    assert_int_equal(yaml_check_map(NULL, keys, NULL), 0);
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"serve", "user", "status", "get", "set", NULL};
    static const struct {
        const char *name, *near;
    } cases[] = {
        {"srve", "serve"}, {"sevre", "serve"}, {"usr", "user"},  {"stats", "status"},
        {"gte", "get"},    {"x", NULL},        {"zebra", NULL},  {"", NULL},
        {"servers", "serve"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const char *near = nearest_name(cases[i].name, names);

        if (cases[i].near == NULL)
            assert_null(near);
        else
            assert_string_equal(near != NULL ? near : "none", cases[i].near);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_depth_and_expansion), cmocka_unit_test(test_typed),
        cmocka_unit_test(test_check_map), cmocka_unit_test(test_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
