#include "images/upload.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "images/state.h"

#include <errno.h>
#include <uthash.h>

/* How much is received before it is made a resume point: a part of the store's, and at the end of a
 * chunk a quarter. */
#define KEEP_BYTES       (UINT64_C(256) << 20)
#define KEEP_CHUNK_BYTES (KEEP_BYTES / 4)

#define REST_MS   (5 * 60 * INT64_C(1000))
#define OWNER_MAX 300

struct upload {
    char id[UPLOAD_ID_MAX]; /* the key */
    UT_hash_handle hh;
    struct uploads *home;
    char *repo;
    char *owner;
    uint8_t algorithm;
    int64_t started_unix_ms;
    /* Whoever has it taken, and nobody else, touches: */
    struct blob_stage *stage; /* NULL: it is lost, and goes when it is given back */
    uint64_t kept_bytes;      /* survive a crash */
    /* guarded by home->lock: */
    bool taken;
    int64_t used_monotonic_ms;
    uint64_t size_bytes; /* atomic */
};

struct uploads {
    struct images *im;
    pthread_mutex_t lock; /* guards: table, and the fields of each that say so */
    struct upload *table;
};

struct uploads *uploads_new(struct images *im)
{
    struct uploads *us = xcalloc(1, sizeof *us);

    us->im = im;
    pthread_mutex_init(&us->lock, NULL);
    return us;
}

static void upload_free(struct upload *u)
{
    blob_stage_drop(u->stage);
    free(u->repo);
    free(u->owner);
    free(u);
}

static void remove_from_table(struct upload *u)
{
    guard(&u->home->lock);
    HASH_DELETE(hh, u->home->table, u);
}

static void set_size(struct upload *u, uint64_t size_bytes)
{
    __atomic_store_n(&u->size_bytes, size_bytes, __ATOMIC_RELAXED);
}

static int id_parse(const char *id, uint8_t ret[BLOB_STAGE_ID_BYTES])
{
    return hex_decode(slice_str(id), ret, BLOB_STAGE_ID_BYTES) == BLOB_STAGE_ID_BYTES &&
                   strlen(id) == 2 * BLOB_STAGE_ID_BYTES
               ? 0
               : -EINVAL;
}

/* Who may go on with an upload: the same user or token. */
static const char *owner_of(struct op *op)
{
    const struct identity *who = op->who;
    bool token = who->accessor != NULL && who->accessor[0] != 0;

    return op_printf(op, "%d:%.*s", (int)who->kind, OWNER_MAX - 16,
                     token ? who->accessor : who->name);
}

/* The row that lets the session survive this process. Not synced: what it loses in a power cut is
 * an upload that nobody was told is safe. */
static int write_row(struct upload *u)
{
    struct images *im = u->home->im;
    struct upload_row row = {
        .algorithm = u->algorithm,
        .started_unix_ms = u->started_unix_ms,
        .touched_unix_ms = clock_unix_ms(),
        .repo = slice_str(u->repo),
        .owner = slice_str(u->owner),
    };
    struct store_batch *batch = store_batch_new(im->store, PART_UPLOADS);
    uint8_t key[BLOB_STAGE_ID_BYTES];
    autobuf value = {0};

    id_parse(u->id, key);
    upload_row_print(&row, &value);
    store_batch_put(batch, slice_of(key, sizeof key), buf_slice(&value));
    return store_commit(batch, 0);
}

static int delete_row(struct images *im, struct slice key)
{
    struct store_batch *batch = store_batch_new(im->store, PART_UPLOADS);

    store_batch_delete(batch, key);
    return store_commit(batch, 0);
}

static void forget_row(struct upload *u)
{
    uint8_t key[BLOB_STAGE_ID_BYTES];

    id_parse(u->id, key);
    delete_row(u->home->im, slice_of(key, sizeof key)); /* else uploads_sweep() finds it */
}

/* Takes the upload, which is taken, out of memory; its row and its whole parts stay. */
static void suspend(struct upload *u)
{
    uint64_t durable_bytes;

    if (u->stage != NULL && blob_stage_suspend(take(u->stage), &durable_bytes) == 0)
        write_row(u);
    remove_from_table(u);
    upload_free(u);
}

/* The one that rests longest, at least since before_ms, taken; or NULL. */
static struct upload *take_resting(struct uploads *us, int64_t before_ms)
{
    struct upload *best = NULL, *u, *next;

    guard(&us->lock);
    HASH_ITER(hh, us->table, u, next) {
        if (!u->taken && u->used_monotonic_ms <= before_ms &&
            (best == NULL || u->used_monotonic_ms < best->used_monotonic_ms))
            best = u;
    }
    if (best != NULL)
        best->taken = true;
    return best;
}

void uploads_rest(struct uploads *us, int64_t now_monotonic_ms)
{
    struct upload *u;

    while ((u = take_resting(us, now_monotonic_ms - REST_MS)) != NULL)
        suspend(u);
}

void uploads_free(struct uploads *us)
{
    struct upload *u;

    while ((u = take_resting(us, INT64_MAX)) != NULL)
        suspend(u);
    pthread_mutex_destroy(&us->lock);
    free(us);
}

