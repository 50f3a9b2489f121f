/* Frees what nobody needs. A blob leaves in three steps: its row goes and a row of the doomed comes
 * in one batch, under its stripe; that is synced; its content goes, once nobody reads it. A start
 * in between finds the doomed row and goes on. */
#include "store/blob_catalog.h"
#include "store/blob_stage.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scope.h"

#include <errno.h>

struct reaping {
    struct store *store;
    int64_t before_unix_ms;
    bool dry_run;
    struct blob_reaped result;
};

static bool is_due(const struct reaping *p, const struct catalog_row *row)
{
    int64_t since =
        row->sealed_unix_ms > row->released_unix_ms ? row->sealed_unix_ms : row->released_unix_ms;

    return since <= p->before_unix_ms;
}

static int condemn(struct reaping *p, const struct digest *d, const struct catalog_row *row)
{
    struct store *s = p->store;
    struct store_batch *b = catalog_batch(s);
    int r;

    catalog_delete(b, d);
    catalog_row_put(b, ROW_DOOMED, slice_of(row->id, BLOB_ID), row->layout);
    b->deletes_only = true; /* it makes room */
    r = store_commit(b, 0);
    if (r < 0)
        return r;
    atomic_fetch_sub(&s->blobs, 1);
    atomic_fetch_sub(&s->blob_bytes, row->size_bytes);
    return 0;
}

static int consider(struct reaping *p, const struct digest *d)
{
    struct catalog_row row;
    int r;

    guard(digest_stripe(p->store, d));
    r = catalog_get(p->store, d, &row);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = is_due(p, &row) ? catalog_held(p->store, d) : 1;
    if (r == 0) {
        p->result.blobs++;
        p->result.bytes += row.size_bytes;
        if (!p->dry_run)
            r = condemn(p, d, &row);
    }
    catalog_release(&row);
    return r < 0 ? r : 0;
}

/* The content of all that is doomed; also of what an earlier run had to leave. The rows are synced
 * before the first of it goes. */
