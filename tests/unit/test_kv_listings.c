/* Lists of folders that are kept in memory, against what stands in the store. */
#include "identity/identity.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kv_world.h"

#define WRITERS 3
#define ROUNDS  60
#define NAMES   100

/* Made, and not yet committed. */
static struct store_batch *prepare(struct world *w, struct op *op, const char *path)
{
    struct kv_content content = {.text = SLICE("{}")};
    struct store_batch *batch = NULL;

    assert_int_equal(kv_put(op, w->kv, path, &content, -1, &batch, NULL), 0);
    return batch;
}

static int put(struct world *w, struct op *op, const char *path)
{
    struct kv_content content = {.text = SLICE("{}")};
    unsigned tries = 0;
    int r;

    do {
        struct store_batch *batch = NULL;

        r = kv_put(op, w->kv, path, &content, -1, &batch, NULL);
        if (r == 0)
            r = kv_commit(batch);
    } while (kv_again(r, &tries));
    return r;
}

/* How many names a folder has, by its rows; its list has the same ones. */
static size_t check(struct world *w, const char *path)
{
    struct kv_entry *rows = NULL;
    struct kv_name *list = NULL;
    size_t n_rows = 0, n = 0;

    op_forgive(&w->op);
    assert_int_equal(kv_list(&w->op, w->kv, path, &rows, &n_rows), 0);
    assert_int_equal(kv_names(&w->op, w->kv, path, &list, &n), 0);
    assert_int_equal(n, n_rows);
    for (size_t i = 0; i < n; i++) {
        assert_true(slice_eq(list[i].name, rows[i].name));
        assert_int_equal(list[i].kind, rows[i].kind);
    }
    return n;
}

/* In no order, secrets and folders, some of one name; read now and then while it grows. */
static void filled(void **state)
{
    struct world *w = *state;
    size_t n = 0;

    for (unsigned i = 0; i < 2 * NAMES; i++) {
        unsigned k = i * 73 % (2 * NAMES);

        assert_int_equal(put(w, &w->op, op_printf(&w->op, k % 9 == 0 ? "f/%u/s" : "f/%u", k)), 0);
        if (i % 37 == 0)
            n = check(w, "f");
    }
    assert_true(n > NAMES);
    assert_int_equal(check(w, "f"), 2 * NAMES);
    assert_int_equal(put(w, &w->op, "f/9"), 0); /* beside 9/ */
    assert_int_equal(put(w, &w->op, "f/1"), 0); /* no name is new */
    assert_int_equal(check(w, "f"), 2 * NAMES + 1);
    assert_int_equal(kv_remove(&w->op, w->kv, "f/9/s"), 0);
    assert_int_equal(check(w, "f"), 2 * NAMES);
    assert_int_equal(kv_rename(&w->op, w->kv, "f", "g"), 0);
    assert_int_equal(kv_rename(&w->op, w->kv, "g/1", "g/one"), 0);
    assert_int_equal(check(w, "g"), 2 * NAMES);
}

/* Two make one folder: what the second was to have in it is in no list. */
static void made_twice(void **state)
{
    struct world *w = *state;
    struct store_batch *first = prepare(w, &w->op, "f/a");
    struct store_batch *second = prepare(w, &w->op, "f/b");

    assert_int_equal(kv_commit(first), 0);
    assert_int_equal(check(w, "f"), 1);
    assert_int_equal(kv_commit(second), -EAGAIN);
    assert_int_equal(check(w, "f"), 1);
    assert_int_equal(check(w, ""), 1);
    assert_int_equal(put(w, &w->op, "f/b"), 0);
    assert_int_equal(check(w, "f"), 2);
}