size_t uploads_open(struct uploads *us)
{
    guard(&us->lock);
    return HASH_COUNT(us->table);
}

static int make_room(struct op *op, struct uploads *us)
{
    struct upload *u;

    if (uploads_open(us) < UPLOADS_OPEN_MAX)
        return 0;
    u = take_resting(us, INT64_MAX);
    if (u == NULL)
        return op_fail(op, EAGAIN, "%u uploads are under way; try again later", UPLOADS_OPEN_MAX);
    suspend(u);
    return 0;
}

int image_upload_begin(struct op *op, struct images *im, const char *repo,
                       enum digest_algorithm algorithm, uint64_t size_hint_bytes,
                       struct upload **ret)
{
    struct uploads *us = im->uploads;
    struct upload *u;
    int r;

    r = make_room(op, us);
    if (r < 0)
        return r;
    u = xcalloc(1, sizeof *u);
    u->home = us;
    u->algorithm = (uint8_t)algorithm;
    u->started_unix_ms = clock_unix_ms();
    u->taken = true;
    u->repo = xstrdup(repo);
    u->owner = xstrdup(owner_of(op));
    r = blob_stage_begin(im->store, algorithm, size_hint_bytes, &u->stage);
    if (r == 0) {
        hex_encode(slice_of(blob_stage_id(u->stage), BLOB_STAGE_ID_BYTES), u->id);
        r = write_row(u);
    }
    if (r < 0) {
        upload_free(u);
        return r;
    }
    pthread_mutex_lock(&us->lock);
    HASH_ADD_STR(us->table, id, u);
    pthread_mutex_unlock(&us->lock);
    *ret = u;
    return 0;
}

static int unknown(struct op *op, const char *id)
{
    return op_fail(op, ENOENT, "upload '%.64s' is not known", id);
}

static bool is_theirs(const struct upload *u, const char *repo, const char *owner)
{
    return strcmp(u->repo, repo) == 0 && strcmp(u->owner, owner) == 0;
}

/* From the table. 1: taken; 0: it is not there. */
static int take_open(struct op *op, struct uploads *us, const char *repo, const char *id,
                     struct upload **ret)
{
    const char *owner = owner_of(op);
    struct upload *u;

    guard(&us->lock);
    HASH_FIND_STR(us->table, id, u);
    if (u == NULL)
        return 0;
    if (!is_theirs(u, repo, owner))
        return unknown(op, id);
    if (u->taken)
        return op_fail(op, EBUSY, "another request uses this upload");
    u->taken = true;
    *ret = u;
    return 1;
}

/* The upload of a row, as yet without its stage and not in the table. */
static int from_row(struct op *op, struct images *im, const char *repo, const char *id,
                    struct upload **ret)
{
    uint8_t key[BLOB_STAGE_ID_BYTES];
    struct upload_row row;
    struct upload *u;
    struct slice value;
    int r;

    if (id_parse(id, key) < 0)
        return unknown(op, id);
    r = images_row(op, im, PART_UPLOADS, slice_of(key, sizeof key), &value);
    if (r == -ENOENT || (r == 0 && upload_row_parse(value, &row) < 0))
        return unknown(op, id);
    if (r < 0)
        return r;
    u = xcalloc(1, sizeof *u);
    u->home = im->uploads;
    u->algorithm = row.algorithm;
    u->started_unix_ms = row.started_unix_ms;
    u->taken = true;
    u->repo = xstrndup(row.repo.data, row.repo.len);
    u->owner = xstrndup(row.owner.data, row.owner.len);
    hex_encode(slice_of(key, sizeof key), u->id);
    if (!is_theirs(u, repo, owner_of(op))) {
        upload_free(u);
        return unknown(op, id);
    }
    *ret = u;
    return 0;
}

static int resume(struct op *op, struct images *im, struct upload *u)
{
    uint8_t key[BLOB_STAGE_ID_BYTES];
    uint64_t durable_bytes;
    int r;

    id_parse(u->id, key);
    r = blob_stage_resume(im->store, key, &u->stage, &durable_bytes);
    if (r == 0) {
        u->kept_bytes = durable_bytes;
        set_size(u, durable_bytes);
    }
    if (r != -ENOENT)
        return r;
    delete_row(im, slice_of(key, sizeof key));
    return op_fail(op, ENOENT, "nothing is left of upload '%s'; begin again", u->id);
}

int image_upload_take(struct op *op, struct images *im, const char *repo, const char *id,
                      struct upload **ret)
{
    struct uploads *us = im->uploads;
    struct upload *u, *other;
    int r;

    r = take_open(op, us, repo, id, ret);
    if (r != 0)
        return r < 0 ? r : 0;
    r = make_room(op, us);
    if (r == 0)
        r = from_row(op, im, repo, id, &u);
    if (r < 0)
        return r;
    pthread_mutex_lock(&us->lock);
    HASH_FIND_STR(us->table, u->id, other);
    if (other == NULL)
        HASH_ADD_STR(us->table, id, u);
    pthread_mutex_unlock(&us->lock);
    if (other != NULL) {
        upload_free(u);
        return op_fail(op, EBUSY, "another request uses this upload");
    }
    r = resume(op, im, u);
    if (r < 0) {
        remove_from_table(u);
        upload_free(u);
        return r;
    }
    *ret = u;
    return 0;
}

