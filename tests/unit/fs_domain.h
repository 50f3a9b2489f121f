/* fs_domain.h: a domain in memory for the tests of the mount, and stand-ins for who asks.
 *
 *   secret/…   secrets: direct, uncached, audited, root only; others get ENOENT
 *   plain/…    files that change
 *   fixed/…    immutable files
 *   locked/    a folder in which nothing may be made
 *   many/…     as many files as a test asks for
 * Content that begins with BAD is refused at commit, a name that ends in .refused at create. */
#ifndef FS_DOMAIN_H
#define FS_DOMAIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "domain.h"
#include "feed.h"
#include "fs/fs.h"
#include "identity/audit.h"
#include "identity/identity.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <uthash.h>

struct mem_node {
    UT_hash_handle hh;
    char *path;
    enum node_type type;
    char *bytes; /* of a file; the target of a symlink */
    size_t len;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    int64_t mtime_ns;
    unsigned commits;
};

struct mem {
    pthread_mutex_t lock;
    struct mem_node *nodes;
    atomic_uint many;
    atomic_uint stats, opens, lists, audits;
};

static struct mem mem = {.lock = PTHREAD_MUTEX_INITIALIZER};
static struct feed *feed;

/* Stand-ins for identity: a caller is named by its uid. */
static struct identity root_identity = {.kind = IDENTITY_USER, .name = "root"};
static struct identity other_identity = {.kind = IDENTITY_USER, .name = "other"};

const struct identity *identity_internal(struct identities *ids)
{
    (void)ids;
    return &root_identity;
}

struct identity *identity_ref(const struct identity *who)
{
    return (struct identity *)(uintptr_t)who;
}

void identity_unref(struct identity *who)
{
    (void)who;
}

int identity_local(struct identities *ids, uid_t uid, const gid_t *gids, size_t n_gids,
                   struct identity **ret)
{
    (void)ids;
    (void)gids;
    (void)n_gids;
    *ret = uid == 0 ? &root_identity : &other_identity;
    return 0;
}

int audit_write(struct audit *a, struct op *op, const char *what, const char *path, int result)
{
    (void)a;
    (void)op;
    (void)what;
    (void)path;
    (void)result;
    mem.audits++;
    return 0;
}

void refusals_note(struct op *op, const char *path, int err)
{
    (void)op;
    (void)path;
    (void)err;
}

static bool in(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 && (path[len] == 0 || path[len] == '/');
}

static int mem_see(struct op *op, const char *path)
{
    if (in(path, "secret") && op->who != &root_identity)
        return op_fail(op, ENOENT, "no '%s'", path);
    return 0;
}

static unsigned mem_flags(const char *path, enum node_type type)
{
    unsigned flags = 0;

    if (in(path, "secret"))
        flags |= NODE_SECRET | (type == NODE_FILE ? NODE_AUDIT : 0u);
    if (in(path, "fixed") && type == NODE_FILE)
        flags |= NODE_IMMUTABLE;
    if (type == NODE_DIR && path[0] != 0 && !in(path, "locked"))
        flags |= NODE_WRITABLE;
    return flags;
}

/* mem.lock is held. */
static struct mem_node *mem_find(const char *path)
{
    struct mem_node *n = NULL;

    HASH_FIND_STR(mem.nodes, path, n);
    return n;
}

static struct mem_node *mem_add(const char *path, enum node_type type)
{
    struct mem_node *n = xcalloc(1, sizeof *n);

    n->path = xstrdup(path);
    n->type = type;
    n->mode = type == NODE_DIR ? 0755 : 0644;
    n->mtime_ns = clock_unix_ns();
    HASH_ADD_KEYPTR(hh, mem.nodes, n->path, strlen(n->path), n);
    return n;
}

static void mem_delete(struct mem_node *n)
{
    HASH_DEL(mem.nodes, n);
    free(n->path);
    free(n->bytes);
    free(n);
}

