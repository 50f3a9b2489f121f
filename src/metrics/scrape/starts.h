/* starts.h: since when counters count, and summaries and histograms with them, as a body says it.
 * Where it is text, OpenMetrics' `_created` lines say it of the lines before them, which is matched
 * as Prometheus 3.16 does with created-timestamp-zero-ingestion. */
#ifndef METRICS_SCRAPE_STARTS_H
#define METRICS_SCRAPE_STARTS_H

#include "metrics/scrape/exposition.h"

struct start {
    uint32_t entry; /* of the cache */
    size_t sample;  /* of the scrape: ascending */
    int64_t start_ms, ts_ms;
    uint64_t key; /* of what waits for its line */
};

/* Zeroed is empty. */
struct starts {
    struct start *items;
    size_t n, cap;
    size_t known; /* so many have their start; those behind wait */
    uint64_t found_key;
    int64_t found_ms; /* of the last line that was of something; 0: none */
};
void starts_done(struct starts *s);
void starts_add(struct starts *s, const struct start *start);
/* The sample just read of a text became this. Its labels must have been read. */
void starts_sample(struct starts *s, const struct exposition *x, uint32_t entry, int64_t ts_ms,
                   size_t sample);
/* Is the sample just read such a line? Then it is no series. */
bool starts_created(struct starts *s, const struct exposition *x);
void starts_end_family(struct starts *s); /* another entry came: who waits has no start */

#endif
