#include "images/rootfs/index.h"

#include "base/codec.h"
#include "images/rootfs/tar_sparse.h"

#include <errno.h>
#include <zstd.h>

#define MAGIC "irlayer\1"

static void be16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void layer_index_name_print(const struct index_name *n, uint8_t bytes[INDEX_NAME_BYTES])
{
    be32_put(bytes, n->text);
    be32_put(bytes + 4, n->inode);
    bytes[8] = n->len;
    bytes[9] = n->flags;
    bytes[10] = bytes[11] = 0;
}

void layer_index_inode_print(const struct index_inode *n, uint8_t bytes[INDEX_INODE_BYTES])
{
    bytes[0] = n->type;
    bytes[1] = n->flags;
    be16_put(bytes + 2, n->mode);
    be32_put(bytes + 4, n->uid);
    be32_put(bytes + 8, n->gid);
    be32_put(bytes + 12, n->nlink);
    be64_put(bytes + 16, (uint64_t)n->mtime_ns);
    be64_put(bytes + 24, n->size_bytes);
    be64_put(bytes + 32, n->data);
    be32_put(bytes + 40, n->first);
    be32_put(bytes + 44, n->count);
    be32_put(bytes + 48, n->xattrs);
    be32_put(bytes + 52, n->xattrs_len);
}

void layer_index_point_print(const struct index_point *p, uint8_t bytes[INDEX_POINT_BYTES])
{
    be64_put(bytes, p->at.out);
    be64_put(bytes + 8, p->at.in);
    be64_put(bytes + 16, p->window);
    be32_put(bytes + 24, p->window_len);
    bytes[28] = p->at.bits;
    bytes[29] = bytes[30] = bytes[31] = 0;
}

void layer_index_foot_print(const struct index_foot *f, uint8_t bytes[INDEX_FOOT_BYTES])
{
    memset(bytes, 0, INDEX_FOOT_BYTES);
    memcpy(bytes, MAGIC, 8);
    be32_put(bytes + 8, (uint32_t)f->kind);
    be32_put(bytes + 12, f->n_names);
    be32_put(bytes + 16, f->n_inodes);
    be32_put(bytes + 20, f->n_points);
    be64_put(bytes + 24, f->names_at);
    be64_put(bytes + 32, f->inodes_at);
    be64_put(bytes + 40, f->points_at);
    be64_put(bytes + 48, f->texts_at);
    be64_put(bytes + 56, f->texts_len);
    be64_put(bytes + 64, f->stream_bytes);
}

/* Do n records of a size from `at` on lie before `end`? */
static bool fits(uint64_t at, uint64_t n, uint64_t size, uint64_t end)
{
    return at <= end && n <= (end - at) / size;
}

int layer_index_open(struct layer_index *x)
{
    uint8_t b[INDEX_FOOT_BYTES];
    struct index_foot f;
    uint64_t end;
    int r;

    if (x->size_bytes < INDEX_FOOT_BYTES)
        return -EBADMSG;
    end = x->size_bytes - INDEX_FOOT_BYTES;
    r = x->read(x->ctx, end, b, sizeof b);
    if (r < 0)
        return r;
    f = (struct index_foot){
        .kind = be32_get(b + 8),
        .n_names = be32_get(b + 12),
        .n_inodes = be32_get(b + 16),
        .n_points = be32_get(b + 20),
        .names_at = be64_get(b + 24),
        .inodes_at = be64_get(b + 32),
        .points_at = be64_get(b + 40),
        .texts_at = be64_get(b + 48),
        .texts_len = be64_get(b + 56),
        .stream_bytes = be64_get(b + 64),
    };
    if (memcmp(b, MAGIC, 8) != 0 || (unsigned)f.kind > UNPACK_ZSTD || f.n_inodes == 0 ||
        !fits(f.names_at, f.n_names, INDEX_NAME_BYTES, end) ||
        !fits(f.inodes_at, f.n_inodes, INDEX_INODE_BYTES, end) ||
        !fits(f.points_at, f.n_points, INDEX_POINT_BYTES, end) ||
        !fits(f.texts_at, f.texts_len, 1, end))
        return -EBADMSG;
    x->foot = f;
    return 0;
}

