#include "packages/zip_internal.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <zlib.h>

/* Reads the packed bytes through f, piece by piece. */
static int each_piece(const struct zip *z, const struct zip_entry *e,
                      int (*f)(void *ctx, uint8_t *bytes, size_t n), void *ctx, struct buf *why)
{
    enum { PIECE = 64 << 10 };
    autofree uint8_t *piece = xmalloc(PIECE);
    uint64_t done = 0;

    while (done < e->packed_bytes) {
        size_t n = e->packed_bytes - done < PIECE ? (size_t)(e->packed_bytes - done) : PIECE;
        int r = zip_read_at(&z->source, e->data_offset + done, piece, n, why);

        if (r == 0)
            r = f(ctx, piece, n);
        if (r < 0)
            return r;
        done += n;
    }
    return 0;
}

struct unpack {
    z_stream stream;
    struct buf *out;
    size_t start, size; /* of the content in out */
    bool ended;
};

static int unpack_stored(void *ctx, uint8_t *bytes, size_t n)
{
    struct unpack *u = ctx;

    buf_add(u->out, bytes, n);
    return 0;
}

static int unpack_deflated(void *ctx, uint8_t *bytes, size_t n)
{
    struct unpack *u = ctx;
    uint8_t room[16 << 10];

    u->stream.next_in = bytes;
    u->stream.avail_in = (unsigned)n;
    do {
        int r;

        if (u->ended)
            return -EINVAL; /* packed bytes behind the end of the deflated stream */
        u->stream.next_out = room;
        u->stream.avail_out = sizeof room;
        r = inflate(&u->stream, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return -EINVAL;
        u->ended = r == Z_STREAM_END;
        buf_add(u->out, room, sizeof room - u->stream.avail_out);
        if (u->out->len - u->start > u->size)
            return -EINVAL;
    } while (u->stream.avail_in > 0 || (u->stream.avail_out == 0 && !u->ended));
    return 0;
}

static int unpack(const struct zip *z, const struct zip_entry *e, struct unpack *u, struct buf *why)
{
    int r;

    if (e->method == 0) {
        u->ended = true;
        return each_piece(z, e, unpack_stored, u, why);
    }
    if (inflateInit2(&u->stream, -MAX_WBITS) != Z_OK)
        return -ENOMEM;
    r = each_piece(z, e, unpack_deflated, u, why);
    inflateEnd(&u->stream);
    return r;
}

int zip_read(const struct zip *z, const struct zip_entry *e, size_t limit_bytes, struct buf *out,
             struct buf *why)
{
    struct unpack u = {.out = out, .start = out->len, .size = (size_t)e->size_bytes};
    uint32_t crc;
    int r;

    if (e->size_bytes > limit_bytes) {
        zip_refuse_entry(why, e, "is too large");
        return -EFBIG;
    }
    r = unpack(z, e, &u, why);
    if (r < 0 && r != -EINVAL)
        return r;
    crc = (uint32_t)crc32_z(0, (const uint8_t *)(out->data != NULL ? out->data : "") + u.start,
                            out->len - u.start);
    if (r < 0 || !u.ended || out->len - u.start != e->size_bytes || crc != e->crc)
        return why->len > 0 ? -EINVAL : zip_refuse_entry(why, e, "is damaged");
    return 0;
}
