#include "store/engine.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/scope.h"

#include <errno.h>

struct slice batch_key(const struct store_batch *b, const struct batch_op *op)
{
    return slice_of(b->bytes.data + op->at, op->key_len);
}

struct slice batch_value(const struct store_batch *b, const struct batch_op *op)
{
    return slice_of(b->bytes.data + op->at + op->key_len, op->value_len);
}

uint64_t store_key_hash(struct slice key)
{
    return hash_bytes(key.data, key.len, 0);
}

struct store_batch *batch_new_internal(struct store *s, struct slice part)
{
    struct store_batch *b = xcalloc(1, sizeof *b);

    b->store = s;
    b->part = xmemdup(part.data, part.len);
    b->part_len = part.len;
    b->deletes_only = true;
    return b;
}

struct store_batch *store_batch_new(struct store *s, struct slice part)
{
    struct store_batch *b = batch_new_internal(s, part);

    if (!part_is_valid(part))
        b->err = -EINVAL;
    return b;
}

static void call_ends(struct store_batch *b, int r)
{
    while (b->ends != NULL) {
        struct batch_end *end = b->ends;

        b->ends = end->next;
        end->f(end->ctx, r);
        free(end);
    }
}

void store_batch_on_end(struct store_batch *b, void (*f)(void *ctx, int r), void *ctx)
{
    struct batch_end *end = xcalloc(1, sizeof *end);

    *end = (struct batch_end){.next = b->ends, .f = f, .ctx = ctx};
    b->ends = end;
}

void store_batch_free(struct store_batch *b)
{
    if (b == NULL)
        return;
    call_ends(b, -ECANCELED);
    buf_done(&b->bytes);
    free(b->ops);
    free(b->part);
    free(b);
}

/* The key has just been appended, from `at` to the end; the value follows it. */
static void add_op(struct store_batch *b, enum batch_kind kind, enum space space, size_t at,
                   struct slice value)
{
    size_t key_len = b->bytes.len - at;

    if (key_len > KEY_MAX && b->err == 0)
        b->err = -EFBIG;
    if (b->n_ops == b->cap_ops) {
        b->cap_ops = b->cap_ops > 0 ? b->cap_ops * 2 : 4;
        b->ops = xrealloc(b->ops, b->cap_ops * sizeof *b->ops);
    }
    buf_add_slice(&b->bytes, value);
    b->ops[b->n_ops++] = (struct batch_op){
        .kind = (uint8_t)kind,
        .space = (uint8_t)space,
        .key_len = (uint32_t)key_len,
        .value_len = (uint32_t)value.len,
        .at = at,
        .hash = store_key_hash(slice_of(b->bytes.data + at, key_len)),
    };
    if (kind == BATCH_PUT)
        b->deletes_only = false;
    if (kind == BATCH_EXPECT || kind == BATCH_EXPECT_ABSENT)
        b->has_guards = true;
}

void batch_add(struct store_batch *b, enum batch_kind kind, enum space space, struct slice key,
               struct slice value)
{
    size_t at = b->bytes.len;

    buf_add_slice(&b->bytes, key);
    add_op(b, kind, space, at, value);
}

static void add_row(struct store_batch *b, enum batch_kind kind, struct slice key,
                    struct slice value)
{
    size_t at = b->bytes.len;

    if (key.len > KEY_MAX || value.len > STORE_VALUE_MAX) {
        if (b->err == 0)
            b->err = -EFBIG;
        return;
    }
    key_build(&b->bytes, slice_of(b->part, b->part_len), key);
    add_op(b, kind, SPACE_META, at, value);
}

void store_batch_put(struct store_batch *b, struct slice key, struct slice value)
{
    add_row(b, BATCH_PUT, key, value);
}

void store_batch_delete(struct store_batch *b, struct slice key)
{
    add_row(b, BATCH_DELETE, key, (struct slice){0});
}

void store_batch_expect(struct store_batch *b, struct slice key, struct slice value)
{
    add_row(b, BATCH_EXPECT, key, value);
}

void store_batch_expect_absent(struct store_batch *b, struct slice key)
{
    add_row(b, BATCH_EXPECT_ABSENT, key, (struct slice){0});
}

void batch_complete(struct store_batch *b, int r)
{
    b->result = r;
    call_ends(b, r);
    if (r == 0)
        store_tell(b->store, slice_of(b->part, b->part_len));
    if (b->done == NULL) {
        sem_post(&b->waiting); /* b belongs to the waiter from here on */
        return;
    }
    b->done(b->ctx, r);
    store_batch_free(b);
}

static int check(struct store_batch *b)
{
    return b->err < 0 ? b->err : store_write_check(b->store);
}

int batch_commit(struct store_batch *b, unsigned flags)
{
    int r = check(b);

    if (r < 0)
        return r;
    b->flags = flags;
    b->done = NULL;
    sem_init(&b->waiting, 0, 0);
    b->store->engine->submit(b->store, b, true);
    while (sem_wait(&b->waiting) < 0)
        ;
    sem_destroy(&b->waiting);
    return b->result;
}

int store_commit(struct store_batch *b, unsigned flags)
{
    int r = batch_commit(b, flags);

    store_batch_free(b);
    return r;
}

void store_commit_async(struct store_batch *b, unsigned flags, void (*done)(void *ctx, int r),
                        void *ctx)
{
    int r = check(b);

    if (r < 0) {
        store_batch_free(b);
        done(ctx, r);
        return;
    }
    b->flags = flags;
    b->done = done;
    b->ctx = ctx;
    b->store->engine->submit(b->store, b, false);
}

int store_drop(struct store *s, struct slice part)
{
    struct store_batch *b = store_batch_new(s, part);
    autobuf lower = {0}, upper = {0};
    int r;

    key_build(&lower, part, (struct slice){0});
    key_build_end(&upper, part);
    batch_add(b, BATCH_DELETE_RANGE, SPACE_META, buf_slice(&lower), buf_slice(&upper));
    r = store_commit(b, STORE_DURABLE);
    if (r == 0)
        s->engine->reclaim(s);
    return r;
}
