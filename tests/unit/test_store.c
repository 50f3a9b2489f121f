#include "test_store.h"

#include "base/codec.h"

#include <pthread.h>
#include <semaphore.h>

#define LARGE_RECORD ((size_t)300 << 10)

static void test_rows(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct store_batch *b;

    assert_string_equal(get(s, "p", "a"), "-");
    assert_int_equal(put(s, "p", "a", "1"), 0);
    assert_string_equal(get(s, "p", "a"), "1");
    assert_string_equal(get(s, "pa", ""), "-"); /* partitions do not run into each other */
    b = store_batch_new(s, text("p"));
    store_batch_put(b, text("a"), text("2"));
    store_batch_put(b, text("b"), text(""));
    store_batch_delete(b, text("a"));
    assert_int_equal(store_commit(b, STORE_DURABLE), 0);
    assert_string_equal(get(s, "p", "a"), "-");
    assert_string_equal(get(s, "p", "b"), "");
    assert_int_equal(put(s, "p", "", "the empty key"), 0);
    assert_string_equal(get(s, "p", ""), "the empty key");
}

static void test_refused(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    char *large = calloc(1, STORE_VALUE_MAX + 1);
    struct store_batch *b;

    assert_int_equal(put(s, "", "k", "v"), -EINVAL);
    assert_int_equal(put(s, "\001blobs", "k", "v"), -EINVAL);
    b = store_batch_new(s, slice_of("a\0b", 3));
    assert_int_equal(store_commit(b, 0), -EINVAL);
    b = store_batch_new(s, text("p"));
    store_batch_put(b, text("k"), slice_of(large, STORE_VALUE_MAX + 1));
    store_batch_put(b, text("l"), text("x"));
    assert_int_equal(store_commit(b, 0), -EFBIG);
    assert_string_equal(get(s, "p", "l"), "-"); /* all or nothing */
    b = store_batch_new(s, text("p"));
    store_batch_put(b, text("k"), slice_of(large, STORE_VALUE_MAX));
    assert_int_equal(store_commit(b, 0), 0);
    store_batch_free(store_batch_new(s, text("p")));
    free(large);
}

static void test_guards(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    static const struct {
        const char *name, *present, *expect; /* NULL: absent */
        int result;
    } cases[] = {
        {"absent, as expected", NULL, NULL, 0},
        {"present, expected absent", "x", NULL, -EAGAIN},
        {"same value", "x", "x", 0},
        {"other value", "x", "y", -EAGAIN},
        {"longer value", "x", "xx", -EAGAIN},
        {"absent, expected a value", NULL, "x", -EAGAIN},
        {"absent, expected an empty one", NULL, "", -EAGAIN},
        {"empty, expected absent", "", NULL, -EAGAIN},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store_batch *b;
        int r;

        assert_int_equal(store_drop(s, text("g")), 0);
        if (cases[i].present != NULL)
            assert_int_equal(put(s, "g", "k", cases[i].present), 0);
        b = store_batch_new(s, text("g"));
        store_batch_put(b, text("other"), text("1"));
        if (cases[i].expect != NULL)
            store_batch_expect(b, text("k"), text(cases[i].expect));
        else
            store_batch_expect_absent(b, text("k"));
        r = store_commit(b, STORE_DURABLE);
        if (r != cases[i].result)
            fail_msg("%s: %d", cases[i].name, r);
        assert_string_equal(get(s, "g", "other"), r == 0 ? "1" : "-");
    }
}

/* What a scan yields, as "key=value key=value". */
static const char *scan(struct store *s, const char *from, const char *to, unsigned flags,
                        const char *seek)
{
    static char out[512];
    struct store_scan *c = NULL;
    struct slice key, value;
    size_t n = 0;
    int r;

    assert_int_equal(store_scan(s, text("s"), text(from), text(to), flags, &c), 0);
    if (seek != NULL)
        store_scan_seek(c, text(seek));
    out[0] = 0;
    while ((r = store_scan_next(c, &key, &value)) == 1)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%.*s=%.*s", n > 0 ? " " : "",
                              (int)key.len, (const char *)key.data, (int)value.len,
                              value.len > 0 ? (const char *)value.data : "");
    assert_int_equal(r, 0);
    assert_int_equal(store_scan_next(c, &key, &value), 0); /* the end stays the end */
    store_scan_free(c);
    return out;
}