int image_upload_stat(struct op *op, struct images *im, const char *repo, const char *id,
                      uint64_t *ret_size_bytes)
{
    struct uploads *us = im->uploads;
    const char *owner = owner_of(op);
    struct upload *u;
    int r;

    pthread_mutex_lock(&us->lock);
    HASH_FIND_STR(us->table, id, u);
    r = u != NULL && is_theirs(u, repo, owner);
    if (r)
        *ret_size_bytes = __atomic_load_n(&u->size_bytes, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&us->lock);
    if (r)
        return 0;
    r = image_upload_take(op, im, repo, id, &u);
    if (r < 0)
        return r;
    *ret_size_bytes = image_upload_size(u);
    image_upload_give(u);
    return 0;
}

const char *image_upload_id(const struct upload *u)
{
    return u->id;
}

uint64_t image_upload_size(const struct upload *u)
{
    return __atomic_load_n(&u->size_bytes, __ATOMIC_RELAXED);
}

/* Makes all that was received survive a crash. When that fails, the upload is where it was at the
 * last such point; if there was none, it is lost. */
static int keep(struct upload *u)
{
    struct store *store = u->home->im->store;
    uint8_t id[BLOB_STAGE_ID_BYTES];
    uint64_t kept_bytes = 0;
    int r, resumed;

    id_parse(u->id, id);
    r = blob_stage_suspend(take(u->stage), &kept_bytes);
    resumed = blob_stage_resume(store, id, &u->stage, &kept_bytes);
    u->kept_bytes = resumed == 0 ? kept_bytes : 0;
    set_size(u, u->kept_bytes);
    return r < 0 ? r : resumed;
}

int image_upload_rest(struct op *op, struct upload *u)
{
    (void)op;
    return image_upload_size(u) - u->kept_bytes >= KEEP_CHUNK_BYTES ? keep(u) : 0;
}

void image_upload_expect(struct upload *u, uint64_t more_bytes)
{
    if (u->stage != NULL)
        blob_stage_expect(u->stage, more_bytes);
}

int image_upload_write(struct op *op, struct upload *u, const void *bytes, size_t n)
{
    uint64_t limit = u->home->im->config->limits.blob_bytes;
    int r;

    if (u->size_bytes + n > limit)
        return op_fail(op, EFBIG, "the blob is larger than the limit of %" PRIu64 " bytes", limit);
    r = blob_stage_write(u->stage, bytes, n);
    set_size(u, blob_stage_size(u->stage));
    if (r == 0 && u->size_bytes - u->kept_bytes >= KEEP_BYTES)
        r = keep(u);
    return r;
}

void image_upload_give(struct upload *u)
{
    if (u->stage == NULL) {
        image_upload_drop(u);
        return;
    }
    guard(&u->home->lock);
    u->taken = false;
    u->used_monotonic_ms = clock_monotonic_ms();
}

void image_upload_drop(struct upload *u)
{
    forget_row(u);
    remove_from_table(u);
    upload_free(u);
}

int image_upload_finish(struct op *op, struct upload *u, const struct digest *want)
{
    struct images *im = u->home->im;
    uint64_t size_bytes = image_upload_size(u);
    char text[DIGEST_TEXT_MAX];
    struct digest sealed;
    int r;

    r = blob_seal_early(u->stage, want, &sealed); /* link_put() syncs */
    if (r == -EBADMSG)
        return op_fail(op, EBADMSG, "the content is not %s", digest_print(want, text));
    u->stage = NULL;
    if (r == 0)
        r = link_put(op, im, u->repo, want, size_bytes);
    image_upload_drop(u);
    return r;
}

/* Uploads of which nothing is in memory and that nobody touched for a day. */
void uploads_sweep(struct uploads *us, int64_t now_unix_ms)
{
    struct store_scan *scan;
    struct slice key, value;

    if (store_scan(us->im->store, PART_UPLOADS, slice_of(NULL, 0), slice_of(NULL, 0), 0, &scan) < 0)
        return;
    while (store_scan_next(scan, &key, &value) == 1) {
        struct blob_stage *stage = NULL;
        struct upload_row row;
        struct upload *open;
        char id[UPLOAD_ID_MAX];
        uint64_t durable_bytes;

        if (key.len != BLOB_STAGE_ID_BYTES || upload_row_parse(value, &row) < 0 ||
            row.touched_unix_ms > now_unix_ms - us->im->config->upload_idle_ms)
            continue;
        hex_encode(key, id);
        pthread_mutex_lock(&us->lock);
        HASH_FIND_STR(us->table, id, open);
        pthread_mutex_unlock(&us->lock);
        if (open != NULL)
            continue;
        /* -EBUSY: it was taken up a moment ago. */
        if (blob_stage_resume(us->im->store, key.data, &stage, &durable_bytes) == -EBUSY)
            continue;
        blob_stage_drop(stage);
        delete_row(us->im, key);
    }
    store_scan_free(scan);
}
