/* Listing folders. A handle has one snapshot of the names; a position is an index into it, so that
 * it stays where it was while entries come and go. */
#include "fs/engine.h"

#include "base/alloc.h"
#include "fs/scratch.h"
#include "tree.h"

#include <errno.h>
#include <utlist.h>

#define SCRATCH_LISTED 256u

struct entry {
    size_t name;  /* offset in names */
    bool has_stat;
    struct node_stat st;
};

struct folder {
    struct folder *older, *newer; /* fs->every_folder; guarded by fs->lock */
    struct inode *inode;
    pthread_mutex_t lock; /* guards: what follows */
    bool loaded;
    uint64_t changes;     /* publications when it was loaded: later ones may have made it untrue */
    struct entry *entries;
    size_t n, cap;
    char *names;
    size_t names_len, names_cap;
    struct scratch_entry *scratch; /* of the user, listed behind */
    size_t n_scratch;
};

static struct folder *folder_of(const struct fuse_file_info *fi)
{
    struct folder *f = (struct folder *)(uintptr_t)fi->fh;

    HANDED_BY_KERNEL(f);
    return f;
}

static int add_entry(void *ctx, const char *name, const struct node_stat *st)
{
    struct folder *f = ctx;
    size_t len = strlen(name) + 1;
    struct entry *e;

    if (len - 1 > FS_NAME_MAX || len == 1)
        return 0; /* the kernel could not take it */
    if (f->n == f->cap) {
        f->cap = f->cap != 0 ? 2 * f->cap : 64;
        f->entries = xrealloc(f->entries, f->cap * sizeof *f->entries);
    }
    if (f->names_len + len > f->names_cap) {
        f->names_cap = f->names_cap != 0 ? 2 * f->names_cap : 4096;
        f->names = xrealloc(f->names, f->names_cap);
    }
    e = &f->entries[f->n++];
    e->name = f->names_len;
    e->has_stat = st != NULL;
    if (st != NULL)
        e->st = *st;
    memcpy(f->names + f->names_len, name, len);
    f->names_len += len;
    return 0;
}

static int load(struct call *c, struct folder *f)
{
    int r;

    f->n = f->names_len = 0;
    f->changes = atomic_load(&c->fs->changes);
    r = tree_list(c->fs->options.tree, &c->op, inode_path(c->fs, &c->op, f->inode), add_entry, f);
    if (r < 0)
        return r;
    if (f->scratch == NULL)
        f->scratch = xcalloc(SCRATCH_LISTED, sizeof *f->scratch);
    f->n_scratch = scratch_list(c->fs, f->inode, c->op.uid, f->scratch, SCRATCH_LISTED);
    if (f->n_scratch == 0)
        free(take(f->scratch));
    f->loaded = true;
    return 0;
}

static void folder_free(struct fs *fs, struct folder *f)
{
    pthread_mutex_lock(&f->lock); /* the last read may have replied, and not let go of it yet */
    pthread_mutex_unlock(&f->lock);
    pthread_mutex_lock(&fs->lock);
    DL_DELETE2(fs->every_folder, f, older, newer);
    inode_unref(fs, f->inode);
    pthread_mutex_unlock(&fs->lock);
    pthread_mutex_destroy(&f->lock);
    free(f->entries);
    free(f->names);
    free(f->scratch);
    free(f);
}

void folders_free(struct fs *fs)
{
    while (fs->every_folder != NULL)
        folder_free(fs, fs->every_folder);
}

