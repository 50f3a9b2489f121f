/* The small parsers of the server: targets, headers, conditions, addresses. */
#include "base/scope.h"
#include "http/address.h"
#include "http/conditional.h"
#include "http/headers.h"
#include "http/target.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_targets(void **state)
{
    static const struct {
        const char *uri, *path, *raw, *query; /* path NULL: -EINVAL */
    } cases[] = {
        {"/", "/", "/", ""},
        {"/a/b", "/a/b", "/a/b", ""},
        {"/a/", "/a/", "/a/", ""},
        {"/a?b=c?d", "/a", "/a", "b=c?d"},
        {"/a?", "/a", "/a", ""},
        {"/a?//..%00", "/a", "/a", "//..%00"},
        {"/a%2fb", "/a/b", "/a%2fb", ""},
        {"/a%20%C3%A9+", "/a \xc3\xa9+", "/a%20%C3%A9+", ""},
        {"/%2525", "/%25", "/%2525", ""},
        {"/...", "/...", "/...", ""},
        {"/.a/..b", "/.a/..b", "/.a/..b", ""},
        {"http://h:1/a", "/a", "/a", ""},
        {"HTTPS://h", "/", "/", ""},
        {"*", NULL, NULL, NULL},
        {"", NULL, NULL, NULL},
        {"a", NULL, NULL, NULL},
        {"/a//b", NULL, NULL, NULL},
        {"//", NULL, NULL, NULL},
        {"/%2F", NULL, NULL, NULL},
        {"/a/./b", NULL, NULL, NULL},
        {"/a/..", NULL, NULL, NULL},
        {"/..", NULL, NULL, NULL},
        {"/%2e%2E/a", NULL, NULL, NULL},
        {"/a%2f..", NULL, NULL, NULL},
        {"/%00", NULL, NULL, NULL},
        {"/a%0", NULL, NULL, NULL},
        {"/a%", NULL, NULL, NULL},
        {"/a%gg", NULL, NULL, NULL},
        {"/a b", NULL, NULL, NULL},
        {"/a\tb", NULL, NULL, NULL},
        {"/a\x7f", NULL, NULL, NULL},
    };
    struct op op;

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct target t;
        int r;

        op_init(&op, DOOR_HTTP, NULL);
        r = target_parse(&op, cases[i].uri, &t);
        if (r != (cases[i].path != NULL ? 0 : -EINVAL))
            fail_msg("'%s': %d", cases[i].uri, r);
        if (r == 0 &&
            (strcmp(t.path, cases[i].path) != 0 || strcmp(t.raw_path, cases[i].raw) != 0 ||
             !slice_eq(t.query, slice_str(cases[i].query))))
            fail_msg("'%s': '%s' '%s'", cases[i].uri, t.path, t.raw_path);
        if (r < 0) {
            assert_non_null(op.why);
            assert_int_equal(t.path[0], '/');
        }
        op_done(&op);
    }
}

static void test_target_limit(void **state)
{
    static char uri[TARGET_PATH_MAX + 2];
    struct target t;
    struct op op;

    (void)state;
    op_init(&op, DOOR_HTTP, NULL);
    memset(uri, 'a', sizeof uri - 1);
    uri[0] = '/';
    assert_int_equal(target_parse(&op, uri, &t), -EINVAL);
    uri[TARGET_PATH_MAX] = 0;
    assert_int_equal(target_parse(&op, uri, &t), 0);
    op_done(&op);
}

