#include "images/rootfs/unpack.h"

#include "base/alloc.h"
#include "images/rootfs/zstd_seek.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define INPUT      (256u << 10)
#define WINDOW_LOG 27 /* of zstd: 128 MiB, what its own tool takes without being told */

enum gzip_state { AT_MEMBER, IN_MEMBER, AT_END };

struct unpack {
    struct unpack_source source;
    enum unpack_kind kind;
    bool seeking, at_point;
    const char *why;
    uint64_t out; /* bytes given so far, with those before the point of entry */
    uint64_t in;  /* offset behind the bytes in `input` */
    size_t pos, len;
    z_stream z;
    enum gzip_state gzip;
    bool members; /* one was read: what follows may be padding */
    bool fresh;   /* a member has just begun: there is no window */
    ZSTD_DStream *zstd;
    size_t frame_left;  /* 0: between frames */
    size_t to_skip;     /* a checksum that the decoder does not know of */
    bool entered;       /* in a frame that was entered in the middle; */
    bool has_checksum;  /* it has one */
    bool pending;       /* the decoder may hold back bytes */
    struct zstd_seek *seek;
    uint8_t input[INPUT];
};

int unpack_kind_of(const struct unpack_source *source, enum unpack_kind *ret)
{
    uint8_t head[4] = {0};
    ssize_t n = source->read(source->ctx, 0, head, sizeof head);

    *ret = UNPACK_PLAIN;
    if (n < 0)
        return (int)n;
    if (head[0] == 0x1f && head[1] == 0x8b)
        *ret = UNPACK_GZIP;
    else if ((memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0) ||
             ((head[0] & 0xf0) == 0x50 && memcmp(head + 1, "\x2a\x4d\x18", 3) == 0))
        *ret = UNPACK_ZSTD;
    return 0;
}

/* More input if there is none. 1, 0 at the end. */
static int refill(struct unpack *u)
{
    ssize_t n;

    if (u->pos < u->len)
        return 1;
    n = u->source.read(u->source.ctx, u->in, u->input, INPUT);
    if (n < 0)
        return (int)n;
    u->in += (uint64_t)n;
    u->pos = 0;
    u->len = (size_t)n;
    return n > 0;
}

/* The next input byte; -ENODATA at the end. */
static int next_byte(struct unpack *u)
{
    int r = refill(u);

    return r <= 0 ? (r < 0 ? r : -ENODATA) : u->input[u->pos++];
}

static int bad(struct unpack *u, const char *why)
{
    u->why = why;
    return -EBADMSG;
}

/* gzip (RFC 1952). */

static int skip_bytes(struct unpack *u, unsigned n)
{
    int c = 0;

    while (n-- > 0 && c >= 0)
        c = next_byte(u);
    return c < 0 ? c : 0;
}

static int skip_text(struct unpack *u)
{
    int c;

    while ((c = next_byte(u)) > 0)
        ;
    return c;
}

/* Behind its two magic bytes. */
static int skip_head(struct unpack *u)
{
    int method = next_byte(u), flags = next_byte(u), r, low, high;

    if (method < 0 || flags < 0)
        return method < 0 ? method : flags;
    if (method != 8 || (flags & 0xe0) != 0)
        return bad(u, "the gzip header is of an unknown kind");
    r = skip_bytes(u, 6);
    if (r == 0 && (flags & 4) != 0) {
        low = next_byte(u);
        high = next_byte(u);
        r = low < 0 || high < 0 ? -ENODATA : skip_bytes(u, (unsigned)(high << 8 | low));
    }
    if (r == 0 && (flags & 8) != 0)
        r = skip_text(u);
    if (r == 0 && (flags & 16) != 0)
        r = skip_text(u);
    if (r == 0 && (flags & 2) != 0)
        r = skip_bytes(u, 2);
    return r;
}

