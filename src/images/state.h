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
struct used;
struct hooks;
struct mirrors;

#define GENERATIONS  1024u
#define RETRIES      100 /* of a compare-and-set that lost */
#define TURNS        64u
#define LINK_IDLE_MS (24 * 3600 * INT64_C(1000))

/* Who lost twice makes its next tries alone among the losers of its repository, else one of many that
 * change one row at once might lose for ever. */
struct turn {
    pthread_mutex_t lock; /* guards: taken */
    pthread_cond_t given_back;
    bool taken;
};

struct images {
    struct store *store;
    const struct config *config;
    struct feed *feed;
    struct identities *identities;
    struct store_watch *watch;
    struct page_cache *pages;
    struct uploads *uploads;
    struct rootfs *rootfs;
    struct used *used;
    struct hooks *hooks;
    struct mirrors *mirrors;
    uint64_t life;                     /* the upper half of this process's nonces */
    uint32_t nonces;                   /* atomic: the lower half */
    uint64_t generations[GENERATIONS]; /* atomic; by hash of the partition */

    struct turn turns[TURNS]; /* by hash of the partition */
    bool clean; /* the last life ended in order */
    bool held;  /* atomic: a hold could not be released, and waits for links_mend() */

    pthread_t janitor;
    pthread_mutex_t lock; /* guards: stopping */
    pthread_cond_t wake;
    bool stopping;
};

/* The blobs that a manifest needs, each once, in the op. An index needs manifests, which may be
 * missing (a sparse index), and no blobs. */
struct digest *manifest_needs(struct op *op, const struct manifest *m, size_t *ret_n);
/* Gives up the hold on a manifest that is a blob; nonce 0: it is none. */
void manifest_release(struct images *im, const char *repo, const struct digest *d, uint64_t nonce);

/* A manifest's mark, which changes when a tag leaves it or an index comes to list it: what
 * retention took for unused it only deletes while the mark stands (touch.c). */
struct touch {
    int64_t unix_ms; /* 0: there is no mark */
    struct slice row;
};
int touch_get(struct op *op, struct images *im, struct slice part, const struct digest *d,
              struct touch *ret);
void touch_put(struct images *im, struct store_batch *batch, const struct digest *d);
/* The tag is about to point at `to` (NULL: to go): where it pointed is touched. */
int touch_left(struct op *op, struct images *im, struct slice part, const char *tag,
               const struct digest *to, struct store_batch *batch);
/* Deletes a manifest without tags, if its mark is still what it was; else -EAGAIN. */
int manifest_delete_unused(struct op *op, struct images *im, const char *repo,
                           const struct digest *d, const struct touch *mark);

/* At the head of each try of a compare-and-set; `turn` is begun as NULL, and ended by its scope. */
void retry_in_turn(struct images *im, struct slice part, unsigned tries, struct turn **turn);
void retry_turn_end(struct turn **turn);
#define autoturn __attribute__((cleanup(retry_turn_end))) struct turn *

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
