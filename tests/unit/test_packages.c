/* The rules of packages: publication, races, faults, deletion, what a crash leaves. */
#include "packages_world.h"

#include "base/clock.h"
#include "packages/pages.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct world w;

static int setup(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static int get(const char *file, struct package_file *ret, struct op *op)
{
    op_init(op, DOOR_HTTP, &w.team);
    return package_find(op, w.pk, file, ret);
}

static bool exists(const char *file)
{
    struct package_file f;
    struct op op;
    int r = get(file, &f, &op);

    op_done(&op);
    return r == 0;
}

/* How many projects the index lists with files. */
static int count_project(void *ctx, const char *project, const char *display, bool has_files)
{
    (void)project, (void)display;
    *(int *)ctx += has_files;
    return 0;
}

static int projects(void)
{
    struct op op;
    int n = 0;

    op_init(&op, DOOR_HTTP, &w.team);
    assert_int_equal(project_each(&op, w.pk, count_project, &n), 0);
    op_done(&op);
    return n;
}

static void test_publish(void **state)
{
    autobuf sdist = {0}, why = {0};
    struct package_file f;
    struct op op;
    const char *display;
    bool files;

    (void)state;
    assert_int_equal(world_wheel(&w, "Foo_Bar", "1.0", "x"), 0);
    assert_int_equal(get("Foo_Bar-1.0-py3-none-any.whl", &f, &op), 0);
    assert_string_equal(f.project, "foo-bar");
    assert_string_equal(f.version, "1.0");
    assert_string_equal(f.requires_python, ">=3.8");
    assert_string_equal(f.uploader, "alice");
    assert_true(f.metadata.size_bytes > 0 && f.uploaded_unix_ns > 0 && f.yanked == NULL);
    assert_int_equal(project_get(&op, w.pk, "foo-bar", &display, &files), 0);
    assert_string_equal(display, "Foo_Bar");
    assert_true(files);
    op_done(&op);
    make_sdist(&sdist, "foo-bar", "1.0.0", "");
    assert_int_equal(world_publish(&w, &w.team, "foo-bar-1.0.0.tar.gz", buf_slice(&sdist), &why),
                     0);
    assert_int_equal(get("foo-bar-1.0.0.tar.gz", &f, &op), 0);
    assert_int_equal(f.metadata.size_bytes, 0);
    op_done(&op);
    assert_int_equal(projects(), 1);
}

static void test_immutable(void **state)
{
    autobuf bytes = {0}, why = {0};

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0); /* the same bytes again */
    make_wheel(&bytes, "foo", "1.0", "", "other");
    assert_int_equal(
        world_publish(&w, &w.team, "foo-1.0-py3-none-any.whl", buf_slice(&bytes), &why), -EEXIST);
    assert_non_null(strstr(why.data, "File already exists ('foo-1.0-py3-none-any.whl')"));
}

static void test_refused(void **state)
{
    autobuf good = {0}, cut = {0}, why = {0};

    (void)state;
    make_wheel(&good, "foo", "1.0", "", "x");
    buf_add(&cut, good.data, good.len - 1);
    assert_int_equal(world_publish(&w, &w.team, "foo-1.0-py3-none-any.whl", buf_slice(&cut), &why),
                     -EINVAL);
    assert_int_equal(
        world_publish(&w, &w.team, "foo-1.0-py3-none-any.whl", SLICE("not a zip"), &why), -EINVAL);
    assert_int_equal(world_publish(&w, &w.team, "foo-1.0-py3-none-any.whl", SLICE(""), &why),
                     -EINVAL);
    assert_int_equal(world_publish(&w, &w.team, "bar-1.0-py3-none-any.whl", buf_slice(&good), &why),
                     -EINVAL);
    assert_int_equal(world_publish(&w, &w.team, "foo.exe", buf_slice(&good), &why), -EINVAL);
    assert_int_equal(
        world_publish(&w, &w.reader, "foo-1.0-py3-none-any.whl", buf_slice(&good), &why), -EACCES);
    assert_int_equal(
        world_publish(&w, w.anonymous, "foo-1.0-py3-none-any.whl", buf_slice(&good), &why), -EPERM);
    assert_false(exists("foo-1.0-py3-none-any.whl"));
    assert_int_equal(projects(), 0);
}

