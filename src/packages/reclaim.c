/* reclaim.c: a journal of blobs that may have to be let go of.
 *
 * A row is written before a file is published or deleted; it names the file, its id, and a moment.
 * When that has come: if a file of that id is there, all is well and only the row goes; otherwise
 * the blobs are released. So neither a crash between hold and publication nor one in a deletion
 * leaks a blob, and a deletion has its grace. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "base/wait.h"
#include "identity/identity.h"
#include "packages/mirror.h"
#include "packages/state.h"

#include <errno.h>
#include <time.h>

#define ROUND     256 /* rows a round */
#define PERIOD_S  60
#define OWNER_MAX (PARTITION_MAX + PACKAGE_FILENAME_MAX + 40)
#define ID_LENGTH 16
#define BLOBS_MAX 4

static struct slice row_key(int64_t deadline_unix_ms, const char *id, uint8_t key[8 + ID_LENGTH])
{
    be64_put(key, (uint64_t)deadline_unix_ms);
    memset(key + 8, 0, ID_LENGTH);
    memcpy(key + 8, id, strnlen(id, ID_LENGTH));
    return slice_of(key, 8 + ID_LENGTH);
}

int reclaim_note(struct packages *pk, enum reclaim_cause cause, const struct package_file *f,
                 int64_t deadline_unix_ms)
{
    struct store_batch *batch = store_batch_new(pk->store, SLICE(RECLAIM_PARTITION));
    uint8_t key[8 + ID_LENGTH];
    autobuf row = {0};

    buf_add_char(&row, (char)cause);
    buf_add(&row, f->project, strlen(f->project) + 1);
    buf_add(&row, f->name, strlen(f->name) + 1);
    record_encode(f, &row);
    store_batch_put(batch, row_key(deadline_unix_ms, f->id, key), buf_slice(&row));
    return store_commit(batch, 0); /* the sync of the next commit covers it: one log, in order */
}

void reclaim_forget(struct packages *pk, const struct package_file *f, int64_t deadline_unix_ms)
{
    struct store_batch *batch = store_batch_new(pk->store, SLICE(RECLAIM_PARTITION));
    uint8_t key[8 + ID_LENGTH];

    store_batch_delete(batch, row_key(deadline_unix_ms, f->id, key));
    store_commit(batch,
                 0); /* if it fails, the row is found when its time comes, and does nothing */
}

static struct slice owner_of(const struct package_file *f, char text[OWNER_MAX])
{
    char *end = text;
    const char *const parts[] = {"packages/", f->project, "/", f->name, "/", f->id};

    for (size_t i = 0; i < array_size(parts); i++)
        end = stpncpy(end, parts[i], (size_t)(text + OWNER_MAX - end));
    return slice_of(text, (size_t)(end - text));
}

/* The digests of a file's blobs, up to BLOBS_MAX of them. */
static size_t blobs_of(const struct package_file *f, const struct digest *ret[BLOBS_MAX])
{
    const struct package_part *const parts[] = {&f->metadata, &f->signature, &f->provenance};
    size_t n = 0;

    ret[n++] = &f->digest;
    for (size_t i = 0; i < array_size(parts); i++)
        if (parts[i]->size_bytes > 0)
            ret[n++] = &parts[i]->digest;
    return n;
}

int reclaim_hold(struct packages *pk, const struct package_file *f)
{
    const struct digest *blobs[BLOBS_MAX];
    size_t n = blobs_of(f, blobs);
    char text[OWNER_MAX];
    struct slice owner = owner_of(f, text);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        r = blob_hold(pk->store, blobs[i], owner);
    return r;
}

