/* own.h: targets that were made in the tree (`touch targets/<job>/<address>`), kept in the store.
 * Partition "metrics/targets": key job LF address, value their labels as name=value lines. */
#ifndef METRICS_SCRAPE_OWN_H
#define METRICS_SCRAPE_OWN_H

#include "metrics/scrape/jobs.h"

struct store;

#define OWN_LABEL    "__meta_infrafs_own" /* on the groups made from them */
#define OWN_TEXT_MAX (16u << 10)
#define OWN_NAME_MAX 1024

/* Appends a group for each of the job's. */
int own_groups(struct store *store, const char *job, struct target_groups *ret);
/* Is this text labels, as name=value lines (an empty one is)? -EINVAL with "line L: reason". */
int own_check(struct slice text, struct buf *why);
int own_put(struct store *store, const char *job, const char *address, struct slice text);
int own_delete(struct store *store, const char *job, const char *address); /* -ENOENT */

#endif
