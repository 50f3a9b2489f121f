/* Start times: kept beside the samples, whatever becomes of these. */
#include "metrics/head/db_internal.h"
#include "metrics/query.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0     (1700000000000ll / BUCKET_MS * BUCKET_MS)
#define SERIES 6
#define MOMENT 1000
#define TIMES  40000 /* moments: some six buckets */

/* What should be there: of each series and moment, if there is a sample, and its start. */
struct model {
    bool there[SERIES][TIMES];
    int64_t start[SERIES][TIMES];
};

struct fixture {
    struct store *store;
    struct db *db;
    uint32_t refs[SERIES];
    struct model *model;
};

static void db_up(struct fixture *f)
{
    struct db_options options = {.out_of_order_ms = TIMES * MOMENT, .no_thread = true};
    autobuf why = {0};

    if (db_open(f->store, &options, &f->db, &why) < 0)
        fail_msg("%s", why.data);
    for (size_t i = 0; i < SERIES; i++) {
        char name[2] = {(char)('a' + i), 0};
        struct label l = {LABEL_NAME, slice_str(name)};

        f->refs[i] = db_series(f->db, &(struct labels){&l, 1});
    }
}

static void up(struct fixture *f)
{
    autobuf why = {0};

    if (store_open("mem:", &(struct store_options){0}, &f->store, &why) < 0)
        fail_msg("%s", why.data);
    f->model = calloc(1, sizeof *f->model);
    db_up(f);
}

static void down(struct fixture *f)
{
    db_close(f->db);
    store_close(f->store);
    free(f->model);
}

static void restart(struct fixture *f)
{
    db_close(f->db);
    db_up(f);
}

/* A batch, and the model's. What has a time already is left alone. */
struct batch {
    struct db_sample samples[256];
    struct db_start starts[256];
    size_t n, n_starts;
};

static void put(struct fixture *f, struct batch *b, size_t series, size_t moment, int64_t start)
{
    if (f->model->there[series][moment] || b->n == 256)
        return;
    f->model->there[series][moment] = true;
    f->model->start[series][moment] = start;
    b->samples[b->n] = (struct db_sample){f->refs[series], T0 + (int64_t)moment * MOMENT,
                                          double_bits((double)moment)};
    if (start != 0)
        b->starts[b->n_starts++] = (struct db_start){b->n, start};
    b->n++;
}

static void send(struct fixture *f, struct batch *b)
{
    struct db_result result;
    struct db_batch batch = {
        .samples = b->samples, .n = b->n, .starts = b->starts, .n_starts = b->n_starts};

    assert_int_equal(db_append_batch(f->db, &batch, &result), 0);
    assert_int_equal(result.added, b->n);
    b->n = b->n_starts = 0;
}

static void check_series(const struct fixture *f, const struct query_item *item, size_t series,
                         const char *when)
{
    size_t at = 0;

    for (size_t m = 0; m < TIMES; m++) {
        int64_t start = f->model->start[series][m];

        if (!f->model->there[series][m])
            continue;
        if (at == item->n || item->ts[at] != T0 + (int64_t)m * MOMENT)
            fail_msg("%s: series %zu has no sample at %zu", when, series, m);
        if ((item->starts != NULL ? item->starts[at] : 0) != start)
            fail_msg("%s: series %zu at %zu: start %lld, not %lld", when, series, m,
                     (long long)(item->starts != NULL ? item->starts[at] : 0), (long long)start);
        at++;
    }
    if (at != item->n)
        fail_msg("%s: series %zu has samples that are too many", when, series);
}

