/* Manifests going: in one batch with their tags, their needs, and their entry as a referrer. */
#include "base/clock.h"
#include "base/scope.h"
#include "images/state.h"

#include <errno.h>

struct tag_drop {
    struct op *op;
    const char *repo;
    const struct digest *digest;
    struct store_batch *batch;
    unsigned flags;
};

static int drop_tag(void *ctx, const struct tag_view *tag)
{
    struct tag_drop *d = ctx;
    struct row_key key = key_tag(tag->name);
    struct tag_row row = {tag->changed_unix_ms, tag->manifest};
    autobuf value = {0};

    if (!digest_eq(&tag->manifest, d->digest))
        return 0;
    if (d->flags & MANIFEST_KEEP_TAGGED)
        return op_fail(d->op, EBUSY, "'%s' points at it; remove the tag first",
                       op_strndup(d->op, tag->name.data, tag->name.len));
    tag_row_print(&row, &value);
    store_batch_expect(d->batch, key_slice(&key), buf_slice(&value));
    store_batch_delete(d->batch, key_slice(&key));
    tag_changed(d->op, d->repo, op_strndup(d->op, tag->name.data, tag->name.len));
    return 0;
}

/* Is this manifest the only one that needs the blob? */
static int is_last_need(struct images *im, struct slice part, const struct digest *blob,
                        const struct digest *manifest)
{
    struct row_key from = key_need(blob, NULL), to = key_after(from);
    struct store_scan *scan;
    struct slice key, value;
    struct digest d;
    int r, last = 1;

    r = store_scan(im->store, part, key_slice(&from), key_slice(&to), STORE_KEYS_ONLY, &scan);
    if (r < 0)
        return r;
    while (last && (r = store_scan_next(scan, &key, &value)) == 1)
        if (key_last_digest(key, &d) == 0 && !digest_eq(&d, manifest))
            last = 0;
    store_scan_free(scan);
    return r < 0 ? r : last;
}

/* What no manifest needs any more stays for the grace, so that who found it here a moment ago can
 * still refer to it. */
static int drop_need(struct op *op, struct images *im, struct slice part, const struct digest *blob,
                     const struct digest *manifest, struct store_batch *batch)
{
    struct row_key need = key_need(blob, manifest), link = key_link(blob);
    uint8_t bytes[LINK_ROW_BYTES];
    struct link_row row;
    struct slice old;
    int r;

    store_batch_delete(batch, key_slice(&need));
    r = is_last_need(im, part, blob, manifest);
    if (r <= 0)
        return r;
    r = images_row(op, im, part, key_slice(&link), &old);
    if (r == -ENOENT)
        return 0;
    if (r < 0 || link_row_parse(old, &row) < 0)
        return r < 0 ? r : 0;
    row.expires_unix_ms = clock_unix_ms() + im->config->gc_grace_ms;
    store_batch_expect(batch, key_slice(&link), old);
    store_batch_put(batch, key_slice(&link), link_row_print(&row, bytes));
    return 0;
}

static int drop_contents(struct op *op, struct images *im, const char *repo, struct slice part,
                         struct manifest_view *view, struct store_batch *batch)
{
    struct manifest *m = NULL;
    struct slice bytes;
    struct digest *list;
    autobuf why = {0};
    size_t n;
    int r;

    r = manifest_bytes(op, view, &bytes);
    if (r < 0)
        return r;
    if (manifest_parse(bytes, view->media_type, &m, &why) < 0)
        return images_damaged(op, repo, "manifest");
    list = manifest_needs(op, m, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = drop_need(op, im, part, &list[i], &view->digest, batch);
    for (size_t i = 0; m->kind == MANIFEST_INDEX && i < m->n_items; i++)
        touch_put(im, batch, &m->items[i].digest); /* from now on it may be unused */
    if (r == 0 && m->has_subject) {
        struct row_key key = key_referrer(&m->subject.digest, &view->digest);

        store_batch_delete(batch, key_slice(&key));
        referrer_changed(op, repo, &m->subject.digest, &view->digest);
    }
    manifest_free(m);
    return r;
}

/* `mark` NULL: whatever it is. */
static int delete_once(struct op *op, struct images *im, const char *repo, const struct digest *d,
                       unsigned flags, const struct touch *mark, uint64_t *ret_nonce)
{
    struct reference ref = {.is_digest = true, .digest = *d};
    struct row_key key = key_manifest(d), touch = key_touch(d);
    struct manifest_view view = {0};
    struct tag_drop drop = {.op = op, .repo = repo, .digest = d, .flags = flags};
    struct manifest_row row;
    struct slice old;
    struct part p;
    struct slice part = part_of(repo, &p);
    int r;

    r = manifest_get(op, im, repo, &ref, &view);
    if (r < 0)
        return r;
    drop.batch = store_batch_new(im->store, part);
    r = images_row(op, im, part, key_slice(&key), &old);
    if (r == 0)
        r = manifest_row_parse(old, &row) < 0 ? images_damaged(op, repo, "manifest") : 0;
    else if (r == -ENOENT)
        r = -EAGAIN;
    if (r == 0) {
        store_batch_expect(drop.batch, key_slice(&key), old);
        store_batch_delete(drop.batch, key_slice(&key));
        if (mark != NULL && mark->row.len > 0)
            store_batch_expect(drop.batch, key_slice(&touch), mark->row);
        else if (mark != NULL)
            store_batch_expect_absent(drop.batch, key_slice(&touch));
        store_batch_delete(drop.batch, key_slice(&touch));
        *ret_nonce = row.nonce;
        r = tag_each(op, im, repo, "", drop_tag, &drop);
    }
    if (r == 0)
        r = drop_contents(op, im, repo, part, &view, drop.batch);
    blob_close(view.blob);
    if (r < 0) {
        store_batch_free(drop.batch);
        return r;
    }
    return store_commit(drop.batch, STORE_DURABLE);
}

static void deleted(struct op *op, struct images *im, const char *repo, const struct digest *d,
                    uint64_t nonce)
{
    manifest_release(im, repo, d, nonce);
    if (im->config->gc_grace_ms == 0)
        links_sweep_repo(im, repo, clock_unix_ms());
    manifest_changed(op, repo, d);
}

int manifest_delete(struct op *op, struct images *im, const char *repo, const struct digest *d,
                    unsigned flags)
{
    uint64_t nonce = 0;
    struct part p;
    autoturn turn = NULL;
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        retry_in_turn(im, part_of(repo, &p), i, &turn);
        r = delete_once(op, im, repo, d, flags, NULL, &nonce);
    }
    if (r == 0)
        deleted(op, im, repo, d, nonce);
    return r;
}

int manifest_delete_unused(struct op *op, struct images *im, const char *repo,
                           const struct digest *d, const struct touch *mark)
{
    uint64_t nonce = 0;
    int r = delete_once(op, im, repo, d, MANIFEST_KEEP_TAGGED, mark, &nonce);

    if (r == 0)
        deleted(op, im, repo, d, nonce);
    return r;
}
