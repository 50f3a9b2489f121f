/* The exposition parsers against what Prometheus 3.16 answered for the same bodies. */
#include "base/shim.h"
#include "metrics/scrape/exposition.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>

static int nobody;
#define NOBODY ((const struct identity *)(void *)&nobody)

struct outcome {
    bool up;
    char error[1024];
    size_t n;
    char series[32][512]; /* printed labels, then the value */
};

static void fail_with(struct outcome *o, const struct buf *why)
{
    o->up = false;
    o->n = 0;
    snprintf(o->error, sizeof o->error, "%s", why->data != NULL ? why->data : "");
}

static bool known_series(const struct outcome *o, const char *labels)
{
    for (size_t i = 0; i < o->n; i++)
        if (strncmp(o->series[i], labels, strlen(labels)) == 0 &&
            o->series[i][strlen(labels)] == ' ')
            return true;
    return false;
}

static void parse_all(struct op *op, const char *type, struct slice body, struct outcome *o)
{
    struct exposition *x = op_alloc(op, sizeof *x);
    enum exposition_format format = EXPOSITION_TEXT;
    autobuf why = {0};
    int r;

    *o = (struct outcome){.up = true};
    if (exposition_format_of(type, &format, &why) < 0) {
        fail_with(o, &why);
        return;
    }
    exposition_init(x, format, body);
    while ((r = exposition_next(x)) > 0) {
        struct labels l = {0};
        autobuf text = {0};
        char value[DOUBLE_TEXT_MAX];

        if (r != EXPOSITION_SAMPLE)
            continue;
        r = exposition_labels(x, op, &l);
        if (r < 0)
            break;
        labels_print(&text, &l);
        if (x->has_timestamp && format == EXPOSITION_TEXT)
            continue; /* too old or too new for the database that was asked */
        if (known_series(o, text.data))
            continue;
        double_print(x->value, value);
        assert_true(o->n < 32);
        snprintf(o->series[o->n++], sizeof o->series[0], "%s %s", text.data, value);
    }
    if (r < 0)
        fail_with(o, &x->why);
    exposition_done(x);
}

static char *body_of(json_t *v, size_t *ret_n)
{
    json_t *b = json_object_get(v, "body");
    const char *s = json_string_value(json_is_object(b) ? json_object_get(b, "latin1") : b);
    size_t n = strlen(s);
    char *copy = malloc(n + 1);

    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (json_is_object(b) && (c & 0xe0) == 0xc0) {
            copy[(*ret_n)++] = (char)((c & 3) << 6 | ((unsigned char)s[i + 1] & 0x3f));
            i++;
        } else {
            copy[(*ret_n)++] = s[i];
        }
    }
    return copy;
}

/* The expected labels as labels_print prints them; the quirk of a blank before a name is mended. */
static void print_expected(struct op *op, json_t *pair, struct buf *out)
{
    struct label_builder b;
    struct labels l;
    const char *key;
    json_t *value;

    label_builder_init(&b, op);
    json_object_foreach (json_array_get(pair, 0), key, value) {
        const char *text = json_string_value(value);

        if (strcmp(key, "__name__") == 0 && *text == ' ')
            text++;
        label_builder_set(&b, slice_str(key), slice_str(text));
    }
    l = label_builder_finish(&b);
    labels_print(out, &l);
    buf_printf(out, " %s", json_string_value(json_array_get(pair, 1)));
}

static void check_series(struct op *op, const char *name, json_t *series, const struct outcome *o)
{
    if (o->n != json_array_size(series))
        fail_msg("%s: %zu series, expected %zu", name, o->n, json_array_size(series));
    for (size_t i = 0; i < json_array_size(series); i++) {
        autobuf expected = {0};
        bool found = false;

        print_expected(op, json_array_get(series, i), &expected);
        for (size_t k = 0; k < o->n; k++)
            found |= strcmp(expected.data, o->series[k]) == 0;
        if (!found)
            fail_msg("%s: no series '%s'; the first is '%s'", name, expected.data, o->series[0]);
    }
}

static void check_vector(json_t *v)
{
    const char *name = json_string_value(json_object_get(v, "case"));
    struct outcome *o = malloc(sizeof *o);
    size_t n;
    char *body = body_of(v, &n);
    struct op op;

    op_init(&op, DOOR_INTERNAL, NOBODY);
    parse_all(&op, json_string_value(json_object_get(v, "content_type")), slice_of(body, n), o);
    if (o->up != json_is_true(json_object_get(v, "up")))
        fail_msg("%s: up is %d: %s", name, o->up, o->error);
    if (strcmp(o->error, json_string_value(json_object_get(v, "error"))) != 0)
        fail_msg("%s: '%s', expected '%s'", name, o->error,
                 json_string_value(json_object_get(v, "error")));
    if (strcmp(name, "exported_taken") != 0) /* that one needs a target's labels: test_relabel */
        check_series(&op, name, json_object_get(v, "series"), o);
    op_done(&op);
    free(body);
    free(o);
}

