/* mirror.h: repositories that are another registry's (images.mirrors), kept here as they are
 * pulled. A manifest is asked for again when its tag is no longer fresh; while the other registry
 * does not answer, what is kept is served. Calls wait; any thread. */
#ifndef IMAGES_MIRROR_H
#define IMAGES_MIRROR_H

#include "images/images.h"
#include "node.h"

struct mirrors;
struct mirror;

struct mirrors *mirrors_new(struct images *im); /* returns new */
void mirrors_free(struct mirrors *ms);          /* ends what is under way */

/* Whose repository it is; NULL: our own. */
struct mirror *mirror_of(struct images *im, const char *repo);

/* Makes the manifest be here as it is there. 0: look here; -ENOENT: there is none there;
 * -EHOSTUNREACH: there is no answer and nothing is kept here. */
int mirror_manifest(struct op *op, struct images *im, struct mirror *m, const char *repo,
                    const struct reference *ref);
/* Is a tag here that need not be asked for again? Never waits. */
bool mirror_is_fresh(struct mirror *m, const char *repo, const char *tag);
/* A blob that is not here: 0 and *ret NULL: it is now; else a file that is read while it comes. */
int mirror_blob(struct op *op, struct images *im, struct mirror *m, const char *repo,
                const struct digest *d, struct node_file **ret);
/* The size of a blob that is not here, without taking it in. */
int mirror_blob_size(struct op *op, struct mirror *m, const char *repo, const struct digest *d,
                     uint64_t *ret_size_bytes);

#endif
