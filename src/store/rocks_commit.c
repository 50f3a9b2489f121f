/* Commits. All batches that wait are written as one, with one sync, by the committer's thread; a
 * batch that finds nobody waiting, and whose caller would wait anyway, is written by that caller.
 * Whoever writes holds write_lock from the check of the guards to the end of the write, so a guard
 * sees every batch before it. */
#include "store/rocks.h"

#include "base/lean.h"
#include "base/scope.h"
#include "base/wait.h"

#include <errno.h>
#include <signal.h>

#define GROUP_BATCHES 256
#define GROUP_BYTES   (4u << 20)
#define TIDY_MS       1000
#define TIDY_BYTES    (2u << 20) /* from here on it is worth a flush, */
#define QUIET_BYTES   (64u << 10) /* once no more than this was written between two looks */

struct group {
    struct store_batch *batches[GROUP_BATCHES];
    int results[GROUP_BATCHES];
    size_t n;
};

enum found { FOUND_NOT, FOUND_VALUE, FOUND_DELETED };

/* What an earlier batch of the group does to a key. */
static enum found find_in_batch(const struct store_batch *b, const struct batch_op *want,
                                struct slice key, struct slice *ret)
{
    for (size_t i = b->n_ops; i-- > 0;) {
        const struct batch_op *op = &b->ops[i];

        if (op->kind == BATCH_DELETE_RANGE && op->space == want->space &&
            slice_cmp(batch_key(b, op), key) <= 0 && slice_cmp(key, batch_value(b, op)) < 0)
            return FOUND_DELETED;
        if (op->hash != want->hash || op->kind > BATCH_DELETE || op->space != want->space ||
            !slice_eq(batch_key(b, op), key))
            continue;
        *ret = batch_value(b, op);
        return op->kind == BATCH_PUT ? FOUND_VALUE : FOUND_DELETED;
    }
    return FOUND_NOT;
}

static enum found find_in_group(const struct group *g, size_t before, const struct batch_op *want,
                                struct slice key, struct slice *ret)
{
    for (size_t i = before; i-- > 0;) {
        enum found found = FOUND_NOT;

        if (g->results[i] == 0)
            found = find_in_batch(g->batches[i], want, key, ret);
        if (found != FOUND_NOT)
            return found;
    }
    return FOUND_NOT;
}

static int check_value(const struct store_batch *b, const struct batch_op *op, bool present,
                       struct slice value)
{
    bool holds =
        op->kind == BATCH_EXPECT_ABSENT ? !present : present && slice_eq(value, batch_value(b, op));

    return holds ? 0 : -EAGAIN;
}

static int check_guard(struct rocks *r, const struct group *g, size_t index,
                       const struct batch_op *op)
{
    const struct store_batch *b = g->batches[index];
    struct slice key = batch_key(b, op), value = {0};
    enum found found = find_in_group(g, index, op, key, &value);
    rocksdb_pinnableslice_t *pinned;
    struct rows_miss miss;
    char *err = NULL;
    int e;

    if (found != FOUND_NOT)
        return check_value(b, op, found == FOUND_VALUE, value);
    if (op->space == SPACE_META && rows_get(r->rows, key, &value, &miss)) {
        e = check_value(b, op, true, value);
        free((void *)(uintptr_t)value.data);
        return e;
    }
    pinned = rocksdb_get_pinned_cf(r->db, r->read_once, rocks_cf(r, (enum space)op->space),
                                   key.data, key.len, &err);
    e = rocks_error(err);
    if (pinned != NULL)
        value.data = rocksdb_pinnableslice_value(pinned, &value.len);
    if (e == 0)
        e = check_value(b, op, pinned != NULL, value);
    if (pinned != NULL)
        rocksdb_pinnableslice_destroy(pinned);
    return e;
}

