/* zstd_seek.h: where a stream of zstd can be entered: at each frame, and now and then between two
 * blocks of a long one. Walks along with the decoder, unit by unit (a header, a block, a checksum).
 * Pure. */
#ifndef IMAGES_ROOTFS_ZSTD_SEEK_H
#define IMAGES_ROOTFS_ZSTD_SEEK_H

#include "images/rootfs/zstd_state.h"

#define ZSTD_SEEK_WINDOW_MAX (8u << 20) /* a frame with a larger one is entered at its start */
#define ZSTD_SEEK_SPANS      8u         /* windows from one point to the next: they are stored */
#define ZSTD_SEEK_HEAD       (ZSTD_STATE_HEAD_BYTES + 1u)
#define ZSTD_SEEK_UNIT_MAX   (ZSTD_STATE_BLOCK_MAX + 3)

struct zstd_seek {
    struct zstd_state state;
    enum { ZSTD_AT_FRAME, ZSTD_AT_BLOCK, ZSTD_AT_CHECKSUM, ZSTD_LOST } at; /* the next unit */
    uint64_t unit_left; /* of the one that is being fed */
    uint64_t from;      /* of the last point, or of the frame: offset of the unpacked byte */
    struct buf tail;    /* the bytes before, when a point is near */
};

/* How many bytes of input zstd_seek_unit() wants to see at least, if there are so many. */
size_t zstd_seek_wants(const struct zstd_seek *k, const uint8_t *p, size_t n);
/* The next unit begins at p, `out` bytes were unpacked so far; sets unit_left. What it does not
 * understand is left to the decoder: there are no points any more. */
void zstd_seek_unit(struct zstd_seek *k, const uint8_t *p, size_t n, uint64_t out);
/* These were unpacked; `out` is the offset behind them. */
void zstd_seek_output(struct zstd_seek *k, const void *bytes, size_t n, uint64_t out);
/* Between two units: can a frame be entered here, in its middle? */
bool zstd_seek_at_point(const struct zstd_seek *k, uint64_t out);
/* What is needed for it: the header of a frame, a byte that says whether a checksum follows the last
 * block, and the dictionary. Appends. */
void zstd_seek_window(const struct zstd_seek *k, struct buf *out);
/* The point was used: the next one is far off. */
void zstd_seek_pass(struct zstd_seek *k, uint64_t out);
void zstd_seek_done(struct zstd_seek *k);

#endif
