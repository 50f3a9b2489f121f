#include "base/codec.h"
#include "base/negotiate.h"
#include "web.h"

#include <errno.h>
#include <strings.h>

#define QUERY_PARAMS_MAX 4096u

static int keep_first(void *arg, const char *value)
{
    *(const char **)arg = value;
    return 1;
}

const char *web_header(struct web_request *req, const char *name)
{
    const char *value = NULL;

    if (req->source != NULL)
        req->source->header(req->source_ctx, name, keep_first, &value);
    return value;
}

struct joined {
    struct buf text;
    bool any;
};

static int join(void *arg, const char *value)
{
    struct joined *j = arg;

    if (j->any)
        buf_add_str(&j->text, ", ");
    j->any = true;
    buf_add_str(&j->text, value);
    return 0;
}

bool web_gone(const struct web_request *req)
{
    return req->source != NULL && req->source->gone != NULL && req->source->gone(req->source_ctx);
}

const char *web_header_all(struct web_request *req, const char *name)
{
    struct joined j = {0};
    const char *ret = NULL;

    if (req->source != NULL)
        req->source->header(req->source_ctx, name, join, &j);
    if (j.any)
        ret = op_strndup(req->op, j.text.data, j.text.len);
    buf_done(&j.text);
    return ret;
}

const char *web_query_nth(const struct web_request *req, const char *key, size_t i)
{
    for (size_t k = 0; k < req->n_query; k++)
        if (strcmp(req->query[k].name, key) == 0 && i-- == 0)
            return req->query[k].value;
    return NULL;
}

const char *web_query(const struct web_request *req, const char *key)
{
    return web_query_nth(req, key, 0);
}

const char *web_param(const struct web_request *req, const char *name)
{
    for (size_t i = 0; i < WEB_PARAMS_MAX && req->params[i].name != NULL; i++)
        if (strcmp(req->params[i].name, name) == 0)
            return req->params[i].value;
    return "";
}

/* Decodes one name or value of a form into the op. NULL: a bad escape or a NUL. */
static const char *decode(struct op *op, struct slice text)
{
    char *out = op_alloc(op, text.len + 1);
    const char *p = text.data;
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)p[i];

        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%') {
            if (text.len - i < 3 || hex_decode(slice_of(p + i + 1, 2), &byte, 1) < 0)
                return NULL;
            i += 2;
        }
        if (byte == 0)
            return NULL;
        out[n++] = (char)byte;
    }
    return out;
}

static struct slice cut(struct slice *rest, char separator)
{
    const char *end = memchr(rest->data, separator, rest->len);
    struct slice piece = *rest;

    if (end == NULL) {
        *rest = slice_of((const char *)rest->data + rest->len, 0);
        return piece;
    }
    piece.len = (size_t)(end - (const char *)piece.data);
    *rest = slice_skip(*rest, piece.len + 1);
    return piece;
}

int web_parse_query(struct op *op, struct slice text, struct web_param **ret, size_t *ret_n)
{
    struct web_param *params;
    size_t max = 1, n = 0;

    for (size_t i = 0; i < text.len; i++)
        max += ((const char *)text.data)[i] == '&';
    if (max > QUERY_PARAMS_MAX)
        return op_fail(op, EINVAL, "the query has more than %u parameters", QUERY_PARAMS_MAX);
    params = op_alloc(op, max * sizeof *params);
    while (text.len > 0) {
        struct slice pair = cut(&text, '&');
        struct slice name;

        if (pair.len == 0)
            continue;
        name = cut(&pair, '=');
        params[n].name = decode(op, name);
        params[n].value = decode(op, pair);
        if (params[n].name == NULL || params[n].value == NULL)
            return op_fail(op, EINVAL, "the query has a bad percent escape");
        n++;
    }
    *ret = params;
    *ret_n = n;
    return 0;
}

int web_read_form(struct web_request *req)
{
    static const char type[] = "application/x-www-form-urlencoded";
    const char *sent = web_header(req, "Content-Type");
    struct web_param *form, *all;
    size_t n;
    int r;

    if (sent == NULL || strncasecmp(sent, type, sizeof type - 1) != 0)
        return 0;
    r = web_parse_query(req->op, req->body, &form, &n);
    if (r < 0)
        return r;
    all = op_alloc(req->op, (req->n_query + n) * sizeof *all);
    if (req->n_query > 0)
        memcpy(all, req->query, req->n_query * sizeof *all);
    if (n > 0)
        memcpy(all + req->n_query, form, n * sizeof *all);
    req->query = all;
    req->n_query += n;
    return 0;
}

const char *web_base_url(struct web_request *req)
{
    return op_printf(req->op, "%s://%s", req->scheme != NULL ? req->scheme : "http",
                     req->host != NULL ? req->host : "localhost");
}

const char *web_negotiate(struct web_request *req, const char *const *offers)
{
    return negotiate_type(slice_str(web_header_all(req, "Accept")), offers);
}
