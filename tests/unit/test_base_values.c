/* Times, digests, and what C++ does for us. */
#include "base/clock.h"
#include "base/digest.h"
#include "base/scope.h"
#include "base/shim.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int r;
        int64_t ns;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"1970-01-01T00:00:00.000000001Z", 0, 1},
        {"2024-02-29T12:34:56.789+02:00", 0, 1709202896789000000},
        {"1969-12-31T23:59:59.5Z", 0, -500000000},
        {"2261-12-31T23:59:59Z", 0, 9214646399000000000},
        {"2262-12-31T23:59:59Z", -ERANGE, 0},
        {"2023-02-29T00:00:00Z", -EINVAL, 0},
        {"1900-02-29T00:00:00Z", -EINVAL, 0},
        {"2024-13-01T00:00:00Z", -EINVAL, 0},
        {"2024-01-01T24:00:00Z", -EINVAL, 0},
        {"2024-01-01T00:00:00", -EINVAL, 0},
        {"2024-01-01T00:00:00.Z", -EINVAL, 0},
        {"2024-01-01T00:00:00Zx", -EINVAL, 0},
        {"2024-01-01T00:00:00+2:00", -EINVAL, 0},
        {"", -EINVAL, 0},
    };
    char text[CLOCK_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        int64_t ns = 0;
        int r = clock_parse(slice_str(cases[i].text), &ns);

        if (r != cases[i].r || ns != cases[i].ns)
            fail_msg("%s: %d %lld", cases[i].text, r, (long long)ns);
    }
    assert_string_equal(clock_print_ns(1709202896789012345, 0, text), "2024-02-29T10:34:56Z");
    assert_string_equal(clock_print_ns(1709202896789012345, 3, text), "2024-02-29T10:34:56.789Z");
    assert_string_equal(clock_print_ns(1709202896789012345, 9, text),
                        "2024-02-29T10:34:56.789012345Z");
    assert_string_equal(clock_print_ns(-1, 9, text), "1969-12-31T23:59:59.999999999Z");
}

static void test_http_dates(void **state)
{
    static const char *const bad[] = {"", "Sun, 06 Nov 1994 08:49:37", "yesterday",
                                      "1994-11-06T08:49:37Z",
                                      "Sun, 06 Nov 1994 08:49:37 GMT and much more than that"};
    char text[CLOCK_TEXT_MAX];
    int64_t ms = 0;

    (void)state;
    assert_string_equal(clock_print_http(784111777000, text), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_int_equal(clock_parse_http(SLICE("Sun, 06 Nov 1994 08:49:37 GMT"), &ms), 0);
    assert_int_equal(ms, 784111777000);
    for (size_t i = 0; i < array_size(bad); i++)
        assert_int_equal(clock_parse_http(slice_str(bad[i]), &ms), -EINVAL);
}

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        int r;
        int64_t ms;
    } cases[] = {
        {"0", 0, 0},       {"15s", 0, 15000},     {"1h30m", 0, 5400000}, {"250ms", 0, 250},
        {"1m", 0, 60000},  {"1m1ms", 0, 60001},   {"15d", 0, 1296000000}, {"0s", 0, 0},
        {"1y2w3d4h5m6s7ms", 0, 33019506007},      {"100y", 0, 3153600000000},
        {"", -EINVAL, 0},  {"5", -EINVAL, 0},     {"s", -EINVAL, 0},     {"-1s", -EINVAL, 0},
        {"1m1h", -EINVAL, 0}, {"1s1s", -EINVAL, 0}, {"1.5h", -EINVAL, 0}, {"1x", -EINVAL, 0},
        {"1 s", -EINVAL, 0}, {"99999999999999999999s", -ERANGE, 0}, {"999999999999y", -ERANGE, 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        int64_t ms = 0;
        int r = duration_parse_ms(slice_str(cases[i].text), &ms);

        if (r != cases[i].r || ms != cases[i].ms)
            fail_msg("%s: %d %lld", cases[i].text, r, (long long)ms);
    }
}

