/* Files of the host, worker threads, and the op. */
#include "base/file.h"
#include "base/pool.h"
#include "base/scope.h"
#include "op/op.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

static char folder[] = "/tmp/infrafs-base-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *in_folder(const char *name)
{
    static char path[2][128];
    static unsigned turn;

    snprintf(path[++turn % 2], 128, "%s/%s", folder, name);
    return path[turn % 2];
}

static void check_content(const char *path, const char *expected, mode_t mode)
{
    autobuf text = {0};
    struct stat st;

    assert_int_equal(file_read(path, 1000, &text), 0);
    assert_true(slice_eq(buf_slice(&text), slice_str(expected)));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void test_replace(void **state)
{
    struct stat before, after;

    (void)state;
    assert_int_equal(file_replace(in_folder("a"), SLICE("one"), 0640), 0);
    check_content(in_folder("a"), "one", 0640);
    assert_int_equal(stat(in_folder("a"), &before), 0);
    assert_int_equal(file_replace(in_folder("a"), SLICE(""), 0600), 0); /* the mode stays */
    check_content(in_folder("a"), "", 0640);
    assert_int_equal(stat(in_folder("a"), &after), 0);
    assert_true(before.st_ino != after.st_ino);

    assert_int_equal(symlink("a", in_folder("link")), 0);
    assert_int_equal(file_replace(in_folder("link"), SLICE("two"), 0600), 0);
    check_content(in_folder("a"), "two", 0640);
    assert_int_equal(lstat(in_folder("link"), &after), 0);
    assert_true(S_ISLNK(after.st_mode));
    assert_int_equal(file_replace(in_folder("none/b"), SLICE("x"), 0600), -ENOENT);
    unlink(in_folder("link"));
    unlink(in_folder("a"));
}

static void test_read(void **state)
{
    autobuf text = {0};

    (void)state;
    assert_int_equal(file_read(in_folder("none"), 10, &text), -ENOENT);
    assert_int_equal(file_read(folder, 10, &text), -EISDIR);
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(file_read(in_folder("fifo"), 10, &text), -EINVAL); /* and does not wait */
    unlink(in_folder("fifo"));
    assert_int_equal(file_replace(in_folder("a"), SLICE("0123456789"), 0600), 0);
    assert_int_equal(file_read(in_folder("a"), 10, &text), 0);
    assert_int_equal(file_read(in_folder("a"), 9, &text), -EFBIG);
    unlink(in_folder("a"));
}

static void test_folders(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(file_make_folders(in_folder("x/y/z"), 0700), 0);
    assert_int_equal(file_make_folders(in_folder("x/y/z"), 0700), 0);
    assert_int_equal(stat(in_folder("x/y/z"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(file_replace(in_folder("x/f"), SLICE(""), 0600), 0);
    assert_int_equal(file_make_folders(in_folder("x/f/g"), 0700), -ENOTDIR);
    assert_int_equal(file_sync_folder(in_folder("x/y")), 0);
    unlink(in_folder("x/f"));
    rmdir(in_folder("x/y/z"));
    rmdir(in_folder("x/y"));
    rmdir(in_folder("x"));
}

static void count_up(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
}

static void test_pool(void **state)
{
    struct pool *p = pool_new(4, "a name that is too long");
    int done = 0;

    (void)state;
    for (int i = 0; i < 500; i++)
        pool_submit(p, count_up, &done);
    pool_free(p); /* runs what is queued */
    assert_int_equal(done, 500);
    pool_free(NULL);
    p = pool_new(1, "idle");
    assert_int_equal(pool_waiting(p), 0);
    pool_free(p);
}

static void test_op_memory(void **state)
{
    struct op op;
    char *p[200];
    struct slice s;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    for (size_t i = 0; i < array_size(p); i++) {
        p[i] = op_alloc(&op, i * 50);
        for (size_t k = 0; k < i * 50; k++)
            assert_int_equal(p[i][k], 0);
        memset(p[i], (int)i, i * 50);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
    }
    for (size_t i = 1; i < array_size(p); i++)
        assert_int_equal((unsigned char)p[i][i * 50 - 1], i);
    assert_string_equal(op_strdup(&op, "text"), "text");
    assert_string_equal(op_strndup(&op, "text", 2), "te");
    assert_string_equal(op_printf(&op, "%s-%d", "a", 5), "a-5");
    s = op_slice(&op, SLICE("bytes"));
    assert_string_equal(s.data, "bytes");
    op.wiped = true;
    op_done(&op);
}

static void test_op_reason(void **state)
{
    struct op op;
    char id[37];

    (void)state;
    op_init(&op, DOOR_HTTP, NULL);
    assert_string_equal(op_why(&op, -ENOENT), "No such file or directory");
    assert_int_equal(op_fail(&op, EINVAL, "first '%s'", "x"), -EINVAL);
    assert_int_equal(op_fail(&op, EIO, "second"), -EIO); /* the first reason stays */
    assert_string_equal(op_why(&op, -EIO), "first 'x'");
    assert_int_equal(op.err, -EINVAL);
    op_forgive(&op);
    assert_null(op.why);
    memcpy(id, op_id(&op), sizeof id);
    assert_int_equal(strlen(id), 36);
    assert_int_equal(id[14], '4'); /* RFC 9562, version 4 */
    assert_string_equal(op_id(&op), id);
    op_changed(&op, CHANGE_ENTRY, "/a/%s", "b");
    op_changed(&op, CHANGE_CONTENT, "/c");
    assert_string_equal(op.changes->path, "/c");
    assert_string_equal(op.changes->next->path, "/a/b");
    assert_null(op.changes->next->next);
    op_done(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace), cmocka_unit_test(test_read),
        cmocka_unit_test(test_folders), cmocka_unit_test(test_pool),
        cmocka_unit_test(test_op_memory), cmocka_unit_test(test_op_reason),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
