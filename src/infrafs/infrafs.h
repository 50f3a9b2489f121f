/* infrafs.h: the domain of the daemon itself: users, policies, status, its own metrics, and the
 * reaper of blobs. Private to src/infrafs/. */
#ifndef INFRAFS_INFRAFS_H
#define INFRAFS_INFRAFS_H

#include "config.h"
#include "domain.h"
#include "identity/identity.h"
#include "store/blob.h"

#include <pthread.h>

struct scrub;

struct infrafs {
    struct domain_env env;
    pthread_t reaper;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    bool started, stop;
    struct blob_reaped last;      /* what the last run found */
    bool last_was_dry;
    int last_result;
    int64_t last_unix_ms;         /* 0: none yet */
    struct blob_reaped total;     /* freed since the start */
    struct buf last_lines;        /* what the domains said of the last run that was asked for */
    struct scrub *scrub;
};

/* reaper.c: "run" or "dry-run" now; the state as text. */
int reaper_start(struct infrafs *self);
void reaper_stop(struct infrafs *self);
int reaper_run(struct infrafs *self, struct op *op, bool dry_run);
void reaper_print(struct infrafs *self, struct buf *out);

/* backup.c: copies of the store, of one moment, in DATA/backups/NAME. */
int backup_make(struct infrafs *self, struct op *op, struct slice name);
void backup_print(struct infrafs *self, struct buf *out); /* those that are there, one a line */
/* scrub.c: reads what is stored and compares digests, at a limited rate. */
int scrub_start(struct infrafs *self);
void scrub_stop(struct infrafs *self); /* it goes on there at the next start */
int scrub_command(struct infrafs *self, struct op *op, struct slice word); /* "run", "stop" */
void scrub_print(struct infrafs *self, struct buf *out);
void scrub_metrics(struct infrafs *self, struct buf *out);

/* report.c */
void report_status(struct infrafs *self, struct buf *out);  /* lines for a person */
void report_metrics(struct infrafs *self, struct buf *out); /* exposition format 0.0.4 */
/* Does the store answer? 0, or a negative errno with a reason in why. */
int report_health(struct infrafs *self, struct buf *why);

extern const struct node_ops infrafs_tree;
extern const struct route infrafs_routes[];

#endif
