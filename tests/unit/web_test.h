/* web_test.h: calls a domain's web routes without a socket.
 *
 *     struct web_test t = {.domain = &npm_domain, .self = self, .who = who};
 *
 *     web_test_call(&t, "PUT", "/v2/app/manifests/1.0?x=y",
 *                   (struct web_param[]){{"Content-Type", "application/json"}, {0}}, body);
 *     assert_int_equal(t.resp.status, 201);
 *     assert_string_equal(web_test_header(&t, "Location"), "/v2/app/manifests/sha256:…");
 *     assert_true(slice_eq(web_test_body(&t), SLICE("{}")));
 *     web_test_done(&t);
 *
 * It does what the server does: decodes the path, finds the route, streams or collects the body,
 * calls the handler, commits the batch of the answer, renders what failed. */
#ifndef WEB_TEST_H
#define WEB_TEST_H

#include "base/codec.h"
#include "domain.h"
#include "store/store.h"
#include "web.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>

struct web_test {
    /* The caller's; kept over calls. */
    const struct domain *domain; /* or only its routes, below */
    const struct route *routes;  /* NULL: those of the domain */
    void *self;
    const struct identity *who;
    size_t
        piece_bytes; /* ROUTE_STREAM: the body is handed over in pieces of this size; 0: at once */
    bool vanish;     /* ROUTE_STREAM: the client goes away after the body: handle is not called */
    /* Of the last call. */
    int result; /* of the route or the handler: 0 or what was rendered */
    struct op op;
    struct web_request req;
    struct web_response resp;
    const struct web_param *headers;
    struct buf body;
    bool used;
    bool begun;
};

static inline void web_test_find_header(void *ctx, const char *name,
                                        int (*f)(void *arg, const char *value), void *arg)
{
    const struct web_param *h = ctx;

    for (; h != NULL && h->name != NULL; h++)
        if (strcasecmp(h->name, name) == 0 && f(arg, h->value) != 0)
            return;
}

static inline void web_test_done(struct web_test *t)
{
    if (!t->used)
        return;
    web_response_done(&t->resp);
    op_done(&t->op);
    buf_done(&t->body);
    t->used = false;
}

static inline int web_test_stream(struct web_test *t, const struct route *route, struct slice body)
{
    int r = route->begin != NULL ? route->begin(&t->req) : 0;

    if (r < 0)
        return r;
    t->begun = true;
    while (r == 0 && body.len > 0) {
        size_t n = t->piece_bytes > 0 && t->piece_bytes < body.len ? t->piece_bytes : body.len;

        r = route->data(&t->req, body.data, n);
        body = slice_skip(body, n);
    }
    if (r == 0 && !t->vanish)
        r = route->handle(&t->req, &t->resp);
    return r;
}

struct web_test_wait {
    pthread_mutex_t lock; /* guards: over, r */
    pthread_cond_t end;
    bool over;
    int r;
};

static inline void web_test_waited(void *ctx, int r)
{
    struct web_test_wait *w = ctx;

    pthread_mutex_lock(&w->lock);
    w->over = true;
    w->r = r;
    pthread_cond_signal(&w->end);
    pthread_mutex_unlock(&w->lock);
}

