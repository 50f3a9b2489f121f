#include "test_blob.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static const size_t sizes[] = {
    0,           1,       64 * KIB,    64 * KIB + 1, 256 * KIB,     MIB,
    4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 5 * MIB + 7,  8 * MIB + 100,
};

static void test_sizes(void **state)
{
    struct fixture *f = *state;
    struct digest made[sizeof sizes / sizeof sizes[0]];

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = content_new(sizes[i], i);
        struct blob_stage *stage = stage_new(f->store, i % 2 ? sizes[i] : 0);
        struct digest want;

        assert_int_equal(stage_fill(stage, bytes, sizes[i], 10007 + i * 90000), 0);
        assert_int_equal(blob_stage_size(stage), sizes[i]);
        assert_int_equal(blob_seal(stage, NULL, &made[i]), 0);
        digest_of(DIGEST_SHA256, bytes, sizes[i], &want);
        assert_true(digest_eq(&want, &made[i]));
        blob_check(f->store, &made[i], bytes, sizes[i]);
        free(bytes);
    }
    if (!fixture_lasts(f))
        return;
    fixture_restart(f);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = content_new(sizes[i], i);

        blob_check(f->store, &made[i], bytes, sizes[i]);
        free(bytes);
    }
}

static void test_hint_is_only_a_hint(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    static const struct {
        size_t hint, size;
    } cases[] = {{100 * MIB, 10}, {100 * MIB, 0}, {5 * MIB, 3 * MIB}, {10, 6 * MIB}, {1, 2 * KIB}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t *bytes = content_new(cases[i].size, 40 + i);
        struct blob_stage *stage = stage_new(s, cases[i].hint);
        struct digest d;

        assert_int_equal(stage_fill(stage, bytes, cases[i].size, 100 * KIB), 0);
        assert_int_equal(blob_seal(stage, NULL, &d), 0);
        blob_check(s, &d, bytes, cases[i].size);
        free(bytes);
    }
}

static void test_wrong_digest(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct blob_stage *stage = stage_new(s, 0);
    struct digest wrong, half, whole, got;
    struct blob_stat st;

    digest_of(DIGEST_SHA256, "other", 5, &wrong);
    digest_of(DIGEST_SHA256, "abc", 3, &half);
    digest_of(DIGEST_SHA256, "abcdef", 6, &whole);
    assert_int_equal(blob_stage_write(stage, "abc", 3), 0);
    assert_int_equal(blob_seal(stage, &wrong, &got), -EBADMSG);
    assert_int_equal(blob_stat(s, &wrong, &st), -ENOENT);
    assert_int_equal(blob_stat(s, &half, &st), -ENOENT);
    assert_int_equal(blob_stage_write(stage, "def", 3), 0); /* it goes on */
    assert_int_equal(blob_seal(stage, &half, &got), -EBADMSG);
    assert_int_equal(blob_seal(stage, &whole, &got), 0);
    assert_true(digest_eq(&got, &whole));
    blob_check(s, &whole, (const uint8_t *)"abcdef", 6);
}

static void test_other_algorithm(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;

    for (size_t n = 100; n < 10 * MIB; n *= 290) {
        uint8_t *bytes = content_new(n, n);
        struct blob_stage *stage = stage_new(s, n);
        struct digest want, got;

        digest_of(DIGEST_SHA512, bytes, n, &want);
        assert_int_equal(stage_fill(stage, bytes, n, 300 * KIB), 0);
        assert_int_equal(blob_seal(stage, &want, &got), 0);
        assert_true(digest_eq(&got, &want));
        blob_check(s, &want, bytes, n);
        free(bytes);
    }
}

static void test_stage_read(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        uint8_t *bytes = content_new(n, i), *got = malloc(n + 1);
        struct blob_stage *stage = stage_new(s, n);
        struct digest d;

        assert_int_equal(stage_fill(stage, bytes, n / 2, 200 * KIB), 0);
        assert_int_equal(blob_stage_read(stage, 0, got, n), n / 2);
        assert_memory_equal(got, bytes, n / 2);
        assert_int_equal(stage_fill(stage, bytes + n / 2, n - n / 2, 200 * KIB), 0);
        assert_int_equal(blob_stage_read(stage, n / 3, got, n), n - n / 3);
        assert_memory_equal(got, bytes + n / 3, n - n / 3);
        assert_int_equal(blob_stage_read(stage, n, got, 1), 0);
        assert_int_equal(blob_seal(stage, NULL, &d), 0);
        blob_check(s, &d, bytes, n);
        free(bytes);
        free(got);
    }
}

