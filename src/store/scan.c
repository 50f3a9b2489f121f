/* Scans and the list of partitions, over an engine's cursor. */
#include "store/engine.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

struct store_scan {
    const struct engine *engine;
    struct cursor *cursor;
    char *part; /* with the 0x00 behind it: what every full key begins with */
    size_t part_len;
    unsigned flags;
    bool placed; /* the next row is where the cursor stands */
};

int scan_new(struct store *s, enum space space, struct slice part, struct slice from,
             struct slice to, unsigned flags, struct store_scan **ret)
{
    autobuf lower = {0}, upper = {0};
    struct cursor *cursor = NULL;
    struct store_scan *c;
    int r;

    key_build(&lower, part, from);
    if (to.len > 0)
        key_build(&upper, part, to);
    else
        key_build_end(&upper, part);
    r = s->engine->cursor_new(s, space, buf_slice(&lower), buf_slice(&upper), &cursor);
    if (r < 0)
        return r;
    c = xcalloc(1, sizeof *c);
    c->engine = s->engine;
    c->cursor = cursor;
    c->part = xmemdup(part.data, part.len);
    c->part_len = part.len + 1;
    c->flags = flags;
    if (flags & STORE_REVERSE)
        s->engine->cursor_last(cursor);
    else
        s->engine->cursor_seek(cursor, buf_slice(&lower));
    c->placed = true;
    *ret = c;
    return 0;
}

int store_scan(struct store *s, struct slice part, struct slice from, struct slice to,
               unsigned flags, struct store_scan **ret)
{
    if (!part_is_valid(part))
        return -EINVAL;
    return scan_new(s, SPACE_META, part, from, to, flags, ret);
}

int store_bulk_scan(struct store *s, enum store_space space, struct slice part, struct slice from,
                    struct slice to, unsigned flags, struct store_scan **ret)
{
    if (space != STORE_SAMPLES || !part_is_valid(part))
        return -EINVAL;
    return scan_new(s, SPACE_SAMPLES, part, from, to, flags, ret);
}

int store_scan_next(struct store_scan *c, struct slice *ret_key, struct slice *ret_value)
{
    struct slice key, value;
    int r;

    if (!c->placed)
        c->engine->cursor_step(c->cursor, (c->flags & STORE_REVERSE) != 0);
    r = c->engine->cursor_row(c->cursor, &key, &value);
    c->placed = r != 1; /* never step past the end */
    if (r != 1)
        return r;
    *ret_key = slice_skip(key, c->part_len);
    if (ret_value != NULL)
        *ret_value = (c->flags & STORE_KEYS_ONLY) ? (struct slice){0} : value;
    return 1;
}

void store_scan_seek(struct store_scan *c, struct slice key)
{
    autobuf full = {0};

    key_build(&full, slice_of(c->part, c->part_len - 1), key);
    if (c->flags & STORE_REVERSE)
        c->engine->cursor_seek_back(c->cursor, buf_slice(&full));
    else
        c->engine->cursor_seek(c->cursor, buf_slice(&full));
    c->placed = true;
}

void store_scan_free(struct store_scan *c)
{
    if (c == NULL)
        return;
    c->engine->cursor_free(c->cursor);
    free(c->part);
    free(c);
}

/* Where a search for partitions begins: behind the store's own. */
static void first_key(struct slice prefix, struct buf *lower)
{
    if (prefix.len > 0)
        buf_add_slice(lower, prefix);
    else
        buf_add_char(lower, 0x20);
}

void key_successor(struct buf *prefix)
{
    while (prefix->len > 0 && (uint8_t)prefix->data[prefix->len - 1] == 0xff)
        prefix->len--;
    if (prefix->len > 0)
        prefix->data[prefix->len - 1]++;
    else
        buf_add(prefix, "\377\377\377\377\377\377\377\377", 8);
}

int partitions_each(struct store *s, enum space space, struct slice prefix,
                    int (*f)(void *ctx, struct slice part), void *ctx)
{
    autobuf lower = {0}, upper = {0};
    struct cursor *cursor = NULL;
    struct slice key, value;
    int r;

    first_key(prefix, &lower);
    buf_add_slice(&upper, prefix);
    key_successor(&upper);
    r = s->engine->cursor_new(s, space, buf_slice(&lower), buf_slice(&upper), &cursor);
    if (r < 0)
        return r;
    s->engine->cursor_seek(cursor, buf_slice(&lower));
    while ((r = s->engine->cursor_row(cursor, &key, &value)) == 1) {
        const char *end = memchr(key.data, 0, key.len);

        r = -EIO;
        if (end == NULL)
            break;
        buf_clear(&lower);
        buf_add(&lower, key.data, (size_t)(end - (const char *)key.data));
        r = f(ctx, buf_slice(&lower));
        if (r != 0)
            break;
        buf_add_char(&lower, 1);
        s->engine->cursor_seek(cursor, buf_slice(&lower));
    }
    s->engine->cursor_free(cursor);
    return r;
}

int store_partitions(struct store *s, struct slice prefix, int (*f)(void *ctx, struct slice part),
                     void *ctx)
{
    return partitions_each(s, SPACE_META, prefix, f, ctx);
}

int store_bulk_partitions(struct store *s, enum store_space space, struct slice prefix,
                          int (*f)(void *ctx, struct slice part), void *ctx)
{
    return space == STORE_SAMPLES ? partitions_each(s, SPACE_SAMPLES, prefix, f, ctx) : -EINVAL;
}
