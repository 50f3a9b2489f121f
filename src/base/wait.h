/* wait.h: conditions that are waited on for a time, by the clock that never jumps. */
#ifndef BASE_WAIT_H
#define BASE_WAIT_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

void wait_init(pthread_cond_t *cond); /* for pthread_cond_timedwait with wait_until */
struct timespec wait_until(int64_t ms); /* so far from now */

#endif
