/* Who hears of commits, and who holds a name. One process owns an embedded store, so both live in
 * memory. */
#include "store/engine.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>
#include <utlist.h>

struct store_watch {
    struct store *store;
    char *prefix;
    size_t prefix_len;
    store_watch_fn *f;
    void *ctx;
    struct store_watch *prev, *next;
};

int store_watch(struct store *s, struct slice part_prefix, store_watch_fn *f, void *ctx,
                struct store_watch **ret)
{
    struct store_watch *w = xcalloc(1, sizeof *w);

    w->store = s;
    w->prefix = xmemdup(part_prefix.data, part_prefix.len);
    w->prefix_len = part_prefix.len;
    w->f = f;
    w->ctx = ctx;
    pthread_rwlock_wrlock(&s->watch_lock);
    DL_APPEND(s->watches, w);
    pthread_rwlock_unlock(&s->watch_lock);
    *ret = w;
    return 0;
}

void store_unwatch(struct store_watch *w)
{
    if (w == NULL)
        return;
    pthread_rwlock_wrlock(&w->store->watch_lock);
    DL_DELETE(w->store->watches, w);
    pthread_rwlock_unlock(&w->store->watch_lock);
    free(w->prefix);
    free(w);
}

void store_tell(struct store *s, struct slice part)
{
    struct store_watch *w;

    if (!part_is_valid(part))
        return;
    pthread_rwlock_rdlock(&s->watch_lock);
    DL_FOREACH(s->watches, w)
        if (slice_starts(part, slice_of(w->prefix, w->prefix_len)))
            w->f(w->ctx, part);
    pthread_rwlock_unlock(&s->watch_lock);
}

struct lease {
    UT_hash_handle hh;
    char *name, *owner;
    size_t name_len, owner_len;
    int64_t until_ms; /* monotonic */
};

static void lease_free(struct store *s, struct lease *l)
{
    HASH_DEL(s->leases, l);
    free(l->name);
    free(l->owner);
    free(l);
}

int store_lease(struct store *s, struct slice name, struct slice owner, unsigned ms)
{
    int64_t now = clock_monotonic_ms();
    struct lease *l = NULL;

    guard(&s->lock);
    HASH_FIND(hh, s->leases, name.data, name.len, l);
    if (l != NULL && l->until_ms > now && !slice_eq(owner, slice_of(l->owner, l->owner_len)))
        return -EBUSY;
    if (l != NULL)
        lease_free(s, l);
    if (ms == 0)
        return 0;
    l = xcalloc(1, sizeof *l);
    l->name = xmemdup(name.data, name.len);
    l->name_len = name.len;
    l->owner = xmemdup(owner.data, owner.len);
    l->owner_len = owner.len;
    l->until_ms = now + ms;
    HASH_ADD_KEYPTR(hh, s->leases, l->name, l->name_len, l);
    return 0;
}

void store_leases_free(struct store *s)
{
    struct lease *l, *next;

    HASH_ITER(hh, s->leases, l, next)
        lease_free(s, l);
}
