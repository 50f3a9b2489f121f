/* Retention by rules, and the coarse tier: what is asked of it is what the raw samples say. */
#include "metrics/promql/ast.h"
#include "metrics/promql/eval.h"
#include "metrics/query.h"
#include "store/store.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define DAY    (24 * 3600 * 1000ll)
#define T0     (1700000000000ll / DAY * DAY)
#define STEP   30000ll
#define WINDOW 300000ll
#define ODD    7000 /* targets are scraped at their own moments */

struct fixture {
    struct store *store;
    struct db *db;
};

static void db_up(struct fixture *f, struct db_options options)
{
    autobuf why = {0};

    options.no_thread = true;
    options.out_of_order_ms = 600000;
    if (db_open(f->store, &options, &f->db, &why) < 0)
        fail_msg("%s", why.data);
}

static void up(struct fixture *f, struct db_options options)
{
    autobuf why = {0};

    assert_int_equal(store_open("mem:", &(struct store_options){0}, &f->store, &why), 0);
    db_up(f, options);
}

static void down(struct fixture *f)
{
    db_close(f->db);
    store_close(f->store);
}

static uint32_t series(struct fixture *f, const char *metric, const char *job)
{
    struct label room[2] = {{LABEL_NAME, slice_str(metric)}, {SLICE("job"), slice_str(job)}};

    return db_series(f->db, &(struct labels){room, 2});
}

static void put(struct fixture *f, uint32_t ref, int64_t ts, double v)
{
    struct db_result r;

    assert_int_equal(db_append(f->db, &(struct db_sample){ref, ts, double_bits(v)}, 1, &r), 0);
    assert_int_equal(r.added, 1);
}

static void fill(struct fixture *f, const char *metric, const char *job, int64_t from, int64_t to)
{
    uint32_t ref = series(f, metric, job);

    for (int64_t ts = from + ODD; ts <= to; ts += STEP)
        put(f, ref, ts, (double)((ts - from) / STEP));
}

static void work(struct fixture *f, int64_t now)
{
    for (int i = 0; i < 2; i++) {
        while (db_compact(f->db, now) > 0)
            ;
        db_maintain(f->db, now, now);
    }
}

struct counted {
    const char *word;
    size_t n;
};

static int count_run(void *ctx, struct slice part)
{
    struct counted *c = ctx;
    char name[128] = "";

    memcpy(name, part.data, part.len < sizeof name ? part.len : sizeof name - 1);
    c->n += strstr(name, c->word) != NULL;
    return 0;
}

/* Runs with a word in their names. */
static size_t count_runs(struct fixture *f, const char *word)
{
    struct counted c = {word, 0};

    store_bulk_partitions(f->store, STORE_SAMPLES, SLICE("samples/"), count_run, &c);
    return c.n;
}

static size_t count_samples(struct fixture *f, const char *metric, int64_t *ret_first)
{
    struct query *q;
    struct query_item item;
    struct matcher m;
    size_t n = 0;
    int r;

    matcher_init(&m, MATCH_EQ, LABEL_NAME, slice_str(metric), NULL);
    assert_int_equal(query_open(f->db, &m, 1, 0, INT64_MAX / 2, 0, &q), 0);
    while ((r = query_next(q, &item)) > 0) {
        if (ret_first != NULL)
            *ret_first = item.ts[0];
        n += item.n;
    }
    assert_int_equal(r, 0);
    query_close(q);
    matcher_done(&m);
    return n;
}

/* The first series' values; how many. */
static size_t ask(struct fixture *f, const char *text, int64_t start, int64_t end, int64_t step,
                  double *ret, size_t max)
{
    struct promql q;
    struct op op;
    struct result result = {0};
    autobuf why = {0};
    struct eval ev = {.db = f->db,
                      .text = slice_str(text),
                      .start_ms = start,
                      .end_ms = end,
                      .step_ms = step,
                      .lookback_ms = 300000};
    size_t n = 0;

    op_init(&op, DOOR_INTERNAL, NULL);
    if (promql_parse(&op, slice_str(text), &q, &why) < 0 ||
        promql_prepare(&q, start, end, step, &why) < 0 ||
        promql_eval(&ev, q.root, &result, &why) < 0)
        fail_msg("%s: %s", text, why.data);
    if (result.n > 0)
        for (; n < result.series[0].n_points && n < max; n++)
            ret[n] = result.series[0].points[n].v;
    result_done(&result);
    promql_done(&q);
    op_done(&op);
    return n;
}

