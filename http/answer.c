#include "http/conditional.h"
#include "http/range.h"
#include "http/request.h"

#include "base/alloc.h"
#include "base/negotiate.h"
#include "base/scope.h"

#include <errno.h>
#include <stdio.h>

#define READ_BLOCK (256u << 10)
/* libmicrohttpd copies the iovecs into the connection's memory, which holds the headers too. */
#define LENT_MAX (CONNECTION_MEMORY / 2 / sizeof(struct iovec))

static const char *header_of(const struct web_response *resp, const char *name)
{
    for (const struct web_response_header *h = resp->headers; h != NULL; h = h->next)
        if (strcasecmp(h->name, name) == 0)
            return h->value;
    return NULL;
}

static bool takes_gzip(const struct request *r)
{
    return negotiate_coding(slice_str(r->headers.accept_encoding), SLICE("gzip"));
}

static const char *coded_tag(struct request *r, const char *etag)
{
    size_t len = etag != NULL ? strlen(etag) : 0;

    if (len < 2)
        return NULL;
    return op_printf(&r->op, "%.*s-gzip\"", (int)(len - 1), etag);
}

/* 304 where the client has what would be sent (RFC 9110 section 13.2.2). */
static bool not_modified(struct request *r, const char *etag)
{
    const char *list = r->headers.if_none_match;

    if (r->resp.status != 200 || !request_is_read(r))
        return false;
    if (list == NULL)
        return not_modified_since(r->headers.if_modified_since,
                                  header_of(&r->resp, "Last-Modified"));
    if (r->headers.several_if_none_match)
        list = web_header_all(&r->web, "If-None-Match");
    return etag_is_listed(list, etag);
}

static void add_headers(struct MHD_Response *m, const struct web_response_header *h)
{
    /* the length is the server's business */
    for (; h != NULL; h = h->next)
        if (strcasecmp(h->name, "Content-Length") != 0)
            MHD_add_response_header(m, h->name, h->value);
}

static void respond(struct request *r, struct MHD_Response *m, const char *etag)
{
    if (m == NULL)
        m = mhd_response_lent(SLICE(""));
    add_headers(m, r->resp.headers);
    if (etag != NULL && header_of(&r->resp, "ETag") == NULL)
        MHD_add_response_header(m, MHD_HTTP_HEADER_ETAG, etag);
    if (r->close || r->resp.close || __atomic_load_n(&r->http->stopping, __ATOMIC_RELAXED))
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONNECTION, "close");
    r->response = m;
    r->status = r->resp.status;
}

/* Which part is asked for; false: none of it there is, answered with 416. */
static bool choose_part(struct request *r, uint64_t size, struct range *ret)
{
    struct range part = {0, size};
    enum range_kind kind = RANGE_ALL;

    if (r->resp.status == 200 && strcmp(r->web.method, "GET") == 0 &&
        if_range_holds(r->headers.if_range, r->resp.etag, header_of(&r->resp, "Last-Modified")))
        kind = range_parse(r->headers.range, size, &part);
    web_set_header(&r->web, &r->resp, "Accept-Ranges", "bytes");
    if (kind == RANGE_UNSATISFIABLE) {
        r->resp.status = 416;
        web_add_header(&r->web, &r->resp, "Content-Range", "bytes */%" PRIu64, size);
        respond(r, NULL, r->resp.etag);
        return false;
    }
    if (kind == RANGE_PART) {
        r->resp.status = 206;
        web_add_header(&r->web, &r->resp, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                       part.offset, part.offset + part.length - 1, size);
    }
    *ret = part;
    return true;
}

static void respond_not_modified(struct request *r, const char *etag)
{
    struct web_response_header **h = &r->resp.headers;

    r->resp.status = 304;
    while (*h != NULL)
        if (strncasecmp((*h)->name, "Content-", 8) == 0)
            *h = (*h)->next;
        else
            h = &(*h)->next;
    respond(r, NULL, etag);
}

