/* infrafs_tree.c: `.htpasswd`, `.status` and `.infra/`. What a caller has no right to is not there.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"
#include "identity/audit.h"
#include "identity/userfile.h"
#include "infrafs/infrafs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define POLICIES ".infra/policies"
#define SUFFIX   ".hcl"

enum place {
    PLACE_NONE,
    PLACE_USERS,
    PLACE_FOLDER,
    PLACE_STATUS,
    PLACE_HEALTH,
    PLACE_READY,
    PLACE_VERSION,
    PLACE_CONFIG,
    PLACE_METRICS,
    PLACE_ERRORS,
    PLACE_AUDIT,
    PLACE_GC,
    PLACE_BACKUP,
    PLACE_SCRUB,
    PLACE_POLICIES,
    PLACE_POLICY,
};

/* The files with a fixed name, and the policy path a reader needs; NULL: everyone may. */
static const struct file {
    const char *path;
    enum place place;
    const char *right;
} files[] = {
    {".htpasswd", PLACE_USERS, "sys/users"},
    {".status", PLACE_STATUS, "tree/.status"},
    {".infra/status", PLACE_STATUS, "tree/.status"},
    {".infra/health", PLACE_HEALTH, NULL},
    {".infra/ready", PLACE_READY, NULL},
    {".infra/version", PLACE_VERSION, NULL},
    {".infra/config", PLACE_CONFIG, "sys/config"},
    {".infra/metrics", PLACE_METRICS, "metrics"},
    {".infra/errors", PLACE_ERRORS, NULL},
    {".infra/audit.log", PLACE_AUDIT, "sys/audit"},
    {".infra/gc", PLACE_GC, "sys/gc"},
    {".infra/backup", PLACE_BACKUP, "sys/backup"},
    {".infra/scrub", PLACE_SCRUB, "sys/scrub"},
};

/* The policy a path names, in the op; NULL if it names none. */
static const char *policy_name(struct op *op, const char *path)
{
    size_t len = strlen(path), skip = sizeof POLICIES;

    if (len <= skip + strlen(SUFFIX) || strncmp(path, POLICIES "/", skip) != 0 ||
        strcmp(path + len - strlen(SUFFIX), SUFFIX) != 0 || strchr(path + skip, '/') != NULL)
        return NULL;
    return op_strndup(op, path + skip, len - skip - strlen(SUFFIX));
}

/* Where a path is, if the caller may see it. `rights` are those it needs there. */
static enum place find_place(struct op *op, const char *path, unsigned rights,
                             const char **ret_policy)
{
    if (strcmp(path, ".infra") == 0)
        return PLACE_FOLDER;
    for (size_t i = 0; i < array_size(files); i++)
        if (strcmp(path, files[i].path) == 0)
            return files[i].right == NULL || identity_may(op, rights, "%s", files[i].right)
                       ? files[i].place
                       : PLACE_NONE;
    if (strcmp(path, POLICIES) == 0)
        return identity_may(op, POLICY_LIST, "sys/policies/acl") ? PLACE_POLICIES : PLACE_NONE;
    *ret_policy = policy_name(op, path);
    if (*ret_policy != NULL && identity_may(op, rights, "sys/policies/acl/%s", *ret_policy))
        return PLACE_POLICY;
    return PLACE_NONE;
}

static bool is_writable(enum place place)
{
    return place == PLACE_USERS || place == PLACE_GC || place == PLACE_BACKUP ||
           place == PLACE_SCRUB || place == PLACE_POLICY;
}

/* A file of the host. */
static int stat_host(const char *path, struct node_stat *ret)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        if (errno != ENOENT)
            return -errno;
        st = (struct stat){0}; /* no users yet: an empty file, which may be written */
    }
    *ret = (struct node_stat){
        .type = NODE_FILE,
        .flags = NODE_SECRET | NODE_VOLATILE | NODE_AUDIT,
        .mode = 0600,
        .size_bytes = (uint64_t)st.st_size,
        .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
    };
    return 0;
}

static int stat_policy(struct infrafs *self, struct op *op, const char *name, struct node_stat *ret)
{
    struct slice text;
    int r = policies_get(self->env.identities, op, name, &text);

    if (r < 0)
        return r;
    *ret = (struct node_stat){
        .type = NODE_FILE,
        .flags = NODE_SECRET | NODE_VOLATILE | NODE_AUDIT,
        .mode = 0600,
        .size_bytes = text.len,
    };
    return 0;
}

