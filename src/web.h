/* web.h: the web seam. A domain lists routes; http/ serves them; tests call them without a socket.
 *
 * Ownership: all that a request lends (path, headers, query) and all that a handler allocates in
 * the op lives until the answer was sent. */
#ifndef WEB_H
#define WEB_H

#include "node.h"

struct web_request;
struct web_response;

#define WEB_PARAMS_MAX 6

enum route_flags {
    /* The handler never waits (no fsync, no hash of a password, nothing that grows with what is
     * stored): it runs in the server's thread. Without it, it runs in a worker. If it must wait
     * after all (a page is not in memory) it returns -EINPROGRESS, having done nothing: then it is
     * called again in a worker, with may_wait set. Not with ROUTE_STREAM. */
    ROUTE_INLINE = 1,
    /* Nobody is asked who they are; the op's identity is anonymous. */
    ROUTE_PUBLIC = 2,
    /* The answer is written to the audit log before it goes out. */
    ROUTE_AUDIT = 4,
    /* The body is handed to `data` as it arrives; else it is collected in req->body. */
    ROUTE_STREAM = 8,
    /* Bodies and headers of this route carry secrets: memory is wiped. */
    ROUTE_SECRET = 16,
    /* The path is matched and handed over as it came, percent-encoded. */
    ROUTE_RAW = 32,
};

struct route {
    const char *methods; /* "GET", "PUT,POST", "LIST", "*"; HEAD is served where GET is */
    /* "/v2/{name...}/blobs/{digest}": {x} is one segment, {x...} one or more, as many as fit; a
     * pattern may end in "/". The route with most literal text wins; then the first. */
    const char *pattern;
    /* Answers. 0, or a negative errno which the domain's render turns into an answer. */
    int (*handle)(struct web_request *req, struct web_response *resp);
    /* ROUTE_STREAM: before the body (in a worker unless ROUTE_INLINE). A negative errno answers at
     * once, and the body is not read (Expect: 100-continue is honoured). */
    int (*begin)(struct web_request *req);
    /* ROUTE_STREAM: a piece of the body. A negative errno is kept, the rest is read and dropped
     * (within reason), and the answer is rendered from it. */
    int (*data)(struct web_request *req, const void *bytes, size_t n);
    /* ROUTE_STREAM: the request is over, answered or not; frees req->state. Not answered (the client
     * vanished, a time-out) if handle was never called. Always called once after begin returned 0.
     * */
    void (*end)(struct web_request *req);
    unsigned flags;
    uint64_t body_limit_bytes; /* 0: the default for JSON, 32 MiB; -EFBIG above */
};

/* How a request is read: http/ and tests each bring one. */
struct web_source {
    /* Calls f for each value of the header (name in any case) in order until f returns non-zero. */
    void (*header)(void *ctx, const char *name, int (*f)(void *arg, const char *value), void *arg);
    /* Has the client closed its side? May be NULL. Any thread, while the handler runs. */
    bool (*gone)(void *ctx);
};

struct web_param {
    const char *name;
    const char *value; /* decoded, NUL-terminated; holds no NUL */
};

struct web_request {
    struct op *op;
    void *self;                /* the domain's */
    const struct route *route;
    const char *method;
    const char *path;          /* decoded, begins with '/' */
    const char *raw_path;      /* as it came */
    struct web_param *query;   /* decoded, in order */
    size_t n_query;
    struct web_param params[WEB_PARAMS_MAX]; /* of the pattern; name NULL ends them */
    struct slice body;         /* collected; empty for ROUTE_STREAM */
    uint64_t content_length;   /* UINT64_MAX: chunked */
    void *state;               /* ROUTE_STREAM: the domain's own */
    bool may_wait;             /* the handler runs in a worker */
    const char *scheme;        /* "http" or "https", X-Forwarded-Proto believed */
    const char *host;          /* the Host header, or X-Forwarded-Host */
    const struct web_source *source;
    void *source_ctx;
};

const char *web_header(struct web_request *req, const char *name); /* the first, or NULL */
/* Nobody waits for the answer any more: a handler that works long asks now and then, and may return
 * -ECANCELED. Any thread. */
bool web_gone(const struct web_request *req);
/* All values of a header joined with ", " in the op; NULL if there is none. */
const char *web_header_all(struct web_request *req, const char *name);
const char *web_query(const struct web_request *req, const char *key); /* the first; NULL if absent */
/* The i-th value of the key, NULL after the last. */
const char *web_query_nth(const struct web_request *req, const char *key, size_t i);
const char *web_param(const struct web_request *req, const char *name); /* "" if the pattern has none */
/* Parses a query string, or a form body (application/x-www-form-urlencoded), into the op. -EINVAL
 * at a bad escape or a NUL. */
int web_parse_query(struct op *op, struct slice text, struct web_param **ret, size_t *ret_n);
/* If the body is such a form: appends its pairs to req->query. */
int web_read_form(struct web_request *req);
/* "http://host" for absolute URLs. In the op. */
const char *web_base_url(struct web_request *req);

/* Content negotiation (RFC 9110 section 12.5.1): of the offered types the one that Accept prefers;
 * ties go to the earlier offer; no Accept: the first. NULL if none is acceptable. */
const char *web_negotiate(struct web_request *req, const char *const *offers /* NULL-terminated */);

/* A shared, immutable body that many answers use: an index page, a manifest. Reference-counted; the
 * front end may attach its prepared answer to it. */
