/* Formats that a target is asked for, in the order of preference. */
#include "base/alloc.h"
#include "metrics/scrape/jobs_read.h"

#include <errno.h>

static const struct {
    const char *name, *type;
} PROTOCOLS[] = {
    {"PrometheusProto", "application/vnd.google.protobuf;"
                        "proto=io.prometheus.client.MetricFamily;encoding=delimited"},
    {"OpenMetricsText1.0.0",
     "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"},
    {"OpenMetricsText0.0.1", "application/openmetrics-text;version=0.0.1"},
    {"PrometheusText1.0.0", "text/plain;version=1.0.0;escaping=allow-utf-8"},
    {"PrometheusText0.0.4", "text/plain;version=0.0.4"},
};
#define N_PROTOCOLS (sizeof PROTOCOLS / sizeof PROTOCOLS[0])

static size_t protocol_of(const char *name)
{
    size_t i = 0;

    while (i < N_PROTOCOLS && strcmp(PROTOCOLS[i].name, name) != 0)
        i++;
    return i;
}

int job_protocol_names(const struct yaml *map, char ***ret, struct buf *why)
{
    const struct yaml *y = job_value(map, "scrape_protocols");

    if (job_strings(y, ret, why) < 0)
        return -EINVAL;
    for (size_t i = 0; y != NULL && i < y->n_items; i++) {
        if (protocol_of((*ret)[i]) == N_PROTOCOLS)
            return yaml_fail(y->items[i], why,
                             "unknown scrape protocol %s, supported: [OpenMetricsText0.0.1 "
                             "OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 "
                             "PrometheusText1.0.0]",
                             (*ret)[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp((*ret)[i], (*ret)[k]) == 0)
                return yaml_fail(y->items[i], why,
                                 "duplicated protocol in scrape_protocols, got %s", (*ret)[i]);
    }
    if (y != NULL && y->n_items == 0)
        return yaml_fail(y, why, "scrape_protocols cannot be empty");
    return 0;
}

/* Weights as Prometheus gives them: one more than there are kinds, then downward. */
static void put_protocol(struct buf *out, size_t which, unsigned *weight)
{
    buf_printf(out, "%s;q=0.%u,", PROTOCOLS[which].type, (*weight)--);
}

int job_protocols(const struct yaml *map, char **const otherwise, struct job *j, struct buf *why)
{
    char **own = NULL;
    char **names;
    autobuf accept = {0};
    unsigned weight = 7;

    if (job_bool(map, "scrape_native_histograms", &j->native_histograms, why) < 0 ||
        job_bool(map, "always_scrape_classic_histograms", &j->classic_histograms, why) < 0)
        return -EINVAL;
    if (job_protocol_names(map, &own, why) < 0) {
        job_strings_free(own);
        return -EINVAL;
    }
    names = own != NULL ? own : otherwise;
    for (char **name = names; name != NULL && *name != NULL; name++)
        put_protocol(&accept, protocol_of(*name), &weight);
    for (size_t i = j->native_histograms ? 0 : 1; names == NULL && i < N_PROTOCOLS; i++)
        put_protocol(&accept, i, &weight);
    buf_printf(&accept, "*/*;q=0.%u", weight);
    j->accept = buf_take(&accept, NULL);
    job_strings_free(own);
    return 0;
}