/* A name that is under way is in no list; nor is one that is given up. */
static void under_way(void **state)
{
    struct world *w = *state;
    struct store_batch *late, *never;

    for (unsigned i = 0; i < NAMES; i++)
        assert_int_equal(put(w, &w->op, op_printf(&w->op, "f/%u", i)), 0);
    late = prepare(w, &w->op, "f/late");
    never = prepare(w, &w->op, "f/never");
    assert_int_equal(check(w, "f"), NAMES);
    store_batch_free(never);
    assert_int_equal(check(w, "f"), NAMES);
    assert_int_equal(kv_commit(late), 0);
    assert_int_equal(check(w, "f"), NAMES + 1);
    late = prepare(w, &w->op, "f/later");
    assert_int_equal(kv_remove(&w->op, w->kv, "f/1"), 0);
    assert_int_equal(check(w, "f"), NAMES);
    assert_int_equal(kv_commit(late), 0);
    assert_int_equal(check(w, "f"), NAMES + 1);
}

/* What is forgotten while a folder is made stays so: nothing is kept behind a seal. */
static void forgotten(void **state)
{
    struct world *w = *state;
    struct store_batch *batch = prepare(w, &w->op, "f/a");

    kv_listings_forget(w->listings);
    assert_int_equal(kv_commit(batch), 0);
    assert_int_equal(check(w, "f"), 1);
    batch = prepare(w, &w->op, "f/b");
    kv_listings_forget(w->listings);
    assert_int_equal(put(w, &w->op, "f/c"), 0);
    assert_int_equal(kv_commit(batch), 0);
    assert_int_equal(check(w, "f"), 3);
}

/* More new folders than are kept; each has what was put there. */
static void many_folders(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 2 * NAMES; i++)
        assert_int_equal(put(w, &w->op, op_printf(&w->op, "d/%u/a", i)), 0);
    for (unsigned i = 0; i < 2 * NAMES; i++) {
        assert_int_equal(put(w, &w->op, op_printf(&w->op, "d/%u/b", i)), 0);
        assert_int_equal(check(w, op_printf(&w->op, "d/%u", i)), 2);
    }
    assert_int_equal(check(w, "d"), 2 * NAMES);
}

struct writer {
    struct world *world;
    unsigned number;
    int r;
};

static void *write_names(void *arg)
{
    struct writer *me = arg;
    struct op op;

    op_init(&op, DOOR_INTERNAL, NULL);
    for (unsigned i = 0; i < ROUNDS && me->r == 0; i++) {
        const char *own = op_printf(&op, "f/%u-%u", me->number, i);
        const char *shared = op_printf(&op, "f/shared-%u", i);

        me->r = put(me->world, &op, own);
        if (me->r == 0)
            me->r = put(me->world, &op, shared);
        if (me->r == 0 && i % 3 == me->number)
            me->r = kv_remove(&op, me->world->kv, i % 2 == 0 ? own : shared);
        if (me->r == -ENOENT || me->r == -EAGAIN) /* others were first */
            me->r = 0;
    }
    op_done(&op);
    return NULL;
}

static atomic_bool done;

static void *read_names(void *arg)
{
    struct writer *me = arg;

    while (!atomic_load(&done) && me->r == 0) {
        struct kv_name *list = NULL;
        struct op op;
        size_t n = 0;

        op_init(&op, DOOR_INTERNAL, NULL);
        me->r = kv_names(&op, me->world->kv, "f", &list, &n);
        for (size_t i = 1; i < n && me->r == 0; i++)
            me->r = slice_cmp(list[i - 1].name, list[i].name) < 0 ? 0 : -EBADMSG;
        op_done(&op);
    }
    return NULL;
}

/* Nobody sees a name twice, and in the end all of them are there. */
static void at_once(void **state)
{
    struct world *w = *state;
    struct writer writers[WRITERS] = {0}, reader = {.world = w};
    pthread_t threads[WRITERS], reading;

    for (unsigned i = 0; i < NAMES; i++)
        assert_int_equal(put(w, &w->op, op_printf(&w->op, "f/%u", i)), 0);
    atomic_store(&done, false);
    assert_int_equal(pthread_create(&reading, NULL, read_names, &reader), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.world = w, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_names, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].r, 0);
    }
    atomic_store(&done, true);
    pthread_join(reading, NULL);
    assert_int_equal(reader.r, 0);
    assert_true(check(w, "f") >= NAMES);
    assert_true(check(w, "f") >= NAMES);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(filled),    TEST(made_twice),   TEST(under_way),
        TEST(forgotten), TEST(many_folders), TEST(at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
