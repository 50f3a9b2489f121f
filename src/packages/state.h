/* state.h: the insides of the packages domain.
 *
 * Partitions and keys (see README.md):
 *   packages             <project>            display name; is it only a folder
 *   packages/<project>   <file>               one record (record.c)
 *                        .status              how it stands (status.c)
 *                        .as/<spelling>       a file that is spelled in another way (spelling.c)
 *   packages/.reclaim    <deadline><id>       blobs to let go of then, unless a file has that id */
#ifndef PACKAGES_STATE_H
#define PACKAGES_STATE_H

#include "packages/packages.h"

#include <pthread.h>

#define INDEX_PARTITION   "packages"
#define RECLAIM_PARTITION "packages/.reclaim"
#define MIRROR_PREFIX     ".mirror/" /* of projects that come from the mirror (mirror.c) */
#define PARTITION_MAX     (sizeof "packages/" + PROJECT_NAME_MAX)
/* In a project's partition: its status sorts before its files, whose names begin with a digit or a
 * letter. */
#define STATUS_KEY ".status"
#define FIRST_FILE "0"

struct contents;
struct mirror;
struct pages;

struct packages {
    struct domain_env env;
    struct store *store;
    struct pages *pages;
    struct contents *contents;
    struct mirror *mirror;                /* NULL: there is none */
    uint64_t published, refused, deleted; /* since start; atomic */
    bool any_status;                      /* atomic: some project has one; else nobody need look */
    bool index_behind; /* atomic: a row could not be written; mend it when there is time */
    pthread_t reclaimer;
    bool has_reclaimer;
    pthread_mutex_t trash_lock; /* one at a time settles or restores; held over commits */
    pthread_mutex_t lock;       /* guards: closing */
    pthread_cond_t wake;
    bool closing;
};

/* "packages/<project>". Returns text. */
static inline struct slice project_partition(const char *project, char text[PARTITION_MAX])
{
    size_t len = strlen(project);

    memcpy(text, "packages/", 9);
    memcpy(text + 9, project, len + 1);
    return slice_of(text, 9 + len);
}

/* Records. */
void record_encode(const struct package_file *f, struct buf *out); /* without project and name */
/* Into the op. -EIO, with a reason, if it is not what encode writes. */
int record_decode(struct op *op, const char *project, const char *name, struct slice row,
                  struct package_file *ret);

/* At start: is there any project that has one? */
int status_look(struct packages *pk, const char *project);

/* Makes the index row of a project what its files say. `keep`: a project that has none stays, as an
 * empty folder. Notes the tree's changes in op. */
int index_derive(struct op *op, struct packages *pk, const char *project, bool keep);
/* The same where it may fail: the answer stands, and the index is mended later. */
void index_follow(struct op *op, struct packages *pk, const char *project, bool keep);
/* Mends the index after a crash: each project with files has its row, others none. */
int index_mend(struct packages *pk);

/* Names that differ only in how they are spelled are one (spelling.c). The batch publishes f, or
 * deletes it; a publication fails with -EAGAIN if another spelling is there. */
void spelling_take(struct store_batch *batch, const struct package_file *f);
void spelling_leave(struct store_batch *batch, const struct package_file *f);
/* -EEXIST, with a reason: another spelling of it is there. */
int spelling_check(struct op *op, struct packages *pk, const struct package_file *f);

/* Notes in op every node of the tree that shows this file. */
void changed_file(struct op *op, const char *project, const char *file);

/* The journal of blobs that may have to be let go of. `deadline` also names the row. */
enum reclaim_cause { RECLAIM_PUBLISHING = 'p', RECLAIM_DELETED = 'd' }; /* on disk */
int reclaim_note(struct packages *pk, enum reclaim_cause cause, const struct package_file *f,
                 int64_t deadline_unix_ms);
/* Every row of a deletion; f's non-zero result ends it and is returned. The file is in the op. */
int reclaim_each_deleted(struct op *op, struct packages *pk,
                         int (*f)(void *ctx, const struct package_file *file,
                                  int64_t deadline_unix_ms),
                         void *ctx);
void reclaim_forget(struct packages *pk, const struct package_file *f, int64_t deadline_unix_ms);
int reclaim_hold(struct packages *pk, const struct package_file *f);
void reclaim_release(struct packages *pk, const struct package_file *f);
int reclaim_start(struct packages *pk);
void reclaim_stop(struct packages *pk);

#endif