static int mem_stat(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    struct mem_node *n;
    guard(&mem.lock);

    (void)self;
    mem.stats++;
    if (mem_see(op, path) < 0)
        return -ENOENT;
    if (path[0] == 0) {
        *ret = (struct node_stat){.type = NODE_DIR, .mode = 0755};
        return 0;
    }
    n = mem_find(path);
    if (n == NULL && in(path, "many") && strlen(path) == 11 && path[4] == '/') {
        *ret = (struct node_stat){.type = NODE_FILE, .size_bytes = 5};
        return (unsigned)strtoul(path + 5, NULL, 10) < mem.many ? 0 : -ENOENT;
    }
    if (n == NULL)
        return op_fail(op, ENOENT, "no '%s'", path);
    *ret = (struct node_stat){.type = n->type, .mode = n->mode, .uid = n->uid, .gid = n->gid,
                              .size_bytes = n->len, .mtime_ns = n->mtime_ns,
                              .flags = mem_flags(path, n->type)};
    return 0;
}

static int mem_list(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx)
{
    struct mem_node *n, *after;
    size_t len = strlen(path);
    char name[32];
    guard(&mem.lock);

    (void)self;
    mem.lists++;
    if (mem_see(op, path) < 0)
        return -ENOENT;
    HASH_ITER(hh, mem.nodes, n, after)
    {
        const char *base = n->path + (len > 0 ? len + 1 : 0);

        if (strlen(n->path) <= len || (len > 0 && !in(n->path, path)) || strchr(base, '/') != NULL)
            continue;
        if (mem_see(op, n->path) == 0)
            emit(ctx, base, NULL);
    }
    for (unsigned i = 0; strcmp(path, "many") == 0 && i < mem.many; i++) {
        struct node_stat st = {.type = NODE_FILE, .size_bytes = 5};

        snprintf(name, sizeof name, "%06u", i);
        emit(ctx, name, &st);
    }
    op_forgive(op);
    return 0;
}

static int mem_publish(struct op *op, void *ctx, struct slice content)
{
    const char *path = ctx;
    struct mem_node *n;
    guard(&mem.lock);

    if (content.len >= 3 && memcmp(content.data, "BAD", 3) == 0)
        return op_fail(op, EINVAL, "'%s' begins with BAD", path);
    n = mem_find(path);
    if (n != NULL && n->len == content.len &&
        (content.len == 0 || memcmp(n->bytes, content.data, content.len) == 0))
        return 0;
    if (n == NULL) {
        n = mem_add(path, NODE_FILE);
        n->uid = op->uid != (uid_t)-1 ? op->uid : 0;
        op_changed(op, CHANGE_ENTRY, "/%s", path);
    }
    free(n->bytes);
    n->bytes = xmemdup(content.len > 0 ? content.data : "", content.len);
    n->len = content.len;
    n->mtime_ns = clock_unix_ns();
    n->commits++;
    op_changed(op, CHANGE_CONTENT, "/%s", path);
    return 0;
}

static int mem_open(struct op *op, void *self, const char *path, unsigned flags,
                    struct node_file **ret)
{
    struct mem_node *n;
    guard(&mem.lock);

    (void)self;
    mem.opens++;
    if (mem_see(op, path) < 0)
        return -ENOENT;
    n = mem_find(path);
    if (n != NULL && n->type == NODE_DIR)
        return -EISDIR;
    if (n == NULL && (flags & NODE_CREATE) == 0)
        return op_fail(op, ENOENT, "no '%s'", path);
    if (n != NULL && (flags & NODE_EXCL) != 0)
        return -EEXIST;
    if ((flags & NODE_WRITE) == 0)
        return node_bytes_open(slice_of(n->bytes, n->len), mem_flags(path, NODE_FILE), ret);
    if (in(path, "locked"))
        return op_fail(op, EACCES, "'%s' is locked", path);
    if (n == NULL && strlen(path) > 8 && strcmp(path + strlen(path) - 8, ".refused") == 0)
        return op_fail(op, EINVAL, "'%s' is no good name", path);
    return node_buffer_open(
        &(struct node_buffer){.publish = mem_publish,
                              .ctx = xstrdup(path),
                              .free_ctx = free,
                              .initial = n != NULL && (flags & NODE_TRUNC) == 0
                                             ? slice_of(n->bytes, n->len)
                                             : (struct slice){0},
                              .limit_bytes = 4 << 20,
                              .flags = mem_flags(path, NODE_FILE),
                              .dirty = n == NULL || (flags & NODE_TRUNC) != 0},
        ret);
}

static int mem_readlink(struct op *op, void *self, const char *path, const char **ret)
{
    struct mem_node *n;
    guard(&mem.lock);

    (void)self;
    n = mem_find(path);
    if (n == NULL || n->type != NODE_SYMLINK)
        return -ENOENT;
    *ret = op_strdup(op, n->bytes);
    return 0;
}

