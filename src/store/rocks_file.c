/* The files of parts. RocksDB names a file when it takes it in, and keeps the name: which one holds
 * a part is found by its first key in the list of live files, once. */
#include "store/rocks.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* One entry per block: 0 shared bytes (1), key length (1), value length (a varint), the key and
 * its 8 of sequence and type, the value; then one restart and their count (8), block type and
 * checksum (5). */
#define INTERNAL_KEY   (CHUNK_KEY + 8)
#define BLOCK_END      (8 + 5)
#define HEAD_MAX       (1 + 1 + 5 + INTERNAL_KEY)
#define FILE_NAME_SKIP 1 /* RocksDB's list says "/000012.sst" */

struct rocks_file {
    UT_hash_handle hh;
    uint8_t key[CHUNK_KEY]; /* its first */
    char name[24];
};

void chunk_key(uint8_t key[CHUNK_KEY], const uint8_t id[BLOB_ID], uint64_t chunk)
{
    memcpy(key, id, BLOB_ID);
    be64_put(key + BLOB_ID, chunk);
}

static size_t varint_bytes(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static uint64_t head_bytes(uint64_t value_bytes)
{
    return 1 + 1 + varint_bytes(value_bytes) + INTERNAL_KEY;
}

uint64_t part_chunk_bytes(const struct part *p, uint32_t chunk)
{
    return chunk + 1 < p->chunks ? CHUNK_BIG : p->bytes - (uint64_t)(p->chunks - 1) * CHUNK_BIG;
}

void part_set_offsets(struct part *p)
{
    p->first = head_bytes(part_chunk_bytes(p, 0));
    p->stride = head_bytes(CHUNK_BIG) + CHUNK_BIG + BLOCK_END;
    p->last = (p->chunks - 1) * p->stride + head_bytes(part_chunk_bytes(p, p->chunks - 1));
}

uint64_t part_value_offset(const struct part *p, uint32_t chunk)
{
    return chunk + 1 == p->chunks ? p->last : p->first + chunk * p->stride;
}

static ssize_t read_all(int fd, void *buf, size_t n, uint64_t offset)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = pread(fd, (char *)buf + done, n - done, (off_t)(offset + done));

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return -EIO; /* cut short */
        done += (size_t)r;
    }
    return (ssize_t)n;
}

int part_check(int fd, const struct part *p, const uint8_t id[BLOB_ID], uint32_t chunk)
{
    uint64_t value_bytes = part_chunk_bytes(p, chunk), value_at = part_value_offset(p, chunk), n;
    uint64_t head = head_bytes(value_bytes);
    uint8_t got[HEAD_MAX], key[CHUNK_KEY];
    struct slice rest = {got + 2, 5};
    ssize_t r;

    if (value_at < head)
        return 0;
    r = read_all(fd, got, head, value_at - head);
    if (r < 0)
        return (int)r;
    chunk_key(key, id, p->first_chunk + chunk);
    return got[0] == 0 && got[1] == INTERNAL_KEY && varint_get(&rest, &n) == 0 &&
           n == value_bytes && memcmp(got + head - INTERNAL_KEY, key, CHUNK_KEY) == 0;
}

ssize_t part_read(int fd, const struct part *p, uint64_t offset, void *buf, size_t n)
{
    size_t done = 0;

    while (done < n && offset < p->bytes) {
        uint32_t chunk = (uint32_t)(offset / CHUNK_BIG);
        uint64_t within = offset % CHUNK_BIG, left = part_chunk_bytes(p, chunk) - within;
        size_t piece = left < n - done ? (size_t)left : n - done;
        ssize_t r = read_all(fd, (char *)buf + done, piece, part_value_offset(p, chunk) + within);

        if (r < 0)
            return r;
        done += piece;
        offset += piece;
    }
    return (ssize_t)done;
}

static void add_file(struct rocks *r, const char *key, const char *name)
{
    struct rocks_file *f = NULL;

    HASH_FIND(hh, r->files, key, CHUNK_KEY, f);
    if (f == NULL) {
        f = xcalloc(1, sizeof *f);
        memcpy(f->key, key, CHUNK_KEY);
        HASH_ADD(hh, r->files, key, CHUNK_KEY, f);
    }
    snprintf(f->name, sizeof f->name, "%s", name + FILE_NAME_SKIP);
}

