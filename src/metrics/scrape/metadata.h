/* metadata.h: what HELP, TYPE and UNIT lines said of metrics, over all targets. Any thread. */
#ifndef METRICS_SCRAPE_METADATA_H
#define METRICS_SCRAPE_METADATA_H

#include "metrics/scrape/exposition.h"

struct metadata;
struct metadata *metadata_new(void);
void metadata_free(struct metadata *m);

struct metadata_item {
    enum metric_type type;
    char *unit, *help;
};
#define METADATA_ITEMS_MAX 8 /* different ones kept for a metric */

/* What one scrape says of a metric; parts that it does not say are NULL and unknown. */
void metadata_note(struct metadata *m, struct slice metric, enum metric_type type,
                   struct slice unit, struct slice help);
/* By name. f's non-zero result ends it. */
typedef int metadata_fn(void *ctx, const char *metric, const struct metadata_item *items, size_t n);
void metadata_each(struct metadata *m, metadata_fn *f, void *ctx);

#endif
