#include "tree.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "domain.h"

#include <errno.h>

#define ROOTS_MAX 64

struct root {
    const char *path;
    size_t len;
    const struct domain_instance *domain;
};

/* Immutable once made, so that no call takes a lock. */
struct tree {
    struct root roots[ROOTS_MAX]; /* longest first: the first that fits is the answer */
    size_t n_roots;
};

static void add_root(struct tree *t, const char *path, const struct domain_instance *domain)
{
    struct root root = {path, strlen(path), domain};
    size_t at = t->n_roots;

    if (t->n_roots == ROOTS_MAX)
        abort(); /* the table of domains is ours */
    while (at > 0 && t->roots[at - 1].len < root.len) {
        t->roots[at] = t->roots[at - 1];
        at--;
    }
    t->roots[at] = root;
    t->n_roots++;
}

struct tree *tree_new(struct domain_instance *domains, size_t n)
{
    struct tree *t = xcalloc(1, sizeof *t);

    for (size_t i = 0; i < n; i++) {
        const struct domain *d = domains[i].domain;

        if (d->tree == NULL)
            continue;
        if (d->roots == NULL)
            add_root(t, d->name, &domains[i]);
        for (size_t k = 0; d->roots != NULL && d->roots[k] != NULL; k++)
            add_root(t, d->roots[k], &domains[i]);
    }
    return t;
}

void tree_free(struct tree *t)
{
    free(t);
}

/* Is `path` the folder, or below it? Every path is below "". */
static bool below(const char *path, const char *folder, size_t len)
{
    return len == 0 || (strncmp(path, folder, len) == 0 && (path[len] == 0 || path[len] == '/'));
}

static const struct root *root_of(const struct tree *t, const char *path)
{
    for (size_t i = 0; i < t->n_roots; i++)
        if (below(path, t->roots[i].path, t->roots[i].len))
            return &t->roots[i];
    return NULL;
}

/* Is this exactly the root of a domain (not "")? */
static bool is_root(const struct tree *t, const char *path)
{
    const struct root *root = root_of(t, path);

    return root != NULL && root->len > 0 && path[root->len] == 0;
}

/* Does some root lie below this path? Then it is a folder, whoever answers for it. */
static bool leads_to_root(const struct tree *t, const char *path)
{
    size_t len = strlen(path);

    if (len == 0)
        return true;
    for (size_t i = 0; i < t->n_roots; i++)
        if (t->roots[i].len > len && below(t->roots[i].path, path, len))
            return true;
    return false;
}

/* The call to the domain that answers for a path, or what a NULL member means. */
#define DISPATCH(member, missing, ...)                                                             \
    do {                                                                                           \
        const struct root *root_ = root_of(t, path);                                               \
        if (root_ == NULL || root_->domain->domain->tree->member == NULL)                          \
            return (missing);                                                                      \
        return root_->domain->domain->tree->member(op, root_->domain->self, __VA_ARGS__);          \
    } while (0)

static int refuse_readonly(struct op *op, const char *path)
{
    return op_fail(op, EROFS, "'%s' cannot be changed through the tree", path);
}

static int stat_in_domain(struct tree *t, struct op *op, const char *path, struct node_stat *ret)
{
    DISPATCH(stat, -ENOENT, path, ret);
}

int tree_stat(struct tree *t, struct op *op, const char *path, struct node_stat *ret)
{
    int r;

    *ret = (struct node_stat){0};
    r = stat_in_domain(t, op, path, ret);
    if (r != -ENOENT || !leads_to_root(t, path))
        return r;
    op_forgive(op);
    *ret = (struct node_stat){.type = NODE_DIR};
    return 0;
}

/* Passes a domain's own entries on, but for names that are roots: those were listed before. */
struct merge {
    const struct tree *tree;
    const char *folder;
    node_emit_fn *emit;
    void *ctx;
    int stopped;
};

/* The root that is `name` in `folder`, or NULL. */
static const struct root *child_root(const struct tree *t, const char *folder, const char *name)
{
    size_t len = strlen(folder);
    size_t skip = len > 0 ? len + 1 : 0;

    for (size_t i = 0; i < t->n_roots; i++) {
        const struct root *root = &t->roots[i];

        if (root->len > skip && below(root->path, folder, len) &&
            strcmp(root->path + skip, name) == 0)
            return root;
    }
    return NULL;
}

static int merge_emit(void *ctx, const char *name, const struct node_stat *st)
{
    struct merge *m = ctx;

    if (child_root(m->tree, m->folder, name) != NULL)
        return 0;
    m->stopped = m->emit(m->ctx, name, st);
    return m->stopped;
}

static int list_in_domain(struct tree *t, struct op *op, const char *path, struct merge *merge)
{
    DISPATCH(list, -ENOENT, path, merge_emit, merge);
}

