/* result.h: results of queries as JSON. A small one is a body in memory, a large one is made as it
 * is sent: only its samples are held. */
#ifndef METRICS_API_RESULT_H
#define METRICS_API_RESULT_H

#include "metrics/api/api.h"
#include "metrics/promql/eval.h"

/* Answers with it, cut to `limit` series (0: all), with its warnings and infos, and ends the
 * answer. Takes what is in the result. `at_ms`: the time of a string. `more`: members for the end of "data", each begun by a
 * comma; taken. */
int result_send(struct answer *a, struct result *result, int64_t at_ms, uint64_t limit,
                struct buf *more);
/* Bytes that the text of the answer will take at once, about. */
uint64_t result_text_bytes(const struct result *result, uint64_t limit);

#endif
