/* The parser and the printer of PromQL, against what Prometheus 3.16 answers. */
#include "base/shim.h"
#include "metrics/labels.h"
#include "metrics/promql/lexer.h"
#include "metrics/promql/print.h"

#include "base/alloc.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void answer(struct slice text, struct buf *out)
{
    struct op op;
    struct promql q;
    autobuf why = {0};
    autobuf line = {0};
    autobuf lines = {0};

    op_init(&op, DOOR_INTERNAL, NULL);
    if (promql_parse(&op, text, &q, &why) < 0) {
        buf_add_str(out, "ERR ");
        quote_go(out, buf_slice(&why));
    } else {
        promql_print(&line, q.root);
        promql_pretty(&lines, q.root);
        promql_done(&q);
        buf_add_str(out, "OK ");
        quote_go(out, buf_slice(&line));
        buf_add_char(out, ' ');
        quote_go(out, buf_slice(&lines));
    }
    op_done(&op);
}

static void test_as_prometheus(void **state)
{
    FILE *f = fopen(TEST_DATA "/promql/parse.txt", "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    unsigned count = 0;
    unsigned wrong = 0;

    (void)state;
    assert_non_null(f);
    while ((n = getline(&line, &cap, f)) > 0) {
        char *tab = strchr(line, '\t');
        struct op op;
        struct slice text;
        autobuf got = {0};

        assert_non_null(tab);
        line[n - 1] = 0;
        op_init(&op, DOOR_INTERNAL, NULL);
        assert_true(string_unquote(&op, slice_of(line, (size_t)(tab - line)), &text));
        answer(text, &got);
        if (strcmp(got.data, tab + 1) != 0) {
            wrong++;
            print_error("%.*s\n  want %s\n  got  %s\n", (int)(tab - line), line, tab + 1, got.data);
        }
        op_done(&op);
        count++;
    }
    free(line);
    fclose(f);
    assert_int_equal(wrong, 0);
    assert_true(count > 3000);
}

/* n times `open`, a middle, n times `close`. */
static void nested(struct buf *out, const char *open, const char *middle, const char *close, int n)
{
    buf_clear(out);
    for (int i = 0; i < n; i++)
        buf_add_str(out, open);
    buf_add_str(out, middle);
    for (int i = 0; i < n; i++)
        buf_add_str(out, close);
}

static void test_depth(void **state)
{
    static const struct {
        const char *open, *middle, *close;
        int good, bad;
    } cases[] = {
        {"(", "1", ")", 450, 100000},
        {"-", "foo", "", 450, 100000},
        {"", "1", "+1", 450, 100000},
        {"1^", "1", "", 450, 100000},
        {"sum(", "foo", ")", 450, 100000},
        {"abs(", "foo", ")", 450, 100000},
        {"", "foo", "[1m:]", 1, 100000},
        {"max_over_time(", "foo", "[1m:])", 200, 100000},
        {"sum by (a) (", "foo", ")", 450, 100000},
    };
    autobuf text = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        autobuf got = {0};

        nested(&text, cases[i].open, cases[i].middle, cases[i].close, cases[i].good);
        answer(buf_slice(&text), &got);
        if (strstr(got.data, "OK ") != got.data && strcmp(cases[i].close, "[1m:]") != 0)
            fail_msg("case %zu: %.200s", i, got.data);
        buf_clear(&got);
        nested(&text, cases[i].open, cases[i].middle, cases[i].close, cases[i].bad);
        answer(buf_slice(&text), &got);
        if (strstr(got.data, "nested too deeply") == NULL &&
            strstr(got.data, "subquery is only allowed") == NULL)
            fail_msg("case %zu: %.200s", i, got.data);
    }
    nested(&text, "foo[1m", "", "+1m", 100000);
    {
        autobuf got = {0};

        buf_clear(&text);
        buf_add_str(&text, "foo[1m");
        for (int i = 0; i < 100000; i++)
            buf_add_str(&text, "+1m");
        buf_add_str(&text, "]");
        answer(buf_slice(&text), &got);
        assert_non_null(strstr(got.data, "nested too deeply"));
    }
}

