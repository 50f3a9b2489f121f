/* rootfs/ as nodes of the tree. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "images/rootfs/tar.h"
#include "images/rootfs/tar_sparse.h"
#include "images/rootfs/view.h"

#include <errno.h>
#include <sys/sysmacros.h>

DEFINE_SCOPE(view, struct view, view_unref)

/* The inode of a place, and the view that it is in; a reference. */
static int find(struct op *op, struct images *im, const struct place *p, struct view **ret_view,
                struct merged *ret)
{
    scope_cleanup(scope_view) struct view *v = NULL;
    int r = view_get(op, im, p, &v);

    if (r == 0)
        r = view_open(op, im, p, v);
    if (r == 0)
        r = merge_find(op, &v->merge, rootfs_path(p->rest), ret);
    if (r == 0)
        *ret_view = take(v);
    return r;
}

/* One inode number for all names of a file, in every image that has the layer. */
static uint64_t key_of(const struct view *v, const struct merged *f)
{
    uint64_t layer = be64_get(v->layers[f->layer]->digest.bytes);
    uint64_t key = layer ^ (f->number + 1) * UINT64_C(0x9e3779b97f4a7c15);

    return key != 0 ? key : 1;
}

static enum node_type type_of(uint8_t type)
{
    switch (type) {
    case INDEX_FOLDER:
        return NODE_DIR;
    case INDEX_SYMLINK:
        return NODE_SYMLINK;
    case INDEX_CHAR:
        return NODE_CHAR;
    case INDEX_BLOCK:
        return NODE_BLOCK;
    case INDEX_FIFO:
        return NODE_FIFO;
    default:
        return NODE_FILE;
    }
}

static void stat_of(const struct view *v, const struct merged *f, struct node_stat *ret)
{
    const struct index_inode *n = &f->inode;

    *ret = (struct node_stat){
        .type = type_of(n->type),
        .flags = NODE_EXACT_MODE | (n->type == INDEX_FILE ? NODE_IMMUTABLE : 0),
        .mode = n->type == INDEX_SYMLINK ? 0777 : n->mode,
        .uid = n->uid,
        .gid = n->gid,
        .nlink = n->nlink,
        .size_bytes = n->type == INDEX_FILE      ? n->size_bytes
                      : n->type == INDEX_SYMLINK ? n->count
                                                 : 0,
        .mtime_ns = f->layer != MERGE_NOWHERE ? n->mtime_ns : v->pushed_unix_ms * 1000000,
    };
    if (n->type == INDEX_CHAR || n->type == INDEX_BLOCK)
        ret->device = makedev((unsigned)(n->data >> 32), (unsigned)n->data);
    if (n->type != INDEX_FOLDER)
        ret->key = key_of(v, f);
}

/* Its own folder is told without reading a layer: `ls -l` of the manifest's folder asks for it. */
static void stat_top(const struct view *v, struct node_stat *ret)
{
    node_fixed(NODE_DIR, 0, v->pushed_unix_ms, ret);
    ret->mode = 0755;
}

int rootfs_node_stat(struct op *op, struct images *im, const struct place *p, struct node_stat *ret)
{
    scope_cleanup(scope_view) struct view *v = NULL;
    struct merged f;
    int r;

    if (rootfs_path(p->rest)[0] == 0) {
        r = view_get(op, im, p, &v);
        if (r == 0)
            stat_top(v, ret);
        return r;
    }
    r = find(op, im, p, &v, &f);
    if (r == 0)
        stat_of(v, &f, ret);
    return r;
}

struct listing {
    const struct view *view;
    node_emit_fn *emit;
    void *ctx;
};

static int emit_child(void *ctx, const char *name, const struct merged *child)
{
    struct listing *l = ctx;
    struct node_stat st;

    stat_of(l->view, child, &st);
    return l->emit(l->ctx, name, &st);
}

int rootfs_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                     void *ctx)
{
    scope_cleanup(scope_view) struct view *v = NULL;
    struct listing l = {.emit = emit, .ctx = ctx};
    struct merged f;
    int r = find(op, im, p, &v, &f);

    if (r < 0)
        return r;
    if (f.inode.type != INDEX_FOLDER)
        return -ENOTDIR;
    l.view = v;
    r = merge_list(op, &v->merge, &f, emit_child, &l);
    return r < 0 ? r : 0;
}

/* An open file. */
struct layer_file {
    struct node_file file;
    struct view *view;
    struct layer *layer; /* of the view */
    struct layer_bytes *bytes;
    uint64_t offset; /* of the content in the archive */
    bool sparse;
    struct buf map; /* of a sparse file */
};

static size_t clip(const struct node_file *f, uint64_t offset, size_t n)
{
    if (offset >= f->size_bytes)
        return 0;
    return f->size_bytes - offset < n ? (size_t)(f->size_bytes - offset) : n;
}

/* Of what is stored of the file. */
static int read_stored(struct op *op, struct layer_file *file, uint64_t at, void *buf, size_t n)
{
    ssize_t got = n > 0 ? layer_read(file->layer, file->bytes, file->offset + at, buf, n) : 0;

    if (got < 0)
        return op_fail(op, (int)-got, "the layer cannot be read: %s", strerror((int)-got));
    if ((size_t)got < n)
        return op_fail(op, EIO, "the layer is shorter than its index says; run infrafs scrub");
    return 0;
}

/* Pieces of it are stored; the rest is zeros. */
static int read_sparse(struct op *op, struct layer_file *file, uint64_t offset, char *buf, size_t n)
{
    int r = 0;

    while (r == 0 && n > 0) {
        uint64_t from, length, stored, part;

        if (sparse_find(buf_slice(&file->map), offset, &from, &length, &stored) < 0)
            from = offset + n;
        if (from > offset) {
            part = from - offset < n ? from - offset : n;
            memset(buf, 0, part);
        } else {
            part = from + length - offset < n ? from + length - offset : n;
            r = read_stored(op, file, stored + (offset - from), buf, part);
        }
        buf += part;
        offset += part;
        n -= part;
    }
    return r;
}

