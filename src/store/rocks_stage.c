/* A stage: a little waits in memory, up to 4 MiB in a plain file, and from there on content is
 * written into the SST files that RocksDB will take in as they are. */
#include "store/rocks_stage.h"

#include "store/blob_catalog.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"

#include <errno.h>
#include <fcntl.h>

#define COPY_BYTES    (64u << 10)
#define ONE_BATCH_MAX (256u << 10) /* small content up to here is sealed in one batch */

int rocks_staging_new(struct store *s, const uint8_t id[BLOB_ID], uint64_t hint,
                      struct staging **ret)
{
    struct staging *g = xcalloc(1, sizeof *g);

    g->rocks = s->self;
    g->store = s;
    memcpy(g->id, id, BLOB_ID);
    g->phase = PHASE_MEM;
    g->hint = hint;
    g->raw_fd = g->read_fd = -1;
    *ret = g;
    return 0;
}

static int start_raw(struct staging *g)
{
    autofree char *path = upload_raw_path(g->rocks, g->id);
    int r;

    g->raw_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (g->raw_fd < 0)
        return -errno;
    g->phase = PHASE_RAW;
    r = file_write_all(g->raw_fd, buf_slice(&g->mem));
    buf_done(&g->mem);
    return r;
}

static int gather(struct staging *g, const void *bytes, size_t n)
{
    const char *from = bytes;
    int r = 0;

    while (n > 0 && r == 0) {
        size_t room = CHUNK_BIG - g->n_gathered, piece = n < room ? n : room;

        if (g->n_gathered == 0 && n >= CHUNK_BIG) {
            r = staging_add_chunk(g, from, CHUNK_BIG); /* whole chunks need not be copied */
            piece = CHUNK_BIG;
        } else {
            if (g->gathered == NULL)
                g->gathered = xmalloc(CHUNK_BIG);
            memcpy(g->gathered + g->n_gathered, from, piece);
            g->n_gathered += piece;
        }
        if (g->n_gathered == CHUNK_BIG) {
            g->n_gathered = 0;
            r = staging_add_chunk(g, g->gathered, CHUNK_BIG);
        }
        from += piece;
        n -= piece;
    }
    return r;
}

static ssize_t read_raw(const struct staging *g, uint64_t offset, void *buf, size_t n)
{
    ssize_t r;

    do
        r = pread(g->raw_fd, buf, n, (off_t)offset);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

/* The plain file is removed later: the state of an earlier suspend may be in it. */
static int raw_to_parts(struct staging *g)
{
    autofree char *bytes = xmalloc(COPY_BYTES);
    uint64_t done = 0;
    int r = 0;

    while (done < g->size_bytes && r == 0) {
        ssize_t n = read_raw(g, done, bytes, COPY_BYTES);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        r = gather(g, bytes, (size_t)n);
        done += (uint64_t)n;
    }
    close(g->raw_fd);
    g->raw_fd = -1;
    g->phase = PHASE_PARTS;
    return r;
}

static int mem_to_parts(struct staging *g)
{
    int r = gather(g, g->mem.data, g->mem.len);

    buf_done(&g->mem);
    g->phase = PHASE_PARTS;
    return r;
}

/* Moves on to the phase that content of this size belongs to. */
static int advance(struct staging *g, uint64_t size_bytes)
{
    int r = 0;

    if (g->phase == PHASE_MEM && size_bytes > MEM_MAX)
        r = g->hint >= BIG_BLOB || size_bytes >= BIG_BLOB ? mem_to_parts(g) : start_raw(g);
    if (r == 0 && g->phase == PHASE_RAW && size_bytes >= BIG_BLOB)
        r = raw_to_parts(g);
    return r;
}

void rocks_staging_expect(struct staging *g, uint64_t size_bytes)
{
    if (g->hint < size_bytes)
        g->hint = size_bytes;
}

int rocks_staging_write(struct staging *g, const void *bytes, size_t n)
{
    int r = rocks_room(g->rocks, n);

    if (r == 0)
        r = advance(g, g->size_bytes + n);
    if (r < 0)
        return r;
    if (g->phase == PHASE_MEM)
        buf_add(&g->mem, bytes, n);
    else if (g->phase == PHASE_RAW)
        r = file_write_all(g->raw_fd, slice_of(bytes, n));
    else
        r = gather(g, bytes, n);
    if (r == 0)
        g->size_bytes += n;
    return r;
}

static int open_for_read(struct staging *g, size_t i)
{
    autofree char *path = NULL;

    if (g->read_fd >= 0 && g->read_part == i)
        return 0;
    if (g->read_fd >= 0)
        close(g->read_fd);
    path = upload_part_path(g->rocks, g->id, g->parts[i].file_no);
    g->read_fd = open(path, O_RDONLY | O_CLOEXEC);
    g->read_part = i;
    return g->read_fd < 0 ? -errno : 0;
}

/* -ENOTSUP: a part whose entries are not where they should be; there is no such RocksDB yet. */
static ssize_t read_parts(struct staging *g, uint64_t offset, void *buf, size_t n)
{
    uint64_t at = 0;

    for (size_t i = 0; i < g->n_parts; at += g->parts[i].bytes, i++) {
        const struct part *p = &g->parts[i];
        int r;

        if (offset >= at + p->bytes)
            continue;
        if (p->first == 0)
            return -ENOTSUP;
        r = open_for_read(g, i);
        if (r < 0)
            return r;
        return part_read(g->read_fd, p, offset - at, buf, n);
    }
    return 0;
}

static ssize_t read_some(struct staging *g, uint64_t offset, void *buf, size_t n)
{
    uint64_t in_parts = 0;

    if (g->phase == PHASE_MEM) {
        memcpy(buf, g->mem.data + offset, n);
        return (ssize_t)n;
    }
    if (g->phase == PHASE_RAW)
        return read_raw(g, offset, buf, n);
    for (size_t i = 0; i < g->n_parts; i++)
        in_parts += g->parts[i].bytes;
    if (offset >= in_parts) {
        /* What RocksDB still buffers cannot be read: end the part here, and go on in a new one. */
        int r = staging_end_part(g, true);

        if (r < 0)
            return r;
    }
    return read_parts(g, offset, buf, n);
}

ssize_t rocks_staging_read(struct staging *g, uint64_t offset, void *buf, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = read_some(g, offset + done, (char *)buf + done, n - done);

        if (r <= 0)
            return r < 0 ? r : -EIO;
        done += (size_t)r;
    }
    return (ssize_t)n;
}