int rocks_each_part(struct rocks *r, void (*f)(struct rocks *r, const char *key, const char *name))
{
    const rocksdb_livefiles_t *files;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    files = rocksdb_livefiles(r->db);
    for (int i = 0, n = rocksdb_livefiles_count(files); i < n; i++) {
        size_t len = 0;
        const char *key = rocksdb_livefiles_smallestkey(files, i, &len);

        if (len == CHUNK_KEY && strcmp(rocksdb_livefiles_column_family_name(files, i), "blob") == 0)
            f(r, key, rocksdb_livefiles_name(files, i));
    }
    rocksdb_livefiles_destroy(files);
    rocks_leave(r);
    return 0;
}

static int open_known(struct rocks *r, const uint8_t key[CHUNK_KEY])
{
    struct rocks_file *f = NULL;
    autofree char *path = NULL;
    int fd;

    HASH_FIND(hh, r->files, key, CHUNK_KEY, f);
    if (f == NULL)
        return -ENOENT;
    if (asprintf(&path, "%s/%s", r->db_dir, f->name) < 0)
        abort();
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int file_of_part(struct rocks *r, const uint8_t id[BLOB_ID], const struct part *p, int *ret_fd)
{
    uint8_t key[CHUNK_KEY];
    int e, fd;

    chunk_key(key, id, p->first_chunk);
    guard(&r->files_lock);
    fd = open_known(r, key);
    if (fd == -ENOENT) {
        e = rocks_each_part(r, add_file);
        if (e < 0)
            return e;
        fd = open_known(r, key);
    }
    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

void file_forget(struct rocks *r, const uint8_t id[BLOB_ID], const struct part *p)
{
    uint8_t key[CHUNK_KEY];
    struct rocks_file *f = NULL;

    chunk_key(key, id, p->first_chunk);
    guard(&r->files_lock);
    HASH_FIND(hh, r->files, key, CHUNK_KEY, f);
    if (f != NULL) {
        HASH_DEL(r->files, f);
        free(f);
    }
}

void files_free(struct rocks *r)
{
    struct rocks_file *f, *next;

    HASH_ITER(hh, r->files, f, next) {
        HASH_DEL(r->files, f);
        free(f);
    }
}

void layout_small(struct buf *b)
{
    varint_put(b, LAYOUT_SMALL);
}

void layout_parts(struct buf *b, const struct part *parts, size_t n)
{
    varint_put(b, LAYOUT_PARTS);
    varint_put(b, n);
    for (size_t i = 0; i < n; i++) {
        varint_put(b, parts[i].chunks);
        varint_put(b, parts[i].bytes);
        varint_put(b, parts[i].first);
        varint_put(b, parts[i].stride);
        varint_put(b, parts[i].last);
    }
}

bool part_fits(uint64_t chunks, uint64_t bytes)
{
    return chunks > 0 && chunks <= PART_CHUNKS && bytes <= chunks * CHUNK_BIG &&
           bytes > (chunks - 1) * CHUNK_BIG;
}

static int decode_part(struct slice *in, struct part *p)
{
    uint64_t chunks = 0;

    if (varint_get(in, &chunks) < 0 || varint_get(in, &p->bytes) < 0 ||
        varint_get(in, &p->first) < 0 || varint_get(in, &p->stride) < 0 ||
        varint_get(in, &p->last) < 0)
        return -EIO;
    if (!part_fits(chunks, p->bytes))
        return -EIO;
    p->chunks = (uint32_t)chunks;
    return 0;
}

int layout_decode(struct slice layout, enum layout_kind *ret_kind, struct part **ret_parts,
                  size_t *ret_n)
{
    autofree struct part *parts = NULL;
    uint64_t kind = 0, n = 0, chunk = 0;

    if (varint_get(&layout, &kind) < 0 || (kind != LAYOUT_SMALL && kind != LAYOUT_PARTS))
        return -EIO;
    *ret_kind = (enum layout_kind)kind;
    *ret_parts = NULL;
    *ret_n = 0;
    if (kind == LAYOUT_SMALL)
        return 0;
    if (varint_get(&layout, &n) < 0 || n > layout.len / 5)
        return -EIO;
    parts = xcalloc(n, sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        if (decode_part(&layout, &parts[i]) < 0)
            return -EIO;
        parts[i].first_chunk = chunk;
        chunk += parts[i].chunks;
    }
    *ret_parts = take(parts);
    *ret_n = n;
    return 0;
}
