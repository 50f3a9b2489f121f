#include "web.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/digest.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#define WORTH_COMPRESSING 1024u

bool web_gzip(struct slice bytes, int level, struct buf *out)
{
    z_stream z = {0};
    uLong bound;
    int r;

    if (bytes.len > UINT32_MAX / 2 ||
        deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    bound = deflateBound(&z, (uLong)bytes.len);
    buf_reserve(out, bound);
    if (!out->failed) {
        z.next_in = (Bytef *)(uintptr_t)bytes.data;
        z.avail_in = (uInt)bytes.len;
        z.next_out = (Bytef *)out->data + out->len;
        z.avail_out = (uInt)bound;
    }
    r = out->failed ? Z_MEM_ERROR : deflate(&z, Z_FINISH);
    if (r == Z_STREAM_END) {
        out->len += z.total_out;
        out->data[out->len] = 0;
    }
    deflateEnd(&z);
    return r == Z_STREAM_END;
}

static void compress_page(struct web_page *p)
{
    autobuf out = {0};
    size_t len;

    if (p->bytes.len <= WORTH_COMPRESSING || !web_gzip(p->bytes, 6, &out) ||
        out.len >= p->bytes.len - p->bytes.len / 10)
        return;
    len = out.len;
    p->gzip = slice_of(xmemdup(out.data, len), len);
}

static char *etag_of(struct slice bytes)
{
    struct digest d;
    char text[1 + 32 + 1 + 1];

    digest_of(DIGEST_SHA256, bytes.data, bytes.len, &d);
    text[0] = '"';
    hex_encode(slice_of(d.bytes, 16), text + 1);
    memcpy(text + 33, "\"", 2);
    return xstrdup(text);
}

struct web_page *web_page_new(struct slice bytes, const char *content_type, const char *etag,
                              bool compress)
{
    struct web_page *p = xcalloc(1, sizeof *p);

    p->bytes = slice_of(xmemdup(bytes.data, bytes.len), bytes.len);
    p->content_type = xstrdup(content_type);
    p->etag = etag != NULL ? xstrdup(etag) : etag_of(bytes);
    p->refs = 1;
    if (compress)
        compress_page(p);
    return p;
}

struct web_page *web_page_ref(struct web_page *p)
{
    unsigned before = __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);

    assert(before > 0);
    (void)before;
    return p;
}

static void free_text(const void *text)
{
    free((void *)(uintptr_t)text);
}

void web_page_unref(struct web_page *p)
{
    if (p == NULL || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < 2; i++)
        if (p->prepared[i] != NULL)
            p->unprepare(p->prepared[i]);
    free_text(p->bytes.data);
    free_text(p->gzip.data);
    free_text(p->content_type);
    free_text(p->etag);
    free(p);
}