static int release(struct packages *pk, const struct package_file *f)
{
    const struct digest *blobs[BLOBS_MAX];
    size_t n = blobs_of(f, blobs);
    char text[OWNER_MAX];
    struct slice owner = owner_of(f, text);

    for (size_t i = 0; i < n; i++) {
        int r = blob_release(pk->store, blobs[i], owner);

        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

void reclaim_release(struct packages *pk, const struct package_file *f)
{
    release(pk, f); /* if it fails, the journal's row does it later */
}

/* A row's cause and file, the file in the op. */
static int parse_row(struct op *op, struct slice row, char *ret_cause, struct package_file *ret)
{
    const char *project, *name;
    size_t n, m;

    if (row.len < 1)
        return -EIO;
    *ret_cause = *(const char *)row.data;
    row = slice_skip(row, 1);
    project = row.data;
    n = strnlen(project, row.len);
    name = project + n + 1;
    m = n < row.len ? strnlen(name, row.len - n - 1) : 0;
    if (n + 1 + m >= row.len)
        return -EIO;
    return record_decode(op, op_strndup(op, project, n), op_strndup(op, name, m),
                         slice_skip(row, n + m + 2), ret);
}

/* One row whose time has come: is its file there? Lets go of the blobs if not. */
static int settle(struct op *op, struct packages *pk, struct slice row)
{
    struct package_file noted, live;
    char cause;
    int r = parse_row(op, row, &cause, &noted);

    if (r < 0)
        return r;
    guard(&pk->trash_lock);
    r = package_get(op, pk, noted.project, noted.name, &live);
    if (r == 0 && strcmp(live.id, noted.id) == 0)
        return 0;
    op_forgive(op);
    return r < 0 && r != -ENOENT ? r : release(pk, &noted);
}

int reclaim_each_deleted(struct op *op, struct packages *pk,
                         int (*f)(void *ctx, const struct package_file *file,
                                  int64_t deadline_unix_ms),
                         void *ctx)
{
    struct store_scan *scan;
    struct slice key, value;
    int r = store_scan(pk->store, SLICE(RECLAIM_PARTITION), SLICE(""), SLICE(""), 0, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        struct package_file file;
        char cause;

        if (key.len < 8 || parse_row(op, value, &cause, &file) < 0 || cause != RECLAIM_DELETED)
            continue;
        r = f(ctx, &file, (int64_t)be64_get(key.data));
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

/* Settles up to a round of rows whose time has come; how many, or an errno. */
static int round_of(struct op *op, struct packages *pk, int64_t now_unix_ms)
{
    struct store_batch *batch = store_batch_new(pk->store, SLICE(RECLAIM_PARTITION));
    struct store_scan *scan = NULL;
    struct slice key, value;
    uint8_t to[8];
    int n = 0, r;

    be64_put(to, (uint64_t)now_unix_ms + 1);
    r = store_scan(pk->store, SLICE(RECLAIM_PARTITION), SLICE(""), slice_of(to, sizeof to), 0,
                   &scan);
    while (r == 0 && n < ROUND && (r = store_scan_next(scan, &key, &value)) == 1) {
        r = settle(op, pk, value);
        if (r == -EIO) {
            log_event(LOG_ERROR, op, "packages.reclaim", "error=damaged row");
            r = 0;
        }
        if (r < 0)
            break;
        store_batch_delete(batch, key);
        n++;
    }
    if (scan != NULL)
        store_scan_free(scan);
    if (r < 0 || n == 0) {
        store_batch_free(batch);
        return r < 0 ? r : 0;
    }
    r = store_commit(batch, 0);
    return r < 0 ? r : n;
}

int packages_reclaim(struct packages *pk, int64_t now_unix_ms, uint64_t *ret_n)
{
    uint64_t n = 0;
    int r;

    do {
        struct op op;

        op_init(&op, DOOR_INTERNAL, identity_internal(pk->env.identities));
        r = round_of(&op, pk, now_unix_ms);
        op_done(&op);
        n += r > 0 ? (uint64_t)r : 0;
    } while (r == ROUND);
    if (ret_n != NULL)
        *ret_n = n;
    return r < 0 ? r : 0;
}

static bool wait_or_close(struct packages *pk)
{
    struct timespec until = wait_until(PERIOD_S * 1000);
    int r = 0;

    guard(&pk->lock);
    while (!pk->closing && r == 0)
        r = pthread_cond_timedwait(&pk->wake, &pk->lock, &until);
    return pk->closing;
}

static int tidy_mirror(struct packages *pk)
{
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, identity_internal(pk->env.identities));
    r = mirror_tidy(&op, pk, false, NULL);
    op_done(&op);
    return r;
}

static void *reclaimer(void *arg)
{
    struct packages *pk = arg;

    while (!wait_or_close(pk)) {
        int r = packages_reclaim(pk, clock_unix_ms(), NULL);

        if (r == 0)
            r = tidy_mirror(pk);
        if (r == 0 && __atomic_exchange_n(&pk->index_behind, false, __ATOMIC_ACQ_REL))
            r = index_mend(pk);
        if (r < 0)
            log_line(LOG_WARN, NULL, "packages.reclaim", "error=%s", strerror(-r));
    }
    return NULL;
}

int reclaim_start(struct packages *pk)
{
    int r;

    wait_init(&pk->wake);
    r = pthread_create(&pk->reclaimer, NULL, reclaimer, pk);
    pk->has_reclaimer = r == 0;
    return -r;
}

void reclaim_stop(struct packages *pk)
{
    if (!pk->has_reclaimer)
        return;
    pthread_mutex_lock(&pk->lock);
    pk->closing = true;
    pthread_cond_signal(&pk->wake);
    pthread_mutex_unlock(&pk->lock);
    pthread_join(pk->reclaimer, NULL);
    pthread_cond_destroy(&pk->wake);
}
