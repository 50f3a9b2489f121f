/* The tree of one layer while its archive streams by. Later entries replace earlier ones of the
 * same name, as unpacking them would; whiteouts are marks on names. */
#include "images/rootfs/build.h"

#include "base/alloc.h"
#include "base/codec.h"

#include <errno.h>
#include <stdlib.h>

#define WH          SLICE(".wh.")
#define WH_META     SLICE(".wh..wh.") /* aufs's own, but for the next */
#define WH_OPAQUE   SLICE(".wh..wh..opq")
#define WRITE_BYTES (64u << 10)

/* A name in a folder. */
struct leaf {
    uint32_t parent; /* inode of the folder */
    uint32_t inode;  /* INDEX_NONE: only a whiteout */
    uint32_t text;
    uint32_t next; /* of the folder */
    uint8_t len, flags;
};

/* Inodes are as they will stand in the index, but that `first` of a folder is its first leaf. */
struct sapling {
    const struct layer_limits *limits;
    struct index_inode *inodes;
    struct leaf *leaves;
    uint32_t n_inodes, cap_inodes, n_leaves, cap_leaves;
    uint32_t *table; /* of leaves, by folder and name; open addressing; INDEX_NONE: free */
    uint32_t table_mask;
    struct buf texts;
    unsigned entries;
};

static uint32_t add_inode(struct sapling *s, struct index_inode inode)
{
    if (s->n_inodes == s->cap_inodes) {
        s->cap_inodes = s->cap_inodes > 0 ? 2 * s->cap_inodes : 256;
        s->inodes = xrealloc(s->inodes, s->cap_inodes * sizeof *s->inodes);
    }
    s->inodes[s->n_inodes] = inode;
    return s->n_inodes++;
}

static struct index_inode implied_folder(void)
{
    return (struct index_inode){
        .type = INDEX_FOLDER,
        .flags = INDEX_IMPLIED,
        .mode = 0755,
        .nlink = 2,
        .first = INDEX_NONE,
    };
}

struct sapling *sapling_new(const struct layer_limits *limits)
{
    struct sapling *s = xcalloc(1, sizeof *s);

    s->limits = limits;
    s->table_mask = 1023;
    s->table = xmalloc((s->table_mask + 1) * sizeof *s->table);
    memset(s->table, 0xff, (s->table_mask + 1) * sizeof *s->table);
    add_inode(s, implied_folder());
    return s;
}

void sapling_free(struct sapling *s)
{
    if (s == NULL)
        return;
    buf_done(&s->texts);
    free(s->inodes);
    free(s->leaves);
    free(s->table);
    free(s);
}

/* Names. */

static uint32_t hash_of(uint32_t parent, const char *name, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ parent; /* FNV-1a */

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ h >> 32);
}

static const char *leaf_text(const struct sapling *s, const struct leaf *l)
{
    return s->texts.data + l->text;
}

static uint32_t *slot_of(struct sapling *s, uint32_t parent, const char *name, size_t n)
{
    for (uint32_t i = hash_of(parent, name, n) & s->table_mask;; i = (i + 1) & s->table_mask) {
        const struct leaf *l;

        if (s->table[i] == INDEX_NONE)
            return &s->table[i];
        l = &s->leaves[s->table[i]];
        if (l->parent == parent && l->len == n && memcmp(leaf_text(s, l), name, n) == 0)
            return &s->table[i];
    }
}

static void grow_table(struct sapling *s)
{
    s->table_mask = 2 * s->table_mask + 1;
    s->table = xrealloc(s->table, ((size_t)s->table_mask + 1) * sizeof *s->table);
    memset(s->table, 0xff, ((size_t)s->table_mask + 1) * sizeof *s->table);
    for (uint32_t i = 0; i < s->n_leaves; i++) {
        const struct leaf *l = &s->leaves[i];

        *slot_of(s, l->parent, leaf_text(s, l), l->len) = i;
    }
}

static struct leaf *find_leaf(struct sapling *s, uint32_t parent, struct slice name)
{
    uint32_t at = *slot_of(s, parent, name.data, name.len);

    return at != INDEX_NONE ? &s->leaves[at] : NULL;
}

/* The leaf of a name, made if it is not there. */
static struct leaf *leaf_of(struct sapling *s, uint32_t parent, struct slice name)
{
    uint32_t *slot = slot_of(s, parent, name.data, name.len);