static int tree_stat_node(struct op *op, void *arg, const char *path, struct node_stat *ret)
{
    struct infrafs *self = arg;
    const char *policy = NULL;
    enum place place = find_place(op, path, POLICY_READ, &policy);

    switch (place) {
    case PLACE_NONE:
        return -ENOENT;
    case PLACE_USERS:
        return stat_host(users_path(self->env.identities), ret);
    case PLACE_AUDIT:
        return stat_host(self->env.config->audit_file, ret);
    case PLACE_POLICY:
        return stat_policy(self, op, policy, ret);
    case PLACE_FOLDER:
        *ret = (struct node_stat){.type = NODE_DIR, .flags = NODE_VOLATILE};
        return 0;
    case PLACE_POLICIES:
        *ret = (struct node_stat){.type = NODE_DIR, .flags = NODE_VOLATILE, .mode = 0700};
        if (identity_may(op, POLICY_UPDATE, "sys/policies/acl/x"))
            ret->flags |= NODE_WRITABLE;
        return 0;
    default:
        *ret = (struct node_stat){
            .type = NODE_FILE,
            .flags = NODE_SECRET | NODE_VOLATILE | NODE_COMPUTED,
            .mode = is_writable(place) ? 0644 : 0444,
        };
        return 0;
    }
}

struct listing {
    struct op *op;
    node_emit_fn *emit;
    void *ctx;
};

static int list_policy(void *ctx, const char *name)
{
    struct listing *l = ctx;

    if (!identity_may(l->op, POLICY_READ, "sys/policies/acl/%s", name))
        return 0;
    return l->emit(l->ctx, op_printf(l->op, "%s" SUFFIX, name), NULL);
}

/* Files here that other domains answer for. */
static int list_of_others(struct infrafs *self, struct listing *l)
{
    const struct daemon *daemon = self->env.daemon;
    const size_t skip = strlen(".infra/");

    for (size_t i = 0; daemon != NULL && i < daemon->n_domains; i++) {
        const struct domain *d = daemon->domains[i].domain;

        for (size_t k = 0; d->roots != NULL && d->roots[k] != NULL; k++) {
            struct node_stat st;

            if (d->tree == NULL || strncmp(d->roots[k], ".infra/", skip) != 0 ||
                d->tree->stat(l->op, daemon->domains[i].self, d->roots[k], &st) < 0 ||
                st.type != NODE_FILE)
                continue;
            if (l->emit(l->ctx, d->roots[k] + skip, NULL) != 0)
                return 1;
        }
    }
    op_forgive(l->op);
    return 0;
}

static int list_folder(struct infrafs *self, struct listing *l)
{
    const size_t skip = strlen(".infra/");
    const char *policy = NULL;

    for (size_t i = 0; i < array_size(files); i++) {
        if (strncmp(files[i].path, ".infra/", skip) != 0 ||
            find_place(l->op, files[i].path, POLICY_READ, &policy) == PLACE_NONE)
            continue;
        if (l->emit(l->ctx, files[i].path + skip, NULL) != 0)
            return 0;
    }
    if (list_of_others(self, l) != 0)
        return 0;
    if (find_place(l->op, POLICIES, POLICY_READ, &policy) == PLACE_POLICIES)
        l->emit(l->ctx, "policies", NULL);
    return 0;
}

static int tree_list_nodes(struct op *op, void *arg, const char *path, node_emit_fn *emit,
                           void *ctx)
{
    struct infrafs *self = arg;
    struct listing listing = {.op = op, .emit = emit, .ctx = ctx};
    const char *policy = NULL;
    int r;

    switch (find_place(op, path, POLICY_READ, &policy)) {
    case PLACE_NONE:
        return -ENOENT;
    case PLACE_FOLDER:
        return list_folder(self, &listing);
    case PLACE_POLICIES:
        r = policies_list(self->env.identities, list_policy, &listing);
        return r < 0 ? r : 0;
    default:
        return -ENOTDIR;
    }
}

/* The audit log is read in place: it may be 100 MiB. A reader has it as long as it was at open. */
struct log_file {
    struct node_file file;
    int fd;
};

