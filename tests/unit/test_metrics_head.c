/* The database on the store in memory: what is appended is found again, from the head, from runs, after
 * a crash, and when the store fails. */
#include "metrics/query.h"
#include "store/store.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0 (1700000000000ll / BUCKET_MS * BUCKET_MS)

struct fixture {
    struct store *store;
    struct db *db;
};

static void db_up(struct fixture *f, struct db_options options)
{
    autobuf why = {0};

    options.no_thread = true;
    if (db_open(f->store, &options, &f->db, &why) < 0)
        fail_msg("%s", why.data);
}

static void up(struct fixture *f)
{
    autobuf why = {0};

    if (store_open("mem:", &(struct store_options){0}, &f->store, &why) < 0)
        fail_msg("%s", why.data);
    db_up(f, (struct db_options){.out_of_order_ms = 600000});
}

static void down(struct fixture *f)
{
    db_close(f->db);
    store_close(f->store);
}

static void restart(struct fixture *f)
{
    db_close(f->db);
    db_up(f, (struct db_options){.out_of_order_ms = 600000});
}

static uint32_t series(struct fixture *f, const char *metric, const char *instance)
{
    struct label room[2] = {{LABEL_NAME, slice_str(metric)},
                            {SLICE("instance"), slice_str(instance)}};

    return db_series(f->db, &(struct labels){room, 2});
}

static int put(struct fixture *f, uint32_t ref, int64_t ts, double v, struct db_result *ret)
{
    struct db_result ignored;

    return db_append(f->db, &(struct db_sample){ref, ts, double_bits(v)}, 1,
                     ret != NULL ? ret : &ignored);
}

/* All samples of a metric in the range, in one list. */
static size_t get(struct fixture *f, const char *metric, int64_t from, int64_t to, unsigned flags,
                  struct samples *out)
{
    struct query *q;
    struct query_item item;
    struct matcher m;
    size_t n = 0;
    int r;

    out->n = 0;
    matcher_init(&m, MATCH_EQ, LABEL_NAME, slice_str(metric), NULL);
    assert_int_equal(query_open(f->db, &m, 1, from, to, flags, &q), 0);
    while ((r = query_next(q, &item)) > 0) {
        assert_true(slice_eq(labels_get(&item.labels, LABEL_NAME), slice_str(metric)));
        for (size_t i = 0; i < item.n; i++)
            samples_add(out, item.ts[i], item.bits[i]);
        n++;
    }
    assert_int_equal(r, 0);
    query_close(q);
    matcher_done(&m);
    return n;
}

static void expect_ramp(struct fixture *f, const char *metric, int64_t from, int64_t to,
                        int64_t step, size_t n)
{
    struct samples s = {0};

    get(f, metric, from, to, 0, &s);
    if (s.n != n)
        fail_msg("%s: %zu samples, expected %zu", metric, s.n, n);
    for (size_t i = 0; i < n; i++)
        if (s.ts[i] != from + (int64_t)i * step || bits_double(s.bits[i]) != (double)(s.ts[i] - T0))
            fail_msg("%s: sample %zu is %g at %lld", metric, i, bits_double(s.bits[i]),
                     (long long)s.ts[i]);
    samples_done(&s);
}

static void ramp(struct fixture *f, uint32_t ref, int64_t from, int64_t to, int64_t step)
{
    for (int64_t ts = from; ts <= to; ts += step)
        assert_int_equal(put(f, ref, ts, (double)(ts - T0), NULL), 0);
}

static void test_head(void **state)
{
    struct fixture f;
    struct samples s = {0};
    uint32_t a;

    (void)state;
    up(&f);
    a = series(&f, "a", "one");
    assert_int_equal(series(&f, "a", "one"), a);
    assert_int_not_equal(series(&f, "a", "two"), a);
    ramp(&f, a, T0, T0 + 3600000, 15000);
    expect_ramp(&f, "a", T0, T0 + 3600000, 15000, 241);
    expect_ramp(&f, "a", T0 + 15000, T0 + 29999, 15000, 1);
    expect_ramp(&f, "b", T0, T0 + 1, 1, 0);
    assert_int_equal(get(&f, "a", T0, T0 + 100000, QUERY_LAST, &s), 1);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.ts[0], T0 + 90000);
    assert_int_equal(get(&f, "a", T0, T0 + 3600000, QUERY_LAST, &s), 1);
    assert_int_equal(s.ts[0], T0 + 3600000);
    assert_int_equal(get(&f, "a", T0 + 3600001, T0 + 3700000, QUERY_LAST, &s), 0);
    samples_done(&s);
    down(&f);
}

static void test_replay(void **state)
{
    struct fixture f;

    (void)state;
    up(&f);
    ramp(&f, series(&f, "a", "one"), T0, T0 + 60000, 1000);
    ramp(&f, series(&f, "b", "one"), T0 + 500, T0 + 60500, 1000);
    restart(&f);
    expect_ramp(&f, "a", T0, T0 + 60000, 1000, 61);
    ramp(&f, series(&f, "a", "one"), T0 + 61000, T0 + 70000, 1000);
    restart(&f);
    expect_ramp(&f, "a", T0, T0 + 70000, 1000, 71);
    expect_ramp(&f, "b", T0 + 500, T0 + 70000, 1000, 61);
    down(&f);
}