/* Durations, start(), end() and what is the same at every step, for 1000 s to 1600 s by 60 s. */
static void test_prepare(void **state)
{
    static const struct {
        const char *text, *why;
        int64_t range_ms, offset_ms, at_ms;
        bool once;
    } cases[] = {
        {"foo[5m]", NULL, 300000, 0, 0, false},
        {"foo[5m*2]", NULL, 600000, 0, 0, false},
        {"foo[step()]", NULL, 60000, 0, 0, false},
        {"foo[range()]", NULL, 600000, 0, 0, false},
        {"foo[max_of(1m, step()*3)]", NULL, 180000, 0, 0, false},
        {"foo[2^3]", NULL, 8000, 0, 0, false},
        {"foo[7m % 2m]", NULL, 60000, 0, 0, false},
        {"foo[5m] offset (1m - 2m)", NULL, 300000, -60000, 0, false},
        {"foo[5m] offset -(1m*2)", NULL, 300000, -120000, 0, false},
        {"foo[5m] @ start()", NULL, 300000, 0, 1000000, false},
        {"foo[5m] @ end()", NULL, 300000, 0, 1600000, false},
        {"foo[5m] @ 12.5", NULL, 300000, 0, 12500, false},
        {"foo[1m-1m]", "4:9: duration must be greater than 0", 0, 0, 0, false},
        {"foo[1m-step()*2]", "4:15: duration must be greater than 0", 0, 0, 0, false},
        {"foo[5m/(step()-1m)]", "4:17: division by zero", 0, 0, 0, false},
        {"foo[5m%(step()-1m)]", "4:17: modulo by zero", 0, 0, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct op op;
        struct promql q;
        autobuf why = {0};
        int r;

        op_init(&op, DOOR_INTERNAL, NULL);
        if (promql_parse(&op, slice_str(cases[i].text), &q, &why) < 0)
            fail_msg("%s: %s", cases[i].text, why.data);
        r = promql_prepare(&q, 1000000, 1600000, 60000, &why);
        if (cases[i].why != NULL) {
            assert_int_equal(r, -EINVAL);
            assert_string_equal(why.data, cases[i].why);
        } else {
            const struct moment *m = &q.root->matrix.e->selector->moment;

            assert_int_equal(r, 0);
            if (q.root->matrix.range_ms != cases[i].range_ms ||
                m->offset_ms != cases[i].offset_ms || m->at_ms != cases[i].at_ms)
                fail_msg("%s: range %ld offset %ld at %ld", cases[i].text,
                         (long)q.root->matrix.range_ms, (long)m->offset_ms, (long)m->at_ms);
        }
        promql_done(&q);
        op_done(&op);
    }
}

/* Which nodes are the same at every step: each is printed, with ';' behind it. */
static void collect_once(const struct expr *e, struct buf *out)
{
    if (e->step_invariant) {
        promql_print(out, e);
        buf_add_char(out, ';');
        return;
    }
    for (size_t i = 0; i < promql_children(e); i++)
        collect_once(promql_child(e, i), out);
}

static void test_step_invariant(void **state)
{
    static const struct {
        const char *text, *once;
    } cases[] = {
        {"foo", ""},
        {"foo @ 10", "foo @ 10.000;"},
        {"foo + foo @ 10", "foo @ 10.000;"},
        {"1 + foo", ""},
        {"1 + foo @ 10", "1 + foo @ 10.000;"},
        {"sum(rate(foo[5m] @ 10))", "sum(rate(foo[5m] @ 10.000));"},
        {"sum(rate(foo[5m] @ 10)) + bar", "sum(rate(foo[5m] @ 10.000));"},
        {"predict_linear(foo[5m] @ 10, 60)", ""},
        {"timestamp(foo @ 10)", "timestamp(foo @ 10.000);"},
        {"timestamp(abs(foo @ 10))", "abs(foo @ 10.000);"},
        {"time()", ""},
        {"start() + foo @ end()", "1000 + foo @ end();"},
        {"sum_over_time((foo @ 10)[5m:1m])", "(foo @ 10.000);"},
        {"topk(2, foo @ 10)", "topk(2, foo @ 10.000);"},
        {"((foo @ 10))", "((foo @ 10.000));"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct op op;
        struct promql q;
        autobuf why = {0};
        autobuf got = {0};

        op_init(&op, DOOR_INTERNAL, NULL);
        if (promql_parse(&op, slice_str(cases[i].text), &q, &why) < 0)
            fail_msg("%s: %s", cases[i].text, why.data);
        assert_int_equal(promql_prepare(&q, 1000000, 1600000, 60000, &why), 0);
        collect_once(q.root, &got);
        if (strcmp(got.data != NULL ? got.data : "", cases[i].once) != 0)
            fail_msg("%s: got %s, want %s", cases[i].text, got.data, cases[i].once);
        promql_done(&q);
        op_done(&op);
    }
}

static void test_json(void **state)
{
    static const char *const text = "sum by(a) (x{b!~\"c\"} @ start() offset 1m) > bool on(a) "
                                    "group_left(d) fill_right(-2) max_over_time(y[1h:step()*2])";
    static const char *const want =
        "{\"bool\":true,\"lhs\":{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"b\","
        "\"type\":\"!~\",\"value\":\"c\"},{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"x\"}],"
        "\"name\":\"x\",\"offset\":60000,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":"
        "\"start\",\"timestamp\":null,\"type\":\"vectorSelector\"},\"grouping\":[\"a\"],\"op\":"
        "\"sum\",\"param\":null,\"type\":\"aggregation\",\"without\":false},\"matching\":{\"card\":"
        "\"many-to-one\",\"fillValues\":{\"lhs\":null,\"rhs\":-2},\"include\":[\"d\"],\"labels\":"
        "[\"a\"],\"on\":true},\"op\":\">\",\"rhs\":{\"args\":[{\"expr\":{\"anchored\":false,"
        "\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"y\"}],\"name\":\"y\","
        "\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,"
        "\"type\":\"vectorSelector\"},\"offset\":0,\"offsetExpr\":null,\"range\":3600000,"
        "\"rangeExpr\":null,\"startOrEnd\":null,\"step\":0,\"stepExpr\":{\"lhs\":{\"lhs\":null,"
        "\"op\":\"step\",\"rhs\":null,\"type\":\"durationExpr\",\"wrapped\":false},\"op\":\"*\","
        "\"rhs\":{\"duration\":false,\"type\":\"numberLiteral\",\"val\":\"2\"},\"type\":"
        "\"durationExpr\",\"wrapped\":false},\"timestamp\":null,\"type\":\"subquery\"}],\"func\":{"
        "\"argTypes\":[\"matrix\"],\"name\":\"max_over_time\",\"returnType\":\"vector\","
        "\"variadic\":0},\"type\":\"call\"},\"type\":\"binaryExpr\"}";
    struct op op;
    struct promql q;
    struct json j;
    autobuf why = {0};
    autobuf got = {0};

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    assert_int_equal(promql_parse(&op, slice_str(text), &q, &why), 0);
    json_init(&j, &got);
    promql_json(&j, q.root);
    assert_string_equal(got.data, want);
    promql_done(&q);
    op_done(&op);
}

static void test_selectors(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"up", NULL},
        {"up{a=\"b\"}", NULL},
        {"{a=\"\"}", NULL},
        {"sum", NULL},
        {"", "unknown position: parse error: unexpected end of input"},
        {"up[5m]", "1:3: parse error: unexpected \"[\""},
        {"up offset 5m", "1:4: parse error: unexpected <offset>"},
        {"1", "1:1: parse error: unexpected number \"1\""},
        {"up{", "1:4: parse error: unexpected end of input inside braces"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct op op;
        struct promql q;
        autobuf why = {0};
        int r;

        op_init(&op, DOOR_INTERNAL, NULL);
        r = promql_parse_selector(&op, slice_str(cases[i].text), &q, &why);
        assert_int_equal(r, cases[i].why != NULL ? -EINVAL : 0);
        if (cases[i].why != NULL)
            assert_string_equal(why.data, cases[i].why);
        promql_done(&q);
        op_done(&op);
    }
}

static void expect_text(double v, const char *want)
{
    autobuf out = {0};

    print_value(&out, v);
    assert_string_equal(out.data, want);
}

/* The shortest text that reads back to the value, whichever way it is found. */
static void test_values(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {
        {0, "0"}, {-0.0, "-0"}, {7, "7"}, {99, "99"}, {100, "100"}, {-100, "-100"}, {0.5, "0.5"}, {-12.34, "-12.34"},
        {0.0001, "0.0001"}, {0.00012, "0.00012"}, {1e-6, "0.000001"}, {1.5e-7, "1.5e-07"}, {0.1 + 0.2, "0.30000000000000004"},
        {9999999999.9999, "9999999999.9999"}, {1e15, "1000000000000000"}, {123456789012345680.0, "123456789012345680"},
        {1e20, "100000000000000000000"}, {1e21, "1e+21"}, {1e300, "1e+300"}, {5e-324, "5e-324"}, {1.0 / 3, "0.3333333333333333"},
        {4294967296, "4294967296"}, {-0.0625, "-0.0625"}, {1000.001, "1000.001"},
        {99999999, "99999999"}, {100000000, "100000000"}, {1000000005, "1000000005"}, {99999999.5, "99999999.5"},
        {-123456789.25, "-123456789.25"}, {0.1234, "0.1234"}, {7.0305, "7.0305"}, {999999999999999, "999999999999999"},
        {1e-5, "0.00001"}, {1.2345678901234568e-5, "0.000012345678901234568"}, {-2.9999999999999996, "-2.9999999999999996"},
        {0.9999999999999999, "0.9999999999999999"}, {100000000.00000001, "100000000.00000001"}, {-12345678901234, "-12345678901234"},
        {562949953421311.9, "562949953421311.9"}, {0.30000000000000004, "0.30000000000000004"}, {5e-5, "0.00005"},
        {INFINITY, "+Inf"}, {-INFINITY, "-Inf"}, {NAN, "NaN"},
    };
    uint64_t seed = 88172645463325252ull;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_text(cases[i].v, cases[i].text);
    for (int i = 0; i < 200000; i++) {
        char text[VALUE_TEXT_MAX];
        char shortest[DOUBLE_TEXT_MAX];
        double v;

        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        v = i % 2 == 0 ? (double)(int64_t)(seed >> (i % 60)) / (double[]){1, 10, 1e2, 1e3, 1e4, 1e5, 7}[i / 2 % 7]
                       : bits_double(seed);
        *value_put(text, v) = 0;
        if (isnan(v))
            continue;
        assert_true(strtod(text, NULL) == v);
        double_print(v, shortest);
        if (fabs(v) >= 1e-4 || v == 0)
            assert_string_equal(text, shortest);
    }
}

static void expect_time(int64_t ts_ms, const char *want)
{
    autobuf out = {0};

    print_time(&out, ts_ms);
    assert_string_equal(out.data, want);
}

static void test_times(void **state)
{
    (void)state;
    expect_time(0, "0");
    expect_time(1700000000000, "1700000000");
    expect_time(1795536732090, "1795536732.090");
    expect_time(5, "0.005");
    expect_time(-1, "-0.001");
    expect_time(-62135596800000, "-62135596800");
    expect_time(999, "0.999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),         cmocka_unit_test(test_times),
        cmocka_unit_test(test_as_prometheus),  cmocka_unit_test(test_depth),
        cmocka_unit_test(test_prepare),        cmocka_unit_test(test_step_invariant),
        cmocka_unit_test(test_json),           cmocka_unit_test(test_selectors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
