/* What only the engine on disk has: its directory, kills, damage, a full disk. */
#include "test_blob.h"

#include "base/codec.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MIB ((size_t)1 << 20)

static const char *path_in(const struct fixture *f, const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/store/%s", f->dir, name);
    return path;
}

static void test_version(void **state)
{
    struct fixture *f = *state;
    struct buf why = {0};
    struct store *s = NULL;

    store_close(f->store);
    f->store = NULL;
    assert_int_equal(
        file_replace(path_in(f, "store-version"), text("infrafs store, layout 99\n"), 0600), 0);
    assert_int_equal(store_open(f->url, NULL, &s, &why), -EPROTO);
    assert_non_null(strstr(why.data, "layout 99"));
    buf_clear(&why);
    assert_int_equal(file_replace(path_in(f, "store-version"), text(""), 0600), 0);
    assert_int_equal(store_open(f->url, NULL, &s, &why), -EPROTO);
    buf_done(&why);
}

static void test_lock(void **state)
{
    struct fixture *f = *state;
    struct buf why = {0};
    struct store *s = NULL;

    assert_int_equal(store_open(f->url, NULL, &s, &why), -EBUSY);
    assert_non_null(strstr(why.data, "already open by another process"));
    buf_done(&why);
    assert_int_equal(put(f->store, "p", "k", "v"), 0); /* the first is not disturbed */
}

static void test_unusable_directory(void **state)
{
    struct fixture *f = *state;
    struct buf why = {0};
    struct store *s = NULL;
    char url[300];

    assert_int_equal(file_replace(path_in(f, "file"), text("x"), 0600), 0);
    snprintf(url, sizeof url, "rocks:%s", path_in(f, "file"));
    assert_true(store_open(url, NULL, &s, &why) < 0);
    assert_true(why.len > 0);
    buf_done(&why);
}

static unsigned count_files(const struct fixture *f, const char *name, const char *suffix)
{
    DIR *dir = opendir(path_in(f, name));
    struct dirent *e;
    unsigned n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        size_t len = strlen(e->d_name), want = strlen(suffix);

        n += e->d_name[0] != '.' && len >= want && strcmp(e->d_name + len - want, suffix) == 0;
    }
    closedir(dir);
    return n;
}

/* Work is done in a child, a program of its own (RocksDB's threads do not survive a fork), that is
 * gone as if killed when it returns, or at its n-th call that matters. */
enum work { COMMIT_DURABLE, UPLOAD_HALF, REAP_ALL, DOOM_OPEN_BLOB, SEAL_SUSPENDED, STEPS };
#define EXIT_KILLED   7
#define EXIT_FINISHED 8

static int run_child(struct fixture *f, enum work work, int n, int ack)
{
    char work_text[16], n_text[16], ack_text[16];
    int status;
    pid_t pid;

    snprintf(work_text, sizeof work_text, "%d", (int)work);
    snprintf(n_text, sizeof n_text, "%d", n);
    snprintf(ack_text, sizeof ack_text, "%d", ack);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "child", f->dir, work_text, n_text, ack_text, NULL);
        _exit(1);
    }
    if (ack >= 0)
        close(ack);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void killed_after(struct fixture *f, enum work work)
{
    store_close(f->store);
    f->store = NULL;
    assert_int_equal(run_child(f, work, -1, -1), EXIT_FINISHED);
    fixture_open(f);
}

static void commit_durable(struct fixture *f)
{
    struct store_batch *b = store_batch_new(f->store, text("p"));

    store_batch_put(b, text("durable"), text("1"));
    assert_int_equal(store_commit(b, STORE_DURABLE), 0);
    blob_make(f->store, 5 * MIB, 1);
    blob_make(f->store, 100, 2);
    blob_make(f->store, MIB, 3);
}

static void test_killed_after_commit(void **state)
{
    struct fixture *f = *state;
    struct digest d;
    uint8_t *bytes = content_new(5 * MIB, 1);

    killed_after(f, COMMIT_DURABLE);
    assert_string_equal(get(f->store, "p", "durable"), "1");
    digest_of(DIGEST_SHA256, bytes, 5 * MIB, &d);
    blob_check(f->store, &d, bytes, 5 * MIB);
    free(bytes);
}

