/* keeps.h: metrics.retention_rules, read: selectors of series and how long their samples stay. */
#ifndef METRICS_KEEPS_H
#define METRICS_KEEPS_H

#include "config.h"
#include "metrics/head/db.h"
#include "metrics/promql/ast.h"
#include "op/op.h"

struct keeps {
    struct op op; /* what the selectors point to */
    struct promql *selectors;
    struct db_keep *items;
    size_t n;
};
/* -EINVAL with the reason in why. Returns new; the configuration must outlive it. */
int keeps_read(const struct config *c, struct keeps **ret, struct buf *why);
void keeps_free(struct keeps *k); /* NULL is fine */

#endif