int layer_index_inode_get(const struct layer_index *x, uint32_t i, struct index_inode *ret)
{
    uint8_t b[INDEX_INODE_BYTES];
    int r;

    if (i >= x->foot.n_inodes)
        return -EBADMSG;
    r = x->read(x->ctx, x->foot.inodes_at + (uint64_t)i * INDEX_INODE_BYTES, b, sizeof b);
    if (r < 0)
        return r;
    *ret = (struct index_inode){
        .type = b[0],
        .flags = b[1],
        .mode = (uint16_t)(b[2] << 8 | b[3]),
        .uid = be32_get(b + 4),
        .gid = be32_get(b + 8),
        .nlink = be32_get(b + 12),
        .mtime_ns = (int64_t)be64_get(b + 16),
        .size_bytes = be64_get(b + 24),
        .data = be64_get(b + 32),
        .first = be32_get(b + 40),
        .count = be32_get(b + 44),
        .xattrs = be32_get(b + 48),
        .xattrs_len = be32_get(b + 52),
    };
    if (ret->type < INDEX_FILE || ret->type > INDEX_LINK)
        return -EBADMSG;
    if (ret->type == INDEX_FOLDER && (uint64_t)ret->first + ret->count > x->foot.n_names)
        return -EBADMSG;
    return 0;
}

static int text_at(const struct layer_index *x, uint64_t at, size_t n, void *ret)
{
    if (at > x->foot.texts_len || n > x->foot.texts_len - at)
        return -EBADMSG;
    return n > 0 ? x->read(x->ctx, x->foot.texts_at + at, ret, n) : 0;
}

int layer_index_name_get(const struct layer_index *x, uint32_t i, struct index_name *ret,
                         char text[256])
{
    uint8_t b[INDEX_NAME_BYTES];
    int r;

    if (i >= x->foot.n_names)
        return -EBADMSG;
    r = x->read(x->ctx, x->foot.names_at + (uint64_t)i * INDEX_NAME_BYTES, b, sizeof b);
    if (r < 0)
        return r;
    *ret = (struct index_name){
        .text = be32_get(b), .inode = be32_get(b + 4), .len = b[8], .flags = b[9]};
    if (ret->len == 0)
        return -EBADMSG;
    r = text_at(x, ret->text, ret->len, text);
    if (r < 0)
        return r;
    text[ret->len] = 0;
    return strlen(text) == ret->len && strchr(text, '/') == NULL ? 0 : -EBADMSG;
}

/* 1: the i-th record stands before what is looked for; 0: it does not; a negative errno. */
typedef int before_fn(void *ctx, uint32_t i);

/* The first of sorted records that does not stand before it; `to` if all do. */
static int search(uint32_t from, uint32_t to, before_fn *before, void *ctx, uint32_t *ret)
{
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        int r = before(ctx, middle);

        if (r < 0)
            return r;
        if (r > 0)
            from = middle + 1;
        else
            to = middle;
    }
    *ret = from;
    return 0;
}

struct name_search {
    const struct layer_index *index;
    struct slice name;
};

static int name_is_before(void *ctx, uint32_t i)
{
    const struct name_search *s = ctx;
    struct index_name name;
    char text[256];
    int r = layer_index_name_get(s->index, i, &name, text);

    return r < 0 ? r : slice_cmp(slice_of(text, name.len), s->name) < 0;
}

int layer_index_find(const struct layer_index *x, const struct index_inode *folder,
                     struct slice name, struct index_name *ret)
{
    struct name_search s = {x, name};
    uint32_t end = folder->first + folder->count, at = end;
    char text[256];
    int r = search(folder->first, end, name_is_before, &s, &at);

    if (r == 0 && at == end)
        r = -ENOENT;
    if (r == 0)
        r = layer_index_name_get(x, at, ret, text);
    if (r < 0)
        return r;
    return slice_eq(slice_of(text, ret->len), name) ? 0 : -ENOENT;
}

