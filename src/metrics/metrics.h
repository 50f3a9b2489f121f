/* metrics.h: the metrics domain: what targets expose is scraped, kept and answered for. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/json.h"
#include "config.h"
#include "domain.h"
#include "feed.h"
#include "metrics/promql/gate.h"
#include "metrics/scrape/scraper.h"

struct metrics {
    struct domain_env env; /* a copy; what it points to lives longer */
    struct keeps *keeps; /* rules of retention; outlive db */
    struct db *db;
    struct exemplars *exemplars;
    struct metadata *metadata;
    struct known *known; /* series of remote writers */
    struct scraper *scraper;
    struct rules *rules;
    char *external_url; /* where others reach this daemon; for links in alerts */
    struct gate gate; /* of queries */
    uint64_t answer_bytes; /* atomic: of results that wait to be sent */
    int64_t started_unix_ms;
};

/* Queries; as Prometheus' defaults. */
#define QUERY_LOOKBACK_MS (5 * 60 * 1000)
#define QUERY_SAMPLES_MAX 50000000
#define QUERY_TIMEOUT_MS  (2 * 60 * 1000)
#define QUERY_POINTS_MAX  11000
#define WRITE_BYTES_MAX   (32u << 20)

extern const struct route metrics_routes[];
extern const struct node_ops metrics_tree;
void metrics_render(void *self, struct web_request *req, int err, struct web_response *resp);

#endif