struct web_page {
    struct slice bytes;
    struct slice gzip;        /* the same compressed; empty: not worth it */
    const char *content_type;
    const char *etag;         /* with quotes; strong for bytes */
    unsigned refs;            /* private, atomic */
    void *prepared[2];        /* the front end's: plain, gzip */
    void (*unprepare)(void *prepared);
};
/* Copies all; compresses if `compress` and it is worth it (over 1 KiB). etag NULL: of the bytes. */
struct web_page *web_page_new(struct slice bytes, const char *content_type, const char *etag,
                              bool compress);
struct web_page *web_page_ref(struct web_page *p);
void web_page_unref(struct web_page *p); /* NULL is fine */

enum web_body { WEB_NOTHING, WEB_BYTES, WEB_PAGE, WEB_BLOB, WEB_STREAM, WEB_FILE, WEB_PIECES };

#define WEB_PIECES_MAX 1024

struct web_response_header {
    struct web_response_header *next;
    const char *name, *value;
};

struct web_response {
    int status; /* 0: 200 with a body, 204 without */
    struct web_response_header *headers;
    enum web_body body;
    struct slice bytes;      /* WEB_BYTES: in the op, or static */
    struct slice *pieces;    /* WEB_PIECES: one after the other; kept until generate_free */
    size_t n_pieces;         /* WEB_PIECES_MAX at most */
    struct web_page *page;   /* WEB_PAGE: a reference, given up with the answer */
    struct blob *blob;       /* WEB_BLOB: taken. http/ serves Range and If-Range on it */
    struct node_file *file;  /* WEB_FILE: taken; likewise */
    /* WEB_STREAM: fills buf, up to max; bytes, 0 at the end, -errno cuts the answer short. Runs in
     * the server's thread and must not block long. -EAGAIN: nothing yet; then `wait` is called in a
     * worker, which returns when there may be more, or after a second, and generate again. */
    ssize_t (*generate)(void *ctx, char *buf, size_t max);
    void (*wait)(void *ctx);
    uint64_t stream_bytes;   /* how many there will be; 0: not known */
    void (*generate_free)(void *ctx);
    void *generate_ctx;
    /* For WEB_BYTES, WEB_BLOB, WEB_FILE: If-None-Match is answered with 304. With quotes. */
    const char *etag;
    bool compress;           /* WEB_BYTES: gzip if the client takes it and it is worth it */
    bool close;              /* close the connection after the answer */
    /* A batch the answer waits for: it is committed, durably, together with all that wait, and only
     * then the answer goes out; at -EAGAIN (a guard did not hold) the handler runs again, up
     * to a limit, losers in turn; any other error is rendered. Handlers with a batch may be
     * ROUTE_INLINE. Taken.
     * after_commit (may be NULL) runs when it is durable; it must not block. */
    struct store_batch *commit;
    int (*after_commit)(struct web_request *req, struct web_response *resp);
    /* Or something else that the answer waits for. It is called once, after the handler, and calls
     * done(done_ctx, r) once, from any thread, perhaps before it returns; until then the request
     * and the answer are its own. r: 0, or what is rendered; not -EAGAIN. */
    void (*later)(void *ctx, void (*done)(void *done_ctx, int r), void *done_ctx);
    void *later_ctx;
};

void web_set_header(struct web_request *req, struct web_response *resp, const char *name,
                    const char *value); /* copies; replaces one of that name */
void web_add_header(struct web_request *req, struct web_response *resp, const char *name,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Sets WEB_BYTES: copies out of the buf into the op, and clears it. */
void web_reply_buf(struct web_request *req, struct web_response *resp, int status,
                   const char *content_type, struct buf *bytes);
void web_reply_str(struct web_request *req, struct web_response *resp, int status,
                   const char *content_type, const char *text);
void web_reply_page(struct web_response *resp, struct web_page *page); /* takes the reference */
void web_reply_blob(struct web_response *resp, struct blob *blob, const char *content_type,
                    struct web_request *req); /* takes the blob; etag is its digest */
void web_response_done(struct web_response *resp); /* frees what was taken and not sent */
/* For who serves: does the answer wait for resp->commit or resp->later? Then web_wait begins that,
 * and takes it. `done` is called once, from any thread, perhaps before it returns; it must not
 * block. */
bool web_waits(const struct web_response *resp);
void web_wait(struct web_response *resp, void (*done)(void *ctx, int r), void *ctx);
/* Appends the bytes as gzip; false if that failed. */
bool web_gzip(struct slice bytes, int level, struct buf *out);

/* style: errno to status: ENOENT 404, EEXIST 409, EINVAL 400, EACCES 403, EPERM 401, EFBIG 413,
 * ENOSPC 507, EBUSY EAGAIN 503, ENOTSUP 405, EBADMSG 422, ERANGE 416, ETIMEDOUT 504, EROFS 405,
 * else 500. */
int web_status(int err);
/* text/plain: the reason; and a Basic challenge with 401. */
void web_render_plain(void *self, struct web_request *req, int err, struct web_response *resp);

/* The route of a method and path among a domain's (ends with {0}); fills req->params. 0; -ENOENT no
 * pattern fits, -ENOTSUP one fits but not with this method (ret_allow: the methods that would). */
int web_route(const struct route *routes, struct web_request *req, const struct route **ret,
              const char **ret_allow);

#endif