static size_t count_log(struct fixture *f)
{
    struct db_stats stats;

    db_stats(f->db, &stats);
    return (size_t)stats.log_bytes;
}

static void test_runs(void **state)
{
    struct fixture f;
    struct db_stats stats;

    (void)state;
    up(&f);
    ramp(&f, series(&f, "a", "one"), T0, T0 + 3 * BUCKET_MS + 1500000, 10000);
    ramp(&f, series(&f, "b", "one"), T0 + 3 * BUCKET_MS, T0 + 3 * BUCKET_MS + 1500000, 10000);
    db_maintain(f.db, T0 + 3 * BUCKET_MS + 1500000, 0);
    db_stats(f.db, &stats);
    assert_int_equal(stats.runs, 3);
    assert_true(stats.head_samples <= 302);
    expect_ramp(&f, "a", T0, T0 + 3 * BUCKET_MS + 1500000, 10000, 2311);
    expect_ramp(&f, "a", T0 + BUCKET_MS - 20000, T0 + BUCKET_MS + 20000, 10000, 5);
    restart(&f);
    expect_ramp(&f, "a", T0, T0 + 3 * BUCKET_MS + 1500000, 10000, 2311);
    expect_ramp(&f, "b", T0 + 3 * BUCKET_MS, T0 + 3 * BUCKET_MS + 1500000, 10000, 151);
    ramp(&f, series(&f, "b", "one"), T0 + 3 * BUCKET_MS + 1510000, T0 + 3 * BUCKET_MS + 1600000,
         10000);
    assert_int_equal(db_flush(f.db), 0);
    assert_int_equal(count_log(&f), 0);
    db_stats(f.db, &stats);
    assert_int_equal(stats.head_samples, 0);
    expect_ramp(&f, "b", T0 + 3 * BUCKET_MS, T0 + 3 * BUCKET_MS + 1600000, 10000, 161);
    ramp(&f, series(&f, "b", "one"), T0 + 3 * BUCKET_MS + 1610000, T0 + 3 * BUCKET_MS + 1700000,
         10000);
    assert_int_equal(db_flush(f.db), 0); /* a second run of the same two hours */
    restart(&f);
    db_stats(f.db, &stats);
    assert_int_equal(stats.runs, 5);
    assert_int_equal(stats.series, 2);
    expect_ramp(&f, "b", T0 + 3 * BUCKET_MS, T0 + 3 * BUCKET_MS + 1700000, 10000, 171);
    down(&f);
}

static uint64_t runs_after_look(struct fixture *f)
{
    struct db_stats stats;

    db_maintain(f->db, T0 + BUCKET_MS, 0);
    db_stats(f->db, &stats);
    return stats.runs;
}