static void test_scans(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    static const struct {
        const char *from, *to, *seek, *want;
        unsigned flags;
    } cases[] = {
        {"", "", NULL, "a=1 b=2 c=3 d=4", 0},
        {"", "", NULL, "d=4 c=3 b=2 a=1", STORE_REVERSE},
        {"b", "d", NULL, "b=2 c=3", 0},
        {"b", "d", NULL, "c=3 b=2", STORE_REVERSE},
        {"b", "", NULL, "b= c= d=", STORE_KEYS_ONLY},
        {"bb", "cc", NULL, "c=3", 0},
        {"e", "", NULL, "", 0},
        {"e", "", NULL, "", STORE_REVERSE},
        {"c", "b", NULL, "", 0},
        {"c", "b", NULL, "", STORE_REVERSE},
        {"", "", "bb", "c=3 d=4", 0},
        {"", "", "c", "c=3 b=2 a=1", STORE_REVERSE},
        {"", "", "bb", "b=2 a=1", STORE_REVERSE},
        {"", "", "zz", "d=4 c=3 b=2 a=1", STORE_REVERSE},
        {"", "c", "zz", "b=2 a=1", STORE_REVERSE},
        {"b", "", "a", "b=2 c=3 d=4", 0},
        {"b", "", "a", "", STORE_REVERSE},
        {"", "", "x", "", 0},
    };

    assert_int_equal(put(s, "r", "z", "before"), 0);
    assert_int_equal(put(s, "s1", "a", "behind"), 0);
    assert_int_equal(put(s, "s", "a", "1"), 0);
    assert_int_equal(put(s, "s", "b", "2"), 0);
    assert_int_equal(put(s, "s", "c", "3"), 0);
    assert_int_equal(put(s, "s", "d", "4"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = scan(s, cases[i].from, cases[i].to, cases[i].flags, cases[i].seek);

        if (strcmp(got, cases[i].want) != 0)
            fail_msg("case %zu: '%s', not '%s'", i, got, cases[i].want);
    }
}

static void test_scan_is_one_moment(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct store_scan *c = NULL;
    struct slice key, value;

    assert_int_equal(put(s, "m", "a", "old"), 0);
    assert_int_equal(put(s, "m", "b", "old"), 0);
    assert_int_equal(store_scan(s, text("m"), text(""), text(""), 0, &c), 0);
    assert_int_equal(put(s, "m", "b", "new"), 0);
    assert_int_equal(put(s, "m", "c", "new"), 0);
    assert_int_equal(store_drop(s, text("m")), 0);
    assert_int_equal(store_scan_next(c, &key, &value), 1);
    assert_true(slice_eq(key, text("a")) && slice_eq(value, text("old")));
    assert_int_equal(store_scan_next(c, &key, &value), 1);
    assert_true(slice_eq(key, text("b")) && slice_eq(value, text("old")));
    assert_int_equal(store_scan_next(c, &key, &value), 0);
    store_scan_free(c);
    assert_string_equal(get(s, "m", "a"), "-");
}

static int add_part(void *ctx, struct slice part)
{
    struct buf *b = ctx;

    buf_add_slice(b, part);
    buf_add_char(b, ' ');
    return b->len > 100 ? 7 : 0;
}

static void test_partitions(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    static const char *const parts[] = {"images/a", "images/a/b", "images", "x", "imagesz/a"};
    struct buf b = {0};
    struct digest d;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(put(s, parts[i], "k1", "v"), 0);
        assert_int_equal(put(s, parts[i], "k2", "v"), 0);
    }
    assert_int_equal(blob_put(s, DIGEST_SHA256, "x", 1, &d), 0); /* the store's own rows hide */
    assert_int_equal(store_partitions(s, text(""), add_part, &b), 0);
    assert_string_equal(b.data, "images images/a images/a/b imagesz/a x ");
    buf_clear(&b);
    assert_int_equal(store_partitions(s, text("images/"), add_part, &b), 0);
    assert_string_equal(b.data, "images/a images/a/b ");
    buf_clear(&b);
    assert_int_equal(store_drop(s, text("images/a")), 0);
    assert_int_equal(store_partitions(s, text("images/a"), add_part, &b), 0);
    assert_string_equal(b.data, "images/a/b ");
    buf_done(&b);
}

struct heard {
    pthread_mutex_t lock;
    unsigned n;
    char last[64];
};

static void hear(void *ctx, struct slice part)
{
    struct heard *h = ctx;

    pthread_mutex_lock(&h->lock);
    h->n++;
    snprintf(h->last, sizeof h->last, "%.*s", (int)part.len, (const char *)part.data);
    pthread_mutex_unlock(&h->lock);
}