static ssize_t log_read(struct op *op, struct node_file *f, uint64_t offset, void *buf, size_t n)
{
    struct log_file *log = (struct log_file *)f;
    ssize_t got;

    (void)op;
    if (offset >= f->size_bytes)
        return 0;
    if (n > f->size_bytes - offset)
        n = f->size_bytes - offset;
    got = pread(log->fd, buf, n, (off_t)offset);
    return got < 0 ? -errno : got;
}

static void log_close(struct node_file *f)
{
    struct log_file *log = (struct log_file *)f;

    close(log->fd);
    free(log);
}

static int open_log(struct infrafs *self, struct node_file **ret)
{
    static const struct node_file_ops ops = {.read = log_read, .close = log_close};
    struct log_file *log;
    struct stat st;
    int fd;

    if (self->env.config->audit_file[0] == 0)
        return -ENOENT;
    fd = open(self->env.config->audit_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -ENOENT;
    }
    log = xcalloc(1, sizeof *log);
    log->file = (struct node_file){
        .ops = &ops,
        .size_bytes = (uint64_t)st.st_size,
        .flags = NODE_SECRET | NODE_VOLATILE | NODE_AUDIT,
    };
    log->fd = fd;
    *ret = &log->file;
    return 0;
}

static void print_file(struct infrafs *self, struct op *op, enum place place, struct buf *out)
{
    switch (place) {
    case PLACE_STATUS:
        report_status(self, out);
        break;
    case PLACE_HEALTH:
    case PLACE_READY:
        if (report_health(self, out) == 0)
            buf_add_str(out, "ok");
        buf_add_char(out, '\n');
        break;
    case PLACE_VERSION:
        buf_add_str(out, "infrafs " INFRAFS_VERSION "\n");
        break;
    case PLACE_CONFIG:
        config_dump(self->env.config, out);
        break;
    case PLACE_METRICS:
        report_metrics(self, out);
        break;
    case PLACE_GC:
        reaper_print(self, out);
        break;
    case PLACE_BACKUP:
        backup_print(self, out);
        break;
    case PLACE_SCRUB:
        scrub_print(self, out);
        break;
    default:
        refusals_print(op, out);
    }
}

/* A file that is being written: which, and whose daemon it is. */
struct edit {
    struct infrafs *self;
    enum place place;
    char *policy;
};

static void free_edit(void *ctx)
{
    struct edit *e = ctx;

    free(e->policy);
    free(e);
}

static int publish_users(struct edit *e, struct op *op, struct slice content)
{
    struct identities *ids = e->self->env.identities;
    const char *path = users_path(ids);
    autobuf why = {0};
    int r;

    if (users_check(content, &why) < 0)
        return op_fail(op, EINVAL, "%s", why.data);
    r = file_replace(path, content, 0600);
    if (r == 0)
        r = users_reload(ids);
    if (r < 0)
        return op_fail(op, -r, "user file '%s': %s", path, strerror(-r));
    op_changed(op, CHANGE_CONTENT, "/.htpasswd");
    return 0;
}

static int publish_gc(struct edit *e, struct op *op, struct slice content)
{
    const char *text = content.data;

    while (content.len > 0 && isspace((unsigned char)text[content.len - 1]))
        content.len--;
    if (slice_eq(content, SLICE("run")))
        return reaper_run(e->self, op, false);
    if (slice_eq(content, SLICE("dry-run")))
        return reaper_run(e->self, op, true);
    return op_fail(op, EINVAL, "write 'run' or 'dry-run'");
}

static int publish(struct op *op, void *ctx, struct slice content)
{
    struct edit *e = ctx;
    int r;

    if (e->place == PLACE_USERS)
        return publish_users(e, op, content);
    if (e->place == PLACE_GC)
        return publish_gc(e, op, content);
    if (e->place == PLACE_BACKUP)
        return backup_make(e->self, op, content);
    if (e->place == PLACE_SCRUB)
        return scrub_command(e->self, op, content);
    r = policies_put(e->self->env.identities, op, e->policy, content);
    if (r == 0)
        op_changed(op, CHANGE_CONTENT | CHANGE_ENTRY, "/" POLICIES "/%s" SUFFIX, e->policy);
    return r;
}