static void test_vectors(void **state)
{
    json_error_t error;
    json_t *all = json_load_file(TEST_DATA "/exposition-vectors.json", 0, &error);

    (void)state;
    assert_non_null(all);
    assert_true(json_array_size(all) >= 68);
    for (size_t i = 0; i < json_array_size(all); i++)
        check_vector(json_array_get(all, i));
    json_decref(all);
}

static void test_values(void **state)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {{"1", 1},
                {"-1", -1},
                {"+1", 1},
                {".5", 0.5},
                {"5.", 5},
                {"1e3", 1000},
                {"1E-3", 0.001},
                {"Inf", INFINITY},
                {"-inf", -INFINITY},
                {"+INFINITY", INFINITY},
                {"123456789012345", 123456789012345.0},
                {"0.1", 0.1},
                {"179.769", 179.769},
                {"9007199254740993", 9007199254740992.0},
                {"0.30000000000000004", 0.30000000000000004},
                {"4.9e-324", 4.9e-324},
                {"1.7976931348623157e308", 1.7976931348623157e308},
                {"1e-400", 0},
                {"-0", -0.0}};
    static const char *const bad[] = {"",    "-",   "+",     ".",    "0x1F", "1_000", "1e400", "0x1p3",
                                      "1 2", "--1", "1.2.3", "infi", "+nan", "1e",    "e1",    "abc"};
    double v;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        autobuf why = {0};

        if (value_parse(slice_str(good[i].text), &v, &why) < 0 ||
            double_bits(v) != double_bits(good[i].value))
            fail_msg("'%s' gave %.17g %s", good[i].text, v, why.data != NULL ? why.data : "");
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        autobuf why = {0};

        if (value_parse(slice_str(bad[i]), &v, &why) != -EINVAL || why.len == 0)
            fail_msg("'%s' was accepted", bad[i]);
    }
    assert_int_equal(value_parse(SLICE("nan"), &v, NULL), 0);
    assert_true(double_bits(v) == VALUE_NAN_BITS);
}

static void test_openmetrics_floats(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {{1, "1.0"},   {0, "0.0"},      {0.001, "0.001"}, {INFINITY, "+Inf"}, {2.5, "2.5"},
                 {1e-5, "1e-05"}, {-1, "-1.0"}, {0.1, "0.1"},     {1e21, "1e+21"}};
    char text[40];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = value_print_openmetrics(cases[i].v, text);

        assert_string_equal(text, cases[i].text);
        assert_int_equal(n, strlen(text));
    }
}

static size_t know_a(void *ctx, const char *p, size_t left)
{
    (*(int *)ctx)++;
    return left >= 9 && memcmp(p, "a{x=\"1\"} ", 9) == 0 ? 8 : 0;
}

static void test_known_series_is_not_parsed(void **state)
{
    struct exposition *x = malloc(sizeof *x);
    int asked = 0;

    (void)state;
    exposition_init(x, EXPOSITION_TEXT, SLICE("a{x=\"1\"} 1.5 17\nb 2\n"));
    x->known = know_a;
    x->known_ctx = &asked;
    assert_int_equal(exposition_next(x), EXPOSITION_SAMPLE);
    assert_true(x->is_known && x->value == 1.5 && x->has_timestamp && x->timestamp_ms == 17);
    assert_int_equal(exposition_next(x), EXPOSITION_SAMPLE);
    assert_true(!x->is_known && x->value == 2 && !x->has_timestamp);
    assert_true(slice_eq(x->series, SLICE("b")));
    assert_int_equal(exposition_next(x), EXPOSITION_END);
    assert_int_equal(asked, 2);
    exposition_done(x);
    free(x);
}

static void test_metadata(void **state)
{
    struct exposition *x = malloc(sizeof *x);
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NOBODY);
    exposition_init(x, EXPOSITION_TEXT,
                    SLICE("#  HELP  m a\\\\b\\n\\\"c\n# TYPE m \t histogram\n# other\nm 1\n"));
    assert_int_equal(exposition_next(x), EXPOSITION_HELP);
    assert_true(slice_eq(x->name, SLICE("m")));
    assert_true(slice_eq(exposition_help(x, &op), SLICE("a\\b\n\\\"c")));
    assert_int_equal(exposition_next(x), EXPOSITION_TYPE);
    assert_int_equal(x->type, METRIC_HISTOGRAM);
    assert_int_equal(exposition_next(x), EXPOSITION_SAMPLE);
    assert_int_equal(exposition_next(x), EXPOSITION_END);
    exposition_done(x);
    op_done(&op);
    free(x);
}

static void test_too_many_labels(void **state)
{
    struct exposition *x = malloc(sizeof *x);
    autobuf body = {0};

    (void)state;
    buf_add_str(&body, "a{");
    for (int i = 0; i <= LABELS_MAX; i++)
        buf_printf(&body, "l%d=\"v\",", i);
    buf_add_str(&body, "} 1\n");
    exposition_init(x, EXPOSITION_TEXT, buf_slice(&body));
    assert_int_equal(exposition_next(x), -EINVAL);
    assert_true(strstr(x->why.data, "labels") != NULL);
    exposition_done(x);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_openmetrics_floats),
        cmocka_unit_test(test_known_series_is_not_parsed),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_too_many_labels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
