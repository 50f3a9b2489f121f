/* The gzip coding of an answer. libcurl's own decoder takes a body that ends within the checksum. */
#include "base/alloc.h"
#include "metrics/scrape/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#define PIECE_BYTES (32u << 10)

struct fetch_gzip {
    z_stream z;
    bool ended; /* a member is whole; another may follow */
};

bool fetch_is_gzip(const struct fetch *f)
{
    struct curl_header *h = NULL;

    return curl_easy_header(f->curl, "Content-Encoding", 0, CURLH_HEADER, -1, &h) == CURLHE_OK &&
           strcmp(h->value, "gzip") == 0;
}

int fetch_gzip_take(struct fetch *f, const char *data, size_t n, fetch_taker *take)
{
    struct fetch_gzip *g = f->gzip;
    char piece[PIECE_BYTES];

    if (g == NULL) {
        g = f->gzip = xcalloc(1, sizeof *g);
        if (inflateInit2(&g->z, 16 + MAX_WBITS) != Z_OK)
            return -ENOMEM;
    }
    g->z.next_in = (Bytef *)(uintptr_t)data;
    g->z.avail_in = (uInt)n;
    do {
        int r;

        if (g->ended && inflateReset(&g->z) != Z_OK)
            return -EIO;
        g->z.next_out = (Bytef *)piece;
        g->z.avail_out = sizeof piece;
        r = inflate(&g->z, Z_NO_FLUSH);
        g->ended = r == Z_STREAM_END;
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return -EIO;
        if (!take(f, piece, sizeof piece - g->z.avail_out))
            return -EFBIG;
    } while (g->z.avail_in > 0 || (g->z.avail_out == 0 && !g->ended));
    return 0;
}

bool fetch_gzip_whole(const struct fetch *f)
{
    return f->gzip != NULL && f->gzip->ended;
}

void fetch_gzip_free(struct fetch *f)
{
    if (f->gzip != NULL)
        inflateEnd(&f->gzip->z);
    free(f->gzip);
}