/* An sdist whose name is read another way must not slip into a project its author has no right on.
 */
static void test_rights_of_reading(void **state)
{
    autobuf sdist = {0}, why = {0};

    (void)state;
    make_tar(&sdist,
             (struct tar_member[]){
                 {"a-1/PKG-INFO", "Metadata-Version: 1.0\nName: bar\nVersion: 1.0.post1\n", 0}},
             1, true);
    /* "bar-1.0-1.tar.gz": version 1 of bar-1.0, or 1.0.post1 of bar. */
    assert_int_equal(world_publish(&w, &w.one, "bar-1.0-1.tar.gz", buf_slice(&sdist), &why),
                     -EACCES);
    assert_int_equal(world_publish(&w, &w.team, "bar-1.0-1.tar.gz", buf_slice(&sdist), &why), 0);
    assert_true(exists("bar-1.0-1.tar.gz"));
}

static void test_limit(void **state)
{
    autobuf bytes = {0}, why = {0};

    (void)state;
    make_wheel(&bytes, "foo", "1.0", "", "x");
    w.config->limits.package_bytes = bytes.len - 1;
    assert_int_equal(
        world_publish(&w, &w.team, "foo-1.0-py3-none-any.whl", buf_slice(&bytes), &why), -EFBIG);
    w.config->limits.package_bytes = bytes.len;
    assert_int_equal(
        world_publish(&w, &w.team, "foo-1.0-py3-none-any.whl", buf_slice(&bytes), &why), 0);
}

#define RACERS 8

struct racer {
    pthread_t thread;
    pthread_barrier_t *barrier;
    struct buf bytes;
    const char *name;
    int result;
};

static void *race(void *arg)
{
    struct racer *r = arg;

    pthread_barrier_wait(r->barrier);
    r->result = world_publish(&w, &w.team, r->name, buf_slice(&r->bytes), NULL);
    return NULL;
}

/* Of many at once with different bytes exactly one wins, and its bytes are what is there; in some
 * rounds however they spell it. */
static void test_race(void **state)
{
    static const char *const names[] = {"foo-1.0-py3-none-any.whl", "Foo-1.0-py3-none-any.whl",
                                        "FOO-1.0-py3-none-any.whl"};

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct racer racers[RACERS] = {0};
        pthread_barrier_t barrier;
        struct package_file f;
        const char *winner = "";
        struct digest won;
        struct op op;
        int wins = 0;

        pthread_barrier_init(&barrier, NULL, RACERS);
        for (int i = 0; i < RACERS; i++) {
            char payload[16];

            snprintf(payload, sizeof payload, "x%d", i);
            make_wheel(&racers[i].bytes, "foo", "1.0", "", payload);
            racers[i].barrier = &barrier;
            racers[i].name = names[round % 2 ? (size_t)i % array_size(names) : 0];
            pthread_create(&racers[i].thread, NULL, race, &racers[i]);
        }
        for (int i = 0; i < RACERS; i++) {
            pthread_join(racers[i].thread, NULL);
            if (racers[i].result == 0) {
                wins++;
                winner = racers[i].name;
                digest_of(DIGEST_SHA256, racers[i].bytes.data, racers[i].bytes.len, &won);
            } else {
                assert_int_equal(racers[i].result, -EEXIST);
            }
            buf_done(&racers[i].bytes);
        }
        pthread_barrier_destroy(&barrier);
        assert_int_equal(wins, 1);
        assert_int_equal(get(winner, &f, &op), 0);
        assert_true(digest_eq(&f.digest, &won));
        assert_int_equal(package_delete(&op, w.pk, "foo", f.name), 0);
        op_done(&op);
    }
}

/* The same bytes from many at once: all succeed. */
static void *race_same(void *arg)
{
    struct racer *r = arg;

    pthread_barrier_wait(r->barrier);
    r->result = world_wheel(&w, "same", "1.0", "x");
    return NULL;
}

static void test_race_same(void **state)
{
    struct racer racers[RACERS] = {0};
    pthread_barrier_t barrier;

    (void)state;
    pthread_barrier_init(&barrier, NULL, RACERS);
    for (int i = 0; i < RACERS; i++) {
        racers[i].barrier = &barrier;
        pthread_create(&racers[i].thread, NULL, race_same, &racers[i]);
    }
    for (int i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        assert_int_equal(racers[i].result, 0);
    }
    pthread_barrier_destroy(&barrier);
    assert_int_equal(projects(), 1);
}