/* Emits the roots directly in `folder` that the caller may see, but for those with a dot. */
static int list_roots(struct tree *t, struct op *op, struct merge *m)
{
    size_t len = strlen(m->folder);
    size_t skip = len > 0 ? len + 1 : 0;

    for (size_t i = 0; i < t->n_roots && m->stopped == 0; i++) {
        const struct root *root = &t->roots[i];
        struct node_stat st;
        int r;

        if (root->len <= skip || !below(root->path, m->folder, len) ||
            strchr(root->path + skip, '/') != NULL || root->path[skip] == '.')
            continue;
        r = tree_stat(t, op, root->path, &st);
        if (r == 0)
            m->stopped = m->emit(m->ctx, root->path + skip, &st);
        else if (r != -ENOENT && r != -EACCES)
            return r;
        else
            op_forgive(op);
    }
    return 0;
}

int tree_list(struct tree *t, struct op *op, const char *path, node_emit_fn *emit, void *ctx)
{
    struct merge merge = {.tree = t, .folder = path, .emit = emit, .ctx = ctx};
    bool leads = leads_to_root(t, path);
    int r = leads ? list_roots(t, op, &merge) : 0;

    if (r < 0 || merge.stopped != 0)
        return r;
    r = list_in_domain(t, op, path, &merge);
    if (r == -ENOENT && leads) {
        op_forgive(op);
        return 0;
    }
    return r;
}

int tree_open(struct tree *t, struct op *op, const char *path, unsigned flags,
              struct node_file **ret)
{
    const struct root *root = root_of(t, path);

    if (root != NULL && root->domain->domain->tree->open != NULL)
        return root->domain->domain->tree->open(op, root->domain->self, path, flags, ret);
    return (flags & NODE_WRITE) != 0 ? refuse_readonly(op, path) : -ENOENT;
}

int tree_readlink(struct tree *t, struct op *op, const char *path, const char **ret)
{
    DISPATCH(readlink, -ENOENT, path, ret);
}

static int refuse_taken(struct op *op, const char *path)
{
    return op_fail(op, EEXIST, "'%s' is a reserved name of the tree", path);
}

static int refuse_root(struct op *op, const char *path)
{
    return op_fail(op, EBUSY, "'%s' is a part of the tree and stays", path);
}

int tree_mkdir(struct tree *t, struct op *op, const char *path, mode_t mode)
{
    if (is_root(t, path) || leads_to_root(t, path))
        return refuse_taken(op, path);
    DISPATCH(mkdir, refuse_readonly(op, path), path, mode);
}

int tree_rmdir(struct tree *t, struct op *op, const char *path)
{
    struct node_stat st;

    if (leads_to_root(t, path) ||
        (is_root(t, path) && tree_stat(t, op, path, &st) == 0 && st.type == NODE_DIR))
        return refuse_root(op, path);
    DISPATCH(rmdir, refuse_readonly(op, path), path);
}

int tree_unlink(struct tree *t, struct op *op, const char *path)
{
    DISPATCH(unlink, refuse_readonly(op, path), path);
}

int tree_rename(struct tree *t, struct op *op, const char *from, const char *to, unsigned flags)
{
    const struct root *source = root_of(t, from);
    const struct root *target = root_of(t, to);
    const struct node_ops *ops;

    if (is_root(t, from) || leads_to_root(t, from))
        return refuse_root(op, from);
    if (source == NULL || target == NULL || source->domain != target->domain)
        return op_fail(op, EXDEV, "'%s' and '%s' are of different areas; copy it", from, to);
    ops = source->domain->domain->tree;
    if (ops->rename == NULL)
        return refuse_readonly(op, from);
    return ops->rename(op, source->domain->self, from, to, flags);
}

int tree_symlink(struct tree *t, struct op *op, const char *path, const char *target)
{
    if (is_root(t, path) || leads_to_root(t, path))
        return refuse_taken(op, path);
    DISPATCH(symlink, refuse_readonly(op, path), path, target);
}

int tree_setattr(struct tree *t, struct op *op, const char *path, const mode_t *mode,
                 const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns)
{
    DISPATCH(setattr, refuse_readonly(op, path), path, mode, uid, gid, mtime_ns);
}

int tree_getxattr(struct tree *t, struct op *op, const char *path, const char *name,
                  struct slice *ret)
{
    DISPATCH(getxattr, -ENOTSUP, path, name, ret);
}

int tree_setxattr(struct tree *t, struct op *op, const char *path, const char *name,
                  struct slice value)
{
    DISPATCH(setxattr, -ENOTSUP, path, name, value);
}

int tree_listxattr(struct tree *t, struct op *op, const char *path, node_emit_fn *emit, void *ctx)
{
    DISPATCH(listxattr, -ENOTSUP, path, emit, ctx);
}

int tree_path_check(struct slice path)
{
    const char *p = path.data;
    const char *end = p + path.len;

    if (path.len > 4095)
        return -ENAMETOOLONG;
    if (path.len == 0)
        return 0;
    if (memchr(p, 0, path.len) != NULL)
        return -EINVAL;
    for (;;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t n = (size_t)((slash != NULL ? slash : end) - p);

        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return -EINVAL;
        if (n > 255)
            return -ENAMETOOLONG;
        if (slash == NULL)
            return 0;
        p = slash + 1;
    }
}
