#include "base/buf.h"
#include "base/codec.h"
#include "base/glob.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void test_buf(void **state)
{
    struct buf b = {0}, limited = {.limit_bytes = 10};
    size_t len;
    char *text;

    (void)state;
    buf_add_str(&b, "one ");
    buf_add_u64(&b, 0);
    buf_add_char(&b, ' ');
    buf_add_u64(&b, UINT64_MAX);
    buf_printf(&b, " %s", "two");
    assert_string_equal(b.data, "one 0 18446744073709551615 two");
    for (int i = 0; i < 1000; i++)
        buf_add(&b, "0123456789", 10);
    assert_int_equal(b.len, 30 + 10000);
    assert_int_equal(b.data[b.len], 0);
    text = buf_take(&b, &len);
    assert_int_equal(len, 10030);
    assert_null(b.data);
    free(text);
    text = buf_take(&b, NULL); /* of an empty one: an empty text */
    assert_string_equal(text, "");
    free(text);

    buf_add_str(&limited, "0123456789");
    assert_false(limited.failed);
    buf_add_char(&limited, 'x');
    assert_true(limited.failed);
    buf_add_str(&limited, "");
    buf_printf(&limited, "%d", 5);
    assert_string_equal(limited.data, "0123456789");
    buf_clear(&limited);
    assert_false(limited.failed);
    buf_printf(&limited, "%s", "01234567890");
    assert_true(limited.failed);
    assert_int_equal(limited.len, 0);
    buf_wipe(&limited);
    assert_null(limited.data);
}

static void test_hex(void **state)
{
    static const struct {
        const char *hex;
        ssize_t n;
    } cases[] = {{"", 0}, {"00fF", 2}, {"0", -EINVAL}, {"0g", -EINVAL}, {"0011223344", -EINVAL}};
    uint8_t bytes[4];
    char text[9];

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        assert_int_equal(hex_decode(slice_str(cases[i].hex), bytes, 4), cases[i].n);
    hex_encode(slice_of("\x00\xff\x1e\x80", 4), text);
    assert_string_equal(text, "00ff1e80");
}

static void test_base64(void **state)
{
    static const struct {
        const char *plain, *encoded, *url;
    } cases[] = {{"", "", ""},
                 {"f", "Zg==", "Zg"},
                 {"fo", "Zm8=", "Zm8"},
                 {"foo", "Zm9v", "Zm9v"},
                 {"\xff\xfe\xfd\xfc", "//79/A==", "__79_A"}};
    static const char *const bad[] = {"A", "AA", "AAA", "A===", "====", "AA=A", "AB==", "AAB=",
                                      "AA==AA==", "A A=", "A-_=", "Zg=\n"};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf encoded = {0}, url = {0}, plain = {0};

        base64_encode(&encoded, slice_str(cases[i].plain));
        base64url_encode(&url, slice_str(cases[i].plain));
        assert_true(slice_eq(buf_slice(&encoded), slice_str(cases[i].encoded)));
        assert_true(slice_eq(buf_slice(&url), slice_str(cases[i].url)));
        assert_int_equal(base64_decode(&plain, slice_str(cases[i].encoded)), 0);
        assert_true(slice_eq(buf_slice(&plain), slice_str(cases[i].plain)));
    }
    for (size_t i = 0; i < array_size(bad); i++) {
        autobuf plain = {0};

        if (base64_decode(&plain, slice_str(bad[i])) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void test_percent(void **state)
{
    static const struct {
        const char *in;
        bool plus;
        const char *out; /* NULL: refused */
    } cases[] = {{"a%2Fb%20c", false, "a/b c"}, {"a+b", false, "a+b"}, {"a+b", true, "a b"},
                 {"%c3%A4", false, "\xc3\xa4"}, {"%", false, NULL},    {"%4", false, NULL},
                 {"%zz", false, NULL},          {"%%41", false, NULL}};
    autobuf text = {0};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf out = {0};
        int r = percent_decode(&out, slice_str(cases[i].in), cases[i].plus);

        assert_int_equal(r, cases[i].out != NULL ? 0 : -EINVAL);
        if (cases[i].out != NULL)
            assert_string_equal(out.data, cases[i].out);
    }
    percent_encode(&text, slice_of("a/b c~\0\xff", 8), "/");
    assert_string_equal(text.data, "a/b%20c~%00%FF");
}

static void test_integers(void **state)
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"", 0}, {"\x80", 1}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},
               {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11}};
    static const struct {
        const char *text;
        uint64_t max;
        int r;
        uint64_t value;
    } numbers[] = {{"0", 0, 0, 0},         {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
                   {"007", 7, 0, 7},       {"18446744073709551616", UINT64_MAX, -ERANGE, 0},
                   {"8", 7, -ERANGE, 0},   {"10", 9, -ERANGE, 0},
                   {"", 9, -EINVAL, 0},    {"-1", 9, -EINVAL, 0},
                   {"1 ", 9, -EINVAL, 0},  {"99999999999999999999999x", 9, -EINVAL, 0}};
    uint8_t raw[8];

    (void)state;
    for (size_t i = 0; i < array_size(values); i++) {
        autobuf out = {0};
        struct slice in;
        uint64_t v = 7;

        varint_put(&out, values[i]);
        in = buf_slice(&out);
        assert_int_equal(varint_get(&in, &v), 0);
        assert_true(v == values[i] && in.len == 0);
        be64_put(raw, values[i]);
        assert_true(be64_get(raw) == values[i]);
        be32_put(raw, (uint32_t)values[i]);
        assert_true(be32_get(raw) == (uint32_t)values[i]);
    }
    for (size_t i = 0; i < array_size(bad); i++) {
        struct slice in = slice_of(bad[i].bytes, bad[i].len);
        uint64_t v;

        assert_int_equal(varint_get(&in, &v), -EINVAL);
    }
    for (size_t i = 0; i < array_size(numbers); i++) {
        uint64_t v = 0;

        if (parse_u64(slice_str(numbers[i].text), numbers[i].max, &v) != numbers[i].r ||
            v != numbers[i].value)
            fail_msg("%s", numbers[i].text);
    }
}