static void test_watch(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct heard all = {.lock = PTHREAD_MUTEX_INITIALIZER}, some = all;
    struct store_watch *w1 = NULL, *w2 = NULL;
    struct store_batch *b;

    assert_int_equal(store_watch(s, text(""), hear, &all, &w1), 0);
    assert_int_equal(store_watch(s, text("secrets/"), hear, &some, &w2), 0);
    assert_int_equal(put(s, "secrets/kv", "k", "v"), 0);
    assert_string_equal(some.last, "secrets/kv");
    assert_int_equal(put(s, "images/a", "k", "v"), 0);
    assert_string_equal(all.last, "images/a");
    b = store_batch_new(s, text("secrets/kv"));
    store_batch_expect_absent(b, text("k"));
    assert_int_equal(store_commit(b, 0), -EAGAIN); /* nothing changed, nobody is told */
    assert_int_equal(some.n, 1);
    assert_int_equal(all.n, 2);
    store_unwatch(w2);
    assert_int_equal(put(s, "secrets/kv", "k", "v2"), 0);
    assert_int_equal(some.n, 1);
    store_unwatch(w1);
}

static void test_lease(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;

    assert_int_equal(store_lease(s, text("reaper"), text("a"), 60000), 0);
    assert_int_equal(store_lease(s, text("reaper"), text("b"), 60000), -EBUSY);
    assert_int_equal(store_lease(s, text("other"), text("b"), 60000), 0);
    assert_int_equal(store_lease(s, text("reaper"), text("a"), 1), 0);
    usleep(5000);
    assert_int_equal(store_lease(s, text("reaper"), text("b"), 60000), 0);
    assert_int_equal(store_lease(s, text("reaper"), text("b"), 0), 0); /* let go */
    assert_int_equal(store_lease(s, text("reaper"), text("a"), 1000), 0);
}

struct done {
    sem_t sem;
    int r;
};

static void done(void *ctx, int r)
{
    struct done *d = ctx;

    d->r = r;
    sem_post(&d->sem);
}

static void test_async(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct done all[100];

    for (int i = 0; i < 100; i++) {
        struct store_batch *b = store_batch_new(s, text("async"));
        char key[8];

        snprintf(key, sizeof key, "%d", i);
        sem_init(&all[i].sem, 0, 0);
        store_batch_expect_absent(b, text("one")); /* only the first wins, also within a group */
        store_batch_put(b, text("one"), text(key));
        store_batch_put(b, text(key), text("x"));
        store_commit_async(b, STORE_DURABLE, done, &all[i]);
    }
    for (int i = 0; i < 100; i++) {
        while (sem_wait(&all[i].sem) < 0)
            ;
        assert_int_equal(all[i].r, i == 0 ? 0 : -EAGAIN);
    }
    assert_string_equal(get(s, "async", "one"), "0");
    assert_string_equal(get(s, "async", "50"), "-");
}

static void note_end(void *ctx, int r)
{
    *(int *)ctx = r;
}

/* Each hears once how its batch ended, whatever became of it. */
static void test_batch_ends(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    struct store_batch *b = store_batch_new(s, text("ends"));
    int first = 1, second = 1, refused = 1, unused = 1;

    store_batch_put(b, text("k"), text("v"));
    store_batch_on_end(b, note_end, &first);
    store_batch_on_end(b, note_end, &second);
    assert_int_equal(store_commit(b, 0), 0);
    assert_int_equal(first, 0);
    assert_int_equal(second, 0);
    b = store_batch_new(s, text("ends"));
    store_batch_expect_absent(b, text("k"));
    store_batch_on_end(b, note_end, &refused);
    assert_int_equal(store_commit(b, 0), -EAGAIN);
    assert_int_equal(refused, -EAGAIN);
    b = store_batch_new(s, text("ends"));
    store_batch_on_end(b, note_end, &unused);
    store_batch_free(b);
    assert_int_equal(unused, -ECANCELED);
}

static void *count(void *arg)
{
    struct store *s = arg;

    for (int i = 0; i < 50; i++) {
        struct store_batch *b;
        char old[24], new[24];
        int r;

        do {
            struct store_value v;

            assert_int_equal(store_get(s, text("n"), text("n"), &v), 0);
            snprintf(old, sizeof old, "%.*s", (int)v.data.len, (const char *)v.data.data);
            store_value_release(&v);
            snprintf(new, sizeof new, "%ld", strtol(old, NULL, 10) + 1);
            b = store_batch_new(s, text("n"));
            store_batch_expect(b, text("n"), text(old));
            store_batch_put(b, text("n"), text(new));
            r = store_commit(b, i % 2 ? STORE_DURABLE : 0);
        } while (r == -EAGAIN);
        assert_int_equal(r, 0);
    }
    return NULL;
}

