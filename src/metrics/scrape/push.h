/* push.h: expositions that are written as files (metrics/push/<name>.prom). One counts as a target
 * that exposes the same again and again, until it is older than an age: then its series are stale.
 * Kept over a restart. The caller locks, but for pushes_read and push_check. */
#ifndef METRICS_SCRAPE_PUSH_H
#define METRICS_SCRAPE_PUSH_H

#include "metrics/scrape/ingest.h"

struct store;

#define PUSH_BYTES_MAX (1u << 20)
#define PUSH_NAME_MAX  200
#define PUSH_STEP_MS   60000 /* between two samples of a push */

struct push {
    char *name; /* without .prom; the series' label instance where they bring none */
    struct buf text;
    int64_t pushed_ms;
    struct target *target; /* of the jobs of pushes; due_ms: when it counts again */
};
struct pushes {
    struct push **items; /* by name */
    size_t n;
    struct jobs *jobs; /* one job: push, honor_labels */
};

void pushes_init(struct pushes *p);
void pushes_done(struct pushes *p);
struct push *pushes_find(const struct pushes *p, const char *name);
/* The new one, or the old one with another text. */
struct push *pushes_set(struct pushes *p, const char *name, struct slice text, int64_t pushed_ms);
void pushes_drop(struct pushes *p, struct push *push);
/* The format: OpenMetrics if it ends like that, else text 0.0.4. */
const char *push_content_type(struct slice text);
/* -EINVAL with a reason in why: nothing of it would count. */
int push_check(struct slice text, struct buf *why);

/* Rows: all of one in a batch. Durable. */
int push_store(struct store *s, const char *name, struct slice text, int64_t pushed_ms);
int push_forget(struct store *s, const char *name);
int pushes_load(struct pushes *p, struct store *s);

#endif
