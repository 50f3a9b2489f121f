/* rules_internal.h: for rules.c and rules_files.c. */
#ifndef METRICS_RULES_RULES_INTERNAL_H
#define METRICS_RULES_RULES_INTERNAL_H

#include "base/scope.h"
#include "metrics/rules/rules.h"
#include "metrics/scrape/scraper.h"

#include <stdatomic.h>

struct pool;

struct rules {
    struct rules_options options;
    char *folder, *config_file, *external_url;
    struct notifier *notifier;
    struct pool *pool;
    pthread_t thread;
    bool started;
    atomic_ullong evaluations, failures;

    pthread_mutex_t reload; /* one reading of the files at a time; taken before lock */
    uint64_t mark;          /* under reload: what the files looked like when they were read */

    pthread_mutex_t lock; /* guards: all below; taken before a group's */
    pthread_cond_t moved; /* a group was evaluated, or the end has come */
    bool stopping, paused;
    struct jobs *config;
    struct group_state **groups;
    size_t n;
    char *error; /* of files that were refused; NULL */
};

void group_state_free(struct group_state *g);
int64_t group_next_due(const struct group_state *g, int64_t now_ms);
/* rules_files.c: as rules_refresh(), but leaves files that are still being written for later. */
void rules_check(struct rules *r);

#endif