static void upload_half(struct fixture *f)
{
    uint8_t *bytes = content_new(6 * MIB, 1);

    assert_int_equal(stage_fill(stage_new(f->store, 0), bytes, 6 * MIB, MIB), 0);
    assert_int_equal(stage_fill(stage_new(f->store, 0), bytes, MIB, MIB), 0);
    assert_true(count_files(f, "uploads", "") >= 2);
}

static void test_killed_in_upload(void **state)
{
    struct fixture *f = *state;

    killed_after(f, UPLOAD_HALF);
    assert_int_equal(count_files(f, "uploads", ""), 0);
    assert_int_equal(count_files(f, "rocksdb", ".sst"), 0);
}

/* Kills at every sync, link and unlink that RocksDB and the store make: they come here first. */
static atomic_int calls_left = -1;

static atomic_bool sync_fails;

static void count_down(void)
{
    if (atomic_load(&calls_left) >= 0 && atomic_fetch_sub(&calls_left, 1) == 0)
        _exit(EXIT_KILLED);
}

int fdatasync(int fd)
{
    count_down();
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    count_down();
    return (int)syscall(SYS_fsync, fd);
}

int link(const char *from, const char *to)
{
    count_down();
    return (int)syscall(SYS_link, from, to);
}

int unlink(const char *path)
{
    count_down();
    return (int)syscall(SYS_unlink, path);
}

static const size_t step_sizes[] = {5 * MIB, MIB, 200000, 10};

/* What is done until the kill; each step is acknowledged through `ack`. */
static void steps(struct fixture *f, int ack)
{
    struct store_batch *b = store_batch_new(f->store, text("p"));
    struct blob_stage *stage;
    uint8_t id[BLOB_STAGE_ID_BYTES];
    uint64_t durable;

    store_batch_put(b, text("k"), text("v"));
    assert_int_equal(store_commit(b, STORE_DURABLE), 0);
    assert_int_equal(write(ack, "r", 1), 1);
    for (size_t i = 0; i < 4; i++) {
        blob_make(f->store, step_sizes[i], i);
        assert_int_equal(write(ack, "b", 1), 1);
    }
    stage = stage_new(f->store, 0);
    memcpy(id, blob_stage_id(stage), sizeof id);
    assert_int_equal(stage_fill(stage, content_new(6 * MIB, 9), 6 * MIB, MIB), 0);
    assert_int_equal(blob_stage_suspend(stage, &durable), 0);
    assert_int_equal(write(ack, "s", 1), 1);
    assert_int_equal(write(ack, id, sizeof id), sizeof id);
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    assert_int_equal(write(ack, "x", 1), 1);
}

static int count_blobs(void *ctx, const struct digest *d, const struct blob_stat *st)
{
    struct fixture *f = ctx;

    (void)st;
    assert_int_equal(blob_verify(f->store, d), 0); /* what is there is whole */
    return 0;
}

static unsigned count_large(const struct fixture *f)
{
    DIR *dir = opendir(path_in(f, "rocksdb"));
    struct dirent *e;
    struct stat st;
    unsigned n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL)
        if (strstr(e->d_name, ".sst") != NULL && fstatat(dirfd(dir), e->d_name, &st, 0) == 0)
            n += st.st_size >= 4 * (off_t)MIB;
    closedir(dir);
    return n;
}

static void check_after_kill(struct fixture *f, const char *acks, size_t n)
{
    struct store_usage usage;
    struct blob_stage *stage = NULL;
    uint64_t durable;
    size_t blobs = 0;

    for (size_t i = 0; i < n && acks[i] == "rbbbb"[i % 5] && i < 5; i++)
        blobs += acks[i] == 'b';
    assert_string_equal(n > 0 ? get(f->store, "p", "k") : "v", "v");
    assert_int_equal(blob_each(f->store, count_blobs, f), 0);
    assert_int_equal(store_usage(f->store, &usage), 0);
    if (n < 6)
        assert_true(usage.blobs == blobs || usage.blobs == blobs + 1);
    if (n == 6 + 16 + 1) /* all is reaped */
        assert_int_equal(usage.blobs, 0);
    if (n >= 6 + 16) {
        assert_int_equal(blob_stage_resume(f->store, (const uint8_t *)acks + 6, &stage, &durable),
                         0);
        assert_int_equal(durable, 6 * MIB);
        blob_stage_drop(stage);
    }
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    assert_int_equal(store_usage(f->store, &usage), 0);
    assert_int_equal(usage.blobs, 0);
    assert_int_equal(count_large(f), 0); /* no part is left without its blob */
}