int rocks_staging_suspend(struct staging *g, struct buf *state, uint64_t *ret_durable_bytes)
{
    int r = 0;

    if (g->phase == PHASE_RAW && fdatasync(g->raw_fd) < 0)
        r = -errno;
    if (g->phase == PHASE_PARTS)
        r = staging_end_part(g, true); /* syncs the file */
    if (r == 0 && g->phase != PHASE_MEM && fsync(g->rocks->uploads_fd) < 0)
        r = -errno;
    if (r < 0)
        return r;
    stage_state_encode(state, g);
    *ret_durable_bytes = g->size_bytes;
    return 0;
}

static int reopen_raw(struct staging *g)
{
    autofree char *path = upload_raw_path(g->rocks, g->id);

    g->raw_fd = open(path, O_RDWR | O_CLOEXEC);
    if (g->raw_fd < 0)
        return -errno;
    if (lseek(g->raw_fd, 0, SEEK_END) < (off_t)g->size_bytes)
        return -ENOENT;
    if (ftruncate(g->raw_fd, (off_t)g->size_bytes) < 0 ||
        lseek(g->raw_fd, (off_t)g->size_bytes, SEEK_SET) < 0)
        return -errno;
    return 0;
}

/* Many small suspended pieces would make many small parts: a small last one is written again. */
static int absorb_last(struct staging *g)
{
    struct part p = g->parts[g->n_parts - 1];
    autofree char *path = upload_part_path(g->rocks, g->id, p.file_no);
    autofree char *bytes = xmalloc(COPY_BYTES);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t done = 0;
    int r = 0;

    if (fd < 0)
        return -errno;
    g->n_parts--;
    while (done < p.bytes && r == 0) {
        ssize_t n = part_read(fd, &p, done, bytes, COPY_BYTES);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        r = gather(g, bytes, (size_t)n);
        done += (uint64_t)n;
    }
    return r;
}

static int reopen_parts(struct staging *g)
{
    for (size_t i = 0; i < g->n_parts; i++) {
        autofree char *path = upload_part_path(g->rocks, g->id, g->parts[i].file_no);
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
        int r;

        if (fd < 0)
            return -errno;
        r = part_check(fd, &g->parts[i], g->id, g->parts[i].chunks - 1);
        if (r != 1)
            return r < 0 ? r : -EIO;
    }
    if (g->n_parts > 0 && g->parts[g->n_parts - 1].bytes < PART_MIN)
        return absorb_last(g);
    return 0;
}

