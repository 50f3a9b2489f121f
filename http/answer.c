#include "http/answer.h"
#include "http/conditional.h"

#include "base/negotiate.h"

#include <errno.h>

const char *answer_header(const struct web_response *resp, const char *name)
{
    for (const struct web_response_header *h = resp->headers; h != NULL; h = h->next)
        if (strcasecmp(h->name, name) == 0)
            return h->value;
    return NULL;
}

bool answer_takes_gzip(const struct request *r)
{
    return negotiate_coding(slice_str(r->headers.accept_encoding), SLICE("gzip"));
}

const char *answer_coded_tag(struct request *r, const char *etag)
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
                                  answer_header(&r->resp, "Last-Modified"));
    if (r->headers.several_if_none_match)
        list = web_header_all(&r->web, "If-None-Match");
    return etag_is_listed(list, etag);
}

void answer_add_headers(struct MHD_Response *m, const struct web_response_header *h)
{
    /* the length is the server's business */
    for (; h != NULL; h = h->next)
        if (strcasecmp(h->name, "Content-Length") != 0)
            MHD_add_response_header(m, h->name, h->value);
}

bool answer_closes(const struct request *r)
{
    return r->close || r->resp.close || __atomic_load_n(&r->http->stopping, __ATOMIC_RELAXED);
}

void answer_respond(struct request *r, struct MHD_Response *m, const char *etag)
{
    if (m == NULL)
        m = mhd_response_lent(SLICE(""));
    answer_add_headers(m, r->resp.headers);
    if (etag != NULL && answer_header(&r->resp, "ETag") == NULL)
        MHD_add_response_header(m, MHD_HTTP_HEADER_ETAG, etag);
    if (answer_closes(r))
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONNECTION, "close");
    r->response = m;
    r->status = r->resp.status;
}

/* Which part is asked for; false: none of it there is, answered with 416. */
bool answer_part(struct request *r, uint64_t size, struct range *ret)
{
    struct range part = {0, size};
    enum range_kind kind = RANGE_ALL;

    if (r->resp.status == 200 && strcmp(r->web.method, "GET") == 0 &&
        if_range_holds(r->headers.if_range, r->resp.etag, answer_header(&r->resp, "Last-Modified")))
        kind = range_parse(r->headers.range, size, &part);
    web_set_header(&r->web, &r->resp, "Accept-Ranges", "bytes");
    if (kind == RANGE_UNSATISFIABLE) {
        r->resp.status = 416;
        web_add_header(&r->web, &r->resp, "Content-Range", "bytes */%" PRIu64, size);
        answer_respond(r, NULL, r->resp.etag);
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

static ssize_t read_nothing(void *cls, uint64_t position, char *buf, size_t max)
{
    (void)cls, (void)position, (void)buf, (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* The length is that of the 200 (RFC 9110 section 8.6: caches take it over); no byte of it is sent.
 */
static void respond_not_modified(struct request *r, const char *etag, uint64_t size)
{
    struct web_response_header **h = &r->resp.headers;
    struct MHD_Response *m = NULL;

    r->resp.status = 304;
    while (*h != NULL)
        if (strncasecmp((*h)->name, "Content-", 8) == 0)
            *h = (*h)->next;
        else
            h = &(*h)->next;
    if (size != MHD_SIZE_UNKNOWN)
        m = MHD_create_response_from_callback(size, 1, read_nothing, NULL, NULL);
    answer_respond(r, m, etag);
}

bool answer_not_modified(struct request *r, const char *etag, const char *sent_etag, uint64_t size)
{
    if (!not_modified(r, etag))
        return false;
    respond_not_modified(r, sent_etag, size);
    return true;
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
        if (bytes.len > 1024 && r->headers.range == NULL && answer_takes_gzip(r) &&
            web_gzip(bytes, 1, &coded) && coded.len < bytes.len) {
            etag = answer_coded_tag(r, etag);
            bytes = op_slice(&r->op, buf_slice(&coded));
            web_set_header(&r->web, resp, "Content-Encoding", "gzip");
        }
    }
    if (answer_not_modified(r, etag, etag, bytes.len))
        return;
    if (resp->etag != NULL && coded.data == NULL) {
        if (!answer_part(r, bytes.len, &part))
            return;
        bytes = slice_of((const char *)bytes.data + part.offset, (size_t)part.length);
    }
    answer_respond(r, mhd_response_lent(bytes), etag);
}

/* Sent from where they are. */
static void respond_pieces(struct request *r)
{
    struct MHD_IoVec *iov = op_alloc(&r->op, (r->resp.n_pieces + 1) * sizeof *iov);

    for (size_t i = 0; i < r->resp.n_pieces; i++)
        iov[i] = (struct MHD_IoVec){r->resp.pieces[i].data, r->resp.pieces[i].len};
    answer_respond(r,
                   MHD_create_response_from_iovec(iov, (unsigned)r->resp.n_pieces, NULL, NULL),
                   r->resp.etag);
}

static void job_wait(struct request *r)
{
    r->resp.wait(r->resp.generate_ctx);
    request_resume(r);
}

/* The order is that of http_stop: counted first, then looked whether it is still served. */
static bool wait_for_stream(struct request *r)
{
    __atomic_add_fetch(&r->http->parked, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&r->http->refusing, __ATOMIC_SEQ_CST)) {
        __atomic_sub_fetch(&r->http->parked, 1, __ATOMIC_RELEASE);
        return false;
    }
    request_to_worker(r, r->http->workers, job_wait);
    __atomic_sub_fetch(&r->http->parked, 1, __ATOMIC_RELEASE);
    return true;
}

static ssize_t read_stream(void *cls, uint64_t position, char *buf, size_t max)
{
    struct request *r = cls;
    ssize_t n;

    (void)position;
    (void)__atomic_load_n(&r->handed, __ATOMIC_ACQUIRE);
    n = r->resp.generate(r->resp.generate_ctx, buf, max);
    if (n == -EAGAIN && r->resp.wait != NULL && wait_for_stream(r))
        return 0;
    if (n == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
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
        answer_page(r);
        break;
    case WEB_BLOB:
    case WEB_FILE:
        answer_content(r);
        break;
    case WEB_STREAM:
        answer_respond(
            r,
            MHD_create_response_from_callback(
                resp->stream_bytes > 0 ? resp->stream_bytes : MHD_SIZE_UNKNOWN, 64u << 10,
                read_stream, r, NULL),
            resp->etag);
        break;
    case WEB_PIECES:
        respond_pieces(r);
        break;
    case WEB_NOTHING:
        answer_respond(r, NULL, resp->etag);
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
