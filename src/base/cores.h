/* cores.h: one piece of work on all cores. */
#ifndef BASE_CORES_H
#define BASE_CORES_H

#include <stddef.h>

#define CORES_MAX 16

/* How many this process may run on, CORES_MAX at most. */
size_t cores_count(void);

/* Calls f for each k below n, on up to `threads` threads, the caller's among them; back when all are
 * done. Who is free takes the next k; `worker` (below `threads`) says which thread it is. */
void cores_run(size_t threads, size_t n, void (*f)(void *ctx, size_t worker, size_t k), void *ctx);

#endif