/* More time than went by, and then nothing: that becomes runs. Minutes of a scrape do not. */
static void test_load_is_over(void **state)
{
    const int64_t end = T0 + 7000000;
    struct fixture f;

    (void)state;
    up(&f);
    db_close(f.db);
    db_up(&f, (struct db_options){.log_bytes_max = 640000});
    ramp(&f, series(&f, "a", "one"), T0, T0 + 1000000, 1000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(runs_after_look(&f), 0);
    assert_true(count_log(&f) > 640000 / 64);
    ramp(&f, series(&f, "a", "one"), T0 + 1001000, end, 1000);
    assert_int_equal(runs_after_look(&f), 0);
    assert_int_equal(runs_after_look(&f), 0);
    assert_int_equal(runs_after_look(&f), 1);
    assert_int_equal(count_log(&f), 0);
    assert_int_equal(put(&f, series(&f, "a", "one"), end + 1000, (double)(end + 1000 - T0), NULL), 0);
    assert_int_equal(runs_after_look(&f), 1);
    restart(&f);
    expect_ramp(&f, "a", T0, end + 1000, 1000, 7002);
    down(&f);
}

/* A day ahead, and back: what comes next is taken and kept, and begins new streams; also if the
 * first attempt fails half way. */
static void test_clock_set_back(void **state)
{
    const int64_t ahead = T0 + 12 * BUCKET_MS;
    bool done = false;

    (void)state;
    for (unsigned after = 0; !done; after++) {
        struct fixture f;
        struct db_result result;
        struct db_stats stats;
        uint32_t a;

        up(&f);
        a = series(&f, "a", "one");
        ramp(&f, a, T0, T0 + 60000, 1000);
        ramp(&f, a, ahead, ahead + 60000, 1000);
        assert_int_equal(put(&f, a, T0 + 61000, 61000, &result), 0);
        assert_int_equal(result.out_of_order, 1);
        store_fault(f.store, after, EIO);
        db_maintain(f.db, T0 + 61000, 0);
        store_fault(f.store, 0, 0);
        db_stats(f.db, &stats);
        done = stats.runs == 2;
        db_maintain(f.db, T0 + 61000 + 30000, 0); /* then it is tried again */
        db_stats(f.db, &stats);
        assert_int_equal(stats.runs, 2);
        assert_int_equal(stats.max_ms, 0);
        ramp(&f, a, T0 + 61000, T0 + 120000, 1000);
        assert_int_equal(put(&f, a, T0 + 120000, 7, &result), 0);
        assert_int_equal(result.duplicate, 1);
        for (int i = 0; i < 3; i++)
            db_maintain(f.db, T0 + 120000, 0);
        restart(&f);
        expect_ramp(&f, "a", T0, T0 + 120000, 1000, 121);
        down(&f);
        assert_true(after < 100);
    }
}

/* Many series, of several metrics, in groups; all and single ones are found in runs. */
static void test_many_series(void **state)
{
    struct fixture f;
    struct samples s = {0};
    struct query *q;
    struct query_item item;
    struct matcher m[2];

    (void)state;
    up(&f);
    for (int i = 0; i < 2000; i++) {
        char metric[16];
        char instance[16];

        snprintf(metric, sizeof metric, "m%d", i % 7);
        snprintf(instance, sizeof instance, "i%d", i);
        ramp(&f, series(&f, metric, instance), T0 + i, T0 + i + 300000, 30000);
    }
    assert_int_equal(db_flush(f.db), 0);
    for (int i = 0; i < 7; i++) {
        char metric[16];

        snprintf(metric, sizeof metric, "m%d", i);
        assert_int_equal(get(&f, metric, T0, T0 + BUCKET_MS, 0, &s), 2000 / 7 + (i < 2000 % 7));
        assert_int_equal(s.n, 11 * (2000 / 7 + (i < 2000 % 7)));
    }
    matcher_init(&m[0], MATCH_RE, SLICE("instance"), SLICE("i17|i1999|i3"), NULL);
    assert_int_equal(query_open(f.db, m, 1, T0, T0 + BUCKET_MS, 0, &q), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(query_next(q, &item), 1);
        assert_int_equal(item.n, 11);
        assert_true(bits_double(item.bits[10]) == (double)(item.ts[10] - T0));
    }
    assert_int_equal(query_next(q, &item), 0);
    query_close(q);
    matcher_done(&m[0]);
    samples_done(&s);
    down(&f);
}

static void test_order_of_time(void **state)
{
    struct fixture f;
    struct db_result r;
    uint32_t a;

    (void)state;
    up(&f);
    a = series(&f, "a", "one");
    ramp(&f, a, T0 + 1000000, T0 + 1000000, 1);
    put(&f, a, T0 + 1000000, (double)1000000, &r);
    assert_true(r.added == 1 && r.duplicate == 0);
    put(&f, a, T0 + 1000000, 1, &r);
    assert_true(r.added == 0 && r.duplicate == 1);
    put(&f, a, T0 + 300000, 1, &r);
    assert_true(r.added == 0 && r.out_of_order == 1);
    put(&f, a, -5, 1, &r);
    assert_true(r.added == 0 && r.out_of_order == 1);
    ramp(&f, a, T0 + 900000, T0 + 990000, 10000); /* late, but not too late */
    expect_ramp(&f, "a", T0 + 900000, T0 + 1000000, 10000, 11);
    restart(&f);
    expect_ramp(&f, "a", T0 + 900000, T0 + 1000000, 10000, 11);
    assert_int_equal(db_flush(f.db), 0);
    expect_ramp(&f, "a", T0 + 900000, T0 + 1000000, 10000, 11);
    down(&f);
}

static void test_retention(void **state)
{
    struct fixture f;
    struct db_stats stats;

    (void)state;
    up(&f);
    ramp(&f, series(&f, "a", "one"), T0, T0 + 5 * BUCKET_MS - 1, 60000);
    assert_int_equal(db_flush(f.db), 0);
    db_close(f.db);
    db_up(&f, (struct db_options){.retention_ms = 2 * BUCKET_MS});
    db_maintain(f.db, T0 + 5 * BUCKET_MS, T0 + 5 * BUCKET_MS);
    db_stats(f.db, &stats);
    assert_int_equal(stats.runs, 2);
    assert_true(stats.oldest_ms == T0 + 3 * BUCKET_MS);
    expect_ramp(&f, "a", T0 + 3 * BUCKET_MS, T0 + 5 * BUCKET_MS, 60000, 240);
    down(&f);
}

static void test_forgotten_series(void **state)
{
    struct fixture f;
    struct db_stats stats;
    struct samples s = {0};
    uint32_t old;

    (void)state;
    up(&f);
    for (int i = 0; i < 50; i++) {
        char instance[16];

        snprintf(instance, sizeof instance, "i%d", i);
        ramp(&f, series(&f, i % 2 == 0 ? "ended" : "both", instance), T0, T0 + 60000, 60000);
        if (i % 2 != 0)
            ramp(&f, series(&f, "both", instance), T0 + 4 * BUCKET_MS, T0 + 4 * BUCKET_MS + 60000,
                 60000);
    }
    old = series(&f, "ended", "i0");
    assert_int_equal(db_flush(f.db), 0);
    for (int round = 0; round < 2; round++) { /* known since the start, and learnt from the runs */
        uint64_t before;

        db_close(f.db);
        db_up(&f, (struct db_options){.retention_ms = 2 * BUCKET_MS});
        before = db_forgotten(f.db);
        db_stats(f.db, &stats);
        assert_int_equal(stats.series, round == 0 ? 50 : 26);
        db_maintain(f.db, T0 + 5 * BUCKET_MS, T0 + 5 * BUCKET_MS);
        db_stats(f.db, &stats);
        if (round == 1)
            break;
        assert_int_equal(stats.series, 25);
        assert_int_equal(db_forgotten(f.db) - before, 25);
        expect_ramp(&f, "ended", T0, T0 + 5 * BUCKET_MS, 60000, 0);
        assert_int_equal(get(&f, "both", T0, T0 + 5 * BUCKET_MS, 0, &s), 25);
        assert_int_equal(s.n, 50);
        /* it comes back as another one; what still has the old ref adds nothing */
        assert_int_not_equal(series(&f, "ended", "i0"), old);
        ramp(&f, series(&f, "ended", "i0"), T0 + 4 * BUCKET_MS, T0 + 4 * BUCKET_MS + 60000, 60000);
        expect_ramp(&f, "ended", T0 + 4 * BUCKET_MS, T0 + 5 * BUCKET_MS, 60000, 2);
        assert_int_equal(db_flush(f.db), 0);
    }
    expect_ramp(&f, "ended", T0 + 4 * BUCKET_MS, T0 + 5 * BUCKET_MS, 60000, 2);
    samples_done(&s);
    down(&f);
}

/* The store fails after any number of writes: what was said to be added is there, then and later. */
static void test_faults(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 12; n++) {
        struct fixture f;
        struct samples s = {0};
        int64_t ts = T0;
        size_t good = 0;
        int r;

        up(&f);
        for (int i = 0; i < 5; i++, ts += 1000)
            good += put(&f, series(&f, "a", "one"), ts, 1, NULL) == 0;
        store_fault(f.store, n, ENOSPC);
        for (int i = 0; i < 5; i++, ts += 1000)
            good += put(&f, series(&f, "a", i < 3 ? "one" : "two"), ts, 1, NULL) == 0;
        r = db_flush(f.db);
        get(&f, "a", T0, ts, 0, &s);
        assert_int_equal(s.n, good);
        store_fault(f.store, 0, 0);
        put(&f, series(&f, "a", "two"), ts, 1, NULL);
        good++;
        restart(&f);
        get(&f, "a", T0, ts, 0, &s);
        if (s.n != good)
            fail_msg("fault after %u writes (flush gave %d): %zu samples, expected %zu", n, r, s.n,
                     good);
        assert_int_equal(db_flush(f.db), 0);
        get(&f, "a", T0, ts, 0, &s);
        assert_int_equal(s.n, good);
        samples_done(&s);
        down(&f);
    }
}