static void test_digests(void **state)
{
    static const char empty[] =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char *const bad[] = {
        "", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
        "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"};
    struct digest a, b;
    char text[DIGEST_TEXT_MAX];

    (void)state;
    digest_of(DIGEST_SHA256, "", 0, &a);
    assert_string_equal(digest_print(&a, text), empty);
    assert_int_equal(digest_parse(slice_str(empty), &b), 0);
    assert_true(digest_eq(&a, &b));
    digest_of(DIGEST_SHA512, "abc", 3, &a);
    assert_int_equal(digest_parse(slice_str(digest_print(&a, text)), &b), 0);
    assert_true(digest_eq(&a, &b));
    assert_int_equal(strlen(text), 7 + 128);
    for (size_t i = 0; i < array_size(bad); i++)
        assert_int_equal(digest_parse(slice_str(bad[i]), &b), -EINVAL);
}

static void test_hashes(void **state)
{
    static const struct {
        enum hash_kind kind;
        size_t len;
        uint8_t first[4]; /* of the hash of "abc" */
    } cases[] = {{HASH_SHA256, 32, {0xba, 0x78, 0x16, 0xbf}},
                 {HASH_SHA512, 64, {0xdd, 0xaf, 0x35, 0xa1}},
                 {HASH_BLAKE2B_256, 32, {0xbd, 0xdd, 0x81, 0x3c}},
                 {HASH_MD5, 16, {0x90, 0x01, 0x50, 0x98}}};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct hash *h = hash_new(cases[i].kind);
        uint8_t out[64], again[64];

        hash_update(h, "a", 1);
        hash_update(h, "bc", 2);
        assert_int_equal(hash_final(h, out), cases[i].len);
        assert_memory_equal(out, cases[i].first, 4);
        hash_update(h, "abc", 3); /* fresh again */
        assert_int_equal(hash_final(h, again), cases[i].len);
        assert_memory_equal(out, again, cases[i].len);
        hash_free(h);
    }
    hash_free(NULL);
}

static void test_doubles(void **state)
{
    static const struct {
        double v;
        const char *text; /* as Go's strconv.FormatFloat(v, 'f' or 'e', -1, 64) */
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {0.1, "0.1"},
                 {-1.5, "-1.5"},
                 {1e15, "1000000000000000"},
                 {123456789, "123456789"},
                 {1234567890123456.8, "1234567890123456.8"},
                 {-4503599627370495.5, "-4503599627370495.5"},
                 {9007199254740993, "9007199254740992"},
                 {90071992547409925.0, "90071992547409920"},
                 {123456789012345680000.0, "123456789012345680000"},
                 {-1.5e20, "-150000000000000000000"},
                 {999999999999999900000.0, "999999999999999900000"},
                 {1e21, "1e+21"},
                 {1.5e300, "1.5e+300"},
                 {0.000001, "0.000001"},
                 {0.0000123, "0.0000123"},
                 {1e-7, "1e-07"},
                 {DBL_MAX, "1.7976931348623157e+308"},
                 {5e-324, "5e-324"},
                 {INFINITY, "+Inf"},
                 {-INFINITY, "-Inf"},
                 {NAN, "NaN"}};
    char text[DOUBLE_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        double back = 0;
        size_t n = double_print(cases[i].v, text);

        assert_string_equal(text, cases[i].text);
        assert_int_equal(n, strlen(text));
        if (isfinite(cases[i].v)) {
            assert_int_equal(double_parse(slice_str(text), &back), 0);
            assert_memory_equal(&back, &cases[i].v, sizeof back);
        }
    }
}

