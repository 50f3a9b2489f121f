/* scraper.h: fetches from all targets on time, in one thread, and keeps to the configuration file.
 *
 * The file is watched: an edit of any kind is in force within a second, and only targets that
 * changed start anew. A file that is not valid changes nothing. */
#ifndef METRICS_SCRAPE_SCRAPER_H
#define METRICS_SCRAPE_SCRAPER_H

#include "metrics/scrape/ingest.h"

struct scraper;

struct scraper_options {
    const char *file;        /* prometheus.yml; need not exist: then nothing is scraped */
    uint64_t body_bytes_max; /* of one scrape, uncompressed */
    struct ingest_into into;
    int64_t push_age_ms; /* after which what was pushed is stale */
    struct store *store; /* of targets made in the tree, and of pushes */
    /* Called after a change of the configuration, from any thread; may be NULL. */
    void (*changed)(void *ctx);
    void *ctx;
};

int scraper_start(const struct scraper_options *options, struct scraper **ret, struct buf *why);
void scraper_stop(struct scraper *s);

/* Reads the file again now. -EINVAL with "line L, column C: reason" in why: the old one stays. */
int scraper_reload(struct scraper *s, struct buf *why);
/* Replaces the file by this text, if it is valid, and has it in force when it returns. */
int scraper_write(struct scraper *s, struct slice text, struct buf *why);
/* Reads what is not in the file again: files of targets, targets made in the tree. In force when it
 * returns. */
void scraper_refresh(struct scraper *s);
/* The file as it is; empty if there is none. -EFBIG, or the errno of reading it. */
int scraper_read(struct scraper *s, struct buf *ret);

/* Takes an exposition as a push of that name, durably. -EINVAL with a reason in why, -EFBIG. */
int scraper_push(struct scraper *s, const char *name, struct slice text, struct buf *why);
int scraper_push_drop(struct scraper *s, const char *name); /* -ENOENT */
struct pushes;
void scraper_look_pushes(struct scraper *s, void (*f)(void *ctx, const struct pushes *p),
                         void *ctx);

struct scraper_state {
    struct jobs *jobs; /* a reference: jobs_unref */
    bool reload_ok;
    int64_t reloaded_ms; /* the last good one */
    char error[512];     /* of the last reload that failed; "" */
};
void scraper_state(struct scraper *s, struct scraper_state *ret);
/* f looks at the targets, under the scraper's lock. */
void scraper_look(struct scraper *s, void (*f)(void *ctx, const struct targets *targets),
                  void *ctx);

#endif