static void test_large_append(void **state)
{
    struct fixture f;
    struct db_result r;
    struct samples s = {0};
    size_t n = 100000;
    struct db_sample *all = malloc(n * sizeof *all);

    (void)state;
    up(&f);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct db_sample){series(&f, "a", "one"), T0 + (int64_t)i, i * 0x9e3779b97f4a7c15ull};
    assert_int_equal(db_append(f.db, all, n, &r), 0);
    assert_int_equal(r.added, n);
    restart(&f);
    get(&f, "a", T0, T0 + BUCKET_MS, 0, &s);
    assert_int_equal(s.n, n);
    for (size_t i = 0; i < n; i++)
        assert_true(s.bits[i] == all[i].bits);
    assert_int_equal(db_flush(f.db), 0);
    get(&f, "a", T0, T0 + BUCKET_MS, 0, &s);
    assert_int_equal(s.n, n);
    for (size_t i = 0; i < n; i++)
        assert_true(s.bits[i] == all[i].bits);
    samples_done(&s);
    free(all);
    down(&f);
}

/* A batch of one sample; the first brings the others when it hears of itself: they are one group. */
struct group_member {
    struct db_pending pending; /* first */
    struct db_sample sample;
    struct fixture *f;
    struct group_member *others;
    size_t n_others;
    int heard; /* its place among those that heard; 0: it did not */
    int *n_heard;
    int r;
};

static void member_heard(struct db_pending *p, int r)
{
    struct group_member *m = (struct group_member *)p;

    m->heard = ++*m->n_heard;
    m->r = r;
    for (size_t i = 0; i < m->n_others; i++)
        db_append_durable(m->f->db, &m->others[i].pending);
    assert_int_equal(m->heard, *m->n_heard); /* they wait until this is over */
}

#define MEMBERS 5

static void group_of(struct fixture *f, struct group_member m[MEMBERS], int *n_heard)
{
    struct db_sample samples[MEMBERS] = {
        {series(f, "group", "first"), T0, double_bits(0)},
        {series(f, "group", "a"), T0, double_bits(0)},
        {series(f, "group", "a"), T0, double_bits(7)},        /* another value: refused */
        {series(f, "group", "a"), T0, double_bits(0)},        /* the same: good, and once there */
        {series(f, "group", "b"), T0, double_bits(0)},
    };

    *n_heard = 0;
    for (int i = 0; i < MEMBERS; i++) {
        m[i] = (struct group_member){.sample = samples[i], .f = f, .n_heard = n_heard};
        m[i].pending = (struct db_pending){
            .batch = {.samples = &m[i].sample, .n = 1, .whole = true}, .done = member_heard};
    }
    m[0].others = m + 1;
    m[0].n_others = MEMBERS - 1;
    db_append_durable(f->db, &m[0].pending);
}

