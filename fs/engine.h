/* engine.h: what the files of fs/ share: the mount, the table of inodes, one call of the kernel.
 *
 * Locks, in the order they are taken: handle->lock or scratch->lock, then fs->lock. The notifier's
 * queue has its own and calls nothing while it holds it. No lock is held while a domain is called,
 * but for handle->lock, which makes the writes of one open file take turns. */
#ifndef FS_ENGINE_H
#define FS_ENGINE_H

#include "fs/fs.h"
#include "fs/libfuse.h"

#include "base/scope.h"
#include "node.h"
#include "op/op.h"

#include <stdatomic.h>
#include <uthash.h>

/* An open handle goes from the thread that made it to the next one through the kernel, which orders
 * the two. ThreadSanitizer cannot see that, so it is told. */
#ifdef __SANITIZE_THREAD__
void __tsan_release(void *address);
void __tsan_acquire(void *address);
#define HANDED_TO_KERNEL(p)   __tsan_release(p)
#define HANDED_BY_KERNEL(p)   __tsan_acquire(p)
#else
#define HANDED_TO_KERNEL(p)   ((void)(p))
#define HANDED_BY_KERNEL(p)   ((void)(p))
#endif

struct errors;
struct folder; /* an open folder: folder.c */
struct notifier;
struct scratch;
struct workers;
struct waiting;

#define FS_TIMEOUT_S   3600.0 /* of what is invalidated exactly */
#define FS_REPLY_MAX   (1u << 20)
#define FS_NAME_MAX    255
#define FS_PATH_MAX    4095

/* What an inode is found by. `owner` is 0 for a node of the tree, uid + 1 for a private scratch
 * file: two users may have one of the same name. */
struct inode_key {
    uint64_t parent;
    uint64_t owner;
    char name[];
};

/* A node that the kernel knows, or that we hold on to. Named by its parent and its name, so that a
 * rename moves a whole subtree. All fields are guarded by fs->lock. */
struct inode {
    struct inode *parent;      /* holds a reference; NULL for the root */
    struct inode *children;    /* those in the table */
    struct inode *prev, *next; /* siblings */
    UT_hash_handle hh;
    struct inode_key *key;
    unsigned key_len;
    unsigned refs;      /* children, handles, notifications; not the kernel's */
    uint64_t nlookup;   /* the kernel's references */
    uint64_t generation;
    bool listed;        /* it is in the table: its name still leads to it */
    bool cached_listing; /* a folder: the kernel may have its names */
    bool paged;         /* a file: the kernel may have its content */
    bool stale;         /* its name may lead to another node: ask before the kernel is told again */
    uint8_t type;       /* enum node_type, as last told to the kernel */
    uint8_t notify;     /* what the notifier has to send; and notify_next */
    unsigned n_scratch; /* a folder: children that are scratch files */
    uint64_t size_bytes; /* as last told: of a node that is gone but still open */
    struct scratch *scratch; /* it is one */
    struct handle *writers;  /* open for writing here */
    struct inode *notify_next;
    struct inode *older, *newer; /* fs->every_inode */
};

/* What setattr said about a file that is not published yet. */
struct later {
    bool has_mode, has_uid, has_gid, has_mtime;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int64_t mtime_ns;
};

/* An open file. */
struct handle {
    struct handle *older, *newer; /* fs->every_handle; guarded by fs->lock */
    struct inode *inode;
    struct node_file *file;    /* NULL: scratch */
    struct scratch *scratch;
    struct identity *who;      /* of the opener */
    uid_t uid;
    gid_t gid;
    pid_t pid;
    bool writer, append;
    atomic_uint refs;          /* the kernel's, and one of each request under way */
    pthread_mutex_t lock; /* guards: what follows, and takes turns at `file` of a writer */
    bool dirty;           /* written since the last commit */
    bool owing;           /* created or truncated: to be committed even if nothing is written */
    int dropped;          /* why the staged content is gone, -errno: refused, or its writer killed */
    pid_t writer_pid;     /* the thread that wrote last */
    /* guarded by fs->lock */
    struct handle *prev, *next; /* of inode->writers */
    bool unborn;                /* the node does not exist until the first commit */
    bool touched;               /* its times were set: `touch` of a new file */
    uint64_t staged_bytes;
    struct later later;
    struct wait *wait;          /* of a stream; see wait.c */
};

