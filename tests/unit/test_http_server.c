#include "http_test.h"

#include <microhttpd.h>

/* What the routes did, told by several threads. */
static _Atomic unsigned begun, ended, handled, slow_begun, committed_twice;
static _Atomic uint64_t streamed;

static int hello(struct web_request *req, struct web_response *resp)
{
    web_add_header(req, resp, "X-Who", "%s", req->op->who->name);
    web_reply_str(
        req, resp, 200, "text/plain",
        op_printf(req->op, "hello %s\n",
                  req->params[0].name != NULL ? req->params[0].value : req->op->who->name));
    return 0;
}

static int guarded(struct web_request *req, struct web_response *resp)
{
    if (req->op->who->kind == IDENTITY_ANONYMOUS)
        return op_fail(req->op, EPERM, "log in");
    return hello(req, resp);
}

static int echo(struct web_request *req, struct web_response *resp)
{
    resp->body = WEB_BYTES;
    resp->bytes = req->body;
    resp->status = 201;
    return 0;
}

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static int slow(struct web_request *req, struct web_response *resp)
{
    slow_begun += 1;
    nap_ms(50);
    handled += 1;
    return hello(req, resp);
}

static int entity(struct web_request *req, struct web_response *resp)
{
    web_reply_str(req, resp, 0, "text/plain", "0123456789");
    resp->etag = "\"e\"";
    return 0;
}

static char large_text[100000];

static int large(struct web_request *req, struct web_response *resp)
{
    resp->body = WEB_BYTES;
    resp->bytes = slice_of(large_text, sizeof large_text);
    resp->etag = "\"large\"";
    resp->compress = true;
    web_set_header(req, resp, "Content-Type", "text/plain");
    return 0;
}

static struct web_page *page;

static int give_page(struct web_request *req, struct web_response *resp)
{
    (void)req;
    web_reply_page(resp, web_page_ref(page));
    return 0;
}

static ssize_t generate(void *ctx, char *buf, size_t max)
{
    unsigned *left = ctx;

    if (*left == 0)
        return 0;
    --*left;
    memset(buf, 'g', max < 1000 ? max : 1000);
    return max < 1000 ? (ssize_t)max : 1000;
}

static void generate_free(void *ctx)
{
    *(unsigned *)ctx = 77;
}

static int stream_out(struct web_request *req, struct web_response *resp)
{
    unsigned *left = op_alloc(req->op, sizeof *left);

    *left = 5;
    resp->body = WEB_STREAM;
    resp->generate = generate;
    resp->generate_free = generate_free;
    resp->generate_ctx = left;
    return 0;
}

static int pieces_out(struct web_request *req, struct web_response *resp)
{
    resp->body = WEB_PIECES;
    resp->n_pieces = WEB_PIECES_MAX;
    resp->pieces = op_alloc(req->op, resp->n_pieces * sizeof *resp->pieces);
    resp->pieces[0] = SLICE("first,");
    for (size_t i = 2; i + 1 < resp->n_pieces; i++) /* the second is empty */
        resp->pieces[i] = slice_of(large_text, 1000);
    resp->pieces[resp->n_pieces - 1] = SLICE(",last");
    return 0;
}

/* The batch of straw: a number of times it must fail. */
struct store_batch {
    _Atomic int fails;
};
static struct store_batch batch;

void store_batch_free(struct store_batch *b)
{
    (void)b;
}

struct later {
    void (*done)(void *ctx, int r);
    void *ctx;
    int r;
};

static void *commit_later(void *arg)
{
    struct later *l = arg;

    nap_ms(5);
    l->done(l->ctx, l->r);
    free(l);
    return NULL;
}

void store_commit_async(struct store_batch *b, unsigned flags, void (*done)(void *ctx, int r),
                        void *ctx)
{
    struct later *l = xmalloc(sizeof *l);
    pthread_t thread;

    assert_int_equal(flags, STORE_DURABLE);
    *l = (struct later){done, ctx, b->fails > 0 ? -EAGAIN : 0};
    b->fails--;
    pthread_create(&thread, NULL, commit_later, l);
    pthread_detach(thread);
}

static int after(struct web_request *req, struct web_response *resp)
{
    web_set_header(req, resp, "X-Committed", "yes");
    return 0;
}

static int commit(struct web_request *req, struct web_response *resp)
{
    committed_twice += 1;
    resp->commit = &batch;
    resp->after_commit = after;
    resp->status = 201;
    op_changed(req->op, CHANGE_CONTENT, "/x");
    return 0;
}

/* Blobs of straw: bytes in memory, lent in iovecs of 1000 bytes. */
struct blob {
    const char *bytes;
    uint64_t size;
    bool lendable;
    bool damaged;
};
static _Atomic unsigned blobs_open, loans;

uint64_t blob_size(const struct blob *b)
{
    return b->size;
}

const struct digest *blob_digest(const struct blob *b)
{
    static const struct digest digest = {.algorithm = DIGEST_SHA256};

    (void)b;
    return &digest;
}

