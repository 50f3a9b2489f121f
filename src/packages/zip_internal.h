/* zip_internal.h: what the two halves of the zip reader share. */
#ifndef PACKAGES_ZIP_INTERNAL_H
#define PACKAGES_ZIP_INTERNAL_H

#include "packages/zip.h"

struct zip {
    struct zip_source source;
    uint8_t *directory; /* the central directory; names point into it */
    size_t directory_bytes;
    uint64_t directory_offset;
    struct zip_entry *entries; /* by header_offset */
    struct zip_entry **by_name;
    size_t n;
};

/* Appends "zip: …" to why; returns -EINVAL. */
int zip_refuse(struct buf *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
int zip_refuse_entry(struct buf *why, const struct zip_entry *e, const char *what);
/* Reads exactly n bytes, or says why not. */
int zip_read_at(const struct zip_source *s, uint64_t offset, void *buf, size_t n, struct buf *why);

#endif
