#include "store/blob_stage.h"

#include "store/blob_pipe.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>
#include <sys/random.h>

#define READ_BYTES (256u << 10)
#define REMEMBERED 256 /* suspended stages whose hash is kept, so that resuming need not read */

int stage_claim(struct store *s, const uint8_t id[BLOB_ID], struct blob_stage **ret)
{
    struct blob_stage *stage = NULL;

    guard(&s->lock);
    HASH_FIND(hh, s->stages, id, BLOB_ID, stage);
    if (stage != NULL && stage->open)
        return -EBUSY;
    if (stage == NULL) {
        stage = xcalloc(1, sizeof *stage);
        stage->store = s;
        memcpy(stage->id, id, BLOB_ID);
        HASH_ADD(hh, s->stages, id, BLOB_ID, stage);
    }
    stage->open = true;
    *ret = stage;
    return 0;
}

void stage_forget(struct blob_stage *stage)
{
    struct store *s = stage->store;

    pthread_mutex_lock(&s->lock);
    HASH_DEL(s->stages, stage);
    pthread_mutex_unlock(&s->lock);
    hash_free(stage->hash);
    free(stage);
}

int blob_stage_begin(struct store *s, enum digest_algorithm algorithm, uint64_t size_hint_bytes,
                     struct blob_stage **ret)
{
    struct blob_stage *stage = NULL;
    struct staging *staging = NULL;
    uint8_t id[BLOB_ID];
    int r;

    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return -EIO;
    r = s->engine->staging_new(s, id, size_hint_bytes, &staging);
    if (r < 0)
        return r;
    r = stage_claim(s, id, &stage);
    if (r < 0) {
        s->engine->staging_free(staging, STAGING_DROPPED);
        return r;
    }
    stage->staging = staging;
    stage->algorithm = algorithm;
    stage->hash = hash_new(hash_kind_of(algorithm));
    *ret = stage;
    return 0;
}

const uint8_t *blob_stage_id(const struct blob_stage *stage)
{
    return stage->id;
}

uint64_t blob_stage_size(const struct blob_stage *stage)
{
    return stage->size_bytes;
}

void blob_stage_expect(struct blob_stage *stage, uint64_t more_bytes)
{
    const struct engine *e = stage->store->engine;

    if (e->staging_expect != NULL && more_bytes <= UINT64_MAX - stage->size_bytes)
        e->staging_expect(stage->staging, stage->size_bytes + more_bytes);
}

static int write_alone(struct blob_stage *stage, const void *bytes, size_t n)
{
    int r = stage->store->engine->staging_write(stage->staging, bytes, n);

    if (r == 0 && !stage->hash_spent)
        hash_update(stage->hash, bytes, n);
    return r;
}

int blob_stage_write(struct blob_stage *stage, const void *bytes, size_t n)
{
    uint64_t before = stage->size_bytes;
    int r = stage->err;

    if (r == 0)
        r = store_write_check(stage->store);
    if (r < 0 || n == 0)
        return r;
    r = stage->pipe != NULL ? pipe_write(stage->pipe, bytes, n) : write_alone(stage, bytes, n);
    if (r < 0) {
        stage->err = r; /* how much of it arrived is not known */
        return r;
    }
    stage->size_bytes += n;
    if (stage->pipe == NULL && before / BIG_BLOB != stage->size_bytes / BIG_BLOB)
        stage->pipe = pipe_new(stage); /* if there is no helper now, perhaps 4 MiB later */
    return 0;
}

int stage_settle(struct blob_stage *stage)
{
    int r = stage->pipe != NULL ? pipe_drain(stage->pipe) : 0;

    pipe_free(take(stage->pipe));
    if (stage->err == 0)
        stage->err = r;
    return stage->err;
}

ssize_t blob_stage_read(struct blob_stage *stage, uint64_t offset, void *buf, size_t n)
{
    int r = stage_settle(stage);

    if (r < 0)
        return r;
    if (offset >= stage->size_bytes)
        return 0;
    if (n > stage->size_bytes - offset)
        n = (size_t)(stage->size_bytes - offset);
    return stage->store->engine->staging_read(stage->staging, offset, buf, n);
}