void blob_close(struct blob *b)
{
    blobs_open -= 1;
    free(b);
}

ssize_t blob_read(struct blob *b, uint64_t offset, void *buf, size_t n)
{
    if (b->damaged)
        return -EIO;
    if (offset >= b->size)
        return 0;
    if (n > b->size - offset)
        n = (size_t)(b->size - offset);
    memcpy(buf, b->bytes + offset, n);
    return (ssize_t)n;
}

int blob_lend(struct blob *b, uint64_t offset, size_t n, struct blob_loan *ret)
{
    if (!b->lendable)
        return -ENOTSUP;
    ret->n_iov = (n + 999) / 1000;
    ret->iov = xcalloc(ret->n_iov, sizeof *ret->iov);
    for (size_t i = 0; i < ret->n_iov; i++) {
        size_t left = n - i * 1000;

        ret->iov[i].iov_base = (void *)(uintptr_t)(b->bytes + offset + i * 1000);
        ret->iov[i].iov_len = left < 1000 ? left : 1000;
    }
    loans += 1;
    return 0;
}

void blob_unlend(struct blob_loan *loan)
{
    loans -= 1;
    free(loan->iov);
}

static char blob_bytes[3000000];

/* /blob/{kind}: "lent", "read", "many" (more pieces than fit), "small", "damaged", "empty" */
static int give_blob(struct web_request *req, struct web_response *resp)
{
    const char *kind = req->params[0].value;
    struct blob *b = xcalloc(1, sizeof *b);

    blobs_open += 1;
    b->bytes = blob_bytes;
    b->size = strcmp(kind, "small") == 0   ? 1000
              : strcmp(kind, "lent") == 0  ? 600000
              : strcmp(kind, "empty") == 0 ? 0
                                           : sizeof blob_bytes;
    b->lendable = strcmp(kind, "lent") == 0 || strcmp(kind, "many") == 0;
    b->damaged = strcmp(kind, "damaged") == 0;
    if (b->damaged)
        b->size = 1000;
    web_reply_blob(resp, b, "application/octet-stream", req);
    return 0;
}

static int upload_begin(struct web_request *req)
{
    if (web_query(req, "refuse") != NULL)
        return op_fail(req->op, EACCES, "not here");
    begun += 1;
    req->state = xcalloc(1, sizeof(uint64_t));
    return 0;
}

static int upload_data(struct web_request *req, const void *bytes, size_t n)
{
    uint64_t *sum = req->state;

    for (size_t i = 0; i < n; i++)
        *sum += ((const unsigned char *)bytes)[i];
    streamed += n;
    if (memchr(bytes, '!', n) != NULL)
        return op_fail(req->op, EINVAL, "no '!' please");
    if (web_query(req, "slow") != NULL)
        nap_ms(2);
    return 0;
}

static int upload(struct web_request *req, struct web_response *resp)
{
    web_reply_str(req, resp, 201, "text/plain",
                  op_printf(req->op, "%" PRIu64 "\n", *(uint64_t *)req->state));
    return 0;
}

static void upload_end(struct web_request *req)
{
    /* what a route may look at is still there, though the connection may not be */
    assert_string_equal(req->op->remote, "127.0.0.1");
    assert_int_equal(req->method[0], 'P');
    assert_true(req->host == NULL || *req->host == 'h');
    assert_true(web_header(req, "Host") == NULL || *web_header(req, "Host") == 'h');
    ended += 1;
    free(req->state);
}

#define INLINE(m, p, f)                                                                            \
    {                                                                                              \
        .methods = (m), .pattern = (p), .handle = (f), .flags = ROUTE_INLINE                       \
    }
#define WORKER(m, p, f)                                                                            \
    {                                                                                              \
        .methods = (m), .pattern = (p), .handle = (f)                                              \
    }
#define UPLOAD(m, p, more)                                                                         \
    {                                                                                              \
        .methods = (m), .pattern = (p), .handle = upload, .begin = upload_begin,                   \
        .data = upload_data, .end = upload_end, .flags = ROUTE_STREAM | (more),                    \
        .body_limit_bytes = 64u << 20                                                              \
    }

static const struct route routes[] = {
    INLINE("GET,LIST", "/hello", hello),
    INLINE("GET", "/hello/{name}", hello),
    {.methods = "GET", .pattern = "/raw/{x}", .handle = hello, .flags = ROUTE_RAW | ROUTE_INLINE},
    {.methods = "GET", .pattern = "/public", .handle = hello, .flags = ROUTE_PUBLIC},
    INLINE("GET", "/guarded", guarded),
    {.methods = "GET",
     .pattern = "/audited",
     .handle = guarded,
     .flags = ROUTE_AUDIT | ROUTE_INLINE | ROUTE_SECRET},
    WORKER("GET", "/slow", slow),
    INLINE("GET", "/entity", entity),
    INLINE("GET", "/large", large),
    INLINE("GET", "/page", give_page),
    WORKER("GET", "/stream", stream_out),
    WORKER("GET", "/pieces", pieces_out),
    WORKER("GET", "/blob/{kind}", give_blob),
    {.methods = "POST,PATCH", .pattern = "/echo", .handle = echo, .body_limit_bytes = 1000000},
    INLINE("POST", "/echo-inline", echo),
    INLINE("PUT", "/commit", commit),
    WORKER("PUT", "/commit-worker", commit),
    UPLOAD("PUT,PATCH", "/upload", 0),
    UPLOAD("PUT", "/upload-inline", ROUTE_INLINE),
    {0},
};