#define POINTS 200

/* The same answers, to a part in `within`. */
static void expect_same(struct fixture *truth, struct fixture *f, const char *text, int64_t start,
                        int64_t end, int64_t step, double within)
{
    double want[POINTS];
    double got[POINTS];
    size_t n = ask(truth, text, start, end, step, want, POINTS);
    size_t m = ask(f, text, start, end, step, got, POINTS);

    if (n != m || n == 0)
        fail_msg("%s: %zu points, expected %zu", text, m, n);
    for (size_t i = 0; i < n; i++)
        if (fabs(got[i] - want[i]) > within * (1 + fabs(want[i])))
            fail_msg("%s: point %zu is %.17g, expected %.17g", text, i, got[i], want[i]);
}

/* A counter that begins anew now and then, at odd moments; and a gauge that goes up and down. */
static double counter_at(size_t i)
{
    static const size_t lives[] = {0, 1003, 1007, 3333, 7001};
    size_t life = 0;

    while (life + 1 < sizeof lives / sizeof lives[0] && lives[life + 1] <= i)
        life++;
    return (double)(i - lives[life]) * (2 + (double)life);
}

static double gauge_at(size_t i)
{
    return 50 + 40 * sin((double)i / 700) + (double)(i * 7919 % 13);
}

static void fill_days(struct fixture *f, int64_t from, int64_t to)
{
    uint32_t counter = series(f, "c_total", "a");
    uint32_t gauge = series(f, "g", "a");

    for (int64_t ts = from + ODD; ts <= to; ts += STEP) {
        put(f, counter, ts, counter_at((size_t)((ts - T0) / STEP)));
        put(f, gauge, ts, gauge_at((size_t)((ts - T0) / STEP)));
    }
    assert_int_equal(db_flush(f->db), 0);
}

static const struct db_options tiered = {.retention_ms = 3 * DAY,
                                         .downsample_ms = WINDOW,
                                         .downsample_keep_ms = 20 * DAY};

static void expect_functions(struct fixture *truth, struct fixture *f, int64_t start, int64_t end,
                             int64_t step)
{
    static const char *const exact[] = {
        "increase(c_total[1h])", "rate(c_total[30m])",      "min_over_time(g[1h])",
        "max_over_time(g[1h])",  "avg_over_time(g[1h])",    "sum_over_time(g[1h])",
        "count_over_time(g[1h])", "last_over_time(g[1h])",  "g",
        "c_total",               "sum(rate(c_total[1h]))",  "max_over_time(g[1d])",
        "avg_over_time(g[1d])",  "increase(c_total[1d])",   "count_over_time(g[1d])",
    };

    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        expect_same(truth, f, exact[i], start, end, step, strstr(exact[i], "c_total[") ? 0.06 : 1e-9);
}

