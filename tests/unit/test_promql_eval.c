/* Evaluation of PromQL over a database in memory: values, labels, order, annotations, errors,
 * limits. */
#include "base/clock.h"
#include "metrics/histogram.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/eval.h"
#include "metrics/promql/print.h"
#include "metrics/query.h"
#include "store/store.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define T0   (1700000000000ll / 3600000 * 3600000)
#define STEP 60000ll

struct fixture {
    struct store *store;
    struct db *db;
};

/* Values a minute apart from T0 on; ABSENT where there is none. */
struct input {
    const char *name, *a, *b;
    const char *values; /* "1 2 _ stale NaN", or first+stepxcount */
};

static const struct input inputs[] = {
    {"requests_total", "x", "1", "0+60x10"},
    {"requests_total", "x", "2", "0+120x10"},
    {"requests_total", "y", "1", "0 10 20 30 5 15 25 35 45 55 65"},
    {"heat", "x", "1", "1 2 3 4 5 6 7 8 9 10 11"},
    {"heat", "x", "2", "11 10 9 8 7 6 5 4 3 2 1"},
    {"heat", "y", "1", "NaN 1 NaN 2 _ _ _ 3 stale _ 4"},
    {"limit", "x", "", "100+0x10"},
    {"limit", "y", "", "200+0x10"},
    {"gone", "x", "1", "1 2 3 stale"},
    {"h_bucket", "0.1", "", "0+1x10"},
    {"h_bucket", "1", "", "0+3x10"},
    {"h_bucket", "+Inf", "", "0+4x10"},
};

static void put_value(struct fixture *f, uint32_t ref, size_t i, const char *word)
{
    struct db_result result = {0};
    struct db_sample s = {ref, T0 + (int64_t)i * STEP, 0};

    if (strcmp(word, "_") == 0)
        return;
    s.bits = strcmp(word, "stale") == 0 ? VALUE_STALE_BITS : double_bits(strtod(word, NULL));
    assert_int_equal(db_append(f->db, &s, 1, &result), 0);
    assert_int_equal(result.added, 1);
}