/* True if it came to the end. */
static bool run_and_kill(struct fixture *f, int n, char acks[64], size_t *ret_n)
{
    int pair[2], status;
    ssize_t got;

    assert_int_equal(pipe(pair), 0);
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    status = run_child(f, STEPS, n, pair[1]);
    *ret_n = 0;
    while ((got = read(pair[0], acks + *ret_n, 64 - *ret_n)) > 0)
        *ret_n += (size_t)got;
    close(pair[0]);
    assert_true(status == EXIT_KILLED || status == EXIT_FINISHED);
    return status == EXIT_FINISHED;
}

static void test_killed_anywhere(void **state)
{
    struct fixture *f = *state;
    bool finished = false;
    int n;

    for (n = 0; !finished && n < 500; n++) {
        char acks[64];
        size_t n_acks = 0;

        store_close(f->store);
        f->store = NULL;
        finished = run_and_kill(f, n, acks, &n_acks);
        fixture_open(f);
        check_after_kill(f, acks, n_acks);
        assert_int_equal(count_files(f, "uploads", ".raw"), 0);
    }
    print_message("%d points of death\n", n);
    assert_true(finished && n > 10);
}

/* The stage whose id is in the file `id`. */
static void seal_suspended(struct fixture *f)
{
    struct blob_stage *stage = NULL;
    autobuf id = {0};
    uint64_t durable;

    assert_int_equal(file_read(path_in(f, "id"), 100, &id), 0);
    assert_int_equal(blob_stage_resume(f->store, (const uint8_t *)id.data, &stage, &durable), 0);
    assert_int_equal(blob_seal(stage, NULL, NULL), 0);
}

/* What a kill left of the first try has the stage's id, and is swept beside the second. */
static bool seal_killed_at(struct fixture *f, int n, unsigned *ret_resumed)
{
    uint8_t *bytes = content_new(6 * MIB, 1), id[BLOB_STAGE_ID_BYTES];
    struct blob_stage *stage = stage_new(f->store, 6 * MIB);
    uint64_t durable;
    struct digest d;
    int status;

    memcpy(id, blob_stage_id(stage), sizeof id);
    assert_int_equal(stage_fill(stage, bytes, 6 * MIB, MIB), 0);
    assert_int_equal(blob_stage_suspend(stage, &durable), 0);
    assert_int_equal(file_replace(path_in(f, "id"), slice_of(id, sizeof id), 0600), 0);
    store_close(f->store);
    f->store = NULL;
    status = run_child(f, SEAL_SUSPENDED, n, -1);
    fixture_open(f);
    if (blob_stage_resume(f->store, id, &stage, &durable) == 0) {
        (*ret_resumed)++;
        assert_int_equal(blob_seal(stage, NULL, NULL), 0);
    } else if (status != EXIT_FINISHED) {
        blob_make(f->store, 6 * MIB, 1);
    }
    for (size_t i = 0; i < 2; i++) {
        struct store_usage usage;

        assert_int_equal(store_usage(f->store, &usage), 0);
        assert_int_equal(usage.blobs, 1);
        assert_int_equal(count_large(f), 1);
        digest_of(DIGEST_SHA256, bytes, 6 * MIB, &d);
        blob_check(f->store, &d, bytes, 6 * MIB);
        fixture_restart(f);
    }
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    free(bytes);
    return status == EXIT_FINISHED;
}

static void test_killed_sealing_suspended(void **state)
{
    struct fixture *f = *state;
    unsigned resumed = 0;
    int n = 0;

    while (!seal_killed_at(f, n, &resumed) && n < 100)
        n++;
    print_message("%d points of death, %u resumed\n", n, resumed);
    assert_true(n > 2 && n < 100 && resumed > 0);
}

static void reap_all(struct fixture *f)
{
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
}

