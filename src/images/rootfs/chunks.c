#include "images/rootfs/chunks.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <uthash.h>
#include <utlist.h>

struct key {
    uint64_t owner, number;
};

struct entry {
    UT_hash_handle hh;
    struct key key;
    struct entry *prev, *next; /* of those that are loaded: the one used last comes last */
    struct chunk *chunk;       /* NULL: being loaded */
    unsigned waiting;
    int result; /* of loading, where it failed; then it is not in the table any more */
};

struct chunks {
    pthread_mutex_t lock; /* guards: what follows */
    pthread_cond_t loaded;
    struct entry *table;
    struct entry *oldest; /* list */
    size_t bytes, limit_bytes;
};

struct chunk *chunk_new(size_t len)
{
    struct chunk *c = malloc(sizeof *c + len);

    if (c != NULL) {
        c->refs = 1;
        c->len = len;
    }
    return c;
}

void chunk_unref(struct chunk *c)
{
    if (c != NULL && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(c);
}

struct chunks *chunks_new(size_t limit_bytes)
{
    struct chunks *c = xcalloc(1, sizeof *c);

    c->limit_bytes = limit_bytes;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->loaded, NULL);
    return c;
}

/* With the lock held, as all below. */
static void evict(struct chunks *c, struct entry *e)
{
    HASH_DEL(c->table, e);
    DL_DELETE(c->oldest, e);
    c->bytes -= e->chunk->len;
    chunk_unref(e->chunk);
    free(e);
}

static struct entry *find(struct chunks *c, uint64_t owner, uint64_t number)
{
    struct key key = {owner, number};
    struct entry *e = NULL;

    HASH_FIND(hh, c->table, &key, sizeof key, e);
    return e;
}

static struct entry *add(struct chunks *c, uint64_t owner, uint64_t number)
{
    struct entry *e = xcalloc(1, sizeof *e);

    e->key = (struct key){owner, number};
    HASH_ADD(hh, c->table, key, sizeof e->key, e);
    return e;
}

/* Gives an entry its chunk, takes the reference; makes room. */
static void fill(struct chunks *c, struct entry *e, struct chunk *chunk)
{
    e->chunk = chunk;
    DL_APPEND(c->oldest, e);
    c->bytes += chunk->len;
    for (struct entry *old = c->oldest, *next; c->bytes > c->limit_bytes && old != e; old = next) {
        next = old->next;
        if (old->waiting == 0)
            evict(c, old);
    }
}

static struct chunk *use(struct chunks *c, struct entry *e)
{
    DL_DELETE(c->oldest, e);
    DL_APPEND(c->oldest, e);
    __atomic_fetch_add(&e->chunk->refs, 1, __ATOMIC_RELAXED);
    return e->chunk;
}

void chunks_free(struct chunks *c)
{
    if (c == NULL)
        return;
    while (c->oldest != NULL)
        evict(c, c->oldest);
    pthread_cond_destroy(&c->loaded);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Somebody else loads it. The last that waits frees an entry that failed. */
static int wait_for(struct chunks *c, struct entry *e, struct chunk **ret)
{
    int r;

    e->waiting++;
    while (e->chunk == NULL && e->result == 0)
        pthread_cond_wait(&c->loaded, &c->lock);
    e->waiting--;
    r = e->result;
    if (r == 0)
        *ret = use(c, e);
    else if (e->waiting == 0)
        free(e);
    return r;
}

static int loaded(struct chunks *c, struct entry *e, int r, struct chunk *chunk, struct chunk **ret)
{
    guard(&c->lock);

    if (r == 0) {
        fill(c, e, chunk);
        *ret = use(c, e);
    } else {
        HASH_DEL(c->table, e);
        e->result = r;
    }
    if (e->waiting > 0)
        pthread_cond_broadcast(&c->loaded);
    else if (r < 0)
        free(e);
    return r;
}

int chunks_get(struct chunks *c, uint64_t owner, uint64_t number, chunk_load_fn *load, void *ctx,
               struct chunk **ret)
{
    struct chunk *chunk = NULL;
    struct entry *e;
    int r;

    pthread_mutex_lock(&c->lock);
    e = find(c, owner, number);
    if (e != NULL) {
        r = 0;
        if (e->chunk != NULL)
            *ret = use(c, e);
        else
            r = wait_for(c, e, ret);
        pthread_mutex_unlock(&c->lock);
        return r;
    }
    e = add(c, owner, number);
    pthread_mutex_unlock(&c->lock);
    r = load(ctx, number, &chunk);
    return loaded(c, e, r, chunk, ret);
}

void chunks_put(struct chunks *c, uint64_t owner, uint64_t number, struct chunk *chunk)
{
    guard(&c->lock);

    if (find(c, owner, number) != NULL)
        chunk_unref(chunk);
    else
        fill(c, add(c, owner, number), chunk);
}