    if (*slot != INDEX_NONE)
        return &s->leaves[*slot];
    if (s->n_leaves == s->cap_leaves) {
        s->cap_leaves = s->cap_leaves > 0 ? 2 * s->cap_leaves : 256;
        s->leaves = xrealloc(s->leaves, s->cap_leaves * sizeof *s->leaves);
    }
    *slot = s->n_leaves;
    s->leaves[s->n_leaves] = (struct leaf){
        .parent = parent,
        .inode = INDEX_NONE,
        .text = (uint32_t)s->texts.len,
        .next = s->inodes[parent].first,
        .len = (uint8_t)name.len,
    };
    s->inodes[parent].first = s->n_leaves;
    buf_add_slice(&s->texts, name);
    if (++s->n_leaves > s->table_mask / 2)
        grow_table(s);
    return &s->leaves[s->n_leaves - 1];
}

/* Paths. */

/* Takes the next component that counts off; absolute paths are as if they were not. ".." is left to
 * the caller. False at the end. */
static bool next_part(struct slice *path, struct slice *ret)
{
    const char *p = path->data, *end = p + path->len, *slash;

    for (;;) {
        while (p < end && *p == '/')
            p++;
        if (p == end)
            return false;
        slash = memchr(p, '/', (size_t)(end - p));
        *ret = slice_of(p, (size_t)((slash != NULL ? slash : end) - p));
        p += ret->len;
        if (ret->len != 1 || *(const char *)ret->data != '.')
            break;
    }
    *path = slice_of(p, (size_t)(end - p));
    return true;
}

struct parts {
    struct slice part[TAR_PATH_MAX / 2 + 2];
    size_t n;
};

/* A path, with ".." worked out; what would lead out of the archive ends at its top, as in a chroot.
 */
static int split(struct slice path, struct parts *ret, struct buf *why)
{
    struct slice part;

    ret->n = 0;
    while (next_part(&path, &part)) {
        if (part.len > 255) {
            buf_add_str(why, "a name is longer than 255 bytes");
            return -EFBIG;
        }
        if (slice_eq(part, SLICE("..")))
            ret->n -= ret->n > 0;
        else
            ret->part[ret->n++] = part;
    }
    return 0;
}

/* The folder that all but the last part name; made where it is not there. */
static uint32_t folder_of(struct sapling *s, const struct parts *p)
{
    uint32_t at = 0;

    for (size_t i = 0; i + 1 < p->n; i++) {
        struct leaf *l = leaf_of(s, at, p->part[i]);

        if (l->inode == INDEX_NONE || s->inodes[l->inode].type != INDEX_FOLDER)
            l->inode = add_inode(s, implied_folder());
        at = l->inode;
    }
    return at;
}

static uint32_t find_inode(struct sapling *s, const struct parts *p)
{
    uint32_t at = 0;

    for (size_t i = 0; i < p->n; i++) {
        const struct leaf *l =
            s->inodes[at].type == INDEX_FOLDER ? find_leaf(s, at, p->part[i]) : NULL;

        if (l == NULL || l->inode == INDEX_NONE)
            return INDEX_NONE;
        at = l->inode;
    }
    return at;
}

/* Entries. */

static void add_text(struct sapling *s, struct slice text, uint32_t *ret_at, uint32_t *ret_len)
{
    *ret_at = (uint32_t)s->texts.len;
    *ret_len = (uint32_t)text.len;
    buf_add_slice(&s->texts, text);
}

static bool xattr_is_kept(struct slice name)
{
    return slice_starts(name, SLICE("user.")) || slice_eq(name, SLICE("security.capability"));
}

static void add_xattrs(struct sapling *s, struct slice all, struct index_inode *inode)
{
    struct slice name, value;
    autobuf kept = {0};

    while (tar_xattr_next(&all, &name, &value) == 1)
        if (xattr_is_kept(name))
            tar_xattr_put(&kept, name, value);
    if (kept.len > 0)
        add_text(s, buf_slice(&kept), &inode->xattrs, &inode->xattrs_len);
}

static uint8_t type_of(enum tar_kind kind)
{
    static const uint8_t types[] = {
        [TAR_FILE] = INDEX_FILE,     [TAR_FOLDER] = INDEX_FOLDER, [TAR_SYMLINK] = INDEX_SYMLINK,
        [TAR_HARDLINK] = INDEX_LINK, [TAR_CHAR] = INDEX_CHAR,     [TAR_BLOCK] = INDEX_BLOCK,
        [TAR_FIFO] = INDEX_FIFO,
    };

    return types[kind];
}

