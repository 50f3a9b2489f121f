/* Sealed content: read from the files of its parts, or in chunks from blob_small. */
#include "store/rocks.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/scope.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct open_part {
    struct part part;
    uint64_t at; /* where it begins in the content */
    int fd;      /* -1: RocksDB reads it */
    void *map;   /* NULL: not yet lent */
    size_t map_bytes;
};

struct content {
    struct rocks *rocks;
    uint8_t id[BLOB_ID];
    uint64_t size_bytes;
    enum layout_kind kind;
    struct open_part *parts;
    size_t n_parts;
    pthread_mutex_t lock; /* guards the mappings being made */
};

/* The entries that offsets lead to are looked at each time a part is opened: the first and the
 * last, between which all are alike. */
static void open_file(struct content *c, struct open_part *p)
{
    int fd = -1, r = -EIO;

    p->fd = -1;
    if (p->part.first != 0)
        r = file_of_part(c->rocks, c->id, &p->part, &fd);
    if (r == 0) {
        r = part_check(fd, &p->part, c->id, 0);
        if (r == 1)
            r = part_check(fd, &p->part, c->id, p->part.chunks - 1);
        if (r == 1) {
            p->fd = fd;
            return;
        }
        close(fd);
    }
    log_line(LOG_WARN, NULL, "store.blob.slow",
             "chunk=%" PRIu64 " result=%d why=\"its offsets do "
             "not fit its file, it is read through RocksDB\"",
             p->part.first_chunk, r);
}

int rocks_content_open(struct store *s, const uint8_t id[BLOB_ID], uint64_t size_bytes,
                       struct slice layout, struct content **ret)
{
    autofree struct part *parts = NULL;
    struct content *c;
    enum layout_kind kind;
    uint64_t at = 0;
    size_t n = 0;
    int r = layout_decode(layout, &kind, &parts, &n);

    if (r < 0)
        return r;
    c = xcalloc(1, sizeof *c);
    c->rocks = s->self;
    memcpy(c->id, id, BLOB_ID);
    c->size_bytes = size_bytes;
    c->kind = kind;
    c->parts = xcalloc(n, sizeof *c->parts);
    c->n_parts = n;
    pthread_mutex_init(&c->lock, NULL);
    for (size_t i = 0; i < n; i++) {
        c->parts[i].part = parts[i];
        c->parts[i].at = at;
        at += parts[i].bytes;
        open_file(c, &c->parts[i]);
    }
    if (kind == LAYOUT_PARTS && at != size_bytes) {
        rocks_content_close(c);
        return -EIO;
    }
    *ret = c;
    return 0;
}

void rocks_content_close(struct content *c)
{
    for (size_t i = 0; i < c->n_parts; i++) {
        if (c->parts[i].map != NULL)
            munmap(c->parts[i].map, c->parts[i].map_bytes);
        if (c->parts[i].fd >= 0)
            close(c->parts[i].fd);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->parts);
    free(c);
}

/* Copies from one chunk that RocksDB holds. */
static ssize_t read_chunk(struct content *c, enum rocks_cf cf, uint64_t chunk, uint64_t within,
                          void *buf, size_t n)
{
    struct rocks *r = c->rocks;
    rocksdb_pinnableslice_t *pinned;
    uint8_t key[CHUNK_KEY];
    char *err = NULL;
    const char *value;
    size_t len = 0;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    chunk_key(key, c->id, chunk);
    pinned = rocksdb_get_pinned_cf(r->db, r->read, r->cf[cf], (const char *)key, sizeof key, &err);
    e = rocks_error(err);
    if (pinned != NULL) {
        value = rocksdb_pinnableslice_value(pinned, &len);
        if (e == 0 && within < len) {
            n = n < len - within ? n : len - within;
            memcpy(buf, value + within, n);
        } else {
            e = -EIO;
        }
        rocksdb_pinnableslice_destroy(pinned);
    } else {
        e = -EIO; /* the catalog says it is there */
    }
    rocks_leave(r);
    return e < 0 ? e : (ssize_t)n;
}

static ssize_t read_chunks(struct content *c, enum rocks_cf cf, uint64_t first_chunk,
                           uint64_t chunk_bytes, uint64_t offset, void *buf, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = read_chunk(c, cf, first_chunk + offset / chunk_bytes, offset % chunk_bytes,
                               (char *)buf + done, n - done);

        if (r < 0)
            return r;
        done += (size_t)r;
        offset += (uint64_t)r;
    }
    return (ssize_t)n;
}

