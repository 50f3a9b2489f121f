/* /tree/<path>: the mounted tree over HTTP. GET and HEAD a file's bytes, or a folder as JSON (HTML
 * for a browser); PUT writes a file whole, DELETE, MKCOL, and MOVE with a Destination (RFC 4918).
 */
#include "http/listing.h"
#include "http/server.h"
#include "http/target.h"
#include "http/tree_path.h"

#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>

static struct tree *tree_of(const struct web_request *req)
{
    return ((struct http *)req->self)->options.tree;
}

/* The request's node. Who is not known is asked to log in, unless their policy names the node. (For
 * the others the domain decides.) */
static int find_node(struct web_request *req, const char **ret_path, bool *ret_folder)
{
    int r = url_tree_path(req, req->path, ret_path, ret_folder);

    if (r < 0 || req->op->who->kind != IDENTITY_ANONYMOUS ||
        identity_may(req->op, POLICY_READ, "%s", *ret_path))
        return r;
    return identity_check(req->op, POLICY_READ, "tree/%s", *ret_path);
}

/* Known by key, time and size; nothing for what has no time or no size. */
static const char *etag_of(struct op *op, const struct node_stat *st)
{
    if (st->mtime_ns <= 0 || st->flags & (NODE_COMPUTED | NODE_VOLATILE))
        return NULL;
    return op_printf(op, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", st->key, (uint64_t)st->mtime_ns,
                     st->size_bytes);
}

