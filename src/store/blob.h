/* blob.h: immutable content under its digest. Staged, written, sealed; read in place; owned by
 * those who hold it; reaped online when nobody does. Every call returns 0 (or a count) or a
 * negative errno. */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include "base/digest.h"
#include "store/store.h"

#include <sys/uio.h>

struct blob_stage;
struct blob;

#define BLOB_STAGE_ID_BYTES 16

/* Stage: appended to by one thread at a time; its content is hashed on the way. */
int blob_stage_begin(struct store *s, enum digest_algorithm algorithm,
                     uint64_t size_hint_bytes /* 0: unknown */, struct blob_stage **ret);
const uint8_t *blob_stage_id(const struct blob_stage *stage); /* BLOB_STAGE_ID_BYTES, random */
uint64_t blob_stage_size(const struct blob_stage *stage);     /* bytes written */
/* So many more bytes are announced: where there is a choice, they are placed as befits their size. */
void blob_stage_expect(struct blob_stage *stage, uint64_t more_bytes);
int blob_stage_write(struct blob_stage *stage, const void *bytes, size_t n);
/* Makes what was written a resume point as far as the layout allows (whole parts), and lets go of
 * the handle without dropping the upload: blob_stage_resume opens it again, also after a restart.
 * The rest must be sent again from *ret_durable_bytes. */
int blob_stage_suspend(struct blob_stage *stage, uint64_t *ret_durable_bytes); /* takes it */
int blob_stage_resume(struct store *s, const uint8_t id[BLOB_STAGE_ID_BYTES],
                      struct blob_stage **ret,
                      uint64_t *ret_durable_bytes); /* -ENOENT, -EBUSY if open */
/* Reads back what was staged (for a digest of another algorithm, or to inspect an archive). */
ssize_t blob_stage_read(struct blob_stage *stage, uint64_t offset, void *buf, size_t n);
/* Finish under its own digest. Takes `stage`, on failure too, except -EBADMSG: then the stage is
 * still the caller's (a client may have named a wrong digest). Returns 0 also if the blob already
 * existed. `want` NULL: whatever it is; its algorithm may differ from the stage's, at the price of
 * reading the content again. Durable on return. */
int blob_seal(struct blob_stage *stage, const struct digest *want, struct digest *ret);
/* The same, but durable only with the caller's next durable commit, which carries it: for who makes
 * one anyway, so that an upload costs one sync. */
int blob_seal_early(struct blob_stage *stage, const struct digest *want, struct digest *ret);
void blob_stage_drop(struct blob_stage *stage); /* forget it and its bytes; NULL is fine */

/* Stage, write and seal in one: for content in memory. */
int blob_put(struct store *s, enum digest_algorithm algorithm, const void *bytes, size_t n,
             struct digest *ret);

struct blob_stat {
    uint64_t size_bytes;
    int64_t sealed_unix_ms;
    bool held; /* somebody owns it */
};
int blob_stat(struct store *s, const struct digest *d, struct blob_stat *ret); /* -ENOENT */

/* Open pins: a delete takes effect after the last close. */
int blob_open(struct store *s, const struct digest *d, struct blob **ret);
uint64_t blob_size(const struct blob *b);
const struct digest *blob_digest(const struct blob *b);
ssize_t blob_read(struct blob *b, uint64_t offset, void *buf,
                  size_t n);     /* short only at the end; -EIO if damaged */
void blob_close(struct blob *b); /* NULL is fine */

/* iovecs into the mapped file, for the KERNEL to read (writev, a FUSE reply): a bad disk then is
 * EFAULT there, not SIGBUS here. Our own code reads with blob_read. -ENOTSUP: this blob cannot be
 * lent (a small one), read it instead. */
struct blob_loan {
    struct iovec *iov; /* covers exactly the bytes asked for */
    size_t n_iov;
    void *owner; /* private */
};
int blob_lend(struct blob *b, uint64_t offset, size_t n, struct blob_loan *ret);
void blob_unlend(struct blob_loan *loan);

/* Who needs a blob: one row per owner. Hold before the row that needs it is written, release after
 * it is gone. Idempotent. -ENOENT: there is no such blob (it was reaped: upload it again). */
int blob_hold(struct store *s, const struct digest *d, struct slice owner);
int blob_release(struct store *s, const struct digest *d, struct slice owner);
int blob_owners(struct store *s, const struct digest *d, int (*f)(void *ctx, struct slice owner),
                void *ctx);

struct blob_reaped {
    uint64_t blobs, bytes, stages; /* what was freed: sealed blobs, their bytes, dead uploads */
};
/* Frees blobs that nobody has held for grace_s, and uploads that are too old. Online, safe beside
 * everything. dry_run only counts. */
int blob_reap(struct store *s, uint64_t grace_s, bool dry_run, struct blob_reaped *ret);
/* Every sealed blob in digest order; f's non-zero result ends it and is returned. */
int blob_each(struct store *s,
              int (*f)(void *ctx, const struct digest *d, const struct blob_stat *st), void *ctx);
/* The same behind a digest (NULL: from the first), for who does not want to hold one moment in time
 * for long. */
int blob_each_after(struct store *s, const struct digest *after,
                    int (*f)(void *ctx, const struct digest *d, const struct blob_stat *st),
                    void *ctx);
/* Reads a blob whole and compares its digest: 0, -EIO damaged, -ENOENT. */
int blob_verify(struct store *s, const struct digest *d);

#endif