static void test_same_content_twice(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct digest first, second;
    struct store_usage usage;

    first = blob_make(s, 6 * MIB, 1);
    second = blob_make(s, 6 * MIB, 1);
    assert_true(digest_eq(&first, &second));
    assert_int_equal(blob_put(s, DIGEST_SHA256, "small", 5, &first), 0);
    assert_int_equal(blob_put(s, DIGEST_SHA256, "small", 5, &first), 0);
    assert_int_equal(store_usage(s, &usage), 0);
    assert_int_equal(usage.blobs, 2);
    assert_int_equal(usage.blob_bytes, 6 * MIB + 5);
}

static int add_owner(void *ctx, struct slice owner)
{
    buf_add_slice(ctx, owner);
    buf_add_char(ctx, ' ');
    return 0;
}

static void test_owners(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct digest d, absent = {.algorithm = DIGEST_SHA256};
    struct buf b = {0};
    struct blob_stat st;

    assert_int_equal(blob_hold(s, &absent, text("x")), -ENOENT);
    assert_int_equal(blob_release(s, &absent, text("x")), 0);
    assert_int_equal(blob_put(s, DIGEST_SHA256, "x", 1, &d), 0);
    assert_int_equal(blob_stat(s, &d, &st), 0);
    assert_false(st.held);
    assert_int_equal(blob_hold(s, &d, text("b")), 0);
    assert_int_equal(blob_hold(s, &d, text("a")), 0);
    assert_int_equal(blob_hold(s, &d, text("a")), 0);
    assert_int_equal(blob_hold(s, &d, text("\377\377\377\377\377")), 0);
    assert_int_equal(blob_owners(s, &d, add_owner, &b), 0);
    assert_string_equal(b.data, "a b \377\377\377\377\377 ");
    assert_int_equal(blob_stat(s, &d, &st), 0);
    assert_true(st.held);
    assert_int_equal(blob_release(s, &d, text("\377\377\377\377\377")), 0);
    assert_int_equal(blob_release(s, &d, text("b")), 0);
    assert_int_equal(blob_release(s, &d, text("b")), 0);
    buf_clear(&b);
    assert_int_equal(blob_owners(s, &d, add_owner, &b), 0);
    assert_string_equal(b.data, "a ");
    buf_done(&b);
}