/* The listing itself is made at the first read: the kernel may have it. */
static int open_folder(struct call *c, struct inode *inode, struct fuse_file_info *fi)
{
    const char *path = inode_path(c->fs, &c->op, inode);
    struct node_stat st = {0};
    struct folder *f;
    bool has_scratch;
    int r = tree_stat(c->fs->options.tree, &c->op, path, &st);

    if (r == 0 && st.type != NODE_DIR)
        r = -ENOTDIR;
    if (r == 0 && (st.flags & NODE_AUDIT) != 0 && call_audit(c, "list", path, 0) < 0)
        r = op_fail(&c->op, EIO, "the audit log cannot be written");
    if (r < 0)
        return r == -ENOENT ? r : call_refused(c, path, r);
    f = xcalloc(1, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    f->inode = inode;
    pthread_mutex_lock(&c->fs->lock);
    inode_ref(inode);
    DL_APPEND2(c->fs->every_folder, f, older, newer);
    has_scratch = inode->n_scratch > 0;
    pthread_mutex_unlock(&c->fs->lock);
    /* A cached listing is shown to every user. */
    fi->cache_readdir = !has_scratch && (st.flags & (NODE_SECRET | NODE_VOLATILE)) == 0;
    fi->keep_cache = fi->cache_readdir;
    if (fi->cache_readdir) {
        pthread_mutex_lock(&c->fs->lock);
        inode->cached_listing = true;
        pthread_mutex_unlock(&c->fs->lock);
    }
    fi->fh = (uint64_t)(uintptr_t)f;
    HANDED_TO_KERNEL(f);
    return 0;
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct call c;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    r = open_folder(&c, inode_of(c.fs, ino), fi);
    if (r < 0) {
        call_reply(&c, r);
        return;
    }
    if (fuse_reply_open(req, fi) == -ENOENT)
        folder_free(c.fs, folder_of(fi));
    call_end(&c);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    folder_free(fuse_req_userdata(req), folder_of(fi));
    fuse_reply_err(req, 0);
}

/* One reply being filled. */
struct page {
    struct call *call;
    struct folder *folder;
    const char *path;
    char *buf;
    size_t len, size;
    bool plus;
    bool fresh; /* nothing was published since the snapshot: the kernel may keep it */
};

static bool put(struct page *p, const char *name, const struct fuse_entry_param *e, off_t next)
{
    size_t room = p->size - p->len;
    size_t n = p->plus ? fuse_add_direntry_plus(p->call->req, p->buf + p->len, room, name, e, next)
                       : fuse_add_direntry(p->call->req, p->buf + p->len, room, name, &e->attr,
                                           next);

    if (n > room)
        return false;
    p->len += n;
    return true;
}

static bool fits(const struct page *p, const char *name)
{
    size_t n = p->plus ? fuse_add_direntry_plus(p->call->req, NULL, 0, name, NULL, 0)
                       : fuse_add_direntry(p->call->req, NULL, 0, name, NULL, 0);

    return n <= p->size - p->len;
}

static const char *child_path(const struct page *p, const char *name)
{
    return p->path[0] != 0 ? op_printf(&p->call->op, "%s/%s", p->path, name)
                           : op_strdup(&p->call->op, name);
}

/* An entry of the tree; with `plus` the kernel learns its attributes and takes a reference. */
static bool put_node(struct page *p, const struct entry *e, off_t next)
{
    const char *name = p->folder->names + e->name;
    struct fs *fs = p->call->fs;
    struct fuse_entry_param entry = {0};
    struct node_stat st = e->st;
    const char *path;

    if (!fits(p, name))
        return false;
    path = child_path(p, name);
    if (!e->has_stat && tree_stat(fs->options.tree, &p->call->op, path, &st) < 0) {
        op_forgive(&p->call->op);
        return true; /* gone meanwhile, or not for this caller */
    }
    if (!p->plus) {
        attr_fill(fs, path, &st, &entry.attr);
        return put(p, name, &entry, next);
    }
    attr_entry(fs, p->folder->inode, name, path, &st, &entry);
    if (!p->fresh)
        entry.attr_timeout = entry.entry_timeout = 0;
    return put(p, name, &entry, next);
}

/* Without attributes: the kernel asks for them when it wants them. */
static bool put_plain(struct page *p, const char *name, mode_t type, ino_t ino, off_t next)
{
    struct fuse_entry_param entry = {0};

    entry.attr.st_mode = type;
    entry.attr.st_ino = ino;
    return put(p, name, &entry, next);
}

static bool put_nth(struct page *p, size_t i)
{
    const struct folder *f = p->folder;
    off_t next = (off_t)i + 1;

    if (i < 2)
        return put_plain(p, i == 0 ? "." : "..", S_IFDIR, 2, next);
    if (i - 2 < f->n)
        return put_node(p, &f->entries[i - 2], next);
    i -= 2 + f->n;
    return put_plain(p, f->scratch[i].name, f->scratch[i].link ? S_IFLNK : S_IFREG, 3, next);
}

/* Reads from a position; the start of a listing is a new snapshot. */
static int fill(struct page *p, size_t at)
{
    struct folder *f = p->folder;
    int r = 0;
    guard(&f->lock);

    p->path = inode_path(p->call->fs, &p->call->op, f->inode);
    if (!f->loaded || at == 0)
        r = load(p->call, f);
    if (r < 0)
        return r;
    p->fresh = f->changes == atomic_load(&p->call->fs->changes);
    while (at < f->n + f->n_scratch + 2 && put_nth(p, at))
        at++;
    return 0;
}

static void read_folder(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi,
                        bool plus)
{
    struct page p = {.folder = folder_of(fi), .size = size, .plus = plus};
    struct call c;
    int r;

    if (call_begin(&c, req) < 0)
        return;
    p.call = &c;
    if (p.size > FS_REPLY_MAX)
        p.size = FS_REPLY_MAX;
    p.buf = worker_buffer(p.size);
    caching_begin(c.fs);
    r = p.buf != NULL ? fill(&p, (size_t)off) : -ENOMEM;
    if (r == 0)
        fuse_reply_buf(req, p.buf, p.len);
    else
        fuse_reply_err(req, -(r == -ENOENT ? r : call_refused(&c, p.path != NULL ? p.path : "", r)));
    caching_end();
    call_end(&c);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    read_folder(req, size, off, fi, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    (void)ino;
    read_folder(req, size, off, fi, true);
}