int rocks_staging_resume(struct store *s, const uint8_t id[BLOB_ID], struct slice state,
                         struct staging **ret, uint64_t *ret_durable_bytes)
{
    struct staging *g = NULL;
    int r = rocks_staging_new(s, id, 0, &g);

    if (r == 0)
        r = stage_state_decode(state, g);
    if (r == 0 && g->phase == PHASE_RAW)
        r = reopen_raw(g);
    if (r == 0 && g->phase == PHASE_PARTS)
        r = reopen_parts(g);
    if (r < 0) {
        rocks_staging_free(g, STAGING_FAILED);
        return r;
    }
    *ret_durable_bytes = g->size_bytes;
    *ret = g;
    return 0;
}

static void add_small(struct store_batch *b, const struct staging *g, uint64_t chunk,
                      const void *bytes, size_t n)
{
    uint8_t key[CHUNK_KEY];

    chunk_key(key, g->id, chunk);
    batch_add(b, BATCH_PUT, SPACE_CHUNKS, slice_of(key, sizeof key), slice_of(bytes, n));
}

/* All chunks go with the sealing batch if they are few. Else they go before it, in steps; the mark
 * before them tells the next start what to delete should the last one never come. */
static int finish_small(struct staging *g, struct store_batch *last)
{
    autofree char *bytes = xmalloc(CHUNK_SMALL);
    bool steps = g->size_bytes > ONE_BATCH_MAX;
    int r = steps ? stage_mark_sealing(g->store, g->id) : 0;

    for (uint64_t at = 0, chunk = 0; at < g->size_bytes && r == 0; at += CHUNK_SMALL, chunk++) {
        struct store_batch *b = steps ? catalog_batch(g->store) : last;
        uint64_t left = g->size_bytes - at;
        size_t n = left < CHUNK_SMALL ? (size_t)left : CHUNK_SMALL;
        ssize_t got = rocks_staging_read(g, at, bytes, n);

        if (got == (ssize_t)n)
            add_small(b, g, chunk, bytes, n);
        else
            r = got < 0 ? (int)got : -EIO;
        if (steps && r == 0)
            r = store_commit(b, 0);
        else if (steps)
            store_batch_free(b);
    }
    if (r == 0 && steps)
        stage_unmark(last, g->id);
    if (r < 0 && steps)
        (void)rocks_content_delete(g->store, g->id, (struct slice){0});
    return r;
}

static int ingest(struct staging *g)
{
    struct rocks *r = g->rocks;
    char **paths = xcalloc(g->n_parts, sizeof *paths);
    char *err = NULL;
    int e = rocks_enter(r);

    for (size_t i = 0; i < g->n_parts; i++)
        paths[i] = upload_part_path(r, g->id, g->parts[i].file_no);
    if (e == 0) {
        rocksdb_ingest_external_file_cf(r->db, r->cf[CF_BLOB], (const char *const *)paths,
                                        g->n_parts, r->ingest_new, &err);
        e = rocks_error(err);
        rocks_leave(r);
    }
    for (size_t i = 0; i < g->n_parts; i++)
        free(paths[i]);
    free(paths);
    return e;
}

int rocks_staging_finish(struct staging *g, struct store_batch *b, struct buf *layout)
{
    int r;

    if (g->phase != PHASE_PARTS) {
        layout_small(layout);
        return finish_small(g, b);
    }
    r = staging_end_part(g, true);
    if (r == 0)
        r = store_write_check(g->store);
    if (r == 0)
        r = ingest(g);
    layout_parts(layout, g->parts, g->n_parts);
    return r;
}

void rocks_staging_free(struct staging *g, enum staging_end end)
{
    part_writer_free(g->writer);
    if (end != STAGING_FAILED)
        upload_remove(g, end == STAGING_SUSPENDED);
    if (g->raw_fd >= 0)
        close(g->raw_fd);
    if (g->read_fd >= 0)
        close(g->read_fd);
    buf_done(&g->mem);
    free(g->gathered);
    free(g->parts);
    free(g);
}

void rocks_staging_discard(struct store *s, const uint8_t id[BLOB_ID], struct slice state)
{
    struct staging *g = NULL;

    if (rocks_staging_new(s, id, 0, &g) < 0)
        return;
    (void)stage_state_decode(state, g);
    rocks_staging_free(g, STAGING_DROPPED);
}
