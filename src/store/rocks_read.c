#include "store/rocks.h"

#include "base/alloc.h"

#include <errno.h>

static int get_from_rocksdb(struct rocks *r, enum space space, struct slice key,
                            struct store_value *ret)
{
    rocksdb_pinnableslice_t *pinned;
    char *err = NULL;
    const char *value;
    size_t n = 0;
    int e;

    pinned = rocksdb_get_pinned_cf(r->db, space == SPACE_META ? r->read_once : r->read,
                                   rocks_cf(r, space), key.data, key.len, &err);
    e = rocks_error(err);
    if (e == 0 && pinned == NULL)
        e = -ENOENT;
    if (e == 0) {
        value = rocksdb_pinnableslice_value(pinned, &n);
        ret->owner = xmemdup(value, n); /* at most 64 KiB: copying beats keeping a block pinned */
        ret->data = slice_of(ret->owner, n);
    }
    if (pinned != NULL)
        rocksdb_pinnableslice_destroy(pinned);
    return e;
}

int rocks_get(struct store *s, enum space space, struct slice key, struct store_value *ret)
{
    struct rocks *r = s->self;
    struct rows_miss miss;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    if (space != SPACE_META) {
        e = get_from_rocksdb(r, space, key, ret);
    } else if (rows_get(r->rows, key, &ret->data, &miss)) {
        ret->owner = (void *)ret->data.data;
    } else {
        e = get_from_rocksdb(r, space, key, ret);
        if (e == 0)
            rows_keep(r->rows, &miss, key, ret->data);
    }
    rocks_leave(r);
    return e;
}

struct cursor {
    struct rocks *rocks;
    rocksdb_iterator_t *iterator;
    rocksdb_readoptions_t *options;
    struct buf lower, upper; /* the options borrow them */
};

int rocks_cursor_new(struct store *s, enum space space, struct slice lower, struct slice upper,
                     struct cursor **ret)
{
    struct rocks *r = s->self;
    struct cursor *c;
    int e = rocks_enter(r); /* until rocks_cursor_free */

    if (e < 0)
        return e;
    c = xcalloc(1, sizeof *c);
    c->rocks = r;
    buf_add_slice(&c->lower, lower);
    buf_add_slice(&c->upper, upper);
    c->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_iterate_lower_bound(c->options, c->lower.data, c->lower.len);
    rocksdb_readoptions_set_iterate_upper_bound(c->options, c->upper.data, c->upper.len);
    c->iterator = rocksdb_create_iterator_cf(r->db, c->options, rocks_cf(r, space));
    *ret = c;
    return 0;
}

void rocks_cursor_seek(struct cursor *c, struct slice key)
{
    rocksdb_iter_seek(c->iterator, key.data, key.len);
}

void rocks_cursor_seek_back(struct cursor *c, struct slice key)
{
    if (slice_cmp(key, buf_slice(&c->upper)) >= 0)
        rocksdb_iter_seek_to_last(c->iterator);
    else
        rocksdb_iter_seek_for_prev(c->iterator, key.data, key.len);
}

void rocks_cursor_last(struct cursor *c)
{
    rocksdb_iter_seek_to_last(c->iterator);
}

void rocks_cursor_step(struct cursor *c, bool back)
{
    if (!rocksdb_iter_valid(c->iterator))
        return;
    if (back)
        rocksdb_iter_prev(c->iterator);
    else
        rocksdb_iter_next(c->iterator);
}

int rocks_cursor_row(struct cursor *c, struct slice *ret_key, struct slice *ret_value)
{
    char *err = NULL;

    if (!rocksdb_iter_valid(c->iterator)) {
        rocksdb_iter_get_error(c->iterator, &err);
        return rocks_error(err);
    }
    ret_key->data = rocksdb_iter_key(c->iterator, &ret_key->len);
    ret_value->data = rocksdb_iter_value(c->iterator, &ret_value->len);
    return 1;
}

void rocks_cursor_free(struct cursor *c)
{
    rocksdb_iter_destroy(c->iterator);
    rocksdb_readoptions_destroy(c->options);
    rocks_leave(c->rocks);
    buf_done(&c->lower);
    buf_done(&c->upper);
    free(c);
}
