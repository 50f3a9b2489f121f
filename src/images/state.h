/* state.h: what the files of the domain share. */
#ifndef IMAGES_STATE_H
#define IMAGES_STATE_H

#include "base/pool.h"
#include "config.h"
#include "images/images.h"
#include "images/rows.h"

#include <pthread.h>

struct page_cache;
struct rootfs;
struct uploads;

#define GENERATIONS  1024u
#define RETRIES      32 /* of a compare-and-set that lost */
#define LINK_IDLE_MS (24 * 3600 * INT64_C(1000))

struct images {
    struct store *store;
    const struct config *config;
    struct feed *feed;
    struct store_watch *watch;
    struct page_cache *pages;
    struct uploads *uploads;
    struct rootfs *rootfs;
    uint64_t life;                     /* the upper half of this process's nonces */
    uint32_t nonces;                   /* atomic: the lower half */
    uint64_t generations[GENERATIONS]; /* atomic; by hash of the partition */

    pthread_t janitor;
    pthread_mutex_t lock; /* guards: stopping */
    pthread_cond_t wake;
    bool stopping;
};

uint64_t images_nonce(struct images *im);
/* A row's value into the op. -ENOENT without a reason. */
int images_row(struct op *op, struct images *im, struct slice part, struct slice key,
               struct slice *ret);
/* The repository has come into being, as far as the lists know. */
int repo_note(struct op *op, struct images *im, const char *repo);
/* Notes for the front ends that a tag, or a manifest, came, went or changed. */
void tag_changed(struct op *op, const char *repo, const char *tag);
void manifest_changed(struct op *op, const char *repo, const struct digest *d);
void repo_changed(struct op *op, const char *repo);
void referrer_changed(struct op *op, const char *repo, const struct digest *subject,
                      const struct digest *d);
/* Says which damaged row it is; returns -EIO. */
int images_damaged(struct op *op, const char *repo, const char *what);

#endif
