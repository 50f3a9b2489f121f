#include "images/cache.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "images/reference.h"
#include "images/used.h"

#include <pthread.h>
#include <uthash.h>

#define SHARDS  16u
#define KEY_MAX (IMAGES_NAME_MAX + 1 + DIGEST_TEXT_MAX)

struct entry {
    UT_hash_handle hh;
    struct web_page *page;
    uint64_t generation;
    int64_t noted_monotonic_ms;
    bool used; /* since the hand last passed */
    size_t key_len;
    char key[];
};

/* The table of uthash keeps entries in order of arrival; the eldest that was not used goes first,
 * one that was used goes to the end once more. */
struct shard {
    pthread_mutex_t lock; /* guards: all */
    struct entry *table;
    size_t bytes;
};

struct page_cache {
    struct shard shards[SHARDS];
};

struct page_cache *page_cache_new(void)
{
    struct page_cache *c = xcalloc(1, sizeof *c);

    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&c->shards[i].lock, NULL);
    return c;
}

static void drop(struct shard *s, struct entry *e)
{
    HASH_DELETE(hh, s->table, e);
    s->bytes -= e->page->bytes.len;
    web_page_unref(e->page);
    free(e);
}

void page_cache_free(struct page_cache *c)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];

        while (s->table != NULL)
            drop(s, s->table);
        pthread_mutex_destroy(&s->lock);
    }
    free(c);
}

/* "<repo>\0<reference>"; 0 if it is too long for any that is there. */
static size_t key_of(const char *repo, const char *reference, char key[KEY_MAX])
{
    size_t a = strlen(repo), b = strlen(reference);

    if (a + 1 + b > KEY_MAX)
        return 0;
    memcpy(key, repo, a + 1);
    memcpy(key + a + 1, reference, b);
    return a + 1 + b;
}

static struct shard *shard_of(struct page_cache *c, const char *key, size_t n)
{
    unsigned h = 5381;

    for (size_t i = 0; i < n; i++)
        h = h * 33 ^ (unsigned char)key[i];
    return &c->shards[(h ^ h >> 16) % SHARDS];
}

struct web_page *page_cache_get(struct page_cache *c, const char *repo, const char *reference,
                                uint64_t generation, bool *ret_note)
{
    char key[KEY_MAX];
    size_t n = key_of(repo, reference, key);
    struct shard *s = shard_of(c, key, n);
    struct entry *e = NULL;
    int64_t now = clock_monotonic_ms();

    *ret_note = false;
    if (n == 0)
        return NULL;
    guard(&s->lock);
    HASH_FIND(hh, s->table, key, n, e);
    if (e == NULL)
        return NULL;
    if (e->generation != generation) {
        drop(s, e);
        return NULL;
    }
    e->used = true;
    *ret_note = now - e->noted_monotonic_ms >= USED_NOTE_MS;
    if (*ret_note)
        e->noted_monotonic_ms = now;
    return web_page_ref(e->page);
}

static void make_room(struct shard *s, size_t need)
{
    while (s->table != NULL && (HASH_COUNT(s->table) >= PAGE_CACHE_ENTRIES / SHARDS ||
                                s->bytes + need > PAGE_CACHE_BYTES / SHARDS)) {
        struct entry *e = s->table;

        if (!e->used) {
            drop(s, e);
            continue;
        }
        e->used = false;
        HASH_DELETE(hh, s->table, e);
        HASH_ADD_KEYPTR(hh, s->table, e->key, e->key_len, e);
    }
}

void page_cache_put(struct page_cache *c, const char *repo, const char *reference,
                    uint64_t generation, struct web_page *page)
{
    char key[KEY_MAX];
    size_t n = key_of(repo, reference, key);
    struct shard *s = shard_of(c, key, n);
    struct entry *e = NULL;

    if (n == 0 || page->bytes.len > PAGE_CACHE_BYTES / SHARDS / 2)
        return;
    guard(&s->lock);
    HASH_FIND(hh, s->table, key, n, e);
    if (e != NULL)
        drop(s, e);
    make_room(s, page->bytes.len);
    e = xcalloc(1, sizeof *e + n);
    memcpy(e->key, key, n);
    e->key_len = n;
    e->page = web_page_ref(page);
    e->generation = generation;
    e->noted_monotonic_ms = clock_monotonic_ms(); /* by who put it here */
    s->bytes += page->bytes.len;
    HASH_ADD_KEYPTR(hh, s->table, e->key, e->key_len, e);
}