static int check_batch(struct rocks *r, const struct group *g, size_t index)
{
    const struct store_batch *b = g->batches[index];
    int e = b->deletes_only ? 0 : rocks_room(r, b->bytes.len);

    for (size_t i = 0; b->has_guards && i < b->n_ops && e == 0; i++)
        if (b->ops[i].kind >= BATCH_EXPECT)
            e = check_guard(r, g, index, &b->ops[i]);
    return e;
}

static void add_batch(struct rocks *r, const struct store_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++) {
        const struct batch_op *op = &b->ops[i];
        rocksdb_column_family_handle_t *cf = rocks_cf(r, (enum space)op->space);
        struct slice key = batch_key(b, op), value = batch_value(b, op);

        if (op->kind == BATCH_PUT)
            rocksdb_writebatch_put_cf(r->group, cf, key.data, key.len, value.data, value.len);
        if (op->kind == BATCH_DELETE)
            rocksdb_writebatch_delete_cf(r->group, cf, key.data, key.len);
        if (op->kind == BATCH_DELETE_RANGE)
            rocksdb_writebatch_delete_range_cf(r->group, cf, key.data, key.len, value.data,
                                               value.len);
    }
}

/* An empty batch asks for what is written already to be synced. */
static int write_group(struct rocks *r, bool sync)
{
    char *err = NULL;
    int e;

    if (rocksdb_writebatch_count(r->group) == 0 && atomic_load(&r->broken) != 0)
        return atomic_load(&r->broken); /* RocksDB aborts on the sync of a log that failed */
    if (rocksdb_writebatch_count(r->group) > 0)
        rocksdb_write(r->db, sync ? r->write_sync : r->write, r->group, &err);
    else if (sync)
        rocksdb_flush_wal(r->db, 1, &err);
    e = rocks_error(err);
    if (e < 0)
        atomic_store(&r->broken, e);
    return e;
}

static void renew_group(struct rocks *r)
{
    size_t bytes = 0;

    (void)rocksdb_writebatch_data(r->group, &bytes);
    atomic_fetch_add(&r->unflushed, bytes);
    rocksdb_writebatch_clear(r->group);
    if (bytes <= GROUP_BYTES / 4)
        return;
    rocksdb_writebatch_destroy(r->group); /* clear keeps the memory */
    r->group = rocksdb_writebatch_create();
}

static void apply_entered(struct rocks *r, struct group *g)
{
    bool sync = false;
    int e;

    for (size_t i = 0; i < g->n; i++) {
        g->results[i] = check_batch(r, g, i);
        if (g->results[i] < 0)
            continue;
        add_batch(r, g->batches[i]);
        rows_write_begin(r->rows, g->batches[i]);
        sync = sync || (g->batches[i]->flags & STORE_DURABLE) != 0;
    }
    e = write_group(r, sync);
    for (size_t i = 0; i < g->n; i++) {
        if (g->results[i] < 0)
            continue;
        rows_write_end(r->rows, g->batches[i]);
        if (e == 0)
            continue;
        g->results[i] = e;
        g->batches[i]->doubtful = true;
    }
    renew_group(r);
}

/* Called under write_lock. */
static void apply(struct rocks *r, struct group *g)
{
    int e;

    if (atomic_load(&r->broken) != 0 && rocks_room(r, 0) == 0)
        rocks_mend(r); /* not on a full disk: opening writes, and reads go on as it is */
    e = rocks_enter(r);
    if (e == 0) {
        apply_entered(r, g);
        rocks_leave(r);
        return;
    }
    for (size_t i = 0; i < g->n; i++)
        g->results[i] = e;
}

static void complete(struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        batch_complete(g->batches[i], g->results[i]);
}

static void enqueue(struct rocks *r, struct store_batch *b)
{
    b->next = NULL;
    guard(&r->queue_lock);
    *r->last = b;
    r->last = &b->next;
    if (atomic_fetch_add(&r->queued, 1) == 0)
        pthread_cond_signal(&r->queue_filled);
}

