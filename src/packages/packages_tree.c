#include "packages/packages_tree.h"

#include "base/scope.h"
#include "identity/identity.h"
#include "packages/contents.h"
#include "packages/pages.h"
#include "packages/place.h"
#include "packages/render.h"
#include "packages/state.h"
#include "packages/trash.h"

#include <errno.h>

#define XATTR_YANKED "user.pypi.yanked"
#define XATTR_SHA256 "user.pypi.sha256"
#define XATTR_STATUS "user.pypi.status" /* of a project: "archived", "archived: reason" */

static void stat_folder(struct op *op, struct packages *pk, const char *writable_in,
                        struct node_stat *ret)
{
    bool writable =
        writable_in != NULL && identity_may(op, POLICY_CREATE, "packages/%s", writable_in);

    *ret = (struct node_stat){
        .type = NODE_DIR,
        .mode = writable ? 0755 : 0555,
        .flags = writable ? NODE_WRITABLE : 0,
        .mtime_ns = pk->env.daemon != NULL ? pk->env.daemon->started_unix_ms * 1000000 : 0,
    };
}

static void stat_file(const struct package_file *f, struct node_stat *ret)
{
    *ret = (struct node_stat){
        .type = NODE_FILE,
        .mode = 0644,
        .flags = NODE_IMMUTABLE,
        .size_bytes = f->size_bytes,
        .mtime_ns = f->uploaded_unix_ns,
    };
}

static void stat_metadata(const struct package_file *f, struct node_stat *ret)
{
    stat_file(f, ret);
    ret->mode = 0444;
    ret->size_bytes = f->metadata.size_bytes;
}

/* The bytes of a computed file. */
static int compute(struct op *op, struct packages *pk, const struct place *p, struct buf *out)
{
    struct web_page *page;
    int r;

    if (p->kind == PLACE_SUMS)
        return render_sums(op, pk, p->project, out);
    r = pages_get(op, pk, p->project, p->kind == PLACE_JSON ? PAGE_V1_JSON : PAGE_HTML, true,
                  &page);
    if (r < 0)
        return r;
    buf_add_slice(out, page->bytes);
    web_page_unref(page);
    return 0;
}

static int stat_computed(struct op *op, struct packages *pk, const struct place *p,
                         struct node_stat *ret)
{
    autobuf text = {0};
    int r = compute(op, pk, p, &text);

    if (r < 0)
        return r;
    stat_folder(op, pk, NULL, ret);
    ret->type = NODE_FILE;
    ret->mode = 0444;
    ret->size_bytes = text.len;
    return 0;
}

static int tree_stat_node(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    struct packages *pk = self;
    struct package_file f;
    struct place p;
    bool files;
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    switch (p.kind) {
    case PLACE_ROOT:
    case PLACE_ALL:
        stat_folder(op, pk, p.kind == PLACE_ROOT ? "" : NULL, ret);
        return 0;
    case PLACE_PROJECT:
    case PLACE_METADATA:
        r = project_get(op, pk, p.project, NULL, &files);
        if (r == 0)
            stat_folder(op, pk, p.kind == PLACE_PROJECT ? p.project : NULL, ret);
        return r;
    case PLACE_FILE:
    case PLACE_METADATA_FILE:
        r = package_place_find(op, pk, &p, &f);
        if (r < 0)
            return r;
        if (p.kind == PLACE_FILE)
            stat_file(&f, ret);
        else
            stat_metadata(&f, ret);
        return p.kind == PLACE_FILE || f.metadata.size_bytes > 0 ? 0
                                                                 : package_place_absent(op, path);
    case PLACE_CONTENTS:
        return contents_stat(op, pk, &p, ret);
    case PLACE_TRASH:
    case PLACE_TRASH_ID:
    case PLACE_TRASH_FILE:
        return trash_stat(op, pk, &p, ret);
    default:
        return stat_computed(op, pk, &p, ret);
    }
}

struct listing {
    struct op *op;
    struct packages *pk;
    node_emit_fn *emit;
    void *ctx;
    bool metadata;
};

static int emit_project(void *ctx, const char *project, const char *display, bool has_files)
{
    struct listing *l = ctx;
    struct node_stat st;

    (void)display, (void)has_files;
    if (!project_visible(l->op, project))
        return 0;
    stat_folder(l->op, l->pk, project, &st);
    return l->emit(l->ctx, project, &st);
}

