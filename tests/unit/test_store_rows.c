/* The rows kept in memory: never older than the store, whoever writes meanwhile. */
#include "test_store.h"

#include "store/rocks_rows.h"

#include "base/codec.h"

#include <pthread.h>
#include <stdatomic.h>

static void keep(struct rows *rows, const char *key, const char *value)
{
    struct rows_miss miss;
    struct slice got;

    assert_false(rows_get(rows, text(key), &got, &miss));
    rows_keep(rows, &miss, text(key), text(value));
}

static bool has(struct rows *rows, const char *key, const char *value)
{
    struct rows_miss miss;
    struct slice got;
    bool same;

    if (!rows_get(rows, text(key), &got, &miss))
        return false;
    same = slice_eq(got, text(value));
    free((void *)got.data);
    return same;
}

static void test_keep(void **state)
{
    struct rows *rows = rows_new(1 << 20);
    char key[32], value[32];
    unsigned kept = 0;

    (void)state;
    keep(rows, "a", "1");
    keep(rows, "b", "");
    assert_true(has(rows, "a", "1"));
    assert_true(has(rows, "b", ""));
    rows_clear(rows);
    assert_false(has(rows, "a", "1"));
    for (int i = 0; i < 100000; i++) { /* more than there is room for: the last ones stay */
        snprintf(key, sizeof key, "key-%d", i);
        snprintf(value, sizeof value, "value-%d", i);
        keep(rows, key, value);
        assert_true(has(rows, key, value));
    }
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        snprintf(value, sizeof value, "value-%d", i);
        kept += has(rows, key, value);
    }
    assert_in_range(kept, 1000, 20000);
    rows_free(rows);
}

/* A row that was read before a write is not kept after it began. */
static void test_write(void **state)
{
    struct fixture *f = *state;
    struct rows *rows = rows_new(1 << 20);
    struct store_batch *b = store_batch_new(f->store, text("p"));
    struct buf key = {0};
    struct rows_miss before, during, after;
    struct slice got, k;

    key_build(&key, text("p"), text("k"));
    k = buf_slice(&key);
    store_batch_put(b, text("k"), text("new"));
    assert_false(rows_get(rows, k, &got, &before));
    rows_write_begin(rows, b);
    rows_keep(rows, &before, k, text("old"));
    assert_false(rows_get(rows, k, &got, &during));
    rows_keep(rows, &during, k, text("which?"));
    assert_false(rows_get(rows, k, &got, &during));
    rows_write_end(rows, b);
    rows_keep(rows, &before, k, text("old"));
    assert_false(rows_get(rows, k, &got, &after));
    rows_keep(rows, &during, k, text("which?")); /* read before the write took effect, or after */
    assert_false(rows_get(rows, k, &got, &after));
    rows_keep(rows, &after, k, text("new"));
    assert_true(rows_get(rows, k, &got, &after));
    assert_true(slice_eq(got, text("new")));
    free((void *)got.data);
    rows_write_begin(rows, b);
    assert_false(rows_get(rows, k, &got, &after));
    rows_write_end(rows, b);
    store_batch_free(b);
    buf_done(&key);
    rows_free(rows);
}

#define KEYS   8
#define WRITES 3000

struct shared {
    struct store *store;
    atomic_uint committed[KEYS]; /* what the store has said to have */
    atomic_bool stop;
    atomic_uint stale;
};

static unsigned number_of(struct store *s, unsigned key)
{
    const char name[2] = {(char)('a' + key), 0};
    struct store_value v;
    unsigned n = 0;

    if (store_get(s, text("p"), text(name), &v) < 0)
        return 0;
    memcpy(&n, v.data.data, sizeof n);
    store_value_release(&v);
    return n;
}

static void *reader(void *arg)
{
    struct shared *sh = arg;
    unsigned seen[KEYS] = {0};

    while (!atomic_load(&sh->stop))
        for (unsigned key = 0; key < KEYS; key++) {
            unsigned least = atomic_load(&sh->committed[key]), n = number_of(sh->store, key);

            if (n < least || n < seen[key])
                atomic_fetch_add(&sh->stale, 1);
            seen[key] = n;
        }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    struct shared sh = {.store = f->store};
    pthread_t readers[2];

    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader, &sh), 0);
    for (unsigned n = 1; n <= WRITES; n++) {
        const char name[2] = {(char)('a' + n % KEYS), 0};
        struct store_batch *b = store_batch_new(f->store, text("p"));

        store_batch_put(b, text(name), slice_of(&n, sizeof n));
        assert_int_equal(store_commit(b, 0), 0);
        atomic_store(&sh.committed[n % KEYS], n);
    }
    atomic_store(&sh.stop, true);
    for (size_t i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&sh.stale), 0);
}

static void test_forgotten(void **state)
{
    struct fixture *f = *state;
    struct store_batch *b;

    assert_int_equal(put(f->store, "p", "k", "1"), 0);
    assert_int_equal(put(f->store, "q", "k", "2"), 0);
    assert_string_equal(get(f->store, "p", "k"), "1");
    assert_string_equal(get(f->store, "p", "k"), "1");
    b = store_batch_new(f->store, text("p"));
    store_batch_delete(b, text("k"));
    assert_int_equal(store_commit(b, 0), 0);
    assert_string_equal(get(f->store, "p", "k"), "-");
    assert_string_equal(get(f->store, "q", "k"), "2");
    assert_int_equal(store_drop(f->store, text("q")), 0);
    assert_string_equal(get(f->store, "q", "k"), "-");
    assert_int_equal(put(f->store, "q", "k", "3"), 0);
    store_fault(f->store, 0, EIO);
    assert_int_equal(put(f->store, "q", "k", "4"), -EIO);
    store_fault(f->store, 0, 0);
    assert_string_equal(get(f->store, "q", "k"), "3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep),
        on_rocks(test_write),
        on_rocks(test_threads),
        on_rocks(test_forgotten),
    };

    return cmocka_run_group_tests_name("rows in memory", tests, NULL, NULL);
}
