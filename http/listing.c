#include "http/listing.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"

#include <errno.h>
#include <stdlib.h>

/* More names than this are not shown in one answer; the mount has no such limit. */
#define ENTRIES_MAX 100000u

struct entry {
    const char *name;
    struct node_stat st;
    const char *target;
};

struct entries {
    struct op *op;
    struct entry *items;
    size_t n, cap;
    bool asked; /* st came with the name */
    bool too_many;
};

static int take_entry(void *ctx, const char *name, const struct node_stat *st)
{
    struct entries *e = ctx;

    if (e->n == ENTRIES_MAX) {
        e->too_many = true;
        return 1;
    }
    if (e->n == e->cap) {
        size_t cap = e->cap > 0 ? e->cap * 2 : 64;
        struct entry *items = realloc(e->items, cap * sizeof *items);

        if (items == NULL)
            return 1;
        e->items = items;
        e->cap = cap;
    }
    e->items[e->n] = (struct entry){.name = op_strdup(e->op, name)};
    if (st != NULL)
        e->items[e->n].st = *st;
    else
        e->items[e->n].st.nlink = UINT32_MAX; /* ask */
    e->n++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* What the folder did not tell with the name. An entry that went away meanwhile is left out. */
static void complete(struct tree *t, struct entries *e, const char *folder)
{
    size_t kept = 0;

    for (size_t i = 0; i < e->n; i++) {
        struct entry *item = &e->items[i];
        const char *path = op_printf(e->op, "%s%s%s", folder, *folder != 0 ? "/" : "", item->name);

        if (item->st.nlink == UINT32_MAX && tree_stat(t, e->op, path, &item->st) < 0)
            continue;
        if (item->st.type == NODE_SYMLINK && tree_readlink(t, e->op, path, &item->target) < 0)
            item->target = NULL;
        e->items[kept++] = *item;
    }
    op_forgive(e->op);
    e->n = kept;
}

static const char *type_name(enum node_type type)
{
    switch (type) {
    case NODE_DIR:
        return "folder";
    case NODE_SYMLINK:
        return "symlink";
    case NODE_CHAR:
    case NODE_BLOCK:
        return "device";
    case NODE_FIFO:
        return "fifo";
    default:
        return "file";
    }
}

static void print_json(const struct entries *e, const char *path, bool writable, struct buf *out)
{
    struct json j;

    json_init(&j, out);
    json_object(&j);
    json_kstr(&j, "path", path);
    json_kbool(&j, "writable", writable);
    json_key(&j, "entries");
    json_array(&j);
    for (size_t i = 0; i < e->n; i++) {
        const struct entry *item = &e->items[i];

        json_object(&j);
        json_kstr(&j, "name", item->name);
        json_kstr(&j, "type", type_name(item->st.type));
        if (item->st.type == NODE_FILE && !(item->st.flags & NODE_COMPUTED))
            json_ku64(&j, "size", item->st.size_bytes);
        if (item->st.mtime_ns > 0)
            json_ki64(&j, "mtime", item->st.mtime_ns / 1000000);
        if (item->target != NULL)
            json_kstr(&j, "target", item->target);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    buf_add_char(out, '\n');
}

static void escape(struct buf *out, const char *text)
{
    for (; *text != 0; text++)
        if (strchr("<>&\"'", *text) != NULL)
            buf_printf(out, "&#%d;", *text);
        else
            buf_add_char(out, *text);
}

static void print_html(const struct entries *e, const char *path, struct buf *out)
{
    buf_add_str(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>/");
    escape(out, path);
    buf_add_str(out, "</title></head>\n<body><h1>/");
    escape(out, path);
    buf_add_str(out, "</h1>\n<ul>\n");
    if (*path != 0)
        buf_add_str(out, "<li><a href=\"../\">../</a></li>\n");
    for (size_t i = 0; i < e->n; i++) {
        const char *slash = e->items[i].st.type == NODE_DIR ? "/" : "";

        buf_add_str(out, "<li><a href=\"./");
        percent_encode(out, slice_str(e->items[i].name), "");
        buf_printf(out, "%s\">", slash);
        escape(out, e->items[i].name);
        buf_printf(out, "%s</a></li>\n", slash);
    }
    buf_add_str(out, "</ul></body></html>\n");
}

static int list(struct tree *t, struct web_request *req, struct web_response *resp,
                const char *path, bool html)
{
    struct entries e = {.op = req->op};
    struct node_stat st = {0};
    autobuf out = {0};
    int r = tree_list(t, req->op, path, take_entry, &e);

    if (r >= 0 && e.too_many)
        r = op_fail(req->op, EFBIG, "'%s' holds more than %u names", path, ENTRIES_MAX);
    if (r >= 0) {
        if (e.n > 0)
            qsort(e.items, e.n, sizeof *e.items, by_name);
        complete(t, &e, path);
        if (tree_stat(t, req->op, path, &st) < 0)
            op_forgive(req->op);
        if (html)
            print_html(&e, path, &out);
        else
            print_json(&e, path, st.flags & NODE_WRITABLE, &out);
        web_reply_buf(req, resp, 200, html ? "text/html; charset=utf-8" : "application/json", &out);
        resp->compress = true;
        r = 0;
    }
    free(e.items);
    return r;
}

int listing_reply(struct tree *t, struct web_request *req, struct web_response *resp,
                  const char *path, bool slash)
{
    static const char *const offers[] = {"application/json", "text/html", NULL};
    const char *type = web_negotiate(req, offers);
    bool html = type == offers[1];

    if (html && !slash) {
        web_add_header(req, resp, "Location", "%s/", req->raw_path);
        resp->status = 308;
        return 0;
    }
    web_set_header(req, resp, "X-Node", "folder");
    web_set_header(req, resp, "Cache-Control", "private, no-cache");
    web_set_header(req, resp, "X-Content-Type-Options", "nosniff");
    web_set_header(req, resp, "Content-Security-Policy", "default-src 'none'");
    return list(t, req, resp, path, html);
}
