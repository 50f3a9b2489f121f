/* result.h: results of queries as JSON. A small one is a body in memory, a large one is made as it
 * is sent: only its samples are held. */
#ifndef METRICS_API_RESULT_H
#define METRICS_API_RESULT_H

#include "metrics/api/api.h"

enum result_type { RESULT_VECTOR, RESULT_MATRIX };

/* Answers with it, cut to `limit` series (0: all), and ends the answer. Takes what is in the
 * result. */
int result_send(struct answer *a, struct result *result, enum result_type type, uint64_t limit);
/* "[1700000000,\"0.5\"]" */
void result_point(struct buf *out, int64_t ts_ms, double v);

#endif
