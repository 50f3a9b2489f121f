/* mem_map.h: an ordered map with versions, for the engine in memory: a cursor sees the moment it
 * was made. Its user locks it. */
#ifndef STORE_MEM_MAP_H
#define STORE_MEM_MAP_H

#include "base/slice.h"

#define MEM_MAP_HEIGHT 20

struct mem_node;

/* Zero-initialised is empty. */
struct mem_map {
    struct mem_node *first[MEM_MAP_HEIGHT];
    uint64_t random;
    unsigned cursors; /* while there are some, no version is freed */
};

void mem_map_done(struct mem_map *m);
void mem_map_put(struct mem_map *m, struct slice key, struct slice value, uint64_t seq);
void mem_map_delete(struct mem_map *m, struct slice key, uint64_t seq);
void mem_map_delete_range(struct mem_map *m, struct slice lower, struct slice upper, uint64_t seq);
bool mem_map_get(struct mem_map *m, struct slice key, struct slice *ret);

/* First node at or after key, last node before key: visible at seq or not. NULL: none. */
struct mem_node *mem_map_at(struct mem_map *m, struct slice key);
struct mem_node *mem_map_before(struct mem_map *m, struct slice key);
struct mem_node *mem_node_step(struct mem_map *m, struct mem_node *n, bool back);
struct slice mem_node_key(const struct mem_node *n);
bool mem_node_value(const struct mem_node *n, uint64_t seq, struct slice *ret); /* visible at seq */

#endif