static ssize_t layer_file_read(struct op *op, struct node_file *f, uint64_t offset, void *buf,
                               size_t n)
{
    struct layer_file *file = (struct layer_file *)f;
    size_t want = clip(f, offset, n);
    int r = file->sparse ? read_sparse(op, file, offset, buf, want)
                         : read_stored(op, file, offset, buf, want);

    return r < 0 ? r : (ssize_t)want;
}

static int layer_file_lend(struct op *op, struct node_file *f, uint64_t offset, size_t n,
                           struct blob_loan *ret)
{
    struct layer_file *file = (struct layer_file *)f;

    (void)op;
    if (file->layer->index.foot.kind != UNPACK_PLAIN || file->sparse)
        return -ENOTSUP;
    return blob_lend(file->bytes->blob, file->offset + offset, clip(f, offset, n), ret);
}

static void layer_file_close(struct node_file *f)
{
    struct layer_file *file = (struct layer_file *)f;

    layer_bytes_unref(file->bytes);
    view_unref(file->view);
    buf_done(&file->map);
    free(file);
}

static const struct node_file_ops layer_file_ops = {
    .read = layer_file_read,
    .lend = layer_file_lend,
    .close = layer_file_close,
};

static int check_readable(struct op *op, const struct place *p, const struct merged *f)
{
    if (f->inode.type == INDEX_FOLDER)
        return -EISDIR;
    if (f->inode.type != INDEX_FILE)
        return op_fail(op, EINVAL, "'%s' is not a file", rootfs_path(p->rest));
    return 0;
}

int rootfs_node_open(struct op *op, struct images *im, const struct place *p,
                     struct node_file **ret)
{
    scope_cleanup(scope_view) struct view *v = NULL;
    struct layer_bytes *bytes;
    struct layer_file *file;
    struct merged f;
    int r = find(op, im, p, &v, &f);

    if (r == 0)
        r = check_readable(op, p, &f);
    if (r == 0)
        r = layer_bytes_open(v->fs->layers, &v->digests[f.layer], &bytes);
    if (r < 0)
        return r;
    file = xcalloc(1, sizeof *file);
    file->file = (struct node_file){
        .ops = &layer_file_ops, .size_bytes = f.inode.size_bytes, .flags = NODE_IMMUTABLE};
    file->layer = v->layers[f.layer];
    file->bytes = bytes;
    file->offset = f.inode.data;
    file->view = take(v);
    if ((f.inode.flags & INDEX_SPARSE) != 0) {
        file->sparse = true;
        r = layer_index_map_get(&file->layer->index, &f.inode, &file->map);
    }
    if (r < 0) {
        layer_file_close(&file->file);
        return r == -EBADMSG ? -EIO : r;
    }
    if (op->door == DOOR_HTTP) { /* its server reads on in a thread that others wait for */
        char first;
        ssize_t n = layer_file_read(op, &file->file, 0, &first, 1);

        if (n < 0) {
            layer_file_close(&file->file);
            return (int)n;
        }
    }
    *ret = &file->file;
    return 0;
}

int rootfs_node_readlink(struct op *op, struct images *im, const struct place *p, const char **ret)
{
    scope_cleanup(scope_view) struct view *v = NULL;
    struct merged f;
    char *text;
    int r = find(op, im, p, &v, &f);

    if (r < 0)
        return r;
    if (f.inode.type != INDEX_SYMLINK)
        return -EINVAL;
    text = op_alloc(op, INDEX_TEXT_MAX + 1);
    r = layer_index_text_get(v->indexes[f.layer], &f.inode, text);
    *ret = text;
    return r == -EBADMSG ? -EIO : r;
}

/* The pairs of an inode, in `out`. */
static int xattrs_of(struct op *op, struct images *im, const struct place *p, struct buf *out)
{
    scope_cleanup(scope_view) struct view *v = NULL;
    struct merged f;
    int r;

    if (rootfs_path(p->rest)[0] == 0)
        return 0; /* as its attributes: without reading a layer */
    r = find(op, im, p, &v, &f);
    if (r == 0 && f.layer != MERGE_NOWHERE && f.inode.xattrs_len > 0)
        r = layer_index_xattrs_get(v->indexes[f.layer], &f.inode, out);
    return r == -EBADMSG ? -EIO : r;
}

int rootfs_node_getxattr(struct op *op, struct images *im, const struct place *p, const char *name,
                         struct slice *ret)
{
    autobuf pairs = {0};
    struct slice all, key, value;
    int r = xattrs_of(op, im, p, &pairs);

    if (r < 0)
        return r;
    all = buf_slice(&pairs);
    while ((r = tar_xattr_next(&all, &key, &value)) == 1)
        if (slice_eq(key, slice_str(name))) {
            *ret = op_slice(op, value);
            return 0;
        }
    return r < 0 ? -EIO : -ENODATA;
}

int rootfs_node_listxattr(struct op *op, struct images *im, const struct place *p,
                          node_emit_fn *emit, void *ctx)
{
    autobuf pairs = {0};
    struct slice all, key, value;
    int r = xattrs_of(op, im, p, &pairs);

    if (r < 0)
        return r;
    all = buf_slice(&pairs);
    while ((r = tar_xattr_next(&all, &key, &value)) == 1)
        if (emit(ctx, op_strndup(op, key.data, key.len), NULL) != 0)
            return 0;
    return r < 0 ? -EIO : 0;
}