static int emit_file(void *ctx, const struct package_file *f)
{
    struct listing *l = ctx;
    struct node_stat st;

    if (l->metadata && f->metadata.size_bytes == 0)
        return 0;
    if (l->metadata)
        stat_metadata(f, &st);
    else
        stat_file(f, &st);
    return l->emit(l->ctx, f->name, &st);
}

/* With memory of its own for each project: all files there are may be many. */
static int emit_files_of(void *ctx, const char *project, const char *display, bool has_files)
{
    struct listing *l = ctx;
    struct op op;
    int r;

    (void)display;
    if (!has_files || !project_visible(l->op, project))
        return 0;
    op_init(&op, l->op->door, l->op->who);
    r = project_offers_files(&op, l->pk, project);
    if (r == 0)
        r = package_each(&op, l->pk, project, emit_file, l);
    if (r == -ENOENT || r == -EACCES) /* it went away meanwhile, or is quarantined */
        r = 0;
    else if (r < 0)
        r = op_fail(l->op, -r, "%s", op_why(&op, r));
    op_done(&op);
    return r;
}

static int tree_list_node(struct op *op, void *self, const char *path, node_emit_fn *emit,
                          void *ctx)
{
    struct listing l = {op, self, emit, ctx, false};
    struct place p;
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    l.metadata = p.kind == PLACE_METADATA;
    if (p.kind == PLACE_ROOT)
        r = project_each(op, self, emit_project, &l);
    else if (p.kind == PLACE_ALL)
        r = project_each(op, self, emit_files_of, &l);
    else if (p.kind == PLACE_PROJECT || p.kind == PLACE_METADATA)
        r = package_each(op, self, p.project, emit_file, &l);
    else if (p.kind == PLACE_CONTENTS)
        r = contents_list(op, self, &p, emit, ctx);
    else if (p.kind >= PLACE_TRASH)
        r = trash_list(op, self, &p, emit, ctx);
    else
        r = op_fail(op, ENOTDIR, "'%s' is not a folder", path);
    return r < 0 ? r : 0; /* the receiver may have had enough */
}

static int open_reader(struct op *op, struct packages *pk, const struct place *p,
                       struct node_file **ret)
{
    struct package_file f;
    struct blob *blob;
    int r = package_place_find(op, pk, p, &f);

    if (r == 0)
        r = identity_check(op, POLICY_READ, "packages/%s", f.project);
    if (r < 0)
        return r;
    if (p->kind == PLACE_METADATA_FILE && f.metadata.size_bytes == 0)
        return package_place_absent(op, p->file);
    r = project_offers_files(op, pk, f.project);
    if (r < 0)
        return r;
    r = blob_open(pk->store, p->kind == PLACE_FILE ? &f.digest : &f.metadata.digest, &blob);
    if (r < 0)
        return op_fail(op, EIO, "the content of '%s' cannot be read", p->file);
    return node_blob_open(blob, NODE_IMMUTABLE, ret);
}

static int open_computed(struct op *op, struct packages *pk, const struct place *p,
                         struct node_file **ret)
{
    autobuf text = {0};
    int r = compute(op, pk, p, &text);

    return r < 0 ? r : node_bytes_open(buf_slice(&text), 0, ret);
}

static int open_writer(struct op *op, struct packages *pk, const struct place *p, const char *path,
                       unsigned flags, struct node_file **ret)
{
    struct package_filename name;
    struct package_file f;
    autobuf why = {0};
    bool there;
    int r;

    if (p->kind != PLACE_FILE || p->alias)
        return op_fail(op, EROFS, "'%s' cannot be written; copy the file to packages/", path);
    if (package_filename_parse(slice_str(p->file), &name, &why) < 0)
        return op_fail(op, EINVAL, "%s", why.data);
    while (p->project != NULL && strcmp(name.normal, p->project) != 0)
        if (!package_filename_next(&name))
            return op_fail(op, EINVAL, "'%s' is not a file of project '%s'", p->file, p->project);
    r = package_place_find(op, pk, p, &f);
    if (r < 0 && r != -ENOENT)
        return r;
    there = r == 0;
    if (!there && !(flags & NODE_CREATE))
        return r;
    op_forgive(op);
    if (there && (flags & NODE_EXCL))
        return op_fail(op, EEXIST, "'%s' is published already", p->file);
    return tree_file_open(op, pk, p->file, there ? &f : NULL, flags, ret);
}

