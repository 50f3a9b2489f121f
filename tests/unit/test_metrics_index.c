/* The index: series by labels, and matchers against a plain filter over all series. */
#include "metrics/head/index.h"
#include "base/shim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct row {
    char metric[16], job[16], instance[16], extra[16];
};

static void labels_of(const struct row *row, struct label *room, struct labels *ret)
{
    *ret = (struct labels){.items = room};
    room[ret->n++] = (struct label){LABEL_NAME, slice_str(row->metric)};
    if (row->extra[0] != 0)
        room[ret->n++] = (struct label){SLICE("extra"), slice_str(row->extra)};
    room[ret->n++] = (struct label){SLICE("instance"), slice_str(row->instance)};
    room[ret->n++] = (struct label){SLICE("job"), slice_str(row->job)};
}

#define ROWS 3000
static struct row rows[ROWS];

static struct index *fill(void)
{
    struct index *ix = index_new();

    for (unsigned i = 0; i < ROWS; i++) {
        struct label room[4];
        struct labels l;

        snprintf(rows[i].metric, sizeof rows[i].metric, "m%u", i % 13);
        snprintf(rows[i].job, sizeof rows[i].job, "job%u", i % 3);
        snprintf(rows[i].instance, sizeof rows[i].instance, "host%u", i);
        if (i % 5 == 0)
            snprintf(rows[i].extra, sizeof rows[i].extra, "x%u", i % 7);
        labels_of(&rows[i], room, &l);
        assert_int_equal(index_find(ix, &l), SERIES_NONE);
        assert_int_equal(index_add(ix, &l, 0), i);
        assert_int_equal(index_find(ix, &l), i);
    }
    return ix;
}

static void test_find(void **state)
{
    struct index *ix = fill();

    (void)state;
    for (unsigned i = 0; i < ROWS; i++) {
        struct label room[4];
        struct label found[4];
        struct labels l;
        struct labels got;

        labels_of(&rows[i], room, &l);
        assert_int_equal(index_find(ix, &l), i);
        got = index_labels(ix, index_series(ix, i), found);
        assert_true(labels_eq(&got, &l));
        assert_int_equal(index_find_id(ix, index_series(ix, i)->id), i);
        l.n--;
        assert_int_equal(index_find(ix, &l), SERIES_NONE);
    }
    assert_int_equal(index_find_id(ix, 99ull << 32), SERIES_NONE);
    index_free(ix);
}

static void test_ids_stand_by_metric(void **state)
{
    struct index *ix = fill();
    struct index *again = index_new();

    (void)state;
    for (unsigned i = 13; i < ROWS; i++)
        assert_int_equal(index_series(ix, i)->id >> 32, index_series(ix, i % 13)->id >> 32);
    assert_true(index_series(ix, 0)->id >> 32 != index_series(ix, 1)->id >> 32);
    for (unsigned i = ROWS; i-- > 0;) { /* as rows are loaded: with their ids, in another order */
        struct label room[4];
        struct labels l;

        labels_of(&rows[i], room, &l);
        index_add(again, &l, index_series(ix, i)->id);
    }
    {
        struct row row = {.metric = "m5", .job = "new", .instance = "n"};
        struct label room[4];
        struct labels l;
        uint32_t a;
        uint32_t b;

        labels_of(&row, room, &l);
        a = index_add(ix, &l, 0);
        b = index_add(again, &l, 0);
        assert_true(index_series(ix, a)->id == index_series(again, b)->id);
    }
    index_free(ix);
    index_free(again);
}

struct condition {
    enum match_op op;
    const char *name, *value;
};

static const struct condition CASES[][4] = {
    {{MATCH_EQ, "__name__", "m3"}},
    {{MATCH_EQ, "__name__", "m3"}, {MATCH_EQ, "job", "job1"}},
    {{MATCH_EQ, "__name__", "nope"}},
    {{MATCH_EQ, "nolabel", "x"}},
    {{MATCH_EQ, "__name__", "m3"}, {MATCH_EQ, "extra", ""}},
    {{MATCH_EQ, "__name__", "m3"}, {MATCH_NE, "extra", ""}},
    {{MATCH_EQ, "__name__", "m3"}, {MATCH_NE, "extra", "x1"}},
    {{MATCH_RE, "__name__", "m1|m2|m12|m1"}},
    {{MATCH_RE, "__name__", "(?:m1|m2)"}},
    {{MATCH_RE, "__name__", "m1.*"}},
    {{MATCH_RE, "__name__", "m1.+"}},
    {{MATCH_RE, "__name__", "m[0-4]"}, {MATCH_RE, "instance", ".*9"}},
    {{MATCH_RE, "job", "job0|job1"}, {MATCH_NRE, "__name__", "m.*"}},
    {{MATCH_NRE, "__name__", "m[0-9]"}, {MATCH_NE, "job", "job0"}},
    {{MATCH_RE, "extra", ".+"}, {MATCH_EQ, "job", "job2"}},
    {{MATCH_RE, "extra", ".*"}, {MATCH_EQ, "job", "job2"}},
    {{MATCH_RE, "extra", "x1|"}, {MATCH_EQ, "job", "job2"}},
    {{MATCH_NRE, "extra", "x1|"}, {MATCH_EQ, "job", "job2"}},
    {{MATCH_NE, "job", "job0"}, {MATCH_NE, "job", "job1"}},
    {{MATCH_EQ, "instance", "host77"}},
    {{MATCH_NE, "instance", "host77"}, {MATCH_EQ, "__name__", "m12"}},
    {{MATCH_EQ, "nolabel", ""}, {MATCH_EQ, "__name__", "m12"}},
    {{MATCH_RE, "instance", "host(1|2)?7"}},
};

