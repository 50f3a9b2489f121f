/* Samples through both packed forms, bit for bit; and what they take. */
#include "metrics/head/chunk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>

static uint64_t seed = 1;

static uint64_t noise(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static double unit(void)
{
    return (double)(noise() >> 11) / 9007199254740992.0;
}

static uint64_t bits_of(double v)
{
    uint64_t b;

    memcpy(&b, &v, sizeof b);
    return b;
}

static const uint64_t STRANGE[] = {
    0x7ff0000000000002ull, 0x7ff8000000000001ull, 0x8000000000000000ull, 0, 1, 0x000fffffffffffffull,
    0x7ff0000000000000ull, 0xfff0000000000000ull, 0xffffffffffffffffull, 0x7fefffffffffffffull,
    0xffefffffffffffffull, 0x3fb999999999999aull, 0x43e0000000000000ull, 0xc3e0000000000000ull};

/* The i-th value of a series of the given kind. */
static uint64_t value_of(unsigned kind, size_t i)
{
    static double counter;

    if (i == 0)
        counter = floor(unit() * 1e6);
    switch (kind) {
    case 0: return bits_of(42);
    case 1: counter += floor(unit() * 1000); return bits_of(counter);
    case 2: counter += floor(unit() * 400) / 100; return bits_of(floor(counter * 100) / 100);
    case 3: return bits_of(4096 * floor(1e6 + 1e4 * sin((double)i / 30) + 50 * unit()));
    case 4: return bits_of(floor((2 + sin((double)i / 30) + 0.2 * unit()) * 100) / 100);
    case 5: return bits_of(floor(3 * unit()));
    case 6: return bits_of(unit());
    case 7: return noise();
    case 8: return STRANGE[noise() % (sizeof STRANGE / sizeof STRANGE[0])];
    case 9: return i % 17 == 5 ? STRANGE[i % 14] : bits_of((double)i * 0.25);
    case 10: return bits_of(floor((double)i / 500));
    case 11: return bits_of(i < 50 ? 0 : (double)i / 1e9);
    default: return bits_of(-1e15 + (double)(i * 7));
    }
}
#define KINDS 13

static void make(struct samples *s, unsigned kind, unsigned times, size_t n)
{
    int64_t ts = 1700000000000 + (int64_t)(noise() % 15000);

    for (size_t i = 0; i < n; i++) {
        samples_add(s, ts, value_of(kind, i));
        ts += times == 0 ? 15000 : times == 1 ? 15000 + (int64_t)(noise() % 7) - 3
                                              : 1 + (int64_t)(noise() % 2000000);
    }
}

static void expect_same(const char *what, unsigned kind, const struct samples *a,
                        const struct samples *b)
{
    if (a->n != b->n)
        fail_msg("%s, kind %u: %zu samples, expected %zu", what, kind, b->n, a->n);
    for (size_t i = 0; i < a->n; i++)
        if (a->ts[i] != b->ts[i] || a->bits[i] != b->bits[i])
            fail_msg("%s, kind %u: sample %zu of %zu is %llx at %lld, expected %llx at %lld", what,
                     kind, i, a->n, (unsigned long long)b->bits[i], (long long)b->ts[i],
                     (unsigned long long)a->bits[i], (long long)a->ts[i]);
}

/* What is read at once is what is read one by one, of any range. */
static void through_ranges(const struct stream *s, const struct samples *in)
{
    for (int i = 0; i < 12; i++) {
        struct samples got = {0};
        struct samples want = {0};
        int64_t from = i == 0 ? INT64_MIN : in->ts[noise() % in->n] + (int64_t)(noise() % 3) - 1;
        int64_t to = i == 0 ? INT64_MAX : in->ts[noise() % in->n] + (int64_t)(noise() % 3) - 1;

        for (size_t k = 0; k < in->n; k++)
            if (in->ts[k] >= from && in->ts[k] <= to)
                samples_add(&want, in->ts[k], in->bits[k]);
        samples_add(&got, 0, 7);
        stream_take(s, from, to, &got);
        assert_int_equal(got.n, want.n + 1);
        if (want.n > 0) {
            assert_memory_equal(got.ts + 1, want.ts, want.n * sizeof *want.ts);
            assert_memory_equal(got.bits + 1, want.bits, want.n * sizeof *want.bits);
        }
        samples_done(&got);
        samples_done(&want);
    }
}

static size_t through_stream(const struct samples *in, struct samples *out)
{
    struct stream s = {0};
    struct stream_reader r;
    int64_t ts;
    uint64_t bits;
    size_t n;

    for (size_t i = 0; i < in->n; i++)
        stream_append(&s, in->ts[i], in->bits[i]);
    stream_read(&s, &r);
    while (stream_next(&r, &ts, &bits))
        samples_add(out, ts, bits);
    assert_int_equal(s.count, in->n);
    through_ranges(&s, in);
    n = s.len;
    stream_clear(&s);
    return n;
}

static void test_streams(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 10, 480, CHUNK_SAMPLES_MAX};

    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned times = 0; times < 3; times++)
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                struct samples in = {0};
                struct samples out = {0};

                make(&in, kind, times, sizes[i]);
                through_stream(&in, &out);
                expect_same("stream", kind, &in, &out);
                samples_done(&in);
                samples_done(&out);
            }
}

