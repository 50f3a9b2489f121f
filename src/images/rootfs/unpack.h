/* unpack.h: a compressed stream that can be entered in the middle: gzip (of any number of members),
 * zstd (of any number of frames, and within long ones), or plain bytes. */
#ifndef IMAGES_ROOTFS_UNPACK_H
#define IMAGES_ROOTFS_UNPACK_H

#include "base/buf.h"

#include <sys/types.h>

#define UNPACK_WINDOW    32768u                /* how far back deflate refers */
#define UNPACK_STATE_MAX ((8u << 20) + 4096u) /* of zstd: a window, and tables */

enum unpack_kind { UNPACK_PLAIN, UNPACK_GZIP, UNPACK_ZSTD }; /* stored on disk: never renumber */

struct unpack_source {
    ssize_t (*read)(void *ctx, uint64_t offset, void *buf, size_t n); /* short only at the end */
    void *ctx;
    uint64_t size_bytes;
};

/* Where a stream can be entered. */
struct unpack_point {
    uint64_t out, in; /* offsets of the next byte, unpacked and packed */
    uint8_t bits;     /* of the packed byte before `in` that are still to come */
};

/* What the first bytes say. */
int unpack_kind_of(const struct unpack_source *source, enum unpack_kind *ret);

struct unpack;
/* From a point (NULL: the start), with what unpack_window() gave there (empty at the start of a
 * member or frame). `seeking`: unpack_next stops wherever the stream can be entered.
 * Returns new. */
struct unpack *unpack_new(const struct unpack_source *source, enum unpack_kind kind,
                          const struct unpack_point *from, struct slice window, bool seeking);
void unpack_free(struct unpack *u); /* NULL is fine */
/* The next bytes: up to n, 0 at the end; -EBADMSG with a reason in unpack_why(); -EFBIG: it wants
 * more memory than we give; -EIO of the source. While seeking, 0 is returned as -EAGAIN where
 * there is just a point. */
ssize_t unpack_next(struct unpack *u, void *buf, size_t n);
const char *unpack_why(const struct unpack *u); /* NULL: the source failed */
uint64_t unpack_offset(const struct unpack *u); /* of the next byte, unpacked */
size_t unpack_memory(const struct unpack *u);
/* While seeking: can the stream be entered here? */
bool unpack_at_point(struct unpack *u, struct unpack_point *ret);
/* What is needed for it: at most UNPACK_STATE_MAX bytes; appends them. */
void unpack_window(struct unpack *u, struct buf *out);

#endif
