/* rocks_part.h: writes the SST files of parts. C++ inside: RocksDB's C API has no switch for direct
 * I/O, and none for keeping what was written in the page cache. */
#ifndef STORE_ROCKS_PART_H
#define STORE_ROCKS_PART_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct part_writer;

/* direct: around the page cache, where the file system can; else buffered, and what was written
 * stays cached. */
struct part_writer *part_writer_new(bool direct);
void part_writer_free(struct part_writer *w); /* closes the file it was writing; NULL is fine */
/* One file after another. Each returns NULL, or what went wrong, for rocks_error. */
char *part_writer_open(struct part_writer *w, const char *path);
char *part_writer_put(struct part_writer *w, const void *key, size_t key_len, const void *value,
                      size_t value_len); /* keys ascend */
char *part_writer_finish(struct part_writer *w); /* synced */

#ifdef __cplusplus
}
#endif

#endif
