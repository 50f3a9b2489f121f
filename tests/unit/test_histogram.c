/* Native histograms: their bytes, what is valid, bounds and coarser schemas. */
#include "metrics/histogram.h"

#include "metrics/labels.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>

struct make {
    const char *name;
    int schema;
    bool integer;
    double zero_threshold, zero_count, count, sum;
    struct histogram_span spans[2];
    double counts[4];
    size_t n_spans, n;
    struct histogram_span negative_span;
    double negative_count;
    size_t n_negative;
    double custom[3];
    size_t n_custom;
    const char *why; /* NULL: it is valid */
};

static struct histogram *make(const struct make *m)
{
    struct histogram *h = histogram_new(
        &(struct histogram_shape){m->n_spans, m->n, m->n_negative, m->n_negative, m->n_custom});

    h->schema = m->schema;
    h->integer = m->integer;
    h->zero_threshold = m->zero_threshold;
    h->zero_count = m->zero_count;
    h->count = m->count;
    h->sum = m->sum;
    memcpy(h->positive.spans, m->spans, m->n_spans * sizeof m->spans[0]);
    memcpy(h->positive.counts, m->counts, m->n * sizeof m->counts[0]);
    if (m->n_negative > 0) {
        h->negative.spans[0] = m->negative_span;
        h->negative.counts[0] = m->negative_count;
    }
    memcpy(h->custom, m->custom, m->n_custom * sizeof m->custom[0]);
    return h;
}

static const struct make CASES[] = {
    {.name = "empty", .integer = true},
    {.name = "integer", .schema = 3, .integer = true, .zero_threshold = 0x1p-128, .zero_count = 2,
     .count = 13, .sum = 18.4, .spans = {{-2, 2}, {1, 1}}, .counts = {1, 7, 2}, .n_spans = 2,
     .n = 3, .negative_span = {0, 1}, .negative_count = 1, .n_negative = 1},
    {.name = "float", .schema = -4, .zero_count = 0.5, .count = 1.75, .sum = -0.0,
     .spans = {{1000, 2}}, .counts = {1.25, 0}, .n_spans = 1, .n = 2},
    {.name = "large counts", .integer = true, .count = 9007199254740991.0,
     .spans = {{0, 2}}, .counts = {9007199254740990.0, 1}, .n_spans = 1, .n = 2},
    {.name = "custom", .schema = HISTOGRAM_CUSTOM, .integer = true, .count = 3, .sum = 7,
     .spans = {{0, 1}, {1, 2}}, .counts = {1, 1, 1}, .n_spans = 2, .n = 3,
     .custom = {0.1, 1, 10}, .n_custom = 3},
    {.name = "NaN observed", .integer = true, .count = 3, .sum = NAN, .spans = {{0, 1}},
     .counts = {2}, .n_spans = 1, .n = 1},
    {.name = "schema", .schema = 9,
     .why = "histogram has an invalid schema, which must be between -4 and 8 for exponential "
            "buckets, or -53 for custom buckets, got schema 9"},
    {.name = "count", .integer = true, .count = 2, .spans = {{0, 1}}, .counts = {1}, .n_spans = 1,
     .n = 1,
     .why = "1 observations found in buckets, but the Count field is 2: histogram's observation "
            "count should equal the number of observations found in the buckets (in absence of "
            "NaN)"},
    {.name = "spans", .spans = {{0, 3}}, .counts = {1}, .n_spans = 1, .n = 1,
     .why = "positive side: spans need 3 buckets, have 1 buckets: histogram spans specify "
            "different number of buckets than provided"},
    {.name = "offset", .spans = {{0, 1}, {-1, 0}}, .counts = {1}, .n_spans = 2, .n = 1,
     .why = "positive side: span number 2 with offset -1: histogram has a span whose offset is "
            "negative"},
    {.name = "negative count", .spans = {{0, 1}}, .counts = {-1}, .n_spans = 1, .n = 1,
     .why = "positive side: bucket number 1 has observation count of -1: histogram has a bucket "
            "whose observation count is negative"},
    {.name = "bounds", .schema = HISTOGRAM_CUSTOM, .custom = {1, 1}, .n_custom = 2,
     .why = "custom buckets: previous bound is 1.000000 and current is 1.000000: histogram custom "
            "bounds must be in strictly increasing order"},
    {.name = "infinite bound", .schema = HISTOGRAM_CUSTOM, .custom = {INFINITY}, .n_custom = 1,
     .why = "custom buckets: last +Inf bound must not be explicitly defined: histogram custom "
            "bounds must be finite"},
    {.name = "few bounds", .schema = HISTOGRAM_CUSTOM, .spans = {{0, 3}}, .counts = {1, 1, 1},
     .n_spans = 1, .n = 3, .custom = {1}, .n_custom = 1,
     .why = "custom buckets: only 1 custom bounds defined which is insufficient to cover total "
            "span length of 3: histogram custom bounds are too few"},
    {.name = "custom zero", .schema = HISTOGRAM_CUSTOM, .zero_count = 1,
     .why = "custom buckets: must have zero count of 0"},
    {.name = "custom and exponential", .custom = {1}, .n_custom = 1,
     .why = "histogram with exponential schema must not have custom bounds"},
};

