/* Content of the engine in memory. */
#include "store/mem.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

struct mem_blob {
    UT_hash_handle hh;
    uint8_t id[BLOB_ID];
    char *bytes;
    size_t size, cap;
};

struct staging {
    struct mem *mem;
    struct mem_blob *blob; /* NULL once it is in the table */
};

struct content {
    const struct mem_blob *blob; /* stays: nobody deletes what is open */
};

static void blob_free(struct mem_blob *b)
{
    if (b == NULL)
        return;
    free(b->bytes);
    free(b);
}

void mem_blobs_free(struct mem *m)
{
    struct mem_blob *b, *next;

    HASH_ITER(hh, m->blobs, b, next) {
        HASH_DEL(m->blobs, b);
        blob_free(b);
    }
}

static struct mem_blob *take_out(struct mem *m, const uint8_t id[BLOB_ID])
{
    struct mem_blob *b = NULL;

    guard(&m->lock);
    HASH_FIND(hh, m->blobs, id, BLOB_ID, b);
    if (b != NULL)
        HASH_DEL(m->blobs, b);
    return b;
}

static void put_in(struct mem *m, struct mem_blob *b)
{
    guard(&m->lock);
    HASH_ADD(hh, m->blobs, id, BLOB_ID, b);
}

int mem_staging_new(struct store *s, const uint8_t id[BLOB_ID], uint64_t hint, struct staging **ret)
{
    struct staging *g = xcalloc(1, sizeof *g);

    (void)hint;
    g->mem = s->self;
    g->blob = xcalloc(1, sizeof *g->blob);
    memcpy(g->blob->id, id, BLOB_ID);
    *ret = g;
    return 0;
}

int mem_staging_write(struct staging *g, const void *bytes, size_t n)
{
    struct mem_blob *b = g->blob;

    if (n > b->cap - b->size) {
        size_t cap = b->cap * 2 > b->size + n ? b->cap * 2 : b->size + n;
        char *more = realloc(b->bytes, cap);

        if (more == NULL)
            return -ENOMEM;
        b->bytes = more;
        b->cap = cap;
    }
    if (n > 0)
        memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
    return 0;
}

static ssize_t read_bytes(const struct mem_blob *b, uint64_t offset, void *buf, size_t n)
{
    if (offset >= b->size)
        return 0;
    if (n > b->size - offset)
        n = b->size - offset;
    memcpy(buf, b->bytes + offset, n);
    return (ssize_t)n;
}

ssize_t mem_staging_read(struct staging *g, uint64_t offset, void *buf, size_t n)
{
    return read_bytes(g->blob, offset, buf, n);
}

int mem_staging_suspend(struct staging *g, struct buf *state, uint64_t *ret_durable_bytes)
{
    (void)state;
    *ret_durable_bytes = g->blob->size;
    put_in(g->mem, take(g->blob));
    return 0;
}

int mem_staging_resume(struct store *s, const uint8_t id[BLOB_ID], struct slice state,
                       struct staging **ret, uint64_t *ret_durable_bytes)
{
    struct mem_blob *b = take_out(s->self, id);
    struct staging *g;

    (void)state;
    if (b == NULL)
        return -ENOENT;
    g = xcalloc(1, sizeof *g);
    g->mem = s->self;
    g->blob = b;
    *ret_durable_bytes = b->size;
    *ret = g;
    return 0;
}

int mem_staging_finish(struct staging *g, struct store_batch *b, struct buf *layout)
{
    (void)b;
    (void)layout;
    put_in(g->mem, take(g->blob));
    return 0;
}

void mem_staging_free(struct staging *g, enum staging_end end)
{
    (void)end;
    blob_free(g->blob);
    free(g);
}

void mem_staging_discard(struct store *s, const uint8_t id[BLOB_ID], struct slice state)
{
    (void)state;
    blob_free(take_out(s->self, id));
}

int mem_content_open(struct store *s, const uint8_t id[BLOB_ID], uint64_t size_bytes,
                     struct slice layout, struct content **ret)
{
    struct mem *m = s->self;
    struct mem_blob *b = NULL;

    (void)size_bytes;
    (void)layout;
    guard(&m->lock);
    HASH_FIND(hh, m->blobs, id, BLOB_ID, b);
    if (b == NULL)
        return -EIO;
    *ret = xcalloc(1, sizeof **ret);
    (*ret)->blob = b;
    return 0;
}

ssize_t mem_content_read(struct content *c, uint64_t offset, void *buf, size_t n)
{
    return read_bytes(c->blob, offset, buf, n);
}

int mem_content_lend(struct content *c, uint64_t offset, size_t n, struct blob_loan *ret)
{
    if (c->blob->size < BIG_BLOB)
        return -ENOTSUP; /* as rocks: only what is large is mapped */
    ret->iov = xcalloc(1, sizeof *ret->iov);
    ret->iov[0] = (struct iovec){c->blob->bytes + offset, n};
    ret->n_iov = 1;
    return 0;
}

void mem_content_close(struct content *c)
{
    free(c);
}

int mem_content_delete(struct store *s, const uint8_t id[BLOB_ID], struct slice layout)
{
    (void)layout;
    blob_free(take_out(s->self, id));
    return 0;
}