static void test_compare_and_set(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    pthread_t threads[8];

    assert_int_equal(put(s, "n", "n", "0"), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, s), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_string_equal(get(s, "n", "n"), "400");
}

static void test_fault(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;

    store_fault(s, 2, ENOSPC);
    assert_int_equal(put(s, "f", "a", "1"), 0);
    assert_int_equal(put(s, "f", "b", "1"), 0);
    assert_int_equal(put(s, "f", "c", "1"), -ENOSPC);
    assert_int_equal(put(s, "f", "d", "1"), -ENOSPC);
    assert_string_equal(get(s, "f", "b"), "1"); /* reads go on */
    store_fault(s, 0, 0);
    assert_int_equal(put(s, "f", "c", "1"), 0);
}

static int add_record(void *ctx, uint64_t seq, struct slice record)
{
    buf_printf(ctx, "%d:%.*s ", (int)seq, (int)record.len, (const char *)record.data);
    return 0;
}

static void test_log(void **state)
{
    struct fixture *f = *state;
    struct store_log *l = NULL, *other = NULL;
    struct buf b = {0};
    uint64_t seq;

    assert_int_equal(store_log_open(f->store, "head", &l), 0);
    assert_int_equal(store_log_open(f->store, "heads", &other), 0);
    assert_int_equal(store_log_append(other, text("x"), &seq), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(store_log_append(l, text(i % 2 ? "odd" : "even"), &seq), 0);
    assert_int_equal(seq, 4);
    assert_int_equal(store_log_sync(l), 0);
    assert_int_equal(store_log_replay(l, 2, add_record, &b), 0);
    assert_string_equal(b.data, "2:odd 3:even 4:odd ");
    buf_clear(&b);
    assert_int_equal(store_log_trim(l, 4), 0);
    assert_int_equal(store_log_trim(l, 2), 0); /* never back */
    assert_int_equal(store_log_replay(l, 0, add_record, &b), 0);
    assert_string_equal(b.data, "4:odd ");
    buf_clear(&b);
    assert_int_equal(store_log_trim(l, 100), 0);
    assert_int_equal(store_log_replay(l, 0, add_record, &b), 0);
    assert_int_equal(b.len, 0);
    store_log_close(l);
    store_log_close(other);
    if (fixture_lasts(f))
        fixture_restart(f);
    assert_int_equal(store_log_open(f->store, "head", &l), 0);
    assert_int_equal(store_log_append(l, text("next"), &seq), 0);
    assert_int_equal(seq, 5); /* a log that was trimmed to nothing does not start over */
    store_log_close(l);
    buf_done(&b);
}

struct replayed {
    uint64_t first, last, n;
};

static int note_record(void *ctx, uint64_t seq, struct slice record)
{
    struct replayed *p = ctx;

    if (p->n++ == 0)
        p->first = seq;
    p->last = seq;
    return record.len == LARGE_RECORD ? 0 : -EIO;
}

/* Trimmed at every place, between files and in them; nothing else goes. */
static void test_log_trimmed(void **state)
{
    struct fixture *f = *state;
    struct store_log *l = NULL;
    char *record = calloc(1, LARGE_RECORD);

    assert_int_equal(store_log_open(f->store, "head", &l), 0);
    for (uint64_t before = 1; before <= 41; before++) {
        struct replayed p = {0};

        for (int i = 0; i < 2 && before <= 40; i++)
            assert_int_equal(store_log_append(l, slice_of(record, LARGE_RECORD), NULL), 0);
        assert_int_equal(store_log_trim(l, before), 0);
        if (before % 7 == 0)
            assert_int_equal(store_log_tidy(l), 0);
        if (fixture_lasts(f) && before % 10 == 0) {
            store_log_close(l);
            fixture_restart(f); /* writes files */
            assert_int_equal(store_log_open(f->store, "head", &l), 0);
        }
        assert_int_equal(store_log_replay(l, 0, note_record, &p), 0);
        assert_int_equal(p.first, before);
        assert_int_equal(p.last, before <= 40 ? 2 * before : 80);
        assert_int_equal(p.n, p.last - p.first + 1);
    }
    store_log_close(l);
    free(record);
}

static void bulk(struct store *s, const char *part, int from, int to)
{
    struct store_bulk *b = NULL;

    assert_int_equal(store_bulk_begin(s, STORE_SAMPLES, text(part), &b), 0);
    for (int i = from; i < to; i++) {
        uint8_t key[4];

        be32_put(key, (uint32_t)i);
        assert_int_equal(store_bulk_add(b, slice_of(key, 4), text(part)), 0);
    }
    assert_int_equal(store_bulk_add(b, text(""), text("")), -EINVAL); /* not ascending */
    assert_int_equal(store_bulk_commit(b), 0);
}

static int count_bulk(struct store *s, const char *part)
{
    struct store_scan *c = NULL;
    struct slice key, value;
    int n = 0;

    assert_int_equal(store_bulk_scan(s, STORE_SAMPLES, text(part), text(""), text(""), 0, &c), 0);
    while (store_scan_next(c, &key, &value) == 1)
        n++;
    store_scan_free(c);
    return n;
}

static void test_bulk(void **state)
{
    struct fixture *f = *state;
    struct store *s = f->store;
    struct slice seven = slice_of("\0\0\0\7", 4);
    struct store_bulk *b = NULL;
    struct store_value v;
    struct buf parts = {0};

    bulk(s, "samples/1", 0, 1000);
    bulk(s, "samples/2", 0, 10);
    bulk(s, "samples/2", 5, 20); /* overlaps */
    for (int i = 0; i < 12; i++)
        bulk(s, "samples/3", i, 30);
    assert_int_equal(store_bulk_get(s, STORE_SAMPLES, text("samples/2"), seven, &v), 0);
    assert_true(slice_eq(v.data, text("samples/2")));
    store_value_release(&v);
    assert_int_equal(store_get(s, text("samples/2"), seven, &v), -ENOENT);
    assert_int_equal(count_bulk(s, "samples/2"), 20);
    assert_int_equal(store_bulk_begin(s, STORE_SAMPLES, text("samples/4"), &b), 0);
    assert_int_equal(store_bulk_add(b, text("k"), text("v")), 0);
    store_bulk_free(b);
    assert_int_equal(store_bulk_begin(s, STORE_SAMPLES, text("samples/5"), &b), 0);
    assert_int_equal(store_bulk_commit(b), 0); /* an empty one */
    assert_int_equal(store_bulk_partitions(s, STORE_SAMPLES, text("samples/"), add_part, &parts),
                     0);
    assert_string_equal(parts.data, "samples/1 samples/2 samples/3 ");
    buf_done(&parts);
    assert_int_equal(store_bulk_drop(s, STORE_SAMPLES, text("samples/1")), 0);
    assert_int_equal(store_bulk_drop(s, STORE_SAMPLES, text("samples/3")), 0);
    if (fixture_lasts(f))
        fixture_restart(f);
    assert_int_equal(count_bulk(f->store, "samples/1"), 0);
    assert_int_equal(count_bulk(f->store, "samples/2"), 20);
    assert_int_equal(count_bulk(f->store, "samples/3"), 0);
}

static void test_bulk_fault(void **state)
{
    struct store *s = ((struct fixture *)*state)->store;
    int r = -1;

    for (unsigned n = 0; r != 0; n++) {
        struct store_bulk *b = NULL;

        assert_int_equal(store_bulk_begin(s, STORE_SAMPLES, text("b"), &b), 0);
        store_fault(s, n, EIO);
        r = store_bulk_add(b, text("a"), text("b"));
        if (r == 0)
            r = store_bulk_add(b, text("c"), text("b"));
        if (r == 0)
            r = store_bulk_commit(b);
        else
            store_bulk_free(b);
        store_fault(s, 0, 0);
        assert_int_equal(count_bulk(s, "b"), r == 0 ? 2 : 0);
        assert_true(n < 10);
    }
}

static void test_url(void **state)
{
    static const char *const bad[] = {"", "mem", "rocks", "foo:bar", "mem:x"};
    struct store *s = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf why = {0};

        assert_int_equal(store_open(bad[i], NULL, &s, &why), -EINVAL);
        assert_true(why.len > 0);
        buf_done(&why);
    }
    store_close(NULL);
}

#define TESTS(on)                                                                                  \
    on(test_rows), on(test_refused), on(test_guards), on(test_scans), on(test_scan_is_one_moment), \
        on(test_partitions), on(test_watch), on(test_lease), on(test_async),                       \
        on(test_batch_ends),                                                                       \
        on(test_compare_and_set), on(test_fault), on(test_log), on(test_log_trimmed),              \
        on(test_bulk), on(test_bulk_fault)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url),
        TESTS(on_mem),
        TESTS(on_rocks),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
