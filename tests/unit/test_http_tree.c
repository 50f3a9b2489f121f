/* /tree/ and the page, over a tree of straw: folders and files of a flat table. */
#include "http_test.h"

/* The store is not asked. */
struct blob;

void blob_close(struct blob *b)
{
    assert_null(b);
}

uint64_t blob_size(const struct blob *b)
{
    assert_null(b);
    return 0;
}

ssize_t blob_read(struct blob *b, uint64_t offset, void *buf, size_t n)
{
    (void)offset;
    (void)buf;
    (void)n;
    assert_null(b);
    return -EIO;
}

int blob_lend(struct blob *b, uint64_t offset, size_t n, struct blob_loan *ret)
{
    (void)offset;
    (void)n;
    (void)ret;
    assert_null(b);
    return -ENOTSUP;
}

void blob_unlend(struct blob_loan *loan)
{
    assert_null(loan);
}

const struct digest *blob_digest(const struct blob *b)
{
    assert_null(b);
    return NULL;
}

void store_batch_free(struct store_batch *b)
{
    assert_null(b);
}

void store_commit_async(struct store_batch *b, unsigned flags, void (*done)(void *ctx, int r),
                        void *ctx)
{
    (void)flags;
    (void)done;
    (void)ctx;
    assert_null(b);
}