static void test_group(void **state)
{
    struct fixture f;
    struct group_member m[MEMBERS];
    struct samples s = {0};
    int n_heard;

    (void)state;
    up(&f);
    group_of(&f, m, &n_heard);
    for (int i = 0; i < MEMBERS; i++) {
        assert_int_equal(m[i].heard, i + 1);
        assert_int_equal(m[i].r, 0);
        assert_int_equal(m[i].pending.result.added, i != 2);
        assert_int_equal(m[i].pending.result.duplicate, i == 2);
    }
    assert_int_equal(get(&f, "group", T0, T0, 0, &s), 3);
    restart(&f);
    assert_int_equal(get(&f, "group", T0, T0, 0, &s), 3);
    assert_int_equal(s.n, 3);
    samples_done(&s);
    down(&f);
}

/* Each write may fail, and each sync: who heard that it is stored finds it after a restart. */
static void test_group_faults(void **state)
{
    size_t whole = 0;

    (void)state;
    for (unsigned n = 0; n < 12; n++) {
        struct fixture f;
        struct group_member m[MEMBERS];
        struct samples s = {0};
        int n_heard;

        up(&f);
        store_fault(f.store, n, EIO);
        group_of(&f, m, &n_heard);
        store_fault(f.store, 0, 0);
        assert_int_equal(n_heard, MEMBERS);
        restart(&f);
        whole += m[MEMBERS - 1].r == 0;
        for (int i = 0; i < MEMBERS; i++) {
            bool stored = m[i].r == 0 && m[i].pending.result.added == 1;
            const char *instance = i == 0 ? "first" : i < 4 ? "a" : "b";
            struct label room[2] = {{LABEL_NAME, SLICE("group")},
                                    {SLICE("instance"), slice_str(instance)}};

            if (stored && db_find(f.db, &(struct labels){room, 2}) == SERIES_NONE)
                fail_msg("fault after %u writes: '%s' is lost", n, instance);
        }
        get(&f, "group", T0, T0, 0, &s);
        assert_true(s.n >= (size_t)((m[0].r == 0) + (m[1].r == 0) + (m[4].r == 0)));
        samples_done(&s);
        down(&f);
    }
    assert_true(whole > 0 && whole < 12);
}

#define WRITERS 5
#define ROUNDS  400

struct crowd {
    struct fixture *f;
    int number;
    int *stopped;
};

struct waited {
    struct db_pending pending; /* first */
    sem_t over;
    int r;
};

static void waited_done(struct db_pending *p, int r)
{
    struct waited *w = (struct waited *)p;

    w->r = r;
    sem_post(&w->over);
}

static int put_durable(struct fixture *f, struct db_sample sample)
{
    struct waited w = {.pending = {.batch = {.samples = &sample, .n = 1}, .done = waited_done}};

    sem_init(&w.over, 0, 0);
    db_append_durable(f->db, &w.pending);
    while (sem_wait(&w.over) < 0)
        ;
    sem_destroy(&w.over);
    return w.r < 0 ? w.r : w.pending.result.added == 1 ? 0 : -EINVAL;
}

static void *append_thread(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < ROUNDS; i++) {
        char instance[16];
        struct db_sample sample = {.ts_ms = T0 + i / 7 * 1000,
                                   .bits = double_bits((double)(i / 7 * 1000))};

        snprintf(instance, sizeof instance, "w%d-%d", c->number, i % 7);
        /* seven series, all with samples a second apart */
        sample.ref = series(c->f, "crowd", instance);
        if (c->number % 2 == 0 ? put_durable(c->f, sample) < 0
                               : db_append(c->f->db, &sample, 1, &(struct db_result){0}) < 0)
            abort();
    }
    return NULL;
}

static void *flush_thread(void *arg)
{
    struct crowd *c = arg;

    while (!__atomic_load_n(c->stopped, __ATOMIC_ACQUIRE))
        if (db_flush(c->f->db) < 0)
            abort();
    return NULL;
}

/* What was seen once never goes away, and has no holes, whatever moves from the head to runs. */
static void *read_thread(void *arg)
{
    struct crowd *c = arg;
    size_t before = 0;

    while (!__atomic_load_n(c->stopped, __ATOMIC_ACQUIRE)) {
        struct query *q;
        struct query_item item;
        struct matcher m;
        struct db_stats stats;
        size_t n = 0;

        db_stats(c->f->db, &stats); /* of which some are counted under another lock */
        matcher_init(&m, MATCH_EQ, LABEL_NAME, SLICE("crowd"), NULL);
        query_open(c->f->db, &m, 1, T0, T0 + BUCKET_MS, 0, &q);
        while (query_next(q, &item) > 0) {
            for (size_t i = 0; i < item.n; i++)
                if (item.ts[i] != T0 + (int64_t)i * 1000)
                    abort();
            n += item.n;
        }
        query_close(q);
        matcher_done(&m);
        if (n < before)
            abort();
        before = n;
    }
    return NULL;
}

