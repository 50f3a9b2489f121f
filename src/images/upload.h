/* upload.h: blobs on their way in. A session is named by the id of its stage; one request at a time
 * has it. It is kept open between requests; when it rests for long, or the daemon stops, it is
 * suspended, and taken up again at the last whole part (store/blob.h).
 *
 * Errors as in images.h; -ENOENT: there is no such upload, or it is someone else's. */
#ifndef IMAGES_UPLOAD_H
#define IMAGES_UPLOAD_H

#include "images/images.h"

#define UPLOAD_ID_MAX    33 /* hex and NUL */
#define UPLOADS_OPEN_MAX 512u

struct uploads;
struct upload;

struct uploads *uploads_new(struct images *im); /* returns new */
void uploads_free(struct uploads *us);          /* suspends all; none is taken */
/* Suspends those that rest, to free their memory. */
void uploads_rest(struct uploads *us, int64_t now_monotonic_ms);
/* Drops those that nobody touched for a day. */
void uploads_sweep(struct uploads *us, int64_t now_unix_ms);
size_t uploads_open(struct uploads *us);

/* So many bytes come next. */
void image_upload_expect(struct upload *u, uint64_t more_bytes);
/* A new session, taken. `size_hint_bytes` 0: unknown. */
int image_upload_begin(struct op *op, struct images *im, const char *repo,
                       enum digest_algorithm algorithm, uint64_t size_hint_bytes,
                       struct upload **ret);
/* -EBUSY if another request has it. */
int image_upload_take(struct op *op, struct images *im, const char *repo, const char *id,
                      struct upload **ret);
/* How far it is; also while another request has it. */
int image_upload_stat(struct op *op, struct images *im, const char *repo, const char *id,
                      uint64_t *ret_size_bytes);
const char *image_upload_id(const struct upload *u);
uint64_t image_upload_size(const struct upload *u); /* bytes received */
int image_upload_write(struct op *op, struct upload *u, const void *bytes, size_t n);
/* A chunk is over: what of it is large enough to be worth it is made to survive a crash. On failure
 * the upload may have fallen back, which its size tells. */
int image_upload_rest(struct op *op, struct upload *u);
/* Gives it back, for the next request. */
void image_upload_give(struct upload *u);
/* Seals it and links it to its repository. Takes u, except at -EBADMSG. */
int image_upload_finish(struct op *op, struct upload *u, const struct digest *want);
void image_upload_drop(struct upload *u); /* takes it */

#endif
