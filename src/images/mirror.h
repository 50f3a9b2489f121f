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
/* The daemon ends: what stalls is broken off at once, the rest soon. */
void mirrors_stop(struct mirrors *ms);
void mirrors_free(struct mirrors *ms); /* waits for what is under way to end */

/* Whose repository it is; NULL: our own. */
struct mirror *mirror_of(struct images *im, const char *repo);

/* The repository that a client means by a name it pulls, in the op. `ns` is the registry that it
 * believes the name to be of (containerd's hosts.toml), or NULL; a mirror that is the default
 * stands for names that nobody has here (docker's registry-mirrors, which do not say). */
const char *mirror_meant(struct op *op, struct images *im, const char *repo, const char *ns);

/* Makes the manifest be here as it is there. 0: look here; -ENOENT: there is none there;
 * -EHOSTUNREACH: there is no answer and nothing is kept here. */
int mirror_manifest(struct op *op, struct images *im, struct mirror *m, const char *repo,
                    const struct reference *ref);
/* Is a tag here that need not be asked for again? Never waits. */
bool mirror_is_fresh(struct mirror *m, const char *repo, const char *tag);
/* The tags that there are there and here, sorted, in the op. While the other registry does not
 * answer: those that it had when it last did, and those here. -ENXIO: the repository is in neither;
 * -EHOSTUNREACH: nothing is known of it. */
int mirror_tags(struct op *op, struct images *im, struct mirror *m, const char *repo,
                const char *const **ret, size_t *ret_n);
/* Need it not be asked for them? Never waits. */
bool mirror_tags_are_fresh(struct op *op, struct mirror *m, const char *repo);
/* A blob that is not here: 0 and *ret NULL: it is now; else a file that is read while it comes. */
int mirror_blob(struct op *op, struct images *im, struct mirror *m, const char *repo,
                const struct digest *d, struct node_file **ret);
/* The size of a blob that is not here, without taking it in. */
int mirror_blob_size(struct op *op, struct mirror *m, const char *repo, const struct digest *d,
                     uint64_t *ret_size_bytes);

#endif