static void test_crowd(void **state)
{
    struct fixture f;
    pthread_t threads[WRITERS + 2];
    struct crowd crowd[WRITERS + 2];
    int stopped = 0;
    struct samples s = {0};

    (void)state;
    up(&f);
    log_set_level(LOG_WARN);
    for (int i = 0; i < WRITERS + 2; i++) {
        crowd[i] = (struct crowd){.f = &f, .number = i, .stopped = &stopped};
        pthread_create(&threads[i], NULL,
                       i < WRITERS ? append_thread : i == WRITERS ? flush_thread : read_thread,
                       &crowd[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    __atomic_store_n(&stopped, 1, __ATOMIC_RELEASE);
    for (int i = WRITERS; i < WRITERS + 2; i++)
        pthread_join(threads[i], NULL);
    log_set_level(LOG_INFO);
    assert_int_equal(get(&f, "crowd", T0, T0 + BUCKET_MS, 0, &s), WRITERS * 7);
    assert_int_equal(s.n, WRITERS * ROUNDS);
    samples_done(&s);
    restart(&f);
    get(&f, "crowd", T0, T0 + BUCKET_MS, 0, &s);
    assert_int_equal(s.n, WRITERS * ROUNDS);
    samples_done(&s);
    down(&f);
}

/* A histogram of which the bytes depend on i. */
static struct histogram *histogram_at(unsigned i)
{
    struct histogram *h = histogram_new(&(struct histogram_shape){1, 3, 0, 0, 0});

    h->schema = 1;
    h->integer = i % 2 == 0;
    h->count = 3 * i + 3;
    h->sum = i * 0.1;
    h->positive.spans[0] = (struct histogram_span){(int32_t)(i % 7), 3};
    for (unsigned k = 0; k < 3; k++)
        h->positive.counts[k] = i + k;
    return h;
}

static struct db_result put_histogram(struct fixture *f, uint32_t ref, int64_t ts, unsigned i,
                                      bool whole)
{
    struct histogram *h = histogram_at(i);
    struct db_sample s = {ref, ts, HISTOGRAM_BITS};
    struct db_result result;
    autobuf bytes = {0};
    struct slice payload;

    histogram_encode(&bytes, h);
    payload = buf_slice(&bytes);
    assert_int_equal(db_append_batch(f->db, &(struct db_batch){&s, 1, &payload, whole, NULL, NULL, 0}, &result), 0);
    histogram_free(h);
    return result;
}

#define MIXED_STEP 15000

/* Every third sample of series "h" is a float, the bits of sample 5 are the mark's; the rest are
 * histograms: all of the range, and the last alone. */
static void expect_mixed(struct fixture *f, unsigned from, unsigned to, const char *when)
{
    struct query *q;
    struct query_item item;
    struct matcher m;
    struct histogram *want = histogram_at(to);

    matcher_init(&m, MATCH_EQ, LABEL_NAME, SLICE("h"), NULL);
    query_open(f->db, &m, 1, T0 + (int64_t)from * MIXED_STEP, T0 + (int64_t)to * MIXED_STEP, 0, &q);
    if (query_next(q, &item) != 1 || item.n != to - from + 1 || item.histograms == NULL)
        fail_msg("%s: not what was put", when);
    for (unsigned i = from; i <= to; i++) {
        const struct histogram *h = item.histograms[i - from];
        struct histogram *put = histogram_at(i);

        if ((h == NULL) != (i % 3 == 0 || i == 5) || (h != NULL && !histogram_eq(h, put)) ||
            (h == NULL && i != 5 && item.bits[i - from] != double_bits(i)) ||
            (i == 5 && item.bits[i - from] != HISTOGRAM_BITS))
            fail_msg("%s: sample %u", when, i);
        histogram_free(put);
    }
    query_close(q);
    query_open(f->db, &m, 1, T0, T0 + (int64_t)to * MIXED_STEP, QUERY_LAST, &q);
    assert_int_equal(query_next(q, &item), 1);
    assert_int_equal(item.n, 1);
    if (to % 3 != 0 && !histogram_eq(item.histograms[0], want))
        fail_msg("%s: the last one", when);
    assert_int_equal(query_next(q, &item), 0);
    query_close(q);
    matcher_done(&m);
    histogram_free(want);
}

static void put_mixed(struct fixture *f, uint32_t ref, unsigned i)
{
    int64_t ts = T0 + (int64_t)i * MIXED_STEP;

    if (i == 5)
        assert_int_equal(put(f, ref, ts, bits_double(HISTOGRAM_BITS), NULL), 0);
    else if (i % 3 == 0)
        assert_int_equal(put(f, ref, ts, i, NULL), 0);
    else
        assert_int_equal(put_histogram(f, ref, ts, i, 0).added, 1);
}

static void test_histograms(void **state)
{
    struct fixture f;
    uint32_t ref;
    unsigned n = 2 * BUCKET_MS / MIXED_STEP;

    (void)state;
    up(&f);
    ref = series(&f, "h", "one");
    ramp(&f, series(&f, "g", "one"), T0, T0 + BUCKET_MS, 60000);
    for (unsigned i = 0; i <= n; i++)
        if (i != n - 7) /* it comes late */
            put_mixed(&f, ref, i);
    assert_int_equal(put_histogram(&f, ref, T0 + (int64_t)(n - 7) * MIXED_STEP, n - 7, 0).added, 1);
    expect_mixed(&f, 0, n - 1, "in the head");
    restart(&f);
    expect_mixed(&f, 0, n - 1, "from the log");
    db_maintain(f.db, T0 + 2 * BUCKET_MS, 0);
    expect_mixed(&f, 0, n - 1, "half in a run");
    assert_int_equal(db_flush(f.db), 0);
    expect_mixed(&f, 0, n - 1, "in runs");
    expect_mixed(&f, 300, 320, "some in runs");
    restart(&f);
    expect_mixed(&f, 0, n - 1, "in runs, after a restart");
    expect_ramp(&f, "g", T0, T0 + BUCKET_MS, 60000, BUCKET_MS / 60000 + 1);
    down(&f);
}

/* Another value at one time, a whole request that is refused, a stale marker. */
static void test_histograms_refused(void **state)
{
    struct fixture f;
    uint32_t ref;
    struct histogram *h = histogram_at(0);
    struct db_sample two[2];
    uint8_t verdicts[2];
    struct slice payload;
    struct db_result r;
    struct query *q;
    struct query_item item;
    autobuf bytes = {0};

    (void)state;
    up(&f);
    ref = series(&f, "h", "one");
    assert_int_equal(put_histogram(&f, ref, T0 + 1000, 1, 0).added, 1);
    assert_int_equal(put_histogram(&f, ref, T0 + 1000, 1, 0).added, 1);
    assert_int_equal(put_histogram(&f, ref, T0 + 1000, 2, false).duplicate, 1);
    assert_int_equal(put_histogram(&f, ref, T0 + 1000, 2, true).duplicate, 1);
    assert_int_equal(put(&f, ref, T0 + 1000, 1, &r), 0);
    assert_int_equal(r.duplicate, 1);
    two[0] = (struct db_sample){series(&f, "x", "one"), T0, double_bits(1)};
    two[1] = (struct db_sample){ref, T0 + 1000, double_bits(2)};
    assert_int_equal(db_append_batch(f.db, &(struct db_batch){two, 2, NULL, true, verdicts, NULL, 0}, &r), 0);
    assert_int_equal(r.duplicate, 1);
    assert_int_equal(r.added, 0);
    assert_int_equal(verdicts[0], DB_NEW);
    assert_int_equal(verdicts[1], DB_DUPLICATE);
    h->sum = bits_double(VALUE_STALE_BITS);
    histogram_encode(&bytes, h);
    payload = buf_slice(&bytes);
    two[0] = (struct db_sample){ref, T0 + 2000, HISTOGRAM_BITS};
    assert_int_equal(db_append_batch(f.db, &(struct db_batch){two, 1, &payload, true, NULL, NULL, 0}, &r), 0);
    assert_int_equal(r.added, 1);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(query_open(f.db, NULL, 0, T0, T0 + 5000, 0, &q), 0);
        assert_int_equal(query_next(q, &item), 1);
        assert_int_equal(item.n, 2);
        assert_int_equal(item.bits[0], HISTOGRAM_BITS);
        assert_true(item.bits[1] == VALUE_STALE_BITS);
        assert_true(histogram_eq(item.histograms[1], h));
        assert_int_equal(query_next(q, &item), 0);
        query_close(q);
        if (round == 0)
            restart(&f);
        else
            assert_int_equal(db_flush(f.db), 0);
    }
    histogram_free(h);
    down(&f);
}

static void live_series(void *ctx, const struct index *ix)
{
    *(int *)ctx = (int)index_live(ix);
}

/* Whole series, and a part of one, from head and runs; they come back from nowhere. */
static void test_delete(void **state)
{
    struct fixture f;
    struct samples s = {0};
    struct refs refs = {0};
    uint32_t a;
    uint32_t b;
    uint32_t h;
    int live = 0;

    (void)state;
    up(&f);
    a = series(&f, "a", "one");
    b = series(&f, "b", "one");
    h = series(&f, "h", "one");
    ramp(&f, a, T0 + 1000, T0 + 3 * BUCKET_MS, 60000);
    ramp(&f, b, T0 + 1000, T0 + 3 * BUCKET_MS, 60000);
    for (unsigned i = 0; i <= 960; i++)
        put_mixed(&f, h, i);
    db_maintain(f.db, T0 + 3 * BUCKET_MS, 0);
    refs_add(&refs, b);
    refs_add(&refs, h);
    assert_int_equal(db_delete(f.db, &refs, T0 + BUCKET_MS, T0 + 2 * BUCKET_MS - 1), 0);
    for (int round = 0; round < 2; round++) {
        expect_ramp(&f, "a", T0 + 1000, T0 + 3 * BUCKET_MS - 59000, 60000, 360);
        assert_int_equal(get(&f, "b", T0 + BUCKET_MS, T0 + 2 * BUCKET_MS - 1, 0, &s), 0);
        expect_ramp(&f, "b", T0 + 1000, T0 + BUCKET_MS - 59000, 60000, 120);
        get(&f, "b", 0, INT64_MAX, 0, &s);
        assert_int_equal(s.n, 240);
        expect_mixed(&f, 0, 479, "after the delete");
        restart(&f);
    }
    assert_int_equal(db_delete(f.db, &refs, INT64_MIN, INT64_MAX), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(get(&f, "b", 0, INT64_MAX, 0, &s), 0);
        assert_int_equal(get(&f, "h", 0, INT64_MAX, 0, &s), 0);
        expect_ramp(&f, "a", T0 + 1000, T0 + 3 * BUCKET_MS - 59000, 60000, 360);
        db_look(f.db, live_series, &live);
        assert_int_equal(live, 1);
        restart(&f);
    }
    assert_int_equal(put(&f, series(&f, "b", "one"), T0 + 3 * BUCKET_MS, 1, NULL), 0);
    assert_int_equal(get(&f, "b", 0, INT64_MAX, 0, &s), 1);
    samples_done(&s);
    refs_done(&refs);
    down(&f);
}

/* Cut anywhere, a delete is whole after the next start. */
static void test_delete_faults(void **state)
{
    bool done = false;

    (void)state;
    for (unsigned after = 0; !done; after++) {
        struct fixture f;
        struct samples s = {0};
        struct refs refs = {0};
        bool begun;

        up(&f);
        refs_add(&refs, series(&f, "b", "one"));
        ramp(&f, refs.items[0], T0 + 1000, T0 + 2 * BUCKET_MS, 600000);
        ramp(&f, series(&f, "a", "one"), T0 + 1000, T0 + 2 * BUCKET_MS, 600000);
        for (unsigned i = 0; i < 500; i += 50)
            put_mixed(&f, series(&f, "h", "one"), i);
        assert_int_equal(db_flush(f.db), 0);
        store_fault(f.store, after, EIO);
        done = db_delete(f.db, &refs, INT64_MIN, INT64_MAX) == 0;
        store_fault(f.store, 0, 0);
        restart(&f);
        begun = get(&f, "b", 0, INT64_MAX, 0, &s) == 0;
        if (!begun)
            assert_int_equal(s.n, 24); /* it had not begun: all is there */
        if (done)
            assert_true(begun);
        assert_int_equal(get(&f, "a", 0, INT64_MAX, 0, &s), 1);
        assert_int_equal(s.n, 24);
        assert_int_equal(get(&f, "h", 0, INT64_MAX, 0, &s), 1);
        assert_int_equal(s.n, 10);
        samples_done(&s);
        refs_done(&refs);
        down(&f);
        assert_true(after < 100);
    }
}

static size_t count_runs(struct fixture *f)
{
    struct db_stats stats;

    db_stats(f->db, &stats);
    return (size_t)stats.runs;
}

/* Many runs of a bucket become one that reads the same. */
static void test_compact(void **state)
{
    struct fixture f;
    uint32_t a;
    uint32_t h;
    unsigned at = 0;

    (void)state;
    up(&f);
    a = series(&f, "a", "one");
    h = series(&f, "h", "one");
    for (int part = 0; part < 8; part++) {
        for (unsigned i = 0; i < 60; i++, at++)
            put_mixed(&f, h, at);
        ramp(&f, a, T0 + 1000 + part * 900000, T0 + part * 900000 + 898000, 1000);
        assert_int_equal(db_flush(f.db), 0);
    }
    assert_int_equal(count_runs(&f), 8);
    assert_int_equal(db_compact(f.db, T0), 0); /* the bucket may still grow */
    ramp(&f, a, T0 + 2 * BUCKET_MS, T0 + 2 * BUCKET_MS, 1000);
    put_mixed(&f, h, 961);
    assert_int_equal(db_compact(f.db, T0), 1);
    assert_int_equal(db_compact(f.db, T0), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(count_runs(&f), 1);
        expect_mixed(&f, 0, 479, "compacted");
        expect_ramp(&f, "a", T0 + 1000, T0 + 898000, 1000, 898);
        expect_ramp(&f, "a", T0 + 6301000, T0 + 7198000, 1000, 898);
        restart(&f);
    }
    down(&f);
}

/* Cut anywhere, nothing is lost, and the next time it is done. */
static void test_compact_faults(void **state)
{
    bool done = false;

    (void)state;
    for (unsigned after = 0; !done; after++) {
        struct fixture f;
        uint32_t h;
        unsigned at = 0;

        up(&f);
        h = series(&f, "h", "one");
        for (int part = 0; part < 6; part++) {
            for (unsigned i = 0; i < 20; i++, at++)
                put_mixed(&f, h, at);
            assert_int_equal(db_flush(f.db), 0);
        }
        put_mixed(&f, h, 961);
        store_fault(f.store, after, ENOSPC);
        done = db_compact(f.db, T0) == 1;
        store_fault(f.store, 0, 0);
        expect_mixed(&f, 0, 119, "after the cut");
        restart(&f);
        expect_mixed(&f, 0, 119, "after the next start");
        while (db_compact(f.db, T0) > 0)
            ;
        assert_in_range(count_runs(&f), 1, 4); /* old ones may be left: few enough */
        expect_mixed(&f, 0, 119, "compacted after all");
        down(&f);
        assert_true(after < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head),         cmocka_unit_test(test_replay),
        cmocka_unit_test(test_runs), cmocka_unit_test(test_load_is_over),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_many_series),
        cmocka_unit_test(test_order_of_time), cmocka_unit_test(test_retention),
        cmocka_unit_test(test_forgotten_series),
        cmocka_unit_test(test_faults),       cmocka_unit_test(test_large_append),
        cmocka_unit_test(test_histograms),   cmocka_unit_test(test_histograms_refused),
        cmocka_unit_test(test_delete),       cmocka_unit_test(test_delete_faults),
        cmocka_unit_test(test_compact),      cmocka_unit_test(test_compact_faults),
        cmocka_unit_test(test_group),        cmocka_unit_test(test_group_faults),
        cmocka_unit_test(test_crowd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
