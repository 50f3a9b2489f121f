/* fetch.h: one HTTP request for a target, as Prometheus sends it; by libcurl. */
#ifndef METRICS_SCRAPE_FETCH_H
#define METRICS_SCRAPE_FETCH_H

#include "metrics/scrape/ingest.h"

#include <curl/curl.h>

struct fetch {
    struct target *target; /* borrowed */
    CURL *curl;
    struct curl_slist *headers, *connect_to;
    struct buf body;
    uint64_t limit_bytes;
    bool too_large;
    int64_t ts_ms;    /* by the wall clock */
    int64_t start_ns; /* monotonic */
    char error[CURL_ERROR_SIZE];
};

/* Ready to be added to a multi handle. NULL with a reason in why, if a file of a password cannot be
 * read. */
struct fetch *fetch_new(struct target *t, uint64_t body_bytes_max, struct buf *why);
void fetch_free(struct fetch *f);
/* What came of it, for ingest; strings in why, body and type are the fetch's. */
void fetch_result(struct fetch *f, CURLcode code, struct buf *why, struct scrape *ret);

#endif
