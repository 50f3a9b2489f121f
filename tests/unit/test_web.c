#include "web_test.h"

#include "base/scope.h"
#include "web_router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* No blob or batch is made here: what the store would release is never called. */
__attribute__((weak)) void blob_close(struct blob *b)
{
    fail_msg("blob %p", (void *)b);
}

__attribute__((weak)) void store_batch_free(struct store_batch *b)
{
    fail_msg("batch %p", (void *)b);
}

__attribute__((weak)) const struct digest *blob_digest(const struct blob *b)
{
    fail_msg("blob %p", (const void *)b);
    return NULL;
}

__attribute__((weak)) uint64_t blob_size(const struct blob *b)
{
    fail_msg("blob %p", (const void *)b);
    return 0;
}

__attribute__((weak)) ssize_t blob_read(struct blob *b, uint64_t offset, void *buf, size_t n)
{
    fail_msg("blob %p %p %d", (void *)b, buf, (int)(offset + n));
    return 0;
}

__attribute__((weak)) int store_commit(struct store_batch *b, unsigned flags)
{
    fail_msg("batch %p %u", (void *)b, flags);
    return 0;
}

__attribute__((weak)) void store_commit_async(struct store_batch *b, unsigned flags,
                                              void (*done)(void *ctx, int r), void *ctx)
{
    (void)done;
    fail_msg("batch %p %u %p", (void *)b, flags, ctx);
}

static int handled(struct web_request *req, struct web_response *resp)
{
    autobuf text = {0};

    buf_add_str(&text, req->route->pattern);
    for (size_t i = 0; i < WEB_PARAMS_MAX && req->params[i].name != NULL; i++)
        buf_printf(&text, " %s=%s", req->params[i].name, req->params[i].value);
    web_reply_buf(req, resp, 200, "text/plain", &text);
    return 0;
}

#define R(m, p)                                                                                    \
    {                                                                                              \
        .methods = (m), .pattern = (p), .handle = handled                                          \
    }
static const struct route routes[] = {
    R("GET", "/"),
    R("GET", "/v2/"),
    R("GET", "/v2/_catalog"),
    R("GET,DELETE", "/v2/{name...}/blobs/{digest}"),
    R("POST", "/v2/{name...}/blobs/uploads/"),
    R("PATCH,PUT", "/v2/{name...}/blobs/uploads/{id}"),
    R("GET,PUT", "/v2/{name...}/manifests/{ref}"),
    R("*", "/v1/{mount...}/data/{path...}"),
    R("GET,LIST", "/v1/{path...}"),
    R("GET", "/v1/sys/health"),
    R("GET", "/simple/{project}/"),
    R("GET", "/simple/{project}"),
    {.methods = "GET", .pattern = "/raw/{x...}", .handle = handled, .flags = ROUTE_RAW},
    R("GET", "/simple/{other}"),
    {0},
};

static const struct {
    const char *method, *path, *want; /* want NULL: allow */
    int result;
    const char *allow;
} cases[] = {
    {"GET", "/", "/", 0, NULL},
    {"HEAD", "/", "/", 0, NULL},
    {"GET", "/v2/", "/v2/", 0, NULL},
    {"GET", "/v2", NULL, -ENOENT, NULL},
    {"GET", "/v2/_catalog", "/v2/_catalog", 0, NULL},
    {"GET", "/v2/a/blobs/d", "/v2/{name...}/blobs/{digest} name=a digest=d", 0, NULL},
    {"GET", "/v2/a/b/c/blobs/d", "/v2/{name...}/blobs/{digest} name=a/b/c digest=d", 0, NULL},
    {"GET", "/v2/a/blobs/blobs/d", "/v2/{name...}/blobs/{digest} name=a/blobs digest=d", 0, NULL},
    {"GET", "/v2/blobs/d", NULL, -ENOENT, NULL},
    {"POST", "/v2/a/b/blobs/uploads/", "/v2/{name...}/blobs/uploads/ name=a/b", 0, NULL},
    {"PATCH", "/v2/a/blobs/uploads/7", "/v2/{name...}/blobs/uploads/{id} name=a id=7", 0, NULL},
    /* falls back to a pattern with less literal text that takes the method */
    {"GET", "/v2/a/blobs/uploads/7", NULL, -ENOENT + -ENOTSUP, "PATCH,PUT"},
    {"DELETE", "/v2/a/manifests/x", NULL, -ENOTSUP, "GET,PUT,HEAD"},
    {"GET", "/v1/secret/data/a/b", "/v1/{mount...}/data/{path...} mount=secret path=a/b", 0, NULL},
    {"LIST", "/v1/a/data/b/data/c", "/v1/{mount...}/data/{path...} mount=a/data/b path=c", 0, NULL},
    {"LIST", "/v1/secret/metadata/a/", "/v1/{path...} path=secret/metadata/a/", 0, NULL},
    {"GET", "/v1/sys/health", "/v1/sys/health", 0, NULL},
    {"LIST", "/v1/sys/health", "/v1/{path...} path=sys/health", 0, NULL},
    {"GET", "/v1/", NULL, -ENOENT, NULL},
    {"GET", "/simple/foo/", "/simple/{project}/ project=foo", 0, NULL},
    {"GET", "/simple/foo", "/simple/{project} project=foo", 0, NULL},
    {"GET", "/simple/", NULL, -ENOENT, NULL},
    {"GET", "/raw/a%2Fb", "/raw/{x...} x=a%2Fb", 0, NULL},
    {"GET", "/v2/a%2Fb/blobs/d", "/v2/{name...}/blobs/{digest} name=a/b digest=d", 0, NULL},
    {"GET", "/nowhere", NULL, -ENOENT, NULL},
};