static void test_reap(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct digest held = blob_make(s, 5 * MIB, 1), loose = blob_make(s, 5 * MIB, 2);
    struct digest held_small = blob_make(s, 300, 3), loose_small = blob_make(s, MIB, 4);
    uint8_t *bytes = content_new(5 * MIB, 1);
    struct blob_reaped reaped;
    struct store_usage usage;
    struct blob_stat st;

    assert_int_equal(blob_hold(s, &held, text("o")), 0);
    assert_int_equal(blob_hold(s, &held_small, text("o")), 0);
    assert_int_equal(blob_reap(s, 3600, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 0); /* all are young */
    assert_int_equal(blob_reap(s, 0, true, &reaped), 0);
    assert_int_equal(reaped.blobs, 2);
    assert_int_equal(blob_stat(s, &loose, &st), 0); /* a dry run */
    assert_int_equal(blob_reap(s, 0, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 2);
    assert_int_equal(reaped.bytes, 6 * MIB);
    assert_int_equal(blob_stat(s, &loose, &st), -ENOENT);
    assert_int_equal(blob_stat(s, &loose_small, &st), -ENOENT);
    assert_int_equal(blob_hold(s, &loose, text("late")), -ENOENT);
    blob_check(s, &held, bytes, 5 * MIB);
    free(bytes);
    assert_int_equal(store_usage(s, &usage), 0);
    assert_int_equal(usage.blobs, 2);
    assert_int_equal(blob_release(s, &held, text("o")), 0);
    assert_int_equal(blob_reap(s, 3600, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 0); /* grace counts from the release, too */
    assert_int_equal(blob_reap(s, 0, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 1);
    loose = blob_make(s, 5 * MIB, 2); /* it may come again */
    bytes = content_new(5 * MIB, 2);
    blob_check(s, &loose, bytes, 5 * MIB);
    free(bytes);
}

static void test_pin_outlives_reap(void **state)
{
    struct fixture *f = *state;
    static const size_t some[] = {100, MIB, 9 * MIB};

    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        struct digest d = blob_make(f->store, some[i], i);
        uint8_t *bytes = content_new(some[i], i);
        struct blob *b = NULL, *late = NULL;
        struct blob_reaped reaped;

        assert_int_equal(blob_open(f->store, &d, &b), 0);
        assert_int_equal(blob_reap(f->store, 0, false, &reaped), 0);
        assert_int_equal(reaped.blobs, 1);
        assert_int_equal(blob_open(f->store, &d, &late), -ENOENT);
        read_range(b, bytes, 0, some[i]);
        blob_make(f->store, some[i], i); /* the same again, while the old one is read */
        assert_int_equal(blob_reap(f->store, 0, false, &reaped), 0);
        read_range(b, bytes, 0, some[i]);
        blob_close(b);
        free(bytes);
    }
    if (fixture_lasts(f))
        fixture_restart(f);
}

static void test_suspend(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        uint8_t *bytes = content_new(n, i);
        struct blob_stage *stage = stage_new(f->store, i % 2 ? n : 0), *second = NULL;
        uint8_t id[BLOB_STAGE_ID_BYTES];
        uint64_t durable = 1, again = 2;
        struct digest d;

        memcpy(id, blob_stage_id(stage), sizeof id);
        for (size_t sent = 0; sent < n || sent == 0;) {
            size_t piece = n / 3 + 1 < n - sent ? n / 3 + 1 : n - sent;

            assert_int_equal(stage_fill(stage, bytes + sent, piece, 111111), 0);
            assert_int_equal(blob_stage_suspend(stage, &durable), 0);
            assert_true(durable <= sent + piece);
            if (fixture_lasts(f) && i % 3)
                fixture_restart(f);
            assert_int_equal(blob_stage_resume(f->store, id, &stage, &again), 0);
            assert_int_equal(again, durable);
            assert_int_equal(blob_stage_size(stage), durable);
            assert_int_equal(blob_stage_resume(f->store, id, &second, &again), -EBUSY);
            sent = durable;
            if (n == 0)
                break;
        }
        assert_int_equal(blob_seal(stage, NULL, &d), 0);
        assert_int_equal(blob_stage_resume(f->store, id, &stage, &again), -ENOENT);
        blob_check(f->store, &d, bytes, n);
        free(bytes);
    }
}

static void test_old_stages_are_reaped(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = content_new(5 * MIB, 1);
    struct blob_stage *stage = stage_new(f->store, 0), *open;
    uint8_t id[BLOB_STAGE_ID_BYTES];
    struct blob_reaped reaped;
    uint64_t durable;

    memcpy(id, blob_stage_id(stage), sizeof id);
    assert_int_equal(stage_fill(stage, bytes, 5 * MIB, MIB), 0);
    assert_int_equal(blob_stage_suspend(stage, &durable), 0);
    assert_int_equal(blob_reap(f->store, 0, false, &reaped), 0);
    assert_int_equal(reaped.stages, 0); /* idle for less than a day */
    if (fixture_lasts(f)) {
        f->options.stage_idle_s = 1;
        fixture_restart(f);
        sleep(1);
        usleep(100000);
        open = stage_new(f->store, 0); /* an open one is nobody's to reap */
        assert_int_equal(blob_reap(f->store, 0, false, &reaped), 0);
        assert_int_equal(reaped.stages, 1);
        blob_stage_drop(open);
        assert_int_equal(blob_stage_resume(f->store, id, &stage, &durable), -ENOENT);
    } else {
        assert_int_equal(blob_stage_resume(f->store, id, &stage, &durable), 0);
        blob_stage_drop(stage);
        assert_int_equal(blob_stage_resume(f->store, id, &stage, &durable), -ENOENT);
    }
    free(bytes);
}

static void test_lend(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct digest small = blob_make(s, 1000, 1), large = blob_make(s, 9 * MIB + 5, 2);
    uint8_t *bytes = content_new(9 * MIB + 5, 2);
    struct blob *b = NULL;
    struct blob_loan loan;

    assert_int_equal(blob_open(s, &small, &b), 0);
    assert_int_equal(blob_lend(b, 0, 1000, &loan), -ENOTSUP);
    blob_close(b);
    assert_int_equal(blob_open(s, &large, &b), 0);
    assert_int_equal(blob_lend(b, 0, 9 * MIB + 6, &loan), -EINVAL);
    for (size_t from = 0; from < 9 * MIB; from += MIB + MIB / 2) {
        size_t n = 3 * MIB < 9 * MIB + 5 - from ? 3 * MIB : 9 * MIB + 5 - from, at = from;

        assert_int_equal(blob_lend(b, from, n, &loan), 0);
        for (size_t i = 0; i < loan.n_iov; i++) {
            assert_memory_equal(loan.iov[i].iov_base, bytes + at, loan.iov[i].iov_len);
            at += loan.iov[i].iov_len;
        }
        assert_int_equal(at, from + n);
        blob_unlend(&loan);
    }
    blob_close(b);
    free(bytes);
}

/* The flags that /proc/self/smaps shows for the mapping that holds an address; "" if it shows none. */
static void flags_of_mapping(const void *address, char flags[256])
{
    FILE *f = fopen("/proc/self/smaps", "re");
    bool inside = false;
    char line[4096];

    flags[0] = '\0';
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        uintptr_t from, to;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (inside && sscanf(line, "VmFlags:%255[^\n]", flags) == 1)
            break;
    }
    if (f != NULL)
        fclose(f);
}

/* "sr": the kernel is told that what is lent is read in order. */
static void test_lent_is_read_ahead(void **state)
{
    struct fixture *f = *state;
    struct digest d = blob_make(f->store, 9 * MIB, 3);
    struct blob_loan loan;
    struct blob *b = NULL;
    char flags[256];

    assert_int_equal(blob_open(f->store, &d, &b), 0);
    assert_int_equal(blob_lend(b, 0, 9 * MIB, &loan), 0);
    flags_of_mapping(loan.iov[0].iov_base, flags);
    blob_unlend(&loan);
    blob_close(b);
    if (flags[0] != '\0')
        assert_non_null(strstr(flags, " sr"));
}

static int count_blob(void *ctx, const struct digest *d, const struct blob_stat *st)
{
    uint64_t *sum = ctx;

    (void)d;
    *sum += st->size_bytes * (st->held ? 1000 : 1);
    return *sum > 5000 ? 9 : 0;
}

static void test_each(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct digest d = blob_make(s, 1, 1);
    uint64_t sum = 0;

    blob_make(s, 20, 2);
    blob_make(s, 300, 3);
    assert_int_equal(blob_hold(s, &d, text("o")), 0);
    assert_int_equal(blob_each(s, count_blob, &sum), 0);
    assert_int_equal(sum, 1320);
    sum = 5001;
    assert_int_equal(blob_each(s, count_blob, &sum), 9);
}

/* Fails the n-th write, for every n until all goes well: nothing half-visible is left. */
static void test_fault(void **state)
{
    struct fixture *f = *state;
    static const size_t some[] = {10, 300 * KIB, 6 * MIB};

    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        uint8_t *bytes = content_new(some[i], i);
        struct digest d, got;
        int r = -1;

        digest_of(DIGEST_SHA256, bytes, some[i], &d);
        for (unsigned n = 0; r != 0; n++) {
            struct blob_stage *stage = stage_new(f->store, i % 2 ? 0 : some[i]);
            struct store_usage usage;
            struct blob_stat st;

            assert_true(n < 100);
            store_fault(f->store, n, n % 2 ? EIO : ENOSPC);
            r = stage_fill(stage, bytes, some[i], MIB);
            if (r < 0)
                blob_stage_drop(stage);
            else
                r = blob_seal(stage, NULL, &got);
            if (r == 0)
                r = blob_hold(f->store, &got, text("o"));
            store_fault(f->store, 0, 0);
            if (r < 0)
                assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
            assert_int_equal(blob_stat(f->store, &d, &st), r == 0 ? 0 : -ENOENT);
            assert_int_equal(store_usage(f->store, &usage), 0);
            assert_int_equal(usage.blobs, i + (r == 0));
        }
        blob_check(f->store, &d, bytes, some[i]);
        free(bytes);
    }
    if (fixture_lasts(f))
        fixture_restart(f);
}

