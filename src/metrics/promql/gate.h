/* gate.h: so many queries run at once; more wait for their turn. */
#ifndef METRICS_PROMQL_GATE_H
#define METRICS_PROMQL_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define GATE_RUNNING_MAX 20
#define GATE_WAITING_MAX 24 /* each holds a thread */

struct gate {
    pthread_mutex_t lock; /* guards: running, waiting */
    pthread_cond_t left;
    unsigned running, waiting;
};

void gate_init(struct gate *g);
void gate_done(struct gate *g); /* nobody is in it */
/* 0: the caller is in, and calls gate_leave. -EBUSY: too many wait. -ETIMEDOUT at the deadline (of
 * clock_monotonic_ms). -ECANCELED: `cancelled` (may be NULL) said so, asked now and then. */
int gate_enter(struct gate *g, int64_t deadline_ms, bool (*cancelled)(void *ctx), void *ctx);
void gate_leave(struct gate *g);
unsigned gate_running(struct gate *g);

#endif