struct fs {
    struct fs_options options; /* texts are copies */
    struct fuse_session *session;
    pthread_mutex_t lock; /* guards: inodes, and all fields of each; scratches */
    struct inode *inodes;       /* by name: those whose name still leads to them */
    struct inode *every_inode;
    struct handle *every_handle;
    struct folder *every_folder;
    struct inode root;
    uint64_t generation;
    struct scratch *scratches;
    unsigned n_scratches;
    uint8_t ino_key[16]; /* of the hash that makes inode numbers; the same after a restart */
    _Atomic uint64_t changes; /* publications so far; see notify.c */
    struct notifier *notifier;
    struct workers *workers;
    struct waiting *waiting;
    struct errors *errors;
    bool mounted;
    bool parting; /* atomic: the end of the connection is known, or was told */
};

/* inode.c */
struct inode *inode_of(struct fs *fs, fuse_ino_t ino);
fuse_ino_t inode_id(const struct fs *fs, const struct inode *inode);
/* fs->lock is held: */
struct inode *inode_find(struct fs *fs, const struct inode *parent, const char *name,
                         uint64_t owner); /* borrowed; NULL */
struct inode *inode_make(struct fs *fs, struct inode *parent, const char *name, uint64_t owner);
void inode_ref(struct inode *inode);
void inode_unref(struct fs *fs, struct inode *inode);  /* frees it if nobody is left */
void inode_detach(struct fs *fs, struct inode *inode); /* its name no longer leads to it */
/* Gives it another name, taking the place of what has it. */
void inode_move(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
                uint64_t owner);
/* Writes the path at the end of a buffer of FS_PATH_MAX + 1 bytes; NULL if it is too long. */
char *inode_write_path(const struct fs *fs, const struct inode *inode, char *buf);
/* Any time: */
bool inode_gone(struct fs *fs, const struct inode *inode); /* its name leads to it no longer */
void inode_forget(struct fs *fs, struct inode *inode, uint64_t n);
void inodes_free(struct fs *fs); /* all, when nobody serves any more */
void folders_free(struct fs *fs);
void handles_free(struct fs *fs);
const char *inode_path(struct fs *fs, struct op *op, const struct inode *inode); /* in the op */
/* The path of a name in a folder; -ENAMETOOLONG, -EINVAL. */
int inode_child_path(struct fs *fs, struct op *op, const struct inode *parent, const char *name,
                     const char **ret);

/* call.c: one request of the kernel. */
struct call {
    struct fs *fs;
    fuse_req_t req;
    struct op op;
    struct identity *who;
};
int call_begin(struct call *c, fuse_req_t req); /* 0, or replied with an error */
/* The same in the name of an opener: for what the kernel asks for on nobody's behalf. */
void call_begin_as(struct call *c, struct fs *fs, const struct handle *h);
void call_end(struct call *c);
/* After a change, or the refusal of one: the audit line, the feed, the error channel. Returns r. */
int call_changed(struct call *c, const char *verb, const char *path, int r);
/* A refusal of something else. Returns r. */
int call_refused(struct call *c, const char *path, int r);
int call_audit(struct call *c, const char *verb, const char *path, int r);
void call_reply(struct call *c, int r); /* replies -r and ends it */

/* attr.c: what the kernel is told about a node. */
void attr_fill(struct fs *fs, const char *path, const struct node_stat *st, struct stat *ret);
double attr_timeout(unsigned flags);  /* of attributes, seconds */
double entry_timeout(unsigned flags); /* of the name */
/* Finds or makes the inode of a node that was just asked for, counts the kernel's reference. */
struct inode *attr_entry(struct fs *fs, struct inode *parent, const char *name, const char *path,
                         const struct node_stat *st, struct fuse_entry_param *ret);
