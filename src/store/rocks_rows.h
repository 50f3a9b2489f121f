/* rocks_rows.h: the rows that were read last, in memory: a get of one of them costs a lock and a
 * copy instead of a search in RocksDB. Never older than what a get from RocksDB would give. Any
 * thread. */
#ifndef STORE_ROCKS_ROWS_H
#define STORE_ROCKS_ROWS_H

#include "store/engine.h"

struct rows;
struct rows *rows_new(size_t limit_bytes);
void rows_free(struct rows *rows);

/* What rows_keep needs to know that the row did not change while it was read. */
struct rows_miss {
    uint64_t hash, changes;
};
/* True: *ret is a copy. False: it is not here; read it, and hand it to rows_keep. */
bool rows_get(struct rows *rows, struct slice key, struct slice *ret, struct rows_miss *ret_miss);
void rows_keep(struct rows *rows, const struct rows_miss *miss, struct slice key,
               struct slice value);

/* Around the write of a batch, whether it succeeds or not: its rows leave, and do not come back
 * before the write is over. */
void rows_write_begin(struct rows *rows, const struct store_batch *b);
void rows_write_end(struct rows *rows, const struct store_batch *b);
/* The database was opened anew. */
void rows_clear(struct rows *rows);

#endif