static void test_tier(void **state)
{
    struct fixture truth;
    struct fixture f;
    int64_t end = T0 + 3 * DAY + DAY / 2;
    double v[1];
    size_t raw;

    (void)state;
    up(&truth, (struct db_options){0});
    up(&f, tiered);
    fill_days(&truth, T0, end);
    fill_days(&f, T0, end);
    raw = count_samples(&f, "g", NULL);
    work(&f, end);
    assert_int_equal(count_runs(&f, ".t"), 3 * 5); /* the day at hand has none */
    assert_int_equal(count_samples(&f, "g", NULL), raw);
    /* a fine step reads what is raw, to the last bit; a coarse one the tier */
    expect_same(&truth, &f, "g", T0 + DAY, T0 + DAY + 100 * STEP, STEP, 0);
    expect_same(&truth, &f, "avg_over_time(g[10m])", T0 + DAY, T0 + DAY + 100 * STEP, STEP, 0);
    expect_same(&truth, &f, "avg_over_time(g[2d])", T0 + 3 * DAY, T0 + 3 * DAY, 0, 0);
    expect_functions(&truth, &f, T0 + 2 * DAY, end, 3600000);
    /* nothing is left to do; and not after a restart either */
    assert_int_equal(db_compact(f.db, end), 0);
    db_close(f.db);
    db_up(&f, tiered);
    assert_int_equal(db_compact(f.db, end), 0);
    /* behind the retention only the tier stays, and answers the same */
    work(&f, T0 + 5 * DAY);
    assert_int_equal(count_runs(&f, ".t"), 4 * 5); /* the last day is over by now */
    assert_int_equal(count_runs(&f, "20231114") - 5, 0);
    assert_int_equal(count_runs(&f, "20231115") - 5, 0);
    assert_true(count_runs(&f, "20231116") > 5);
    expect_functions(&truth, &f, T0 + DAY, end, 3600000);
    expect_same(&truth, &f, "avg_over_time(g[3d])", T0 + 3 * DAY, T0 + 3 * DAY, 0, 1e-9);
    expect_same(&truth, &f, "count_over_time(g[3d])", T0 + 3 * DAY, T0 + 3 * DAY, 0, 0);
    expect_same(&truth, &f, "increase(c_total[3d])", T0 + 3 * DAY, T0 + 3 * DAY, 0, 1e-3);
    /* at any moment there is a newest sample */
    assert_int_equal(ask(&f, "g", T0 + DAY - WINDOW / 2, T0 + DAY - WINDOW / 2, 0, v, 1), 1);
    work(&f, T0 + 22 * DAY + DAY / 2);
    assert_int_equal(count_runs(&f, "20231115"), 0);
    assert_int_equal(count_runs(&f, "20231116"), 5);
    down(&truth);
    down(&f);
}

/* Late samples of a day make its tier anew; behind the retention they join it. */
static void test_late(void **state)
{
    struct fixture f;
    double v[1];

    (void)state;
    up(&f, tiered);
    fill_days(&f, T0, T0 + DAY + DAY / 2);
    work(&f, T0 + DAY + DAY / 2);
    assert_int_equal(count_runs(&f, ".t"), 5);
    fill(&f, "late", "a", T0 + DAY / 4, T0 + DAY / 2);
    assert_int_equal(db_flush(f.db), 0);
    work(&f, T0 + 2 * DAY + DAY / 24);
    assert_int_equal(count_runs(&f, ".t"), 10);
    assert_int_equal(ask(&f, "count_over_time(late[1d])", T0 + DAY, T0 + DAY + 4 * DAY, 4 * DAY, v, 1), 1);
    assert_true(v[0] == 720);
    work(&f, T0 + 10 * DAY);
    assert_int_equal(count_runs(&f, ""), 10);
    fill(&f, "later", "a", T0 + DAY / 4, T0 + DAY / 2);
    assert_int_equal(db_flush(f.db), 0);
    work(&f, T0 + 10 * DAY + DAY / 24);
    assert_int_equal(count_runs(&f, ""), 10);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask(&f, i == 0 ? "count_over_time(late[1d])" : "count_over_time(later[1d])",
                             T0 + DAY, T0 + DAY, 0, v, 1), 1);
        assert_true(v[0] == 720);
    }
    assert_int_equal(ask(&f, "count_over_time(g[1d])", T0 + DAY, T0 + DAY, 0, v, 1), 1);
    assert_true(v[0] == 2880);
    down(&f);
}

/* What is deleted is in no tier either. */
static void test_deleted(void **state)
{
    struct fixture f;
    struct refs refs = {0};

    (void)state;
    up(&f, tiered);
    fill_days(&f, T0, T0 + DAY + DAY / 2);
    fill(&f, "secret", "a", T0, T0 + DAY + DAY / 2);
    assert_int_equal(db_flush(f.db), 0);
    work(&f, T0 + DAY + DAY / 2);
    refs_add(&refs, series(&f, "secret", "a"));
    assert_int_equal(db_delete(f.db, &refs, INT64_MIN, INT64_MAX), 0);
    assert_int_equal(count_samples(&f, "secret", NULL), 0);
    work(&f, T0 + 10 * DAY);
    assert_int_equal(count_samples(&f, "secret", NULL), 0);
    assert_true(count_samples(&f, "g", NULL) > 0);
    refs_done(&refs);
    down(&f);
}