static void test_headers(void **state)
{
    static const struct {
        const char *headers[5][2];
        int want;
        uint64_t length;
    } cases[] = {
        {{{"Host", "h"}}, 0, 0},
        {{{"hOST", "[::1]:80"}, {"Content-Length", "17"}}, 0, 17},
        {{{"Host", "h"}, {"Transfer-Encoding", "Chunked"}}, 0, UINT64_MAX},
        {{{"Host", "h"}, {"Content-Length", "18446744073709551614"}}, 0, UINT64_MAX - 1},
        {{{"Host", "h"}, {"Content-Length", "18446744073709551615"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Content-Length", ""}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Content-Length", "1,1"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Content-Length", " 1"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Content-Length", "1"}, {"content-length", "1"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Content-Length", "1"}, {"Transfer-Encoding", "chunked"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}},
         -EINVAL,
         0},
        {{{"Host", "h"}, {"Transfer-Encoding", "chunked, chunked"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Transfer-Encoding", ""}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Transfer-Encoding", "identity"}}, -EINVAL, 0},
        {{{"Accept", "x"}}, -EINVAL, 0},
        {{{"Host", ""}}, -EINVAL, 0},
        {{{"Host", "a b"}}, -EINVAL, 0},
        {{{"Host", "a/b"}}, -EINVAL, 0},
        {{{"Host", "a\"b"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"Host", "h"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"X-Forwarded-Host", "<"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"A ", "x"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"A\tB", "x"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"", "x"}}, -EINVAL, 0},
        {{{"Host", "h"}, {"A\xff", "x"}}, -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct headers h = {0};
        const char *why = NULL;
        uint64_t length = 99;
        int r;

        for (size_t k = 0; k < 5 && cases[i].headers[k][0] != NULL; k++)
            headers_add(&h, cases[i].headers[k][0], cases[i].headers[k][1]);
        r = headers_check(&h, &length, &why);
        if (r != cases[i].want || (r < 0) != (why != NULL))
            fail_msg("case %zu: %d %s", i, r, why != NULL ? why : "");
        if (r == 0 && length != cases[i].length)
            fail_msg("case %zu: length %" PRIu64, i, length);
    }
}

static void test_etags(void **state)
{
    static const struct {
        const char *list, *etag;
        bool want;
    } cases[] = {
        {NULL, "\"a\"", false},        {"", "\"a\"", false},
        {"\"a\"", NULL, false},        {"\"a\"", "\"a\"", true},
        {"\"b\"", "\"a\"", false},     {"\"b\", \"a\"", "\"a\"", true},
        {"W/\"a\"", "\"a\"", true},    {"\"a\"", "W/\"a\"", true},
        {"*", "\"a\"", true},          {"\"a-gzip\"", "\"a\"", true},
        {"\"a\"", "\"a-gzip\"", true}, {"\"b,a\"", "\"a\"", false},
        {"a", "\"a\"", true},          {"\"a", "\"a\"", false},
        {",,\"a\",", "\"a\"", true},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        if (etag_is_listed(cases[i].list, cases[i].etag) != cases[i].want)
            fail_msg("'%s' in '%s'", cases[i].etag, cases[i].list);
}

static void test_dates(void **state)
{
    static const char *const early = "Tue, 14 Nov 2023 22:13:20 GMT";
    static const char *const late = "Tue, 14 Nov 2023 22:13:21 GMT";

    (void)state;
    assert_true(not_modified_since(early, early));
    assert_true(not_modified_since(late, early));
    assert_false(not_modified_since(early, late));
    assert_false(not_modified_since(NULL, early));
    assert_false(not_modified_since("x", early));
    assert_false(not_modified_since(early, NULL));
    assert_true(if_range_holds(NULL, NULL, NULL));
    assert_true(if_range_holds("\"a\"", "\"a\"", NULL));
    assert_false(if_range_holds("\"a\"", "\"b\"", NULL));
    assert_false(if_range_holds("W/\"a\"", "W/\"a\"", NULL));
    assert_false(if_range_holds("\"a\"", NULL, early));
    assert_true(if_range_holds(early, NULL, early));
    assert_false(if_range_holds(late, NULL, early));
}

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: -EINVAL */
    } cases[] = {
        {"127.0.0.1:8080", "127.0.0.1:8080"},
        {"[::1]:0", "[::1]:0"},
        {":80", NULL}, /* either family: see below */
        {"0.0.0.0:1", "0.0.0.0:1"},
        {"127.0.0.1", NULL},
        {"127.0.0.1:", NULL},
        {"127.0.0.1:x", NULL},
        {"127.0.0.1:65536", NULL},
        {"::1:80", NULL},
        {"999.1.1.1:80", NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct sockaddr_storage address;
        autobuf why = {0}, text = {0};
        socklen_t len = 0;
        int r = address_parse(cases[i].text, &address, &len, &why);

        if (*cases[i].text == ':' && cases[i].text[1] != ':') {
            assert_int_equal(r, 0);
            continue;
        }
        if (r != (cases[i].want != NULL ? 0 : -EINVAL) || (r < 0) != (why.len > 0))
            fail_msg("'%s': %d", cases[i].text, r);
        if (r < 0)
            continue;
        address_print((struct sockaddr *)&address, &text);
        assert_string_equal(text.data, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets), cmocka_unit_test(test_target_limit),
        cmocka_unit_test(test_headers), cmocka_unit_test(test_etags),
        cmocka_unit_test(test_dates),   cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