static void test_glob(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {{"", "", true},         {"", "a", false},       {"*", "", true},
                 {"*", "a/b", true},     {"a*", "a", true},      {"a*", "ba", false},
                 {"*a", "ba", true},     {"*a", "ab", false},    {"a*b*c", "aXbYc", true},
                 {"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"**", "x", true},
                 {"a?", "ab", false},    {"[a]", "a", false},    {"*ab", "aab", true}};
    autobuf pattern = {0}, text = {0};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        if (glob_match(slice_str(cases[i].pattern), slice_str(cases[i].text)) != cases[i].match)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
    for (int i = 0; i < 30; i++) /* no exponential time */
        buf_add_str(&pattern, "*a");
    buf_add_char(&pattern, 'b');
    for (int i = 0; i < 20000; i++)
        buf_add_char(&text, 'a');
    assert_false(glob_match(buf_slice(&pattern), buf_slice(&text)));
}

/* RFC 3629; the hard ones of Kuhn's stress test */
static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {{"", true},
                 {"plain", true},
                 {"\xc2\x80", true},
                 {"\xdf\xbf", true},
                 {"\xe0\xa0\x80", true},
                 {"\xed\x9f\xbf", true},
                 {"\xee\x80\x80", true},
                 {"\xf4\x8f\xbf\xbf", true},
                 {"\x80", false},
                 {"\xc0\xaf", false},          /* overlong */
                 {"\xe0\x9f\xbf", false},
                 {"\xf0\x8f\xbf\xbf", false},
                 {"\xed\xa0\x80", false},      /* a surrogate */
                 {"\xf4\x90\x80\x80", false},  /* above U+10FFFF */
                 {"\xf8\x88\x80\x80\x80", false},
                 {"\xc3", false},
                 {"\xe2\x82", false},
                 {"a\xff", false}};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        if (utf8_valid(slice_str(cases[i].text)) != cases[i].valid)
            fail_msg("case %zu", i);
    assert_int_equal(utf8_length(SLICE("\xe2\x82\xacx")), 3);
}

static void test_json(void **state)
{
    autobuf out = {0};
    struct json j;

    (void)state;
    json_init(&j, &out);
    json_object(&j);
    json_kstr(&j, "a\"", "q\\\n\r\t\x01\x7f\xc3\xa4\xff");
    json_kstr(&j, "n", NULL);
    json_key(&j, "list");
    json_array(&j);
    json_u64(&j, UINT64_MAX);
    json_i64(&j, INT64_MIN);
    json_bool(&j, false);
    json_null(&j);
    json_object(&j);
    json_object_end(&j);
    json_array(&j);
    json_array_end(&j);
    json_raw(&j, SLICE("1.50"));
    json_slice(&j, slice_of("a\0b", 3));
    json_array_end(&j);
    json_kbool(&j, "b", true);
    json_ki64(&j, "i", -5);
    json_ku64(&j, "u", 5);
    json_knull(&j, "z");
    json_kraw(&j, "r", SLICE("[]"));
    json_kslice(&j, "s", SLICE("x"));
    json_object_end(&j);
    assert_string_equal(
        out.data, "{\"a\\\"\":\"q\\\\\\n\\r\\t\\u0001\\u007f\xc3\xa4\xef\xbf\xbd\",\"n\":null,"
                  "\"list\":[18446744073709551615,-9223372036854775808,false,null,{},[],1.50,"
                  "\"a\\u0000b\"],\"b\":true,\"i\":-5,\"u\":5,\"z\":null,\"r\":[],\"s\":\"x\"}");
}

/* Jansson has functions of the same names: each keeps its own. */
static void test_json_beside_jansson(void **state)
{
    json_error_t error;
    json_t *parsed = json_loads("{\"a\": [null, {}]}", 0, &error);

    (void)state;
    assert_non_null(parsed);
    assert_int_equal(json_array_size(json_object_get(parsed, "a")), 2);
    json_decref(parsed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf),     cmocka_unit_test(test_hex),
        cmocka_unit_test(test_base64),  cmocka_unit_test(test_percent),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_glob),
        cmocka_unit_test(test_utf8),    cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_beside_jansson),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