int stage_hash(struct blob_stage *stage, struct hash *h)
{
    autofree char *bytes = xmalloc(READ_BYTES);
    uint64_t done = 0;

    while (done < stage->size_bytes) {
        ssize_t n = blob_stage_read(stage, done, bytes, READ_BYTES);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        hash_update(h, bytes, (size_t)n);
        done += (uint64_t)n;
    }
    return 0;
}

static int write_row(struct blob_stage *stage, struct slice engine_state)
{
    struct store_batch *b = catalog_batch(stage->store);
    struct stage_row row = {
        .state = STAGE_SUSPENDED,
        .algorithm = (uint8_t)stage->algorithm,
        .touched_unix_ms = clock_unix_ms(),
        .engine = engine_state,
    };

    stage_row_put(b, stage->id, &row);
    return store_commit(b, STORE_DURABLE);
}

/* The handle is gone; what it hashed stays for a resume in this process. */
static void remember(struct blob_stage *stage, uint64_t durable)
{
    struct store *s = stage->store;
    bool keep;

    pthread_mutex_lock(&s->lock);
    keep = !stage->hash_spent && durable == stage->size_bytes && HASH_COUNT(s->stages) < REMEMBERED;
    stage->open = false;
    if (!keep)
        HASH_DEL(s->stages, stage);
    pthread_mutex_unlock(&s->lock);
    if (keep)
        return;
    hash_free(stage->hash);
    free(stage);
}

int blob_stage_suspend(struct blob_stage *stage, uint64_t *ret_durable_bytes)
{
    const struct engine *e = stage->store->engine;
    autobuf state = {0};
    uint64_t durable = 0;
    int r = stage_settle(stage);

    if (r == 0)
        r = store_write_check(stage->store);
    if (r == 0)
        r = e->staging_suspend(stage->staging, &state, &durable);
    if (r == 0)
        r = write_row(stage, buf_slice(&state));
    if (r < 0) {
        /* What an earlier suspend made durable is still there, and still resumes. */
        e->staging_free(take(stage->staging), stage->has_row ? STAGING_FAILED : STAGING_DROPPED);
        stage_forget(stage);
        return r;
    }
    e->staging_free(take(stage->staging), STAGING_SUSPENDED);
    remember(stage, durable);
    *ret_durable_bytes = durable;
    return 0;
}

static int reopen(struct blob_stage *stage, uint64_t *ret_durable_bytes)
{
    struct store *s = stage->store;
    struct store_value v = {0};
    struct stage_row row;
    uint64_t durable = 0;
    int r = catalog_row_get(s, ROW_STAGE, slice_of(stage->id, BLOB_ID), &v);

    if (r < 0)
        return r;
    r = stage_row_decode(v.data, &row);
    if (r == 0 && row.state != STAGE_SUSPENDED)
        r = -ENOENT;
    if (r == 0)
        r = s->engine->staging_resume(s, stage->id, row.engine, &stage->staging, &durable);
    store_value_release(&v);
    if (r < 0)
        return r;
    stage->has_row = true;
    stage->algorithm = (enum digest_algorithm)row.algorithm;
    if (stage->hash == NULL || stage->size_bytes != durable) {
        hash_free(stage->hash);
        stage->hash = hash_new(hash_kind_of(stage->algorithm));
        stage->size_bytes = durable;
        r = stage_hash(stage, stage->hash);
    }
    *ret_durable_bytes = durable;
    return r;
}

int blob_stage_resume(struct store *s, const uint8_t id[BLOB_STAGE_ID_BYTES],
                      struct blob_stage **ret, uint64_t *ret_durable_bytes)
{
    struct blob_stage *stage = NULL;
    int r = stage_claim(s, id, &stage);

    if (r < 0)
        return r;
    r = reopen(stage, ret_durable_bytes);
    if (r < 0) {
        if (stage->staging != NULL)
            s->engine->staging_free(stage->staging, STAGING_FAILED);
        stage_forget(stage);
        return r;
    }
    *ret = stage;
    return 0;
}

void blob_stage_drop(struct blob_stage *stage)
{
    if (stage == NULL)
        return;
    if (stage->has_row) {
        struct store_batch *b = catalog_batch(stage->store);

        stage_unmark(b, stage->id);
        (void)store_commit(b, 0); /* if it stays, its content is found missing, and swept */
    }
    pipe_free(take(stage->pipe));
    stage->store->engine->staging_free(stage->staging, STAGING_DROPPED);
    stage_forget(stage);
}
