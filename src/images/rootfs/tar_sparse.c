#include "images/rootfs/tar_sparse.h"

#include "base/codec.h"

#include <errno.h>
#include <string.h>

int sparse_add(struct buf *map, uint64_t offset, uint64_t length)
{
    uint8_t piece[SPARSE_PIECE_BYTES];

    if (map->len >= SPARSE_MAP_MAX)
        return -EFBIG;
    be64_put(piece, offset);
    be64_put(piece + 8, length);
    buf_add(map, piece, sizeof piece);
    return 0;
}

int sparse_add_old(struct buf *map, const uint8_t *pieces, unsigned n)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < n; i++) {
        const uint8_t *p = pieces + (size_t)i * SPARSE_OLD_BYTES;
        int64_t offset, length;

        if (p[0] == 0 && p[12] == 0)
            break;
        if (tar_number(p, 12, &offset) < 0 || tar_number(p + 12, 12, &length) < 0 || offset < 0 ||
            length < 0)
            return -EBADMSG;
        r = sparse_add(map, (uint64_t)offset, (uint64_t)length);
    }
    return r;
}

/* The next number, up to `end`; takes it and the end. -EAGAIN: there is no end. */
static int take_number(struct slice *text, char end, uint64_t *ret)
{
    const char *at = text->len > 0 ? memchr(text->data, end, text->len) : NULL;
    size_t n = at != NULL ? (size_t)(at - (const char *)text->data) : 0;

    if (at == NULL)
        return text->len > 20 ? -EBADMSG : -EAGAIN;
    if (parse_u64(slice_of(text->data, n), INT64_MAX, ret) < 0)
        return -EBADMSG;
    *text = slice_skip(*text, n + 1);
    return 0;
}

int sparse_add_list(struct buf *map, struct slice text)
{
    struct buf ended = {0};
    struct slice left;
    uint64_t offset, length;
    int r = 0;

    buf_add_slice(&ended, text);
    buf_add_char(&ended, ',');
    left = buf_slice(&ended);
    while (r == 0 && left.len > 0) {
        r = take_number(&left, ',', &offset);
        if (r == 0)
            r = take_number(&left, ',', &length);
        if (r == 0)
            r = sparse_add(map, offset, length);
    }
    buf_done(&ended);
    return r == -EAGAIN ? -EBADMSG : r;
}

int sparse_lines(struct slice text, uint64_t *ret)
{
    uint64_t count;
    int r = take_number(&text, '\n', &count);

    if (r < 0)
        return r;
    *ret = count <= SPARSE_MAP_MAX / SPARSE_PIECE_BYTES ? 2 * count + 1 : 0;
    return *ret > 0 ? 0 : -EFBIG;
}

int sparse_add_lines(struct buf *map, struct slice text)
{
    uint64_t count, offset, length;
    int r = take_number(&text, '\n', &count);

    buf_clear(map);
    for (uint64_t i = 0; r == 0 && i < count; i++) {
        r = take_number(&text, '\n', &offset);
        if (r == 0)
            r = take_number(&text, '\n', &length);
        if (r == 0)
            r = sparse_add(map, offset, length);
    }
    return r;
}

static void piece_at(struct slice map, size_t i, uint64_t *ret_offset, uint64_t *ret_length)
{
    const uint8_t *p = (const uint8_t *)map.data + i * SPARSE_PIECE_BYTES;

    *ret_offset = be64_get(p);
    *ret_length = be64_get(p + 8);
}

int sparse_check(struct buf *map, uint64_t size_bytes, uint64_t stored_bytes)
{
    uint64_t end = 0, stored = 0, offset, length;

    for (size_t i = 0; i < map->len / SPARSE_PIECE_BYTES; i++) {
        piece_at(buf_slice(map), i, &offset, &length);
        if (offset < end || offset > size_bytes || length > size_bytes - offset)
            return -EBADMSG;
        end = offset + length;
        stored += length;
    }
    if (stored != stored_bytes)
        return -EBADMSG;
    return map->len > 0 ? 0 : sparse_add(map, size_bytes, 0);
}

int sparse_find(struct slice map, uint64_t offset, uint64_t *ret_from, uint64_t *ret_length,
                uint64_t *ret_stored)
{
    uint64_t stored = 0;

    for (size_t i = 0; i < map.len / SPARSE_PIECE_BYTES; i++) {
        piece_at(map, i, ret_from, ret_length);
        if (offset < *ret_from + *ret_length) {
            *ret_stored = stored;
            return 0;
        }
        stored += *ret_length;
    }
    return -ENOENT;
}
