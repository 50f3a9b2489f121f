/* Objects kept verbatim: what is taken, what is refused, edits and merges. */
#include "secrets/object.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void begin(struct op *op)
{
    op_init(op, DOOR_INTERNAL, NULL);
}

static void takes_and_refuses(void **state)
{
    static const struct {
        const char *text;
        int n; /* members; -1: refused */
    } cases[] = {
        {"{}", 0},
        {" { } \n", 0},
        {"{\"a\":1}", 1},
        {"{\"a\":12345678901234567890, \"b\":1e400 , \"c\":-0.0E+10}", 3},
        {"{\"a\":[1,[2,{\"x\":[]}],{}],\"b\":\"\\ud83d\\ude00\"}", 2},
        {"{\"a\":\"\\ud800\"}", 1}, /* half a pair in a value is kept */
        {"{\"\":null}", 1},
        {"{\"\\u0061\":1,\"b\":2}", 2},
        {"{\"a\":1,\"\\u0061\":2}", -1},
        {"{\"a\":1,\"a\":2}", -1},
        {"{\"\\ud800\":1}", -1},
        {"", -1},
        {"[]", -1},
        {"\"a\"", -1},
        {"{", -1},
        {"{\"a\"", -1},
        {"{\"a\":", -1},
        {"{\"a\":1", -1},
        {"{\"a\":1,}", -1},
        {"{,}", -1},
        {"{\"a\":1}x", -1},
        {"{\"a\":01}", -1},
        {"{\"a\":1.}", -1},
        {"{\"a\":.5}", -1},
        {"{\"a\":+1}", -1},
        {"{\"a\":1e}", -1},
        {"{\"a\":-}", -1},
        {"{\"a\":NaN}", -1},
        {"{\"a\":tru}", -1},
        {"{\"a\":\"\\x\"}", -1},
        {"{\"a\":\"\\u12g4\"}", -1},
        {"{\"a\":\"\x01\"}", -1},
        {"{\"a\":\"\xff\"}", -1},
        {"{\"a\":[1,]}", -1},
        {"{\"a\":[1}", -1},
        {"{\"a\":{\"b\"}}", -1},
        {"{'a':1}", -1},
        {"{a:1}", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct object o = {0};
        struct op op;
        int r;

        begin(&op);
        r = object_parse(&op, slice_str(cases[i].text), &o);
        if ((cases[i].n < 0) != (r < 0) || (r == 0 && o.n != (size_t)cases[i].n))
            fail_msg("%s: %d, %zu members", cases[i].text, r, o.n);
        if (r < 0)
            assert_non_null(op.why);
        op_done(&op);
    }
}

static void depth_has_a_limit(void **state)
{
    struct op op;
    struct object o;

    (void)state;
    for (unsigned depth = OBJECT_DEPTH_MAX; depth <= OBJECT_DEPTH_MAX + 1; depth++) {
        struct buf b = {0};
        int r;

        buf_add_str(&b, "{\"a\":");
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&b, '[');
        buf_add_char(&b, '1');
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&b, ']');
        buf_add_char(&b, '}');
        begin(&op);
        r = object_parse(&op, buf_slice(&b), &o);
        assert_int_equal(r, depth <= OBJECT_DEPTH_MAX ? 0 : -EINVAL);
        op_done(&op);
        buf_done(&b);
    }
}

