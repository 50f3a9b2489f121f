/* zstd_state.h: what a zstd decoder knows between two blocks of a frame (RFC 8878), found by reading
 * along beside libzstd; and the same as a dictionary, with which libzstd goes on from there. The
 * tables are kept as they stand in the stream, and are not built; only the last three offsets have
 * to be worked out, by decoding the sequences of a block or two before a point. Pure. */
#ifndef IMAGES_ROOTFS_ZSTD_STATE_H
#define IMAGES_ROOTFS_ZSTD_STATE_H

#include "base/buf.h"

#define ZSTD_STATE_TABLE_MAX  160u
#define ZSTD_STATE_HEADER_MAX 18u
#define ZSTD_STATE_BLOCK_MAX  (128u << 10)
#define ZSTD_STATE_HEAD_BYTES 6u /* of a frame that begins at a point */

struct zstd_table {
    enum { ZSTD_TABLE_NONE, ZSTD_TABLE_TEXT, ZSTD_TABLE_SYMBOL } kind;
    size_t len;
    uint8_t text[ZSTD_STATE_TABLE_MAX]; /* its description; SYMBOL: the only one */
};

struct zstd_state {
    bool has_checksum;
    uint64_t window_bytes;
    struct zstd_table huffman, literals, offsets, matches;
    bool follows;      /* the offsets are worked out */
    uint32_t reps[3];  /* the last offsets, the newest first; 0: not known */
};

/* A frame begins: how long its header is; 0: more bytes are needed; -EBADMSG: it is none. What may be
 * skipped (RFC 8878, "Skippable Frames") is told by *ret_skip: its length, 0 for a frame. */
int zstd_state_begin(struct zstd_state *s, const uint8_t *p, size_t n, uint64_t *ret_skip);
/* How long a block is with its header of three bytes; *ret_last: none follows. */
size_t zstd_state_block_size(const uint8_t header[3], bool *ret_last);
/* The next block, whole. -EBADMSG. */
int zstd_state_block(struct zstd_state *s, const uint8_t *p, size_t n);
/* From the next block on the offsets are worked out, or no longer. */
void zstd_state_follow(struct zstd_state *s, bool follow);
/* Is all known that is needed to go on with `window_bytes` of what came before? */
bool zstd_state_is_known(const struct zstd_state *s, uint64_t window_bytes);
/* Appends the dictionary (RFC 8878, "Dictionary Format"). */
void zstd_state_dictionary(const struct zstd_state *s, struct slice window, struct buf *out);
/* The header of a frame with a window of at least so many bytes, and no checksum. */
void zstd_state_head(uint64_t window_bytes, uint8_t ret[ZSTD_STATE_HEAD_BYTES]);

#endif
