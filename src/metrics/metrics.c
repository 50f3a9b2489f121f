#include "metrics/metrics.h"

#include "base/alloc.h"

#include <stdlib.h>

extern const struct domain metrics_domain;

static int metrics_open(const struct domain_env *env, void **ret_self, struct buf *why)
{
    struct metrics *m = xcalloc(1, sizeof *m);

    (void)why;
    m->env = env;
    *ret_self = m;
    return 0;
}

static void metrics_close(void *self)
{
    free(self);
}

const struct domain metrics_domain = {
    .name = "metrics",
    .open = metrics_open,
    .close = metrics_close,
};
