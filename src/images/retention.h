/* retention.h: what may go by rule (images.retention): tags beyond those a rule keeps, then
 * manifests that no tag, no index and no subject leads to. Blobs follow by themselves. */
#ifndef IMAGES_RETENTION_H
#define IMAGES_RETENTION_H

#include "images/images.h"

struct retention_count {
    uint64_t tags, manifests;
    uint64_t bytes; /* of blobs that nothing else needs then */
};
/* Appends a line for each thing to `out` (NULL: none). With dry_run only says what would go. Safe
 * beside pushes: what comes into use meanwhile stays. */
int retention_run(struct op *op, struct images *im, bool dry_run, struct buf *out,
                  struct retention_count *ret);

/* retention_tags.c. Deletes the tags of one repository that no rule keeps, or with dry_run only
 * says which; what each points at is told to `each`. */
struct retention_tags {
    const char *repo;
    bool dry_run;
    struct buf *out;   /* NULL: no lines */
    uint64_t *deleted; /* is added to */
    void (*each)(void *ctx, const struct digest *d, bool stays);
    void *ctx;
};
int retention_tags(struct op *op, struct images *im, const struct retention_tags *what);
/* The time since which a manifest's tags have not been pulled: when it was, or came here. */
int64_t retention_last_pull(struct images *im, const char *repo, const struct digest *d,
                            int64_t pushed_unix_ms);

#endif