static size_t find_part(const struct content *c, uint64_t offset)
{
    size_t low = 0, high = c->n_parts;

    while (high - low > 1) {
        size_t middle = (low + high) / 2;

        if (c->parts[middle].at <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

ssize_t rocks_content_read(struct content *c, uint64_t offset, void *buf, size_t n)
{
    size_t done = 0;

    if (c->kind == LAYOUT_SMALL)
        return read_chunks(c, CF_SMALL, 0, CHUNK_SMALL, offset, buf, n);
    while (done < n) {
        const struct open_part *p = &c->parts[find_part(c, offset)];
        uint64_t within = offset - p->at, left = p->part.bytes - within;
        size_t piece = left < n - done ? (size_t)left : n - done;
        char *to = (char *)buf + done;
        ssize_t r =
            p->fd >= 0 ? part_read(p->fd, &p->part, within, to, piece)
                       : read_chunks(c, CF_BLOB, p->part.first_chunk, CHUNK_BIG, within, to, piece);

        if (r != (ssize_t)piece)
            return r < 0 ? r : -EIO;
        done += piece;
        offset += piece;
    }
    return (ssize_t)n;
}

static int map_part(struct content *c, struct open_part *p)
{
    struct stat st;

    guard(&c->lock);
    if (p->map != NULL)
        return 0;
    if (p->fd < 0)
        return -ENOTSUP;
    if (fstat(p->fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size < p->part.last)
        return -EIO;
    p->map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, p->fd, 0);
    if (p->map == MAP_FAILED) {
        p->map = NULL;
        return -errno;
    }
    p->map_bytes = (size_t)st.st_size;
    /* Else Linux stops reading ahead of a mapping for good once it has missed a hundred pages more
     * often than it found some, and where pages come back that were pushed out it counts misses
     * only: from then on each page of 4 KiB is a fault and a read of its own. */
    madvise(p->map, p->map_bytes, MADV_SEQUENTIAL);
    return 0;
}

/* Adds what of one part lies in the range. */
static int lend_part(struct content *c, struct open_part *p, uint64_t within, size_t n,
                     struct blob_loan *loan)
{
    int r = map_part(c, p);

    while (r == 0 && n > 0) {
        uint32_t chunk = (uint32_t)(within / CHUNK_BIG);
        uint64_t skip = within % CHUNK_BIG, left = part_chunk_bytes(&p->part, chunk) - skip;
        size_t piece = left < n ? (size_t)left : n;

        loan->iov[loan->n_iov++] = (struct iovec){
            .iov_base = (char *)p->map + part_value_offset(&p->part, chunk) + skip,
            .iov_len = piece,
        };
        within += piece;
        n -= piece;
    }
    return r;
}

int rocks_content_lend(struct content *c, uint64_t offset, size_t n, struct blob_loan *ret)
{
    size_t most;
    int r = 0;

    if (c->kind == LAYOUT_SMALL)
        return -ENOTSUP;
    most = n / CHUNK_BIG + 2 + 2 * c->n_parts;
    ret->iov = calloc(most, sizeof *ret->iov);
    if (ret->iov == NULL)
        return -ENOMEM;
    while (r == 0 && n > 0) {
        struct open_part *p = &c->parts[find_part(c, offset)];
        uint64_t left = p->part.bytes - (offset - p->at);
        size_t piece = left < n ? (size_t)left : n;

        r = lend_part(c, p, offset - p->at, piece, ret);
        offset += piece;
        n -= piece;
    }
    if (r < 0)
        blob_unlend(ret);
    return r;
}

/* Takes the pages out of our page table, not out of the page cache: a daemon that has served large
 * blobs shall not look as large as they are. Who else reads there faults them in again. */
static void unmap_pages(const char *from, const char *to)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)from & ~(page - 1), end = ((uintptr_t)to + page - 1) & ~(page - 1);

    madvise((void *)first, end - first, MADV_DONTNEED);
}

void rocks_content_unlend(const struct iovec *iov, size_t n)
{
    size_t first = 0;

    /* Values of one part lie behind each other, but for the heads of their entries. */
    for (size_t i = 0; i < n; i++) {
        const char *end = (const char *)iov[i].iov_base + iov[i].iov_len;

        if (i + 1 < n && (const char *)iov[i + 1].iov_base >= end &&
            (const char *)iov[i + 1].iov_base - end <= 128)
            continue;
        unmap_pages(iov[first].iov_base, end);
        first = i + 1;
    }
}

static int delete_small(struct store *s, const uint8_t id[BLOB_ID])
{
    uint8_t lower[CHUNK_KEY], upper[CHUNK_KEY];
    struct store_batch *b = batch_new_internal(s, SLICE(CATALOG_PART));
    struct cursor *c = NULL;
    struct slice key, value;
    int r;

    chunk_key(lower, id, 0);
    chunk_key(upper, id, UINT64_MAX);
    r = rocks_cursor_new(s, SPACE_CHUNKS, slice_of(lower, CHUNK_KEY), slice_of(upper, CHUNK_KEY),
                         &c);
    if (r == 0) {
        rocks_cursor_seek(c, slice_of(lower, CHUNK_KEY));
        while ((r = rocks_cursor_row(c, &key, &value)) == 1) {
            batch_add(b, BATCH_DELETE, SPACE_CHUNKS, key, (struct slice){0});
            rocks_cursor_step(c, false);
        }
        rocks_cursor_free(c);
    }
    if (r == 0 && b->n_ops > 0)
        return store_commit(b, 0);
    store_batch_free(b);
    return r;
}

/* Whole files: the space is back at once. */
int parts_delete(struct rocks *r, const uint8_t id[BLOB_ID])
{
    uint8_t lower[CHUNK_KEY], upper[CHUNK_KEY];
    char *err = NULL;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    chunk_key(lower, id, 0);
    chunk_key(upper, id, UINT64_MAX);
    rocksdb_delete_file_in_range_cf(r->db, r->cf[CF_BLOB], (const char *)lower, CHUNK_KEY,
                                    (const char *)upper, CHUNK_KEY, &err);
    rocks_leave(r);
    return rocks_error(err);
}

int rocks_content_delete(struct store *s, const uint8_t id[BLOB_ID], struct slice layout)
{
    autofree struct part *parts = NULL;
    enum layout_kind kind;
    size_t n = 0;

    if (layout_decode(layout, &kind, &parts, &n) < 0 || kind == LAYOUT_SMALL)
        return delete_small(s, id); /* also of a seal that was cut short: it has no layout */
    for (size_t i = 0; i < n; i++)
        file_forget(s->self, id, &parts[i]);
    return parts_delete(s->self, id);
}
