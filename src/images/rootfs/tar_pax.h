/* tar_pax.h: what a pax header says about the entry behind it. Pure. */
#ifndef IMAGES_ROOTFS_TAR_PAX_H
#define IMAGES_ROOTFS_TAR_PAX_H

#include "base/buf.h"

struct pax {
    struct buf path, link, xattrs;
    struct buf map; /* of a sparse file, as far as the header has it */
    bool has_path, has_link, has_size, has_uid, has_gid, has_mtime, has_real_size;
    bool sparse;
    uint64_t sparse_major, sparse_offset; /* version 1: the map is before the content; 0.0's last */
    uint64_t size_bytes, real_size_bytes, uid, gid;
    int64_t mtime_ns;
};

/* Adds records to it. -EBADMSG with the reason in why. */
int pax_parse(struct slice records, struct pax *p, struct buf *why);
void pax_clear(struct pax *p); /* for the next entry; keeps memory */
void pax_done(struct pax *p);

#endif