static void check(size_t i, const char *door, int r, const char *got, const char *allow)
{
    int want = cases[i].result == -ENOENT + -ENOTSUP ? -ENOTSUP : cases[i].result;

    if (r != want)
        fail_msg("%s %s %s: result %d", door, cases[i].method, cases[i].path, r);
    if (r == 0 && strcmp(got, cases[i].want) != 0)
        fail_msg("%s %s %s: '%s'", door, cases[i].method, cases[i].path, got);
    if (cases[i].allow != NULL && strcmp(allow, cases[i].allow) != 0)
        fail_msg("%s %s %s: allow '%s'", door, cases[i].method, cases[i].path, allow);
}

static void test_route(void **state)
{
    struct web_test t = {.routes = routes};

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        web_test_call(&t, cases[i].method, cases[i].path, NULL, SLICE(""));
        check(i, "list", t.result, web_test_text(&t),
              cases[i].allow != NULL ? cases[i].allow : NULL);
    }
    web_test_done(&t);
}

/* The compiled table finds the same. */
static void test_router(void **state)
{
    struct web_router *router = web_router_new();
    struct web_test t = {.routes = routes};
    int self = 0;

    (void)state;
    web_router_add(router, routes, &self);
    for (size_t i = 0; i < array_size(cases); i++) {
        const char *allow = NULL;
        void *owner = NULL;
        int r;

        web_test_call(&t, cases[i].method, cases[i].path, NULL, SLICE(""));
        t.req.route = NULL;
        memset(t.req.params, 0, sizeof t.req.params);
        r = web_router_find(router, &t.req, &owner, &allow);
        if (r == 0)
            handled(&t.req, &t.resp);
        if (r != -ENOENT)
            assert_ptr_equal(owner, &self);
        check(i, "router", r, web_test_text(&t), allow);
    }
    web_test_done(&t);
    web_router_free(router);
}

/* The time of a match stays bounded for a path made to be slow. */
static void test_route_worst_case(void **state)
{
    struct web_test t = {.routes = routes};
    autobuf path = {0};

    (void)state;
    buf_add_str(&path, "/v1");
    for (int i = 0; i < 800; i++)
        buf_add_str(&path, "/data");
    buf_add_str(&path, "/data/");
    web_test_call(&t, "PUT", path.data, NULL, SLICE(""));
    assert_int_equal(t.result, 0);
    web_test_done(&t);
}

static void test_query(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: -EINVAL */
    } queries[] = {
        {"", ""},
        {"a=b", "a=b;"},
        {"a=b&c=d&a=e", "a=b;c=d;a=e;"},
        {"a", "a=;"},
        {"=b", "=b;"},
        {"&&a=1&", "a=1;"},
        {"a=b=c", "a=b=c;"},
        {"a%20b=c%2Bd+e", "a b=c+d e;"},
        {"q=%C3%A9%0a", "q=\xc3\xa9\n;"},
        {"a=%", NULL},
        {"a=%4", NULL},
        {"a=%zz", NULL},
        {"a=%00", NULL},
        {"%00=a", NULL},
    };
    struct op op;

    (void)state;
    for (size_t i = 0; i < array_size(queries); i++) {
        struct web_param *params = NULL;
        autobuf text = {0};
        size_t n = 0;
        int r;

        op_init(&op, DOOR_HTTP, NULL);
        r = web_parse_query(&op, slice_str(queries[i].text), &params, &n);
        for (size_t k = 0; k < n; k++)
            buf_printf(&text, "%s=%s;", params[k].name, params[k].value);
        if (r != (queries[i].want != NULL ? 0 : -EINVAL))
            fail_msg("'%s': %d", queries[i].text, r);
        buf_reserve(&text, 0);
        if (r == 0 && strcmp(text.data, queries[i].want) != 0)
            fail_msg("'%s': '%s'", queries[i].text, text.data);
        op_done(&op);
    }
}

static void test_query_limit(void **state)
{
    struct web_param *params;
    autobuf text = {0};
    struct op op;
    size_t n;

    (void)state;
    op_init(&op, DOOR_HTTP, NULL);
    for (int i = 0; i < 4095; i++)
        buf_add_str(&text, "a=b&");
    assert_int_equal(web_parse_query(&op, buf_slice(&text), &params, &n), 0);
    assert_int_equal(n, 4095);
    buf_add_str(&text, "&");
    assert_int_equal(web_parse_query(&op, buf_slice(&text), &params, &n), -EINVAL);
    op_done(&op);
}

