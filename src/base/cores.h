/* cores.h: one piece of work on all cores. */
#ifndef BASE_CORES_H
#define BASE_CORES_H

#include <stddef.h>

#define CORES_MAX 16

size_t cores_count(void); /* on which this process may run */

/* Calls f for each k below n, on up to `threads` threads (CORES_MAX at most), the caller's among
 * them; back when all are done. Who is free takes the next k; `worker` (below `threads`) says which
 * thread it is. */
void cores_run(size_t threads, size_t n, void (*f)(void *ctx, size_t worker, size_t k), void *ctx);

#endif
