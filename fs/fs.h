/* fs.h: the tree through FUSE. Knows the node seam, no domain. The only user of libfuse. */
#ifndef FS_FS_H
#define FS_FS_H

#include "base/buf.h"

struct audit;
struct feed;
struct fs;
struct identities;
struct tree;

struct fs_options {
    const char *mount;       /* an existing folder; a stale mount of a killed daemon is cleared */
    const char *scratch_dir; /* for large private scratch files (unlinked at once) */
    const char *data;        /* refused if it lies under the mount; statfs shows its volume */
    struct tree *tree;
    struct identities *identities;
    struct audit *audit;
    struct feed *feed;
    const char *events_program; /* calls fs_events_main if its argv[0] is FS_EVENTS_NAME; NULL: no
                                 * inotify for changes from outside the mount */
};

#define FS_EVENTS_NAME "infrafs-events"
/* A process that fs_start's mount runs beside the daemon: opens what changed, so that watchers hear
 * of it. argv[1] is the mount. */
int fs_events_main(const char *mount);

/* Mounts and serves in threads of its own; when it returns 0 a stat of the mount point has worked.
 * -errno with a reason for a person in why. */
int fs_start(const struct fs_options *options, struct fs **ret, struct buf *why);
/* Unmounts (lazily, if a process stays in it), ends the threads, frees. NULL is fine. */
void fs_stop(struct fs *fs);

#endif