#define NODES_MAX 32
static struct node {
    char path[64];
    enum node_type type;
    unsigned flags;
    char content[64];
} nodes[NODES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards: nodes */

static struct node *find(const char *path)
{
    for (size_t i = 0; i < NODES_MAX; i++)
        if (nodes[i].path[0] != 0 && strcmp(nodes[i].path, path) == 0)
            return &nodes[i];
    return NULL;
}

static void put_node(const char *path, enum node_type type, unsigned flags, const char *content)
{
    struct node *n = find(path);

    for (size_t i = 0; n == NULL; i++)
        if (nodes[i].path[0] == 0)
            n = &nodes[i];
    snprintf(n->path, sizeof n->path, "%s", path);
    snprintf(n->content, sizeof n->content, "%s", content);
    n->type = type;
    n->flags = flags;
}

static int node_stat_(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    struct node *n;
    guard(&lock);

    (void)op;
    (void)self;
    *ret = (struct node_stat){.type = NODE_DIR};
    if (strcmp(path, "t") == 0)
        return 0;
    n = find(path);
    if (n == NULL)
        return -ENOENT;
    ret->type = n->type;
    ret->flags = n->flags;
    ret->size_bytes = strlen(n->content);
    ret->mtime_ns = 1700000000000000000;
    return 0;
}

static int node_list(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx)
{
    size_t len = strlen(path);
    guard(&lock);

    (void)op;
    (void)self;
    for (size_t i = 0; i < NODES_MAX; i++)
        if (strncmp(nodes[i].path, path, len) == 0 && nodes[i].path[len] == '/' &&
            strchr(nodes[i].path + len + 1, '/') == NULL)
            emit(ctx, nodes[i].path + len + 1, NULL);
    return 0;
}

static int publish(struct op *op, void *ctx, struct slice content)
{
    char text[64];
    guard(&lock);

    if (content.len > 0 && memchr(content.data, '!', content.len) != NULL)
        return op_fail(op, EINVAL, "no '!' please");
    snprintf(text, sizeof text, "%.*s", (int)content.len, (const char *)content.data);
    put_node(ctx, NODE_FILE, 0, text);
    op_changed(op, CHANGE_CONTENT, "/%s", (const char *)ctx);
    return 0;
}

static int node_open(struct op *op, void *self, const char *path, unsigned flags,
                     struct node_file **ret)
{
    struct node_buffer buffer = {.publish = publish, .limit_bytes = 50};
    struct node *n;
    guard(&lock);

    (void)self;
    n = find(path);
    if (n == NULL && !(flags & NODE_CREATE))
        return -ENOENT;
    if (flags & NODE_WRITE && op->who->kind == IDENTITY_ANONYMOUS)
        return op_fail(op, EPERM, "log in to write '%s'", path);
    if (n != NULL && flags & NODE_EXCL)
        return op_fail(op, EEXIST, "'%s' exists", path);
    if (!(flags & NODE_WRITE))
        return node_bytes_open(slice_str(n->content), n->flags, ret);
    buffer.ctx = xstrdup(path);
    buffer.free_ctx = free;
    buffer.dirty = true;
    return node_buffer_open(&buffer, ret);
}

static int node_readlink(struct op *op, void *self, const char *path, const char **ret)
{
    guard(&lock);

    (void)self;
    *ret = op_strdup(op, find(path)->content);
    return 0;
}

static int node_unlink(struct op *op, void *self, const char *path)
{
    struct node *n;
    guard(&lock);

    (void)op;
    (void)self;
    n = find(path);
    if (n == NULL)
        return -ENOENT;
    n->path[0] = 0;
    return 0;
}

static int node_rmdir(struct op *op, void *self, const char *path)
{
    (void)self;
    return op_fail(op, ENOTEMPTY, "'%s' is not empty", path);
}

static int node_mkdir(struct op *op, void *self, const char *path, mode_t mode)
{
    guard(&lock);

    (void)self;
    (void)mode;
    if (find(path) != NULL)
        return op_fail(op, EEXIST, "'%s' exists", path);
    put_node(path, NODE_DIR, 0, "");
    return 0;
}

static int node_rename(struct op *op, void *self, const char *from, const char *to, unsigned flags)
{
    struct node *n;
    guard(&lock);

    (void)self;
    n = find(from);
    if (n == NULL)
        return -ENOENT;
    if (find(to) != NULL && flags & NODE_NOREPLACE)
        return op_fail(op, EEXIST, "'%s' exists", to);
    snprintf(n->path, sizeof n->path, "%s", to);
    return 0;
}

static const struct node_ops ops = {
    .stat = node_stat_,
    .list = node_list,
    .open = node_open,
    .readlink = node_readlink,
    .unlink = node_unlink,
    .rmdir = node_rmdir,
    .mkdir = node_mkdir,
    .rename = node_rename,
};
static const struct domain test_domain = {.name = "t", .tree = &ops};
static struct test_server server;
static struct tree *tree;

static int setup(void **state)
{
    (void)state;
    put_node("t/a.txt", NODE_FILE, 0, "hello\n");
    put_node("t/d", NODE_DIR, 0, "");
    put_node("t/d/x", NODE_FILE, 0, "x");
    put_node("t/d/l", NODE_SYMLINK, 0, "../a.txt");
    put_node("t/s", NODE_SYMLINK, 0, "d");
    put_node("t/loop", NODE_SYMLINK, 0, "loop");
    put_node("t/out", NODE_SYMLINK, 0, "../../x");
    put_node("t/q", NODE_FILE, NODE_COMPUTED, "computed");
    put_node("t/secret", NODE_FILE, NODE_SECRET | NODE_AUDIT, "hush");
    put_node("t/a&b <c>", NODE_FILE, 0, "");
    server.instance = (struct domain_instance){&test_domain, NULL};
    tree = tree_new(&server.instance, 1);
    server.tree = tree;
    test_server_start(&server, &test_domain, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_server_stop(&server, 1000);
    tree_free(tree);
    return 0;
}

#define H    " HTTP/1.1\r\nHost: h\r\n"
#define T    H "X-Vault-Token: t\r\n"
#define HTML "Accept: text/html,*/*;q=0.8\r\n"

/* In order: each sees what those before it did. */
static const struct {
    const char *send;
    int status;
    const char *want, *never;
} cases[] = {
    {"GET /tree" T, 308, "Location: /tree/", NULL},
    {"GET /tree/" T, 200, "{\"path\":\"\",\"writable\":false,\"entries\":[{\"name\":\"t\"", NULL},
    {"GET /tree/t" T, 200,
     "\"entries\":[{\"name\":\"a&b <c>\",\"type\":\"file\",\"size\":0,\"mtime\":1700000000000},{",
     NULL},
    {"GET /tree/t/" T, 200,
     "{\"name\":\"s\",\"type\":\"symlink\",\"mtime\":1700000000000,"
     "\"target\":\"d\"}",
     NULL},
    {"GET /tree/t" T HTML, 308, "Location: /tree/t/", NULL},
    {"GET /tree/t/" T HTML, 200, "<a href=\"./a%26b%20%3Cc%3E\">a&#38;b &#60;c&#62;</a>", "<c>"},
    {"GET /tree/t/a.txt" T, 200, "\r\n\r\nhello\n", NULL},
    {"GET /tree/t/a.txt" T, 200, "Content-Type: text/plain", NULL},
    {"GET /tree/t/a.txt" T, 200, "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT", NULL},
    {"GET /tree/t/a.txt" T "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n", 304, NULL,
     "hello"},
    {"GET /tree/t/a.txt" T "If-None-Match: \"0-17979cfe362a0000-6\"\r\n", 304, NULL, "hello"},
    {"GET /tree/t/a.txt" T "Range: bytes=1-2\r\n", 206, "\r\n\r\nel", "hello"},
    {"HEAD /tree/t/a.txt" T, 200, "Content-Length: 6", "hello"},
    {"GET /tree/t/a.txt/" T, 404, "is a file", NULL},
    {"GET /tree/t/q" T, 200, "computed", "Content-Length"},
    {"GET /tree/t/secret" T, 200, "Cache-Control: no-store", NULL},
    {"GET /tree/t/s/x" T, 200, "\r\n\r\nx", NULL},
    {"GET /tree/t/s/l" T, 200, "\r\n\r\nhello", NULL},
    {"GET /tree/t/loop" T, 409, "too many", NULL},
    {"GET /tree/t/out" T, 404, "out of the tree", NULL},
    {"GET /tree/t/none" T, 404, NULL, NULL},
    {"GET /tree/t/none" H, 401, "WWW-Authenticate: Basic", NULL},
    {"GET /tree/t/none" H "X-Requested-With: page\r\n", 401, "WWW-Authenticate: Form", "Basic"},
    {"GET /tree/t/a.txt" H, 200, "hello", NULL},
    {"PUT /tree/t/new" H "Content-Length: 3\r\n\r\nabc", 401, "log in", NULL},
    {"PUT /tree/t/new" T "Content-Length: 3\r\n\r\nabc", 201, NULL, NULL},
    {"GET /tree/t/new" T, 200, "\r\n\r\nabc", NULL},
    {"PUT /tree/t/new" T "Content-Length: 3\r\n\r\na!c", 400, "please", NULL},
    {"PUT /tree/t/new" T "Content-Length: 60\r\n\r\n"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     413, NULL, NULL},
    {"PUT /tree/t/new" T "If-None-Match: *\r\nContent-Length: 1\r\n\r\nd", 409, "exists", NULL},
    {"PUT /tree/t/new" T "Transfer-Encoding: chunked\r\n\r\n1\r\nd\r\n1\r\ne\r\n0\r\n\r\n", 204,
     NULL, NULL},
    {"GET /tree/t/new" T, 200, "\r\n\r\nde", NULL},
    {"PUT /tree/t/dir/" T "Content-Length: 0\r\n\r\n", 409, "MKCOL", NULL},
    {"PUT /tree/t/empty" T "Content-Length: 0\r\n\r\n", 201, NULL, NULL},
    {"GET /tree/t/empty" T, 200, "Content-Length: 0", NULL},
    {"MOVE /tree/t/new" T, 400, "Destination", NULL},
    {"MOVE /tree/t/new" T "Destination: /other\r\n", 400, "not below", NULL},
    {"MOVE /tree/t/new" T "Destination: http://h/tree/t/a.txt\r\nOverwrite: F\r\n", 409, "exists",
     NULL},
    {"MOVE /tree/t/new" T "Destination: http://h/tree/t/newer%20\r\n", 204, NULL, NULL},
    {"GET /tree/t/newer%20" T, 200, "\r\n\r\nde", NULL},
    {"MKCOL /tree/t/d2" T, 201, NULL, NULL},
    {"MKCOL /tree/t/d2/" T, 409, "exists", NULL},
    {"DELETE /tree/t/d" T, 409, "not empty", NULL},
    {"DELETE /tree/t" T, 409, "part of the tree", NULL},
    {"DELETE /tree/t/newer%20" T, 204, NULL, NULL},
    {"DELETE /tree/t/newer%20" T, 404, NULL, NULL},
    {"POST /tree/t/x" T "Content-Length: 0\r\n\r\n", 405, "Allow: ", NULL},
    {"GET /" H, 200, "script-src 'sha256-", NULL},
    {"GET /" H HTML "Accept-Encoding: gzip\r\n", 200, "Content-Encoding: gzip", "<script>"},
};

/* Of an answer that tells no length, to its end. */
static void read_chunks(int fd, const struct buf *head, struct buf *in)
{
    int64_t until = clock_monotonic_ms() + 60000;

    if (head->data == NULL || strcasestr(head->data, "\r\nTransfer-Encoding: chunked") == NULL)
        return;
    while ((in->len < 5 || memcmp(in->data + in->len - 5, "0\r\n\r\n", 5) != 0) &&
           clock_monotonic_ms() < until && !client_read(fd, in, 10))
        ;
}

static void test_tree(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        int fd = client_open(&server);
        autobuf in = {0}, out = {0};

        client_send(fd, cases[i].send, strlen(cases[i].send));
        if (strstr(cases[i].send, "\r\n\r\n") == NULL)
            client_send(fd, "\r\n", 2);
        client_answer(fd, &in, &out, strncmp(cases[i].send, "HEAD", 4) == 0);
        if (strncmp(cases[i].send, "HEAD", 4) != 0)
            read_chunks(fd, &out, &in);
        buf_add_slice(&out, buf_slice(&in));
        close(fd);
        buf_reserve(&out, 0);
        if (status_of(&out) != cases[i].status)
            fail_msg("%s: %s", cases[i].send, out.data);
        if (cases[i].want != NULL && strstr(out.data, cases[i].want) == NULL)
            fail_msg("%s: '%s' is missing in: %s", cases[i].send, cases[i].want, out.data);
        if (cases[i].never != NULL && strstr(out.data, cases[i].never) != NULL)
            fail_msg("%s: '%s' stands in: %s", cases[i].send, cases[i].never, out.data);
    }
    assert_int_equal(audited, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