static void test_fault_in_suspend(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = content_new(6 * MIB, 1);
    int r = -1;

    for (unsigned n = 0; r != 0; n++) {
        struct blob_stage *stage = stage_new(f->store, 6 * MIB);
        uint8_t id[BLOB_STAGE_ID_BYTES];
        uint64_t durable;

        memcpy(id, blob_stage_id(stage), sizeof id);
        assert_int_equal(stage_fill(stage, bytes, 6 * MIB, MIB), 0);
        store_fault(f->store, n, EIO);
        r = blob_stage_suspend(stage, &durable);
        store_fault(f->store, 0, 0);
        assert_int_equal(blob_stage_resume(f->store, id, &stage, &durable), r == 0 ? 0 : -ENOENT);
        if (r == 0)
            blob_stage_drop(stage);
        assert_true(n < 10);
    }
    free(bytes);
}

/* More of them than there are helpers, each a piece at a time, of sizes that fit no chunk. */
static void test_many_at_once(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    enum { MANY = 12 };
    size_t n = 9 * MIB + 4321;
    struct blob_stage *stages[MANY];
    uint8_t *bytes[MANY];

    for (size_t i = 0; i < MANY; i++) {
        bytes[i] = content_new(n, 90 + i);
        stages[i] = stage_new(s, i % 2 ? n : 0);
    }
    for (size_t at = 0, step = 1; at < n; at += step, step = step * 3 % 1500007 + 1)
        for (size_t i = 0; i < MANY; i++)
            assert_int_equal(
                blob_stage_write(stages[i], bytes[i] + at, n - at < step ? n - at : step), 0);
    for (size_t i = 0; i < MANY; i++) {
        struct digest want, got;

        digest_of(DIGEST_SHA256, bytes[i], n, &want);
        if (i % 4 == 3) {
            blob_stage_drop(stages[i]);
        } else {
            assert_int_equal(blob_seal(stages[i], &want, &got), 0);
            blob_check(s, &want, bytes[i], n);
        }
        free(bytes[i]);
    }
}

