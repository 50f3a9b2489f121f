/* The files of stages in uploads/, and what a suspended stage remembers of them. */
#include "store/rocks_stage.h"

#include "store/blob_catalog.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

char *upload_raw_path(const struct rocks *r, const uint8_t id[BLOB_ID])
{
    char hex[2 * BLOB_ID + 1], *path;

    hex_encode(slice_of(id, BLOB_ID), hex);
    if (asprintf(&path, "%s/%s.raw", r->uploads, hex) < 0)
        abort();
    return path;
}

char *upload_part_path(const struct rocks *r, const uint8_t id[BLOB_ID], uint32_t n)
{
    char hex[2 * BLOB_ID + 1], *path;

    hex_encode(slice_of(id, BLOB_ID), hex);
    if (asprintf(&path, "%s/%s.%u.sst", r->uploads, hex, n) < 0)
        abort();
    return path;
}

static bool is_current(const struct staging *g, uint32_t file_no)
{
    for (size_t i = 0; i < g->n_parts; i++)
        if (g->parts[i].file_no == file_no)
            return true;
    return false;
}

void upload_remove(const struct staging *g, bool keep_current)
{
    if (g->phase != PHASE_MEM && !(keep_current && g->phase == PHASE_RAW)) {
        autofree char *raw = upload_raw_path(g->rocks, g->id);

        unlink(raw);
    }
    for (uint32_t i = 0; i < g->next_file_no; i++) {
        autofree char *path = NULL;

        if (keep_current && is_current(g, i))
            continue;
        path = upload_part_path(g->rocks, g->id, i);
        unlink(path);
    }
}

/* varint phase; then the content itself (memory), its size (plain file), or the parts. */
void stage_state_encode(struct buf *b, const struct staging *g)
{
    varint_put(b, g->phase);
    if (g->phase == PHASE_MEM)
        buf_add(b, g->mem.data, g->mem.len);
    if (g->phase == PHASE_RAW)
        varint_put(b, g->size_bytes);
    if (g->phase != PHASE_PARTS)
        return;
    varint_put(b, g->next_file_no);
    varint_put(b, g->n_parts);
    for (size_t i = 0; i < g->n_parts; i++) {
        varint_put(b, g->parts[i].file_no);
        varint_put(b, g->parts[i].chunks);
        varint_put(b, g->parts[i].bytes);
    }
}

static int decode_parts(struct slice state, struct staging *g)
{
    uint64_t next = 0, n = 0, file_no = 0, chunks = 0, chunk = 0;

    if (varint_get(&state, &next) < 0 || varint_get(&state, &n) < 0 || n > state.len / 3 ||
        next > UINT32_MAX)
        return -EIO;
    g->next_file_no = (uint32_t)next;
    g->parts = xcalloc(n, sizeof *g->parts);
    g->cap_parts = n;
    for (; g->n_parts < n; g->n_parts++) {
        struct part *p = &g->parts[g->n_parts];

        if (varint_get(&state, &file_no) < 0 || varint_get(&state, &chunks) < 0 ||
            varint_get(&state, &p->bytes) < 0 || file_no >= next || !part_fits(chunks, p->bytes))
            return -EIO;
        p->file_no = (uint32_t)file_no;
        p->chunks = (uint32_t)chunks;
        p->first_chunk = chunk;
        part_set_offsets(p);
        chunk += chunks;
        g->size_bytes += p->bytes;
    }
    return 0;
}

int stage_state_decode(struct slice state, struct staging *g)
{
    uint64_t phase = 0;

    if (varint_get(&state, &phase) < 0)
        return -EIO;
    g->phase = (enum phase)phase;
    switch (phase) {
    case PHASE_MEM:
        buf_add_slice(&g->mem, state);
        g->size_bytes = state.len;
        return 0;
    case PHASE_RAW:
        return varint_get(&state, &g->size_bytes) < 0 ? -EIO : 0;
    case PHASE_PARTS:
        return decode_parts(state, g);
    default:
        return -EIO;
    }
}

/* Content of more than a part goes around the page cache: written through it, it would cost a copy,
 * and push out what is read. */
static bool is_direct(const struct staging *g)
{
    return g->rocks->direct && (g->n_parts > 0 || g->hint > (uint64_t)PART_CHUNKS * CHUNK_BIG);
}

static int open_part(struct staging *g)
{
    autofree char *path = upload_part_path(g->rocks, g->id, g->next_file_no);
    const struct part *before = g->n_parts > 0 ? &g->parts[g->n_parts - 1] : NULL;
    int r;

    if (g->writer != NULL && g->writer_direct != is_direct(g)) {
        part_writer_free(g->writer);
        g->writer = NULL;
    }
    if (g->writer == NULL) {
        g->writer_direct = is_direct(g);
        g->writer = part_writer_new(g->writer_direct);
    }
    r = rocks_error(part_writer_open(g->writer, path));
    if (r < 0)
        return r;
    g->current = (struct part){
        .file_no = g->next_file_no++,
        .first_chunk = before != NULL ? before->first_chunk + before->chunks : 0,
    };
    return 0;
}

int staging_add_chunk(struct staging *g, const void *bytes, size_t n)
{
    uint8_t key[CHUNK_KEY];
    int r = 0;

    if (g->current.chunks == 0)
        r = open_part(g);
    if (r < 0)
        return r;
    chunk_key(key, g->id, g->current.first_chunk + g->current.chunks);
    r = rocks_error(part_writer_put(g->writer, key, sizeof key, bytes, n));
    if (r < 0)
        return r;
    g->current.chunks++;
    g->current.bytes += n;
    return g->current.chunks == PART_CHUNKS ? staging_end_part(g, false) : 0;
}