/* What the answer waits for. */
static inline int web_test_wait(struct web_response *resp)
{
    struct web_test_wait w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

    if (!web_waits(resp))
        return 0;
    web_wait(resp, web_test_waited, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.over)
        pthread_cond_wait(&w.end, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.r;
}

static inline int web_test_handle(struct web_test *t, const struct route *route, struct slice body)
{
    int r = -EAGAIN;

    if (route->flags & ROUTE_STREAM)
        return web_test_stream(t, route, body);
    if (body.len > (route->body_limit_bytes > 0 ? route->body_limit_bytes : 32u << 20))
        return op_fail(&t->op, EFBIG, "the body is too large");
    t->req.body = op_slice(&t->op, body);
    for (int i = 0; r == -EAGAIN && i < 8; i++) {
        op_forgive(&t->op);
        r = route->handle(&t->req, &t->resp);
        if (r == 0)
            r = web_test_wait(&t->resp);
        if (r == 0 && t->resp.after_commit != NULL)
            r = t->resp.after_commit(&t->req, &t->resp);
        if (r < 0)
            web_response_done(&t->resp);
    }
    return r;
}

/* The request line's target, cut at '?' and decoded. */
static inline int web_test_target(struct web_test *t, const char *target)
{
    size_t len = strcspn(target, "?");
    struct buf path = {0};
    int r = percent_decode(&path, slice_of(target, len), false);

    t->req.raw_path = op_strndup(&t->op, target, len);
    t->req.path = op_strndup(&t->op, path.data, path.len);
    buf_done(&path);
    if (r == 0 && target[len] == '?')
        r = web_parse_query(&t->op, slice_str(target + len + 1), &t->req.query, &t->req.n_query);
    return r;
}

/* headers end with {0}; NULL: none. Returns the status, which is in t->resp too; the answer lives
 * until the next call or web_test_done. */
static inline int web_test_call(struct web_test *t, const char *method, const char *target,
                                const struct web_param *headers, struct slice body)
{
    static const struct web_source source = {.header = web_test_find_header};
    const struct route *route = NULL;
    const char *allow;
    int r;

    web_test_done(t);
    t->used = true;
    op_init(&t->op, DOOR_HTTP, t->who);
    t->resp = (struct web_response){0};
    t->req = (struct web_request){
        .op = &t->op,
        .self = t->self,
        .method = method,
        .content_length = body.len,
        .may_wait = true,
        .scheme = "http",
        .host = "infra.test",
        .source = &source,
        .source_ctx = (void *)(uintptr_t)headers,
    };
    r = web_test_target(t, target);
    if (r == 0)
        r = web_route(t->routes != NULL ? t->routes : t->domain->routes, &t->req, &route, &allow);
    if (r == 0)
        r = web_test_handle(t, route, body);
    t->result = r;
    if (r < 0) {
        web_response_done(&t->resp);
        if (t->domain != NULL && t->domain->render != NULL)
            t->domain->render(t->self, &t->req, r, &t->resp);
        else
            web_render_plain(t->self, &t->req, r, &t->resp);
    }
    if (t->resp.status == 0)
        t->resp.status = t->resp.body == WEB_NOTHING ? 204 : 200;
    if (t->begun && route->end != NULL)
        route->end(&t->req);
    t->begun = false;
    return t->resp.status;
}

static inline const char *web_test_header(const struct web_test *t, const char *name)
{
    for (const struct web_response_header *h = t->resp.headers; h != NULL; h = h->next)
        if (strcasecmp(h->name, name) == 0)
            return h->value;
    if (t->resp.body == WEB_PAGE && strcasecmp(name, "Content-Type") == 0)
        return t->resp.page->content_type;
    if (t->resp.body == WEB_PAGE && strcasecmp(name, "ETag") == 0)
        return t->resp.page->etag;
    return strcasecmp(name, "ETag") == 0 ? t->resp.etag : NULL;
}

static inline void web_test_read_blob(struct web_test *t)
{
    uint64_t size = blob_size(t->resp.blob);

    buf_reserve(&t->body, (size_t)size);
    if (blob_read(t->resp.blob, 0, t->body.data, (size_t)size) != (ssize_t)size)
        abort();
    t->body.len = (size_t)size;
}

/* The whole body of the answer, of whatever kind; lives until the next call. */
static inline struct slice web_test_body(struct web_test *t)
{
    if (t->body.data != NULL)
        return buf_slice(&t->body);
    if (t->resp.body == WEB_BYTES)
        buf_add_slice(&t->body, t->resp.bytes);
    else if (t->resp.body == WEB_PAGE)
        buf_add_slice(&t->body, t->resp.page->bytes);
    else if (t->resp.body == WEB_BLOB)
        web_test_read_blob(t);
    for (size_t i = 0; t->resp.body == WEB_PIECES && i < t->resp.n_pieces; i++)
        buf_add_slice(&t->body, t->resp.pieces[i]);
    while (t->resp.body == WEB_STREAM) {
        ssize_t n;

        buf_reserve(&t->body, 4096);
        n = t->resp.generate(t->resp.generate_ctx, t->body.data + t->body.len, 4096);
        if (n == -EAGAIN && t->resp.wait != NULL) {
            t->resp.wait(t->resp.generate_ctx);
            continue;
        }
        if (n <= 0)
            break;
        t->body.len += (size_t)n;
    }
    buf_reserve(&t->body, 1);
    t->body.data[t->body.len] = 0;
    return buf_slice(&t->body);
}

/* The same as text, NUL-terminated. */
static inline const char *web_test_text(struct web_test *t)
{
    return web_test_body(t).data;
}

#endif