static void test_reaped_for_good(void **state)
{
    struct fixture *f = *state;
    struct blob *pinned = NULL;
    struct digest d = blob_make(f->store, 5 * MIB, 1);
    struct store_usage usage;

    assert_int_equal(count_files(f, "rocksdb", ".sst"), 1);
    assert_int_equal(blob_open(f->store, &d, &pinned), 0);
    blob_close(pinned);
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    assert_int_equal(count_files(f, "rocksdb", ".sst"), 0); /* the space is back at once */
    blob_make(f->store, 5 * MIB, 2);
    killed_after(f, REAP_ALL);
    assert_int_equal(store_usage(f->store, &usage), 0);
    assert_int_equal(usage.blobs, 0);
}

static void doom_open_blob(struct fixture *f)
{
    struct digest d = blob_make(f->store, 5 * MIB, 1);
    struct blob *b = NULL;

    assert_int_equal(blob_open(f->store, &d, &b), 0);
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    assert_true(count_files(f, "rocksdb", ".sst") >= 1); /* still read */
}

static void test_killed_with_doomed_blob(void **state)
{
    struct fixture *f = *state;

    killed_after(f, DOOM_OPEN_BLOB);
    for (size_t i = 0; i < 2; i++) {
        struct store_usage usage;

        assert_int_equal(store_usage(f->store, &usage), 0);
        assert_int_equal(usage.blobs, 0);
        assert_int_equal(count_large(f), 0);
        fixture_restart(f);
    }
}

static void find_sst(const struct fixture *f, char path[512])
{
    DIR *dir = opendir(path_in(f, "rocksdb"));
    struct dirent *e;
    off_t best = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL) {
        struct stat st;
        char name[512];

        snprintf(name, sizeof name, "%s/%.64s", path_in(f, "rocksdb"), e->d_name);
        if (strstr(e->d_name, ".sst") == NULL || stat(name, &st) < 0 || st.st_size <= best)
            continue;
        best = st.st_size;
        memcpy(path, name, sizeof name);
    }
    closedir(dir);
    assert_true(best > 0);
}

static void damage(const char *path, off_t at, const char *with, size_t n)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, with, n, at), n);
    close(fd);
}

static void test_damaged_value(void **state)
{
    struct fixture *f = *state;
    struct digest d = blob_make(f->store, 6 * MIB, 1);
    char path[512];

    assert_int_equal(blob_verify(f->store, &d), 0);
    find_sst(f, path);
    damage(path, 3 * (off_t)MIB, "x", 1);
    assert_int_equal(blob_verify(f->store, &d), -EIO);
}

/* Where an entry is not what its offset says, RocksDB reads the blob, and its checksum speaks. */
static void test_damaged_entry(void **state)
{
    struct fixture *f = *state;
    struct digest d = blob_make(f->store, 6 * MIB, 1);
    uint8_t *bytes = content_new(6 * MIB, 1), got[100];
    struct blob_loan loan;
    struct blob *b = NULL;
    char path[512];

    find_sst(f, path);
    damage(path, 0, "\7", 1);
    assert_int_equal(blob_open(f->store, &d, &b), 0);
    assert_int_equal(blob_lend(b, 0, 100, &loan), -ENOTSUP);
    assert_int_equal(blob_read(b, 5, got, sizeof got), -EIO);
    read_range(b, bytes, MIB, 5 * MIB); /* the other blocks are whole */
    blob_close(b);
    assert_int_equal(blob_verify(f->store, &d), -EIO);
    free(bytes);
}

static void test_cut_file(void **state)
{
    struct fixture *f = *state;
    struct digest d = blob_make(f->store, 6 * MIB, 1);
    char path[512];

    find_sst(f, path);
    assert_int_equal(truncate(path, 3 * (off_t)MIB), 0);
    assert_int_equal(blob_verify(f->store, &d), -EIO);
}

/* Every value of a part is where the offset says: the file is searched for the content itself. */
static void test_offsets(void **state)
{
    struct fixture *f = *state;
    static const size_t some[] = {4 * MIB,       4 * MIB + 1,     5 * MIB - 1,  6 * MIB + 127,
                                  6 * MIB + 128, 6 * MIB + 16384, 17 * MIB + 65};

    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        struct digest d = blob_make(f->store, some[i], i);
        uint8_t *bytes = content_new(some[i], i);
        struct blob *b = NULL;
        struct blob_loan loan;
        size_t at = 0;

        assert_int_equal(blob_open(f->store, &d, &b), 0);
        assert_int_equal(blob_lend(b, 0, some[i], &loan), 0);
        assert_int_equal(loan.n_iov, (some[i] + MIB - 1) / MIB);
        for (size_t k = 0; k < loan.n_iov; at += loan.iov[k].iov_len, k++)
            assert_memory_equal(loan.iov[k].iov_base, bytes + at, loan.iov[k].iov_len);
        assert_int_equal(at, some[i]);
        blob_unlend(&loan);
        blob_close(b);
        free(bytes);
    }
}

