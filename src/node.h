/* node.h: the tree seam. A domain answers for the nodes below its roots; fs/ serves them through
 * FUSE, http/ at /tree/<path>.
 *
 * Paths are those of the whole tree, without a slash at either end: "packages/foo/foo-1.0.tar.gz";
 * "" is the root. They are checked: no empty component, no "." or "..", no NUL. Every call returns
 * 0 or a negative errno, with the reason in the op (op_fail). What the caller may not see is
 * -ENOENT, what it may see but not do -EACCES. A NULL member of node_ops means -EROFS for changes,
 * -ENOTSUP for xattrs, -ENOENT for the rest. After a change the domain calls op_changed() for each
 * node whose cached copy is now wrong. Any thread. */
#ifndef NODE_H
#define NODE_H

#include "op/op.h"
#include "store/blob.h"

/* Devices and fifos only show that they are there; nobody reads them through the tree. */
enum node_type { NODE_FILE, NODE_DIR, NODE_SYMLINK, NODE_CHAR, NODE_BLOCK, NODE_FIFO };

enum node_flags {
    NODE_SECRET = 1,    /* content: direct_io, nothing cached, rights checked again at each read */
    NODE_IMMUTABLE = 2, /* content never changes under this path: the page cache is kept */
    NODE_COMPUTED = 4,  /* the size is not known before it is read to its end; stat says 0 */
    NODE_WRITABLE = 8,  /* folder: this caller may create entries here (and scratch names) */
    NODE_VOLATILE = 16, /* changes without op_changed: attributes and entries are not cached */
    NODE_AUDIT = 32,    /* opening it to read is written to the audit log */
    NODE_EXACT_MODE = 64, /* mode is as it stands, also 0 */
    NODE_SLOW = 128,    /* a read may wait for long: not in a server's thread */
};

struct node_stat {
    enum node_type type;
    unsigned flags;       /* enum node_flags */
    mode_t mode;          /* permission bits only; 0 means 0444 for files, 0555 for folders */
    uid_t uid;
    gid_t gid;
    uint64_t size_bytes;  /* exact, or NODE_COMPUTED; of a symlink the length of its target */
    int64_t mtime_ns;
    uint64_t key;         /* same non-zero key: same inode (hard links); 0: the path is the key */
    unsigned nlink;       /* 0 means 1, or 2 for folders */
    dev_t device;         /* CHAR, BLOCK: its number */
};

enum node_open_flags {
    NODE_READ = 1,
    NODE_WRITE = 2,
    NODE_CREATE = 4, /* with NODE_WRITE */
    NODE_EXCL = 8,   /* with NODE_CREATE: -EEXIST if it is there */
    NODE_TRUNC = 16, /* the new content starts empty; readers see the old one until commit */
};

/* An open node. A reader has the content of the moment it was opened. A writer changes a private
 * copy, which commit publishes whole. The domain's struct begins with this one. */
struct node_file {
    const struct node_file_ops *ops;
    uint64_t size_bytes; /* of the snapshot or the staged content; kept true by ops */
    unsigned flags;      /* enum node_flags, of this handle */
};

struct node_file_ops {
    /* Short only at the end. A stream (with on_ready) gives what there is whatever the offset,
     * -EAGAIN while there is nothing; it is asked for a byte count of 0 to know which. */
    ssize_t (*read)(struct op *op, struct node_file *f, uint64_t offset, void *buf, size_t n);
    /* Optional: the same as iovecs into a mapping; -ENOTSUP falls back to read. */
    int (*lend)(struct op *op, struct node_file *f, uint64_t offset, size_t n,
                struct blob_loan *ret);
    ssize_t (*write)(struct op *op, struct node_file *f, uint64_t offset, const void *buf,
                     size_t n);
    int (*truncate)(struct op *op, struct node_file *f, uint64_t size_bytes);
    /* Publishes what was written: checked, durable, visible through every door when it returns.
     * Unchanged content changes nothing. May be followed by more writes. On failure nothing is
     * published, and the staged content is dropped. */
    int (*commit)(struct op *op, struct node_file *f);
    /* Optional, of a stream: `wake` is called whenever a read that was -EAGAIN may have something,
     * from any thread; it does not block. Not called after close has returned. */
    void (*on_ready)(struct node_file *f, void (*wake)(void *ctx), void *ctx);
    /* Frees the handle; what was not committed is dropped. Cannot fail. */
    void (*close)(struct node_file *f);
};

/* Receives one entry of a folder. `st` may be NULL: ask stat. Returns non-zero to stop. */
typedef int node_emit_fn(void *ctx, const char *name, const struct node_stat *st);

enum node_rename_flags { NODE_NOREPLACE = 1 };

struct node_ops {
    int (*stat)(struct op *op, void *self, const char *path, struct node_stat *ret);
    /* Every listed entry once, in any order, from one moment in time. Computed names and aliases
     * (`@…`) resolve but are not listed. */
    int (*list)(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx);
    int (*open)(struct op *op, void *self, const char *path, unsigned flags,
                struct node_file **ret);
    int (*readlink)(struct op *op, void *self, const char *path, const char **ret); /* in the op */
    int (*mkdir)(struct op *op, void *self, const char *path, mode_t mode);
    int (*rmdir)(struct op *op, void *self, const char *path);
    int (*unlink)(struct op *op, void *self, const char *path);
    int (*rename)(struct op *op, void *self, const char *from, const char *to, unsigned flags);
    /* Replaces an existing symlink (ln -sfn renames a scratch symlink over it). */
    int (*symlink)(struct op *op, void *self, const char *path, const char *target);
    /* NULL members of `attr` stay. Accepted and ignored where there is nothing to keep. */
    int (*setattr)(struct op *op, void *self, const char *path, const mode_t *mode,
                   const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns);
    /* The value in the op; -ENODATA. */
    int (*getxattr)(struct op *op, void *self, const char *path, const char *name,
                    struct slice *ret);
    /* A value whose data is NULL removes the attribute: -ENODATA if it is not there. */
    int (*setxattr)(struct op *op, void *self, const char *path, const char *name,
                    struct slice value);
    int (*listxattr)(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx);
};

/* Ready-made handles. Each sets *ret to a new file and returns 0. */

/* Read-only bytes, copied. With NODE_SECRET in flags they are wiped at close. */
int node_bytes_open(struct slice bytes, unsigned flags, struct node_file **ret);
/* A read-only blob, lent where it can be. Takes the blob. */
int node_blob_open(struct blob *blob, unsigned flags, struct node_file **ret);
/* A small file in memory that may be read and written anywhere; commit calls publish with the whole
 * content if it was changed. Starts with `initial` (copied). Writes past limit_bytes are -EFBIG.
 * NODE_SECRET: wiped at close. `ctx` is freed with free_ctx (may be NULL) at close. */
struct node_buffer {
    int (*publish)(struct op *op, void *ctx, struct slice content);
    void *ctx;
    void (*free_ctx)(void *ctx);
    struct slice initial;
    size_t limit_bytes;
    unsigned flags;
    /* Commit publishes even if nothing is written: set it for a new file and for NODE_TRUNC, which
     * are commits of an empty content. */
    bool dirty;
};
int node_buffer_open(const struct node_buffer *buffer, struct node_file **ret);

/* Splits off the first component: "a/b/c" gives "a" in *ret_head (in the op) and returns "b/c"; ""
 * when there is no more. */
const char *path_head(struct op *op, const char *path, const char **ret_head);
/* The last component of a path, and the folder before it ("" for one component; in the op). */
const char *path_base(const char *path);
const char *path_folder(struct op *op, const char *path);

#endif
