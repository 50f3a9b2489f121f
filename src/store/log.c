/* Logs: rows `<name> 0x00 <be64 sequence>` in the space of their own. The lowest sequence that may
 * be given again is kept apart, so that a log trimmed to nothing does not start over. */
#include "store/engine.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>

struct store_log {
    struct store *store;
    char *name;
    pthread_mutex_t lock; /* guards next and floor, and keeps appends in their order */
    uint64_t next, floor;
};

static void log_key(struct buf *b, const struct store_log *l, uint64_t seq)
{
    uint8_t be[8];

    be64_put(be, seq);
    key_build(b, slice_str(l->name), slice_of(be, sizeof be));
}

static int log_cursor(struct store_log *l, uint64_t from, struct cursor **ret)
{
    autobuf lower = {0}, upper = {0};
    int r;

    log_key(&lower, l, from);
    key_build_end(&upper, slice_str(l->name));
    r = l->store->engine->cursor_new(l->store, SPACE_HEAD, buf_slice(&lower), buf_slice(&upper),
                                     ret);
    if (r == 0)
        l->store->engine->cursor_seek(*ret, buf_slice(&lower));
    return r;
}

static uint64_t seq_of(struct slice key)
{
    return be64_get((const uint8_t *)key.data + key.len - 8);
}

static int read_floor(struct store_log *l)
{
    autobuf key = {0};
    struct store_value v;
    int r;

    key_build(&key, SLICE(LOGS_PART), slice_str(l->name));
    r = l->store->engine->get(l->store, SPACE_META, buf_slice(&key), &v);
    l->floor = 1;
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (v.data.len == 8)
        l->floor = be64_get(v.data.data);
    store_value_release(&v);
    return 0;
}

static int find_next(struct store_log *l)
{
    struct cursor *c = NULL;
    struct slice key, value;
    int r = read_floor(l);

    if (r < 0)
        return r;
    l->next = l->floor;
    r = log_cursor(l, 0, &c);
    if (r < 0)
        return r;
    l->store->engine->cursor_last(c);
    r = l->store->engine->cursor_row(c, &key, &value);
    if (r == 1 && seq_of(key) >= l->next)
        l->next = seq_of(key) + 1;
    l->store->engine->cursor_free(c);
    return r < 0 ? r : 0;
}

int store_log_open(struct store *s, const char *name, struct store_log **ret)
{
    struct store_log *l;
    int r;

    if (!part_is_valid(slice_str(name)))
        return -EINVAL;
    l = xcalloc(1, sizeof *l);
    l->store = s;
    l->name = xstrdup(name);
    pthread_mutex_init(&l->lock, NULL);
    r = find_next(l);
    if (r < 0) {
        store_log_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

void store_log_close(struct store_log *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->name);
    free(l);
}

int store_log_append(struct store_log *l, struct slice record, uint64_t *ret_seq)
{
    struct store_batch *b;
    autobuf key = {0};
    int r;

    if (record.len > LOG_MAX)
        return -EFBIG;
    b = batch_new_internal(l->store, SLICE(LOGS_PART));
    pthread_mutex_lock(&l->lock);
    log_key(&key, l, l->next);
    batch_add(b, BATCH_PUT, SPACE_HEAD, buf_slice(&key), record);
    r = store_commit(b, 0);
    if (r == 0 && ret_seq != NULL)
        *ret_seq = l->next;
    if (r == 0)
        l->next++;
    pthread_mutex_unlock(&l->lock);
    return r;
}

int store_log_sync(struct store_log *l)
{
    return l->store->engine->sync(l->store);
}

static uint64_t floor_of(struct store_log *l)
{
    guard(&l->lock);
    return l->floor;
}

int store_log_replay(struct store_log *l, uint64_t from,
                     int (*f)(void *ctx, uint64_t seq, struct slice record), void *ctx)
{
    const struct engine *e = l->store->engine;
    uint64_t floor = floor_of(l); /* a trim that was cut short leaves some below */
    struct cursor *c = NULL;
    struct slice key, value;
    int r = log_cursor(l, from > floor ? from : floor, &c);

    if (r < 0)
        return r;
    while ((r = e->cursor_row(c, &key, &value)) == 1) {
        r = f(ctx, seq_of(key), value);
        if (r != 0)
            break;
        e->cursor_step(c, false);
    }
    e->cursor_free(c);
    return r;
}

static int keep_floor(struct store_log *l, uint64_t floor)
{
    struct store_batch *b = batch_new_internal(l->store, SLICE(LOGS_PART));
    autobuf key = {0};
    uint8_t be[8];

    be64_put(be, floor);
    key_build(&key, SLICE(LOGS_PART), slice_str(l->name));
    batch_add(b, BATCH_PUT, SPACE_META, buf_slice(&key), slice_of(be, sizeof be));
    b->deletes_only = true; /* its row is small: a trim must work on a full disk */
    return store_commit(b, STORE_DURABLE);
}

/* The floor first, durable: rows may be gone for good before the last step. Then whole files. Then
 * what lies in other files; that comes last, because a mark of deletion in a file that goes would
 * go with it. */
int store_log_trim(struct store_log *l, uint64_t before)
{
    struct store_batch *b;
    autobuf lower = {0}, upper = {0}, last = {0};
    int r;

    guard(&l->lock);
    if (before > l->next)
        before = l->next;
    if (before <= l->floor)
        return 0;
    r = keep_floor(l, before);
    if (r < 0)
        return r;
    l->floor = before;
    log_key(&lower, l, 0);
    log_key(&last, l, before - 1);
    log_key(&upper, l, before);
    r = l->store->engine->log_drop(l->store, buf_slice(&lower), buf_slice(&last));
    if (r < 0)
        return r;
    b = batch_new_internal(l->store, SLICE(LOGS_PART));
    batch_add(b, BATCH_DELETE_RANGE, SPACE_HEAD, buf_slice(&lower), buf_slice(&upper));
    return store_commit(b, 0);
}

int store_log_tidy(struct store_log *l)
{
    uint64_t floor = floor_of(l);
    autobuf lower = {0}, last = {0};

    log_key(&lower, l, 0);
    log_key(&last, l, floor - 1);
    return l->store->engine->log_tidy(l->store, buf_slice(&lower), buf_slice(&last));
}