static void values_are_verbatim(void **state)
{
    struct object o;
    struct op op;
    struct slice s;
    int64_t n = 0;

    (void)state;
    begin(&op);
    assert_int_equal(
        object_parse(&op,
                     SLICE("{ \"n\" : 12345678901234567890 ,\"s\":\"a\\u00e9\\n\\ud83d\\ude00\","
                           "\"h\":\"\\udc00\",\"i\":\"42\",\"z\":null }"),
                     &o),
        0);
    assert_true(slice_eq(object_value(&o, "n"), SLICE("12345678901234567890")));
    assert_int_equal(value_string(&op, object_value(&o, "s"), &s), 0);
    assert_true(slice_eq(s, SLICE("a\xc3\xa9\n\xf0\x9f\x98\x80")));
    assert_int_equal(value_string(&op, object_value(&o, "h"), &s), -EILSEQ);
    assert_int_equal(value_string(&op, object_value(&o, "n"), &s), -EINVAL);
    assert_int_equal(value_integer(&op, object_value(&o, "i"), &n), 0);
    assert_int_equal(n, 42);
    assert_int_equal(value_integer(&op, object_value(&o, "n"), &n), -ERANGE);
    assert_int_equal(object_value(&o, "z").len, 0);
    assert_int_equal(object_value(&o, "absent").len, 0);
    op_done(&op);
}

static void edits_leave_the_rest(void **state)
{
    static const struct {
        const char *text, *key, *value, *want;
    } cases[] = {
        {"{}", "a", "1", "{\"a\":1}"},
        {"{ }", "a", "1", "{\"a\":1 }"},
        {"{\"a\":1}", "a", "2", "{\"a\":2}"},
        {"{\"a\": 1 , \"b\":1e400}", "a", "\"x\"", "{\"a\": \"x\" , \"b\":1e400}"},
        {"{\"a\":1}", "b", "2", "{\"a\":1,\"b\":2}"},
        {"{\"a\":1}", "a", "", "{}"},
        {"{\"a\":1, \"b\":2,\"c\":3}", "a", "", "{ \"b\":2,\"c\":3}"},
        {"{\"a\":1, \"b\":2,\"c\":3}", "b", "", "{\"a\":1,\"c\":3}"},
        {"{\"a\":1, \"b\":2,\"c\":3 }", "c", "", "{\"a\":1, \"b\":2 }"},
        {"{\"a\":1}", "q", "", "{\"a\":1}"},
        {"{\"\\u0061\":1}", "a", "2", "{\"\\u0061\":2}"},
        {"{}", "a\"\n", "1", "{\"a\\\"\\n\":1}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        struct object o;
        struct op op;

        begin(&op);
        assert_int_equal(object_parse(&op, slice_str(cases[i].text), &o), 0);
        object_edit(&o, slice_str(cases[i].key), slice_str(cases[i].value), &out);
        assert_string_equal(out.data, cases[i].want);
        assert_true(value_is_valid(buf_slice(&out)));
        buf_done(&out);
        op_done(&op);
    }
}

/* RFC 7386, appendix A, as far as the patch is an object. */
static void merges(void **state)
{
    static const struct {
        const char *target, *patch, *want;
    } cases[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"n\":1e400}", "{\"m\":12345678901234567890}",
         "{\"n\":1e400,\"m\":12345678901234567890}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        struct op op;

        begin(&op);
        assert_int_equal(
            value_merge(&op, slice_str(cases[i].target), slice_str(cases[i].patch), &out), 0);
        assert_string_equal(out.data, cases[i].want);
        buf_done(&out);
        op_done(&op);
    }
}

static void elements(void **state)
{
    struct slice *list;
    struct op op;
    size_t n;

    (void)state;
    begin(&op);
    assert_int_equal(value_elements(&op, SLICE("[ ]"), &list, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(value_elements(&op, SLICE("[1, \"a,]\\\"\" ,[2,3],{\"x\":4}]"), &list, &n), 0);
    assert_int_equal(n, 4);
    assert_true(slice_eq(list[1], SLICE("\"a,]\\\"\"")));
    assert_true(slice_eq(list[2], SLICE("[2,3]")));
    assert_int_equal(value_elements(&op, SLICE("{}"), &list, &n), -EINVAL);
    op_done(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_and_refuses),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(values_are_verbatim),
        cmocka_unit_test(edits_leave_the_rest),
        cmocka_unit_test(merges),
        cmocka_unit_test(elements),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