/* The next member, or the end: behind the last one stands nothing, or padding. */
static int begin_member(struct unpack *u)
{
    int first = next_byte(u), second = first == 0x1f ? next_byte(u) : -ENODATA, r;

    if (first != 0x1f || second != 0x8b) {
        if (!u->members)
            return first < 0 && first != -ENODATA ? first : bad(u, "not gzip");
        u->gzip = AT_END;
        return 0;
    }
    r = skip_head(u);
    if (r < 0)
        return r == -ENODATA ? bad(u, "the gzip stream is cut short") : r;
    if (inflateReset2(&u->z, -MAX_WBITS) != Z_OK)
        return -ENOMEM;
    u->gzip = IN_MEMBER;
    u->members = u->fresh = u->at_point = true;
    return 0;
}

static int end_member(struct unpack *u)
{
    int r = skip_bytes(u, 8); /* CRC and size: the digest of the whole blob has been checked */

    u->gzip = AT_MEMBER;
    return r == -ENODATA ? bad(u, "the gzip stream is cut short") : r;
}

/* One call of inflate. The bytes it gave. */
static ssize_t inflate_some(struct unpack *u, void *buf, size_t n)
{
    int r = refill(u), z;
    size_t got;

    if (r <= 0)
        return r < 0 ? r : bad(u, "the gzip stream is cut short");
    u->z.next_in = u->input + u->pos;
    u->z.avail_in = (unsigned)(u->len - u->pos);
    u->z.next_out = buf;
    u->z.avail_out = (unsigned)n;
    z = inflate(&u->z, u->seeking ? Z_BLOCK : Z_NO_FLUSH);
    u->pos = u->len - u->z.avail_in;
    got = n - u->z.avail_out;
    u->out += got;
    u->at_point = u->seeking && z == Z_OK && (u->z.data_type & 0xc0) == 0x80;
    u->fresh = false;
    if (z == Z_STREAM_END)
        r = end_member(u);
    else if (z != Z_OK && z != Z_BUF_ERROR)
        r = z == Z_MEM_ERROR ? -ENOMEM : bad(u, "the gzip stream is damaged");
    return r < 0 ? r : (ssize_t)got;
}

static ssize_t next_gzip(struct unpack *u, void *buf, size_t n)
{
    ssize_t r;

    for (;;) {
        if (u->gzip == AT_END)
            return 0;
        u->at_point = false;
        r = u->gzip == AT_MEMBER ? begin_member(u) : inflate_some(u, buf, n);
        if (r != 0)
            return r;
        if (u->seeking && u->at_point)
            return -EAGAIN;
    }
}

/* zstd (RFC 8878). Frames that are to be skipped, libzstd skips. */

/* At least `want` bytes of input in one piece, if there are so many. */
static int have(struct unpack *u, size_t want)
{
    if (u->len - u->pos >= want)
        return 0;
    memmove(u->input, u->input + u->pos, u->len - u->pos);
    u->len -= u->pos;
    u->pos = 0;
    while (u->len < want && want <= INPUT) {
        ssize_t n = u->source.read(u->source.ctx, u->in, u->input + u->len, INPUT - u->len);

        if (n <= 0)
            return (int)n;
        u->in += (uint64_t)n;
        u->len += (size_t)n;
    }
    return 0;
}

/* One call of the decoder, with up to so many bytes of input. How many bytes it gave. */
static ssize_t decode_some(struct unpack *u, size_t input, void *buf, size_t n)
{
    size_t end = u->len - u->pos < input ? u->len : u->pos + input, left;
    ZSTD_inBuffer in = {u->input, end, u->pos};
    ZSTD_outBuffer out = {buf, n, 0};

    left = ZSTD_decompressStream(u->zstd, &out, &in);
    if (ZSTD_isError(left))
        return ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge
                   ? -EFBIG
                   : bad(u, "the zstd stream is damaged");
    u->pos = in.pos;
    u->frame_left = left;
    u->members = true;
    u->pending = out.pos == n;
    u->out += out.pos;
    return (ssize_t)out.pos;
}