/* A cut anywhere loses nothing: what is raw stays until its tier is whole. */
static void test_tier_faults(void **state)
{
    (void)state;
    for (unsigned after = 0; after < 40; after++) {
        struct fixture f;
        double v[1];

        up(&f, tiered);
        fill(&f, "g", "a", T0, T0 + DAY + DAY / 4);
        assert_int_equal(db_flush(f.db), 0);
        store_fault(f.store, after, 28);
        work(&f, T0 + 6 * DAY);
        store_fault(f.store, 0, 0);
        db_close(f.db);
        db_up(&f, tiered);
        assert_int_equal(ask(&f, "count_over_time(g[1d])", T0 + DAY, T0 + DAY, 0, v, 1), 1);
        if (v[0] != 2880)
            fail_msg("a cut after %u writes: %g samples", after, v[0]);
        work(&f, T0 + 6 * DAY);
        work(&f, T0 + 6 * DAY);
        assert_int_equal(ask(&f, "count_over_time(g[1d])", T0 + DAY, T0 + DAY, 0, v, 1), 1);
        if (v[0] != 2880)
            fail_msg("a cut after %u writes, in the end: %g samples", after, v[0]);
        assert_int_equal(count_runs(&f, "20231114"), 5);
        down(&f);
    }
}

/* Rules. */

struct ruled {
    struct matcher matchers[2];
    struct db_keep keeps[2];
};

static void rules_up(struct ruled *r, int64_t first_ms, int64_t second_ms)
{
    matcher_init(&r->matchers[0], MATCH_RE, LABEL_NAME, SLICE("go_.*"), NULL);
    matcher_init(&r->matchers[1], MATCH_EQ, SLICE("job"), SLICE("kept"), NULL);
    r->keeps[0] = (struct db_keep){&r->matchers[0], 1, first_ms, "{__name__=~\"go_.*\"}"};
    r->keeps[1] = (struct db_keep){&r->matchers[1], 1, second_ms, "{job=\"kept\"}"};
}

static void rules_down(struct ruled *r)
{
    matcher_done(&r->matchers[0]);
    matcher_done(&r->matchers[1]);
}

struct byte_count {
    struct store *store;
    uint64_t n;
};

static int add_bytes(void *ctx, struct slice part)
{
    struct byte_count *c = ctx;
    struct store_scan *scan = NULL;
    struct slice key;
    struct slice value;

    assert_int_equal(store_bulk_scan(c->store, STORE_SAMPLES, part, SLICE(""), SLICE(""), 0, &scan),
                     0);
    while (store_scan_next(scan, &key, &value) > 0)
        c->n += value.len;
    store_scan_free(scan);
    return 0;
}

static uint64_t count_bytes(struct fixture *f)
{
    struct byte_count c = {f->store, 0};

    store_bulk_partitions(f->store, STORE_SAMPLES, SLICE("samples/"), add_bytes, &c);
    return c.n;
}

static uint64_t live_series(struct fixture *f)
{
    struct db_stats s;

    db_stats(f->db, &s);
    return s.series;
}

static void expect_first(struct fixture *f, const char *metric, int64_t first)
{
    int64_t got = 0;

    count_samples(f, metric, &got);
    if (got != first)
        fail_msg("%s begins at %lld, expected %lld", metric, (long long)(got - T0),
                 (long long)(first - T0));
}

