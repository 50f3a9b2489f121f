/* cache.h: the series texts that one target exposed, and the series they became. A target shows the
 * same lines in the same order scrape after scrape, so the next one is guessed first: then a line
 * costs a hash of its text. */
#ifndef METRICS_SCRAPE_CACHE_H
#define METRICS_SCRAPE_CACHE_H

#include "metrics/labels.h"

#define CACHE_NONE    UINT32_MAX
#define CACHE_DROPPED (UINT32_MAX - 1) /* instead of a ref: relabeling drops it */

struct cache_entry {
    uint64_t hash; /* of the text */
    uint32_t len;
    uint32_t ref;   /* of the series; CACHE_NONE while it is not made */
    uint32_t round; /* the scrape that saw it last */
    bool live;      /* in the last good scrape, and without a time of its own */
};

struct cache {
    struct cache_entry *entries; /* in the order they were met */
    uint32_t n, cap;
    uint32_t *table; /* entry + 1; 0: free */
    uint32_t table_size;
    uint32_t next;      /* the entry that is guessed */
    uint32_t round;     /* of the scrape under way */
    uint32_t hit;       /* what cache_known found */
    uint64_t forgotten; /* db_forgotten when the refs were asked for */
};

void cache_done(struct cache *c);
void cache_begin(struct cache *c); /* a scrape */
/* For struct exposition: the length of the series text at p if it is the one that is guessed. */
size_t cache_known(void *cache, const char *p, size_t left);
uint32_t cache_find(struct cache *c,
                    struct slice text); /* CACHE_NONE; guesses the one after it next */
uint32_t cache_add(struct cache *c, struct slice text);
void cache_truncate(struct cache *c, uint32_t n); /* forget what was added after the first n */
void cache_sweep(struct cache *c);                /* forget the dead, if they are many */

#endif
