/* kv_reads.c: when a secret was read last. Kept in memory, and written now and then without a sync:
 * 'r' · secret's id (16) -> Unix seconds (8), encrypted. A killed daemon forgets a minute or more
 * of it, which is the price of reads that write nothing. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>

#define ROW_READ        'r'
#define KEY_BYTES       (1 + KV_ID_BYTES)
#define SLOTS_LEAST     512u
#define SLOTS_MOST      65536u /* 2 MiB, where that many are read */
#define PROBES          8u
#define FLUSH_MS        60000
#define FLUSHED_AT_ONCE 512u
#define FLUSH_MORE_MS   1000 /* there was more than that */

struct slot {
    uint8_t id[KV_ID_BYTES];
    int64_t read_unix_s; /* 0: free */
    bool dirty;
};

struct kv_reads {
    pthread_mutex_t lock; /* guards all below */
    struct slot *slots;   /* n_slots, made at the first read */
    size_t n_slots;
    int64_t flushed_ms;
};

struct kv_reads *kv_reads_new(void)
{
    struct kv_reads *reads = xcalloc(1, sizeof *reads);

    pthread_mutex_init(&reads->lock, NULL);
    reads->flushed_ms = clock_monotonic_ms();
    return reads;
}

static void key_of(const uint8_t id[KV_ID_BYTES], uint8_t ret[KEY_BYTES])
{
    ret[0] = ROW_READ;
    memcpy(ret + 1, id, KV_ID_BYTES);
}

static void put_row(struct kv *kv, struct store_batch *batch, const struct slot *slot)
{
    uint8_t key[KEY_BYTES], time[8];
    autobuf record = {0};

    key_of(slot->id, key);
    be64_put(time, (uint64_t)slot->read_unix_s);
    if (keyring_encrypt(kv->keyring, kv->part, slice_of(key, sizeof key),
                        slice_of(time, sizeof time), &record) == 0)
        store_batch_put(batch, slice_of(key, sizeof key), buf_slice(&record));
}

/* The next to be written, up to *most, which is counted down; NULL: none. Called with the lock. */
static struct store_batch *take_dirty(struct kv *kv, unsigned *most)
{
    struct store_batch *batch = NULL;
    struct kv_reads *reads = kv->reads;

    for (size_t i = 0; i < reads->n_slots && *most > 0; i++) {
        struct slot *slot = &reads->slots[i];

        if (!slot->dirty)
            continue;
        if (batch == NULL)
            batch = store_batch_new(kv->store, kv->part);
        put_row(kv, batch, slot);
        slot->dirty = false;
        --*most;
    }
    return batch;
}

void kv_reads_free(struct kv *kv)
{
    struct kv_reads *reads = kv->reads;
    unsigned all = SLOTS_MOST;
    struct store_batch *batch = take_dirty(kv, &all);

    if (batch != NULL)
        store_commit(batch, 0);
    free(reads->slots);
    pthread_mutex_destroy(&reads->lock);
    free(reads);
}

/* The i-th place to look at. */
static struct slot *slot_at(const struct kv_reads *reads, const uint8_t id[KV_ID_BYTES], size_t i)
{
    return &reads->slots[(be32_get(id) + i) % reads->n_slots]; /* ids are random */
}

static struct slot *find(struct kv_reads *reads, const uint8_t id[KV_ID_BYTES])
{
    for (size_t i = 0; reads->slots != NULL && i < PROBES; i++) {
        struct slot *slot = slot_at(reads, id, i);

        if (slot->read_unix_s != 0 && memcmp(slot->id, id, KV_ID_BYTES) == 0)
            return slot;
    }
    return NULL;
}

/* A free one near its place; else the one that was read longest ago. NULL: there are no slots. */
static struct slot *pick(struct kv_reads *reads, const uint8_t id[KV_ID_BYTES])
{
    struct slot *oldest = NULL;

    for (size_t i = 0; reads->slots != NULL && i < PROBES; i++) {
        struct slot *slot = slot_at(reads, id, i);

        if (oldest == NULL || slot->read_unix_s < oldest->read_unix_s)
            oldest = slot;
    }
    return oldest;
}