static const struct domain test_domain = {.name = "test", .routes = routes};
static struct test_server server;

static int setup(void **state)
{
    (void)state;
    memset(large_text, 'a', sizeof large_text);
    for (size_t i = 0; i < sizeof blob_bytes; i++)
        blob_bytes[i] = (char)(i * 7 + i / 1000);
    page = web_page_new(slice_of(large_text, 5000), "text/html", "\"page\"", true);
    test_server_start(&server, &test_domain, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_server_stop(&server, 1000);
    web_page_unref(page);
    return 0;
}

#define H      "Host: h\r\n"
#define GET(p) "GET " p " HTTP/1.1\r\n" H

/* One connection, bytes out, what comes back. */
static const struct {
    const char *name, *send;
    int status;        /* of the first answer; 0: closed without one */
    const char *want;  /* stands somewhere in all that came; NULL: anything */
    const char *never; /* does not stand there */
    bool closed;
} cases[] = {
    {"plain", GET("/hello") "\r\n", 200, "hello anonymous\n", "close", false},
    {"http/1.0", "GET /hello HTTP/1.0\r\n" H "\r\n", 200, "hello", NULL, true},
    {"close", GET("/hello") "Connection: close\r\n\r\n", 200, "hello", NULL, true},
    {"pipelining", GET("/hello") "\r\n" GET("/slow") "\r\n" GET("/hello/3") "\r\n", 200,
     "hello 3\n", NULL, false},
    {"absolute form", "GET http://h/hello HTTP/1.1\r\n" H "\r\n", 200, "hello", NULL, false},
    {"list", "LIST /hello HTTP/1.1\r\n" H "\r\n", 200, "hello", NULL, false},
    {"head", "HEAD /hello HTTP/1.1\r\n" H "\r\n", 200, "Content-Length: 16", "hello anonymous",
     false},
    {"not found", GET("/nowhere") "\r\n", 404, "/nowhere", NULL, false},
    {"wrong method", "DELETE /hello HTTP/1.1\r\n" H "\r\n", 405, "Allow: GET,LIST,HEAD", NULL,
     false},
    {"escapes", GET("/hello/a%20b%2Bc") "\r\n", 200, "hello a b+c\n", NULL, false},
    {"raw", GET("/raw/a%2Fb") "\r\n", 200, "hello a%2Fb\n", NULL, false},
    {"query", GET("/hello?x=%41&y") "\r\n", 200, NULL, NULL, false},
    {"bad query", GET("/hello?x=%4") "\r\n", 400, "escape", NULL, false},
    {"%00", GET("/hello/a%00b") "\r\n", 400, "%00", NULL, false},
    {"cut escape", GET("/hello/a%2") "\r\n", 400, "escape", NULL, false},
    {"bad escape", GET("/hello/a%zz") "\r\n", 400, "escape", NULL, false},
    {"dots", GET("/hello/../x") "\r\n", 400, "dots", NULL, false},
    {"encoded dots", GET("/hello/%2e%2e/x") "\r\n", 400, "dots", NULL, false},
    {"dot", GET("/./hello") "\r\n", 400, "dots", NULL, false},
    {"two slashes", GET("//hello") "\r\n", 400, "empty", NULL, false},
    {"an encoded slash", GET("/hello/%2F") "\r\n", 400, "empty", NULL, false},

    {"no host", "GET /hello HTTP/1.1\r\n\r\n", 400, NULL, "hello", true},
    {"two hosts", "GET /hello HTTP/1.1\r\n" H H "\r\n", 400, "Host", "hello anon", true},
    {"bad host", "GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host", "hello anon", true},
    {"two lengths", "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc",
     400, NULL, "abc", true},
    {"two equal lengths",
     "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, NULL,
     "abc", true},
    {"length and coding",
     "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET("/hello/smuggled") "\r\n",
     400, NULL, "smuggled", true},
    {"coding and length",
     "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
     "Content-Length: 3\r\n\r\n0\r\n\r\n",
     400, NULL, NULL, true},
    {"other coding",
     "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, NULL,
     NULL, true},
    {"identity", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 400, NULL, NULL,
     true},
    {"blank before the colon",
     "POST /echo HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\n" GET("/hello/smuggled") "\r\n", 400,
     NULL, "smuggled", true},
    {"negative length", "POST /echo HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400, NULL, NULL,
     true},
    {"signed length", "POST /echo HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400, NULL, NULL,
     true},
    {"hexadecimal length", "POST /echo HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", 400, NULL,
     NULL, true},
    {"high byte in a name", "GET /hello HTTP/1.1\r\n" H "X\xe9: 1\r\n\r\n", 400, NULL, "hello anon",
     true},
    {"no colon", "GET /hello HTTP/1.1\r\n" H "hello\r\n\r\n", 400, NULL, "hello anon", true},

    {"body", "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 201, "\r\n\r\nabc", NULL,
     false},
    {"body inline", "POST /echo-inline HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 201,
     "\r\n\r\nabc", "close", false},
    {"empty body", "POST /echo HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 201,
     "Content-Length: 0", NULL, false},
    {"no body", "POST /echo HTTP/1.1\r\n" H "\r\n", 201, "Content-Length: 0", "close", false},
    {"chunks",
     "PATCH /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
     "3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n",
     201, "\r\n\r\nabcde", NULL, false},
#if MHD_VERSION < 0x01000000 /* 1.0.1 answers 400 to every chunk extension */
    {"chunk extension",
     "PATCH /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
     "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
     201, "\r\n\r\nabcde", NULL, false},
#endif
    {"bad chunk", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n",
     -1, NULL, "201", true},
    {"huge chunk",
     "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
     "ffffffffffffffffff\r\nabc\r\n",
     -1, NULL, "201", true},
    {"too large, told",
     "POST /echo HTTP/1.1\r\n" H "Content-Length: 1000001\r\n"
     "Expect: 100-continue\r\n\r\n",
     413, "1000000", "100 Continue", true},
    {"expect", "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
     /* 1.0 does not tell a client to send what is there (RFC 9110, 10.1.1) */
     MHD_VERSION < 0x01000000 ? 100 : 201, "\r\n\r\nabc", NULL, false},
    {"expect, refused",
     "PUT /upload?refuse=1 HTTP/1.1\r\n" H "Content-Length: 3\r\n"
     "Expect: 100-continue\r\n\r\n",
     403, "not here", "100 Continue", true},
    {"expect, refused, patch",
     "PATCH /upload?refuse=1 HTTP/1.1\r\n" H "Content-Length: 3\r\n"
     "Expect: 100-continue\r\n\r\n",
     403, "not here", "100 Continue", true},
    {"expect, refused, chunked patch",
     "PATCH /upload?refuse=1 HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
     403, "not here", "100 Continue", true},
    {"refused, chunked patch",
     "PATCH /upload?refuse=1 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 403,
     "not here", NULL, true},
    {"refused, the body is dropped",
     "PUT /upload?refuse=1 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" GET("/hello") "\r\n", 403,
     "hello anonymous", "close", false},
    {"upload", "PUT /upload HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 201, "\r\n\r\n294\n",
     NULL, false},
    {"upload inline", "PUT /upload-inline HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 201,
     "\r\n\r\n294\n", NULL, false},
    {"upload in chunks",
     "PATCH /upload HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
     "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
     201, "\r\n\r\n294\n", NULL, false},
    {"upload, empty", "PUT /upload HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 201, "\r\n\r\n0\n",
     NULL, false},
    {"upload, bad data", "PUT /upload HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab!c", 400,
     "please", NULL, false},
    {"upload, bad data inline", "PUT /upload-inline HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab!c",
     400, "please", NULL, false},

    {"login needed", GET("/guarded") "\r\n", 401, "WWW-Authenticate: Basic", NULL, false},
    {"login", GET("/guarded") "Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n", 200, "X-Who: alice",
     NULL, false},
    {"wrong password", GET("/hello") "Authorization: Basic YWxpY2U6eA==\r\n\r\n", 401, "wrong",
     "hello", false},
    {"wrong password, public", GET("/public") "Authorization: Basic YWxpY2U6eA==\r\n\r\n", 200,
     "hello anonymous", NULL, false},
    {"bearer", GET("/guarded") "Authorization: Bearer t\r\n\r\n", 200, "X-Who: alice", NULL, false},
    {"vault", GET("/guarded") "X-Vault-Token: t\r\n\r\n", 200, "X-Who: alice", NULL, false},
    {"unknown token", GET("/guarded") "X-Vault-Token: x\r\n\r\n", 401, "unknown token", NULL,
     false},
    {"unknown scheme", GET("/hello") "Authorization: Digest x\r\n\r\n", 401, "credentials", NULL,
     false},
    {"unreadable", GET("/hello") "Authorization: Basic ****\r\n\r\n", 401, "credentials", NULL,
     false},

    {"range", GET("/entity") "Range: bytes=2-4\r\n\r\n", 206, "\r\n\r\n234", "2345", false},
    {"range header", GET("/entity") "Range: bytes=-3\r\n\r\n", 206, "Content-Range: bytes 7-9/10",
     NULL, false},
    {"range past the end", GET("/entity") "Range: bytes=10-\r\n\r\n", 416,
     "Content-Range: bytes */10", "0123", false},
    {"several ranges", GET("/entity") "Range: bytes=0-1,3-4\r\n\r\n", 200, "0123456789", NULL,
     false},
    {"if-range", GET("/entity") "Range: bytes=2-4\r\nIf-Range: \"e\"\r\n\r\n", 206, "\r\n\r\n234",
     NULL, false},
    {"if-range, other", GET("/entity") "Range: bytes=2-4\r\nIf-Range: \"f\"\r\n\r\n", 200,
     "0123456789", NULL, false},
    {"head with range", "HEAD /entity HTTP/1.1\r\n" H "Range: bytes=2-4\r\n\r\n", 200,
     "Content-Length: 10", "0123", false},
    {"etag", GET("/entity") "\r\n", 200, "ETag: \"e\"", NULL, false},
    {"not modified", GET("/entity") "If-None-Match: \"x\", W/\"e\"\r\n\r\n", 304, "ETag: \"e\"",
     "0123", false},
    {"not modified, two lines",
     GET("/entity") "If-None-Match: \"x\"\r\nIf-None-Match: \"e\"\r\n\r\n", 304, NULL, "0123",
     false},
    {"modified", GET("/entity") "If-None-Match: \"x\"\r\n\r\n", 200, "0123456789", NULL, false},
    {"gzip", GET("/large") "Accept-Encoding: gzip\r\n\r\n", 200, "ETag: \"large-gzip\"", "aaaa",
     false},
    {"gzip, not modified",
     GET("/large") "Accept-Encoding: gzip\r\nIf-None-Match: \"large-gzip\"\r\n\r\n", 304,
     "Vary: Accept-Encoding", "aaaa", false},
    {"no gzip", GET("/large") "\r\n", 200, "Content-Length: 100000", "Content-Encoding", false},
    {"page", GET("/page") "\r\n" GET("/page") "\r\n", 200, "ETag: \"page\"\r\n", "gzip", false},
    {"page, gzip", GET("/page") "Accept-Encoding: gzip\r\n\r\n", 200, "ETag: \"page-gzip\"", "aaaa",
     false},
    {"page, closing", GET("/page") "Connection: close\r\n\r\n", 200, "aaaa", NULL, true},
    {"page, head", "HEAD /page HTTP/1.1\r\n" H "\r\n", 200, "Content-Length: 5000", "aaaa", false},
    {"page, not modified", GET("/page") "If-None-Match: \"page\"\r\n\r\n", 304, "ETag: \"page\"",
     "aaaa", false},
    /* the length is that of the 200, and the next answer comes right behind */
    {"not modified, its length", GET("/entity") "If-None-Match: \"e\"\r\n\r\n", 304,
     "Content-Length: 10\r\n", "0123", false},
    {"page, not modified, its length",
     GET("/page") "If-None-Match: \"page\"\r\n\r\n" GET("/entity") "\r\n", 304,
     "Content-Length: 5000\r\n", "aaaa", false},
    {"behind what is not modified",
     GET("/large") "If-None-Match: \"large\"\r\n\r\n" GET("/entity") "\r\n", 304, "0123456789",
     "aaaa", false},
    {"pieces", GET("/pieces") "\r\n", 200, "Content-Length: 1021011\r\n", NULL, false},
    {"pieces, in order", GET("/pieces") "\r\n", 200, "first,aaa", "chunked", false},
    {"pieces, to the end", GET("/pieces") "Connection: close\r\n\r\n", 200, "aaa,last", NULL, true},
    {"pieces, HEAD", "HEAD /pieces HTTP/1.1\r\n" H "\r\n", 200, "Content-Length: 1021011\r\n", "aaa", false},
    {"generated", GET("/stream") "\r\n", 200, "ggg", NULL, false},
    {"generated, http/1.0", "GET /stream HTTP/1.0\r\n" H "\r\n", 200, "ggg", "chunked", true},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        int fd = client_open(&server);
        autobuf got = {0};
        bool closed;

        client_send(fd, cases[i].send, strlen(cases[i].send));
        if (cases[i].closed) {
            closed = client_read(fd, &got, 60000);
        } else {
            /* wait for what is wanted, then see that it stays open */
            closed = client_read(fd, &got, 30);
            for (int k = 0; !closed && k < 1200; k++) {
                if (got.len > 0 &&
                    (cases[i].want == NULL ||
                     memmem(got.data, got.len, cases[i].want, strlen(cases[i].want)) != NULL))
                    break;
                closed = client_read(fd, &got, 50);
            }
        }
        close(fd);
        buf_reserve(&got, 0);
        if (cases[i].status >= 0 && status_of(&got) != cases[i].status)
            fail_msg("%s: status %d: %s", cases[i].name, status_of(&got), got.data);
        if (cases[i].want != NULL &&
            memmem(got.data, got.len, cases[i].want, strlen(cases[i].want)) == NULL)
            fail_msg("%s: '%s' is missing in: %s", cases[i].name, cases[i].want, got.data);
        if (cases[i].never != NULL &&
            memmem(got.data, got.len, cases[i].never, strlen(cases[i].never)) != NULL)
            fail_msg("%s: '%s' stands in: %s", cases[i].name, cases[i].never, got.data);
        if (closed != cases[i].closed)
            fail_msg("%s: %s: %s", cases[i].name, closed ? "closed" : "open", got.data);
    }
    assert_int_equal(begun, ended);
}