static void respond_bytes(struct request *r)
{
    struct web_response *resp = &r->resp;
    struct slice bytes = resp->bytes;
    const char *etag = resp->etag;
    autobuf coded = {0};
    struct range part;

    if (resp->compress) {
        web_add_header(&r->web, resp, "Vary", "Accept-Encoding");
        if (bytes.len > 1024 && r->headers.range == NULL && takes_gzip(r) &&
            web_gzip(bytes, 1, &coded) && coded.len < bytes.len) {
            etag = coded_tag(r, etag);
            bytes = op_slice(&r->op, buf_slice(&coded));
            web_set_header(&r->web, resp, "Content-Encoding", "gzip");
        }
    }
    if (not_modified(r, etag)) {
        respond_not_modified(r, etag);
        return;
    }
    if (resp->etag != NULL && coded.data == NULL) {
        if (!choose_part(r, bytes.len, &part))
            return;
        bytes = slice_of((const char *)bytes.data + part.offset, (size_t)part.length);
    }
    respond(r, mhd_response_lent(bytes), etag);
}

/* Blobs: lent to the kernel out of the mapped file, or read in blocks. */
struct blob_reader {
    struct blob *blob; /* the request's */
    uint64_t offset;
};

static ssize_t read_blob(void *cls, uint64_t position, char *buf, size_t max)
{
    struct blob_reader *b = cls;
    ssize_t n = blob_read(b->blob, b->offset + position, buf, max);

    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

static struct MHD_Response *lend(struct request *r, const struct range *part)
{
    struct MHD_Response *m = NULL;

    if (r->listener->tls != NULL || part->length == 0 ||
        blob_lend(r->resp.blob, part->offset, (size_t)part->length, &r->loan) < 0)
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

static struct MHD_Response *read_later(struct request *r, const struct range *part, size_t block)
{
    struct blob_reader *reader = op_alloc(&r->op, sizeof *reader);

    *reader = (struct blob_reader){r->resp.blob, part->offset};
    return MHD_create_response_from_callback(part->length, block, read_blob, reader, NULL);
}

/* A small part is read at once: if that fails it can still be said. NULL: it failed. */
static struct MHD_Response *read_now(struct request *r, const struct range *part)
{
    char *bytes = op_alloc(&r->op, (size_t)part->length + 1);
    ssize_t n = blob_read(r->resp.blob, part->offset, bytes, (size_t)part->length);

    if (n == (ssize_t)part->length)
        return mhd_response_lent(slice_of(bytes, (size_t)n));
    r->result = op_fail(&r->op, EIO, "stored content is damaged or gone");
    return NULL;
}

static void respond_blob(struct request *r)
{
    struct MHD_Response *m;
    struct range part;

    if (not_modified(r, r->resp.etag)) {
        respond_not_modified(r, r->resp.etag);
        return;
    }
    if (!choose_part(r, blob_size(r->resp.blob), &part))
        return;
    if (strcmp(r->web.method, "HEAD") == 0) {
        m = read_later(r, &part, 1);
    } else if (part.length <= READ_BLOCK) {
        m = read_now(r, &part);
    } else {
        m = lend(r, &part);
        if (m == NULL)
            m = read_later(r, &part, READ_BLOCK);
    }
    if (m == NULL)
        answer_build(r);
    else
        respond(r, m, r->resp.etag);
}

static ssize_t read_stream(void *cls, uint64_t position, char *buf, size_t max)
{
    struct web_response *resp = cls;
    ssize_t n = resp->generate(resp->generate_ctx, buf, max);

    (void)position;
    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

/* Pages: the answer is made once and queued many times, as long as its headers stay the same. */
struct prepared {
    struct MHD_Response *response;
    struct web_response_header *headers;
};

static bool same_headers(const struct web_response_header *a, const struct web_response_header *b)
{
    for (; a != NULL && b != NULL; a = a->next, b = b->next)
        if (strcmp(a->value, b->value) != 0 || strcmp(a->name, b->name) != 0)
            return false;
    return a == b;
}

static void unprepare(void *arg)
{
    struct prepared *p = arg;

    while (p->headers != NULL) {
        struct web_response_header *h = p->headers;

        p->headers = h->next;
        free(h);
    }
    MHD_destroy_response(p->response);
    free(p);
}

static struct web_response_header *copy_headers(const struct web_response_header *from)
{
    struct web_response_header *first = NULL, **end = &first;

    for (; from != NULL; from = from->next) {
        size_t name = strlen(from->name) + 1, value = strlen(from->value) + 1;
        struct web_response_header *h = xmalloc(sizeof *h + name + value);

        h->next = NULL;
        h->name = memcpy(h + 1, from->name, name);
        h->value = memcpy((char *)(h + 1) + name, from->value, value);
        *end = h;
        end = &h->next;
    }
    return first;
}

static struct MHD_Response *new_page_response(struct request *r, bool gzip)
{
    const struct web_page *page = r->resp.page;
    struct MHD_Response *m = mhd_response_lent(gzip ? page->gzip : page->bytes);
    const char *etag = gzip ? coded_tag(r, page->etag) : page->etag;

    add_headers(m, r->resp.headers);
    if (header_of(&r->resp, "Content-Type") == NULL)
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE, page->content_type);
    if (etag != NULL)
        MHD_add_response_header(m, MHD_HTTP_HEADER_ETAG, etag);
    if (gzip)
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    if (page->gzip.len > 0)
        MHD_add_response_header(m, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    return m;
}

static struct prepared *prepare(struct request *r, bool gzip)
{
    struct web_page *page = r->resp.page;
    struct prepared *mine = xcalloc(1, sizeof *mine);
    void *other = NULL;

    mine->response = new_page_response(r, gzip);
    mine->headers = copy_headers(r->resp.headers);
    __atomic_store_n(&page->unprepare, unprepare, __ATOMIC_RELAXED);
    if (__atomic_compare_exchange_n(&page->prepared[gzip], &other, mine, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return mine;
    unprepare(mine);
    return other;
}

static void respond_page(struct request *r)
{
    struct web_page *page = r->resp.page;
    bool gzip = page->gzip.len > 0 && takes_gzip(r);
    bool ordinary =
        !r->close && !r->resp.close && !__atomic_load_n(&r->http->stopping, __ATOMIC_RELAXED);
    struct prepared *p;

    if (not_modified(r, page->etag)) {
        if (page->gzip.len > 0)
            web_set_header(&r->web, &r->resp, "Vary", "Accept-Encoding");
        respond_not_modified(r, gzip ? coded_tag(r, page->etag) : page->etag);
        return;
    }
    p = ordinary ? __atomic_load_n(&page->prepared[gzip], __ATOMIC_ACQUIRE) : NULL;
    if (p == NULL && ordinary)
        p = prepare(r, gzip);
    r->status = r->resp.status;
    if (p != NULL && same_headers(p->headers, r->resp.headers)) {
        r->response = p->response;
        r->prepared = true;
        return;
    }
    r->response = new_page_response(r, gzip);
    if (!ordinary)
        MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONNECTION, "close");
}

static void render(struct request *r)
{
    struct domain_instance *d = r->domain;

    web_response_done(&r->resp);
    if (d != NULL && d->domain->render != NULL)
        d->domain->render(d->self, &r->web, r->result, &r->resp);
    else
        web_render_plain(NULL, &r->web, r->result, &r->resp);
    if (r->status_instead != 0)
        r->resp.status = r->status_instead;
    if (r->allow != NULL)
        web_set_header(&r->web, &r->resp, "Allow", r->allow);
    if (r->resp.status >= 500 && r->resp.status != 501)
        log_event(LOG_WARN, &r->op, "http.failed", "method=%s path=%s status=%d why=%s",
                  r->web.method, r->web.path, r->resp.status, op_why(&r->op, r->result));
}

void answer_build(struct request *r)
{
    struct web_response *resp = &r->resp;

    if (r->result < 0)
        render(r);
    if (resp->status == 0)
        resp->status = resp->body == WEB_NOTHING ? 204 : 200;
    switch (resp->body) {
    case WEB_BYTES:
        respond_bytes(r);
        break;
    case WEB_PAGE:
        respond_page(r);
        break;
    case WEB_BLOB:
        respond_blob(r);
        break;
    case WEB_STREAM:
        respond(
            r,
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64u << 10, read_stream, resp, NULL),
            resp->etag);
        break;
    case WEB_NOTHING:
        respond(r, NULL, resp->etag);
        break;
    }
}

void answer_done(struct request *r)
{
    if (r->response != NULL && !r->prepared)
        MHD_destroy_response(r->response);
    r->response = NULL;
    r->prepared = false;
    if (r->loan.iov != NULL)
        blob_unlend(&r->loan);
    r->loan = (struct blob_loan){0};
}