static void put_input(struct fixture *f, const struct input *in)
{
    bool bucket = strcmp(in->name, "h_bucket") == 0;
    struct label room[3] = {{LABEL_NAME, slice_str(in->name)},
                            {slice_str(bucket ? "le" : "a"), slice_str(in->a)},
                            {SLICE("b"), slice_str(in->b)}};
    struct labels l = {room, in->b[0] != '\0' ? 3 : 2};
    uint32_t ref = db_series(f->db, &l);
    double first;
    double step;
    int count;
    char word[32];

    if (sscanf(in->values, "%lf+%lfx%d", &first, &step, &count) == 3) {
        for (int i = 0; i <= count; i++) {
            snprintf(word, sizeof word, "%.17g", first + step * i);
            put_value(f, ref, (size_t)i, word);
        }
        return;
    }
    for (size_t i = 0, n = 0; *in->values != '\0'; i++) {
        const char *p = in->values + n;

        if (sscanf(p, "%31s", word) != 1)
            return;
        put_value(f, ref, i, word);
        n += strlen(word) + (p[strlen(word)] == ' ');
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct db_options options = {.no_thread = true};
    autobuf why = {0};

    assert_int_equal(store_open("mem:", &(struct store_options){0}, &f->store, &why), 0);
    assert_int_equal(db_open(f->store, &options, &f->db, &why), 0);
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        put_input(f, &inputs[i]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    db_close(f->db);
    store_close(f->store);
    free(f);
    return 0;
}

/* name{a="b",c="d"} */
static void print_series(const struct labels *l, struct buf *out)
{
    const char *before = "{";

    buf_add_slice(out, labels_get(l, LABEL_NAME));
    for (size_t i = 0; i < l->n; i++) {
        if (slice_eq(l->items[i].name, LABEL_NAME))
            continue;
        buf_add_str(out, before);
        buf_add_slice(out, l->items[i].name);
        buf_add_char(out, '=');
        quote_go(out, l->items[i].value);
        before = ",";
    }
    buf_add_str(out, strcmp(before, "{") != 0 ? "}" : l->n > 0 ? "" : "{}");
}

static void print_result(const struct result *r, struct buf *out)
{
    if (r->type == VALUE_STRING)
        buf_add_slice(out, r->string);
    for (size_t i = 0; i < r->n; i++) {
        const struct result_series *s = &r->series[i];

        buf_add_str(out, i > 0 ? "; " : "");
        if (r->type != VALUE_SCALAR)
            print_series(&s->labels, out);
        for (size_t k = 0; k < s->n_points; k++) {
            buf_add_str(out, k > 0 || r->type != VALUE_SCALAR ? " " : "");
            print_value(out, s->points[k].v);
        }
    }
    for (size_t i = 0; i < r->n_warnings; i++)
        buf_printf(out, " | %s", r->warnings[i]);
    for (size_t i = 0; i < r->n_infos; i++)
        buf_printf(out, " | %s", r->infos[i]);
    if (out->data == NULL)
        buf_add_str(out, "");
}

/* Evaluates at T0 + at minutes, or over `steps` steps of a minute from there. */
static int evaluate(struct fixture *f, const char *text, struct eval ev, struct buf *out)
{
    struct op op;
    struct promql q = {0};
    struct result result;
    int r;

    op_init(&op, DOOR_INTERNAL, NULL);
    ev.db = f->db;
    ev.text = slice_str(text);
    ev.lookback_ms = 300000;
    r = promql_parse(&op, ev.text, &q, out);
    if (r == 0)
        r = promql_prepare(&q, ev.start_ms, ev.end_ms, ev.step_ms, out);
    if (r == 0)
        r = promql_eval(&ev, q.root, &result, out);
    if (r == 0) {
        print_result(&result, out);
        result_done(&result);
    }
    promql_done(&q);
    op_done(&op);
    return r;
}

struct query_case {
    const char *text;
    int at, steps;
    const char *expected; /* also the words of an error */
    int r;
};

static bool check(struct fixture *f, const struct query_case *c)
{
    struct eval ev = {.start_ms = T0 + c->at * STEP,
                      .end_ms = T0 + (c->at + c->steps) * STEP,
                      .step_ms = c->steps > 0 ? STEP : 0};
    autobuf out = {0};
    int r = evaluate(f, c->text, ev, &out);

    if (r == c->r && strcmp(out.data != NULL ? out.data : "", c->expected) == 0)
        return true;
    print_error("%s: %d\n  %s\nexpected\n  %s\n", c->text, r, out.data, c->expected);
    return false;
}

static const struct query_case cases[] = {
    /* selectors */
    {"heat{b=\"2\"}", 3, 0, "heat{a=\"x\",b=\"2\"} 8", 0},
    {"heat{a=\"y\"}", 9, 0, "", 0},
    {"gone", 2, 3, "gone{a=\"x\",b=\"1\"} 3", 0},
    {"heat{a=\"y\"} offset 2m", 9, 0, "heat{a=\"y\",b=\"1\"} 3", 0},
    {"limit @ 1699999200", 0, 1, "limit{a=\"x\"} 100 100; limit{a=\"y\"} 200 200", 0},
    {"heat{b=\"2\"}[2m]", 3, 0, "heat{a=\"x\",b=\"2\"} 9 8", 0},
    {"heat{a=\"x\"} < 3", 0, 2, "heat{a=\"x\",b=\"1\"} 1 2", 0},
    /* ranges */
    {"rate(requests_total{a=\"x\"}[5m])", 10, 0, "{a=\"x\",b=\"1\"} 1; {a=\"x\",b=\"2\"} 2", 0},
    {"increase(requests_total{a=\"y\"}[3m])", 5, 0, "{a=\"y\",b=\"1\"} 22.5", 0},
    {"resets(requests_total{a=\"y\"}[10m])", 10, 0, "{a=\"y\",b=\"1\"} 1", 0},
    {"sum_over_time(heat{b=\"2\"}[3m])", 4, 1, "{a=\"x\",b=\"2\"} 24 21", 0},
    {"max_over_time(heat{a=\"y\"}[10m])", 10, 0, "{a=\"y\",b=\"1\"} 4", 0},
    {"last_over_time(gone[5m])", 4, 0, "gone{a=\"x\",b=\"1\"} 3", 0},
    {"quantile_over_time(2, heat{b=\"2\"}[3m])", 4, 0,
     "{a=\"x\",b=\"2\"} +Inf | PromQL warning: quantile value should be between 0 and 1, got 2 "
     "(1:20)",
     0},
    {"rate(heat{b=\"2\"}[3m]) * 0", 4, 0,
     "{a=\"x\",b=\"2\"} 0 | PromQL info: metric might not be a counter, name does not end in "
     "_total/_sum/_count/_bucket: \"heat\" (1:6)",
     0},
    {"absent_over_time(none{a=\"z\"}[1m])", 4, 1, "{a=\"z\"} 1 1", 0},
    {"deriv(requests_total{b=\"2\"}[5m])", 10, 0, "{a=\"x\",b=\"2\"} 2", 0},
    {"sum_over_time(heat{b=\"2\"}[3m:1m])", 4, 0, "{a=\"x\",b=\"2\"} 24", 0},
    /* aggregations */
    {"sum by (a) (heat)", 3, 0, "{a=\"x\"} 12; {a=\"y\"} 2", 0},
    {"sum without (a) (heat)", 3, 0, "{b=\"1\"} 6; {b=\"2\"} 8", 0},
    {"avg(heat{a=\"x\"})", 0, 2, "{} 6 6 6", 0},
    {"count(heat)", 0, 4, "{} 3 3 3 3 3", 0},
    {"topk(1, heat)", 3, 0, "heat{a=\"x\",b=\"2\"} 8", 0},
    {"bottomk(2, heat)", 3, 0, "heat{a=\"y\",b=\"1\"} 2; heat{a=\"x\",b=\"1\"} 4", 0},
    {"topk(1, heat)", 4, 2, "heat{a=\"x\",b=\"1\"} 6 7; heat{a=\"x\",b=\"2\"} 7", 0},
    {"quantile(0.5, heat{a=\"x\"})", 0, 0, "{} 6", 0},
    {"count_values(\"v\", limit)", 0, 0, "{v=\"100\"} 1; {v=\"200\"} 1", 0},
    {"stddev(heat{a=\"x\"})", 0, 0, "{} 5", 0},
    {"min(heat)", 0, 0, "{} 1", 0},
    {"group(heat)", 0, 0, "{} 1", 0},
    /* operators */
    {"1 + 2 * 3 ^ 2", 0, 0, "19", 0},
    {"heat{b=\"1\"} / on (a) limit", 4, 0, "{a=\"x\"} 0.05; {a=\"y\"} 0.01", 0},
    {"heat * on (a) group_left limit", 3, 0,
     "{a=\"x\",b=\"1\"} 400; {a=\"x\",b=\"2\"} 800; {a=\"y\",b=\"1\"} 400", 0},
    {"heat / on (a) limit", 3, 0,
     "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
     -EBADMSG},
    {"limit + on (a) heat", 3, 0,
     "found duplicate series for the match group {a=\"x\"} on the right hand-side of the "
     "operation: [{__name__=\"heat\", a=\"x\", b=\"1\"}, {__name__=\"heat\", a=\"x\", "
     "b=\"2\"}];many-to-many matching not allowed: matching labels must be unique on one side",
     -EBADMSG},
    {"heat and on (a) limit{a=\"y\"}", 3, 0, "heat{a=\"y\",b=\"1\"} 2", 0},
    {"limit unless on (a) heat{a=\"y\"}", 3, 0, "limit{a=\"x\"} 100", 0},
    {"limit{a=\"x\"} or heat{b=\"2\"}", 3, 0, "limit{a=\"x\"} 100; heat{a=\"x\",b=\"2\"} 8", 0},
    {"heat{a=\"x\"} > bool 5", 3, 0, "{a=\"x\",b=\"1\"} 0; {a=\"x\",b=\"2\"} 1", 0},
    {"-limit", 0, 0, "{a=\"x\"} -100; {a=\"y\"} -200", 0},
    {"{__name__=~\"limit|heat\", a=\"x\", b!=\"2\"} * 1", 0, 0,
     "{a=\"x\",b=\"1\"} 1; {a=\"x\"} 100", 0},
    /* functions */
    {"label_replace(limit, \"c\", \"<$1>\", \"a\", \"(.)\")", 0, 0,
     "limit{a=\"x\",c=\"<x>\"} 100; limit{a=\"y\",c=\"<y>\"} 200", 0},
    {"label_join(limit, \"c\", \"-\", \"a\", \"a\")", 0, 0,
     "limit{a=\"x\",c=\"x-x\"} 100; limit{a=\"y\",c=\"y-y\"} 200", 0},
    {"label_replace(limit, \"a\", \"z\", \"\", \"\")", 0, 0,
     "vector cannot contain metrics with the same labelset", -EBADMSG},
    {"sort_desc(limit)", 0, 0, "limit{a=\"y\"} 200; limit{a=\"x\"} 100", 0},
    {"histogram_quantile(0.5, h_bucket)", 10, 0, "{} 0.55", 0},
    {"absent(none{a=\"q\"})", 0, 0, "{a=\"q\"} 1", 0},
    {"scalar(limit)", 0, 0, "NaN", 0},
    {"time()", 0, 1, "{} 1699999200 1699999260", 0},
    {"clamp(heat{b=\"2\"}, 2, 5)", 9, 1, "{a=\"x\",b=\"2\"} 2 2", 0},
    {"round(vector(2.5))", 0, 0, "{} 3", 0},
    {"timestamp(heat{b=\"2\"})", 1, 0, "{a=\"x\",b=\"2\"} 1699999260", 0},
    {"year(vector(-1e18))", 0, 0, "{} -31688736537", 0},
    {"month(vector(NaN))", 0, 0, "{} 12", 0},
    {"days_in_month(vector(1709164800)) + day_of_week(vector(0))", 0, 0, "{} 33", 0},
    {"day_of_year(vector(1709164800)) + hour(vector(3600)) / 10", 0, 0, "{} 60.1", 0},
    {"10 ^ 15 + log10(vector(1000)) - 10 ^ 15", 0, 0, "{} 3", 0},
    {"2 ^ 0.5", 0, 0, "1.4142135623730951", 0},
    {"-8 % 3", 0, 0, "-2", 0},
    {"\"words\"", 0, 0, "words", 0},
};

static void test_queries(void **state)
{
    bool good = true;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        good &= check(*state, &cases[i]);
    assert_true(good);
}

/* Names go at once with eager_names, and at the end without. */
static void test_names(void **state)
{
    struct eval ev = {.start_ms = T0, .end_ms = T0, .eager_names = true};
    const char *text = "count by (__name__) (limit * 2)";
    autobuf eager = {0};
    autobuf late = {0};

    assert_int_equal(evaluate(*state, text, ev, &eager), 0);
    assert_string_equal(eager.data, "{} 2");
    ev.eager_names = false;
    text = "count by (__name__) (abs(limit))";
    assert_int_equal(evaluate(*state, text, ev, &late), 0);
    assert_string_equal(late.data, "{} 2");
}

static bool always(void *ctx)
{
    (*(size_t *)ctx)++;
    return true;
}

static void test_limits(void **state)
{
    struct eval ev = {.start_ms = T0, .end_ms = T0 + 10 * STEP, .step_ms = STEP, .samples_max = 20};
    autobuf out = {0};
    size_t asked = 0;

    assert_int_equal(evaluate(*state, "heat", ev, &out), -E2BIG);
    assert_int_equal(evaluate(*state, "sum_over_time(vector(1)[100y:1ms])", ev, &out), -E2BIG);
    ev.samples_max = 0;
    ev.bytes_max = 200;
    assert_int_equal(evaluate(*state, "heat", ev, &out), -E2BIG);
    ev.bytes_max = 0;
    ev.deadline_ms = clock_monotonic_ms() - 1;
    assert_int_equal(evaluate(*state, "heat", ev, &out), -ETIMEDOUT);
    ev.deadline_ms = 0;
    ev.cancelled = always;
    ev.ctx = &asked;
    assert_int_equal(evaluate(*state, "heat", ev, &out), -ECANCELED);
    assert_true(asked > 0);
}

/* Enough series for two threads: the same as one after the other. */
static void test_threads(void **state)
{
    struct fixture *f = *state;
    struct eval ev = {.start_ms = T0, .end_ms = T0 + 5 * STEP, .step_ms = STEP};
    autobuf out = {0};

    for (int i = 0; i < 200; i++) {
        char name[8];
        struct input in = {"many_total", name, "", "0+60x5"};

        snprintf(name, sizeof name, "%d", i);
        put_input(f, &in);
    }
    assert_int_equal(evaluate(f, "sum(rate(many_total[2m]))", ev, &out), 0);
    assert_string_equal(out.data, "{} 100 200 200 200 200");
    buf_clear(&out);
    assert_int_equal(evaluate(f, "count(many_total) + sum(many_total)", ev, &out), 0);
    assert_string_equal(out.data, "{} 200 12200 24200 36200 48200 60200");
}

#define NOISE 500

struct noise {
    const char *name;
    bool calm; /* no value is below zero */
    double v[NOISE];
    size_t at[NOISE], n;
};

/* A value of each kind, some of them missing. */
static void put_noise(struct fixture *f, struct noise *x)
{
    struct label room[] = {{LABEL_NAME, slice_str(x->name)}};
    uint32_t ref = db_series(f->db, &(struct labels){room, 1});
    struct db_result ignored;
    uint64_t seed = 88172645463325252ull;

    for (size_t i = 0; i < NOISE; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if (seed % 23 == 0 && i > 100)
            continue;
        x->v[x->n] = x->calm ? (double)(seed % (i % 40 < 30 ? 1000 : 100000)) / 700
               : seed % 17 == 0 && i > 60 ? NAN
               : seed % 13 == 0         ? 0
               : seed % 11 == 0         ? -0.0
               : seed % 7 == 0          ? 1e16
               : seed % 5 == 0          ? -1e16
               : i > 450                ? 1.7e308
                                        : (double)(int64_t)(seed % 200001 - 100000) / 100;
        x->at[x->n++] = i;
        assert_int_equal(db_append(f->db, &(struct db_sample){ref, T0 + (int64_t)i * STEP, double_bits(x->v[x->n - 1])},
                                   1, &ignored), 0);
    }
}

static void add(double x, double *sum, double *c)
{
    double t = *sum + x;

    if (isinf(t))
        *c = 0;
    else
        *c += fabs(*sum) >= fabs(x) ? (*sum - t) + x : (x - t) + *sum;
    *sum = t;
}

/* Of one window, straight on. */
static double of_window(char what, const double *v, size_t n)
{
    double sum = what == 'a' ? v[0] : 0;
    double c = 0;
    double best = v[0];
    double mean = 0;
    double mean_c = 0;

    for (size_t k = 0; k < n && what == 'd'; k++) {
        double delta = v[k] - (mean + mean_c);

        add(delta / (double)(k + 1), &mean, &mean_c);
        add(delta * (v[k] - (mean + mean_c)), &sum, &c);
    }
    if (what == 'd')
        return sqrt((sum + c) / (double)n);
    for (size_t k = 0; k < n; k++) {
        if (what == 's' || k > 0)
            add(v[k], &sum, &c);
        if (k > 0 && (isnan(best) || (what == '>' ? v[k] > best : v[k] < best)))
            best = v[k];
    }
    if (what == 's')
        return isinf(sum) ? sum : sum + c;
    return what == 'a' ? sum / (double)n + c / (double)n : best;
}

static const struct window_function {
    const char *name;
    char what;
} window_functions[] = {{"max", '>'}, {"min", '<'}, {"sum", 's'}, {"avg", 'a'}, {"stddev", 'd'}};

static void expect_windows(struct fixture *f, const struct noise *x, const struct window_function *fn, int range, int step)
{
    size_t last = fn->what == 'a' ? 440 : NOISE; /* there a mean overflows */
    struct eval ev = {.db = f->db, .start_ms = T0, .end_ms = T0 + (int64_t)(last - 1) * STEP,
                      .step_ms = step * STEP, .lookback_ms = 300000, .as_cells = true};
    struct promql q = {0};
    struct result result;
    struct op op;
    autobuf why = {0};
    char text[64];

    snprintf(text, sizeof text, "%s_over_time(%s[%dm])", fn->name, x->name, range);
    op_init(&op, DOOR_INTERNAL, NULL);
    ev.text = slice_str(text);
    assert_int_equal(promql_parse(&op, ev.text, &q, &why), 0);
    assert_int_equal(promql_prepare(&q, ev.start_ms, ev.end_ms, ev.step_ms, &why), 0);
    assert_int_equal(promql_eval(&ev, q.root, &result, &why), 0);
    assert_int_equal(result.n, 1);
    for (size_t i = 0; i < result.n_steps; i++) {
        size_t end = 0;
        size_t from;
        double want;
        double got = result.series[0].cells[i];

        while (end < x->n && x->at[end] <= i * (size_t)step)
            end++;
        for (from = end; from > 0 && (int)(i * (size_t)step) - (int)x->at[from - 1] < range;)
            from--;
        want = from < end ? of_window(fn->what, x->v + from, end - from) : bits_double(CELL_EMPTY);
        if (double_bits(got) != double_bits(want) && !(isnan(got) && isnan(want) && from < end))
            fail_msg("%s, step %zu: %.17g, not %.17g", text, i, got, want);
    }
    result_done(&result);
    promql_done(&q);
    op_done(&op);
}

/* Windows that share samples, also those taken side by side, are what each alone would be. */
static void test_windows(void **state)
{
    static const int minutes[] = {1, 3, 7, 50, 400};
    struct noise noise[] = {{.name = "noise"}, {.name = "calm", .calm = true}};

    for (size_t i = 0; i < 2; i++) {
        put_noise(*state, &noise[i]);
        for (size_t k = 0; k < 5 * 5 * 3; k++)
            expect_windows(*state, &noise[i], &window_functions[k % 5], minutes[k / 5 % 5], 1 + (int)(k / 25));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
