/* target.h: one thing to scrape: where it is, how it is labelled, what is known of it. */
#ifndef METRICS_SCRAPE_TARGET_H
#define METRICS_SCRAPE_TARGET_H

#include "metrics/scrape/cache.h"
#include "metrics/scrape/jobs.h"

#include <uthash.h>

enum target_health { TARGET_UNKNOWN, TARGET_UP, TARGET_DOWN };

enum target_report {
    REPORT_UP,
    REPORT_DURATION,
    REPORT_SCRAPED,
    REPORT_POST_RELABEL,
    REPORT_ADDED,
    REPORT_TIMEOUT, /* these three with extra_scrape_metrics */
    REPORT_SAMPLE_LIMIT,
    REPORT_BODY_BYTES,
    REPORTS,
};
#define REPORTS_ALWAYS 5

struct fetch;
struct target {
    struct jobs *jobs; /* a reference */
    const struct job *job;
    struct pairs labels;     /* of its series: sorted, none empty, job and instance among them */
    struct pairs discovered; /* before relabeling, sorted */
    char *url;
    char *key; /* all that it depends on: two of the same key are the same target */
    int64_t interval_ms, timeout_ms, offset_ms;

    int64_t due_ms;
    struct fetch *fetch; /* a scrape under way; or NULL */
    bool removed;
    bool over_limit; /* the job has more targets than target_limit: none of them is scraped */

    struct cache cache;
    uint32_t report_refs[REPORTS]; /* SERIES_NONE: not made yet */
    bool note_metadata;
    uint64_t scrapes;

    enum target_health health;
    char *last_error; /* NULL: none */
    int64_t last_scrape_ns;
    double last_duration_s;
    uint64_t last_samples;
    UT_hash_handle hh; /* in targets.by_key */
};

struct targets {
    struct target **items;
    size_t n, cap;
    struct target *by_key;
    struct dropped {
        const struct job *job;
        struct pairs discovered;
    } * dropped;
    size_t n_dropped;
};

/* All targets of the configuration, fresh; `extra` holds for each job the groups of its files. */
void targets_build(struct jobs *jobs, const struct target_groups *extra, struct targets *ret);
void targets_done(struct targets *t); /* with the targets in it */
void target_free(struct target *t);
const char *pairs_get(const struct pairs *p, const char *name); /* NULL */

#endif
