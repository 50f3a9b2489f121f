/* used.h: when manifests were last pulled. Noted in memory, written a few times an hour and not
 * synced: a crash may forget the last minutes. Any thread. */
#ifndef IMAGES_USED_H
#define IMAGES_USED_H

#include "base/digest.h"
#include "store/store.h"

#define USED_ENTRIES_MAX 65536u /* in memory; then they are written at once */
#define USED_NOTE_MS     60000  /* noting one manifest more often than this is of no use */

struct used;

struct used *used_new(struct store *store); /* borrows; returns new */
void used_free(struct used *u);             /* writes what is noted */
void used_note(struct used *u, const char *repo, const struct digest *d, int64_t now_unix_ms);
int used_flush(struct used *u);
/* 0: never, as far as is known. */
int64_t used_get(struct used *u, const char *repo, const struct digest *d);
/* Drops what is known of the repository's manifests that `gone` says are gone. */
int used_sweep(struct used *u, const char *repo,
               bool (*gone)(void *ctx, const struct digest *d), void *ctx);

#endif