static void expect(const char *send, int status, const char *want)
{
    int fd = client_open(&server);
    autobuf in = {0}, out = {0};

    client_send(fd, send, strlen(send));
    client_answer(fd, &in, &out, strncmp(send, "HEAD", 4) == 0);
    close(fd);
    buf_done(&in);
    buf_reserve(&out, 0);
    if (status_of(&out) != status)
        fail_msg("%.60s: %s", send, out.data);
    if (want != NULL && memmem(out.data, out.len, want, strlen(want)) == NULL)
        fail_msg("%.60s: '%s' is missing in: %s", send, want, out.data);
}

/* A password is hashed once, in a worker; a wrong one each time. */
static void test_logins(void **state)
{
    unsigned before = hashes;

    (void)state;
    alice_is_remembered = false;
    for (int i = 0; i < 3; i++)
        expect(GET("/guarded") "Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n", 200, "alice");
    for (int i = 0; i < 3; i++)
        expect(GET("/guarded") "Authorization: Basic YWxpY2U6eA==\r\n\r\n", 401, "wrong");
    assert_int_equal(hashes - before, 4);
}

static _Atomic unsigned published;

static void on_feed(void *ctx, const struct op_change *changes, bool wait, enum door door)
{
    (void)ctx;
    assert_true(wait);
    assert_int_equal(door, DOOR_HTTP);
    assert_string_equal(changes->path, "/x");
    nap_ms(20);
    published += 1;
}