static int mem_mkdir(struct op *op, void *self, const char *path, mode_t mode)
{
    guard(&mem.lock);

    (void)self;
    if (mem_find(path) != NULL)
        return op_fail(op, EEXIST, "'%s' exists", path);
    mem_add(path, NODE_DIR)->mode = mode;
    op_changed(op, CHANGE_ENTRY, "/%s", path);
    return 0;
}

static bool has_children(const char *path)
{
    for (struct mem_node *n = mem.nodes; n != NULL; n = n->hh.next)
        if (in(n->path, path) && strcmp(n->path, path) != 0)
            return true;
    return false;
}

static int mem_remove(struct op *op, void *self, const char *path)
{
    struct mem_node *n;
    guard(&mem.lock);

    (void)self;
    n = mem_find(path);
    if (n == NULL)
        return op_fail(op, ENOENT, "no '%s'", path);
    if (has_children(path))
        return op_fail(op, ENOTEMPTY, "'%s' is not empty", path);
    mem_delete(n);
    op_changed(op, CHANGE_ENTRY, "/%s", path);
    return 0;
}

static void mem_rekey(struct mem_node *n, size_t from_len, const char *to)
{
    char *path = NULL;

    if (asprintf(&path, "%s%s", to, n->path + from_len) < 0)
        abort();
    HASH_DEL(mem.nodes, n);
    free(n->path);
    n->path = path;
    HASH_ADD_KEYPTR(hh, mem.nodes, n->path, strlen(n->path), n);
}

static int mem_rename(struct op *op, void *self, const char *from, const char *to, unsigned flags)
{
    struct mem_node *n, *after, *over;
    guard(&mem.lock);

    (void)self;
    n = mem_find(from);
    over = mem_find(to);
    if (n == NULL)
        return op_fail(op, ENOENT, "no '%s'", from);
    if (over != NULL && (flags & NODE_NOREPLACE) != 0)
        return -EEXIST;
    if (over != NULL)
        mem_delete(over);
    HASH_ITER(hh, mem.nodes, n, after)
    {
        if (in(n->path, from))
            mem_rekey(n, strlen(from), to);
    }
    op_changed(op, CHANGE_ENTRY | CHANGE_SUBTREE, "/%s", from);
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/%s", to);
    return 0;
}

static int mem_symlink(struct op *op, void *self, const char *path, const char *target)
{
    struct mem_node *n;
    guard(&mem.lock);

    (void)self;
    n = mem_find(path);
    if (n != NULL && n->type != NODE_SYMLINK)
        return -EEXIST;
    if (n == NULL)
        n = mem_add(path, NODE_SYMLINK);
    free(n->bytes);
    n->bytes = xstrdup(target);
    n->len = strlen(target);
    n->commits++;
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/%s", path);
    return 0;
}

static int mem_setattr(struct op *op, void *self, const char *path, const mode_t *mode,
                       const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns)
{
    struct mem_node *n;
    guard(&mem.lock);

    (void)self;
    n = mem_find(path);
    if (n == NULL)
        return op_fail(op, ENOENT, "no '%s'", path);
    if (mode != NULL)
        n->mode = *mode;
    if (uid != NULL)
        n->uid = *uid;
    if (gid != NULL)
        n->gid = *gid;
    if (mtime_ns != NULL)
        n->mtime_ns = *mtime_ns;
    op_changed(op, CHANGE_CONTENT, "/%s", path);
    return 0;
}

static const struct node_ops mem_tree = {
    .stat = mem_stat, .list = mem_list, .open = mem_open, .readlink = mem_readlink,
    .mkdir = mem_mkdir, .rmdir = mem_remove, .unlink = mem_remove, .rename = mem_rename,
    .symlink = mem_symlink, .setattr = mem_setattr,
};
static const char *const mem_roots[] = {"", NULL};
static const struct domain mem_domain = {.name = "mem", .tree = &mem_tree, .roots = mem_roots};
static struct domain_instance mem_instance = {&mem_domain, NULL};

/* As if it came over HTTP: the caches are right when this returns. */
static void outside_put(const char *path, const char *text)
{
    struct op op;

    op_init(&op, DOOR_HTTP, &root_identity);
    if (mem_publish(&op, (void *)(uintptr_t)path, slice_str(text)) < 0)
        abort();
    feed_publish(feed, &op, true);
    op_done(&op);
}

