/* The engine in memory, for tests: it behaves as rocks does, and forgets. */
#include "store/mem.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

static int mem_open(struct store *s, const char *where, struct buf *why)
{
    struct mem *m;

    if (where[0] != 0) {
        buf_printf(why, "store 'mem:%s': nothing may follow 'mem:'", where);
        return -EINVAL;
    }
    m = xcalloc(1, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    s->self = m;
    return 0;
}

static void mem_close(struct store *s)
{
    struct mem *m = s->self;

    for (size_t i = 0; i < array_size(m->maps); i++)
        mem_map_done(&m->maps[i]);
    mem_blobs_free(m);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static int mem_usage(struct store *s, struct store_usage *ret)
{
    ret->live_bytes = atomic_load(&s->blob_bytes);
    ret->disk_bytes = ret->disk_free_bytes = UINT64_C(1) << 40;
    return 0;
}

static int mem_checkpoint(struct store *s, const char *dir)
{
    (void)s;
    (void)dir;
    return -ENOTSUP; /* there is no disk to copy it to */
}

static int mem_get(struct store *s, enum space space, struct slice key, struct store_value *ret)
{
    struct mem *m = s->self;
    struct slice value;

    guard(&m->lock);
    if (!mem_map_get(&m->maps[space], key, &value))
        return -ENOENT;
    ret->owner = xmemdup(value.data, value.len);
    ret->data = slice_of(ret->owner, value.len);
    return 0;
}

static bool guard_holds(struct mem *m, const struct store_batch *b, const struct batch_op *op)
{
    struct slice value;
    bool found = mem_map_get(&m->maps[op->space], batch_key(b, op), &value);

    if (op->kind == BATCH_EXPECT_ABSENT)
        return !found;
    return found && slice_eq(value, batch_value(b, op));
}

static void apply(struct mem *m, const struct store_batch *b, const struct batch_op *op)
{
    struct mem_map *map = &m->maps[op->space];

    if (op->kind == BATCH_PUT)
        mem_map_put(map, batch_key(b, op), batch_value(b, op), m->seq);
    if (op->kind == BATCH_DELETE)
        mem_map_delete(map, batch_key(b, op), m->seq);
    if (op->kind == BATCH_DELETE_RANGE)
        mem_map_delete_range(map, batch_key(b, op), batch_value(b, op), m->seq);
}

static int apply_batch(struct mem *m, const struct store_batch *b)
{
    guard(&m->lock);
    for (size_t i = 0; i < b->n_ops; i++)
        if (b->ops[i].kind >= BATCH_EXPECT && !guard_holds(m, b, &b->ops[i]))
            return -EAGAIN;
    m->seq++;
    for (size_t i = 0; i < b->n_ops; i++)
        apply(m, b, &b->ops[i]);
    return 0;
}

static void mem_submit(struct store *s, struct store_batch *b, bool waited)
{
    (void)waited;
    batch_complete(b, apply_batch(s->self, b));
}

static int mem_sync(struct store *s)
{
    return store_write_check(s);
}

struct cursor {
    struct mem *mem;
    struct mem_map *map;
    struct mem_node *node; /* NULL: outside */
    struct buf lower, upper;
    struct slice value;
    uint64_t seq;
};

static int mem_cursor_new(struct store *s, enum space space, struct slice lower, struct slice upper,
                          struct cursor **ret)
{
    struct mem *m = s->self;
    struct cursor *c = xcalloc(1, sizeof *c);

    buf_add_slice(&c->lower, lower);
    buf_add_slice(&c->upper, upper);
    c->mem = m;
    c->map = &m->maps[space];
    guard(&m->lock);
    c->map->cursors++;
    c->seq = m->seq;
    *ret = c;
    return 0;
}

/* Moves on over what is not visible, and off the cursor where the bounds are passed. */
static void settle(struct cursor *c, bool back)
{
    while (c->node != NULL && !mem_node_value(c->node, c->seq, &c->value))
        c->node = mem_node_step(c->map, c->node, back);
    if (c->node == NULL)
        return;
    if (slice_cmp(mem_node_key(c->node), buf_slice(&c->lower)) < 0 ||
        slice_cmp(mem_node_key(c->node), buf_slice(&c->upper)) >= 0)
        c->node = NULL;
}

static void mem_cursor_seek(struct cursor *c, struct slice key)
{
    guard(&c->mem->lock);
    if (slice_cmp(key, buf_slice(&c->lower)) < 0)
        key = buf_slice(&c->lower);
    c->node = mem_map_at(c->map, key);
    settle(c, false);
}

static void mem_cursor_last(struct cursor *c)
{
    guard(&c->mem->lock);
    c->node = mem_map_before(c->map, buf_slice(&c->upper));
    settle(c, true);
}

static void mem_cursor_seek_back(struct cursor *c, struct slice key)
{
    if (slice_cmp(key, buf_slice(&c->upper)) >= 0) {
        mem_cursor_last(c);
        return;
    }
    guard(&c->mem->lock);
    c->node = mem_map_at(c->map, key);
    if (c->node == NULL || !slice_eq(mem_node_key(c->node), key))
        c->node = mem_map_before(c->map, key);
    settle(c, true);
}

static void mem_cursor_step(struct cursor *c, bool back)
{
    guard(&c->mem->lock);
    if (c->node != NULL)
        c->node = mem_node_step(c->map, c->node, back);
    settle(c, back);
}

static int mem_cursor_row(struct cursor *c, struct slice *ret_key, struct slice *ret_value)
{
    if (c->node == NULL)
        return 0;
    *ret_key = mem_node_key(c->node);
    *ret_value = c->value;
    return 1;
}

static void mem_cursor_free(struct cursor *c)
{
    pthread_mutex_lock(&c->mem->lock);
    c->map->cursors--;
    pthread_mutex_unlock(&c->mem->lock);
    buf_done(&c->lower);
    buf_done(&c->upper);
    free(c);
}

/* A run is a batch that waits. */
struct run {
    struct store_batch *batch;
};

static int mem_run_new(struct store *s, struct run **ret)
{
    struct run *r = xcalloc(1, sizeof *r);

    r->batch = batch_new_internal(s, SLICE(CATALOG_PART));
    *ret = r;
    return 0;
}

static int mem_run_add(struct run *r, struct slice key, struct slice value)
{
    batch_add(r->batch, BATCH_PUT, SPACE_SAMPLES, key, value);
    return 0;
}

static int mem_run_commit(struct run *r)
{
    return apply_batch(r->batch->store->self, r->batch);
}

static void mem_run_free(struct run *r)
{
    store_batch_free(r->batch);
    free(r);
}

static int mem_run_drop(struct store *s, struct slice lower, struct slice upper)
{
    struct mem *m = s->self;

    guard(&m->lock);
    mem_map_delete_range(&m->maps[SPACE_SAMPLES], lower, upper, ++m->seq);
    return 0;
}

static int mem_log_drop(struct store *s, struct slice lower, struct slice upper)
{
    (void)s;
    (void)lower;
    (void)upper;
    return 0;
}

static int mem_log_tidy(struct store *s, struct slice lower, struct slice upper)
{
    return mem_log_drop(s, lower, upper);
}

static void mem_reclaim(struct store *s)
{
    (void)s;
}

static int mem_sweep(struct store *s)
{
    (void)s;
    return 0;
}

const struct engine mem_engine = {
    .scheme = "mem",
    .open = mem_open,
    .close = mem_close,
    .usage = mem_usage,
    .checkpoint = mem_checkpoint,
    .reclaim = mem_reclaim,
    .get = mem_get,
    .submit = mem_submit,
    .sync = mem_sync,
    .cursor_new = mem_cursor_new,
    .cursor_seek = mem_cursor_seek,
    .cursor_seek_back = mem_cursor_seek_back,
    .cursor_last = mem_cursor_last,
    .cursor_step = mem_cursor_step,
    .cursor_row = mem_cursor_row,
    .cursor_free = mem_cursor_free,
    .run_new = mem_run_new,
    .run_add = mem_run_add,
    .run_commit = mem_run_commit,
    .run_free = mem_run_free,
    .run_drop = mem_run_drop,
    .log_drop = mem_log_drop,
    .log_tidy = mem_log_tidy,
    .staging_new = mem_staging_new,
    .staging_write = mem_staging_write,
    .staging_read = mem_staging_read,
    .staging_suspend = mem_staging_suspend,
    .staging_resume = mem_staging_resume,
    .staging_finish = mem_staging_finish,
    .staging_free = mem_staging_free,
    .staging_discard = mem_staging_discard,
    .sweep = mem_sweep,
    .content_open = mem_content_open,
    .content_read = mem_content_read,
    .content_lend = mem_content_lend,
    .content_close = mem_content_close,
    .content_delete = mem_content_delete,
};