/* The answer waits for the commit and for those who cache. */
static void test_commit(void **state)
{
    static const char *const paths[] = {"/commit", "/commit-worker"};

    (void)state;
    feed_subscribe(server.feed, on_feed, NULL);
    for (size_t i = 0; i < array_size(paths); i++) {
        autofree char *text = NULL;

        assert_true(asprintf(&text, "PUT %s HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", paths[i]) >
                    0);
        committed_twice = published = 0;
        batch.fails = 0;
        expect(text, 201, "X-Committed: yes");
        assert_int_equal(published, 1);
        assert_int_equal(committed_twice, 1);
        batch.fails = 3;
        expect(text, 201, "X-Committed: yes");
        assert_int_equal(published, 2);
        assert_int_equal(committed_twice, 5);
        batch.fails = 100;
        expect(text, 503, NULL);
        assert_int_equal(published, 2);
        assert_int_equal(committed_twice, 5 + 100);
    }
    feed_unsubscribe(server.feed, on_feed, NULL);
}

struct loser {
    const char *path;
    int status;
};

static void *one_of_the_losers(void *arg)
{
    struct loser *loser = arg;
    int fd = client_open(&server);
    autobuf in = {0}, out = {0}, text = {0};

    buf_printf(&text, "PUT %s HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", loser->path);
    client_send(fd, text.data, text.len);
    client_answer(fd, &in, &out, false);
    loser->status = status_of(&out);
    close(fd);
    return NULL;
}