static struct index_inode inode_of(struct sapling *s, const struct tar_entry *e)
{
    struct index_inode inode = {
        .type = type_of(e->kind),
        .flags = e->sparse ? INDEX_SPARSE : 0,
        .mode = (uint16_t)e->mode,
        .uid = e->uid,
        .gid = e->gid,
        .nlink = e->kind == TAR_FOLDER ? 2 : 1,
        .mtime_ns = e->mtime_ns,
        .size_bytes = e->kind == TAR_FILE ? e->size_bytes : 0,
        .data = e->kind == TAR_FILE ? e->offset : (uint64_t)e->major << 32 | e->minor,
        .first = INDEX_NONE,
    };

    if (e->kind == TAR_SYMLINK || e->kind == TAR_HARDLINK)
        add_text(s, e->link, &inode.first, &inode.count);
    if (e->sparse)
        add_text(s, e->map, &inode.first, &inode.count);
    add_xattrs(s, e->xattrs, &inode);
    return inode;
}

/* The inode that a hard link names, if it is in this layer by now. */
static int link_inode(struct sapling *s, const struct tar_entry *e, uint32_t *ret, struct buf *why)
{
    struct parts *target = xmalloc(sizeof *target);
    int r = split(e->link, target, why);

    *ret = r == 0 ? find_inode(s, target) : INDEX_NONE;
    free(target);
    if (r == 0 && *ret != INDEX_NONE && s->inodes[*ret].type == INDEX_FOLDER) {
        buf_add_str(why, "a hard link to a folder");
        return -EBADMSG;
    }
    return r;
}

/* A folder again: it keeps what is in it. */
static void replace_folder(struct sapling *s, uint32_t at, const struct tar_entry *e)
{
    struct index_inode inode = inode_of(s, e);

    inode.first = s->inodes[at].first;
    inode.flags |= s->inodes[at].flags & INDEX_OPAQUE;
    s->inodes[at] = inode;
}

static int add_entry(struct sapling *s, const struct parts *p, const struct tar_entry *e,
                     struct buf *why)
{
    uint32_t folder = folder_of(s, p), inode = INDEX_NONE;
    struct leaf *l;
    int r = e->kind == TAR_HARDLINK ? link_inode(s, e, &inode, why) : 0;

    if (r < 0)
        return r;
    l = leaf_of(s, folder, p->part[p->n - 1]);
    if (inode != INDEX_NONE && l->inode == inode)
        return 0; /* a link to itself */
    if (l->inode != INDEX_NONE && s->inodes[l->inode].type == INDEX_FOLDER &&
        e->kind == TAR_FOLDER) {
        replace_folder(s, l->inode, e);
        return 0;
    }
    if (l->inode != INDEX_NONE && s->inodes[l->inode].nlink > 1)
        s->inodes[l->inode].nlink--;
    if (inode != INDEX_NONE)
        s->inodes[inode].nlink++;
    else
        inode = add_inode(s, inode_of(s, e));
    l->inode = inode;
    return 0;
}

/* Marks of the container engines (OCI image-spec 1.1, "Whiteouts"). True if the entry is one, or
 * lies in what only aufs knows. */
static bool add_whiteout(struct sapling *s, const struct parts *p)
{
    struct slice name = p->part[p->n - 1], hidden;

    for (size_t i = 0; i + 1 < p->n; i++)
        if (slice_starts(p->part[i], WH))
            return true;
    if (!slice_starts(name, WH))
        return false;
    if (slice_eq(name, WH_OPAQUE)) {
        s->inodes[folder_of(s, p)].flags |= INDEX_OPAQUE;
        return true;
    }
    hidden = slice_skip(name, WH.len);
    if (slice_starts(name, WH_META) || hidden.len == 0 || slice_eq(hidden, SLICE(".")) ||
        slice_eq(hidden, SLICE("..")))
        return true;
    leaf_of(s, folder_of(s, p), hidden)->flags |= INDEX_WHITEOUT;
    return true;
}

int sapling_add(void *self, const struct tar_entry *e, struct buf *why)
{
    struct sapling *s = self;
    struct parts *p;
    int r;

    if (++s->entries > s->limits->entries || s->n_inodes / 2 > s->limits->entries) {
        buf_printf(why, "there are more than %u entries", s->limits->entries);
        return -EFBIG;
    }
    if (s->texts.len + e->path.len + e->link.len + e->xattrs.len + e->map.len >
        s->limits->texts_bytes) {
        buf_printf(why, "names and links take more than %zu MiB", s->limits->texts_bytes >> 20);
        return -EFBIG;
    }
    p = xmalloc(sizeof *p);
    r = split(e->path, p, why);
    if (r == 0 && p->n == 0 && e->kind == TAR_FOLDER)
        replace_folder(s, 0, e);
    else if (r == 0 && p->n > 0 && !add_whiteout(s, p))
        r = add_entry(s, p, e, why);
    free(p);
    return r;
}

