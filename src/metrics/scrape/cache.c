#include "metrics/scrape/cache.h"

#include "base/alloc.h"

#include <stdlib.h>

void cache_done(struct cache *c)
{
    free(c->entries);
    free(c->table);
    *c = (struct cache){0};
}

void cache_begin(struct cache *c)
{
    c->round++;
    c->next = 0;
}

static uint64_t hash_of(const char *p, size_t n)
{
    return hash_bytes(p, n, 0x5eed);
}

size_t cache_known(void *cache, const char *p, size_t left)
{
    struct cache *c = cache;
    const struct cache_entry *e = &c->entries[c->next];
    size_t at;

    if (c->next >= c->n || left <= e->len || (p[e->len] != ' ' && p[e->len] != '\t') ||
        hash_of(p, e->len) != e->hash)
        return 0;
    for (at = e->len; at < left && (p[at] == ' ' || p[at] == '\t'); at++)
        ;
    if (at < left && p[at] == '{') /* that was only its name */
        return 0;
    c->hit = c->next++;
    return e->len;
}

static uint32_t *slot_of(const struct cache *c, uint64_t hash, uint32_t len)
{
    uint32_t i = (uint32_t)(hash >> 32) & (c->table_size - 1);

    while (c->table[i] != 0 &&
           (c->entries[c->table[i] - 1].hash != hash || c->entries[c->table[i] - 1].len != len))
        i = (i + 1) & (c->table_size - 1);
    return &c->table[i];
}

uint32_t cache_find(struct cache *c, struct slice text)
{
    uint32_t found = 0;

    if (c->table_size > 0)
        found = *slot_of(c, hash_of(text.data, text.len), (uint32_t)text.len);
    if (found == 0)
        return CACHE_NONE;
    c->next = found;
    return found - 1;
}

static void rebuild(struct cache *c, uint32_t size)
{
    free(c->table);
    c->table_size = size;
    c->table = xcalloc(size, sizeof *c->table);
    for (uint32_t i = 0; i < c->n; i++)
        *slot_of(c, c->entries[i].hash, c->entries[i].len) = i + 1;
}

uint32_t cache_add(struct cache *c, struct slice text)
{
    uint64_t hash = hash_of(text.data, text.len);

    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 32 : c->cap + c->cap / 2;
        c->entries = xrealloc(c->entries, c->cap * sizeof *c->entries);
    }
    c->entries[c->n] =
        (struct cache_entry){.hash = hash, .len = (uint32_t)text.len, .ref = CACHE_NONE};
    c->n++;
    if (c->n * 4 > c->table_size * 3)
        rebuild(c, c->table_size == 0 ? 64 : 2 * c->table_size);
    else
        *slot_of(c, hash, (uint32_t)text.len) = c->n;
    c->next = c->n;
    return c->n - 1;
}

void cache_truncate(struct cache *c, uint32_t n)
{
    if (n < c->n) {
        c->n = n;
        rebuild(c, c->table_size);
    }
}

void cache_sweep(struct cache *c)
{
    uint32_t live = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n; i++)
        live += c->entries[i].round == c->round;
    if (c->n < 2 * live + 1000)
        return;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->entries[i].round == c->round)
            c->entries[n++] = c->entries[i];
    c->n = n;
    rebuild(c, c->table_size);
}