/* Many that lose again and again take turns, and all come through. */
static void test_turns(void **state)
{
    struct loser losers[40];
    pthread_t threads[array_size(losers)];

    (void)state;
    batch.fails = 150;
    for (size_t i = 0; i < array_size(losers); i++) {
        losers[i] = (struct loser){i % 2 == 0 ? "/commit" : "/commit-worker", 0};
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_the_losers, &losers[i]), 0);
    }
    for (size_t i = 0; i < array_size(losers); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(losers[i].status, 201);
    }
    assert_true(batch.fails < 0);
}

static void test_audit(void **state)
{
    (void)state;
    audited = 0;
    expect(GET("/audited") "X-Vault-Token: t\r\n\r\n", 200, "hello alice");
    expect(GET("/audited") "\r\n", 401, NULL);
    assert_int_equal(audited, 2);
    audit_is_broken = true;
    expect(GET("/audited") "X-Vault-Token: t\r\n\r\n", 500, "audit");
    audit_is_broken = false;
}

static void test_refusals(void **state)
{
    (void)state;
    refusals = 0;
    expect(GET("/guarded") "\r\n", 401, NULL);
    expect(GET("/nowhere") "\r\n", 404, NULL);
    assert_int_equal(refusals, 0);
    expect("PUT /upload?refuse=1 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 403, NULL);
    assert_int_equal(refusals, 1);
}

/* Waits until the count is reached: what happens after an answer happens soon. */
static void soon(_Atomic unsigned *count, unsigned want)
{
    for (int i = 0; i < 12000 && *count != want; i++)
        nap_ms(5);
    assert_int_equal(*count, want);
}

static void test_blobs(void **state)
{
    static const struct {
        const char *path;
        size_t size;
    } kinds[] = {
        {"lent", 600000}, {"many", sizeof blob_bytes}, {"read", sizeof blob_bytes}, {"small", 1000},
        {"empty", 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(kinds); i++) {
        int fd = client_open(&server);
        autobuf in = {0}, out = {0}, part = {0}, text = {0};

        buf_printf(&text, GET("/blob/%s") "\r\n" GET("/blob/%s") "Range: bytes=-500\r\n\r\n",
                   kinds[i].path, kinds[i].path);
        client_send(fd, text.data, text.len);
        assert_true(client_answer(fd, &in, &out, false));
        assert_int_equal(status_of(&out), 200);
        assert_non_null(strstr(out.data, "ETag: \"sha256:"));
        assert_int_equal(out.data + out.len - body_of(&out), kinds[i].size);
        assert_memory_equal(body_of(&out), blob_bytes, kinds[i].size);
        assert_true(client_answer(fd, &in, &part, false));
        if (kinds[i].size == 0) {
            assert_int_equal(status_of(&part), 416);
        } else {
            assert_int_equal(status_of(&part), 206);
            assert_memory_equal(body_of(&part), blob_bytes + kinds[i].size - 500, 500);
        }
        close(fd);
    }
    expect("HEAD /blob/read HTTP/1.1\r\n" H "\r\n", 200, "Content-Length: 3000000");
    expect(GET("/blob/damaged") "\r\n", 500, "damaged");
    soon(&blobs_open, 0);
    soon(&loans, 0);
}

/* A client that goes away in the middle of what it gets, or sends. */
static void test_vanish(void **state)
{
    (void)state;
    begun = ended = 0;
    for (int i = 0; i < 20; i++) {
        static char bytes[700000];
        int fd = client_open(&server);
        const char *head = "PUT /upload?slow=1 HTTP/1.1\r\n" H "Content-Length: 9000000\r\n\r\n";

        client_send(fd, head, strlen(head));
        if (i % 4 > 0)
            client_send(fd, bytes, sizeof bytes / (size_t)(i % 4));
        soon(&begun, (unsigned)i + 1);
        close(fd);
        fd = client_open(&server);
        client_send(fd, GET("/blob/lent") "\r\n", strlen(GET("/blob/lent") "\r\n"));
        close(fd);
    }
    soon(&ended, 20);
    soon(&blobs_open, 0);
    soon(&loans, 0);
}

/* Both ways of framing a body that needs many pieces. */
static void test_large_upload(void **state)
{
    static char bytes[3 << 20];
    uint64_t sum = 0;
    autobuf text = {0}, want = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i % 251 == '!' ? 0 : i % 251);
        sum += (unsigned char)bytes[i];
    }
    buf_printf(&want, "\r\n\r\n%" PRIu64 "\n", sum);
    for (int kind = 0; kind < 4; kind++) {
        int fd = client_open(&server);
        autobuf in = {0}, out = {0};
        size_t step = kind % 2 == 0 ? sizeof bytes : 70001;

        buf_clear(&text);
        buf_printf(&text, "PUT /upload%s HTTP/1.1\r\n" H, kind < 2 ? "" : "-inline");
        if (kind % 2 == 0)
            buf_printf(&text, "Content-Length: %zu\r\n\r\n", sizeof bytes);
        else
            buf_add_str(&text, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0; at < sizeof bytes; at += step) {
            size_t n = step < sizeof bytes - at ? step : sizeof bytes - at;

            if (kind % 2 > 0)
                buf_printf(&text, "%zx\r\n", n);
            buf_add(&text, bytes + at, n);
            if (kind % 2 > 0)
                buf_add_str(&text, "\r\n");
        }
        if (kind % 2 > 0)
            buf_add_str(&text, "0\r\n\r\n");
        client_send(fd, text.data, text.len);
        assert_true(client_answer(fd, &in, &out, false));
        if (status_of(&out) != 201 || strstr(out.data, want.data) == NULL)
            fail_msg("kind %d: %s", kind, out.data);
        close(fd);
    }
}

