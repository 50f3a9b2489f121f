/* http_sd.h: targets that a server names (http_sd_configs). Asked by the scraper's thread in
 * between the scrapes, as if it were a target. */
#ifndef METRICS_SCRAPE_HTTP_SD_H
#define METRICS_SCRAPE_HTTP_SD_H

#include "metrics/scrape/fetch.h"

struct http_source {
    struct target *asked; /* its job is the http_sd entry; due_ms and fetch as with any target */
    char *job_name;       /* whose targets these are */
    struct target_groups groups;
};
struct http_sources {
    struct http_source *items;
    size_t n;
};

/* Those of a configuration. What is in `old` too is moved from there, with its groups. */
void http_sources_build(struct jobs *jobs, struct http_sources *old, struct http_sources *ret);
void http_sources_done(struct http_sources *s);
/* An answer: 1: the groups changed; 0: not, or it is refused, for a reason in why. */
int http_source_take(struct http_sources *all, const struct target *asked,
                     const struct scrape *answer, struct buf *why);
/* Copies of the job's groups, behind what is there. */
void http_sources_groups(const struct http_sources *all, const char *job_name,
                         struct target_groups *ret);

#endif