void rocks_submit(struct store *s, struct store_batch *b, bool waited)
{
    struct rocks *r = s->self;
    struct group g;

    if (!waited || atomic_load(&r->queued) > 0 || pthread_mutex_trylock(&r->write_lock) != 0) {
        enqueue(r, b);
        return;
    }
    g.batches[0] = b;
    g.n = 1;
    apply(r, &g);
    pthread_mutex_unlock(&r->write_lock);
    complete(&g);
}

int rocks_sync(struct store *s)
{
    struct store_batch *b = batch_new_internal(s, SLICE(CATALOG_PART));

    return store_commit(b, STORE_DURABLE);
}

/* Takes what waits, in order. Called under write_lock: nobody overtakes the queue. */
static void take_group(struct rocks *r, struct group *g)
{
    size_t bytes = 0;

    g->n = 0;
    guard(&r->queue_lock);
    while (r->first != NULL && g->n < GROUP_BATCHES && bytes < GROUP_BYTES) {
        struct store_batch *b = r->first;

        r->first = b->next;
        g->batches[g->n++] = b;
        bytes += b->bytes.len;
    }
    if (r->first == NULL)
        r->last = &r->first;
    atomic_fetch_sub(&r->queued, g->n);
}

/* After many writes, once there are few: what they left in memory goes to the disk, so that a start
 * need not read it from the log again, and then back to the system. `before`: what was unflushed
 * when this was asked last. */
static size_t tidy(struct rocks *r, size_t before)
{
    size_t now = atomic_load(&r->unflushed);
    rocksdb_flushoptions_t *options;
    char *err = NULL;

    if (r->untrimmed && now < TIDY_BYTES) { /* the flush of the last time is done */
        r->untrimmed = false;
        lean_trim();
    }
    if (now < TIDY_BYTES || now - before > QUIET_BYTES || rocks_enter(r) < 0)
        return now;
    options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 0);
    rocksdb_flush_cf(r->db, options, rocks_cf(r, SPACE_META), &err);
    rocksdb_flushoptions_destroy(options);
    if (rocks_error(err) == 0)
        r->untrimmed = true;
    rocks_leave(r);
    atomic_fetch_sub(&r->unflushed, now);
    return 0;
}

/* False: nothing waits, and the store closes. */
static bool wait_for_work(struct rocks *r)
{
    size_t before = 0;

    guard(&r->queue_lock);
    while (r->first == NULL && !r->stopping) {
        struct timespec end = wait_until(TIDY_MS);

        if (pthread_cond_timedwait(&r->queue_filled, &r->queue_lock, &end) == 0)
            continue;
        pthread_mutex_unlock(&r->queue_lock);
        before = tidy(r, before);
        pthread_mutex_lock(&r->queue_lock);
    }
    return r->first != NULL;
}

static void *committer(void *arg)
{
    struct rocks *r = arg;
    struct group g;

    pthread_setname_np(pthread_self(), "committer");
    while (wait_for_work(r)) {
        pthread_mutex_lock(&r->write_lock);
        take_group(r, &g);
        apply(r, &g);
        pthread_mutex_unlock(&r->write_lock);
        complete(&g);
    }
    return NULL;
}

void rocks_commit_start(struct rocks *r)
{
    sigset_t all, before;

    pthread_mutex_init(&r->write_lock, NULL);
    pthread_mutex_init(&r->queue_lock, NULL);
    wait_init(&r->queue_filled);
    r->last = &r->first;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&r->committer, NULL, committer, r) != 0)
        abort();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void rocks_commit_stop(struct rocks *r)
{
    pthread_mutex_lock(&r->queue_lock);
    r->stopping = true;
    pthread_cond_signal(&r->queue_filled);
    pthread_mutex_unlock(&r->queue_lock);
    pthread_join(r->committer, NULL);
    pthread_mutex_destroy(&r->write_lock);
    pthread_mutex_destroy(&r->queue_lock);
    pthread_cond_destroy(&r->queue_filled);
}
