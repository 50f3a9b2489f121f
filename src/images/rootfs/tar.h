/* tar.h: a tar archive as it streams by: entries out, with the place of their content. Pure.
 *
 * Reads v7, ustar, pax (POSIX.1-2001: path, linkpath, size, uid, gid, mtime, SCHILY.xattr) and
 * GNU's long names. Strict where it matters: a header whose sum is wrong, a number that is none, a
 * name over the limits or a cut entry end it. Sparse entries (tar_sparse.h) come with their real
 * size and a map. */
#ifndef IMAGES_ROOTFS_TAR_H
#define IMAGES_ROOTFS_TAR_H

#include "base/buf.h"

#define TAR_PATH_MAX   4095u
#define TAR_RECORD_MAX (1u << 20) /* of a pax header or a GNU long name */

enum tar_kind {
    TAR_FILE,
    TAR_FOLDER,
    TAR_SYMLINK,
    TAR_HARDLINK,
    TAR_CHAR,
    TAR_BLOCK,
    TAR_FIFO,
};

struct tar_entry {
    enum tar_kind kind;
    bool sparse;       /* the content is not stored as it is read, but in pieces: */
    struct slice map;  /* at least one piece; empty if it is not sparse */
    struct slice path; /* as it stands there; no NUL; lent until the function returns */
    struct slice link;
    struct slice xattrs; /* pairs: see tar_xattr_next() */
    uint64_t size_bytes;
    uint64_t offset; /* of the content in the archive */
    uint32_t mode;   /* 07777 */
    uint32_t uid, gid;
    uint32_t major, minor;
    int64_t mtime_ns;
};

/* 0, or a negative errno that ends the reading, with the reason in why. */
typedef int tar_entry_fn(void *ctx, const struct tar_entry *e, struct buf *why);

struct tar;
struct tar *tar_new(tar_entry_fn *f, void *ctx); /* returns new */
void tar_free(struct tar *t);
/* The next bytes of the archive. 0; 1: it has ended, what follows does not matter; -EBADMSG or
 * -EFBIG with the reason in why; what f returned. */
int tar_feed(struct tar *t, const void *bytes, size_t n, struct buf *why);
/* There is no more. 0, or -EBADMSG if that is in the middle of an entry. */
int tar_end(struct tar *t, struct buf *why);

/* Pairs of name and value: a byte for the length of the name, it, four for the value's, it. */
void tar_xattr_put(struct buf *out, struct slice name, struct slice value);
/* 1 a pair, 0 the end, -EBADMSG. */
int tar_xattr_next(struct slice *in, struct slice *ret_name, struct slice *ret_value);

#endif
