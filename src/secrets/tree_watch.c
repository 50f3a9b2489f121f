/* tree_watch.c: @watch, a line at each change of a secret. Nothing is kept between changes: a
 * reader who was away is told of the last one. */
#include "secrets/tree_file.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "feed.h"
#include "secrets/tree_name.h"

#include <errno.h>
#include <stdio.h>
#include <utlist.h>

struct watches {
    struct feed *feed;
    pthread_mutex_t lock; /* guards: list, and wake of each; held while they are called */
    struct watch *list;
};

/* What a secret is, as far as watchers are told. */
struct state {
    uint32_t version;
    bool live;
    int64_t updated_ns;
};

struct watch {
    struct node_file file; /* first */
    struct watch *prev, *next;
    struct secrets *s;
    char *path;  /* of the secret */
    char *shown; /* the same as the tree has it, for the feed */
    struct state seen;
    char line[64];
    size_t line_len, line_at; /* what of it was not read yet */
    void (*wake)(void *ctx);
    void *wake_ctx;
};

static const char *strip(const char *path)
{
    const char *other = "/.infra/secrets/";

    if (strncmp(path, other, strlen(other)) == 0)
        return path + strlen(other);
    return *path == '/' ? path + 1 : path;
}

/* Is the secret at this path, or below it? */
static bool concerns(const struct watch *w, const char *changed)
{
    size_t len = strlen(changed);

    return strncmp(w->shown, changed, len) == 0 && (w->shown[len] == 0 || w->shown[len] == '/');
}

static void hear(void *ctx, const struct op_change *changes, bool wait, enum door door)
{
    struct watches *all = ctx;
    struct watch *w;

    (void)wait;
    (void)door;
    guard(&all->lock);
    if (all->list == NULL)
        return;
    for (; changes != NULL; changes = changes->next) {
        const char *path = strip(changes->path);

        DL_FOREACH(all->list, w) {
            if (w->wake != NULL && concerns(w, path))
                w->wake(w->wake_ctx);
        }
    }
}

struct watches *watches_new(struct feed *feed)
{
    struct watches *all = xcalloc(1, sizeof *all);

    pthread_mutex_init(&all->lock, NULL);
    all->feed = feed;
    if (feed != NULL)
        feed_subscribe(feed, hear, all);
    return all;
}

void watches_free(struct watches *all)
{
    if (all->feed != NULL)
        feed_unsubscribe(all->feed, hear, all);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

void watches_wake(struct watches *all)
{
    struct watch *w;
    guard(&all->lock);

    DL_FOREACH(all->list, w) {
        if (w->wake != NULL)
            w->wake(w->wake_ctx);
    }
}

static int look(struct op *op, struct secrets *s, const char *path, struct state *ret)
{
    struct kv_entry secret = {0};
    struct mount *mount;
    int r = secrets_check(s, op);

    if (r < 0)
        return -EACCES;
    if (!place_may(op, path, POLICY_READ))
        return op_fail(op, EACCES, "the right to read was withdrawn");
    *ret = (struct state){0};
    mount = secrets_tree_mount(s);
    if (mount == NULL)
        return 0;
    r = kv_find(op, mount->kv, path, &secret);
    if (r == 0)
        *ret = (struct state){secret.current, kv_is_live(&secret), secret.updated_ns};
    else if (r == -ENOENT)
        op_forgive(op);
    mount_unref(mount);
    return r == -ENOENT ? 0 : r == -ESHUTDOWN ? -EACCES : r;
}

static void print_line(struct watch *w)
{
    char time[CLOCK_TEXT_MAX] = "-";

    if (w->seen.updated_ns != 0)
        clock_print_ns(w->seen.updated_ns, 9, time);
    w->line_len = (size_t)snprintf(w->line, sizeof w->line, "%u %s %s\n", w->seen.version,
                                   w->seen.live ? "live" : "deleted", time);
    w->line_at = 0;
}

/* Bytes of a line as they are asked for: a shell asks for one at a time. */
static ssize_t watch_read(struct op *op, struct node_file *f, uint64_t offset, void *buf, size_t n)
{
    struct watch *w = (struct watch *)f;
    struct state now;
    int r;

    (void)offset;
    if (w->line_at == w->line_len) {
        r = look(op, w->s, w->path, &now);
        if (r < 0)
            return r;
        if (now.version == w->seen.version && now.live == w->seen.live)
            return -EAGAIN;
        if (n == 0)
            return 0;
        w->seen = now;
        print_line(w);
    }
    if (n > w->line_len - w->line_at)
        n = w->line_len - w->line_at;
    memcpy(buf, w->line + w->line_at, n);
    w->line_at += n;
    return (ssize_t)n;
}

static void watch_on_ready(struct node_file *f, void (*wake)(void *ctx), void *ctx)
{
    struct watch *w = (struct watch *)f;
    guard(&w->s->watches->lock);

    w->wake = wake;
    w->wake_ctx = ctx;
}

static void watch_close(struct node_file *f)
{
    struct watch *w = (struct watch *)f;

    pthread_mutex_lock(&w->s->watches->lock);
    DL_DELETE(w->s->watches->list, w);
    pthread_mutex_unlock(&w->s->watches->lock);
    free(w->path);
    free(w->shown);
    free(w);
}

int watch_open(struct op *op, struct place *p, struct node_file **ret)
{
    static const struct node_file_ops ops = {
        .read = watch_read,
        .on_ready = watch_on_ready,
        .close = watch_close,
    };
    const char *shown = tree_node_path(op, p->path);
    struct state now;
    struct watch *w;
    int r = shown == NULL ? -ENOENT : place_check_visible(op, p);

    if (r == 0)
        r = look(op, p->s, p->path, &now);
    if (r < 0)
        return r;
    w = xcalloc(1, sizeof *w);
    w->file = (struct node_file){
        .ops = &ops,
        .flags = NODE_SECRET | NODE_AUDIT | NODE_COMPUTED | NODE_VOLATILE,
    };
    w->s = p->s;
    w->path = xstrdup(p->path);
    w->shown = xstrdup(shown);
    w->seen = now;
    pthread_mutex_lock(&p->s->watches->lock);
    DL_APPEND(p->s->watches->list, w);
    pthread_mutex_unlock(&p->s->watches->lock);
    *ret = &w->file;
    return 0;
}