/* Twice the slots; where even then one does not fit near its place, it gives way. */
static void grow(struct kv_reads *reads)
{
    autofree struct slot *old = reads->slots;
    size_t n = reads->n_slots;

    reads->n_slots = n == 0 ? SLOTS_LEAST : 2 * n;
    reads->slots = xcalloc(reads->n_slots, sizeof *reads->slots);
    for (size_t i = 0; i < n; i++)
        if (old[i].read_unix_s != 0)
            *pick(reads, old[i].id) = old[i];
}

/* A slot for it. One that gives way is written, if it must. */
static struct slot *make_room(struct kv *kv, const uint8_t id[KV_ID_BYTES],
                              struct store_batch **ret_batch)
{
    struct kv_reads *reads = kv->reads;
    struct slot *slot = pick(reads, id);

    while ((slot == NULL || slot->read_unix_s != 0) && reads->n_slots < SLOTS_MOST) {
        grow(reads);
        slot = pick(reads, id);
    }
    if (slot->dirty) {
        *ret_batch = store_batch_new(kv->store, kv->part);
        put_row(kv, *ret_batch, slot);
    }
    return slot;
}

static void ignore(void *ctx, int r)
{
    (void)ctx;
    (void)r;
}

void kv_note_read(struct kv *kv, const uint8_t id[KV_ID_BYTES])
{
    int64_t now_s = clock_unix_ms() / 1000, now_ms = clock_monotonic_ms();
    struct kv_reads *reads = kv->reads;
    struct store_batch *evicted = NULL, *due = NULL;
    struct slot *slot;

    pthread_mutex_lock(&reads->lock);
    slot = find(reads, id);
    if (slot == NULL) {
        slot = make_room(kv, id, &evicted);
        memcpy(slot->id, id, KV_ID_BYTES);
        slot->read_unix_s = 0;
    }
    if (slot->read_unix_s != now_s) {
        slot->read_unix_s = now_s;
        slot->dirty = true;
    }
    if (now_ms - reads->flushed_ms >= FLUSH_MS) {
        unsigned left = FLUSHED_AT_ONCE;

        due = take_dirty(kv, &left);
        reads->flushed_ms = left > 0 ? now_ms : now_ms - FLUSH_MS + FLUSH_MORE_MS;
    }
    pthread_mutex_unlock(&reads->lock);
    if (evicted != NULL)
        store_commit_async(evicted, 0, ignore, NULL);
    if (due != NULL)
        store_commit_async(due, 0, ignore, NULL);
}

int kv_last_read(struct kv *kv, const uint8_t id[KV_ID_BYTES], int64_t *ret_unix_s)
{
    uint8_t key[KEY_BYTES], time[8];
    struct store_value v = {0};
    const struct slot *slot;
    int r;

    *ret_unix_s = 0;
    pthread_mutex_lock(&kv->reads->lock);
    slot = find(kv->reads, id);
    if (slot != NULL)
        *ret_unix_s = slot->read_unix_s;
    pthread_mutex_unlock(&kv->reads->lock);
    if (slot != NULL)
        return 0;
    key_of(id, key);
    r = store_get(kv->store, kv->part, slice_of(key, sizeof key), &v);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = v.data.len == sizeof time + KEYRING_OVERHEAD_BYTES
            ? keyring_decrypt(kv->keyring, kv->part, slice_of(key, sizeof key), v.data, time)
            : -EIO;
    store_value_release(&v);
    if (r == 0)
        *ret_unix_s = (int64_t)be64_get(time);
    return r;
}

void kv_reads_delete(struct kv *kv, struct store_batch *batch, const uint8_t id[KV_ID_BYTES])
{
    uint8_t key[KEY_BYTES];
    struct slot *slot;

    pthread_mutex_lock(&kv->reads->lock);
    slot = find(kv->reads, id);
    if (slot != NULL)
        *slot = (struct slot){0};
    pthread_mutex_unlock(&kv->reads->lock);
    key_of(id, key);
    store_batch_delete(batch, slice_of(key, sizeof key));
}