int layer_index_text_get(const struct layer_index *x, const struct index_inode *n,
                         char text[INDEX_TEXT_MAX + 1])
{
    int r;

    if (n->count > INDEX_TEXT_MAX)
        return -EBADMSG;
    r = text_at(x, n->first, n->count, text);
    if (r < 0)
        return r;
    text[n->count] = 0;
    return strlen(text) == n->count ? 0 : -EBADMSG;
}

static int bytes_get(const struct layer_index *x, uint64_t at, size_t n, size_t max,
                     struct buf *out)
{
    int r;

    buf_clear(out);
    if (n > max)
        return -EBADMSG;
    buf_reserve(out, n);
    r = text_at(x, at, n, out->data);
    if (r == 0)
        out->len = n;
    return r;
}

int layer_index_xattrs_get(const struct layer_index *x, const struct index_inode *n,
                           struct buf *out)
{
    return bytes_get(x, n->xattrs, n->xattrs_len, INDEX_XATTRS_MAX, out);
}

int layer_index_map_get(const struct layer_index *x, const struct index_inode *n, struct buf *out)
{
    int r = bytes_get(x, n->first, n->count, SPARSE_MAP_MAX + SPARSE_PIECE_BYTES, out);

    return r == 0 && out->len % SPARSE_PIECE_BYTES != 0 ? -EBADMSG : r;
}

static int point_get(const struct layer_index *x, uint32_t i, struct index_point *ret)
{
    uint8_t b[INDEX_POINT_BYTES];
    int r = x->read(x->ctx, x->foot.points_at + (uint64_t)i * INDEX_POINT_BYTES, b, sizeof b);

    if (r < 0)
        return r;
    *ret = (struct index_point){
        .at = {.out = be64_get(b), .in = be64_get(b + 8), .bits = b[28] & 7},
        .window = be64_get(b + 16),
        .window_len = be32_get(b + 24),
    };
    return 0;
}

struct point_search {
    const struct layer_index *index;
    uint64_t offset;
};

static int point_is_before(void *ctx, uint32_t i)
{
    const struct point_search *s = ctx;
    struct index_point p;
    int r = point_get(s->index, i, &p);

    return r < 0 ? r : p.at.out <= s->offset;
}

int layer_index_point_find(const struct layer_index *x, uint64_t offset, struct index_point *ret,
                           uint32_t *ret_number, uint64_t *ret_end)
{
    struct point_search s = {x, offset};
    struct index_point next;
    uint32_t behind = 0;
    int r = search(0, x->foot.n_points, point_is_before, &s, &behind);

    if (r < 0)
        return r;
    if (behind == 0)
        return -EBADMSG;
    *ret_number = behind - 1;
    *ret_end = x->foot.stream_bytes;
    if (behind < x->foot.n_points) {
        r = point_get(x, behind, &next);
        if (r < 0)
            return r;
        *ret_end = next.at.out;
    }
    r = point_get(x, behind - 1, ret);
    return r < 0 ? r : ret->at.out <= offset && offset < *ret_end ? 0 : -EBADMSG;
}

/* What a window may have become; of gzip it is small. */
static size_t window_max(const struct layer_index *x)
{
    return x->foot.kind == UNPACK_ZSTD ? UNPACK_STATE_MAX : UNPACK_WINDOW;
}

int layer_index_window_get(const struct layer_index *x, const struct index_point *p,
                           struct buf *out)
{
    size_t max = window_max(x), n;
    autobuf packed = {0};
    unsigned long long size;
    int r;

    if (p->window_len == 0)
        return 0;
    if (p->window_len > ZSTD_compressBound(max) || p->window > x->size_bytes ||
        p->window_len > x->size_bytes - p->window)
        return -EBADMSG;
    buf_reserve(&packed, p->window_len);
    r = x->read(x->ctx, p->window, packed.data, p->window_len);
    if (r < 0)
        return r;
    size = ZSTD_getFrameContentSize(packed.data, p->window_len);
    if (size > max) /* or unknown */
        return -EBADMSG;
    buf_reserve(out, size);
    n = ZSTD_decompress(out->data + out->len, size, packed.data, p->window_len);
    if (ZSTD_isError(n))
        return -EBADMSG;
    out->len += n;
    return 0;
}