static void test_a_constant_takes_no_room(void **state)
{
    struct samples in = {0};
    struct samples out = {0};

    (void)state;
    make(&in, 0, 0, 480);
    assert_true(through_stream(&in, &out) <= 8);
    samples_done(&in);
    samples_done(&out);
}

static void test_groups(void **state)
{
    struct group_writer *w = group_writer_new();

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct samples in[40] = {0};
        unsigned kinds[40];
        unsigned n = 1 + (unsigned)(noise() % 40);
        struct group *g = NULL;
        autobuf bytes = {0};
        size_t n_ids;

        for (unsigned i = 0; i < n; i++) {
            kinds[i] = (unsigned)(noise() % KINDS);
            make(&in[i], kinds[i], (unsigned)(noise() % 3), 1 + noise() % 300);
            group_writer_add(w, 1000 + i * 3, &in[i]);
        }
        assert_int_equal(group_writer_count(w), n);
        assert_int_equal(group_writer_last_id(w), 1000 + (n - 1) * 3);
        group_writer_finish(w, &bytes);
        assert_int_equal(group_open(buf_slice(&bytes), &g), 0);
        group_ids(g, &n_ids);
        assert_int_equal(n_ids, n);
        for (unsigned i = 0; i < n; i++) {
            struct samples out = {0};

            group_read(g, 1000 + i * 3, INT64_MIN, INT64_MAX, &out);
            expect_same("group", kinds[i], &in[i], &out);
            out.n = 0;
            group_read(g, 1001 + i * 3, INT64_MIN, INT64_MAX, &out);
            assert_int_equal(out.n, 0);
            group_read(g, 1000 + i * 3, in[i].ts[0] + 1, in[i].ts[in[i].n - 1] - 1, &out);
            assert_int_equal(out.n, in[i].n > 2 ? in[i].n - 2 : 0);
            samples_done(&out);
            samples_done(&in[i]);
        }
        group_free(g);
    }
    group_writer_free(w);
}

static void test_the_worst_fits_a_store_value(void **state)
{
    struct group_writer *w = group_writer_new();

    (void)state;
    for (unsigned kind = 6; kind < 9; kind++) {
        autobuf bytes = {0};
        uint64_t id = 1;

        while (!group_writer_full(w)) {
            struct samples in = {0};

            make(&in, id % 2 == 0 ? kind : 0, 2, id == 1 ? 2000 : CHUNK_SAMPLES_MAX);
            group_writer_add(w, id++, &in);
            samples_done(&in);
        }
        group_writer_finish(w, &bytes);
        assert_true(bytes.len < 64u << 10);
    }
    group_writer_free(w);
}

static void test_bytes_of_a_sample(void **state)
{
    /* As many constants, counters, gauges as a node exporter has; 24 h at 60 s in blocks of 2 h. */
    static const unsigned mix[] = {0, 0, 0, 0, 10, 10, 1, 1, 1, 2, 2, 3, 3, 4, 5};
    struct group_writer *w = group_writer_new();
    size_t samples = 0;
    size_t bytes = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof mix / sizeof mix[0]; i++) {
        for (uint64_t series = 0; series < 64; series++) {
            struct samples in = {0};

            make(&in, mix[i], 0, 120);
            group_writer_add(w, i << 20 | series, &in);
            samples += in.n;
            samples_done(&in);
            if (group_writer_full(w) || series == 63) {
                autobuf out = {0};

                group_writer_finish(w, &out);
                bytes += out.len + 20;
            }
        }
    }
    group_writer_free(w);
    print_message("%.3f bytes a sample\n", (double)bytes / (double)samples);
    assert_true((double)bytes / (double)samples < 0.8);
}

static void test_damaged_groups_are_refused(void **state)
{
    struct group_writer *w = group_writer_new();
    autobuf bytes = {0};

    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct samples in = {0};

        make(&in, kind, kind % 3, 100);
        group_writer_add(w, kind, &in);
        samples_done(&in);
    }
    group_writer_finish(w, &bytes);
    for (size_t cut = 0; cut < bytes.len; cut += 7) {
        struct group *g = NULL;

        assert_int_equal(group_open(slice_of(bytes.data, cut), &g), -EIO);
    }
    for (int i = 0; i < 3000; i++) {
        struct group *g = NULL;
        char *copy = malloc(bytes.len);
        struct samples out = {0};

        memcpy(copy, bytes.data, bytes.len);
        copy[noise() % bytes.len] ^= (char)(1 + noise() % 255);
        if (group_open(slice_of(copy, bytes.len), &g) == 0)
            for (uint64_t id = 0; id < KINDS; id++)
                group_read(g, id, INT64_MIN, INT64_MAX, &out);
        group_free(g);
        samples_done(&out);
        free(copy);
    }
    group_writer_free(w);
}

static void test_order(void **state)
{
    struct samples s = {0};

    (void)state;
    samples_add(&s, 3, 30);
    samples_add(&s, 1, 10);
    samples_add(&s, 3, 31);
    samples_add(&s, 2, 20);
    samples_order(&s);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.ts[0], 1);
    assert_int_equal(s.bits[2], 31);
    samples_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_a_constant_takes_no_room),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_the_worst_fits_a_store_value),
        cmocka_unit_test(test_bytes_of_a_sample),
        cmocka_unit_test(test_damaged_groups_are_refused),
        cmocka_unit_test(test_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
