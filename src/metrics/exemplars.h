/* exemplars.h: the newest exemplars of all series, a bounded number; a log of their own keeps them
 * over a restart. Any thread. */
#ifndef METRICS_EXEMPLARS_H
#define METRICS_EXEMPLARS_H

#include "metrics/head/db.h"

#define EXEMPLARS_MAX       100000
#define EXEMPLAR_LABELS_MAX 128 /* characters of all names and values: OpenMetrics 1.0 */

struct exemplars;
int exemplars_open(struct store *store, struct db *db, size_t max, struct exemplars **ret);
void exemplars_close(struct exemplars *x);

struct exemplar {
    struct labels labels; /* sorted */
    int64_t ts_ms;
    uint64_t bits;
};
/* 0, also if the series' newest is the same; -E2BIG: the labels are too long; -ERANGE: it is older
 * than the series' newest. It is kept over a restart once exemplars_write was called. */
int exemplars_add(struct exemplars *x, uint32_t ref, const struct exemplar *e);
int exemplars_write(struct exemplars *x);

/* Those of the series (ascending) with from <= time <= to, by series, then time. f's non-zero
 * result ends it. Labels are valid until it returns. */
typedef int exemplars_fn(void *ctx, uint32_t ref, const struct exemplar *e);
int exemplars_each(struct exemplars *x, const struct refs *refs, int64_t from_ms, int64_t to_ms,
                   exemplars_fn *f, void *ctx);
size_t exemplars_count(struct exemplars *x);

#endif
