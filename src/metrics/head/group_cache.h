/* group_cache.h: decoded groups, kept while they are asked for. A dashboard asks for the same ones
 * again and again, and most of what a long query costs is their decompression. */
#ifndef METRICS_HEAD_GROUP_CACHE_H
#define METRICS_HEAD_GROUP_CACHE_H

#include "metrics/head/chunk.h"

struct group_cache;
struct group_cache *group_cache_new(size_t bytes_max);
void group_cache_free(struct group_cache *c); /* those that are still open stay until group_free */

/* As group_open, by content: the same bytes give the same group, which its holders share. Any
 * thread. */
int group_cache_open(struct group_cache *c, struct slice bytes, struct group **ret);

#define GROUP_CACHE_AGES 60
/* Drops what was not asked for in the last GROUP_CACHE_AGES calls of this. */
void group_cache_age(struct group_cache *c);
size_t group_cache_bytes(struct group_cache *c);

#endif