/* Storing fails while the next pieces arrive: the stage says so at the latest when it is sealed. */
static void test_write_fails_behind(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = content_new(14 * MIB, 7);
    struct rlimit unlimited, small;
    struct store_usage usage;
    struct digest d;

    if (!fixture_lasts(f)) {
        free(bytes);
        return;
    }
    getrlimit(RLIMIT_FSIZE, &unlimited);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t limit = 5; limit < 14; limit += 2) {
        struct blob_stage *stage = stage_new(f->store, 14 * MIB);
        int r;

        small = (struct rlimit){limit * MIB, unlimited.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        r = stage_fill(stage, bytes, 14 * MIB, 300 * KIB);
        if (r < 0) {
            assert_int_equal(blob_stage_write(stage, bytes, 1), r);
            blob_stage_drop(stage);
        } else {
            r = blob_seal(stage, NULL, &d);
        }
        setrlimit(RLIMIT_FSIZE, &unlimited);
        assert_true(r < 0);
        assert_int_equal(store_usage(f->store, &usage), 0);
        assert_int_equal(usage.blobs, 0);
    }
    signal(SIGXFSZ, SIG_DFL);
    d = blob_make(f->store, 14 * MIB, 7);
    blob_check(f->store, &d, bytes, 14 * MIB);
    free(bytes);
}

#define TESTS(on)                                                                                  \
    on(test_sizes), on(test_hint_is_only_a_hint), on(test_wrong_digest), on(test_other_algorithm), \
        on(test_stage_read), on(test_same_content_twice), on(test_owners), on(test_reap),          \
        on(test_pin_outlives_reap), on(test_suspend), on(test_old_stages_are_reaped),              \
        on(test_lend), on(test_each), on(test_fault), on(test_fault_in_suspend),                   \
        on(test_many_at_once), on(test_write_fails_behind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(on_mem),
        TESTS(on_rocks),
        on_rocks(test_lent_is_read_ahead),
    };

    return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