/* Behind a frame that was entered in the middle. */
static int leave_entered(struct unpack *u)
{
    u->entered = false;
    u->to_skip = u->has_checksum ? 4 : 0;
    return ZSTD_isError(ZSTD_DCtx_loadDictionary(u->zstd, NULL, 0)) ? -ENOMEM : 0;
}

static ssize_t next_zstd(struct unpack *u, void *buf, size_t n)
{
    for (;;) {
        int r = refill(u);
        ssize_t got;

        if (r < 0)
            return r;
        if (u->to_skip > 0 && r > 0) {
            u->to_skip--;
            u->pos++;
            continue;
        }
        if (r == 0 && u->frame_left == 0)
            return 0;
        got = decode_some(u, SIZE_MAX, buf, n);
        if (got == 0 && r == 0)
            return bad(u, "the zstd stream is cut short");
        if (got >= 0 && u->frame_left == 0 && u->entered)
            r = leave_entered(u);
        if (got != 0 || r < 0)
            return r < 0 ? r : got;
    }
}

/* The next unit of the stream, or 0 at its end; -EAGAIN where it can be entered. */
static int next_unit(struct unpack *u)
{
    struct zstd_seek *k = u->seek;
    bool between = k->at == ZSTD_AT_FRAME && u->members;
    size_t want;
    int r;

    while ((want = zstd_seek_wants(k, u->input + u->pos, u->len - u->pos)) > u->len - u->pos) {
        size_t before = u->len - u->pos;

        r = have(u, want);
        if (r < 0)
            return r;
        if (u->len - u->pos == before)
            break;
    }
    if (u->pos == u->len)
        return u->frame_left == 0 ? 0 : bad(u, "the zstd stream is cut short");
    if (!u->at_point && (between || zstd_seek_at_point(k, u->out))) {
        u->at_point = true;
        return -EAGAIN;
    }
    if (u->at_point && !between)
        zstd_seek_pass(k, u->out);
    u->at_point = false;
    zstd_seek_unit(k, u->input + u->pos, u->len - u->pos, u->out);
    return 1;
}

/* The same while seeking: a unit at a time, so that it is known between which two it stands. */
static ssize_t seek_zstd(struct unpack *u, void *buf, size_t n)
{
    for (;;) {
        size_t before;
        ssize_t got;
        int r = 1;

        if (u->seek->unit_left == 0 && !u->pending)
            r = next_unit(u);
        else if (u->seek->unit_left > 0)
            r = refill(u);
        if (r < 0)
            return r;
        if (r == 0 && !u->pending)
            return u->frame_left == 0 ? 0 : bad(u, "the zstd stream is cut short");
        before = u->pos;
        got = decode_some(u, (size_t)u->seek->unit_left, buf, n);
        if (got < 0)
            return got;
        u->seek->unit_left -= u->pos - before;
        zstd_seek_output(u->seek, buf, (size_t)got, u->out);
        if (got > 0)
            return got;
    }
}

/* In the middle of a frame: as one that begins here, with a dictionary. */
static int enter_zstd(struct unpack *u, struct slice window)
{
    ZSTD_inBuffer in = {window.data, ZSTD_STATE_HEAD_BYTES, 0};
    ZSTD_outBuffer out = {u->input, 0, 0};
    struct slice dictionary = slice_skip(window, ZSTD_SEEK_HEAD);
    size_t left = ZSTD_DCtx_loadDictionary(u->zstd, dictionary.data, dictionary.len);

    if (!ZSTD_isError(left))
        left = ZSTD_decompressStream(u->zstd, &out, &in);
    if (ZSTD_isError(left) || in.pos != in.size)
        return bad(u, "the index of the zstd stream is damaged");
    u->frame_left = left;
    u->members = u->entered = true;
    u->has_checksum = ((const uint8_t *)window.data)[ZSTD_STATE_HEAD_BYTES] != 0;
    return 0;
}