static void test_rules(void **state)
{
    struct fixture f;
    struct ruled r;
    struct db_options options = {.retention_ms = 2 * DAY};
    int64_t end = T0 + DAY;

    (void)state;
    rules_up(&r, DAY / 2, 4 * DAY);
    options.keeps = r.keeps;
    options.n_keeps = 2;
    up(&f, options);
    fill(&f, "go_threads", "a", T0, end);
    fill(&f, "go_ended", "a", T0, T0 + DAY / 4);
    fill(&f, "up", "a", T0, end);
    fill(&f, "up_kept", "kept", T0, end);
    fill(&f, "go_kept", "kept", T0, end); /* the first rule counts */
    assert_int_equal(db_flush(f.db), 0);
    assert_int_equal(live_series(&f), 5);
    work(&f, end);
    expect_first(&f, "go_threads", T0 + DAY / 2 + ODD);
    expect_first(&f, "go_kept", T0 + DAY / 2 + ODD);
    expect_first(&f, "up", T0 + ODD);
    expect_first(&f, "up_kept", T0 + ODD);
    assert_int_equal(live_series(&f), 4); /* of one nothing is left */
    assert_int_equal(db_compact(f.db, end), 0);
    db_close(f.db);
    db_up(&f, options);
    assert_int_equal(db_compact(f.db, end), 0); /* it is known what was done */
    assert_int_equal(live_series(&f), 4);
    work(&f, end + DAY + DAY / 2);
    assert_int_equal(count_samples(&f, "go_threads", NULL), 0);
    expect_first(&f, "up", T0 + DAY / 2 + ODD);
    expect_first(&f, "up_kept", T0 + ODD);
    work(&f, end + 8 * DAY);
    assert_int_equal(count_runs(&f, ""), 0);
    assert_int_equal(live_series(&f), 0);
    down(&f);
    rules_down(&r);
}

/* A rule gives space back. */
static void test_rules_free_space(void **state)
{
    struct fixture f;
    struct ruled r;
    uint64_t before;
    struct db_options options = {.retention_ms = 0};

    (void)state;
    rules_up(&r, DAY / 2, DAY / 2);
    up(&f, options);
    for (int i = 0; i < 20; i++) {
        char name[32];
        uint32_t ref;

        snprintf(name, sizeof name, "go_%d", i);
        ref = series(&f, name, "a");
        for (int64_t k = 0; k < DAY / 2 / STEP; k++)
            put(&f, ref, T0 + k * STEP, gauge_at((size_t)(k * k + i * k)));
    }
    fill(&f, "up", "a", T0, T0 + DAY / 2);
    assert_int_equal(db_flush(f.db), 0);
    before = count_bytes(&f);
    db_close(f.db);
    options.keeps = r.keeps;
    options.n_keeps = 2;
    db_up(&f, options);
    work(&f, T0 + 2 * DAY);
    assert_true(count_bytes(&f) < before / 4);
    assert_int_equal(count_samples(&f, "up", NULL), DAY / 2 / STEP);
    down(&f);
    rules_down(&r);
}

/* Of series that are kept shorter there is no tier; those that are kept longer have all samples. */
static void test_rules_and_tier(void **state)
{
    struct fixture f;
    struct ruled r;
    struct db_options options = tiered;
    int64_t end = T0 + 2 * DAY;

    (void)state;
    rules_up(&r, DAY, 10 * DAY);
    options.keeps = r.keeps;
    options.n_keeps = 2;
    up(&f, options);
    fill(&f, "go_threads", "a", T0, end);
    fill(&f, "up", "a", T0, end);
    fill(&f, "up_kept", "kept", T0, end);
    assert_int_equal(db_flush(f.db), 0);
    work(&f, end);
    expect_first(&f, "go_threads", T0 + DAY + ODD);
    assert_int_equal(count_samples(&f, "up", NULL), 2 * DAY / STEP);
    assert_int_equal(db_compact(f.db, end), 0);
    work(&f, end + 5 * DAY);
    assert_int_equal(count_samples(&f, "go_threads", NULL), 0);
    assert_int_equal(count_samples(&f, "up_kept", NULL), 2 * DAY / STEP);
    assert_true(count_samples(&f, "up", NULL) <= 2 * DAY / WINDOW + 4);
    assert_int_equal(db_compact(f.db, end + 5 * DAY), 0);
    work(&f, end + 11 * DAY);
    assert_true(count_samples(&f, "up_kept", NULL) <= 2 * DAY / WINDOW + 4);
    assert_true(count_samples(&f, "up", NULL) >= 2 * DAY / WINDOW);
    down(&f);
    rules_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tier),        cmocka_unit_test(test_late),
        cmocka_unit_test(test_deleted),     cmocka_unit_test(test_tier_faults),
        cmocka_unit_test(test_rules),       cmocka_unit_test(test_rules_free_space),
        cmocka_unit_test(test_rules_and_tier),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