static int tree_open_node(struct op *op, void *self, const char *path, unsigned flags,
                          struct node_file **ret)
{
    struct node_stat st;
    struct place p;
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    if (flags & NODE_WRITE)
        return open_writer(op, self, &p, path, flags, ret);
    switch (p.kind) {
    case PLACE_FILE:
    case PLACE_METADATA_FILE:
        return open_reader(op, self, &p, ret);
    case PLACE_HTML:
    case PLACE_JSON:
    case PLACE_SUMS:
        return open_computed(op, self, &p, ret);
    case PLACE_CONTENTS:
        return contents_open(op, self, &p, ret);
    case PLACE_TRASH:
    case PLACE_TRASH_ID:
    case PLACE_TRASH_FILE:
        return trash_open(op, self, &p, ret);
    default:
        r = tree_stat_node(op, self, path, &st);
        return r < 0 ? r : op_fail(op, EISDIR, "'%s' is a folder", path);
    }
}

static int tree_unlink_node(struct op *op, void *self, const char *path)
{
    struct package_file f;
    struct place p;
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    if (p.kind >= PLACE_TRASH)
        return op_fail(op, EROFS, "what is in the trash goes when its grace ends");
    if (p.kind == PLACE_ROOT || p.kind == PLACE_PROJECT || p.kind == PLACE_ALL ||
        p.kind == PLACE_METADATA)
        return op_fail(op, EISDIR, "'%s' is a folder", path);
    if (p.kind != PLACE_FILE || p.alias)
        return op_fail(op, EROFS, "'%s' is computed; delete the file in its project", path);
    r = package_place_find(op, self, &p, &f);
    return r < 0 ? r : package_delete(op, self, f.project, f.name);
}

static int tree_mkdir_node(struct op *op, void *self, const char *path, mode_t mode)
{
    char normal[PROJECT_NAME_MAX + 1];
    const char *head, *rest = path_head(op, path, &head);
    int r;

    (void)mode;
    rest = path_head(op, rest, &head);
    if (rest[0] != 0 || path[0] == '.')
        return op_fail(op, EPERM, "a project has no folders in it");
    if (!project_name_valid(slice_str(head)))
        return op_fail(op, EINVAL, "'%s' is not a valid name of a project", head);
    project_name_normalise(slice_str(head), normal);
    r = identity_check(op, POLICY_CREATE, "packages/%s", normal);
    return r < 0 ? r : project_make(op, self, normal);
}

static int tree_rmdir_node(struct op *op, void *self, const char *path)
{
    struct place p;
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    if (p.kind != PLACE_PROJECT)
        return op_fail(op, p.kind == PLACE_FILE ? ENOTDIR : EROFS, "'%s' stays", path);
    r = identity_check(op, POLICY_DELETE, "packages/%s", p.project);
    return r < 0 ? r : project_remove(op, self, p.project);
}

/* Moving a file out of the trash publishes it again, under its own name. */
static int rename_from_trash(struct op *op, struct packages *pk, const struct place *from,
                             const char *to)
{
    struct place q;
    int r = package_place_parse(op, to, &q);

    if (r < 0)
        return r;
    if (q.kind != PLACE_FILE || q.alias || from->kind != PLACE_TRASH_FILE ||
        strcmp(q.file, from->file) != 0)
        return op_fail(op, EPERM, "a file goes back from the trash to packages/, by its own name");
    return trash_restore(op, pk, from);
}

/* A release keeps its name; two paths of one file may be renamed to each other: nothing happens. */
static int tree_rename_node(struct op *op, void *self, const char *from, const char *to,
                            unsigned flags)
{
    struct package_file a, b;
    struct node_stat st;
    struct place p, q;
    int r = tree_stat_node(op, self, from, &st);

    (void)flags;
    if (r == 0)
        r = package_place_parse(op, from, &p);
    if (r < 0)
        return r;
    if (p.kind >= PLACE_TRASH)
        return rename_from_trash(op, self, &p, to);
    if (p.kind == PLACE_FILE && package_place_parse(op, to, &q) == 0 && q.kind == PLACE_FILE &&
        !q.alias && package_place_find(op, self, &p, &a) == 0 &&
        package_place_find(op, self, &q, &b) == 0 && strcmp(a.id, b.id) == 0)
        return 0;
    op_forgive(op);
    return op_fail(op, EPERM, "'%s' cannot be renamed; a release keeps its name", from);
}

