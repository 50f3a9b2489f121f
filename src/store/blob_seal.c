#include "store/blob_stage.h"

#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>

static int hash_again(struct blob_stage *stage, enum digest_algorithm algorithm, struct digest *ret)
{
    struct hash *h = hash_new(hash_kind_of(algorithm));
    int r = stage_hash(stage, h);

    *ret = (struct digest){.algorithm = (uint8_t)algorithm};
    if (r == 0)
        hash_final(h, ret->bytes);
    hash_free(h);
    return r;
}

static int stage_digest(struct blob_stage *stage, enum digest_algorithm algorithm,
                        struct digest *ret)
{
    if (algorithm != stage->algorithm)
        return hash_again(stage, algorithm, ret);
    if (!stage->hash_spent) {
        stage->digest = (struct digest){.algorithm = (uint8_t)algorithm};
        hash_final(stage->hash, stage->digest.bytes);
        stage->hash_spent = true;
        stage->spent_at_bytes = stage->size_bytes;
    } else if (stage->spent_at_bytes != stage->size_bytes) {
        int r = hash_again(stage, algorithm, &stage->digest);

        if (r < 0)
            return r;
        stage->spent_at_bytes = stage->size_bytes;
    }
    *ret = stage->digest;
    return 0;
}

/* It exists already: its grace begins anew, so that it is still there when its uploader holds it.
 */
static int refresh(struct store *s, const struct digest *d, struct catalog_row *row, unsigned flags)
{
    struct store_batch *b = catalog_batch(s);

    row->sealed_unix_ms = clock_unix_ms();
    catalog_put(b, d, row);
    return store_commit(b, flags);
}

/* The content in its place, then the row that makes it count. */
static int seal_new(struct blob_stage *stage, const struct digest *d, unsigned flags)
{
    struct store *s = stage->store;
    struct store_batch *b = catalog_batch(s);
    autobuf layout = {0};
    struct catalog_row row = {
        .size_bytes = stage->size_bytes,
        .sealed_unix_ms = clock_unix_ms(),
    };
    bool doubtful;
    int r = s->engine->staging_finish(stage->staging, b, &layout);

    if (r < 0) {
        store_batch_free(b);
        return r;
    }
    memcpy(row.id, stage->id, BLOB_ID);
    row.layout = buf_slice(&layout);
    catalog_put(b, d, &row);
    if (stage->has_row)
        stage_unmark(b, stage->id);
    r = batch_commit(b, flags);
    doubtful = b->doubtful;
    store_batch_free(b);
    if (r == 0) {
        stage->has_row = false;
        atomic_fetch_add(&s->blobs, 1);
        atomic_fetch_add(&s->blob_bytes, stage->size_bytes);
    } else if (!doubtful) {
        (void)s->engine->content_delete(s, stage->id, buf_slice(&layout));
    }
    return r; /* doubtful: the next start finds out whether the row was written, and sweeps */
}

static int seal(struct blob_stage *stage, const struct digest *d, unsigned flags)
{
    struct catalog_row row;
    int r;

    guard(digest_stripe(stage->store, d));
    r = catalog_get(stage->store, d, &row);
    if (r == -ENOENT)
        return seal_new(stage, d, flags);
    if (r < 0)
        return r;
    r = refresh(stage->store, d, &row, flags);
    catalog_release(&row);
    return r;
}

static int seal_as(struct blob_stage *stage, const struct digest *want, struct digest *ret,
                   unsigned flags)
{
    struct digest got;
    int r = stage_settle(stage);

    if (r == 0)
        r = store_write_check(stage->store);
    if (r == 0)
        r = stage_digest(
            stage, want != NULL ? (enum digest_algorithm)want->algorithm : stage->algorithm, &got);
    if (r == 0 && want != NULL && !digest_eq(want, &got))
        return -EBADMSG;
    if (r == 0)
        r = seal(stage, &got, flags);
    blob_stage_drop(stage);
    if (r == 0 && ret != NULL)
        *ret = got;
    return r;
}

int blob_seal(struct blob_stage *stage, const struct digest *want, struct digest *ret)
{
    return seal_as(stage, want, ret, STORE_DURABLE);
}

int blob_seal_early(struct blob_stage *stage, const struct digest *want, struct digest *ret)
{
    return seal_as(stage, want, ret, 0);
}

int blob_put(struct store *s, enum digest_algorithm algorithm, const void *bytes, size_t n,
             struct digest *ret)
{
    struct blob_stage *stage = NULL;
    int r = blob_stage_begin(s, algorithm, n, &stage);

    if (r < 0)
        return r;
    r = blob_stage_write(stage, bytes, n);
    if (r < 0) {
        blob_stage_drop(stage);
        return r;
    }
    return blob_seal(stage, NULL, ret);
}
