/* A scrape's body of protobuf messages becomes text, and what text cannot say beside it. */
#include "base/codec.h"
#include "metrics/scrape/protobuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>

/* c_total with an exemplar, my.gauge with a time, a summary, an untyped -0, a native histogram with
 * classic buckets too, a classic one: tests/fuzz/corpus/protobuf/all. */
static const char HEX[] =
        "560a07635f746f74616c12086f6620226974220a1800223f0a090a017812046122620a1a32090000000000000840"
        "12270a0f0a0874726163655f6964120361626311000000000000e03f1a0b0880e2cfaa0610c0a9d33a370a086d79"
        "2e676175676512086f6620226974220a1801221f0a0b0a066c612062656c120176120909000000000000f87f30fb"
        "d095ffbc31320a017312086f6620226974220a18022221221f080411000000000000f83f1a1209000000000000e0"
        "3f11000000000000d03f1c0a017512086f6620226974220a1803220b2a09090000000000000080ec010a01681208"
        "6f6620226974220a1804227b0a0b0a016b12066e61746976653a6c080d1166666666666632402806310000000000"
        "00f03738026204080310026204080210016a03040c0d1a34080511000000000000f03f1a270a0f0a087472616365"
        "5f6964120361626311000000000000e03f1a0b0880e2cfaa0610c0a9d33a1a0b080d110000000000002440225e0a"
        "0c0a016b1207636c61737369633a4e080d110000000000001c401a34080511000000000000f03f1a270a0f0a0874"
        "726163655f6964120361626311000000000000e03f1a0b0880e2cfaa0610c0a9d33a1a0b080d1100000000000024"
        "40";

#define HEAD                                                                                       \
    "# HELP c_total of \\\"it\\\"\\n\n# TYPE c_total counter\n"                                       \
    "c_total{x=\"a\\\"b\\n\"} 3 # {trace_id=\"abc\"} 0.5 1700000000.1235\n"                         \
    "# HELP \"my.gauge\" of \\\"it\\\"\\n\n# TYPE \"my.gauge\" gauge\n"                               \
    "{\"my.gauge\",\"la bel\"=\"v\"} NaN\n"                                                         \
    "# HELP s of \\\"it\\\"\\n\n# TYPE s summary\ns{quantile=\"0.5\"} 0.25\ns_sum{} 1.5\n"          \
    "s_count{} 4\n# HELP u of \\\"it\\\"\\n\n# TYPE u unknown\nu{} -0\n"                            \
    "# HELP h of \\\"it\\\"\\n\n# TYPE h histogram\n"
#define BUCKETS(k, sum)                                                                            \
    "h_bucket{k=\"" k "\",le=\"1.0\"} 5 # {trace_id=\"abc\"} 0.5 1700000000.1235\n"                  \
    "h_bucket{k=\"" k "\",le=\"10.0\"} 13\nh_bucket{k=\"" k "\",le=\"+Inf\"} 13\n"                  \
    "h_sum{k=\"" k "\"} " sum "\nh_count{k=\"" k "\"} 13\n"
#define NATIVE "h{k=\"native\"} 0\n"

static const struct {
    unsigned flags;
    const char *text;
    size_t marks;
} CASES[] = {
    {0, HEAD BUCKETS("native", "18.4") BUCKETS("classic", "7") "# EOF\n", 1},
    {PROTOBUF_NATIVE, HEAD NATIVE BUCKETS("classic", "7") "# EOF\n", 2},
    {PROTOBUF_NATIVE | PROTOBUF_CLASSIC,
     HEAD BUCKETS("native", "18.4") NATIVE BUCKETS("classic", "7") "# EOF\n", 2},
};

static void text_and_marks(void **state)
{
    uint8_t body[sizeof HEX / 2];
    ssize_t n = hex_decode(SLICE(HEX), body, sizeof body);

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct protobuf_text t;
        autobuf why = {0};

        assert_int_equal(protobuf_read(slice_of(body, (size_t)n), CASES[i].flags, &t, &why), 0);
        assert_string_equal(t.text.data, CASES[i].text);
        assert_int_equal(t.n, CASES[i].marks);
        assert_true(t.marks[0].timed);
        assert_int_equal(t.marks[0].ts_ms, 1700000000123);
        if (t.n > 1) {
            const struct histogram *h = t.marks[1].histogram;

            assert_int_equal(h->schema, 3);
            assert_true(h->integer && h->count == 13 && h->sum == 18.4 && h->zero_count == 2);
            assert_true(h->positive.n == 3 && h->positive.counts[1] == 8 &&
                        h->positive.spans[0].offset == -2);
            assert_memory_equal(t.text.data + t.marks[1].offset, NATIVE, sizeof NATIVE - 1);
        }
        protobuf_done(&t);
    }
}

static void cut_anywhere(void **state)
{
    uint8_t body[sizeof HEX / 2];
    ssize_t n = hex_decode(SLICE(HEX), body, sizeof body);
    unsigned whole = 0;

    (void)state;
    for (ssize_t cut = 0; cut < n; cut++) {
        struct protobuf_text t;
        autobuf why = {0};

        whole += protobuf_read(slice_of(body, (size_t)cut), PROTOBUF_NATIVE, &t, &why) == 0;
        protobuf_done(&t);
    }
    assert_int_equal(whole, 5); /* between the families */
}

static void content_types(void **state)
{
    (void)state;
    assert_true(protobuf_is("application/vnd.google.protobuf; "
                            "proto=io.prometheus.client.MetricFamily; encoding=delimited"));
    assert_false(protobuf_is("application/vnd.google.protobuf"));
    assert_false(protobuf_is("text/plain"));
    assert_false(protobuf_is(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_marks),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(content_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
