/* scraper_internal.h: for scraper.c and scraper_config.c. */
#ifndef METRICS_SCRAPE_SCRAPER_INTERNAL_H
#define METRICS_SCRAPE_SCRAPER_INTERNAL_H

#include "metrics/scrape/http_sd.h"
#include "metrics/scrape/push.h"
#include "metrics/scrape/scraper.h"

#include "base/scope.h"

struct scraper {
    struct scraper_options options;
    char *file;
    CURLM *multi; /* the thread's */
    pthread_t thread;
    bool running;
    int notify; /* inotify on the folder of the file; -1: none */

    pthread_mutex_t reload; /* one change of the configuration at a time; taken before lock */
    pthread_mutex_t lock;   /* guards: all below */
    bool stopping;
    struct jobs *jobs;
    struct target_groups *extra; /* for each job, of its files */
    struct http_sources sources;
    bool sources_changed; /* atomic: what they say is not in force yet */
    struct pushes pushes;
    struct targets targets;
    struct target **heap; /* those not under way, by due_ms */
    size_t n_heap, cap_heap;
    struct targets gone;         /* removed: their stale markers are still to be written */
    char *folder;                /* of the file */
    char **included;             /* patterns of scrape_config_files, or NULL; under reload */
    uint64_t file_mark, sd_mark; /* what the files looked like when they were read */
    int64_t checked_ms;
    int64_t settling_ms;   /* monotonic: since when a file is being written; 0: none is */
    int64_t complained_ms; /* monotonic */
    int64_t clock_ms;      /* the wall clock less the monotonic one, when it was looked at last */
    bool reload_ok;
    int64_t reloaded_ms;
    char error[512];
};

/* scraper.c: under the lock */
void scraper_set_targets(struct scraper *s, struct targets *fresh, struct http_sources *sources);
/* scraper_config.c */
void config_check(struct scraper *s, bool now); /* without the lock */
int config_wait_ms(const struct scraper *s);    /* until the next check, at most */
void config_done(struct scraper *s);
int config_watch(const char *file); /* an inotify descriptor, or -1 */

/* scraper_push.c: counts the pushes that are due; when the next one is. Under the lock. */
int64_t push_due(struct scraper *s);
void push_clock_was_set(struct scraper *s); /* under the lock: all count again at once */

#endif