/* Parts that end early, as after a suspend, and a last one that is written again. */
static void test_many_parts(void **state)
{
    struct fixture *f = *state;
    size_t n = 30 * MIB + 11, sent = 0, pieces[] = {5 * MIB, MIB + 3, 100, 9 * MIB, 4 * MIB + 1, n};
    uint8_t *bytes = content_new(n, 5), id[BLOB_STAGE_ID_BYTES];
    struct blob_stage *stage = stage_new(f->store, n);
    struct blob_loan loan;
    struct blob *b = NULL;
    struct digest d;
    uint64_t durable;
    size_t at = 0;

    memcpy(id, blob_stage_id(stage), sizeof id);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t piece = pieces[i] < n - sent ? pieces[i] : n - sent;

        assert_int_equal(stage_fill(stage, bytes + sent, piece, 700000), 0);
        sent += piece;
        assert_int_equal(blob_stage_suspend(stage, &durable), 0);
        assert_int_equal(durable, sent);
        fixture_restart(f);
        assert_int_equal(blob_stage_resume(f->store, id, &stage, &durable), 0);
        assert_int_equal(durable, sent);
    }
    assert_int_equal(blob_seal(stage, NULL, &d), 0);
    blob_check(f->store, &d, bytes, n);
    assert_true(count_files(f, "rocksdb", ".sst") > 2);
    assert_int_equal(blob_open(f->store, &d, &b), 0);
    assert_int_equal(blob_lend(b, 3, n - 3, &loan), 0);
    for (size_t k = 0; k < loan.n_iov; at += loan.iov[k].iov_len, k++)
        assert_memory_equal(loan.iov[k].iov_base, bytes + 3 + at, loan.iov[k].iov_len);
    assert_int_equal(at, n - 3);
    blob_unlend(&loan);
    blob_close(b);
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    free(bytes);
}

/* Announced to be large, content goes around the page cache: it reads back the same, cut anywhere. */
static void test_direct(void **state)
{
    struct fixture *f = *state;
    const size_t sizes[] = {1, MIB - 1, 5 * MIB, 9 * MIB + 4095};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = content_new(sizes[i], 70 + i);
        struct blob_stage *stage = stage_new(f->store, 0);
        struct digest d;

        blob_stage_expect(stage, UINT64_C(1) << 40);
        assert_int_equal(stage_fill(stage, bytes, sizes[i], 300001), 0);
        assert_int_equal(blob_seal(stage, NULL, &d), 0);
        blob_check(f->store, &d, bytes, sizes[i]);
        fixture_restart(f);
        blob_check(f->store, &d, bytes, sizes[i]);
        free(bytes);
    }
    assert_int_equal(access(path_in(f, "uploads/.direct"), F_OK), -1);
}

static int put_durable(struct store *s, const char *key)
{
    struct store_batch *b = store_batch_new(s, text("p"));

    store_batch_put(b, text(key), text("v"));
    return store_commit(b, STORE_DURABLE);
}

/* A disk that does not sync: nothing is acknowledged, reads go on; when it is well again, the store
 * is opened anew by itself, as soon as no scan is under way. */
static void test_sync_fails(void **state)
{
    struct fixture *f = *state;
    struct store_scan *scan = NULL;
    struct store_usage usage;
    struct slice key, value;

    assert_int_equal(store_usage(f->store, &usage), 0); /* the count of blobs, a scan too, is over */
    assert_int_equal(put_durable(f->store, "before"), 0);
    assert_int_equal(store_scan(f->store, text("p"), text(""), text(""), 0, &scan), 0);
    atomic_store(&sync_fails, true);
    assert_int_equal(put_durable(f->store, "lost"), -EIO);
    assert_int_equal(put_durable(f->store, "lost"), -EIO);
    assert_string_equal(get(f->store, "p", "before"), "v");
    atomic_store(&sync_fails, false);
    assert_int_equal(put_durable(f->store, "lost"), -EIO); /* the scan is in the way */
    assert_int_equal(store_scan_next(scan, &key, &value), 1);
    assert_true(slice_eq(key, text("before")));
    store_scan_free(scan);
    assert_int_equal(put_durable(f->store, "after"), 0);
    assert_string_equal(get(f->store, "p", "before"), "v");
    fixture_restart(f);
    assert_string_equal(get(f->store, "p", "before"), "v");
    assert_string_equal(get(f->store, "p", "after"), "v");
}

