/* symbols.h: strings kept once, named by a number from 1; 0 is the empty string. Never forgotten: a
 * slice handed out lives as long as the table. One writer at a time, no readers meanwhile. */
#ifndef METRICS_HEAD_SYMBOLS_H
#define METRICS_HEAD_SYMBOLS_H

#include "base/slice.h"

struct symbol_block;
struct symbols {
    struct slice *strings; /* strings[0] is empty */
    uint32_t n, cap;
    uint32_t *table; /* open addressing; 0: free */
    uint32_t table_size;
    struct symbol_block *blocks;
    char *room;
    size_t room_left;
    uint64_t bytes;
};

void symbols_init(struct symbols *s);
void symbols_done(struct symbols *s);
uint32_t symbols_find(const struct symbols *s, struct slice text); /* UINT32_MAX: there is none */
uint32_t symbols_add(struct symbols *s, struct slice text);

static inline struct slice symbols_get(const struct symbols *s, uint32_t symbol)
{
    return s->strings[symbol];
}

/* Memory that is never given back one by one. */
void *symbols_room(struct symbols *s, size_t n);

#endif
