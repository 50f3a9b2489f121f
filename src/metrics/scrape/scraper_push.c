/* Pushes within the scraper: when each counts again, and when it is too old. */
#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/scrape/scraper_internal.h"

#include <errno.h>

static int count(struct scraper *s, struct push *push, int64_t now_ms)
{
    struct scrape scrape = {
        .ts_ms = now_ms,
        .now_ms = now_ms,
        .body = buf_slice(&push->text),
        .body_bytes = (int64_t)push->text.len,
        .content_type = push_content_type(buf_slice(&push->text)),
    };

    return ingest(push->target, &s->options.into, &scrape);
}

/* When it counts again, or is too old. */
static int64_t next_of(const struct scraper *s, const struct push *push, int64_t now_ms)
{
    int64_t old_ms = push->pushed_ms + s->options.push_age_ms;

    return old_ms < now_ms + PUSH_STEP_MS ? old_ms : now_ms + PUSH_STEP_MS;
}

int64_t push_due(struct scraper *s)
{
    int64_t now_ms = clock_unix_ms();
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < s->pushes.n; i++) {
        struct push *push = s->pushes.items[i];

        if (push->target->due_ms <= now_ms) {
            bool old = now_ms - push->pushed_ms >= s->options.push_age_ms;

            if (!old)
                count(s, push, now_ms);
            else
                ingest_end(push->target, s->options.into.db, now_ms);
            push->target->due_ms = old ? INT64_MAX : next_of(s, push, now_ms);
        }
        next = push->target->due_ms < next ? push->target->due_ms : next;
    }
    return next;
}

void push_clock_was_set(struct scraper *s)
{
    for (size_t i = 0; i < s->pushes.n; i++)
        s->pushes.items[i]->target->due_ms = 0;
}

int scraper_push(struct scraper *s, const char *name, struct slice text, struct buf *why)
{
    int64_t now_ms = clock_unix_ms();
    struct push *push;
    int r = push_check(text, why);

    if (r < 0)
        return r;
    guard(&s->lock);
    r = push_store(s->options.store, name, text, now_ms);
    if (r < 0)
        return r;
    push = pushes_set(&s->pushes, name, text, now_ms);
    r = count(s, push, now_ms);
    push->target->due_ms = next_of(s, push, now_ms);
    if (r == 0)
        r = db_sync(s->options.into.db);
    if (r == 0 && push->target->last_error != NULL) {
        buf_add_str(why, push->target->last_error);
        r = -EINVAL;
    }
    return r;
}

int scraper_push_drop(struct scraper *s, const char *name)
{
    struct push *push;
    int r;

    guard(&s->lock);
    push = pushes_find(&s->pushes, name);
    if (push == NULL)
        return -ENOENT;
    r = push_forget(s->options.store, name);
    if (r < 0)
        return r;
    ingest_end(push->target, s->options.into.db, clock_unix_ms());
    pushes_drop(&s->pushes, push);
    return 0;
}

void scraper_look_pushes(struct scraper *s, void (*f)(void *ctx, const struct pushes *p), void *ctx)
{
    guard(&s->lock);
    f(ctx, &s->pushes);
}
