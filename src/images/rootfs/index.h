/* index.h: the index of a layer: what is in its tar archive, and where its stream can be entered.
 * Both ways between structs and bytes; reading asks for a few bytes at a time and checks them.
 *
 * A file of sections, in this order: windows (each compressed by zstd), names, inodes, points,
 * texts, foot. Integers are big-endian. Inode 0 is the top folder; the names of a folder stand
 * together, sorted by their bytes. */
#ifndef IMAGES_ROOTFS_INDEX_H
#define IMAGES_ROOTFS_INDEX_H

#include "images/rootfs/unpack.h"

#define INDEX_NONE        UINT32_MAX
#define INDEX_NAME_BYTES  12u
#define INDEX_INODE_BYTES 56u
#define INDEX_POINT_BYTES 32u
#define INDEX_FOOT_BYTES  96u
#define INDEX_TEXT_MAX    4095u        /* of a link */
#define INDEX_XATTRS_MAX  (256u << 10) /* of one inode */

enum index_type { /* stored on disk: never renumber */
                  INDEX_FILE = 1,
                  INDEX_FOLDER = 2,
                  INDEX_SYMLINK = 3,
                  INDEX_CHAR = 4,
                  INDEX_BLOCK = 5,
                  INDEX_FIFO = 6,
                  INDEX_LINK = 7, /* a hard link to what this layer has not: `text` is the path */
};

enum index_inode_flags {
    INDEX_IMPLIED = 1, /* a folder that only stands in the paths of others */
    INDEX_OPAQUE = 2,  /* a folder that hides what lower layers have in it */
    INDEX_SPARSE = 4,  /* a file that is stored in pieces: `first`, `count`: its map in the texts */
};

struct index_inode {
    uint8_t type, flags;
    uint16_t mode;
    uint32_t uid, gid, nlink;
    int64_t mtime_ns;
    uint64_t size_bytes;
    uint64_t data;         /* FILE: offset in the stream; CHAR, BLOCK: major << 32 | minor */
    uint32_t first, count; /* FOLDER: its names; SYMLINK, LINK: offset and length of the text;
                            * a sparse FILE: of the map, as tar_sparse.h reads it */
    uint32_t xattrs, xattrs_len; /* as tar_xattr_next() reads them */
};

enum index_name_flags { INDEX_WHITEOUT = 1 /* hides what lower layers have under this name */ };

struct index_name {
    uint32_t text;  /* offset in the texts */
    uint32_t inode; /* INDEX_NONE: only a whiteout */
    uint8_t len;    /* 1 to 255 */
    uint8_t flags;
};

struct index_point {
    struct unpack_point at;
    uint64_t window; /* offset in the file */
    uint32_t window_len;
};

struct index_foot {
    enum unpack_kind kind;
    uint32_t n_names, n_inodes, n_points;
    uint64_t names_at, inodes_at, points_at, texts_at, texts_len;
    uint64_t stream_bytes; /* the archive, unpacked, as far as it was read */
};

void layer_index_name_print(const struct index_name *n, uint8_t bytes[INDEX_NAME_BYTES]);
void layer_index_inode_print(const struct index_inode *n, uint8_t bytes[INDEX_INODE_BYTES]);
void layer_index_point_print(const struct index_point *p, uint8_t bytes[INDEX_POINT_BYTES]);
void layer_index_foot_print(const struct index_foot *f, uint8_t bytes[INDEX_FOOT_BYTES]);

/* Reading. `read` fills all of buf or fails. Every call: 0; -EBADMSG: it is damaged; what `read`
 * returned. */
struct layer_index {
    int (*read)(void *ctx, uint64_t offset, void *buf, size_t n);
    void *ctx;
    uint64_t size_bytes;
    struct index_foot foot;
};
int layer_index_open(struct layer_index *x); /* read, ctx and size_bytes are set */
int layer_index_inode_get(const struct layer_index *x, uint32_t i, struct index_inode *ret);
/* The i-th name; its text with a NUL. */
int layer_index_name_get(const struct layer_index *x, uint32_t i, struct index_name *ret,
                         char text[256]);
/* The name in a folder; -ENOENT. */
int layer_index_find(const struct layer_index *x, const struct index_inode *folder,
                     struct slice name, struct index_name *ret);
/* A text of a link; with a NUL. */
int layer_index_text_get(const struct layer_index *x, const struct index_inode *n,
                         char text[INDEX_TEXT_MAX + 1]);
/* The map of a sparse file; replaces what is in out. */
int layer_index_map_get(const struct layer_index *x, const struct index_inode *n, struct buf *out);
int layer_index_xattrs_get(const struct layer_index *x, const struct index_inode *n,
                           struct buf *out);
/* The last point at or before an offset of the stream, its number, and where the next one is. */
int layer_index_point_find(const struct layer_index *x, uint64_t offset, struct index_point *ret,
                           uint32_t *ret_number, uint64_t *ret_end);
/* The bytes before a point: appends them. */
int layer_index_window_get(const struct layer_index *x, const struct index_point *p,
                           struct buf *out);

#endif
