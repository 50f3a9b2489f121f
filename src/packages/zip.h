/* zip.h: a strict reader of zip archives (PKWARE APPNOTE 6.3.10).
 *
 * It accepts only archives that every tool reads alike: local headers and central directory agree,
 * lie back to back and cover the whole file; no name twice, none that leaves the folder, no entry
 * encrypted or packed by another method than store and deflate. Pure but for the read callback. */
#ifndef PACKAGES_ZIP_H
#define PACKAGES_ZIP_H

#include "base/buf.h"

#include <sys/types.h>

struct zip;

/* As pread: short only at the end of the file; a negative errno is handed through. */
struct zip_source {
    ssize_t (*read)(void *ctx, uint64_t offset, void *buf, size_t n);
    void *ctx;
    uint64_t size_bytes;
};

#define ZIP_ENTRIES_MAX   200000
#define ZIP_DIRECTORY_MAX (64u << 20) /* bytes of the central directory */

struct zip_entry {
    struct slice name; /* UTF-8; a folder ends in '/' */
    uint64_t packed_bytes;
    uint64_t size_bytes;
    uint64_t header_offset;
    uint64_t data_offset;
    uint32_t crc;
    uint16_t method; /* 0 stored, 8 deflated */
    uint16_t flags;
    bool is_folder;
};

/* -EINVAL with the fault in why; -ENOMEM; or what read said. Returns new; copies source. */
int zip_open(const struct zip_source *source, struct zip **ret, struct buf *why);
void zip_close(struct zip *z); /* NULL is fine */

size_t zip_count(const struct zip *z);
const struct zip_entry *zip_entry(const struct zip *z, size_t i); /* in order of the archive */
const struct zip_entry *zip_find(const struct zip *z, struct slice name); /* NULL if absent */
/* Appends an entry's content, unpacked and checked against its sum. -EFBIG if it is larger than
 * limit_bytes, -EINVAL if it is damaged, both with a reason in why. */
int zip_read(const struct zip *z, const struct zip_entry *e, size_t limit_bytes, struct buf *out,
             struct buf *why);

#endif
