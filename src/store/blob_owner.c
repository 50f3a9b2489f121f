/* Who needs a blob. Rows of owners are not synced by themselves: the durable commit of the row that
 * needs the blob comes after them in the same log, and carries them. */
#include "store/blob_catalog.h"

#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>

static void owner_key(struct buf *b, const struct digest *d, struct slice owner)
{
    uint8_t key[DIGEST_KEY_MAX];

    buf_add_slice(b, digest_key(d, key));
    buf_add_slice(b, owner);
}

static int has_row(struct store *s, struct slice key)
{
    struct store_value v = {0};
    int r = catalog_row_get(s, ROW_OWNER, key, &v);

    store_value_release(&v);
    return r;
}

int blob_hold(struct store *s, const struct digest *d, struct slice owner)
{
    struct catalog_row row;
    struct store_batch *b;
    autobuf key = {0};
    int r;

    owner_key(&key, d, owner);
    guard(digest_stripe(s, d));
    r = catalog_get(s, d, &row);
    if (r < 0)
        return r;
    catalog_release(&row);
    r = has_row(s, buf_slice(&key));
    if (r != -ENOENT)
        return r;
    b = catalog_batch(s);
    catalog_row_put(b, ROW_OWNER, buf_slice(&key), (struct slice){0});
    return store_commit(b, 0);
}

/* 1 if nobody but `key` holds it. */
static int is_last(struct store *s, const struct digest *d, struct slice key)
{
    uint8_t prefix[DIGEST_KEY_MAX];
    struct store_scan *scan = NULL;
    struct slice row;
    int r = catalog_scan(s, ROW_OWNER, digest_key(d, prefix), &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &row, NULL)) == 1)
        if (!slice_eq(slice_skip(row, 1), key))
            break;
    store_scan_free(scan);
    return r < 0 ? r : r == 0;
}

int blob_release(struct store *s, const struct digest *d, struct slice owner)
{
    struct catalog_row row;
    struct store_batch *b;
    autobuf key = {0};
    int r;

    owner_key(&key, d, owner);
    guard(digest_stripe(s, d));
    r = has_row(s, buf_slice(&key));
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = is_last(s, d, buf_slice(&key));
    if (r < 0)
        return r;
    b = catalog_batch(s);
    catalog_row_delete(b, ROW_OWNER, buf_slice(&key));
    if (r == 1 && catalog_get(s, d, &row) == 0) {
        row.released_unix_ms = clock_unix_ms();
        catalog_put(b, d, &row);
        b->deletes_only = true; /* letting go must work on a full disk */
        catalog_release(&row);
    }
    return store_commit(b, 0);
}

int blob_owners(struct store *s, const struct digest *d, int (*f)(void *ctx, struct slice owner),
                void *ctx)
{
    uint8_t prefix[DIGEST_KEY_MAX];
    struct slice start = digest_key(d, prefix), row;
    struct store_scan *scan = NULL;
    int r = catalog_scan(s, ROW_OWNER, start, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &row, NULL)) == 1) {
        r = f(ctx, slice_skip(row, 1 + start.len));
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}