static int open_to_write(struct infrafs *self, enum place place, const char *policy,
                         unsigned flags, struct slice initial, bool dirty, struct node_file **ret)
{
    struct edit *e = xcalloc(1, sizeof *e);
    struct node_buffer buffer = {
        .publish = publish,
        .ctx = e,
        .free_ctx = free_edit,
        .initial = flags & NODE_TRUNC ? SLICE("") : initial,
        .limit_bytes = place == PLACE_USERS ? USERFILE_MAX_BYTES : 1 << 20,
        .flags = NODE_SECRET | NODE_VOLATILE,
        .dirty = dirty,
    };
    e->self = self;
    e->place = place;
    e->policy = policy != NULL ? xstrdup(policy) : NULL;
    return node_buffer_open(&buffer, ret);
}

/* What is in the file now. -ENOENT if there is none yet. */
static int load(struct infrafs *self, struct op *op, enum place place, const char *policy,
                struct buf *ret)
{
    struct slice text;
    int r;

    if (place == PLACE_USERS) {
        r = file_read(users_path(self->env.identities), USERFILE_MAX_BYTES, ret);
        return r == -ENOENT ? 0 : r;
    }
    if (place != PLACE_POLICY) {
        print_file(self, op, place, ret);
        return 0;
    }
    r = policies_get(self->env.identities, op, policy, &text);
    if (r == 0)
        buf_add_slice(ret, text);
    return r;
}

static int tree_open_node(struct op *op, void *arg, const char *path, unsigned flags,
                          struct node_file **ret)
{
    struct infrafs *self = arg;
    bool writes = (flags & NODE_WRITE) != 0;
    const char *policy = NULL;
    enum place place = find_place(op, path, writes ? POLICY_UPDATE : POLICY_READ, &policy);
    bool fresh = false;
    autobuf text = {0};
    int r;

    if (place == PLACE_NONE)
        return -ENOENT;
    if (place == PLACE_FOLDER || place == PLACE_POLICIES)
        return -EISDIR;
    if (writes && !is_writable(place))
        return op_fail(op, EROFS, "'%s' cannot be written", path);
    if (place == PLACE_AUDIT)
        return open_log(self, ret);
    r = load(self, op, place, policy, &text);
    if (r == -ENOENT && (flags & NODE_CREATE) != 0) {
        op_forgive(op);
        fresh = true;
        r = 0;
    } else if (r == 0 && (flags & NODE_EXCL) != 0) {
        r = -EEXIST;
    }
    if (r < 0)
        return r;
    if (writes) {
        bool emptied = (flags & NODE_TRUNC) != 0 && text.len > 0 && place != PLACE_GC &&
                       place != PLACE_BACKUP && place != PLACE_SCRUB;

        return open_to_write(self, place, policy, flags, buf_slice(&text), fresh || emptied, ret);
    }
    flags = NODE_SECRET | NODE_VOLATILE;
    if (place == PLACE_USERS || place == PLACE_POLICY)
        flags |= NODE_AUDIT;
    return node_bytes_open(buf_slice(&text), flags, ret);
}

static int tree_unlink_node(struct op *op, void *arg, const char *path)
{
    struct infrafs *self = arg;
    const char *policy = NULL;
    enum place place = find_place(op, path, POLICY_DELETE, &policy);
    int r;

    if (place == PLACE_NONE)
        return -ENOENT;
    if (place != PLACE_POLICY)
        return op_fail(op, EPERM, "'%s' cannot be removed", path);
    r = policies_delete(self->env.identities, op, policy);
    if (r == 0)
        op_changed(op, CHANGE_ENTRY, "/%s", path);
    return r;
}

/* Nothing is kept: owner and mode follow from the policies. */
static int tree_setattr_node(struct op *op, void *arg, const char *path, const mode_t *mode,
                             const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns)
{
    struct node_stat st;

    (void)mode;
    (void)uid;
    (void)gid;
    (void)mtime_ns;
    return tree_stat_node(op, arg, path, &st);
}

const struct node_ops infrafs_tree = {
    .stat = tree_stat_node,
    .list = tree_list_nodes,
    .open = tree_open_node,
    .unlink = tree_unlink_node,
    .setattr = tree_setattr_node,
};