void attr_reply_entry(struct call *c, struct inode *parent, const char *name, const char *path);
/* What setattr asked for, as tree_setattr takes it. */
int attr_apply(struct call *c, const char *path, const struct later *later);
struct handle *attr_unborn(struct inode *inode, uid_t uid); /* fs->lock is held */
void attr_fill_unborn(struct fs *fs, const char *path, const struct handle *h, struct stat *ret);

/* writer.c: who it is that closes a file. */
enum writer { WRITER_CLOSES, WRITER_KILLED, WRITER_OTHER };
enum writer writer_judge(pid_t closer, pid_t writer);

/* error.c: the last refusals by path and user, for the xattr user.infrafs.error. */
struct errors *errors_new(void);
void errors_free(struct errors *e);
void errors_note(struct errors *e, uid_t uid, const char *path, const char *why);
/* The text in the op, or NULL. */
const char *errors_find(struct errors *e, struct op *op, uid_t uid, const char *path);

/* notify.c */
int notifier_start(struct fs *fs);
void notifier_quiet(struct fs *fs); /* hears of no more changes, opens nothing more */
void notifier_stop(struct fs *fs);
bool notifier_is(const struct fs *fs, pid_t pid); /* our own process that opens for events */
void notifier_drop_inode(struct fs *fs, struct inode *inode); /* the kernel's copy is wrong */
/* Between these a worker may tell the kernel what it caches for long: a change that is published
 * meanwhile is told to the kernel after the reply. */
void caching_begin(struct fs *fs);
void caching_end(void);
void caching_enter_thread(struct fs *fs); /* once in each worker */
void caching_leave_thread(struct fs *fs);

/* worker.c */
int workers_start(struct fs *fs);
void workers_stop(struct fs *fs); /* the session has ended, or will not */
void *worker_buffer(size_t n);    /* the thread's own, up to FS_REPLY_MAX; NULL: no memory */

/* wait.c: readers of streams (`@watch`), which wait without a thread. */
int waiting_start(struct fs *fs);
void waiting_stop(struct fs *fs); /* answers all who wait, and who will */
void waiting_free(struct fs *fs); /* when no handle is left */
bool wait_is_stream(const struct handle *h);
void wait_open(struct fs *fs, struct handle *h);   /* of a stream, once */
void wait_close(struct handle *h);                 /* its file is closed */
void wait_read(struct call *c, struct handle *h, size_t size, bool nonblock); /* replies, now or later */

/* The handlers, by file; bound together in session.c. */
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
                struct fuse_file_info *fi);
void fs_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_statfs(fuse_req_t req, fuse_ino_t ino);
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
              struct fuse_file_info *fi);
void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
             struct fuse_pollhandle *poll);
void fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                        struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                        struct fuse_file_info *fi_out, size_t len, int flags);
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags);
void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi);
void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags);
void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* handle.c */
/* Makes the handle of an open file, takes `file`; with the caller's identity. */
struct handle *handle_new(struct call *c, struct inode *inode, struct node_file *file,
                          struct scratch *scratch);
void handle_unref(struct fs *fs, struct handle *h); /* closes it with the last one; NULL is fine */
/* The handle, a reference for this request; NULL: our own event maker's. It may be released as soon
 * as the reply is out. */
struct handle *handle_get(const struct fuse_file_info *fi);
/* Notes what the handle holds now; h->lock is held. */
void handle_written(struct fs *fs, struct handle *h, pid_t writer);
/* Nothing of what is staged was published, nor will be; h->lock is held. */
void handle_drop(struct fs *fs, struct handle *h, int why);
/* A truncate of an open file, and one by path, which opens, cuts and commits. */
int handle_truncate(struct call *c, const struct fuse_file_info *fi, const char *path,
                    uint64_t size_bytes);
int file_truncate(struct call *c, const char *path, uint64_t size_bytes);

#endif
