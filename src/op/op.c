#include "op/op.h"

#include "base/alloc.h"
#include "base/codec.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define CHUNK_BYTES 8000u

struct op_chunk {
    struct op_chunk *next;
    size_t size;
    char bytes[] __attribute__((aligned(16)));
};

/* A thread keeps one chunk for its next op: most ops need no more. */
static __thread struct op_chunk *spare;

/* Frees the thread's spare chunk when the thread ends. */
static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void free_spare(void *unused)
{
    (void)unused;
    free(spare);
    spare = NULL;
}

static void make_key(void)
{
    pthread_key_create(&spare_key, free_spare);
}

/* A thread that ends an op need not be the one that began it. */
static void keep_spare(struct op_chunk *chunk)
{
    spare = chunk;
    pthread_once(&spare_once, make_key);
    pthread_setspecific(spare_key, &spare);
}

void op_init(struct op *op, enum door door, const struct identity *who)
{
    *op = (struct op){.who = who, .door = door, .remote = "", .uid = (uid_t)-1, .gid = (gid_t)-1};
}

void op_done(struct op *op)
{
    struct op_chunk *chunk = op->chunk;

    while (chunk != NULL) {
        struct op_chunk *next = chunk->next;

        if (op->wiped)
            explicit_bzero(chunk->bytes, chunk->size);
        if (spare == NULL && chunk->size == CHUNK_BYTES)
            keep_spare(chunk);
        else
            free(chunk);
        chunk = next;
    }
    op->chunk = NULL;
    op->used = 0;
    op->changes = NULL;
    op->why = NULL;
}

static struct op_chunk *new_chunk(size_t size)
{
    struct op_chunk *chunk = spare;

    if (chunk != NULL && size <= CHUNK_BYTES) {
        spare = NULL;
        return chunk;
    }
    if (size < CHUNK_BYTES)
        size = CHUNK_BYTES;
    chunk = xmalloc(sizeof *chunk + size);
    chunk->size = size;
    return chunk;
}

void *op_alloc(struct op *op, size_t n)
{
    void *p;

    assert(n < SIZE_MAX / 2);
    n = (n + 15) & ~(size_t)15;
    if (op->chunk == NULL || n > op->chunk->size - op->used) {
        struct op_chunk *chunk = new_chunk(n);

        chunk->next = op->chunk;
        op->chunk = chunk;
        op->used = 0;
    }
    p = op->chunk->bytes + op->used;
    op->used += n;
    return memset(p, 0, n);
}

char *op_strndup(struct op *op, const void *s, size_t n)
{
    char *copy = op_alloc(op, n + 1);

    if (n > 0)
        memcpy(copy, s, n);
    return copy;
}

char *op_strdup(struct op *op, const char *s)
{
    return op_strndup(op, s, strlen(s));
}

struct slice op_slice(struct op *op, struct slice s)
{
    return slice_of(op_strndup(op, s.data, s.len), s.len);
}

static char *op_vprintf(struct op *op, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static char *op_vprintf(struct op *op, const char *format, va_list args)
{
    va_list again;
    char *text;
    int n;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    assert(n >= 0);
    text = op_alloc(op, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, args);
    return text;
}

char *op_printf(struct op *op, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = op_vprintf(op, format, args);
    va_end(args);
    return text;
}

/* 16 random bytes; the kernel is asked for several at a time. */
static void random_id(uint8_t ret[16])
{
    static __thread uint8_t pool[256]; /* the most that getrandom gives whole */
    static __thread size_t left;

    if (left == 0 && getrandom(pool, sizeof pool, 0) != (ssize_t)sizeof pool)
        abort();
    left = (left == 0 ? sizeof pool : left) - 16;
    memcpy(ret, pool + left, 16);
}

const char *op_id(struct op *op)
{
    uint8_t raw[16];
    char hex[33];

    if (op->id[0] != 0)
        return op->id;
    random_id(raw);
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    hex_encode(slice_of(raw, sizeof raw), hex);
    snprintf(op->id, sizeof op->id, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
    return op->id;
}

int op_fail(struct op *op, int err, const char *format, ...)
{
    va_list args;

    assert(err > 0);
    if (op->why != NULL)
        return -err;
    va_start(args, format);
    op->why = op_vprintf(op, format, args);
    va_end(args);
    op->err = -err;
    return -err;
}

const char *op_why(const struct op *op, int err)
{
    return op->why != NULL ? op->why : strerror(err < 0 ? -err : err);
}

void op_forgive(struct op *op)
{
    op->why = NULL;
    op->err = 0;
}

void op_changed(struct op *op, unsigned what, const char *path_format, ...)
{
    struct op_change *change = op_alloc(op, sizeof *change);
    va_list args;

    va_start(args, path_format);
    change->path = op_vprintf(op, path_format, args);
    va_end(args);
    change->what = what;
    change->next = op->changes;
    op->changes = change;
}
