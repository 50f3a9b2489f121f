#include "http/answer.h"

#include "base/alloc.h"

#include <stdlib.h>

/* Pages: the answer is made once and queued many times, as long as its headers stay the same. */
struct prepared {
    struct MHD_Response *response;
    struct web_response_header *headers;
};

static bool same_headers(const struct web_response_header *a, const struct web_response_header *b)
{
    for (; a != NULL && b != NULL; a = a->next, b = b->next)
        if (strcmp(a->value, b->value) != 0 || strcmp(a->name, b->name) != 0)
            return false;
    return a == b;
}

static void unprepare(void *arg)
{
    struct prepared *p = arg;

    while (p->headers != NULL) {
        struct web_response_header *h = p->headers;

        p->headers = h->next;
        free(h);
    }
    MHD_destroy_response(p->response);
    free(p);
}

static struct web_response_header *copy_headers(const struct web_response_header *from)
{
    struct web_response_header *first = NULL, **end = &first;

    for (; from != NULL; from = from->next) {
        size_t name = strlen(from->name) + 1, value = strlen(from->value) + 1;
        struct web_response_header *h = xmalloc(sizeof *h + name + value);

        h->next = NULL;
        h->name = memcpy(h + 1, from->name, name);
        h->value = memcpy((char *)(h + 1) + name, from->value, value);
        *end = h;
        end = &h->next;
    }
    return first;
}

static struct MHD_Response *new_page_response(struct request *r, bool gzip)
{
    const struct web_page *page = r->resp.page;
    struct MHD_Response *m = mhd_response_lent(gzip ? page->gzip : page->bytes);
    const char *etag = gzip ? answer_coded_tag(r, page->etag) : page->etag;
    const char *vary = answer_header(&r->resp, "Vary");

    answer_add_headers(m, r->resp.headers);
    if (answer_header(&r->resp, "Content-Type") == NULL)
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE, page->content_type);
    if (etag != NULL)
        MHD_add_response_header(m, MHD_HTTP_HEADER_ETAG, etag);
    if (gzip)
        MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    if (page->gzip.len > 0 && (vary == NULL || strcasestr(vary, "Accept-Encoding") == NULL))
        MHD_add_response_header(m, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    return m;
}

static struct prepared *prepare(struct request *r, bool gzip)
{
    struct web_page *page = r->resp.page;
    struct prepared *mine = xcalloc(1, sizeof *mine);
    void *other = NULL;

    mine->response = new_page_response(r, gzip);
    mine->headers = copy_headers(r->resp.headers);
    __atomic_store_n(&page->unprepare, unprepare, __ATOMIC_RELAXED);
    if (__atomic_compare_exchange_n(&page->prepared[gzip], &other, mine, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return mine;
    unprepare(mine);
    return other;
}

void answer_page(struct request *r)
{
    struct web_page *page = r->resp.page;
    bool gzip = page->gzip.len > 0 && answer_takes_gzip(r);
    bool ordinary =
        !r->close && !r->resp.close && !__atomic_load_n(&r->http->stopping, __ATOMIC_RELAXED);
    struct prepared *p;

    if (answer_not_modified(r, page->etag, gzip ? answer_coded_tag(r, page->etag) : page->etag,
                            gzip ? page->gzip.len : page->bytes.len))
        return;
    p = ordinary ? __atomic_load_n(&page->prepared[gzip], __ATOMIC_ACQUIRE) : NULL;
    if (p == NULL && ordinary)
        p = prepare(r, gzip);
    r->status = r->resp.status;
    if (p != NULL && same_headers(p->headers, r->resp.headers)) {
        r->response = p->response;
        r->prepared = true;
        return;
    }
    r->response = new_page_response(r, gzip);
    if (!ordinary)
        MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONNECTION, "close");
}
