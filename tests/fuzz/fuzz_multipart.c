/* The same bytes in one piece and in many must be heard alike. */
#include "base/buf.h"
#include "base/multipart.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_part(void *ctx, const struct multipart_part *part)
{
    buf_printf(ctx, "[%s|%s|%s]", part->name, part->filename, part->content_type);
    return 0;
}

static int on_data(void *ctx, const void *bytes, size_t n)
{
    buf_add(ctx, bytes, n);
    return 0;
}

static int on_end(void *ctx)
{
    buf_add_str(ctx, "[end]");
    return 0;
}

static int parse(struct slice rest, size_t piece, struct buf *heard)
{
    static const struct multipart_events events = {on_part, on_data, on_end};
    struct multipart *m;
    int r = multipart_new("multipart/form-data; boundary=B", &events, heard, NULL, &m);

    while (r == 0 && rest.len > 0) {
        size_t n = piece < rest.len ? piece : rest.len;

        r = multipart_feed(m, rest.data, n);
        rest = slice_skip(rest, n);
    }
    if (r == 0)
        r = multipart_end(m);
    multipart_free(m);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, pieces = {0};
    size_t piece = size > 0 ? 1 + data[0] % 7 : 1;
    int a = parse(slice_of(data, size), size + 1, &whole);
    int b = parse(slice_of(data, size), piece, &pieces);

    if (a != b || (a == 0 && !slice_eq(buf_slice(&whole), buf_slice(&pieces))))
        abort();
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