static int form(struct web_request *req, struct web_response *resp)
{
    int r = web_read_form(req);

    if (r < 0)
        return r;
    web_add_header(req, resp, "X-Count", "%zu", req->n_query);
    web_reply_str(req, resp, 201, "text/plain", web_query_nth(req, "m", 1));
    return 0;
}

static void test_form(void **state)
{
    static const struct route form_routes[] = {{.methods = "POST", .pattern = "/f", .handle = form},
                                               {0}};
    static const struct web_param headers[] = {
        {"content-type", "application/x-www-form-urlencoded; charset=utf-8"}, {0}};
    struct web_test t = {.routes = form_routes};

    (void)state;
    web_test_call(&t, "POST", "/f?m=1", headers, SLICE("n=x&m=%7B2%7D"));
    assert_int_equal(t.resp.status, 201);
    assert_string_equal(web_test_text(&t), "{2}");
    assert_string_equal(web_test_header(&t, "x-count"), "3");
    web_test_call(&t, "POST", "/f", headers, SLICE("%"));
    assert_int_equal(t.resp.status, 400);
    web_test_call(&t, "GET", "/f", headers, SLICE(""));
    assert_int_equal(t.resp.status, 405);
    web_test_done(&t);
}

static void test_headers(void **state)
{
    static const struct web_param headers[] = {
        {"Accept", "a/b"}, {"X", "1"}, {"accept", "text/html"}, {0}};
    static const char *const offers[] = {"text/plain", "text/html", NULL};
    struct web_test t = {.routes = routes};

    (void)state;
    web_test_call(&t, "GET", "/", headers, SLICE(""));
    assert_string_equal(web_header(&t.req, "ACCEPT"), "a/b");
    assert_string_equal(web_header_all(&t.req, "Accept"), "a/b, text/html");
    assert_null(web_header(&t.req, "Y"));
    assert_null(web_header_all(&t.req, "Y"));
    assert_string_equal(web_negotiate(&t.req, offers), "text/html");
    assert_string_equal(web_base_url(&t.req), "http://infra.test");
    web_set_header(&t.req, &t.resp, "A", "1");
    web_add_header(&t.req, &t.resp, "a", "%d", 2);
    web_set_header(&t.req, &t.resp, "A", "x\r\nEvil: 1");
    assert_string_equal(web_test_header(&t, "a"), "x??Evil: 1");
    web_test_done(&t);
}

static void test_render(void **state)
{
    static const int table[][2] = {
        {ENOENT, 404},  {EEXIST, 409}, {EINVAL, 400},    {EACCES, 403}, {EPERM, 401},
        {EFBIG, 413},   {ENOSPC, 507}, {EBUSY, 503},     {EAGAIN, 503}, {ENOTSUP, 405},
        {EBADMSG, 422}, {ERANGE, 416}, {ETIMEDOUT, 504}, {EROFS, 405},  {EIO, 500},
    };
    struct web_test t = {.routes = routes};

    (void)state;
    for (size_t i = 0; i < array_size(table); i++) {
        assert_int_equal(web_status(-table[i][0]), table[i][1]);
        assert_int_equal(web_status(table[i][0]), table[i][1]);
    }
    web_test_call(&t, "GET", "/", NULL, SLICE(""));
    op_fail(&t.op, EPERM, "no");
    web_render_plain(NULL, &t.req, -EPERM, &t.resp);
    assert_int_equal(t.resp.status, 401);
    assert_string_equal(web_test_text(&t), "no\n");
    assert_non_null(web_test_header(&t, "WWW-Authenticate"));
    web_test_done(&t);
}

static void unprepare(void *prepared)
{
    ++*(int *)prepared;
}

static void test_page(void **state)
{
    static char text[8000];
    struct web_page *p;
    int unprepared = 0;

    (void)state;
    memset(text, 'a', sizeof text);
    p = web_page_new(slice_of(text, sizeof text), "text/html", NULL, true);
    assert_int_equal(p->bytes.len, sizeof text);
    assert_in_range(p->gzip.len, 10, 200);
    assert_int_equal(p->etag[0], '"');
    assert_int_equal(strlen(p->etag), 34);
    p->prepared[0] = &unprepared;
    p->unprepare = unprepare;
    assert_ptr_equal(web_page_ref(p), p);
    web_page_unref(p);
    assert_int_equal(unprepared, 0);
    web_page_unref(p);
    assert_int_equal(unprepared, 1);
    p = web_page_new(SLICE("short"), "text/html", "\"e\"", true);
    assert_int_equal(p->gzip.len, 0);
    assert_string_equal(p->etag, "\"e\"");
    web_page_unref(p);
    p = web_page_new(SLICE(""), "text/html", NULL, true);
    web_page_unref(p);
    web_page_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route),
        cmocka_unit_test(test_router),
        cmocka_unit_test(test_route_worst_case),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_limit),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