/* What cp -p and rsync set is accepted; a published file keeps its own. */
static int tree_setattr_node(struct op *op, void *self, const char *path, const mode_t *mode,
                             const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns)
{
    struct node_stat st;

    (void)mode, (void)uid, (void)gid, (void)mtime_ns;
    return tree_stat_node(op, self, path, &st);
}

static int get_status(struct op *op, struct packages *pk, const char *project, struct slice *ret)
{
    struct project_status status;
    int r = project_status_get(op, pk, project, &status);

    if (r < 0)
        return r;
    if (status.state == PROJECT_ACTIVE && status.reason[0] == 0)
        return -ENODATA;
    *ret = slice_str(op_printf(op, "%s%s%s", project_state_names[status.state],
                               status.reason[0] != 0 ? ": " : "", status.reason));
    return 0;
}

/* NULL value: active again. */
static int set_status(struct op *op, struct packages *pk, const char *project, struct slice value)
{
    struct project_status status = {PROJECT_ACTIVE, ""};
    struct slice before;
    int r = 0;

    if (value.data != NULL)
        r = project_status_parse(op, value, &status);
    else
        r = get_status(op, pk, project, &before);
    return r < 0 ? r : project_status_set(op, pk, project, &status);
}

static int tree_getxattr_node(struct op *op, void *self, const char *path, const char *name,
                              struct slice *ret)
{
    struct package_file f;
    struct place p;
    char hex[DIGEST_TEXT_MAX];
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    if (p.kind == PLACE_PROJECT && strcmp(name, XATTR_STATUS) == 0)
        return get_status(op, self, p.project, ret);
    if (p.kind != PLACE_FILE)
        return -ENODATA;
    r = package_place_find(op, self, &p, &f);
    if (r < 0)
        return r;
    if (strcmp(name, XATTR_YANKED) == 0 && f.yanked != NULL)
        *ret = slice_str(f.yanked);
    else if (strcmp(name, XATTR_SHA256) == 0)
        *ret = slice_str(op_strdup(op, digest_print(&f.digest, hex) + strlen("sha256:")));
    else
        return -ENODATA;
    return 0;
}

static int tree_setxattr_node(struct op *op, void *self, const char *path, const char *name,
                              struct slice value)
{
    struct package_file f;
    struct place p;
    const char *reason = NULL;
    int r = package_place_parse(op, path, &p);

    if (r < 0)
        return r;
    if (p.kind == PLACE_PROJECT && strcmp(name, XATTR_STATUS) == 0)
        return set_status(op, self, p.project, value);
    if (p.kind != PLACE_FILE || strcmp(name, XATTR_YANKED) != 0)
        return op_fail(op, ENOTSUP,
                       "only " XATTR_YANKED " of a release file and " XATTR_STATUS
                       " of a project can be set");
    if (value.data != NULL)
        reason = op_strndup(op, value.data, value.len);
    if (reason != NULL && strlen(reason) != value.len)
        return op_fail(op, EINVAL, "the reason for a yank holds a NUL");
    r = package_place_find(op, self, &p, &f);
    if (r == 0 && reason == NULL && f.yanked == NULL)
        return -ENODATA;
    return r < 0 ? r : package_yank(op, self, f.project, f.name, reason);
}

static int tree_listxattr_node(struct op *op, void *self, const char *path, node_emit_fn *emit,
                               void *ctx)
{
    struct package_file f;
    struct slice status;
    struct place p;
    int r = package_place_parse(op, path, &p);

    if (r == 0 && p.kind == PLACE_PROJECT && get_status(op, self, p.project, &status) == 0)
        r = emit(ctx, XATTR_STATUS, NULL);
    if (r < 0 || p.kind != PLACE_FILE)
        return r < 0 ? r : 0;
    r = package_place_find(op, self, &p, &f);
    if (r == 0)
        r = emit(ctx, XATTR_SHA256, NULL);
    if (r == 0 && f.yanked != NULL)
        r = emit(ctx, XATTR_YANKED, NULL);
    return r < 0 ? r : 0;
}

const struct node_ops packages_tree = {
    .stat = tree_stat_node,
    .list = tree_list_node,
    .open = tree_open_node,
    .mkdir = tree_mkdir_node,
    .rmdir = tree_rmdir_node,
    .unlink = tree_unlink_node,
    .rename = tree_rename_node,
    .setattr = tree_setattr_node,
    .getxattr = tree_getxattr_node,
    .setxattr = tree_setxattr_node,
    .listxattr = tree_listxattr_node,
};