/* Offsets are recorded only if every entry of the finished file is where the formula says. */
static int check_part(struct staging *g, struct part *p)
{
    autofree char *path = upload_part_path(g->rocks, g->id, p->file_no);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = 1;

    if (fd < 0)
        return -errno;
    part_set_offsets(p);
    for (uint32_t i = 0; i < p->chunks && r == 1; i++)
        r = part_check(fd, p, g->id, i);
    if (r == 0)
        p->first = 0;
    return r < 0 ? r : 0;
}

int staging_end_part(struct staging *g, bool with_gathered)
{
    int r = 0;

    if (with_gathered && g->n_gathered > 0) {
        size_t n = g->n_gathered;

        g->n_gathered = 0;
        r = staging_add_chunk(g, g->gathered, n);
    }
    if (r < 0 || g->current.chunks == 0)
        return r;
    r = rocks_error(part_writer_finish(g->writer));
    if (r == 0)
        r = check_part(g, &g->current);
    if (r < 0)
        return r;
    if (g->n_parts == g->cap_parts) {
        g->cap_parts = g->cap_parts > 0 ? 2 * g->cap_parts : 4;
        g->parts = xrealloc(g->parts, g->cap_parts * sizeof *g->parts);
    }
    g->parts[g->n_parts++] = g->current;
    g->current = (struct part){0};
    return 0;
}

/* Is a file of uploads/ one that a suspended stage still needs? */
static bool is_needed(struct store *s, const char *name)
{
    struct staging g = {.rocks = s->self, .raw_fd = -1, .read_fd = -1};
    struct store_value v = {0};
    struct stage_row row;
    bool needed = false;
    char *dot = strchr(name, '.');

    if (dot == NULL || hex_decode(slice_of(name, (size_t)(dot - name)), g.id, BLOB_ID) != BLOB_ID ||
        catalog_row_get(s, ROW_STAGE, slice_of(g.id, BLOB_ID), &v) < 0)
        return false;
    if (stage_row_decode(v.data, &row) == 0 && row.state == STAGE_SUSPENDED &&
        stage_state_decode(row.engine, &g) == 0)
        needed = strcmp(dot, ".raw") == 0 ? g.phase == PHASE_RAW
                                          : is_current(&g, (uint32_t)strtoul(dot + 1, NULL, 10));
    buf_done(&g.mem);
    free(g.parts);
    store_value_release(&v);
    return needed;
}

static int sweep_uploads(struct store *s)
{
    struct rocks *r = s->self;
    DIR *dir = opendir(r->uploads);
    struct dirent *e;
    unsigned n = 0;

    if (dir == NULL)
        return -errno;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.' || is_needed(s, e->d_name))
            continue;
        if (unlinkat(dirfd(dir), e->d_name, 0) == 0)
            n++;
    }
    closedir(dir);
    if (n > 0)
        log_line(LOG_INFO, NULL, "store.swept", "uploads=%u", n);
    return 0;
}

/* Content that had files of parts at open, and that no row has named yet; by its id. */
struct found_content {
    UT_hash_handle hh;
    uint8_t id[BLOB_ID];
};

static void found_add(struct rocks *r, const void *id)
{
    struct found_content *f = NULL;

    HASH_FIND(hh, r->found, id, BLOB_ID, f);
    if (f != NULL)
        return;
    f = xcalloc(1, sizeof *f);
    memcpy(f->id, id, BLOB_ID);
    HASH_ADD(hh, r->found, id, BLOB_ID, f);
}

static void found_part(struct rocks *r, const char *key, const char *name)
{
    (void)name;
    found_add(r, key);
}

bool rocks_sweep_keep(struct store *s, const uint8_t id[BLOB_ID])
{
    struct rocks *r = s->self;
    struct found_content *f = NULL;

    HASH_FIND(hh, r->found, id, BLOB_ID, f);
    if (f == NULL)
        return false;
    HASH_DEL(r->found, f);
    free(f);
    return true;
}

/* Parts that were taken in, but whose sealing batch never came. Ids are drawn anew for each stage:
 * what is sealed meanwhile has another. */
static void delete_unsealed(struct rocks *r, const uint8_t id[BLOB_ID])
{
    char hex[2 * BLOB_ID + 1];

    hex_encode(slice_of(id, BLOB_ID), hex);
    if (parts_delete(r, id) == 0)
        log_line(LOG_INFO, NULL, "store.swept", "content=%s", hex);
}

/* A suspended stage can be resumed, and sealed under its own id: what an earlier try left under it
 * goes before anybody can. Its row and that of its content never are there both. */
static int sweep_suspended(struct store *s)
{
    struct rocks *r = s->self;
    struct store_scan *scan = NULL;
    struct slice key;
    int e = catalog_scan(s, ROW_STAGE, (struct slice){0}, &scan);

    if (e < 0)
        return e;
    while ((e = store_scan_next(scan, &key, NULL)) == 1) {
        const uint8_t *id = (const uint8_t *)key.data + 1;

        if (key.len == 1 + BLOB_ID && rocks_sweep_keep(s, id))
            delete_unsealed(r, id);
    }
    store_scan_free(scan);
    return e;
}

int rocks_sweep(struct store *s)
{
    struct rocks *r = s->self;
    int e = sweep_uploads(s);

    if (e == 0)
        e = rocks_each_part(r, found_part);
    if (e == 0 && r->found != NULL)
        e = sweep_suspended(s);
    return e;
}

void rocks_sweep_end(struct store *s, bool all_seen)
{
    struct rocks *r = s->self;
    struct found_content *f, *next;

    HASH_ITER(hh, r->found, f, next) {
        if (all_seen)
            delete_unsealed(r, f->id);
        HASH_DEL(r->found, f);
        free(f);
    }
}
