/* pool.h: worker threads for what may block: a password hash, a durable commit, a long query. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

struct pool;

/* Threads are started as they are needed, up to max_threads, and end after a minute of idleness. */
struct pool *pool_new(unsigned max_threads, const char *name); /* returns new */
/* Runs f(arg) on a worker, in order of submission as threads become free. Never blocks. */
void pool_submit(struct pool *p, void (*f)(void *arg), void *arg);
size_t pool_waiting(struct pool *p); /* jobs not begun */
/* Runs what is queued, joins, frees. */
void pool_free(struct pool *p);

#endif
