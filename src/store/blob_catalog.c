#include "store/blob_catalog.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>

#define ROW_VERSION 1

struct slice digest_key(const struct digest *d, uint8_t key[DIGEST_KEY_MAX])
{
    size_t n = digest_length((enum digest_algorithm)d->algorithm);

    key[0] = d->algorithm;
    memcpy(key + 1, d->bytes, n);
    return slice_of(key, n + 1);
}

pthread_mutex_t *digest_stripe(struct store *s, const struct digest *d)
{
    return &s->stripes[d->bytes[0] % STRIPES];
}

int catalog_key_digest(struct slice key, struct digest *ret)
{
    const uint8_t *p = key.data;

    if (key.len < 1 || (p[0] != DIGEST_SHA256 && p[0] != DIGEST_SHA512))
        return -EIO;
    if (key.len < digest_length((enum digest_algorithm)p[0]) + 1)
        return -EIO;
    *ret = (struct digest){.algorithm = p[0]};
    memcpy(ret->bytes, p + 1, digest_length((enum digest_algorithm)p[0]));
    return 0;
}

/* A key within the partition. */
static void inner_key(struct buf *b, char letter, struct slice key)
{
    buf_add_char(b, letter);
    buf_add_slice(b, key);
}

static void full_key(struct buf *b, char letter, struct slice key)
{
    key_build(b, SLICE(CATALOG_PART), (struct slice){0});
    inner_key(b, letter, key);
}

struct store_batch *catalog_batch(struct store *s)
{
    return batch_new_internal(s, SLICE(CATALOG_PART));
}

void catalog_row_put(struct store_batch *b, char letter, struct slice key, struct slice value)
{
    autobuf full = {0};

    full_key(&full, letter, key);
    batch_add(b, BATCH_PUT, SPACE_META, buf_slice(&full), value);
}

void catalog_row_delete(struct store_batch *b, char letter, struct slice key)
{
    autobuf full = {0};

    full_key(&full, letter, key);
    batch_add(b, BATCH_DELETE, SPACE_META, buf_slice(&full), (struct slice){0});
}

int catalog_row_get(struct store *s, char letter, struct slice key, struct store_value *ret)
{
    autobuf full = {0};

    full_key(&full, letter, key);
    return s->engine->get(s, SPACE_META, buf_slice(&full), ret);
}

int catalog_scan(struct store *s, char letter, struct slice rest, struct store_scan **ret)
{
    autobuf from = {0}, to = {0};

    inner_key(&from, letter, rest);
    inner_key(&to, letter, rest);
    key_successor(&to);
    return scan_new(s, SPACE_META, SLICE(CATALOG_PART), buf_slice(&from), buf_slice(&to), 0, ret);
}

int catalog_decode(struct slice value, struct catalog_row *ret)
{
    struct catalog_row row = {0};
    const uint8_t *p;

    if (value.len < 1 || *(const uint8_t *)value.data != ROW_VERSION)
        return -EIO;
    value = slice_skip(value, 1);
    if (varint_get(&value, &row.size_bytes) < 0 || value.len < 16 + BLOB_ID)
        return -EIO;
    p = value.data;
    row.sealed_unix_ms = (int64_t)be64_get(p);
    row.released_unix_ms = (int64_t)be64_get(p + 8);
    memcpy(row.id, p + 16, BLOB_ID);
    row.layout = slice_skip(value, 16 + BLOB_ID);
    *ret = row;
    return 0;
}

int catalog_get(struct store *s, const struct digest *d, struct catalog_row *ret)
{
    uint8_t key[DIGEST_KEY_MAX];
    struct store_value v;
    int r = catalog_row_get(s, ROW_CONTENT, digest_key(d, key), &v);

    if (r < 0)
        return r;
    r = catalog_decode(v.data, ret);
    if (r < 0) {
        store_value_release(&v);
        return r;
    }
    ret->value = v;
    return 0;
}

void catalog_release(struct catalog_row *row)
{
    store_value_release(&row->value);
}

void catalog_put(struct store_batch *b, const struct digest *d, const struct catalog_row *row)
{
    uint8_t key[DIGEST_KEY_MAX], times[16];
    autobuf value = {0};

    buf_add_char(&value, ROW_VERSION);
    varint_put(&value, row->size_bytes);
    be64_put(times, (uint64_t)row->sealed_unix_ms);
    be64_put(times + 8, (uint64_t)row->released_unix_ms);
    buf_add(&value, times, sizeof times);
    buf_add(&value, row->id, BLOB_ID);
    buf_add_slice(&value, row->layout);
    catalog_row_put(b, ROW_CONTENT, digest_key(d, key), buf_slice(&value));
}

void catalog_delete(struct store_batch *b, const struct digest *d)
{
    uint8_t key[DIGEST_KEY_MAX];

    catalog_row_delete(b, ROW_CONTENT, digest_key(d, key));
}

int catalog_held(struct store *s, const struct digest *d)
{
    uint8_t key[DIGEST_KEY_MAX];
    struct store_scan *scan = NULL;
    struct slice row;
    int r = catalog_scan(s, ROW_OWNER, digest_key(d, key), &scan);

    if (r < 0)
        return r;
    r = store_scan_next(scan, &row, NULL);
    store_scan_free(scan);
    return r;
}

int stage_row_decode(struct slice value, struct stage_row *ret)
{
    const uint8_t *p = value.data;

    if (value.len < 11 || p[0] != ROW_VERSION)
        return -EIO;
    *ret = (struct stage_row){
        .state = p[1],
        .algorithm = p[2],
        .touched_unix_ms = (int64_t)be64_get(p + 3),
        .engine = slice_skip(value, 11),
    };
    return 0;
}

void stage_row_put(struct store_batch *b, const uint8_t id[BLOB_ID], const struct stage_row *row)
{
    autobuf value = {0};
    uint8_t head[11] = {ROW_VERSION, row->state, row->algorithm};

    be64_put(head + 3, (uint64_t)row->touched_unix_ms);
    buf_add(&value, head, sizeof head);
    buf_add_slice(&value, row->engine);
    catalog_row_put(b, ROW_STAGE, slice_of(id, BLOB_ID), buf_slice(&value));
}

int stage_mark_sealing(struct store *s, const uint8_t id[BLOB_ID])
{
    struct store_batch *b = catalog_batch(s);
    struct stage_row row = {.state = STAGE_SEALING, .touched_unix_ms = clock_unix_ms()};

    stage_row_put(b, id, &row);
    return store_commit(b, 0);
}

void stage_unmark(struct store_batch *b, const uint8_t id[BLOB_ID])
{
    catalog_row_delete(b, ROW_STAGE, slice_of(id, BLOB_ID));
}
