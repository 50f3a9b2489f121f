#include "store/blob_pipe.h"

#include "base/alloc.h"
#include "base/cores.h"
#include "base/scope.h"


struct blob_pipe {
    struct blob_stage *stage;
    pthread_t helper;
    char *slots[PIPE_SLOTS]; /* the byte at offset o is in slot o / PIPE_SLOT % PIPE_SLOTS */
    pthread_mutex_t lock;    /* guards: what follows; and orders whose turn a slot is */
    pthread_cond_t moved;
    /* Offsets in the stage. A slot is filled anew once its last content is hashed and stored. */
    uint64_t written /* changed by the writer alone */, hashed, stored;
    bool hashing, storing, draining, stop;
    int err; /* of storing; what follows is let go */
};

/* One is enough for each core: beyond that helpers would only take turns with writers. */
static unsigned helpers_max(void)
{
    size_t cores = cores_count();

    return cores > 1 ? (unsigned)cores : 0;
}

static char *address(const struct blob_pipe *p, uint64_t offset)
{
    return p->slots[offset / PIPE_SLOT % PIPE_SLOTS] + offset % PIPE_SLOT;
}

/* How much there is from an offset on in its slot: at least `least`, or up to the slot's end, or
 * what is left when nothing follows; else 0. */
static size_t ready(const struct blob_pipe *p, uint64_t offset, size_t least)
{
    uint64_t n = p->written - offset, room = PIPE_SLOT - offset % PIPE_SLOT;

    if (n >= room)
        return (size_t)room;
    return n >= least || p->draining ? (size_t)n : 0;
}

/* The lock is held; it is let go meanwhile. */
static void hash_some(struct blob_pipe *p, size_t n)
{
    const char *bytes = address(p, p->hashed);

    p->hashing = true;
    pthread_mutex_unlock(&p->lock);
    if (!p->stage->hash_spent)
        hash_update(p->stage->hash, bytes, n);
    pthread_mutex_lock(&p->lock);
    p->hashing = false;
    p->hashed += n;
}

static void store_some(struct blob_pipe *p, size_t n)
{
    const char *bytes = address(p, p->stored);
    int r = p->err;

    p->storing = true;
    pthread_mutex_unlock(&p->lock);
    if (r == 0)
        r = p->stage->store->engine->staging_write(p->stage->staging, bytes, n);
    pthread_mutex_lock(&p->lock);
    p->storing = false;
    p->stored += n;
    if (p->err == 0)
        p->err = r;
}

/* Does what is more behind, if nobody is at it. False: there is nothing to do. The lock is held. */
static bool work(struct blob_pipe *p)
{
    size_t to_hash = p->hashing ? 0 : ready(p, p->hashed, PIPE_STEP);
    size_t to_store = p->storing ? 0 : ready(p, p->stored, PIPE_SLOT);

    if (to_hash == 0 && to_store == 0)
        return false;
    if (to_store > 0 && (to_hash == 0 || p->stored <= p->hashed))
        store_some(p, to_store);
    else
        hash_some(p, to_hash);
    pthread_cond_broadcast(&p->moved);
    return true;
}

static void *help(void *arg)
{
    struct blob_pipe *p = arg;

    pthread_setname_np(pthread_self(), "blob-pipe");
    guard(&p->lock);
    while (!p->stop)
        if (!work(p))
            pthread_cond_wait(&p->moved, &p->lock);
    return NULL;
}

static void release(struct blob_pipe *p)
{
    pthread_cond_destroy(&p->moved);
    pthread_mutex_destroy(&p->lock);
    for (unsigned i = 0; i < PIPE_SLOTS; i++)
        free(p->slots[i]);
    atomic_fetch_sub(&p->stage->store->helpers, 1);
    free(p);
}

struct blob_pipe *pipe_new(struct blob_stage *stage)
{
    struct blob_pipe *p;

    if (atomic_fetch_add(&stage->store->helpers, 1) >= helpers_max()) {
        atomic_fetch_sub(&stage->store->helpers, 1);
        return NULL;
    }
    p = xcalloc(1, sizeof *p);
    p->stage = stage;
    p->written = p->hashed = p->stored = stage->size_bytes;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->moved, NULL);
    if (pthread_create(&p->helper, NULL, help, p) != 0) {
        release(p);
        return NULL;
    }
    return p;
}

/* May the slot of what is written next be filled? */
static bool is_free(const struct blob_pipe *p)
{
    uint64_t done = p->hashed < p->stored ? p->hashed : p->stored;

    return p->written / PIPE_SLOT - done / PIPE_SLOT < PIPE_SLOTS;
}

static int wait_free(struct blob_pipe *p)
{
    char **slot = &p->slots[p->written / PIPE_SLOT % PIPE_SLOTS];

    guard(&p->lock);
    while (p->err == 0 && !is_free(p))
        if (!work(p))
            pthread_cond_wait(&p->moved, &p->lock);
    if (*slot == NULL)
        *slot = xmalloc(PIPE_SLOT);
    return p->err;
}

static void advance(struct blob_pipe *p, size_t n)
{
    guard(&p->lock);

    p->written += n;
    if (ready(p, p->hashed, PIPE_STEP) > 0 || ready(p, p->stored, PIPE_SLOT) > 0)
        pthread_cond_signal(&p->moved);
}

int pipe_write(struct blob_pipe *p, const void *bytes, size_t n)
{
    while (n > 0) {
        size_t room = PIPE_SLOT - p->written % PIPE_SLOT;
        size_t piece = n < room ? n : room;
        int r = wait_free(p);

        if (r < 0)
            return r;
        memcpy(address(p, p->written), bytes, piece);
        advance(p, piece);
        bytes = (const char *)bytes + piece;
        n -= piece;
    }
    return 0;
}

int pipe_drain(struct blob_pipe *p)
{
    guard(&p->lock);

    p->draining = true;
    pthread_cond_broadcast(&p->moved);
    while (p->hashed < p->written || p->stored < p->written)
        if (!work(p))
            pthread_cond_wait(&p->moved, &p->lock);
    return p->err;
}

void pipe_free(struct blob_pipe *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->helper, NULL);
    release(p);
}
