/* tar_sparse.h: the maps of sparse files in tar archives: which pieces of a file are stored, one after
 * the other; the rest of it is zeros. As GNU tar writes them (its manual, "Storing Sparse Files"): in
 * the old headers, and in pax headers of the versions 0.0, 0.1 and 1.0. Pure. */
#ifndef IMAGES_ROOTFS_TAR_SPARSE_H
#define IMAGES_ROOTFS_TAR_SPARSE_H

#include "base/buf.h"

#include <sys/types.h>

#define SPARSE_PIECE_BYTES 16u          /* of a map: offset and length, big-endian */
#define SPARSE_MAP_MAX     (256u << 10) /* bytes of one: 16,384 pieces */
#define SPARSE_OLD_BYTES   24u          /* of a piece in an old header */

/* Every call: 0; -EBADMSG: it is no map; -EFBIG: it has too many pieces. */
int sparse_add(struct buf *map, uint64_t offset, uint64_t length);
/* Up to n pieces of an old header, or of a block behind it; a length of blanks ends them. */
int sparse_add_old(struct buf *map, const uint8_t *pieces, unsigned n);
/* "offset,length,offset,length…" (0.1). */
int sparse_add_list(struct buf *map, struct slice text);
/* How many lines a map has that begins like this (1.0). -EAGAIN: the first is not there yet. */
int sparse_lines(struct slice text, uint64_t *ret);
/* Lines: how many pieces, then an offset and a length for each. */
int sparse_add_lines(struct buf *map, struct slice text);

/* In order, within the file, and as long as what is stored; an empty one gets a piece of no bytes. */
int sparse_check(struct buf *map, uint64_t size_bytes, uint64_t stored_bytes);

/* The piece of a map that holds the offset of the file, or else the first behind it: *ret_from and
 * *ret_length, and where it is stored, counted from the first. -ENOENT: only zeros follow. */
int sparse_find(struct slice map, uint64_t offset, uint64_t *ret_from, uint64_t *ret_length,
                uint64_t *ret_stored);

/* tar.c: octal, or binary. */
int tar_number(const uint8_t *p, size_t n, int64_t *ret);

#endif