/* Publishers and deleters of one project: in the end the index says what the files say. */
static void *churn(void *arg)
{
    struct racer *r = arg;

    pthread_barrier_wait(r->barrier);
    for (int i = 0; i < 40; i++) {
        struct op op;

        world_wheel(&w, "churn", r->result ? "1.0" : "2.0", "x");
        op_init(&op, DOOR_HTTP, &w.team);
        package_delete(&op, w.pk, "churn",
                       r->result ? "churn-1.0-py3-none-any.whl" : "churn-2.0-py3-none-any.whl");
        op_done(&op);
    }
    return NULL;
}

static void test_churn(void **state)
{
    struct racer racers[4] = {0};
    pthread_barrier_t barrier;

    (void)state;
    pthread_barrier_init(&barrier, NULL, array_size(racers));
    for (size_t i = 0; i < array_size(racers); i++) {
        racers[i].barrier = &barrier;
        racers[i].result = i % 2 == 0;
        pthread_create(&racers[i].thread, NULL, churn, &racers[i]);
    }
    for (size_t i = 0; i < array_size(racers); i++)
        pthread_join(racers[i].thread, NULL);
    pthread_barrier_destroy(&barrier);
    assert_int_equal(projects(),
                     exists("churn-1.0-py3-none-any.whl") || exists("churn-2.0-py3-none-any.whl"));
    assert_int_equal(world_wheel(&w, "churn", "3.0", "x"), 0);
    assert_int_equal(projects(), 1);
}

static int count_owner(void *ctx, struct slice owner)
{
    (void)owner;
    ++*(int *)ctx;
    return 0;
}

static int owners(const struct digest *d)
{
    int n = 0;

    blob_owners(w.store, d, count_owner, &n);
    return n;
}

#define LATER (clock_unix_ms() + 24 * 3600 * 1000)

