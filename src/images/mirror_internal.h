/* mirror_internal.h: what mirror.c and mirror_fetch.c share. */
#ifndef IMAGES_MIRROR_INTERNAL_H
#define IMAGES_MIRROR_INTERNAL_H

#include "base/pool.h"
#include "images/mirror.h"
#include "images/state.h"
#include "images/upstream.h"

#include <uthash.h>

#define FETCHES_MAX 16 /* blobs that come in at once */

struct fetch;
struct fresh;
struct tag_list;

struct mirror {
    struct mirrors *home;
    const struct config_mirror *config;
    struct upstream *upstream;
    pthread_mutex_t lock; /* guards: fresh, tags */
    struct fresh *fresh;
    struct tag_list *tags;
};

struct mirrors {
    struct images *im;
    struct mirror *list;
    size_t n;
    struct pool *pool;
    pthread_mutex_t lock; /* guards: fetches */
    struct fetch *fetches;
};

/* The repository's name there, in the op. */
const char *mirror_repo_there(struct op *op, const struct mirror *m, const char *repo);
/* Says why it failed, and logs it; returns -EHOSTUNREACH. */
int mirror_failed(struct op *op, const struct mirror *m, const char *repo, const char *why,
                  long status);

/* How long an answer about a tag is good. */
int64_t mirror_fresh_ms(const struct mirror *m);
/* mirror_tags.c: forgets the lists; with the lock held, or alone. */
void mirror_tags_forget(struct mirror *m);

#endif
