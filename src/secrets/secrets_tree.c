/* secrets_tree.c: the secrets of the mount secret/ as folders and files. */
#include "secrets/secrets.h"

#include "base/scope.h"
#include "secrets/tree_change.h"
#include "secrets/tree_file.h"
#include "secrets/tree_name.h"
#include "secrets/tree_seal.h"

#include <errno.h>
#include <stdio.h>

#define XATTR_VERSION "user.vault.version"

/* Who asks owns what it sees: rights are decided here, and tools that want their own 0600 key file
 * are content. */
static struct node_stat owned(const struct op *op, enum node_type type)
{
    return (struct node_stat){
        .type = type,
        .flags = NODE_SECRET,
        .mode = type == NODE_DIR ? 0700 : 0600,
        .uid = op->uid != (uid_t)-1 ? op->uid : 0,
        .gid = op->gid != (gid_t)-1 ? op->gid : 0,
    };
}

static void stat_folder(struct op *op, const char *path, int64_t mtime_ns, bool writable,
                        struct node_stat *ret)
{
    *ret = owned(op, NODE_DIR);
    ret->mtime_ns = mtime_ns;
    if (writable && place_may_add(op, path))
        ret->flags |= NODE_WRITABLE;
}

static void stat_bytes(struct op *op, size_t len, int64_t mtime_ns, struct node_stat *ret)
{
    *ret = owned(op, NODE_FILE);
    ret->flags |= NODE_AUDIT;
    ret->size_bytes = len;
    ret->mtime_ns = mtime_ns;
}

static int64_t folder_mtime(const struct place *p)
{
    int64_t t = p->has_folder ? p->folder.created_ns : 0;

    return p->has_secret && p->secret.updated_ns > t ? p->secret.updated_ns : t;
}

static int stat_place(struct op *op, struct place *p, struct node_stat *ret)
{
    struct slice text = {0};
    int r = p->is_root ? 0 : place_check_visible(op, p);

    if (r < 0)
        return r;
    switch (p->kind) {
    case PLACE_FOLDER:
        stat_folder(op, p->path, folder_mtime(p), true, ret);
        return 0;
    case PLACE_VERSIONS:
    case PLACE_VERSION:
        stat_folder(op, p->path,
                    p->kind == PLACE_VERSION ? p->version.created_ns : p->secret.updated_ns, false,
                    ret);
        return 0;
    case PLACE_WATCH:
        stat_bytes(op, 0, 0, ret);
        ret->flags |= NODE_COMPUTED | NODE_VOLATILE;
        ret->mode = 0400;
        return 0;
    case PLACE_FIELD:
    case PLACE_OLD_FIELD:
        stat_bytes(op, value_bytes(op, &p->content, p->member).len, p->version.created_ns, ret);
        if (p->kind == PLACE_OLD_FIELD)
            ret->mode = 0400;
        return 0;
    default:
        r = alias_render(op, p, &text);
        stat_bytes(op, text.len, p->secret.updated_ns, ret);
        return r;
    }
}

static int tree_do_stat(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    struct place p;
    int r;

    if (tree_is_seal(path))
        return seal_stat(op, self, ret);
    r = place_find(op, self, path, &p);
    if (r < 0)
        return r;
    op->wiped = true;
    r = stat_place(op, &p, ret);
    place_done(&p);
    return r;
}