static void test_delete(void **state)
{
    struct package_file f;
    struct op op;
    uint64_t n;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "2.0", "x"), 0);
    assert_int_equal(get("foo-1.0-py3-none-any.whl", &f, &op), 0);
    assert_int_equal(owners(&f.digest), 1);
    assert_int_equal(package_delete(&op, w.pk, "foo", f.name), 0);
    assert_int_equal(package_delete(&op, w.pk, "foo", f.name), -ENOENT);
    assert_int_equal(projects(), 1);
    assert_int_equal(owners(&f.digest), 1); /* the grace */
    assert_int_equal(packages_reclaim(w.pk, clock_unix_ms(), &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(packages_reclaim(w.pk, LATER, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(owners(&f.digest), 0);
    assert_int_equal(owners(&f.metadata.digest), 0);
    assert_int_equal(package_delete(&op, w.pk, "foo", "foo-2.0-py3-none-any.whl"), 0);
    op_done(&op);
    assert_int_equal(projects(), 0);
}

/* Deleted and published again with the same bytes: the grace of the first must not take the second.
 */
static void test_delete_and_again(void **state)
{
    struct package_file f;
    struct op op;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(get("foo-1.0-py3-none-any.whl", &f, &op), 0);
    assert_int_equal(package_delete(&op, w.pk, "foo", f.name), 0);
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(owners(&f.digest), 2);
    assert_int_equal(packages_reclaim(w.pk, LATER, NULL), 0);
    assert_int_equal(owners(&f.digest), 1);
    op_done(&op);
}

static void test_delete_rights(void **state)
{
    struct op op;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    op_init(&op, DOOR_HTTP, &w.reader);
    assert_int_equal(package_delete(&op, w.pk, "foo", "foo-1.0-py3-none-any.whl"), -EACCES);
    assert_int_equal(package_yank(&op, w.pk, "foo", "foo-1.0-py3-none-any.whl", "x"), -EACCES);
    op_done(&op);
    assert_true(exists("foo-1.0-py3-none-any.whl"));
}

static void test_yank(void **state)
{
    struct package_file f;
    struct op op;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    op_init(&op, DOOR_HTTP, &w.team);
    assert_int_equal(package_yank(&op, w.pk, "foo", "foo-1.0-py3-none-any.whl", "broken <b>"), 0);
    assert_int_equal(package_get(&op, w.pk, "foo", "foo-1.0-py3-none-any.whl", &f), 0);
    assert_string_equal(f.yanked, "broken <b>");
    assert_int_equal(package_yank(&op, w.pk, "foo", "foo-1.0-py3-none-any.whl", NULL), 0);
    assert_int_equal(package_get(&op, w.pk, "foo", "foo-1.0-py3-none-any.whl", &f), 0);
    assert_null(f.yanked);
    assert_int_equal(package_yank(&op, w.pk, "foo", "foo-2.0-py3-none-any.whl", ""), -ENOENT);
    op_done(&op);
}

/* Each write of a publication fails once: it is refused and nothing shows, or it succeeds and all
 * does; afterwards the same upload works. */
static void test_faults(void **state)
{
    bool succeeded = false;

    (void)state;
    for (unsigned n = 0; !succeeded; n++) {
        char version[16];
        autobuf file = {0};
        int r;

        assert_true(n < 50);
        snprintf(version, sizeof version, "1.%u", n);
        buf_printf(&file, "faulty-%s-py3-none-any.whl", version);
        store_fault(w.store, n, ENOSPC);
        r = world_wheel(&w, "faulty", version, version);
        store_fault(w.store, 0, 0);
        if (r != 0)
            assert_int_equal(r, -ENOSPC);
        assert_int_equal(exists(file.data), r == 0);
        succeeded = r == 0 && !w.pk->index_behind;
        w.pk->index_behind = false;
        assert_int_equal(world_wheel(&w, "faulty", version, version), 0);
        assert_true(exists(file.data));
    }
    assert_int_equal(index_mend(w.pk), 0);
    assert_int_equal(projects(), 1);
}

/* The same of a deletion. */
static void test_delete_faults(void **state)
{
    int r = -1;

    (void)state;
    for (unsigned n = 0; r != 0; n++) {
        struct op op;

        assert_true(n < 50);
        assert_int_equal(world_wheel(&w, "gone", "1.0", "x"), 0);
        store_fault(w.store, n, EIO);
        op_init(&op, DOOR_HTTP, &w.team);
        r = package_delete(&op, w.pk, "gone", "gone-1.0-py3-none-any.whl");
        op_done(&op);
        store_fault(w.store, 0, 0);
        assert_int_equal(exists("gone-1.0-py3-none-any.whl"), r != 0);
    }
    assert_int_equal(index_mend(w.pk), 0);
    assert_int_equal(projects(), 0);
}

/* What a kill between the row of the file and the row of the index leaves, and the other way. */
static void test_mend(void **state)
{
    struct store_batch *batch;

    (void)state;
    assert_int_equal(world_wheel(&w, "Seen", "1.0", "x"), 0);
    batch = store_batch_new(w.store, SLICE(INDEX_PARTITION));
    store_batch_delete(batch, SLICE("seen"));
    store_batch_put(batch, SLICE("ghost"), SLICE("fGhost"));
    store_batch_put(batch, SLICE("folder"), SLICE("dfolder"));
    assert_int_equal(store_commit(batch, STORE_DURABLE), 0);
    packages_domain.close(w.pk);
    world_open_domain(&w);
    {
        struct op op;
        const char *display;
        bool files;

        op_init(&op, DOOR_HTTP, &w.team);
        assert_int_equal(project_get(&op, w.pk, "seen", &display, &files), 0);
        assert_string_equal(display, "Seen");
        op_forgive(&op);
        assert_int_equal(project_get(&op, w.pk, "ghost", &display, &files), -ENOENT);
        assert_int_equal(project_get(&op, w.pk, "folder", &display, &files), 0);
        assert_false(files);
        op_done(&op);
    }
}

/* A kill after the hold and before the row: the journal lets go of the blob. */
static void test_reclaim_crash(void **state)
{
    struct package_file f = {.project = "foo",
                             .name = "foo-1.0-py3-none-any.whl",
                             .version = "1.0",
                             .display = "foo",
                             .requires_python = "",
                             .uploader = "",
                             .id = "0123456789abcdef"};

    (void)state;
    assert_int_equal(blob_put(w.store, DIGEST_SHA256, "abc", 3, &f.digest), 0);
    assert_int_equal(reclaim_note(w.pk, RECLAIM_PUBLISHING, &f, 1000), 0);
    assert_int_equal(reclaim_hold(w.pk, &f), 0);
    assert_int_equal(owners(&f.digest), 1);
    assert_int_equal(packages_reclaim(w.pk, 999, NULL), 0);
    assert_int_equal(owners(&f.digest), 1);
    assert_int_equal(packages_reclaim(w.pk, 1000, NULL), 0);
    assert_int_equal(owners(&f.digest), 0);
}

static void test_record(void **state)
{
    static const char *const bad[] = {"", "\x01", "\x01\x05",
                                      "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x04\x01z"};
    struct package_file f = {.version = "1.0",
                             .display = "Foo",
                             .requires_python = ">=3",
                             .uploader = "u",
                             .id = "i",
                             .yanked = "",
                             .kind = PACKAGE_WHEEL,
                             .size_bytes = 1ull << 40,
                             .uploaded_unix_ns = 123456789012345678,
                             .digest = {DIGEST_SHA256, {1}},
                             .metadata = {7, {DIGEST_SHA256, {2}}},
                             .signature = {8, {DIGEST_SHA256, {3}}},
                             .provenance = {9, {DIGEST_SHA256, {4}}}};
    struct package_file back;
    autobuf row = {0};
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, &w.team);
    record_encode(&f, &row);
    buf_add(&row, "\x63\x02zz", 4); /* a tag of the future */
    assert_int_equal(record_decode(&op, "p", "n", buf_slice(&row), &back), 0);
    assert_string_equal(back.version, "1.0");
    assert_string_equal(back.yanked, "");
    assert_true(back.size_bytes == f.size_bytes && back.uploaded_unix_ns == f.uploaded_unix_ns);
    assert_true(digest_eq(&back.metadata.digest, &f.metadata.digest));
    assert_true(back.signature.size_bytes == 8 && back.provenance.size_bytes == 9);
    assert_true(digest_eq(&back.signature.digest, &f.signature.digest));
    assert_true(digest_eq(&back.provenance.digest, &f.provenance.digest));
    for (size_t i = 0; i < array_size(bad); i++)
        assert_int_equal(record_decode(&op, "p", "n", slice_str(bad[i]), &back), -EIO);
    op_done(&op);
}

/* A page in memory never outlives what it shows. */
static void test_pages(void **state)
{
    struct web_page *a, *b;
    struct op op;

    (void)state;
    op_init(&op, DOOR_HTTP, &w.team);
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(pages_peek(w.pk, "foo", PAGE_V1_JSON, &a), -EAGAIN);
    assert_int_equal(pages_get(&op, w.pk, "foo", PAGE_V1_JSON, false, &a), -EINPROGRESS);
    assert_int_equal(pages_get(&op, w.pk, "foo", PAGE_V1_JSON, true, &a), 0);
    assert_int_equal(pages_peek(w.pk, "foo", PAGE_V1_JSON, &b), 0);
    assert_ptr_equal(a, b);
    web_page_unref(b);
    assert_int_equal(world_wheel(&w, "bar", "1.0", "x"), 0);
    assert_int_equal(pages_peek(w.pk, "foo", PAGE_V1_JSON, &b), 0); /* another project's change */
    web_page_unref(b);
    assert_int_equal(world_wheel(&w, "foo", "2.0", "x"), 0);
    assert_int_equal(pages_peek(w.pk, "foo", PAGE_V1_JSON, &b), -EAGAIN);
    assert_int_equal(pages_get(&op, w.pk, "foo", PAGE_V1_JSON, true, &b), 0);
    assert_string_not_equal(a->etag, b->etag);
    web_page_unref(a);
    web_page_unref(b);
    assert_int_equal(pages_get(&op, w.pk, "none", PAGE_HTML, true, &b), -ENOENT);
    op_done(&op);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_publish),       T(test_immutable),
        T(test_refused),       T(test_rights_of_reading),
        T(test_limit),         T(test_race),
        T(test_race_same),     T(test_churn),
        T(test_delete),        T(test_delete_and_again),
        T(test_delete_rights), T(test_yank),
        T(test_faults),        T(test_delete_faults),
        T(test_mend),          T(test_reclaim_crash),
        T(test_record),        T(test_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