__attribute__((unused)) static void outside_delete(const char *path)
{
    struct op op;

    op_init(&op, DOOR_HTTP, &root_identity);
    if (mem_remove(&op, NULL, path) < 0)
        abort();
    feed_publish(feed, &op, true);
    op_done(&op);
}

static unsigned commits_of(const char *path)
{
    struct mem_node *n;
    guard(&mem.lock);

    n = mem_find(path);
    return n != NULL ? n->commits : 0;
}

/* The published content, or NULL; freed with the next call. */
static const char *content_of(const char *path)
{
    static char text[8192];
    struct mem_node *n;
    guard(&mem.lock);

    n = mem_find(path);
    if (n == NULL)
        return NULL;
    snprintf(text, sizeof text, "%s", n->bytes);
    return text;
}

/* Back to empty folders, and whoever cached the old ones hears of it. */
static void mem_clear(void)
{
    static const char *const folders[] = {"secret", "secret/app", "plain", "fixed", "locked",
                                          "many"};
    struct mem_node *n, *after;
    struct op op;

    op_init(&op, DOOR_HTTP, &root_identity);
    pthread_mutex_lock(&mem.lock);
    HASH_ITER(hh, mem.nodes, n, after)
    {
        op_changed(&op, CHANGE_ENTRY | CHANGE_SUBTREE, "/%s", n->path);
        mem_delete(n);
    }
    for (size_t i = 0; i < array_size(folders); i++) {
        mem_add(folders[i], NODE_DIR);
        op_changed(&op, CHANGE_ENTRY, "/%s", folders[i]);
    }
    pthread_mutex_unlock(&mem.lock);
    feed_publish(feed, &op, true);
    op_done(&op);
}

/* The mount. */
struct mount {
    char base[64];
    char path[80], data[80], scratch[80];
    const char *events_program;
    struct tree *tree;
    struct fs *fs;
};

static void mount_stop(struct mount *m)
{
    fs_stop(m->fs);
    m->fs = NULL;
}

static int mount_start(struct mount *m)
{
    struct buf why = {0};
    struct fs_options options = {.mount = m->path, .scratch_dir = m->scratch, .data = m->data,
                                 .tree = m->tree, .feed = feed,
                                 .events_program = m->events_program};
    int r = fs_start(&options, &m->fs, &why);

    if (r < 0)
        print_error("fs_start: %s\n", why.data != NULL ? why.data : strerror(-r));
    buf_done(&why);
    return r;
}

static struct mount *mount_new(void)
{
    struct mount *m = xcalloc(1, sizeof *m);

    snprintf(m->base, sizeof m->base, "/tmp/fs-unit-XXXXXX");
    if (mkdtemp(m->base) == NULL || chmod(m->base, 0755) < 0)
        abort();
    snprintf(m->path, sizeof m->path, "%s/mnt", m->base);
    snprintf(m->data, sizeof m->data, "%s/data", m->base);
    snprintf(m->scratch, sizeof m->scratch, "%s/data/scratch", m->base);
    if (mkdir(m->path, 0755) < 0 || mkdir(m->data, 0700) < 0 || mkdir(m->scratch, 0700) < 0)
        abort();
    feed = feed_new();
    m->tree = tree_new(&mem_instance, 1);
    mem_clear();
    return m;
}

static void mount_free(struct mount *m)
{
    char command[200];

    mount_stop(m);
    tree_free(m->tree);
    while (mem.nodes != NULL)
        mem_delete(mem.nodes);
    feed_free(feed);
    snprintf(command, sizeof command, "rm -rf --one-file-system %s", m->base);
    if (system(command) != 0)
        print_error("left behind: %s\n", m->base);
    free(m);
}

/* A shell command in the mount; its exit code. What it printed is in output. */
static char output[16384];

static int run(const struct mount *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int run(const struct mount *m, const char *format, ...)
{
    char script[4096], command[5000];
    size_t n = 0;
    va_list args;
    FILE *pipe;
    int status;

    va_start(args, format);
    vsnprintf(script, sizeof script, format, args);
    va_end(args);
    snprintf(command, sizeof command, "cd %s && export LC_ALL=C && { %s\n} 2>&1", m->path, script);
    pipe = popen(command, "re");
    assert_non_null(pipe);
    n = fread(output, 1, sizeof output - 1, pipe);
    output[n] = 0;
    status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool mount_possible(void)
{
    return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0;
}

#endif
