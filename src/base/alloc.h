/* alloc.h: memory of a small, bounded size. These abort when there is none: such a process cannot
 * go on, and RocksDB ends it anyway. A size that a client chose is allocated with malloc, and its
 * failure is -ENOMEM. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n); /* one byte longer, with a NUL at the end */

#endif
