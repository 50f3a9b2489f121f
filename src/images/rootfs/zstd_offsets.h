/* zstd_offsets.h: the sequences of a zstd block, as far as its last three offsets need them (RFC 8878,
 * "Sequences Section", "Repeat Offsets"), and how the tables for them are described ("FSE Table
 * Description"). Pure. */
#ifndef IMAGES_ROOTFS_ZSTD_OFFSETS_H
#define IMAGES_ROOTFS_ZSTD_OFFSETS_H

#include "images/rootfs/zstd_state.h"

#include <sys/types.h>

#define ZSTD_LOG_MAX     9u
#define ZSTD_SYMBOLS_MAX 53u

/* A description that every decoder knows. */
struct zstd_default {
    size_t len;
    uint8_t text[32];
};
extern const struct zstd_default zstd_literals, zstd_offsets, zstd_matches;

struct zstd_counts {
    unsigned log, n;
    int16_t of[ZSTD_SYMBOLS_MAX]; /* -1: less than one */
};
/* How many bytes describe it; -EBADMSG. */
ssize_t zstd_counts_read(const uint8_t *p, size_t n, struct zstd_counts *ret);

/* The bits of `count` sequences: moves s->reps on. */
int zstd_offsets_follow(struct zstd_state *s, const uint8_t *p, size_t n, uint32_t count);

#endif