/* Has the folder an entry of this name? The list is sorted by name. */
static bool has_child(const struct kv_entry *list, size_t n, struct slice name)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (slice_cmp(list[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < n && slice_eq(list[low].name, name); low++) {
        if (list[low].kind == KV_FOLDER ? (list[low].folder_flags & KV_HIDDEN) == 0
                                        : kv_is_live(&list[low]))
            return true;
    }
    return false;
}

static int list_fields(struct op *op, struct place *p, const struct kv_entry *children, size_t n,
                       node_emit_fn *emit, void *ctx)
{
    int r = 0;

    for (size_t i = 0; i < p->object.n && r == 0; i++) {
        const struct member *m = &p->object.members[i];
        const char *name = tree_field_name(op, m->key);
        struct node_stat st;

        if (name != NULL && has_child(children, n, m->key))
            name = op_printf(op, TREE_KEY_PREFIX "%s", name);
        if (name == NULL || strlen(name) > 255)
            continue;
        stat_bytes(op, value_bytes(op, &p->content, m).len, p->version.created_ns, &st);
        r = emit(ctx, name, &st);
    }
    return r;
}

static int emit_child(struct op *op, const struct place *p, const struct kv_entry *e,
                      node_emit_fn *emit, void *ctx)
{
    const char *path = op_printf(op, "%s%s%.*s", p->path, p->path[0] != 0 ? "/" : "",
                                 (int)e->name.len, (const char *)e->name.data);
    const char *name = tree_folder_name(op, e->name);
    struct node_stat st;

    if (name == NULL || !place_is_visible(op, path))
        return 0;
    stat_folder(op, path, e->kind == KV_SECRET ? e->updated_ns : e->created_ns, true, &st);
    return emit(ctx, name, &st);
}

static int list_folder(struct op *op, struct place *p, node_emit_fn *emit, void *ctx)
{
    struct kv_entry *list = NULL;
    size_t n = 0;
    int r = 0;

    if (p->is_root || p->has_folder)
        r = kv_list(op, p->mount->kv, p->path, &list, &n);
    for (size_t i = 0; i < n && r == 0; i++) {
        bool again = i > 0 && slice_eq(list[i].name, list[i - 1].name);

        if (list[i].kind == KV_FOLDER ? (list[i].folder_flags & KV_HIDDEN) != 0
                                      : !kv_is_live(&list[i]))
            continue;
        if (again && kv_is_live(&list[i - 1])) /* a secret and a folder are one entry */
            continue;
        r = emit_child(op, p, &list[i], emit, ctx);
    }
    if (r == 0 && p->has_secret && place_may(op, p->path, POLICY_READ)) {
        r = place_load(op, p);
        if (r == 0)
            r = list_fields(op, p, list, n, emit, ctx);
    }
    return r;
}

static int list_versions(struct op *op, const struct place *p, node_emit_fn *emit, void *ctx)
{
    int r = 0;

    for (size_t i = 0; i < p->secret.n_versions && r == 0; i++) {
        struct kv_version v;
        struct node_stat st;
        char name[16];

        kv_version_at(&p->secret, i, &v);
        if (!v.destroyed && !kv_version_is_live(&v))
            continue;
        snprintf(name, sizeof name, "%u", v.number);
        stat_folder(op, p->path, v.created_ns, false, &st);
        r = emit(ctx, name, &st);
    }
    return r;
}

static int list_place(struct op *op, struct place *p, node_emit_fn *emit, void *ctx)
{
    int r = p->is_root ? 0 : place_check_visible(op, p);

    if (r < 0)
        return r;
    if (p->kind == PLACE_FOLDER)
        return list_folder(op, p, emit, ctx);
    if (p->kind == PLACE_VERSIONS)
        return list_versions(op, p, emit, ctx);
    if (p->kind == PLACE_VERSION)
        return list_fields(op, p, NULL, 0, emit, ctx);
    return -ENOTDIR;
}

static int tree_do_list(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx)
{
    struct place p;
    int r = place_find(op, self, path, &p);

    if (r < 0)
        return r;
    op->wiped = true;
    /* Sealed, the root has no services; the other areas are listed there all the same. */
    if (path[0] != 0 || (p.mount != NULL && secrets_check(self, op) == 0))
        r = list_place(op, &p, emit, ctx);
    place_done(&p);
    return r == -ESHUTDOWN ? -EACCES : r;
}

static int tree_do_open(struct op *op, void *self, const char *path, unsigned flags,
                        struct node_file **ret)
{
    struct place p;
    int r;

    if (tree_is_seal(path))
        return seal_open(op, self, flags, ret);
    r = place_find(op, self, path, &p);
    if (r < 0)
        return r;
    op->wiped = true;
    if (p.kind == PLACE_FOLDER || p.kind == PLACE_VERSIONS || p.kind == PLACE_VERSION)
        r = -EISDIR;
    else if (p.kind == PLACE_ABSENT && (flags & NODE_CREATE) == 0)
        r = -ENOENT;
    else if (p.kind == PLACE_ABSENT || p.kind == PLACE_FIELD || p.kind == PLACE_OLD_FIELD)
        r = field_open(op, &p, flags, ret);
    else if (p.kind == PLACE_DOCKER_ENV && (flags & NODE_WRITE) != 0)
        r = op_fail(op, EROFS, "'%s' can only be read; write @env", path);
    else if (p.kind == PLACE_WATCH)
        r = (flags & NODE_WRITE) == 0 ? watch_open(op, &p, ret)
                                      : op_fail(op, EROFS, "'%s' is computed, not stored", path);
    else
        r = alias_open(op, &p, flags, ret);
    place_done(&p);
    return r;
}

static int tree_do_setattr(struct op *op, void *self, const char *path, const mode_t *mode,
                           const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns)
{
    struct node_stat st;

    (void)mode;
    (void)uid;
    (void)gid;
    (void)mtime_ns;
    return tree_do_stat(op, self, path, &st);
}

/* user.vault.version: of the secret that a field belongs to. */
static int tree_do_getxattr(struct op *op, void *self, const char *path, const char *name,
                            struct slice *ret)
{
    struct place p;
    int r = place_find(op, self, path, &p);

    if (r < 0)
        return r;
    if (!p.is_root)
        r = place_check_visible(op, &p);
    if (r == 0 && (strcmp(name, XATTR_VERSION) != 0 || p.secret.n_versions == 0))
        r = -ENODATA;
    if (r == 0) {
        bool old = p.kind == PLACE_OLD_FIELD || p.kind == PLACE_VERSION;

        *ret = slice_str(op_printf(op, "%u", old ? p.version.number : p.secret.current));
    }
    place_done(&p);
    return r;
}

static int tree_do_listxattr(struct op *op, void *self, const char *path, node_emit_fn *emit,
                             void *ctx)
{
    struct slice unused;
    int r = tree_do_getxattr(op, self, path, XATTR_VERSION, &unused);

    if (r < 0)
        return r == -ENODATA ? 0 : r;
    emit(ctx, XATTR_VERSION, NULL);
    return 0;
}

const struct node_ops secrets_tree = {
    .stat = tree_do_stat,
    .list = tree_do_list,
    .open = tree_do_open,
    .mkdir = tree_mkdir_folder,
    .rmdir = tree_rmdir_folder,
    .unlink = tree_unlink_field,
    .rename = tree_rename_place,
    .setattr = tree_do_setattr,
    .getxattr = tree_do_getxattr,
    .listxattr = tree_do_listxattr,
};
