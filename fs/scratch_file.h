/* scratch_file.h: the content of a scratch file, in memory or in an unlinked file. */
#ifndef FS_SCRATCH_FILE_H
#define FS_SCRATCH_FILE_H

#include "fs/scratch.h"

struct scratch {
    struct scratch *prev, *next; /* fs->scratches; guarded by fs->lock, as inode */
    struct inode *inode;         /* NULL: removed, only open handles have it */
    uid_t owner;                 /* never changes; nor do secret, target, fs */
    bool secret;
    char *target;                /* of a symbolic link */
    const struct fs *fs;
    atomic_uint refs;
    _Atomic int64_t used_ms;     /* monotonic: last written or opened */
    pthread_mutex_t lock;        /* guards: what follows */
    /* Invariant: either fd is -1 and data holds cap bytes, or the content is in fd. */
    uint8_t *data;
    size_t cap;
    int fd;
    uint64_t size_bytes;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int64_t mtime_ns;
    struct later later; /* what was set on purpose: goes to the node it is published as */
};

/* With one reference, of the caller. */
struct scratch *scratch_new(struct call *c, const char *target, mode_t mode, bool secret);
int scratch_copy_out(struct op *op, struct scratch *s, struct node_file *to);
int scratch_copy_in(struct fs *fs, struct op *op, struct scratch *s, struct node_file *from);
void scratch_later(struct scratch *s, struct later *ret);

#endif
