/* Decoded groups that queries share: by content, bounded, and gone when nobody asks. */
#include "base/scope.h"
#include "metrics/head/group_cache.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define LARGE (16u << 20)

/* A group of one series: id, and 100 samples that differ by it. */
static void make(uint64_t id, struct buf *out)
{
    struct group_writer *w = group_writer_new();
    struct samples s = {0};

    for (int64_t i = 0; i < 100; i++)
        samples_add(&s, 1000 + i * 15000, id * 1000003 * (uint64_t)(i + 1));
    group_writer_add(w, id, &s);
    group_writer_finish(w, out);
    group_writer_free(w);
    samples_done(&s);
}

static void check(const struct group *g, uint64_t id)
{
    struct samples s = {0};

    group_read(g, id, INT64_MIN, INT64_MAX, &s);
    assert_int_equal(s.n, 100);
    for (size_t i = 0; i < s.n; i++)
        assert_int_equal(s.bits[i], id * 1000003 * (i + 1));
    samples_done(&s);
}

static struct group *open_one(struct group_cache *c, uint64_t id)
{
    struct group *g = NULL;
    autobuf bytes = {0};

    make(id, &bytes);
    assert_int_equal(group_cache_open(c, buf_slice(&bytes), &g), 0);
    check(g, id);
    return g;
}

static void test_shared(void **state)
{
    struct group_cache *c = group_cache_new(LARGE);
    struct group *a = open_one(c, 1);
    struct group *b = open_one(c, 2);
    struct group *again = open_one(c, 1);

    (void)state;
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    assert_int_equal(group_cache_bytes(c) >= group_bytes(a) + group_bytes(b), 1);
    group_free(a);
    check(again, 1);
    group_cache_free(c);
    check(again, 1); /* who holds it, has it */
    group_free(again);
    group_free(b);
}

static void test_bounded(void **state)
{
    struct group *first = NULL, *g;
    struct group_cache *c = group_cache_new(LARGE);
    size_t one;

    (void)state;
    group_free(open_one(c, 1));
    one = group_cache_bytes(c);
    group_cache_free(c);
    c = group_cache_new(4 * one + one / 2);
    for (uint64_t id = 1; id <= 100; id++) {
        g = open_one(c, 1); /* asked for all the time: stays */
        assert_true(first == NULL || first == g);
        first = g;
        group_free(g);
        group_free(open_one(c, id));
        assert_true(group_cache_bytes(c) <= 4 * one + one / 2);
    }
    group_cache_free(c);
    c = group_cache_new(one / 2);
    group_free(open_one(c, 1)); /* too large for it is not kept */
    assert_int_equal(group_cache_bytes(c), 0);
    group_cache_free(c);
}

static void test_aged(void **state)
{
    struct group_cache *c = group_cache_new(LARGE);
    size_t both, one;

    (void)state;
    group_free(open_one(c, 1));
    one = group_cache_bytes(c);
    group_free(open_one(c, 2));
    both = group_cache_bytes(c);
    for (int i = 0; i < GROUP_CACHE_AGES; i++)
        group_cache_age(c);
    assert_int_equal(group_cache_bytes(c), both);
    group_free(open_one(c, 1));
    group_cache_age(c);
    assert_int_equal(group_cache_bytes(c), one);
    for (int i = 0; i < GROUP_CACHE_AGES; i++)
        group_cache_age(c);
    assert_int_equal(group_cache_bytes(c), 0);
    group_cache_free(c);
}

static void test_damaged(void **state)
{
    struct group_cache *c = group_cache_new(LARGE);
    struct group *g = NULL;
    autobuf bytes = {0};

    (void)state;
    make(1, &bytes);
    for (size_t n = 0; n < bytes.len; n++)
        assert_int_equal(group_cache_open(c, slice_of(bytes.data, n), &g), -EIO);
    assert_int_equal(group_cache_bytes(c), 0);
    group_cache_free(c);
}

static void *look(void *arg)
{
    unsigned seed = 7;

    for (int i = 0; i < 2000; i++) {
        uint64_t id = 1 + (unsigned)rand_r(&seed) % 20;

        group_free(open_one(arg, id));
        if (i % 16 == 0)
            group_cache_age(arg);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct group_cache *c = group_cache_new(LARGE);
    pthread_t threads[4];
    size_t one;

    (void)state;
    group_free(open_one(c, 1));
    one = group_cache_bytes(c);
    group_cache_free(c);
    c = group_cache_new(10 * one);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, c), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(group_cache_bytes(c) <= 10 * one);
    group_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),  cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_aged),    cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
