/* scratch.h: private files that tools make beside the real one before they publish it, or to keep a
 * lock or a backup (`.x.XXXXXX`, `x~`, `.x.swp`, …). They live here, are seen by their own user
 * alone, never reach a domain, and are forgotten after an hour.
 *
 * Small ones are kept in memory, large ones in an unlinked file; those of a folder of secrets never
 * leave memory, and are wiped. */
#ifndef FS_SCRATCH_H
#define FS_SCRATCH_H

#include "fs/engine.h"

/* Is it a name that tools use so? `exclusive`: it is created with O_EXCL, as mkstemp(3) does. */
bool scratch_name(const char *name, bool exclusive);
/* vim creates such a file to learn whether a new one would be like the old one; if so it renames
 * the old one away, else it writes in place, which is what makes one version of an edit. */
bool scratch_probe_name(const char *name);
bool scratch_link_name(const char *name); /* the same for a symbolic link */

/* May scratch be made in this folder, by this caller? 1, 0, or -errno of asking the folder.
 * `ret_secret`: it must stay in memory. */
int scratch_wanted(struct call *c, struct inode *parent, bool *ret_secret);
/* The scratch file that the inode is; a reference, or NULL. */
struct scratch *scratch_of(struct fs *fs, struct inode *inode);
/* The caller's own scratch of that name, a reference; NULL. */
struct scratch *scratch_find(struct call *c, struct inode *parent, const char *name,
                             struct inode **ret_inode);
void scratch_unref(struct scratch *s); /* NULL is fine */
bool scratch_mine(const struct scratch *s, uid_t uid);

/* Looks a private name of the caller up: true if it is one, then it is replied and c is ended. */
bool scratch_lookup(struct call *c, struct inode *parent, const char *name);
/* Makes one, and the inode with one reference of the kernel. target: of a symbolic link, or NULL.
 * -EDQUOT: too many. */
int scratch_create(struct call *c, struct inode *parent, const char *name, const char *target,
                   mode_t mode, bool secret, struct fuse_entry_param *ret_entry,
                   struct scratch **ret);
void scratch_attr(struct fs *fs, struct scratch *s, const char *path, struct stat *ret);
void scratch_setattr(struct scratch *s, const struct stat *attr, int set);
const char *scratch_target(const struct scratch *s); /* NULL: a file */
bool scratch_secret(const struct scratch *s);
ssize_t scratch_read(struct scratch *s, uint64_t offset, void *buf, size_t n);
ssize_t scratch_write(struct scratch *s, uint64_t offset, const void *buf, size_t n, bool append);
int scratch_truncate(struct scratch *s, uint64_t size_bytes);
/* Takes its name away; open handles keep it. */
void scratch_remove(struct fs *fs, struct inode *inode);
/* Writes its content to the real node at path, with all checks of that node. */
int scratch_publish(struct call *c, struct scratch *s, const char *path, unsigned rename_flags);
/* The inode of scratch becomes the one of the node at the new name. */
void scratch_become_node(struct fs *fs, struct inode *inode, struct inode *parent,
                         const char *name);
/* Another private name. */
void scratch_move(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
                  uid_t uid);
/* Copies the real node at path into new scratch, which the inode of the node becomes. */
int scratch_from_node(struct call *c, struct inode *inode, const char *path, struct inode *parent,
                      const char *name, bool secret);
/* The names of the user's scratch files in the folder. */
struct scratch_entry {
    char name[FS_NAME_MAX + 1];
    bool link;
};
size_t scratch_list(struct fs *fs, struct inode *folder, uid_t uid, struct scratch_entry *ret,
                    size_t cap);
void scratch_reap(struct fs *fs, int64_t before_ms); /* not used since then, monotonic */
void scratch_drop_all(struct fs *fs);

#endif