/* Never a type that a browser would run: the tree holds what people put there. */
static const char *type_of(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {
        {".json", "application/json"},         {".txt", "text/plain; charset=utf-8"},
        {".yml", "text/plain; charset=utf-8"}, {".yaml", "text/plain; charset=utf-8"},
        {".hcl", "text/plain; charset=utf-8"}, {".prom", "text/plain; charset=utf-8"},
        {".csv", "text/csv; charset=utf-8"},   {".gz", "application/gzip"},
        {".whl", "application/zip"},           {".zip", "application/zip"},
    };
    size_t len = strlen(path);

    for (size_t i = 0; i < array_size(types); i++) {
        size_t n = strlen(types[i].suffix);

        if (len > n && strcmp(path + len - n, types[i].suffix) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

static void set_file_headers(struct web_request *req, struct web_response *resp, const char *path,
                             const struct node_stat *st)
{
    char date[CLOCK_TEXT_MAX];

    web_set_header(req, resp, "Content-Type", type_of(path));
    web_set_header(req, resp, "X-Content-Type-Options", "nosniff");
    web_set_header(req, resp, "Cache-Control",
                   st->flags & NODE_SECRET ? "no-store" : "private, no-cache");
    if (st->mtime_ns > 0 && !(st->flags & (NODE_COMPUTED | NODE_VOLATILE)))
        web_set_header(req, resp, "Last-Modified", clock_print_http(st->mtime_ns / 1000000, date));
    resp->etag = etag_of(req->op, st);
}

static int get_file(struct web_request *req, struct web_response *resp, const char *path,
                    const struct node_stat *st)
{
    struct http *http = req->self;
    int r;

    r = tree_open(tree_of(req), req->op, path, NODE_READ, &resp->file);
    if (st->flags & NODE_AUDIT && audit_write(http->options.audit, req->op, "read", path, r) < 0 &&
        r == 0)
        r = op_fail(req->op, EIO, "the audit log cannot be written");
    if (r < 0)
        return r;
    if (resp->file->ops->on_ready != NULL) {
        resp->file->ops->close(resp->file);
        resp->file = NULL;
        return op_fail(req->op, ENOTSUP, "'%s' is a stream; read it in the mount", path);
    }
    if (st->flags & NODE_SECRET)
        req->op->wiped = true;
    resp->body = WEB_FILE;
    set_file_headers(req, resp, path, st);
    return 0;
}

static int get(struct web_request *req, struct web_response *resp)
{
    const char *path;
    struct node_stat st;
    bool folder;
    int r = find_node(req, &path, &folder);

    if (r == 0)
        r = url_tree_follow(tree_of(req), req->op, &path, &st);
    if (r < 0)
        return r;
    if (st.type == NODE_DIR)
        return listing_reply(tree_of(req), req, resp, path, folder);
    if (folder)
        return op_fail(req->op, ENOTDIR, "'%s' is a file; leave out the last slash", path);
    return get_file(req, resp, path, &st);
}

/* An upload: staged in the node's private copy, published whole by commit. */
struct put {
    const char *path;
    struct node_file *file;
    uint64_t offset;
    bool replaces;
};

static int put_begin(struct web_request *req)
{
    unsigned flags = NODE_WRITE | NODE_CREATE | NODE_TRUNC;
    struct put *put = op_alloc(req->op, sizeof *put);
    const char *unless = web_header(req, "If-None-Match");
    struct node_stat st;
    bool folder;
    int r = find_node(req, &put->path, &folder);

    if (r < 0)
        return r;
    if (folder || *put->path == 0)
        return op_fail(req->op, EISDIR, "'%s' names a folder; MKCOL makes one", req->path);
    put->replaces = tree_stat(tree_of(req), req->op, put->path, &st) == 0;
    op_forgive(req->op);
    if (unless != NULL && strcmp(unless, "*") == 0)
        flags |= NODE_EXCL;
    r = tree_open(tree_of(req), req->op, put->path, flags, &put->file);
    if (r < 0)
        return r;
    req->state = put;
    return 0;
}

static int put_data(struct web_request *req, const void *bytes, size_t n)
{
    struct put *put = req->state;
    const char *p = bytes;

    while (n > 0) {
        ssize_t done = put->file->ops->write(req->op, put->file, put->offset, p, n);

        if (done <= 0)
            return done < 0 ? (int)done : -EIO;
        put->offset += (uint64_t)done;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int put(struct web_request *req, struct web_response *resp)
{
    struct put *put = req->state;
    int r = put->file->ops->commit(req->op, put->file);

    if (r == 0)
        resp->status = put->replaces ? 204 : 201;
    return r;
}

static void put_end(struct web_request *req)
{
    struct put *put = req->state;

    put->file->ops->close(put->file);
}

/* What is in use here (a tagged manifest, a root) stays so: a conflict, not "try again later". */
static int as_conflict(int r)
{
    return r == -EBUSY ? -EEXIST : r;
}

static int delete_node(struct web_request *req, struct web_response *resp)
{
    struct tree *tree = tree_of(req);
    const char *path;
    struct node_stat st;
    bool folder;
    int r = find_node(req, &path, &folder);

    if (r == 0)
        r = tree_stat(tree, req->op, path, &st);
    if (r < 0)
        return r;
    resp->status = 204;
    if (st.type == NODE_DIR)
        return as_conflict(tree_rmdir(tree, req->op, path));
    return as_conflict(tree_unlink(tree, req->op, path));
}

static int make_folder(struct web_request *req, struct web_response *resp)
{
    const char *path;
    bool folder;
    int r = find_node(req, &path, &folder);

    if (r < 0)
        return r;
    resp->status = 201;
    return tree_mkdir(tree_of(req), req->op, path, 0755);
}

static int move_node(struct web_request *req, struct web_response *resp)
{
    const char *destination = web_header(req, "Destination");
    const char *overwrite = web_header(req, "Overwrite");
    const char *from, *to;
    struct target target;
    bool folder;
    int r = find_node(req, &from, &folder);

    if (r < 0)
        return r;
    if (destination == NULL)
        return op_fail(req->op, EINVAL, "MOVE needs a Destination: /tree/<path>");
    r = target_parse(req->op, destination, &target);
    if (r == 0)
        r = url_tree_path(req, target.path, &to, &folder);
    if (r < 0)
        return r;
    resp->status = 204;
    return as_conflict(tree_rename(tree_of(req), req->op, from, to,
                                   overwrite != NULL && *overwrite == 'F' ? NODE_NOREPLACE : 0));
}

static int add_slash(struct web_request *req, struct web_response *resp)
{
    web_set_header(req, resp, "Location", "/tree/");
    resp->status = 308;
    return 0;
}

static int get_page(struct web_request *req, struct web_response *resp)
{
    const struct http *http = req->self;

    web_set_header(req, resp, "Content-Security-Policy", http->page_policy);
    web_set_header(req, resp, "X-Content-Type-Options", "nosniff");
    web_set_header(req, resp, "Referrer-Policy", "no-referrer");
    web_reply_page(resp, web_page_ref(http->page));
    return 0;
}

/* Who is not known, and may not see a thing, is asked who they are. */
static void render(void *self, struct web_request *req, int err, struct web_response *resp)
{
    if ((err == -ENOENT || err == -EACCES) && req->route != NULL &&
        req->op->who->kind == IDENTITY_ANONYMOUS) {
        op_forgive(req->op);
        err = op_fail(req->op, EPERM, "log in to see '%s'", req->path);
    }
    web_render_plain(self, req, err, resp);
    if (resp->status == 401 && web_header(req, "X-Requested-With") != NULL)
        web_set_header(req, resp, "WWW-Authenticate", "Form realm=\"infrafs\"");
}

#define PATHS(m, f)                                                                                \
    {.methods = (m), .pattern = "/tree/", .handle = (f)},                                          \
    {                                                                                              \
        .methods = (m), .pattern = "/tree/{path...}", .handle = (f)                                \
    }

static const struct route routes[] = {
    PATHS("GET", get),
    PATHS("DELETE", delete_node),
    PATHS("MKCOL", make_folder),
    PATHS("MOVE", move_node),
    {.methods = "PUT",
     .pattern = "/tree/{path...}",
     .handle = put,
     .begin = put_begin,
     .data = put_data,
     .end = put_end,
     .flags = ROUTE_STREAM},
    {.methods = "GET", .pattern = "/tree", .handle = add_slash, .flags = ROUTE_INLINE},
    {.methods = "GET", .pattern = "/", .handle = get_page, .flags = ROUTE_INLINE | ROUTE_PUBLIC},
    {0},
};

const struct domain http_domain = {.name = "tree", .routes = routes, .render = render};
