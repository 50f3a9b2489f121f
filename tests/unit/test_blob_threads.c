/* Uploads, readers, owners and the reaper at once: what is held is never reaped, what is read stays
 * whole. Meant for the thread sanitizer, and worth running without. */
#include "test_blob.h"

#include <pthread.h>
#include <stdatomic.h>

#define MIB     ((size_t)1 << 20)
#define THREADS 4
#define KINDS   3

static const size_t kinds[KINDS] = {300, MIB, 5 * MIB};

struct shared {
    struct store *store;
    uint8_t *bytes[KINDS];
    struct digest digests[KINDS];
    atomic_bool stop;
    atomic_uint reaped, gone, failed;
    unsigned rounds;
};

/* As a door does: upload, hold, use, release. The same few contents, so that threads meet. */
static void round_of(struct shared *sh, size_t kind, const char *owner)
{
    struct blob_stage *stage = NULL;
    struct digest d;
    uint8_t got[1000];
    struct blob *b = NULL;
    int r = blob_stage_begin(sh->store, DIGEST_SHA256, kinds[kind], &stage);

    if (r == 0)
        r = stage_fill(stage, sh->bytes[kind], kinds[kind], MIB);
    if (r == 0)
        r = blob_seal(stage, &sh->digests[kind], &d);
    if (r == 0)
        r = blob_hold(sh->store, &d, text(owner));
    if (r == -ENOENT) { /* the reaper has no grace here, and came first: an upload begins anew */
        atomic_fetch_add(&sh->gone, 1);
        return;
    }
    if (r == 0)
        r = blob_open(sh->store, &d, &b);
    if (r == 0) {
        size_t at = kinds[kind] / 2;
        ssize_t n = blob_read(b, at, got, sizeof got);

        if (n <= 0 || memcmp(got, sh->bytes[kind] + at, (size_t)n) != 0)
            r = -EIO;
    }
    if (r == 0)
        r = blob_release(sh->store, &d, text(owner));
    if (r == 0 && (blob_read(b, 0, got, 100) != 100 || memcmp(got, sh->bytes[kind], 100) != 0))
        r = -EIO; /* released, perhaps reaped, but still open */
    blob_close(b);
    if (r < 0)
        atomic_fetch_add(&sh->failed, 1);
}

struct worker {
    struct shared *shared;
    unsigned number;
};

static void *work(void *arg)
{
    struct worker *w = arg;

    for (unsigned i = 0; i < w->shared->rounds; i++) {
        char owner[32];

        snprintf(owner, sizeof owner, "%u/%u", w->number, i);
        round_of(w->shared, (i + w->number) % KINDS, owner);
    }
    return NULL;
}

static void *reap(void *arg)
{
    struct shared *sh = arg;

    while (!atomic_load(&sh->stop)) {
        struct blob_reaped reaped;

        if (blob_reap(sh->store, 0, false, &reaped) < 0)
            atomic_fetch_add(&sh->failed, 1);
        atomic_fetch_add(&sh->reaped, (unsigned)reaped.blobs);
    }
    return NULL;
}

static void test_all_at_once(void **state)
{
    struct fixture *f = *state;
    struct shared sh = {.store = f->store, .rounds = 24};
    struct worker workers[THREADS];
    pthread_t threads[THREADS], reaper;
    struct store_usage usage;

    for (size_t i = 0; i < KINDS; i++) {
        sh.bytes[i] = content_new(kinds[i], i);
        digest_of(DIGEST_SHA256, sh.bytes[i], kinds[i], &sh.digests[i]);
    }
    assert_int_equal(pthread_create(&reaper, NULL, reap, &sh), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){&sh, i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&sh.stop, true);
    pthread_join(reaper, NULL);
    assert_int_equal(sh.failed, 0);
    assert_true(sh.gone < THREADS * sh.rounds);
    assert_int_equal(blob_reap(f->store, 0, false, NULL), 0);
    assert_int_equal(store_usage(f->store, &usage), 0);
    assert_int_equal(usage.blobs, 0);
    assert_int_equal(usage.blob_bytes, 0);
    for (size_t i = 0; i < KINDS; i++)
        free(sh.bytes[i]);
    if (fixture_lasts(f))
        fixture_restart(f);
    assert_int_equal(store_usage(f->store, &usage), 0);
    assert_int_equal(usage.blobs, 0);
}

/* While scans are open and commits wait, the store closes only when all have ended. */
static void *scan_slowly(void *arg)
{
    struct shared *sh = arg;
    struct slice key, value;

    for (unsigned i = 0; i < 200; i++) {
        struct store_scan *c = NULL;
        char name[16];
        unsigned n = 0;

        snprintf(name, sizeof name, "%u", i);
        if (put(sh->store, "rows", name, "x") < 0 ||
            store_scan(sh->store, text("rows"), text(""), text(""), 0, &c) < 0) {
            atomic_fetch_add(&sh->failed, 1);
            break;
        }
        while (store_scan_next(c, &key, &value) == 1)
            n++;
        store_scan_free(c);
        if (n <= i)
            atomic_fetch_add(&sh->failed, 1);
    }
    return NULL;
}

static void count_done(void *ctx, int r)
{
    struct shared *sh = ctx;

    atomic_fetch_add(r == 0 ? &sh->reaped : &sh->failed, 1);
}

static void test_scans_and_commits(void **state)
{
    struct fixture *f = *state;
    struct shared sh = {.store = f->store};
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, scan_slowly, &sh), 0);
    for (unsigned i = 0; i < 500; i++) {
        struct store_batch *b = store_batch_new(f->store, text("async"));

        store_batch_put(b, slice_of(&i, sizeof i), text("v"));
        store_commit_async(b, i % 2 ? STORE_DURABLE : 0, count_done, &sh);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    store_close(f->store); /* drains what is queued */
    assert_int_equal(sh.reaped, 500);
    assert_int_equal(sh.failed, 0);
    fixture_open(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_mem(test_all_at_once),
        on_rocks(test_all_at_once),
        on_mem(test_scans_and_commits),
        on_rocks(test_scans_and_commits),
    };

    return cmocka_run_group_tests_name("blobs and threads", tests, NULL, NULL);
}
