#include "feed.h"

#include "base/alloc.h"
#include "base/scope.h"

struct subscriber {
    struct subscriber *next;
    feed_fn *fn;
    void *ctx;
};

struct feed {
    pthread_rwlock_t lock; /* guards: subscribers; held for reading while they are called */
    struct subscriber *subscribers;
};

struct feed *feed_new(void)
{
    struct feed *f = xcalloc(1, sizeof *f);

    pthread_rwlock_init(&f->lock, NULL);
    return f;
}

void feed_free(struct feed *f)
{
    if (f == NULL)
        return;
    while (f->subscribers != NULL) {
        struct subscriber *s = f->subscribers;

        f->subscribers = s->next;
        free(s);
    }
    pthread_rwlock_destroy(&f->lock);
    free(f);
}

void feed_subscribe(struct feed *f, feed_fn *fn, void *ctx)
{
    struct subscriber *s = xcalloc(1, sizeof *s);

    s->fn = fn;
    s->ctx = ctx;
    pthread_rwlock_wrlock(&f->lock);
    s->next = f->subscribers;
    f->subscribers = s;
    pthread_rwlock_unlock(&f->lock);
}

void feed_unsubscribe(struct feed *f, feed_fn *fn, void *ctx)
{
    struct subscriber **at;
    struct subscriber *found;

    pthread_rwlock_wrlock(&f->lock);
    for (at = &f->subscribers; *at != NULL; at = &(*at)->next)
        if ((*at)->fn == fn && (*at)->ctx == ctx)
            break;
    found = *at;
    if (found != NULL)
        *at = found->next;
    pthread_rwlock_unlock(&f->lock);
    free(found);
}

bool feed_is_watched(struct feed *f)
{
    bool watched;

    pthread_rwlock_rdlock(&f->lock);
    watched = f->subscribers != NULL;
    pthread_rwlock_unlock(&f->lock);
    return watched;
}

void feed_publish(struct feed *f, struct op *op, bool wait)
{
    if (op->changes == NULL)
        return;
    pthread_rwlock_rdlock(&f->lock);
    for (struct subscriber *s = f->subscribers; s != NULL; s = s->next)
        s->fn(s->ctx, op->changes, wait, op->door);
    pthread_rwlock_unlock(&f->lock);
    op->changes = NULL;
}
