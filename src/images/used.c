#include "images/used.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "images/rows.h"

#include <errno.h>
#include <uthash.h>

#define PART_USED   SLICE("images-used")
#define KEY_MAX     (IMAGES_NAME_MAX + 1 + 65)
#define BATCH_ROWS  1000u
#define VALUE_BYTES 8

struct entry {
    UT_hash_handle hh;
    int64_t unix_ms;
    size_t len;
    uint8_t key[]; /* repository, NUL, the digest as in rows.h */
};

struct used {
    struct store *store;
    pthread_mutex_t lock; /* guards: table */
    struct entry *table;
    pthread_mutex_t write_lock; /* one writes at a time, so that what is older never comes last */
};

struct used *used_new(struct store *store)
{
    struct used *u = xcalloc(1, sizeof *u);

    u->store = store;
    pthread_mutex_init(&u->lock, NULL);
    pthread_mutex_init(&u->write_lock, NULL);
    return u;
}

static size_t key_of(const char *repo, const struct digest *d, uint8_t key[KEY_MAX])
{
    struct row_key row = key_manifest(d);
    size_t n = strnlen(repo, IMAGES_NAME_MAX);

    memcpy(key, repo, n);
    key[n] = 0;
    memcpy(key + n + 1, row.bytes + 1, row.len - 1);
    return n + row.len;
}

static void free_table(struct entry *table)
{
    struct entry *e, *next;

    HASH_ITER(hh, table, e, next) {
        HASH_DEL(table, e);
        free(e);
    }
}

static int write_table(struct used *u, struct entry *table)
{
    struct store_batch *batch = NULL;
    size_t n = 0;
    int r = 0;

    for (struct entry *e = table; r == 0 && e != NULL; e = e->hh.next) {
        uint8_t value[VALUE_BYTES];

        if (batch == NULL)
            batch = store_batch_new(u->store, PART_USED);
        be64_put(value, (uint64_t)e->unix_ms);
        store_batch_put(batch, slice_of(e->key, e->len), slice_of(value, sizeof value));
        if (++n % BATCH_ROWS == 0)
            r = store_commit(take(batch), 0);
    }
    return batch != NULL ? store_commit(batch, 0) : r;
}

int used_flush(struct used *u)
{
    struct entry *table;
    int r;

    guard(&u->write_lock);
    pthread_mutex_lock(&u->lock);
    table = take(u->table);
    pthread_mutex_unlock(&u->lock);
    r = write_table(u, table);
    free_table(table);
    return r;
}

void used_free(struct used *u)
{
    if (u == NULL)
        return;
    used_flush(u);
    pthread_mutex_destroy(&u->lock);
    pthread_mutex_destroy(&u->write_lock);
    free(u);
}

void used_note(struct used *u, const char *repo, const struct digest *d, int64_t now_unix_ms)
{
    uint8_t key[KEY_MAX];
    size_t len = key_of(repo, d, key);
    struct entry *e;
    bool full;

    pthread_mutex_lock(&u->lock);
    HASH_FIND(hh, u->table, key, len, e);
    if (e == NULL) {
        e = xcalloc(1, sizeof *e + len);
        memcpy(e->key, key, len);
        e->len = len;
        HASH_ADD_KEYPTR(hh, u->table, e->key, e->len, e);
    }
    if (e->unix_ms < now_unix_ms)
        e->unix_ms = now_unix_ms;
    full = HASH_COUNT(u->table) >= USED_ENTRIES_MAX;
    pthread_mutex_unlock(&u->lock);
    if (full)
        used_flush(u);
}

int64_t used_get(struct used *u, const char *repo, const struct digest *d)
{
    uint8_t key[KEY_MAX];
    size_t len = key_of(repo, d, key);
    struct store_value v = {0};
    int64_t unix_ms = 0;
    struct entry *e;

    pthread_mutex_lock(&u->lock);
    HASH_FIND(hh, u->table, key, len, e);
    if (e != NULL)
        unix_ms = e->unix_ms;
    pthread_mutex_unlock(&u->lock);
    if (unix_ms == 0 && store_get(u->store, PART_USED, slice_of(key, len), &v) == 0 &&
        v.data.len == VALUE_BYTES)
        unix_ms = (int64_t)be64_get(v.data.data);
    store_value_release(&v);
    return unix_ms;
}

int used_sweep(struct used *u, const char *repo, bool (*gone)(void *ctx, const struct digest *d),
               void *ctx)
{
    struct store_batch *batch = store_batch_new(u->store, PART_USED);
    size_t n = strlen(repo) + 1;
    struct store_scan *scan;
    struct slice key;
    uint8_t end[KEY_MAX];
    int r;

    memcpy(end, repo, n);
    end[n - 1] = 1;
    r = store_scan(u->store, PART_USED, slice_of(repo, n), slice_of(end, n), STORE_KEYS_ONLY,
                   &scan);
    while (r == 0 && (r = store_scan_next(scan, &key, NULL)) == 1) {
        uint8_t row[1 + KEY_MAX] = {'m'};
        struct digest d;

        r = 0;
        if (key.len > KEY_MAX)
            continue;
        memcpy(row + 1, (const uint8_t *)key.data + n, key.len - n);
        if (key_last_digest(slice_of(row, 1 + key.len - n), &d) < 0 || gone(ctx, &d))
            store_batch_delete(batch, key);
    }
    if (r >= 0)
        store_scan_free(scan);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    return store_commit(batch, 0);
}
