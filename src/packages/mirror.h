/* mirror.h: names that the team does not have, from another index, kept here as they are asked for.
 *
 * Only with packages.mirror and for names on packages.mirror_allow. A name of the team's never
 * comes from there, nor does one that was the team's (its empty folder keeps it). Pages are asked
 * for again after packages.mirror_refresh, by ETag; while the index behind does not answer, what is
 * kept is served. Any thread; calls that say so wait for the network. */
#ifndef PACKAGES_MIRROR_H
#define PACKAGES_MIRROR_H

#include "packages/packages.h"

struct buf;
struct mirror;
struct download;

/* *ret is NULL where none is configured. */
int mirror_new(struct packages *pk, struct mirror **ret, struct buf *why);
void mirror_free(struct mirror *m); /* ends what is under way; NULL is fine */

/* May this project come from the mirror? Asks the rows, not the network. */
bool mirror_covers(struct op *op, struct packages *pk, const char *project);
/* Makes what is kept of a project fresh, if need be. Waits. `via`: the Via header of who asks, or
 * NULL. -ENOENT: there is no such project there either. *ret_until_ms: on the monotonic clock,
 * until when it is fresh. */
int mirror_refresh(struct op *op, struct packages *pk, const char *project, const char *via,
                   int64_t *ret_until_ms);
/* Every file that its page lists, as package_each. */
int mirror_each(struct op *op, struct packages *pk, const char *project,
                int (*f)(void *ctx, const struct package_file *file), void *ctx);
/* A file by its name, if op's caller may read it. Waits. -ENOENT. */
int mirror_find(struct op *op, struct packages *pk, const char *file, const char *via,
                struct package_file *ret);
/* Makes sure that the file's core metadata is stored. Waits. */
int mirror_metadata(struct op *op, struct packages *pk, const struct package_file *f,
                    const char *via);
/* The file's content. Waits until it is all here (*ret NULL: open the blob), or, unless `whole`,
 * until enough of it is on the way to be passed on: then *ret is new. */
int mirror_content(struct op *op, struct packages *pk, const struct package_file *f,
                   const char *via, bool whole, struct download **ret);
/* What `generate` and `wait` of a response need; ctx is the download. One reader for each. */
ssize_t download_read(void *ctx, char *buf, size_t max);
void download_wait(void *ctx);
void download_close(void *ctx);

/* A file, or its core metadata, is answered from what is kept: it stays for longer. */
void mirror_asked(struct packages *pk, const struct package_file *f, bool metadata);
/* Lets go of what packages.mirror_keep and mirror_size say, as a domain's tidy; `out` may be NULL.
 */
int mirror_tidy(struct op *op, struct packages *pk, bool dry_run, struct buf *out);

void mirror_metrics(const struct mirror *m, struct buf *out); /* NULL is fine */

#endif
