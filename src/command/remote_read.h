/* remote_read.h: all samples of a server that speaks Prometheus' remote read, ours or another.
 * Private to src/command/. */
#ifndef COMMAND_REMOTE_READ_H
#define COMMAND_REMOTE_READ_H

#include "command/client.h"

/* One series and its samples of some span of time: the bytes of a prometheus.TimeSeries. An exit
 * code other than 0 ends the walk. */
typedef int remote_series_fn(void *ctx, struct slice series);

/* Walks over every series' samples from from_ms to to_ms, both included: metric by metric, in each
 * in the order of time, in spans as long as one answer can carry. An exit code; the reason was
 * printed. The client sends what remote read needs from here on. */
int remote_read_walk(struct client *c, int64_t from_ms, int64_t to_ms, remote_series_fn *f,
                     void *ctx);

#endif