/* Writing. */

int layer_index_sink_write(struct layer_index_sink *sink, const void *bytes, size_t n)
{
    int r = n > 0 ? sink->write(sink->ctx, bytes, n) : 0;

    sink->offset += r == 0 ? n : 0;
    return r;
}

static int flush(struct buf *out, size_t at_least, struct layer_index_sink *sink)
{
    int r;

    if (out->len < at_least)
        return 0;
    r = layer_index_sink_write(sink, out->data, out->len);
    buf_clear(out);
    return r;
}

struct sorted {
    const char *text;
    uint32_t leaf;
    uint8_t len;
};

static int by_name(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;

    return slice_cmp(slice_of(x->text, x->len), slice_of(y->text, y->len));
}

/* The names of one folder, sorted; `first` and `count` become what the index has. */
static int write_folder(struct sapling *s, struct index_inode *folder, uint32_t *n_names,
                        struct buf *out, struct layer_index_sink *sink)
{
    struct sorted *names;
    uint32_t n = 0;
    int r = 0;

    for (uint32_t i = folder->first; i != INDEX_NONE; i = s->leaves[i].next)
        n++;
    names = xmalloc((n + 1) * sizeof *names);
    n = 0;
    for (uint32_t i = folder->first; i != INDEX_NONE; i = s->leaves[i].next)
        names[n++] = (struct sorted){leaf_text(s, &s->leaves[i]), i, s->leaves[i].len};
    qsort(names, n, sizeof *names, by_name);
    folder->first = *n_names;
    folder->count = n;
    *n_names += n;
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        const struct leaf *l = &s->leaves[names[i].leaf];
        uint8_t bytes[INDEX_NAME_BYTES];

        layer_index_name_print(&(struct index_name){l->text, l->inode, l->len, l->flags}, bytes);
        buf_add(out, bytes, sizeof bytes);
        r = flush(out, WRITE_BYTES, sink);
    }
    free(names);
    return r;
}

/* Folders that were replaced are written too: nothing leads to them. */
static int write_names(struct sapling *s, struct index_foot *foot, struct layer_index_sink *sink)
{
    autobuf out = {0};
    int r = 0;

    foot->names_at = sink->offset;
    for (uint32_t i = 0; r == 0 && i < s->n_inodes; i++)
        if (s->inodes[i].type == INDEX_FOLDER)
            r = write_folder(s, &s->inodes[i], &foot->n_names, &out, sink);
    return r == 0 ? flush(&out, 0, sink) : r;
}

static int write_inodes(struct sapling *s, struct index_foot *foot, struct layer_index_sink *sink)
{
    autobuf out = {0};
    int r = 0;

    foot->inodes_at = sink->offset;
    foot->n_inodes = s->n_inodes;
    for (uint32_t i = 0; r == 0 && i < s->n_inodes; i++) {
        uint8_t bytes[INDEX_INODE_BYTES];

        layer_index_inode_print(&s->inodes[i], bytes);
        buf_add(&out, bytes, sizeof bytes);
        r = flush(&out, WRITE_BYTES, sink);
    }
    return r == 0 ? flush(&out, 0, sink) : r;
}

int sapling_write(struct sapling *s, struct slice points, struct index_foot *foot,
                  struct layer_index_sink *sink)
{
    uint8_t bytes[INDEX_FOOT_BYTES];
    int r;

    foot->n_names = 0;
    r = write_names(s, foot, sink);
    if (r == 0)
        r = write_inodes(s, foot, sink);
    foot->points_at = sink->offset;
    foot->n_points = (uint32_t)(points.len / INDEX_POINT_BYTES);
    if (r == 0)
        r = layer_index_sink_write(sink, points.data, points.len);
    foot->texts_at = sink->offset;
    foot->texts_len = s->texts.len;
    if (r == 0)
        r = layer_index_sink_write(sink, s->texts.data, s->texts.len);
    layer_index_foot_print(foot, bytes);
    return r == 0 ? layer_index_sink_write(sink, bytes, sizeof bytes) : r;
}
