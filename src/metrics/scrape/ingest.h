/* ingest.h: from the body of a scrape to samples in the database. One thread per target at a time.
 */
#ifndef METRICS_SCRAPE_INGEST_H
#define METRICS_SCRAPE_INGEST_H

#include "metrics/exemplars.h"
#include "metrics/scrape/metadata.h"
#include "metrics/scrape/target.h"

struct scrape {
    int64_t ts_ms;  /* of the samples without a time of their own */
    int64_t now_ms; /* later ones than 10 minutes after this are dropped */
    double duration_s;
    struct slice body;
    int64_t body_bytes;       /* -1: over its limit */
    const char *content_type; /* NULL: none */
    const char *error;        /* the body was not had; NULL: it was */
};

struct ingest_into {
    struct db *db;
    struct metadata *metadata;
    struct exemplars *exemplars; /* NULL: they are dropped */
    bool starts;                 /* a counter begins with a zero where its start is told */
};

/* Parses and appends: the samples, stale markers of what is gone, and the report on the scrape. A
 * body with an error in it counts as empty. Updates health, last_error and counts of the target. 0,
 * or the errno of the database: then nothing was kept. */
int ingest(struct target *t, const struct ingest_into *into, const struct scrape *scrape);
/* The target is gone: stale markers for all that it had. */
void ingest_end(struct target *t, struct db *db, int64_t ts_ms);

#endif