static void test_double_parse(void **state)
{
    static const struct {
        const char *text;
        int r;
        double v;
    } cases[] = {{"1", 0, 1},          {"+1.5", 0, 1.5},     {"-2e3", 0, -2000}, {".5", 0, .5},
                 {"1e-400", 0, 0},     {"1e400", -ERANGE, 0}, {"", -EINVAL, 0},  {"+", -EINVAL, 0},
                 {"+-1", -EINVAL, 0},  {"0x10", -EINVAL, 0}, {" 1", -EINVAL, 0}, {"1 ", -EINVAL, 0},
                 {"1,5", -EINVAL, 0},  {"1e", -EINVAL, 0}};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        double v = 0;
        int r = double_parse(slice_str(cases[i].text), &v);

        if (r != cases[i].r || v != cases[i].v)
            fail_msg("'%s': %d %g", cases[i].text, r, v);
    }
}

/* A leap of an hour ahead is believed an hour later, one back at once; a drift always. */
static void test_sober_clock(void **state)
{
    static const struct {
        int64_t unix_s, monotonic_s, sober_s;
    } steps[] = {
        {1000000, 0, 1000000},     {1000010, 10, 1000010},    {1000050, 20, 1000050},
        {1003700, 30, 1000060},    {1003710, 40, 1000070},    {1000080, 50, 1000080},
        {1090000, 60, 1000090},    {1093590, 3650, 1003680},  {1093610, 3670, 1093610},
        {900000, 3680, 900000},    {2000000, 3690, 900010},   {3000000, 7200, 903520},
        {3003500, 10700, 907020},  {3003700, 10900, 3003700},
    };
    struct sober_clock c = {.offset_ms = 999990000};

    (void)state;
    for (size_t i = 0; i < array_size(steps); i++)
        if (clock_sober(&c, steps[i].unix_s * 1000, steps[i].monotonic_s * 1000) !=
            steps[i].sober_s * 1000)
            fail_msg("step %zu", i);
}

static void test_regex(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {{"a.c", "abc", true},     {"a.c", "xabcx", false}, {"a|bc", "bc", true},
                 {".*", "two\nlines", true}, {"", "", true},          {"", "a", false},
                 {"(?i)ABC", "abc", true}, {"[0-9]+", "12", true}};
    static const struct {
        const char *pattern, *text, *replacement, *out; /* NULL: no match */
    } replaced[] = {{"(.*):(\\d+)", "host:80", "$1-${2}", "host-80"},
                    {"(?P<name>.*)", "x", "${name}$$$name", "x$x"},
                    {"(a)(b)?", "a", "[$2][$9]$", "[][]$"},
                    {"(a)", "b", "$1", NULL},
                    {"(a)", "a", "$1x", ""}, /* the group "1x" */
                    {"(a)", "a", "${1}x${", "ax${"}};
    struct regex *r = NULL;
    autobuf why = {0};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        assert_int_equal(regex_new(slice_str(cases[i].pattern), &r, &why), 0);
        if (regex_match(r, slice_str(cases[i].text)) != cases[i].match)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
        regex_free(r);
    }
    for (size_t i = 0; i < array_size(replaced); i++) {
        autobuf out = {0};

        assert_int_equal(regex_new(slice_str(replaced[i].pattern), &r, &why), 0);
        assert_int_equal(regex_replace(r, slice_str(replaced[i].text),
                                       slice_str(replaced[i].replacement), &out),
                         replaced[i].out != NULL);
        if (replaced[i].out != NULL && !slice_eq(buf_slice(&out), slice_str(replaced[i].out)))
            fail_msg("%s gave %s", replaced[i].replacement, out.data);
        regex_free(r);
    }
    assert_int_equal(regex_new(SLICE("(a"), &r, &why), -EINVAL);
    assert_non_null(strstr(why.data, "missing"));
    assert_int_equal(regex_new(SLICE("(?=a)"), &r, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),   cmocka_unit_test(test_http_dates),
        cmocka_unit_test(test_durations), cmocka_unit_test(test_digests),
        cmocka_unit_test(test_hashes),  cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_double_parse), cmocka_unit_test(test_regex),
        cmocka_unit_test(test_sober_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
