#include "web.h"

#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* A header's value comes from names and reasons that clients chose: a line end in it would begin
 * another header. */
static void make_printable(char *value)
{
    for (; *value != 0; value++)
        if ((unsigned char)*value < 0x20 || *value == 0x7f)
            *value = '?';
}

static void append_header(struct web_request *req, struct web_response *resp, const char *name,
                          char *value)
{
    struct web_response_header *h = op_alloc(req->op, sizeof *h);
    struct web_response_header **end = &resp->headers;

    make_printable(value);
    h->name = op_strdup(req->op, name);
    h->value = value;
    while (*end != NULL)
        end = &(*end)->next;
    *end = h;
}

void web_set_header(struct web_request *req, struct web_response *resp, const char *name,
                    const char *value)
{
    struct web_response_header **h = &resp->headers;

    while (*h != NULL)
        if (strcasecmp((*h)->name, name) == 0)
            *h = (*h)->next;
        else
            h = &(*h)->next;
    append_header(req, resp, name, op_strdup(req->op, value));
}

void web_add_header(struct web_request *req, struct web_response *resp, const char *name,
                    const char *format, ...)
{
    va_list args, again;
    char *value;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    value = op_alloc(req->op, n > 0 ? (size_t)n + 1 : 1);
    vsnprintf(value, n > 0 ? (size_t)n + 1 : 1, format, args);
    va_end(args);
    append_header(req, resp, name, value);
}

static void reply(struct web_request *req, struct web_response *resp, int status,
                  const char *content_type, struct slice bytes)
{
    resp->status = status;
    resp->body = WEB_BYTES;
    resp->bytes = bytes;
    if (content_type != NULL)
        web_set_header(req, resp, "Content-Type", content_type);
}

void web_reply_buf(struct web_request *req, struct web_response *resp, int status,
                   const char *content_type, struct buf *bytes)
{
    reply(req, resp, status, content_type, op_slice(req->op, buf_slice(bytes)));
    if (req->op->wiped)
        buf_wipe(bytes);
    else
        buf_done(bytes);
}

void web_reply_str(struct web_request *req, struct web_response *resp, int status,
                   const char *content_type, const char *text)
{
    reply(req, resp, status, content_type, op_slice(req->op, slice_str(text)));
}

void web_reply_page(struct web_response *resp, struct web_page *page)
{
    resp->body = WEB_PAGE;
    resp->page = page;
}

void web_reply_blob(struct web_response *resp, struct blob *blob, const char *content_type,
                    struct web_request *req)
{
    char text[DIGEST_TEXT_MAX];

    resp->body = WEB_BLOB;
    resp->blob = blob;
    resp->etag = op_printf(req->op, "\"%s\"", digest_print(blob_digest(blob), text));
    if (content_type != NULL)
        web_set_header(req, resp, "Content-Type", content_type);
}

void web_response_done(struct web_response *resp)
{
    if (resp->page != NULL)
        web_page_unref(resp->page);
    if (resp->blob != NULL)
        blob_close(resp->blob);
    if (resp->file != NULL)
        resp->file->ops->close(resp->file);
    if (resp->generate_free != NULL)
        resp->generate_free(resp->generate_ctx);
    if (resp->commit != NULL)
        store_batch_free(resp->commit);
    *resp = (struct web_response){0};
}

bool web_waits(const struct web_response *resp)
{
    return resp->commit != NULL || resp->later != NULL;
}

void web_wait(struct web_response *resp, void (*done)(void *ctx, int r), void *ctx)
{
    struct store_batch *batch = resp->commit;
    void (*later)(void *, void (*)(void *, int), void *) = resp->later;

    resp->commit = NULL;
    resp->later = NULL;
    if (later != NULL) {
        later(resp->later_ctx, done, ctx);
        return;
    }
    store_commit_async(batch, STORE_DURABLE, done, ctx);
}

int web_status(int err)
{
    switch (err < 0 ? -err : err) {
    case ENOENT:
    case ENODATA:
    case ENOTDIR:
        return 404;
    case EEXIST:
    case ENOTEMPTY:
    case EISDIR:
    case EXDEV:
    case ELOOP:
        return 409;
    case EINVAL:
    case ENAMETOOLONG:
        return 400;
    case EACCES:
        return 403;
    case EPERM:
        return 401;
    case EFBIG:
        return 413;
    case ENOSPC:
    case EDQUOT:
        return 507;
    case EBUSY:
    case EAGAIN:
        return 503;
    case ENOTSUP:
    case EROFS:
        return 405;
    case EBADMSG:
        return 422;
    case ERANGE:
        return 416;
    case ETIMEDOUT:
        return 504;
    default:
        return 500;
    }
}

void web_render_plain(void *self, struct web_request *req, int err, struct web_response *resp)
{
    (void)self;
    web_reply_str(req, resp, web_status(err), "text/plain; charset=utf-8",
                  op_printf(req->op, "%s\n", op_why(req->op, err)));
    if (resp->status == 401)
        web_set_header(req, resp, "WWW-Authenticate", "Basic realm=\"infrafs\", charset=\"UTF-8\"");
}