static ssize_t next_plain(struct unpack *u, void *buf, size_t n)
{
    ssize_t got = u->source.read(u->source.ctx, u->in, buf, n);

    if (got > 0) {
        u->in += (uint64_t)got;
        u->out += (uint64_t)got;
    }
    return got;
}

ssize_t unpack_next(struct unpack *u, void *buf, size_t n)
{
    switch (u->kind) {
    case UNPACK_GZIP:
        return next_gzip(u, buf, n);
    case UNPACK_ZSTD:
        return u->seek != NULL ? seek_zstd(u, buf, n) : next_zstd(u, buf, n);
    default:
        return next_plain(u, buf, n);
    }
}

/* In the middle of a byte, and with what was before. */
static void enter_gzip(struct unpack *u, const struct unpack_point *from, struct slice window)
{
    u->gzip = IN_MEMBER;
    u->members = true;
    if (from->bits > 0) {
        int c;

        u->in--;
        c = next_byte(u);
        if (c >= 0)
            inflatePrime(&u->z, from->bits, c >> (8 - from->bits));
    }
    if (window.len > 0)
        inflateSetDictionary(&u->z, window.data, (unsigned)window.len);
}

struct unpack *unpack_new(const struct unpack_source *source, enum unpack_kind kind,
                          const struct unpack_point *from, struct slice window, bool seeking)
{
    struct unpack *u = xmalloc(sizeof *u);

    memset(u, 0, offsetof(struct unpack, input));
    u->source = *source;
    u->kind = kind;
    u->seeking = seeking;
    if (from != NULL) {
        u->in = from->in;
        u->out = from->out;
    }
    if (kind == UNPACK_GZIP) {
        if (inflateInit2(&u->z, -MAX_WBITS) != Z_OK)
            abort();
        if (from != NULL)
            enter_gzip(u, from, window);
    } else if (kind == UNPACK_ZSTD) {
        u->zstd = ZSTD_createDStream();
        if (u->zstd == NULL)
            abort();
        ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
        if (seeking)
            u->seek = xcalloc(1, sizeof *u->seek);
        if (window.len > ZSTD_SEEK_HEAD)
            enter_zstd(u, window);
    }
    return u;
}

void unpack_free(struct unpack *u)
{
    if (u == NULL)
        return;
    if (u->kind == UNPACK_GZIP)
        inflateEnd(&u->z);
    ZSTD_freeDStream(u->zstd);
    if (u->seek != NULL)
        zstd_seek_done(u->seek);
    free(u->seek);
    free(u);
}

const char *unpack_why(const struct unpack *u)
{
    return u->why;
}

uint64_t unpack_offset(const struct unpack *u)
{
    return u->out;
}

size_t unpack_memory(const struct unpack *u)
{
    return sizeof *u + (u->zstd != NULL ? ZSTD_sizeof_DStream(u->zstd) : 64u << 10);
}

bool unpack_at_point(struct unpack *u, struct unpack_point *ret)
{
    if (!u->at_point)
        return false;
    *ret = (struct unpack_point){
        .out = u->out,
        .in = u->in - (u->len - u->pos),
        .bits = u->kind == UNPACK_GZIP && !u->fresh ? (uint8_t)(u->z.data_type & 7) : 0,
    };
    return true;
}

void unpack_window(struct unpack *u, struct buf *out)
{
    unsigned n = 0;

    if (u->kind == UNPACK_ZSTD && u->seek != NULL && u->seek->at == ZSTD_AT_BLOCK)
        zstd_seek_window(u->seek, out);
    if (u->kind != UNPACK_GZIP || u->fresh)
        return;
    buf_reserve(out, UNPACK_WINDOW);
    inflateGetDictionary(&u->z, (Bytef *)out->data + out->len, &n);
    out->len += n;
}
