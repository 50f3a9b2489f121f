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
    bool too_large, damaged;
    struct fetch_gzip *gzip; /* NULL: not coded, or nothing of it has come */
    int64_t ts_ms;    /* by the wall clock */
    int64_t start_ns; /* monotonic */
    int64_t within_ms; /* it may take so long */
    char error[CURL_ERROR_SIZE];
};

/* Ready to be added to a multi handle. NULL with a reason in why, if a file of a password cannot be
 * read. */
struct fetch *fetch_new(struct target *t, uint64_t body_bytes_max, struct buf *why);
/* So much of its time went by while nobody could take an answer. */
void fetch_forgive(struct fetch *f, int64_t ms);
void fetch_free(struct fetch *f);
/* What came of it, for ingest; strings in why, body and type are the fetch's. */
void fetch_result(struct fetch *f, CURLcode code, struct buf *why, struct scrape *ret);

/* fetch_gzip.c: an answer that is coded. A piece of it, decoded, goes to take, in parts; -EIO if it is
 * damaged, -EFBIG if take refuses. Behind the last it is whole, or was cut. */
typedef bool fetch_taker(struct fetch *f, const char *data, size_t n);
bool fetch_is_gzip(const struct fetch *f);
int fetch_gzip_take(struct fetch *f, const char *data, size_t n, fetch_taker *take);
bool fetch_gzip_whole(const struct fetch *f);
void fetch_gzip_free(struct fetch *f);

#endif
