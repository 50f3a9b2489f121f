#include "packages/gunzip.h"

#include "base/alloc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

struct gunzip {
    struct zip_source source;
    uint64_t offset; /* read so far */
    uint64_t unpacked;
    z_stream stream;
    bool ended;  /* at the end of a member */
    bool padded; /* zeros have followed it */
    const char *why;
    uint8_t packed[64 << 10], out[128 << 10];
};

struct gunzip *gunzip_new(const struct zip_source *source)
{
    struct gunzip *g = xcalloc(1, sizeof *g);
    int r = inflateInit2(&g->stream, MAX_WBITS + 16);

    assert(r == Z_OK);
    (void)r;
    g->source = *source;
    return g;
}

void gunzip_free(struct gunzip *g)
{
    if (g == NULL)
        return;
    inflateEnd(&g->stream);
    free(g);
}

const char *gunzip_why(const struct gunzip *g)
{
    return g->why;
}

static ssize_t refuse(struct gunzip *g, const char *why)
{
    g->why = why;
    return -EINVAL;
}

/* 1 there is input, 0 the file has ended, or an errno. */
static ssize_t fill(struct gunzip *g)
{
    ssize_t n;

    if (g->stream.avail_in > 0)
        return 1;
    n = g->source.read(g->source.ctx, g->offset, g->packed, sizeof g->packed);
    if (n <= 0)
        return n;
    g->offset += (uint64_t)n;
    g->stream.next_in = g->packed;
    g->stream.avail_in = (unsigned)n;
    return 1;
}

static bool is_bomb(const struct gunzip *g)
{
    return g->unpacked > GUNZIP_MAX ||
           (g->unpacked > GUNZIP_FREE && g->unpacked / GUNZIP_RATIO_MAX > g->source.size_bytes);
}

/* Behind a member: 1 another one begins, 0 only padding so far (tools that write whole blocks leave
 * zeros), -EINVAL something else. */
static int next_member(struct gunzip *g)
{
    for (; g->stream.avail_in > 0 && *g->stream.next_in == 0; g->stream.avail_in--) {
        g->stream.next_in++;
        g->padded = true;
    }
    if (g->stream.avail_in == 0)
        return 0;
    if (g->padded || *g->stream.next_in != 0x1f)
        return (int)refuse(g, "data follows the gzip stream");
    inflateReset(&g->stream);
    g->ended = false;
    return 1;
}

ssize_t gunzip_next(struct gunzip *g, const void **ret)
{
    for (;;) {
        ssize_t n = fill(g);
        int r;

        if (n < 0)
            return n;
        if (n == 0)
            return g->ended ? 0 : refuse(g, "the gzip stream is cut short");
        if (g->ended) {
            r = next_member(g);
            if (r < 0)
                return r;
            if (r == 0)
                continue;
        }
        g->stream.next_out = g->out;
        g->stream.avail_out = sizeof g->out;
        r = inflate(&g->stream, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return refuse(g, "the gzip stream is damaged");
        g->ended = r == Z_STREAM_END;
        n = (ssize_t)(sizeof g->out - g->stream.avail_out);
        g->unpacked += (uint64_t)n;
        if (is_bomb(g))
            return refuse(g, "it unpacks to far more than its size");
        if (n > 0) {
            *ret = g->out;
            return n;
        }
    }
}
