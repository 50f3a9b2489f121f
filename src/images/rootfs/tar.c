#include "images/rootfs/tar.h"

#include "base/alloc.h"
#include "images/rootfs/tar_pax.h"
#include "images/rootfs/tar_sparse.h"

#include <errno.h>
#include <stdlib.h>

#define BLOCK 512u

/* Where things stand in a header (POSIX.1-1988 ustar; GNU tar manual, "Basic Tar Format"). */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_UID = 108,
    AT_GID = 116,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_SUM = 148,
    AT_TYPE = 156,
    AT_LINK = 157,
    AT_MAGIC = 257,
    AT_MAJOR = 329,
    AT_MINOR = 337,
    AT_PREFIX = 345,
    AT_GNU_PIECES = 386, /* four of them */
    AT_GNU_EXTENDED = 482,
    AT_GNU_REAL_SIZE = 483,
    AT_GNU_MORE = 504, /* in a block of more sparse pieces */
};

enum tar_state {
    IN_HEADER,
    IN_RECORD, /* the body of a pax header or a GNU long name */
    IN_SPARSE, /* more pieces of a GNU sparse entry */
    IN_MAP,    /* the map before the content of a sparse file (pax, version 1.0) */
    IN_SKIP,   /* content, padding */
    IN_END,
};

struct tar {
    tar_entry_fn *f;
    void *ctx;
    enum tar_state state;
    uint64_t offset; /* of the next byte */
    uint8_t block[BLOCK];
    size_t have;    /* bytes of block */
    uint64_t left;  /* to be skipped, or of the record with its padding */
    uint64_t body;  /* of the record without */
    char type;      /* of the record: x, L, K; g is left out */
    unsigned zeros; /* blocks of zeros in a row */
    uint8_t sparse_header[BLOCK];
    uint64_t lines, lines_wanted; /* of a map before the content; 0: not known yet */
    struct buf record;
    struct pax pax;
};

struct tar *tar_new(tar_entry_fn *f, void *ctx)
{
    struct tar *t = xcalloc(1, sizeof *t);

    t->f = f;
    t->ctx = ctx;
    return t;
}

void tar_free(struct tar *t)
{
    if (t == NULL)
        return;
    buf_done(&t->record);
    pax_done(&t->pax);
    free(t);
}

static int refuse(struct tar *t, int err, const char *what, struct buf *why)
{
    buf_printf(why, "%s (in the tar archive, before byte %llu)", what, (unsigned long long)t->offset);
    return -err;
}