static void check(struct fixture *f, const char *when)
{
    struct query *q;
    struct query_item item;
    int r;

    assert_int_equal(query_open(f->db, NULL, 0, T0, INT64_MAX, QUERY_STARTS, &q), 0);
    while ((r = query_next(q, &item)) > 0)
        for (size_t i = 0; i < SERIES; i++)
            if (item.ref == f->refs[i])
                check_series(f, &item, i, when);
    assert_int_equal(r, 0);
    query_close(q);
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

/* Series 0 never has starts, 1 one that stays, 2 one that changes at times, 3 one for each sample,
 * 4 and 5 what comes. */
static int64_t start_for(size_t series, size_t moment, unsigned *random)
{
    int64_t ts = T0 + (int64_t)moment * MOMENT;

    switch (series) {
    case 0:
        return 0;
    case 1:
        return T0 - 5000;
    case 2:
        return T0 + (int64_t)(moment / 3000) * 3000 * MOMENT - 1;
    case 3:
        return ts - MOMENT;
    default:
        return next_random(random) % 3 == 0 ? 0 : ts - (int64_t)(next_random(random) % 5) * 777;
    }
}

static void load(struct fixture *f, size_t from, size_t to, size_t step, unsigned *random)
{
    struct batch b = {.n = 0};

    for (size_t m = from; m < to; m += step)
        for (size_t i = 0; i < SERIES; i++) {
            put(f, &b, i, m, start_for(i, m, random));
            if (b.n == 256)
                send(f, &b);
        }
    send(f, &b);
}

static void forget(struct fixture *f, size_t series, size_t from, size_t to)
{
    struct refs refs = {0};

    refs_add(&refs, f->refs[series]);
    assert_int_equal(db_delete(f->db, &refs, T0 + (int64_t)from * MOMENT,
                               T0 + (int64_t)to * MOMENT),
                     0);
    refs_done(&refs);
    for (size_t m = from; m <= to; m++)
        f->model->there[series][m] = false;
}

/* Through head, log, runs, late samples in head and run, deletes and compaction. */
static void test_life(void **state)
{
    struct fixture f;
    unsigned random = 7;

    (void)state;
    up(&f);
    load(&f, 0, 20000, 10, &random);
    check(&f, "head");
    restart(&f);
    check(&f, "log");
    load(&f, 5, 9000, 30, &random);
    check(&f, "late, in the head");
    restart(&f);
    check(&f, "late, from the log");
    assert_int_equal(db_flush(f.db), 0);
    check(&f, "runs");
    restart(&f);
    check(&f, "runs after a start");
    load(&f, 7, 15000, 70, &random);
    check(&f, "late, runs and head");
    load(&f, 20000, 40000, 10, &random);
    assert_int_equal(flush_until(f.db, f.db->bucket), 0);
    check(&f, "a part of the head as runs");
    load(&f, 3, 39000, 1111, &random);
    restart(&f);
    check(&f, "a part in the log");
    for (size_t i = 0; i < 4; i++) {
        load(&f, 11 + i, 12000, 500, &random);
        assert_int_equal(db_flush(f.db), 0);
    }
    check(&f, "many runs");
    forget(&f, 3, 100, 5000);
    forget(&f, 4, 7000, 22222);
    check(&f, "deleted");
    while (db_compact(f.db, T0 + 100ll * BUCKET_MS) > 0)
        ;
    check(&f, "compacted");
    restart(&f);
    check(&f, "at the end");
    down(&f);
}

/* The clock is set back while the head holds what is ahead of it. */
static void test_clock_back(void **state)
{
    struct fixture f;
    unsigned random = 3;

    (void)state;
    up(&f);
    load(&f, 20000, 30000, 10, &random);
    assert_int_equal(flush_until(f.db, FLUSH_ANEW), 0);
    load(&f, 0, 10000, 10, &random);
    check(&f, "behind what is in runs");
    restart(&f);
    check(&f, "the same from the log");
    load(&f, 10000, 20000, 10, &random);
    load(&f, 30000, 32000, 10, &random);
    check(&f, "caught up");
    pthread_rwlock_wrlock(&f.db->lock);
    streams_begin_anew(f.db);
    pthread_rwlock_unlock(&f.db->lock);
    load(&f, 5, 9000, 10, &random);
    check(&f, "behind what is in the head");
    assert_int_equal(db_flush(f.db), 0);
    check(&f, "at the end");
    down(&f);
}

/* Who never told a start has nothing of it, in memory or on disk. */
static int count_part(void *ctx, struct slice part)
{
    (void)part;
    *(size_t *)ctx += 1;
    return 0;
}

static size_t runs_of_starts(struct fixture *f)
{
    size_t n = 0;

    assert_int_equal(store_bulk_partitions(f->store, STORE_SAMPLES, SLICE(SINCE_PREFIX),
                                           count_part, &n),
                     0);
    return n;
}

static void test_none(void **state)
{
    struct fixture f;
    struct batch b = {.n = 0};

    (void)state;
    up(&f);
    for (size_t m = 0; m < 200; m++)
        put(&f, &b, 0, m, 0);
    send(&f, &b);
    assert_int_equal(sinces_bytes(f.db->sinces), 0);
    assert_int_equal(db_flush(f.db), 0);
    assert_int_equal(runs_of_starts(&f), 0);
    put(&f, &b, 1, 300, T0);
    send(&f, &b);
    assert_true(sinces_bytes(f.db->sinces) > 0);
    assert_int_equal(db_flush(f.db), 0);
    assert_int_equal(runs_of_starts(&f), 1);
    assert_false(index_series(f.db->index, f.refs[1])->since); /* the head is empty again */
    check(&f, "one");
    forget(&f, 1, 0, TIMES - 1);
    assert_int_equal(runs_of_starts(&f), 0);
    check(&f, "none");
    down(&f);
}

/* The time a start is in force from is that of its samples alone. */
static void test_list(void **state)
{
    struct since_list l = {0};

    (void)state;
    since_add(&l, 10, 0);
    assert_int_equal(l.n, 0);
    since_add(&l, 20, 5);
    since_add(&l, 30, 5);
    assert_int_equal(l.n, 1);
    assert_int_equal(since_at(&l, 19), 0);
    assert_int_equal(since_at(&l, 1000), 5);
    since_put(&l, 25, 7); /* late */
    assert_int_equal(since_at(&l, 20), 5);
    assert_int_equal(since_at(&l, 25), 7);
    assert_int_equal(since_at(&l, 30), 5);
    since_put(&l, 15, 5);
    assert_int_equal(since_at(&l, 15), 5);
    assert_int_equal(since_at(&l, 20), 5);
    since_add(&l, 40, 0);
    assert_int_equal(since_at(&l, 40), 0);
    since_cut(&l, 22, 27);
    assert_int_equal(since_at(&l, 20), 5);
    assert_int_equal(since_at(&l, 30), 5);
    assert_int_equal(since_at(&l, 40), 0);
    since_cut(&l, INT64_MIN, 30);
    assert_int_equal(since_at(&l, 31), 5);
    assert_int_equal(since_at(&l, 40), 0);
    since_cut(&l, 31, INT64_MAX);
    assert_int_equal(l.n, 0);
    since_list_done(&l);
}

/* A tier keeps the starts of the samples that it keeps. */
static void test_tier(void **state)
{
    struct fixture f;
    struct batch b = {.n = 0};
    struct query *q;
    struct query_item item;
    struct db_options options = {.out_of_order_ms = TIMES * MOMENT,
                                 .no_thread = true,
                                 .downsample_ms = 300000};
    autobuf why = {0};
    size_t n = 0;

    (void)state;
    up(&f);
    for (size_t m = 0; m < 7200; m += 60)
        put(&f, &b, 2, m, T0 + (int64_t)(m / 3600) * 1000);
    send(&f, &b);
    assert_int_equal(db_flush(f.db), 0);
    db_close(f.db);
    assert_int_equal(db_open(f.store, &options, &f.db, &why), 0);
    while (db_compact(f.db, T0 + 100ll * DAY_MS) > 0)
        ;
    assert_int_equal(query_open(f.db, NULL, 0, T0, INT64_MAX, QUERY_STARTS, &q), 0);
    query_grain(q, &(struct query_grain){COARSE_LAST, 3600000, 3600000, false});
    assert_int_equal(query_next(q, &item), 1);
    assert_int_equal(item.window_ms, 300000);
    for (size_t i = 0; i < item.n; i++, n++)
        assert_int_equal(item.starts[i],
                         T0 + (item.ts[i] - T0) / 3600000 * 1000 * (item.ts[i] >= T0 + 3600000));
    assert_in_range(n, 20, 40);
    query_close(q);
    down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_tier),
        cmocka_unit_test(test_clock_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
