#include "metrics/head/group_cache.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/scope.h"

#include <string.h>
#include <uthash.h>

struct content {
    uint64_t hash, len; /* of the stored bytes */
};

struct entry {
    UT_hash_handle hh;
    struct content content;
    struct group *group;
    size_t bytes;
    uint64_t asked; /* in which age, last */
};

struct group_cache {
    pthread_mutex_t lock; /* guards: all below */
    struct entry *entries; /* those asked for last at the end */
    size_t bytes, bytes_max;
    uint64_t age;
};

struct group_cache *group_cache_new(size_t bytes_max)
{
    struct group_cache *c = xcalloc(1, sizeof *c);

    pthread_mutex_init(&c->lock, NULL);
    c->bytes_max = bytes_max;
    return c;
}

static void drop(struct group_cache *c, struct entry *e)
{
    HASH_DEL(c->entries, e);
    c->bytes -= e->bytes;
    group_free(e->group);
    free(e);
}

void group_cache_free(struct group_cache *c)
{
    if (c == NULL)
        return;
    while (c->entries != NULL)
        drop(c, c->entries);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* The kept one with one more holder; NULL: there is none. */
static struct group *find(struct group_cache *c, const struct content *content)
{
    struct entry *e = NULL;

    HASH_FIND(hh, c->entries, content, sizeof *content, e);
    if (e == NULL)
        return NULL;
    HASH_DEL(c->entries, e);
    HASH_ADD(hh, c->entries, content, sizeof e->content, e);
    e->asked = c->age;
    return group_ref(e->group);
}

static void keep(struct group_cache *c, const struct content *content, struct group *g)
{
    struct entry *e;
    size_t bytes = sizeof *e + group_bytes(g);

    if (bytes > c->bytes_max)
        return;
    while (c->bytes > c->bytes_max - bytes)
        drop(c, c->entries);
    e = xcalloc(1, sizeof *e);
    e->content = *content;
    e->group = group_ref(g);
    e->bytes = bytes;
    e->asked = c->age;
    HASH_ADD(hh, c->entries, content, sizeof e->content, e);
    c->bytes += bytes;
}

int group_cache_open(struct group_cache *c, struct slice bytes, struct group **ret)
{
    struct content content = {hash_bytes(bytes.data, bytes.len, 0), bytes.len};
    struct group *kept;
    int r;

    pthread_mutex_lock(&c->lock);
    *ret = find(c, &content);
    pthread_mutex_unlock(&c->lock);
    if (*ret != NULL)
        return 0;
    r = group_open(bytes, ret);
    if (r < 0)
        return r;
    guard(&c->lock);
    kept = find(c, &content);
    if (kept == NULL) {
        keep(c, &content, *ret);
    } else { /* another thread was as quick */
        group_free(*ret);
        *ret = kept;
    }
    return 0;
}

void group_cache_age(struct group_cache *c)
{
    guard(&c->lock);
    c->age++;
    while (c->entries != NULL && c->age - c->entries->asked > GROUP_CACHE_AGES)
        drop(c, c->entries);
}

size_t group_cache_bytes(struct group_cache *c)
{
    guard(&c->lock);
    return c->bytes;
}
