#include "http/answer.h"

#include <errno.h>

#define READ_BLOCK (256u << 10)
#define SLOW_BLOCK (128u << 10)
/* libmicrohttpd copies the iovecs into the connection's memory, which holds the headers too. */
#define LENT_MAX (CONNECTION_MEMORY / 2 / sizeof(struct iovec))

/* A blob or an open node of the tree: something with bytes at offsets. */
struct content {
    struct request *request;
    uint64_t offset; /* of the first byte that is sent */
};

static uint64_t size_of(const struct request *r)
{
    return r->resp.body == WEB_BLOB ? blob_size(r->resp.blob) : r->resp.file->size_bytes;
}

static ssize_t read_at(struct request *r, uint64_t offset, void *buf, size_t n)
{
    struct node_file *file = r->resp.file;

    if (r->resp.body == WEB_BLOB)
        return blob_read(r->resp.blob, offset, buf, n);
    return file->ops->read(&r->op, file, offset, buf, n);
}

static int lend_at(struct request *r, uint64_t offset, size_t n)
{
    struct node_file *file = r->resp.file;

    if (r->resp.body == WEB_BLOB)
        return blob_lend(r->resp.blob, offset, n, &r->loan);
    return file->ops->lend != NULL ? file->ops->lend(&r->op, file, offset, n, &r->loan) : -ENOTSUP;
}

static ssize_t read_more(void *cls, uint64_t position, char *buf, size_t max)
{
    struct content *c = cls;
    ssize_t n = read_at(c->request, c->offset + position, buf, max);

    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

/* What may be slow to read: a worker reads a block, while the connection is suspended. */
struct slow {
    struct content content; /* first */
    uint64_t position;      /* of block */
    ssize_t n;              /* bytes in it; negative: reading failed */
    size_t sent;            /* of those */
    bool read;
    char block[SLOW_BLOCK];
};

static void job_read(struct request *r)
{
    struct slow *s = r->slow;

    s->n = read_at(r, s->content.offset + s->position, s->block, sizeof s->block);
    s->sent = 0;
    s->read = true;
    request_resume(r);
}

static ssize_t read_slowly(void *cls, uint64_t position, char *buf, size_t max)
{
    struct slow *s = cls;
    struct request *r = s->content.request;
    size_t left;

    (void)__atomic_load_n(&r->handed, __ATOMIC_ACQUIRE);
    if (!s->read || (s->n > 0 && s->sent == (size_t)s->n)) {
        s->read = false;
        s->position = position;
        r->slow = s;
        request_to_worker(r, r->http->readers, job_read);
        return 0;
    }
    if (s->n <= 0)
        return s->n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
    left = (size_t)s->n - s->sent;
    if (max > left)
        max = left;
    memcpy(buf, s->block + s->sent, max);
    s->sent += max;
    return (ssize_t)max;
}

/* Read in blocks while it is sent. */
static struct MHD_Response *read_later(struct request *r, uint64_t offset, uint64_t length,
                                       size_t block)
{
    struct content *c;
    struct slow *s;

    if (r->resp.body == WEB_FILE && r->resp.file->flags & NODE_SLOW) {
        s = op_alloc(&r->op, sizeof *s);
        s->content = (struct content){r, offset};
        return MHD_create_response_from_callback(length, 64u << 10, read_slowly, s, NULL);
    }
    c = op_alloc(&r->op, sizeof *c);
    *c = (struct content){r, offset};
    return MHD_create_response_from_callback(length, block, read_more, c, NULL);
}

/* A small part is read at once: if that fails it can still be said. NULL: it failed. */
static struct MHD_Response *read_now(struct request *r, const struct range *part)
{
    char *bytes = op_alloc(&r->op, (size_t)part->length + 1);
    size_t done = 0;

    while (done < part->length) {
        ssize_t n = read_at(r, part->offset + done, bytes + done, (size_t)part->length - done);

        if (n <= 0) {
            r->result = n < 0 ? (int)n : -EIO;
            op_fail(&r->op, -r->result, "stored content is damaged or gone");
            return NULL;
        }
        done += (size_t)n;
    }
    return mhd_response_lent(slice_of(bytes, done));
}

/* The kernel takes it out of the mapped file. TLS would read the mapping itself: see blob.h. */
static struct MHD_Response *lend(struct request *r, const struct range *part)
{
    struct MHD_Response *m = NULL;

    if (r->listener->tls != NULL || lend_at(r, part->offset, (size_t)part->length) < 0)
        return NULL;
    /* struct MHD_IoVec and struct iovec are the same */
    if (r->loan.n_iov <= LENT_MAX)
        m = MHD_create_response_from_iovec((const struct MHD_IoVec *)(const void *)r->loan.iov,
                                           (unsigned)r->loan.n_iov, NULL, NULL);
    if (m == NULL) {
        blob_unlend(&r->loan);
        r->loan = (struct blob_loan){0};
    }
    return m;
}

static struct MHD_Response *make(struct request *r, const struct range *part)
{
    struct MHD_Response *m;

    if (strcmp(r->web.method, "HEAD") == 0)
        return read_later(r, part->offset, part->length, 1);
    if (part->length <= READ_BLOCK)
        return read_now(r, part);
    m = lend(r, part);
    return m != NULL ? m : read_later(r, part->offset, part->length, READ_BLOCK);
}

void answer_content(struct request *r)
{
    struct MHD_Response *m;
    struct range part;

    bool computed = r->resp.body == WEB_FILE && r->resp.file->flags & NODE_COMPUTED;

    if (answer_not_modified(r, r->resp.etag, r->resp.etag,
                            computed ? MHD_SIZE_UNKNOWN : size_of(r)))
        return;
    if (computed) {
        answer_respond(r, read_later(r, 0, MHD_SIZE_UNKNOWN, 64u << 10), r->resp.etag);
        return;
    }
    if (!answer_part(r, size_of(r), &part))
        return;
    m = make(r, &part);
    if (m == NULL)
        answer_build(r); /* renders the failure */
    else
        answer_respond(r, m, r->resp.etag);
}
