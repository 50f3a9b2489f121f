#include "metrics/api/known.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <stdlib.h>
#include <sys/random.h>

#define ENTRIES_MAX (4u << 20) /* 64 MiB; then it begins anew */

struct entry {
    uint64_t hash; /* 0: free */
    uint32_t ref;
};

struct known {
    pthread_rwlock_t lock; /* guards: all below */
    struct entry *table;
    uint32_t n, size;
    uint64_t seed;
    uint64_t forgotten;
};

struct known *known_new(void)
{
    struct known *k = xcalloc(1, sizeof *k);

    pthread_rwlock_init(&k->lock, NULL);
    k->size = 1024;
    k->table = xcalloc(k->size, sizeof *k->table);
    if (getrandom(&k->seed, sizeof k->seed, 0) != sizeof k->seed)
        abort();
    return k;
}

void known_free(struct known *k)
{
    if (k == NULL)
        return;
    pthread_rwlock_destroy(&k->lock);
    free(k->table);
    free(k);
}

uint64_t known_hash(const struct known *k, struct slice labels)
{
    uint64_t h = hash_bytes(labels.data, labels.len, k->seed);

    return h != 0 ? h : 1;
}

static struct entry *slot_of(const struct known *k, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (k->size - 1);

    while (k->table[i].hash != 0 && k->table[i].hash != hash)
        i = (i + 1) & (k->size - 1);
    return &k->table[i];
}

uint32_t known_find(struct known *k, uint64_t hash)
{
    const struct entry *e;
    uint32_t ref;

    pthread_rwlock_rdlock(&k->lock);
    e = slot_of(k, hash);
    ref = e->hash != 0 ? e->ref : SERIES_NONE;
    pthread_rwlock_unlock(&k->lock);
    return ref;
}

void known_check(struct known *k, uint64_t forgotten)
{
    bool same;

    pthread_rwlock_rdlock(&k->lock);
    same = k->forgotten == forgotten;
    pthread_rwlock_unlock(&k->lock);
    if (same)
        return;
    pthread_rwlock_wrlock(&k->lock);
    memset(k->table, 0, k->size * sizeof *k->table);
    k->n = 0;
    k->forgotten = forgotten;
    pthread_rwlock_unlock(&k->lock);
}

static void grow(struct known *k)
{
    struct entry *old = k->table;
    uint32_t n = k->size;

    k->size *= 2;
    k->table = xcalloc(k->size, sizeof *k->table);
    for (uint32_t i = 0; i < n; i++)
        if (old[i].hash != 0)
            *slot_of(k, old[i].hash) = old[i];
    free(old);
}

void known_add(struct known *k, uint64_t hash, uint32_t ref)
{
    struct entry *e;

    pthread_rwlock_wrlock(&k->lock);
    if (k->n == ENTRIES_MAX) {
        memset(k->table, 0, k->size * sizeof *k->table);
        k->n = 0;
    }
    e = slot_of(k, hash);
    k->n += e->hash == 0;
    *e = (struct entry){hash, ref};
    if (k->n * 4 > k->size * 3)
        grow(k);
    pthread_rwlock_unlock(&k->lock);
}