static void bytes_and_validity(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct histogram *h = make(&CASES[i]);
        struct histogram *copy = histogram_copy(h);
        struct histogram *back = NULL;
        autobuf bytes = {0};
        autobuf why = {0};
        struct slice in;
        int r = histogram_check(h, &why);

        if ((r < 0) != (CASES[i].why != NULL) ||
            (r < 0 && strcmp(why.data, CASES[i].why) != 0))
            fail_msg("%s: %s", CASES[i].name, why.data != NULL ? why.data : "valid");
        assert_true(histogram_eq(h, copy));
        histogram_encode(&bytes, h);
        buf_add_str(&bytes, "rest");
        in = buf_slice(&bytes);
        if (CASES[i].spans[0].length != 3 || CASES[i].n == 3) { /* no bytes for a broken shape */
            if (histogram_decode(&in, &back) != 0 || in.len != 4 || !histogram_eq(h, back))
                fail_msg("%s does not come back", CASES[i].name);
            for (size_t cut = 0; cut < bytes.len - 4; cut++) {
                struct histogram *none = NULL;
                struct slice part = slice_of(bytes.data, cut);

                assert_int_equal(histogram_decode(&part, &none), -EIO);
            }
        }
        histogram_free(back);
        histogram_free(copy);
        histogram_free(h);
    }
}

static void bounds(void **state)
{
    static const struct {
        int schema, index;
        double bound;
    } cases[] = {
        {0, 0, 1},    {0, 1, 2},     {0, -1, 0.5},  {-1, 1, 4},
        {-4, -1, 0x1p-16}, {1, 1, 1.414213562373095}, {3, 1, 1.0905077326652577},
        {3, -7, 0.5452538663326288}, {0, 1024, 0x1.fffffffffffffp1023}, {0, 1025, INFINITY},
        {8, 1, 1.0027112750502025}, {2, -5, 0.42044820762685725},
        {-4, 64, 0x1.fffffffffffffp1023},
    };
    struct make custom = {.schema = HISTOGRAM_CUSTOM, .custom = {1, 2}, .n_custom = 2};
    struct histogram *h = make(&custom);

    (void)state;
    assert_true(histogram_bound(h, -1) == -INFINITY);
    assert_true(histogram_bound(h, 1) == 2);
    assert_true(histogram_bound(h, 2) == INFINITY);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct histogram at = {.schema = cases[i].schema};
        double bound = histogram_bound(&at, cases[i].index);

        if (bound != cases[i].bound && nextafter(bound, cases[i].bound) != cases[i].bound)
            fail_msg("schema %d, index %d: %.17g", cases[i].schema, cases[i].index, bound);
    }
    histogram_free(h);
}

static void coarser(void **state)
{
    struct make fine = {.schema = 2, .spans = {{-4, 2}, {3, 2}}, .counts = {1, 2, 3, 4},
                        .n_spans = 2, .n = 4};
    struct histogram *h = make(&fine);
    struct histogram_walk w = {.side = &h->positive};
    autobuf why = {0};

    (void)state;
    /* indexes -4 -3 1 2 become -1 0 1 1 (ceil(index / 4)) */
    histogram_coarsen(h, 0);
    assert_int_equal(h->schema, 0);
    assert_int_equal(histogram_check(h, &why), 0);
    assert_true(histogram_walk_next(&w));
    assert_int_equal(w.index, -1);
    assert_true(w.count == 1);
    assert_true(histogram_walk_next(&w));
    assert_int_equal(w.index, 0);
    assert_true(w.count == 2);
    assert_true(histogram_walk_next(&w));
    assert_int_equal(w.index, 1);
    assert_true(w.count == 7);
    assert_false(histogram_walk_next(&w));
    histogram_free(h);
}

static void stale(void **state)
{
    struct make m = {.name = "stale"};
    struct histogram *h = make(&m);

    (void)state;
    h->sum = NAN;
    assert_false(histogram_stale(h));
    h->sum = bits_double(VALUE_STALE_BITS);
    assert_true(histogram_stale(h));
    histogram_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_validity),
        cmocka_unit_test(bounds),
        cmocka_unit_test(coarser),
        cmocka_unit_test(stale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
