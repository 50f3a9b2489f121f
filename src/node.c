#include "node.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

/* Bytes in memory: a read-only snapshot, or (publish set) a staged copy. */
struct memory_file {
    struct node_file file;
    /* Invariant: holds cap bytes, of which file.size_bytes are the content. */
    uint8_t *data;
    size_t cap;
    bool dirty;
    struct node_buffer buffer;
};

static void memory_free(struct memory_file *m)
{
    if (m->data != NULL && (m->file.flags & NODE_SECRET) != 0)
        explicit_bzero(m->data, m->cap);
    free(m->data);
    m->data = NULL;
    m->cap = 0;
    m->file.size_bytes = 0;
}

static ssize_t memory_read(struct op *op, struct node_file *f, uint64_t offset, void *buf, size_t n)
{
    struct memory_file *m = (struct memory_file *)f;

    (void)op;
    if (offset >= f->size_bytes)
        return 0;
    if (n > f->size_bytes - offset)
        n = (size_t)(f->size_bytes - offset);
    memcpy(buf, m->data + offset, n);
    return (ssize_t)n;
}

static void memory_close(struct node_file *f)
{
    struct memory_file *m = (struct memory_file *)f;

    memory_free(m);
    if (m->buffer.free_ctx != NULL)
        m->buffer.free_ctx(m->buffer.ctx);
    free(m);
}

/* Room for `size` bytes. realloc would leave a copy of a secret behind. */
static int memory_grow(struct memory_file *m, size_t size)
{
    size_t cap = m->cap < 4096 ? 4096 : m->cap;
    uint8_t *data;

    if (size <= m->cap)
        return 0;
    while (cap < size)
        cap *= 2;
    data = malloc(cap);
    if (data == NULL)
        return -ENOMEM;
    if (m->file.size_bytes > 0)
        memcpy(data, m->data, (size_t)m->file.size_bytes);
    if (m->data != NULL && (m->file.flags & NODE_SECRET) != 0)
        explicit_bzero(m->data, m->cap);
    free(m->data);
    m->data = data;
    m->cap = cap;
    return 0;
}

static int memory_resize(struct op *op, struct memory_file *m, uint64_t size)
{
    uint64_t old = m->file.size_bytes;
    int r;

    if (size > m->buffer.limit_bytes)
        return op_fail(op, EFBIG, "the content is over the limit of %zu bytes",
                       m->buffer.limit_bytes);
    r = memory_grow(m, (size_t)size);
    if (r < 0)
        return op_fail(op, ENOMEM, "no memory for %" PRIu64 " bytes", size);
    if (size > old)
        memset(m->data + old, 0, (size_t)(size - old));
    else if (size < old && (m->file.flags & NODE_SECRET) != 0)
        explicit_bzero(m->data + size, (size_t)(old - size));
    m->file.size_bytes = size;
    return 0;
}

static ssize_t memory_write(struct op *op, struct node_file *f, uint64_t offset, const void *buf,
                            size_t n)
{
    struct memory_file *m = (struct memory_file *)f;
    uint64_t end;
    int r;

    if (__builtin_add_overflow(offset, n, &end))
        return op_fail(op, EFBIG, "the content is over the limit of %zu bytes",
                       m->buffer.limit_bytes);
    if (end > f->size_bytes) {
        r = memory_resize(op, m, end);
        if (r < 0)
            return r;
    }
    if (n > 0)
        memcpy(m->data + offset, buf, n);
    m->dirty = true;
    return (ssize_t)n;
}

static int memory_truncate(struct op *op, struct node_file *f, uint64_t size_bytes)
{
    struct memory_file *m = (struct memory_file *)f;
    int r = memory_resize(op, m, size_bytes);

    if (r == 0)
        m->dirty = true;
    return r;
}

static int memory_commit(struct op *op, struct node_file *f)
{
    struct memory_file *m = (struct memory_file *)f;
    int r;

    if (!m->dirty)
        return 0;
    m->dirty = false;
    r = m->buffer.publish(op, m->buffer.ctx, slice_of(m->data, (size_t)f->size_bytes));
    if (r < 0)
        memory_free(m);
    return r;
}

static const struct node_file_ops bytes_ops = {
    .read = memory_read,
    .close = memory_close,
};

static const struct node_file_ops buffer_ops = {
    .read = memory_read,
    .write = memory_write,
    .truncate = memory_truncate,
    .commit = memory_commit,
    .close = memory_close,
};

static int memory_open(struct slice bytes, unsigned flags, const struct node_file_ops *ops,
                       struct memory_file **ret)
{
    struct memory_file *m = xcalloc(1, sizeof *m);

    m->file.ops = ops;
    m->file.flags = flags;
    if (bytes.len > 0) {
        m->data = malloc(bytes.len);
        if (m->data == NULL) {
            free(m);
            return -ENOMEM;
        }
        memcpy(m->data, bytes.data, bytes.len);
        m->cap = bytes.len;
        m->file.size_bytes = bytes.len;
    }
    *ret = m;
    return 0;
}

int node_bytes_open(struct slice bytes, unsigned flags, struct node_file **ret)
{
    struct memory_file *m = NULL;
    int r = memory_open(bytes, flags, &bytes_ops, &m);

    if (r == 0)
        *ret = &m->file;
    return r;
}

int node_buffer_open(const struct node_buffer *buffer, struct node_file **ret)
{
    struct memory_file *m = NULL;
    int r = memory_open(buffer->initial, buffer->flags, &buffer_ops, &m);

    if (r < 0)
        return r;
    m->buffer = *buffer;
    m->buffer.initial = (struct slice){0}; /* the caller's: gone when we return */
    m->dirty = buffer->dirty;
    *ret = &m->file;
    return 0;
}

const char *path_head(struct op *op, const char *path, const char **ret_head)
{
    const char *slash = strchr(path, '/');

    if (slash == NULL) {
        *ret_head = path;
        return "";
    }
    *ret_head = op_strndup(op, path, (size_t)(slash - path));
    return slash + 1;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

const char *path_folder(struct op *op, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? op_strndup(op, path, (size_t)(slash - path)) : "";
}
