/* metrics.h: the metrics domain: what targets expose is scraped, kept and answered for. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "domain.h"

struct metrics {
    const struct domain_env *env;
};

#endif