/* Octal, between blanks and NULs; or big-endian binary behind a bit (GNU, star). */
int tar_number(const uint8_t *p, size_t n, int64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;

    if (p[0] & 0x80) {
        if (p[0] & 0x40) { /* negative */
            int64_t s = -1;

            for (i = 0; i < n; i++)
                if (i + 8 < n && i > 0 && p[i] != 0xff)
                    return -EBADMSG;
                else
                    s = (int64_t)((uint64_t)s << 8 | p[i]);
            *ret = s;
            return s < 0 ? 0 : -EBADMSG;
        }
        v = p[0] & 0x3f;
        for (i = 1; i < n; i++) {
            if (v >> 55 != 0)
                return -EBADMSG;
            v = v << 8 | p[i];
        }
        *ret = (int64_t)v;
        return 0;
    }
    while (i < n && (p[i] == ' ' || p[i] == 0))
        i++;
    for (; i < n && p[i] != ' ' && p[i] != 0; i++) {
        if (p[i] < '0' || p[i] > '7' || v >> 60 != 0)
            return -EBADMSG;
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    *ret = (int64_t)v;
    return 0;
}

static bool sum_is_right(const uint8_t *h)
{
    int64_t want;
    int plain = 0, with_sign = 0; /* some old tars summed signed characters */

    if (tar_number(h + AT_SUM, 8, &want) < 0)
        return false;
    for (unsigned i = 0; i < BLOCK; i++) {
        uint8_t c = i >= AT_SUM && i < AT_SUM + 8 ? ' ' : h[i];

        plain += c;
        with_sign += (int8_t)c;
    }
    return want == plain || want == with_sign;
}

static struct slice text_at(const uint8_t *h, size_t at, size_t n)
{
    return slice_of(h + at, strnlen((const char *)h + at, n));
}

static int kind_of(char type, struct slice path)
{
    switch (type) {
    case 0:
    case '0':
    case '7':
        return path.len > 0 && ((const char *)path.data)[path.len - 1] == '/' ? TAR_FOLDER
                                                                              : TAR_FILE;
    case '1':
        return TAR_HARDLINK;
    case '2':
        return TAR_SYMLINK;
    case '3':
        return TAR_CHAR;
    case '4':
        return TAR_BLOCK;
    case '5':
        return TAR_FOLDER;
    case '6':
        return TAR_FIFO;
    case 'S':
        return TAR_FILE;
    default:
        return -1;
    }
}

/* The path of a ustar header is in two pieces. */
static struct slice path_of(const uint8_t *h, struct buf *joined)
{
    struct slice name = text_at(h, AT_NAME, 100);
    struct slice prefix = text_at(h, AT_PREFIX, 155);

    if (memcmp(h + AT_MAGIC, "ustar\0", 6) != 0 || prefix.len == 0)
        return name;
    buf_clear(joined);
    buf_add_slice(joined, prefix);
    buf_add_char(joined, '/');
    buf_add_slice(joined, name);
    return buf_slice(joined);
}

static int parse_ids(const uint8_t *h, const struct pax *p, struct tar_entry *e)
{
    int64_t mode, uid, gid, seconds, major = 0, minor = 0;

    if (tar_number(h + AT_MODE, 8, &mode) < 0 || tar_number(h + AT_UID, 8, &uid) < 0 ||
        tar_number(h + AT_GID, 8, &gid) < 0 || tar_number(h + AT_MTIME, 12, &seconds) < 0)
        return -EBADMSG;
    if ((e->kind == TAR_CHAR || e->kind == TAR_BLOCK) &&
        (tar_number(h + AT_MAJOR, 8, &major) < 0 || tar_number(h + AT_MINOR, 8, &minor) < 0))
        return -EBADMSG;
    uid = p->has_uid ? (int64_t)p->uid : uid;
    gid = p->has_gid ? (int64_t)p->gid : gid;
    if (uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX || major < 0 ||
        major > UINT32_MAX || minor < 0 || minor > UINT32_MAX ||
        __builtin_mul_overflow(seconds, INT64_C(1000000000), &e->mtime_ns))
        return -EBADMSG;
    e->mode = (uint32_t)mode & 07777;
    e->uid = (uint32_t)uid;
    e->gid = (uint32_t)gid;
    e->major = (uint32_t)major;
    e->minor = (uint32_t)minor;
    if (p->has_mtime)
        e->mtime_ns = p->mtime_ns;
    return 0;
}

static void skip(struct tar *t, uint64_t content)
{
    t->left = (content + BLOCK - 1) / BLOCK * BLOCK;
    t->state = t->left > 0 ? IN_SKIP : IN_HEADER;
}

/* The map of a sparse entry, checked. `stored`: the bytes of its content. */
static int take_map(struct tar *t, const uint8_t *h, uint64_t stored, struct tar_entry *e,
                    struct buf *why)
{
    int64_t real = (int64_t)t->pax.real_size_bytes;

    if (h[AT_TYPE] == 'S' && (tar_number(h + AT_GNU_REAL_SIZE, 12, &real) < 0 || real < 0))
        return refuse(t, EBADMSG, "a header is damaged", why);
    e->size_bytes = (uint64_t)real;
    if (sparse_check(&t->pax.map, e->size_bytes, stored) < 0)
        return refuse(t, EBADMSG, "the map of a sparse file is damaged", why);
    e->map = buf_slice(&t->pax.map);
    return 0;
}

/* Tells of the entry whose header and records are all there; `size`: of what is stored. */
static int emit(struct tar *t, const uint8_t *h, uint64_t size, struct buf *why)
{
    struct pax *p = &t->pax;
    struct tar_entry e = {.offset = t->offset};
    int kind, r = 0;

    e.path = p->has_path ? buf_slice(&p->path) : path_of(h, &t->record);
    e.link = p->has_link ? buf_slice(&p->link) : text_at(h, AT_LINK, 100);
    e.xattrs = buf_slice(&p->xattrs);
    kind = kind_of((char)h[AT_TYPE], e.path);
    e.kind = kind >= 0 ? (enum tar_kind)kind : TAR_FILE;
    if (kind >= 0 && parse_ids(h, p, &e) < 0)
        return refuse(t, EBADMSG, "a header is damaged", why);
    if (kind >= 0 && kind != TAR_FILE)
        size = 0; /* links, folders and devices have no content, whatever their size says */
    e.size_bytes = size;
    e.sparse = kind == TAR_FILE && (p->sparse || h[AT_TYPE] == 'S');
    if (e.sparse)
        r = take_map(t, h, size, &e, why);
    if (r == 0 && kind >= 0 && (e.path.len > TAR_PATH_MAX || e.link.len > TAR_PATH_MAX))
        return refuse(t, EFBIG, "a path is longer than 4095 bytes", why);
    if (r == 0 && kind >= 0)
        r = t->f(t->ctx, &e, why);
    pax_clear(p);
    skip(t, size);
    return r;
}

static int refuse_map(struct tar *t, int r, struct buf *why)
{
    return r == -EFBIG ? refuse(t, EFBIG, "a sparse file of more than 16384 pieces", why)
                       : refuse(t, EBADMSG, "the map of a sparse file is damaged", why);
}

/* The header of an entry that is sparse, or the beginning of its map. */
static int begin_sparse(struct tar *t, uint64_t size, struct buf *why)
{
    const uint8_t *h = t->block;
    int r = 0;

    memcpy(t->sparse_header, h, BLOCK);
    t->body = size;
    if (h[AT_TYPE] == 'S') {
        buf_clear(&t->pax.map);
        r = sparse_add_old(&t->pax.map, h + AT_GNU_PIECES, 4);
        t->state = h[AT_GNU_EXTENDED] != 0 ? IN_SPARSE : IN_HEADER;
    } else {
        buf_clear(&t->record);
        t->lines = t->lines_wanted = 0;
        t->state = IN_MAP;
    }
    if (r < 0)
        return refuse_map(t, r, why);
    return t->state == IN_HEADER ? emit(t, t->sparse_header, size, why) : 0;
}

/* A block of more pieces behind an old header. */
static int more_pieces(struct tar *t, struct buf *why)
{
    int r = sparse_add_old(&t->pax.map, t->block, AT_GNU_MORE / SPARSE_OLD_BYTES);

    if (r < 0)
        return refuse_map(t, r, why);
    return t->block[AT_GNU_MORE] != 0 ? 0 : emit(t, t->sparse_header, t->body, why);
}

/* A block of the map that stands before the content. */
static int more_map(struct tar *t, struct buf *why)
{
    int r = t->body < BLOCK ? -EBADMSG : t->record.len > TAR_RECORD_MAX ? -EFBIG : 0;

    if (r < 0)
        return refuse_map(t, r, why);
    t->body -= BLOCK;
    buf_add(&t->record, t->block, BLOCK);
    for (unsigned i = 0; i < BLOCK; i++)
        t->lines += t->block[i] == '\n';
    if (t->lines_wanted == 0)
        r = sparse_lines(buf_slice(&t->record), &t->lines_wanted);
    if (r == 0 && t->lines < t->lines_wanted)
        return 0;
    if (r == 0)
        r = sparse_add_lines(&t->pax.map, buf_slice(&t->record));
    if (r == -EAGAIN)
        return 0;
    return r < 0 ? refuse_map(t, r, why) : emit(t, t->sparse_header, t->body, why);
}

static int begin_record(struct tar *t, char type, uint64_t size, struct buf *why)
{
    if (size > TAR_RECORD_MAX)
        return refuse(t, EFBIG, "a header of more than 1 MiB", why);
    t->type = type;
    t->body = size;
    buf_clear(&t->record);
    skip(t, size);
    if (t->state == IN_SKIP)
        t->state = IN_RECORD;
    return 0;
}

static bool is_zero(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

static int take_header(struct tar *t, struct buf *why)
{
    const uint8_t *h = t->block;
    int64_t size;

    if (is_zero(h)) {
        if (++t->zeros == 2)
            t->state = IN_END;
        return 0;
    }
    t->zeros = 0;
    if (!sum_is_right(h))
        return refuse(t, EBADMSG, "not a tar header", why);
    if (tar_number(h + AT_SIZE, 12, &size) < 0 || size < 0)
        return refuse(t, EBADMSG, "a header is damaged", why);
    if (strchr("xgLK", h[AT_TYPE]) != NULL && h[AT_TYPE] != 0)
        return begin_record(t, (char)h[AT_TYPE], (uint64_t)size, why);
    if (t->pax.has_size)
        size = (int64_t)t->pax.size_bytes;
    if (h[AT_TYPE] == 'S' ||
        (t->pax.sparse && t->pax.sparse_major >= 1 && (h[AT_TYPE] == 0 || h[AT_TYPE] == '0')))
        return begin_sparse(t, (uint64_t)size, why);
    return emit(t, h, (uint64_t)size, why);
}

static int take_name(struct tar *t, struct buf *out, bool *ret_has, struct buf *why)
{
    struct slice text = slice_of(t->record.data, strnlen(t->record.data, t->record.len));

    if (text.len > TAR_PATH_MAX)
        return refuse(t, EFBIG, "a path is longer than 4095 bytes", why);
    if (*ret_has) /* a pax header has said it */
        return 0;
    buf_clear(out);
    buf_add_slice(out, text);
    *ret_has = true;
    return 0;
}

static int take_record(struct tar *t, struct buf *why)
{
    buf_add_str(&t->record, "");
    t->state = IN_HEADER;
    switch (t->type) {
    case 'x':
        return pax_parse(buf_slice(&t->record), &t->pax, why);
    case 'L':
        return take_name(t, &t->pax.path, &t->pax.has_path, why);
    case 'K':
        return take_name(t, &t->pax.link, &t->pax.has_link, why);
    default:
        return 0; /* global headers: as container engines do, they are not applied */
    }
}

/* A whole block for the states that want one. */
static int take_block(struct tar *t, struct buf *why)
{
    size_t n;

    switch (t->state) {
    case IN_HEADER:
        return take_header(t, why);
    case IN_SPARSE:
        return more_pieces(t, why);
    case IN_MAP:
        return more_map(t, why);
    case IN_RECORD:
        n = t->body - t->record.len < BLOCK ? (size_t)(t->body - t->record.len) : BLOCK;
        buf_add(&t->record, t->block, n);
        t->left -= BLOCK;
        return t->left > 0 ? 0 : take_record(t, why);
    default:
        return 0;
    }
}

int tar_feed(struct tar *t, const void *bytes, size_t n, struct buf *why)
{
    const uint8_t *p = bytes;
    int r = 0;

    while (r == 0 && n > 0 && t->state != IN_END) {
        size_t piece;

        if (t->state == IN_SKIP) {
            piece = t->left < n ? (size_t)t->left : n;
            t->left -= piece;
            t->state = t->left > 0 ? IN_SKIP : IN_HEADER;
            t->offset += piece;
        } else {
            piece = BLOCK - t->have < n ? BLOCK - t->have : n;
            memcpy(t->block + t->have, p, piece);
            t->have += piece;
            t->offset += piece;
            if (t->have == BLOCK) {
                t->have = 0;
                r = take_block(t, why);
            }
        }
        p += piece;
        n -= piece;
    }
    return r < 0 ? r : t->state == IN_END;
}

int tar_end(struct tar *t, struct buf *why)
{
    if (t->state == IN_END || (t->state == IN_HEADER && t->have == 0 && !t->pax.has_path))
        return 0;
    return refuse(t, EBADMSG, "the archive is cut short", why);
}
