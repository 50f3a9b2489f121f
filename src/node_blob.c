/* The handle of a stored blob: what node.h calls node_blob_open. */
#include "node.h"

#include "base/alloc.h"

#include <stdlib.h>

struct blob_file {
    struct node_file file;
    struct blob *blob;
};

static ssize_t blob_file_read(struct op *op, struct node_file *f, uint64_t offset, void *buf,
                              size_t n)
{
    (void)op;
    return blob_read(((struct blob_file *)f)->blob, offset, buf, n);
}

static int blob_file_lend(struct op *op, struct node_file *f, uint64_t offset, size_t n,
                          struct blob_loan *ret)
{
    (void)op;
    return blob_lend(((struct blob_file *)f)->blob, offset, n, ret);
}

static void blob_file_close(struct node_file *f)
{
    blob_close(((struct blob_file *)f)->blob);
    free(f);
}

static const struct node_file_ops blob_file_ops = {
    .read = blob_file_read,
    .lend = blob_file_lend,
    .close = blob_file_close,
};

int node_blob_open(struct blob *blob, unsigned flags, struct node_file **ret)
{
    struct blob_file *f = xcalloc(1, sizeof *f);

    f->file.ops = &blob_file_ops;
    f->file.flags = flags;
    f->file.size_bytes = blob_size(blob);
    f->blob = blob;
    *ret = &f->file;
    return 0;
}