/* Over a limit that was not announced: dropped, answered, and the connection is good for more. */
static void test_limits(void **state)
{
    int fd = client_open(&server);
    autobuf in = {0}, out = {0}, text = {0}, more = {0};

    (void)state;
    buf_add_str(&text, "POST /echo HTTP/1.1\r\n" H "X-Vault-Token: t\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 11; i++)
        buf_printf(&text, "186a0\r\n%0100000d\r\n", i);
    buf_add_str(&text, "0\r\n\r\n" GET("/hello") "\r\n");
    client_send(fd, text.data, text.len);
    assert_true(client_answer(fd, &in, &out, false));
    assert_int_equal(status_of(&out), 413);
    assert_true(client_answer(fd, &in, &more, false));
    assert_int_equal(status_of(&more), 200);
    close(fd);
    buf_clear(&text);
    buf_add_str(&text, GET("/hello") "X: ");
    for (int i = 0; i < 70000; i++)
        buf_add_char(&text, 'x');
    buf_add_str(&text, "\r\n\r\n");
    expect(text.data, 431, NULL);
    buf_clear(&text);
    buf_printf(&text, GET("/hello") "X: %033000d\r\n\r\n", 0);
    expect(text.data, 431, "32768");
    /* nobody knows who this is: not more than 64 KiB are kept */
    buf_clear(&text);
    buf_printf(&text, "POST /echo HTTP/1.1\r\n" H "Content-Length: 65537\r\n\r\n%065537d", 0);
    expect(text.data, 401, "log in");
}

/* A client that is refused while it sends, and does not look at the answer before it has sent all.
 */
static void test_refused_while_sending(void **state)
{
    static const char *const heads[] = {
        "PATCH /upload?refuse=1 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1800000\r\n",
        "PUT /upload?refuse=1 HTTP/1.1\r\n" H "Content-Length: 25165824\r\n\r\n",
    };
    autofree char *bytes = xcalloc(1, 24u << 20);

    (void)state;
    for (size_t i = 0; i < array_size(heads); i++) {
        int fd = client_open(&server);
        autobuf out = {0};

        client_send(fd, heads[i], strlen(heads[i]));
        assert_true(client_send(fd, bytes, 24u << 20));
        assert_true(client_read(fd, &out, 60000));
        assert_int_equal(status_of(&out), 403);
        assert_non_null(strstr(out.data, "not here"));
        close(fd);
    }
}

struct crowd {
    _Atomic unsigned good;
};

static void *one_of_many(void *arg)
{
    struct crowd *crowd = arg;

    for (int i = 0; i < 3; i++) {
        int fd = client_open(&server);
        autobuf in = {0}, out = {0}, more = {0};
        const char *text = GET("/slow") "\r\n" GET("/hello/you") "\r\n";

        client_send(fd, text, strlen(text));
        if (client_answer(fd, &in, &out, false) && client_answer(fd, &in, &more, false) &&
            status_of(&out) == 200 && strstr(more.data, "hello you\n") != NULL)
            crowd->good += 1;
        close(fd);
    }
    return NULL;
}

static void test_crowd(void **state)
{
    pthread_t threads[200];
    struct crowd crowd = {0};

    (void)state;
    for (size_t i = 0; i < array_size(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, &crowd), 0);
    for (size_t i = 0; i < array_size(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.good, 600);
}

/* What is under way is answered; what waits is closed; nothing is leaked. */
static void test_stop(void **state)
{
    struct test_server other = {0};
    autobuf in = {0}, out = {0}, late = {0};
    const char *head = "PUT /upload HTTP/1.1\r\n" H "Content-Length: 900\r\n\r\nabc";
    int fd, idle, cut;

    (void)state;
    test_server_start(&other, &test_domain, NULL);
    begun = ended = handled = slow_begun = 0;
    idle = client_open(&other);
    client_send(idle, "G", 1); /* a connection counts from its first byte */
    cut = client_open(&other);
    client_send(cut, head, strlen(head));
    soon(&begun, 1);
    fd = client_open(&other);
    client_send(fd, GET("/slow") "\r\n", strlen(GET("/slow") "\r\n"));
    soon(&slow_begun, 1);
    test_server_stop(&other, 4000);
    assert_true(client_answer(fd, &in, &out, false));
    assert_int_equal(status_of(&out), 200);
    assert_true(client_read(idle, &late, 60000));
    assert_int_equal(late.len, 0);
    soon(&ended, 1);
    close(fd);
    close(idle);
    close(cut);
}

/* A client that tries HTTPS is told at once that it is wrong. */
static void test_https_on_a_plain_port(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        autobuf in = {0};
        int fd = client_open(&server);
        char hello[200] = {0x16, 3, 1, 0, 195, 1};

        memset(hello + 6, i, sizeof hello - 6);
        client_send(fd, hello, sizeof hello);
        assert_true(client_read(fd, &in, 60000));
        assert_true(slice_starts(buf_slice(&in), SLICE("HTTP/1.0 400 ")));
        close(fd);
    }
}

static void test_port_in_use(void **state)
{
    struct http_options options = {.domains = &server.instance, .n_domains = 1};
    struct config *config;
    struct http *http = NULL;
    autobuf why = {0}, text = {0};

    (void)state;
    buf_printf(&text, "listen: [{address: \"127.0.0.1:%d\"}]\n", server.port);
    assert_int_equal(config_parse(buf_slice(&text), &config, &why), 0);
    options.config = config;
    options.feed = server.feed;
    assert_int_equal(http_start(&options, &http, &why), -EADDRINUSE);
    buf_clear(&text);
    buf_printf(&text, "listen on 127.0.0.1:%d: Address already in use", server.port);
    assert_string_equal(why.data, text.data);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_blobs),
        cmocka_unit_test(test_vanish),
        cmocka_unit_test(test_large_upload),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_refused_while_sending),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_https_on_a_plain_port),
        cmocka_unit_test(test_port_in_use),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