static int execute(struct store *s)
{
    struct store_scan *scan = NULL;
    struct slice key, layout;
    bool synced = false;
    int r = catalog_scan(s, ROW_DOOMED, (struct slice){0}, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &layout)) == 1) {
        r = synced ? 0 : s->engine->sync(s);
        synced = true;
        if (r == 0 && key.len == 1 + BLOB_ID)
            r = content_doom(s, (const uint8_t *)key.data + 1, layout);
        if (r < 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

/* Owners stand in the order of their digests: one pass beside the blobs tells who has none. */
struct owners {
    struct store_scan *scan;
    struct slice row; /* the letter, a digest, an owner */
    int more;         /* 1: there is a row */
};

static int is_held(struct owners *o, struct slice digest)
{
    while (o->more == 1 && !slice_starts(slice_skip(o->row, 1), digest)) {
        if (slice_cmp(slice_skip(o->row, 1), digest) > 0)
            return 0;
        o->more = store_scan_next(o->scan, &o->row, NULL);
    }
    return o->more;
}

static int reap_row(struct reaping *p, struct owners *o, struct slice digest, struct slice value)
{
    struct catalog_row row;
    struct digest d;
    int r;

    if (catalog_decode(value, &row) < 0 || catalog_key_digest(digest, &d) < 0)
        return 0; /* a damaged row is for the scrub */
    if (!is_due(p, &row))
        return 0;
    r = is_held(o, digest);
    return r == 0 ? consider(p, &d) : r < 0 ? r : 0;
}

static int reap_blobs(struct reaping *p)
{
    struct store_scan *scan = NULL;
    struct owners o = {0};
    struct slice key, value;
    int r = catalog_scan(p->store, ROW_CONTENT, (struct slice){0}, &scan);

    if (r < 0)
        return r;
    r = catalog_scan(p->store, ROW_OWNER, (struct slice){0}, &o.scan);
    if (r == 0)
        o.more = store_scan_next(o.scan, &o.row, NULL);
    while (r == 0 && (r = store_scan_next(scan, &key, &value)) == 1)
        r = reap_row(p, &o, slice_skip(key, 1), value);
    store_scan_free(o.scan);
    store_scan_free(scan);
    return r;
}

static int discard_stage(struct store *s, const uint8_t id[BLOB_ID], const struct stage_row *row)
{
    struct store_batch *b = catalog_batch(s);
    int r;

    stage_unmark(b, id);
    r = store_commit(b, 0);
    if (r < 0)
        return r;
    if (row->state == STAGE_SEALING)
        return s->engine->content_delete(s, id, (struct slice){0});
    s->engine->staging_discard(s, id, row->engine);
    return 0;
}

static int reap_stage(struct reaping *p, const uint8_t id[BLOB_ID], const struct stage_row *row)
{
    struct blob_stage *stage = NULL;
    int r = stage_claim(p->store, id, &stage);

    if (r == -EBUSY)
        return 0;
    p->result.stages++;
    r = p->dry_run ? 0 : discard_stage(p->store, id, row);
    stage_forget(stage);
    return r;
}

static int reap_stages(struct reaping *p)
{
    int64_t before = clock_unix_ms() - (int64_t)p->store->options.stage_idle_s * 1000;
    struct store_scan *scan = NULL;
    struct slice key, value;
    struct stage_row row;
    int r = catalog_scan(p->store, ROW_STAGE, (struct slice){0}, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        if (key.len != 1 + BLOB_ID || stage_row_decode(value, &row) < 0)
            continue;
        if (row.state != STAGE_SUSPENDED || row.touched_unix_ms > before)
            continue;
        r = reap_stage(p, (const uint8_t *)key.data + 1, &row);
        if (r < 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

int blob_reap(struct store *s, uint64_t grace_s, bool dry_run, struct blob_reaped *ret)
{
    struct reaping p = {
        .store = s,
        .dry_run = dry_run,
        .before_unix_ms = clock_unix_ms() - (int64_t)grace_s * 1000,
    };
    int r = reap_blobs(&p);

    if (r == 0 && !dry_run)
        r = execute(s);
    if (r == 0)
        r = reap_stages(&p);
    if (!dry_run)
        s->engine->reclaim(s); /* also what others have deleted since the last time */
    if (ret != NULL)
        *ret = p.result;
    return r;
}

/* What comes and goes meanwhile is added and taken off by who does it; this is of one moment. A
 * damaged row may be that of any content: then none is swept. */
static void *count_blobs(void *arg)
{
    struct store *s = arg;
    const struct engine *e = s->engine;
    struct slice key, value;
    struct catalog_row row;
    bool damaged = false;
    int r = 1;

    while (!atomic_load(&s->count_stop) && (r = store_scan_next(s->count, &key, &value)) == 1) {
        if (catalog_decode(value, &row) < 0) {
            damaged = true;
            continue;
        }
        atomic_fetch_add(&s->blobs, 1);
        atomic_fetch_add(&s->blob_bytes, row.size_bytes);
        if (e->sweep_keep != NULL)
            e->sweep_keep(s, row.id);
    }
    if (r < 0)
        log_line(LOG_ERROR, NULL, "store.uncounted", "error=%s", strerror(-r));
    store_scan_free(take(s->count));
    if (e->sweep_end != NULL)
        e->sweep_end(s, r == 0 && !damaged);
    return NULL;
}

void blobs_counted(struct store *s)
{
    guard(&s->count_lock);
    if (s->counting)
        pthread_join(s->counter, NULL);
    s->counting = false;
}

static int recover_content(struct store *s)
{
    int r = catalog_scan(s, ROW_CONTENT, (struct slice){0}, &s->count);

    if (r < 0)
        return r;
    s->counting = pthread_create(&s->counter, NULL, count_blobs, s) == 0;
    if (!s->counting)
        count_blobs(s);
    return 0;
}

/* What a kill left between two steps. */
static int recover_rows(struct store *s, char letter)
{
    struct store_scan *scan = NULL;
    struct slice key, value;
    struct stage_row row;
    int r = catalog_scan(s, letter, (struct slice){0}, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        const uint8_t *id = (const uint8_t *)key.data + 1;

        if (key.len != 1 + BLOB_ID)
            continue;
        if (letter == ROW_DOOMED)
            r = content_remove(s, id, value);
        else if (stage_row_decode(value, &row) == 0 && row.state == STAGE_SEALING)
            r = discard_stage(s, id, &row);
        if (r < 0)
            log_line(LOG_WARN, NULL, "store.sweep", "error=%s", strerror(-r));
    }
    store_scan_free(scan);
    return r;
}

int blobs_recover(struct store *s)
{
    int r = recover_rows(s, ROW_DOOMED);

    if (r == 0)
        r = recover_rows(s, ROW_STAGE);
    if (r == 0)
        r = s->engine->sweep(s);
    return r == 0 ? recover_content(s) : r;
}