static bool meets(const struct row *row, const struct condition *c)
{
    const char *value = strcmp(c->name, "__name__") == 0   ? row->metric
                        : strcmp(c->name, "job") == 0      ? row->job
                        : strcmp(c->name, "instance") == 0 ? row->instance
                        : strcmp(c->name, "extra") == 0    ? row->extra
                                                           : "";
    struct regex *re = NULL;
    bool match;

    if (c->op == MATCH_EQ || c->op == MATCH_NE)
        return (strcmp(value, c->value) == 0) == (c->op == MATCH_EQ);
    assert_int_equal(regex_new(slice_str(c->value), &re, NULL), 0);
    match = regex_match(re, slice_str(value));
    regex_free(re);
    return match == (c->op == MATCH_RE);
}

static void test_select(void **state)
{
    struct index *ix = fill();

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct matcher m[4];
        struct refs refs;
        size_t n = 0;
        size_t at = 0;

        for (; n < 4 && CASES[i][n].name != NULL; n++)
            assert_int_equal(matcher_init(&m[n], CASES[i][n].op, slice_str(CASES[i][n].name),
                                          slice_str(CASES[i][n].value), NULL),
                             0);
        index_select(ix, m, n, &refs);
        for (uint32_t k = 0; k < ROWS; k++) {
            bool good = true;

            for (size_t c = 0; c < n; c++)
                good = good && meets(&rows[k], &CASES[i][c]);
            if (good && (at >= refs.n || refs.items[at] != k))
                fail_msg("case %zu: series %u is missing", i, k);
            at += good;
        }
        if (at != refs.n)
            fail_msg("case %zu: %zu series, expected %zu", i, refs.n, at);
        refs_done(&refs);
        for (size_t k = 0; k < n; k++)
            matcher_done(&m[k]);
    }
    index_free(ix);
}

static void test_matcher_kinds(void **state)
{
    static const struct {
        const char *pattern;
        enum match_kind kind;
        size_t n;
    } cases[] = {{"a", MATCH_SET, 1},        {"a|b|c", MATCH_SET, 3}, {"(a|b)", MATCH_SET, 2},
                 {"a\\.b", MATCH_SET, 1},    {"", MATCH_SET, 1},      {"a.*", MATCH_PREFIX, 1},
                 {".+", MATCH_PREFIX, 1},    {"a.*b", MATCH_REGEX, 0}, {"a|b.*", MATCH_REGEX, 0},
                 {"(a)|(b)", MATCH_REGEX, 0}, {"a\\d", MATCH_REGEX, 0}, {"(?i)a", MATCH_REGEX, 0}};
    struct matcher m;
    autobuf why = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(
            matcher_init(&m, MATCH_RE, SLICE("l"), slice_str(cases[i].pattern), NULL), 0);
        if (m.kind != cases[i].kind || (m.kind != MATCH_REGEX && m.n_set != cases[i].n))
            fail_msg("'%s' is of kind %d with %zu", cases[i].pattern, m.kind, m.n_set);
        matcher_done(&m);
    }
    assert_int_equal(matcher_init(&m, MATCH_RE, SLICE("l"), SLICE("a("), &why), -EINVAL);
    assert_true(why.len > 0);
}

static void count(void *ctx, struct slice text, size_t n)
{
    (void)text;
    *(size_t *)ctx += n;
}

static void test_names_and_values(void **state)
{
    struct index *ix = fill();
    size_t n = 0;

    (void)state;
    index_values(ix, SLICE("job"), count, &n);
    assert_int_equal(n, ROWS);
    n = 0;
    index_names(ix, count, &n);
    assert_int_equal(n, 3 * ROWS + ROWS / 5);
    n = 0;
    index_values(ix, SLICE("nolabel"), count, &n);
    assert_int_equal(n, 0);
    index_free(ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),         cmocka_unit_test(test_ids_stand_by_metric),
        cmocka_unit_test(test_select),       cmocka_unit_test(test_matcher_kinds),
        cmocka_unit_test(test_names_and_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
