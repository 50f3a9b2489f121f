#include "store/engine.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

struct store_bulk {
    struct store *store;
    struct run *run;
    char *part;
    size_t part_len;
    struct buf last, key; /* full keys */
    size_t n;
};

int store_bulk_begin(struct store *s, enum store_space space, struct slice part,
                     struct store_bulk **ret)
{
    struct store_bulk *b;
    struct run *run = NULL;
    int r;

    if (space != STORE_SAMPLES || !part_is_valid(part))
        return -EINVAL;
    r = s->engine->run_new(s, &run);
    if (r < 0)
        return r;
    b = xcalloc(1, sizeof *b);
    b->store = s;
    b->run = run;
    b->part = xmemdup(part.data, part.len);
    b->part_len = part.len;
    *ret = b;
    return 0;
}

int store_bulk_add(struct store_bulk *b, struct slice key, struct slice value)
{
    struct buf swap;
    int r;

    if (key.len > KEY_MAX)
        return -EFBIG;
    buf_clear(&b->key);
    key_build(&b->key, slice_of(b->part, b->part_len), key);
    if (b->n > 0 && slice_cmp(buf_slice(&b->key), buf_slice(&b->last)) <= 0)
        return -EINVAL;
    r = store_write_check(b->store);
    if (r < 0)
        return r;
    r = b->store->engine->run_add(b->run, buf_slice(&b->key), value);
    if (r < 0)
        return r;
    swap = b->last;
    b->last = b->key;
    b->key = swap;
    b->n++;
    return 0;
}

void store_bulk_free(struct store_bulk *b)
{
    if (b == NULL)
        return;
    b->store->engine->run_free(b->run);
    buf_done(&b->last);
    buf_done(&b->key);
    free(b->part);
    free(b);
}

int store_bulk_commit(struct store_bulk *b)
{
    int r = store_write_check(b->store);

    if (r == 0 && b->n > 0)
        r = b->store->engine->run_commit(b->run);
    store_bulk_free(b);
    return r;
}

int store_bulk_drop(struct store *s, enum store_space space, struct slice part)
{
    autobuf lower = {0}, upper = {0};
    int r;

    if (space != STORE_SAMPLES || !part_is_valid(part))
        return -EINVAL;
    r = store_write_check(s);
    if (r < 0)
        return r;
    key_build(&lower, part, (struct slice){0});
    key_build_end(&upper, part);
    return s->engine->run_drop(s, buf_slice(&lower), buf_slice(&upper));
}