static void test_reserve(void **state)
{
    struct fixture *f = *state;
    struct digest held = blob_make(f->store, 100, 1), loose = blob_make(f->store, 5 * MIB, 2);
    struct blob_stage *stage = NULL;
    struct store_batch *b;
    struct blob_reaped reaped;
    struct store_log *l = NULL;

    assert_int_equal(put(f->store, "p", "k", "v"), 0);
    assert_int_equal(blob_hold(f->store, &held, text("o")), 0);
    store_close(f->store);
    f->options.reserve_bytes = UINT64_MAX / 2; /* more than any disk has */
    fixture_open(f);
    assert_int_equal(put(f->store, "p", "k", "w"), -ENOSPC);
    assert_string_equal(get(f->store, "p", "k"), "v"); /* reads go on */
    assert_int_equal(blob_stage_begin(f->store, DIGEST_SHA256, 0, &stage), 0);
    assert_int_equal(blob_stage_write(stage, "x", 1), -ENOSPC);
    blob_stage_drop(stage);
    assert_int_equal(store_log_open(f->store, "l", &l), 0);
    assert_int_equal(store_log_append(l, text("x"), NULL), -ENOSPC);
    assert_int_equal(store_log_trim(l, 1), 0);
    store_log_close(l);
    b = store_batch_new(f->store, text("p")); /* deleting goes on */
    store_batch_expect(b, text("k"), text("v"));
    store_batch_delete(b, text("k"));
    assert_int_equal(store_commit(b, STORE_DURABLE), 0);
    assert_int_equal(store_drop(f->store, text("p")), 0);
    assert_int_equal(blob_release(f->store, &held, text("o")), 0);
    assert_int_equal(blob_reap(f->store, 0, false, &reaped), 0);
    assert_int_equal(reaped.blobs, 2);
    assert_int_equal(blob_verify(f->store, &loose), -ENOENT);
    f->options.reserve_bytes = 1;
    fixture_restart(f);
    assert_int_equal(put(f->store, "p", "k", "w"), 0);
}

/* Fills partition `part` until there is no room. Returns how many rows were acknowledged. */
static unsigned fill_disk(struct store *s, const char *part)
{
    uint8_t *value = content_new(60000, 7);
    unsigned n;
    int r = 0;

    for (n = 0; r == 0; n++) {
        struct store_batch *b = store_batch_new(s, text(part));

        memcpy(value, &n, sizeof n);
        store_batch_put(b, slice_of(&n, sizeof n), slice_of(value, 60000));
        r = store_commit(b, STORE_DURABLE);
    }
    assert_int_equal(r, -ENOSPC);
    free(value);
    return n - 1;
}

static void fill_file(const char *path, size_t n)
{
    uint8_t *bytes = content_new(MIB, 1);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    while (n-- > 0 && write(fd, bytes, MIB) == (ssize_t)MIB)
        ;
    close(fd);
    free(bytes);
}

static void check_rows(struct store *s, unsigned n)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < n; i++) {
        struct store_value v = {0};

        missing += store_get(s, text("a"), slice_of(&i, sizeof i), &v) < 0;
        store_value_release(&v);
    }
    assert_int_equal(missing, 0);
}

/* A disk that is really full: reads go on, nothing that was acknowledged is lost, and when space
 * returns the store goes on by itself. */
