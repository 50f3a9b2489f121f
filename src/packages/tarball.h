/* tarball.h: a gzipped tar archive, entry by entry; strict to the end of the stream. Reads ustar,
 * pax and GNU tar through libarchive, gzip by itself (gunzip.h). */
#ifndef PACKAGES_TARBALL_H
#define PACKAGES_TARBALL_H

#include "packages/zip.h"

#define TARBALL_ENTRIES_MAX 200000

struct tarball;

enum tarball_kind { TARBALL_FILE, TARBALL_FOLDER, TARBALL_OTHER };

struct tarball_entry {
    const char *path; /* as it stands there; lent until the next call */
    uint64_t size_bytes;
    enum tarball_kind kind;
};

struct tarball *tarball_new(const struct zip_source *source); /* returns new; copies source */
void tarball_free(struct tarball *t);                         /* NULL is fine */
/* 1: an entry; 0: the end, and the stream was whole; -EINVAL with a reason appended to why; or what
 * reading said. */
int tarball_next(struct tarball *t, struct tarball_entry *ret, struct buf *why);
/* Appends the content of the entry that tarball_next returned. -EFBIG over limit_bytes. */
int tarball_read(struct tarball *t, size_t limit_bytes, struct buf *out, struct buf *why);

#endif
