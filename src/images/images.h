/* images.h: the rules of the images domain: repositories with tags, manifests, referrers and links
 * to blobs. Knows neither HTTP nor the tree; both call it.
 *
 * Rights are the caller's business (identity_check on "images/<repo>"); `repo` is a valid name
 * (images_check_name) and `d` a parsed digest. Every call returns 0 or a negative errno with the
 * reason in the op:
 *   -ENXIO    the repository is not known        -ENOENT  what was asked for is not in it
 *   -EDOM     not a valid repository name or tag -EILSEQ  not a valid digest
 *   -EINVAL   not a valid manifest or chunk      -EBADMSG the content differs from its digest
 *   -ENODATA  a manifest needs a blob that the repository does not have
 *   -EFBIG    above a limit                      -ERANGE  a chunk out of order
 *   -EBUSY    another request uses the upload; a manifest that has tags
 * Reads see one row or one scan; changes are compare-and-set on the rows they depend on, so no lock
 * is held while a commit waits. Any thread. */
#ifndef IMAGES_IMAGES_H
#define IMAGES_IMAGES_H

#include "domain.h"
#include "images/manifest.h"
#include "images/reference.h"
#include "op/op.h"
#include "store/blob.h"

struct images;

#define IMAGES_PAGE_MAX            10000u /* entries of a list in one answer */
#define IMAGES_TAGS_PER_PUSH_MAX   100u   /* ?tag= */
#define IMAGES_REFERRERS_BYTES_MAX (3u << 20)

int images_open(const struct domain_env *env, void **ret_self, struct buf *why);
void images_stopping(void *self);
void images_close(void *self);
int images_tidy(void *self, struct op *op, bool dry_run, struct buf *out);

int images_check_name(struct op *op, const char *repo);
int images_parse_reference(struct op *op, const char *text, struct reference *ret);
int images_parse_digest(struct op *op, const char *text, struct digest *ret);
/* 0, or -ENXIO. */
int images_check_repo(struct op *op, struct images *im, const char *repo);

/* A number that changes when anything in the repository changes (other repositories may share it):
 * what was read after it was read is valid as long as it stands. */
uint64_t images_generation(struct images *im, const char *repo);

/* Manifests. */
struct manifest_view {
    struct digest digest;
    const char *media_type; /* in the op */
    uint64_t size_bytes;
    int64_t pushed_unix_ms;
    bool is_index;
    struct slice bytes; /* in the op; empty if it is a blob */
    struct blob *blob;  /* the caller closes it; NULL: see bytes */
};
int manifest_get(struct op *op, struct images *im, const char *repo, const struct reference *ref,
                 struct manifest_view *ret);
/* The same without the bytes, and without opening a blob. */
int manifest_stat(struct op *op, struct images *im, const char *repo, const struct digest *d,
                  struct manifest_view *ret);
/* The bytes of either kind, in the op. */
int manifest_bytes(struct op *op, struct manifest_view *view, struct slice *ret);

struct manifest_push {
    const struct reference *ref;
    const char *content_type; /* NULL: as the bytes say */
    struct slice bytes;
    const char *const *tags; /* more tags for it */
    size_t n_tags;
    bool mirrored;         /* its blobs come later, when they are pulled */
    bool may_move;         /* tags that are there may move; else -EEXIST */
    struct digest digest;  /* out */
    bool has_subject;      /* out */
    struct digest subject; /* out */
};
int manifest_put(struct op *op, struct images *im, const char *repo, struct manifest_push *push);
enum manifest_delete_flags { MANIFEST_KEEP_TAGGED = 1 /* -EBUSY if a tag points at it */ };
/* Its tags and referrer entries go with it; its blobs lose their need of being kept. */
int manifest_delete(struct op *op, struct images *im, const char *repo, const struct digest *d,
                    unsigned flags);
/* Every manifest in digest order; f's non-zero result ends it and is returned. */
int manifest_each(struct op *op, struct images *im, const char *repo,
                  int (*f)(void *ctx, const struct manifest_view *view), void *ctx);

/* Tags. */
int tag_get(struct op *op, struct images *im, const char *repo, struct slice tag,
            struct digest *ret, int64_t *ret_changed_unix_ms);
/* Points a tag at a manifest of the repository; -EEXIST if `fresh` and there is such a tag. */
int tag_put(struct op *op, struct images *im, const char *repo, const char *tag,
            const struct digest *d, bool fresh);
int tag_delete(struct op *op, struct images *im, const char *repo, const char *tag);
int tag_rename(struct op *op, struct images *im, const char *repo, const char *from, const char *to,
               bool fresh);
struct tag_view {
    struct slice name; /* lent until f returns */
    struct digest manifest;
    int64_t changed_unix_ms;
};
/* Removes a tag while it is as it was seen; -EAGAIN: it has moved. */
int tag_delete_exact(struct op *op, struct images *im, const char *repo,
                     const struct tag_view *tag);
/* Tags behind `last` ("": from the first) in byte order, through f; its non-zero result ends it and
 * is returned. */
int tag_each(struct op *op, struct images *im, const char *repo, const char *last,
             int (*f)(void *ctx, const struct tag_view *tag), void *ctx);
bool tag_exists_for(struct op *op, struct images *im, const char *repo, const struct digest *d);

/* Repositories at or behind `from` in byte order. f may set *seek to a name to go on from. */
int repo_each(struct op *op, struct images *im, const char *from,
              int (*f)(void *ctx, const char *repo, const char **seek), void *ctx);
/* Removes an empty one; -ENOTEMPTY. */
int repo_delete(struct op *op, struct images *im, const char *repo);

/* Referrers of a subject behind `last` (NULL: from the first), as JSON of their descriptors. */
int referrer_each(struct op *op, struct images *im, const char *repo, const struct digest *subject,
                  const struct digest *last,
                  int (*f)(void *ctx, const struct digest *d, struct slice json), void *ctx);

/* Blobs, as the repository has them. */
int link_get(struct op *op, struct images *im, const char *repo, const struct digest *d,
             uint64_t *ret_size_bytes);
/* Takes a sealed blob into the repository; until a manifest needs it, for a day. -ENOENT: it was
 * reaped. */
int link_put(struct op *op, struct images *im, const char *repo, const struct digest *d,
             uint64_t size_bytes);
/* Somebody counts on a blob that he found here: it stays for at least half a day more. */
void link_touch(struct op *op, struct images *im, const char *repo, const struct digest *d);
/* Every blob of the repository in digest order; f's non-zero result ends it and is returned. */
int link_each(struct op *op, struct images *im, const char *repo,
              int (*f)(void *ctx, const struct digest *d, uint64_t size_bytes), void *ctx);
int link_delete(struct op *op, struct images *im, const char *repo, const struct digest *d);
/* A repository that has the blob and that the op's caller may read, in the op; or NULL. */
const char *link_find(struct op *op, struct images *im, const struct digest *d,
                      uint64_t *ret_size_bytes);
/* Drops links whose time is over; appends how many. Called by the domain's own thread. */
int links_sweep(struct images *im, int64_t now_unix_ms, uint64_t *ret_dropped);
/* The same in one repository. */
int links_sweep_repo(struct images *im, const char *repo, int64_t now_unix_ms);
/* Releases holds of an earlier life that no row names; a walk over all blobs. 0: all were seen. */
int links_mend(struct images *im);

#endif