static void full_disk(struct fixture *f, uint64_t reserve)
{
    char disk[100], filler[120];
    struct fixture full = {.options.reserve_bytes = reserve};
    struct buf why = {0};
    unsigned n, seconds = 0;
    int r;

    snprintf(disk, sizeof disk, "%s/disk", f->dir);
    snprintf(filler, sizeof filler, "%s/filler", disk);
    snprintf(full.url, sizeof full.url, "rocks:%s/store", disk);
    assert_int_equal(mkdir(disk, 0700), 0);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=144m") < 0)
        skip(); /* not root */
    fixture_open(&full);
    fill_file(filler, 48);
    n = fill_disk(full.store, "a");
    assert_true(n > 100);
    check_rows(full.store, n);
    if (reserve > 1) {
        assert_int_equal(store_drop(full.store, text("a")), 0); /* deleting makes room */
        assert_int_equal(put(full.store, "b", "k", "v"), 0);
        n = fill_disk(full.store, "a");
        assert_true(n > 100);
    }
    assert_int_equal(unlink(filler), 0);
    for (r = -1; r < 0 && seconds < 60; seconds++) {
        r = put(full.store, "b", "k2", "v");
        if (r < 0)
            sleep(1);
    }
    assert_int_equal(r, 0);
    fixture_restart(&full);
    assert_string_equal(get(full.store, "b", "k2"), "v");
    check_rows(full.store, n);
    store_close(full.store);
    fill_file(filler, 144); /* starting on a full disk fails, or not, but says so */
    if (store_open(full.url, &full.options, &full.store, &why) == 0)
        store_close(full.store);
    else
        assert_true(why.len > 0);
    buf_done(&why);
    assert_int_equal(umount(disk), 0);
    assert_int_equal(rmdir(disk), 0);
}

static void test_full_disk(void **state)
{
    full_disk(*state, 1);
}

static void test_full_disk_with_reserve(void **state)
{
    full_disk(*state, 32 * MIB);
}

static void test_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct fixture copy = {.options.reserve_bytes = 1};
    struct digest d = blob_make(f->store, 5 * MIB, 1), small = blob_make(f->store, 50, 2);
    uint8_t *bytes = content_new(5 * MIB, 1);
    char dir[100];

    snprintf(dir, sizeof dir, "%s/copy", f->dir);
    snprintf(copy.url, sizeof copy.url, "rocks:%s/copy", f->dir);
    assert_int_equal(put(f->store, "p", "k", "v"), 0);
    assert_int_equal(store_checkpoint(f->store, dir), 0);
    assert_int_equal(store_checkpoint(f->store, dir), -EEXIST);
    assert_int_equal(put(f->store, "p", "k", "later"), 0);
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    fixture_open(&copy);
    assert_string_equal(get(copy.store, "p", "k"), "v");
    blob_check(copy.store, &d, bytes, 5 * MIB);
    assert_int_equal(blob_verify(copy.store, &small), 0);
    store_close(copy.store);
    free(bytes);
}

static int child_main(char **argv)
{
    static void (*const works[])(struct fixture * f) = {
        [COMMIT_DURABLE] = commit_durable,
        [UPLOAD_HALF] = upload_half,
        [REAP_ALL] = reap_all,
        [DOOM_OPEN_BLOB] = doom_open_blob,
        [SEAL_SUSPENDED] = seal_suspended,
    };
    struct fixture f = {.options.reserve_bytes = 1};
    long work = strtol(argv[2], NULL, 10);

    snprintf(f.dir, sizeof f.dir, "%s", argv[1]);
    snprintf(f.url, sizeof f.url, "rocks:%s/store", f.dir);
    fixture_open(&f);
    calls_left = (int)strtol(argv[3], NULL, 10);
    if (work == STEPS)
        steps(&f, (int)strtol(argv[4], NULL, 10));
    else
        works[work](&f);
    _exit(EXIT_FINISHED);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_rocks(test_version),
        on_rocks(test_lock),
        on_rocks(test_unusable_directory),
        on_rocks(test_killed_after_commit),
        on_rocks(test_killed_in_upload),
        on_rocks(test_killed_anywhere),
        on_rocks(test_killed_sealing_suspended),
        on_rocks(test_reaped_for_good),
        on_rocks(test_killed_with_doomed_blob),
        on_rocks(test_damaged_value),
        on_rocks(test_damaged_entry),
        on_rocks(test_cut_file),
        on_rocks(test_offsets),
        on_rocks(test_many_parts),
        on_rocks(test_direct),
        on_rocks(test_sync_fails),
        on_rocks(test_reserve),
        on_rocks(test_full_disk),
        on_rocks(test_full_disk_with_reserve),
        on_rocks(test_checkpoint),
    };

    if (argc == 5)
        return child_main(argv);
    return cmocka_run_group_tests_name("store on rocks", tests, NULL, NULL);
}
