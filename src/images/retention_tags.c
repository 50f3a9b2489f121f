#include "base/alloc.h"
#include "base/clock.h"
#include "base/glob.h"
#include "base/scope.h"
#include "images/hooks.h"
#include "images/retention.h"
#include "images/state.h"
#include "images/used.h"

#include <errno.h>
#include <stdlib.h>

struct tag {
    char *name;
    struct digest manifest;
    int64_t changed_unix_ms;
    const struct config_retention *rule; /* NULL: it stays */
};

struct tags {
    struct images *im;
    const char *repo;
    const struct retention_tags *what;
    struct tag *list;
    size_t n, cap;
};

static bool keeps_tags(const struct config_retention *r)
{
    return r->keep_last > 0 || r->keep_pulled_ms >= 0 || r->keep_pushed_ms >= 0;
}

/* Fallback indexes of referrers ("sha256-<hex>") stay with their subject. */
static const struct config_retention *rule_of(struct images *im, const char *repo, struct slice tag)
{
    struct digest subject;

    if (digest_file_parse(tag, &subject) == 0)
        return NULL;
    for (size_t i = 0; i < im->config->n_retention; i++) {
        const struct config_retention *r = &im->config->retention[i];

        if (keeps_tags(r) && glob_match(slice_str(r->repositories), slice_str(repo)) &&
            glob_match(slice_str(r->tags), tag))
            return r;
    }
    return NULL;
}

static int load_tag(void *ctx, const struct tag_view *view)
{
    struct tags *t = ctx;

    if (t->n == t->cap) {
        t->cap = t->cap > 0 ? 2 * t->cap : 64;
        t->list = xrealloc(t->list, t->cap * sizeof *t->list);
    }
    t->list[t->n++] = (struct tag){
        .name = xstrndup(view->name.data, view->name.len),
        .manifest = view->manifest,
        .changed_unix_ms = view->changed_unix_ms,
        .rule = rule_of(t->im, t->repo, view->name),
    };
    return 0;
}

/* By rule, then the newest first; of one moment in the order of names, the last first. */
static int by_age(const void *x, const void *y)
{
    const struct tag *a = x, *b = y;

    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    if (a->changed_unix_ms != b->changed_unix_ms)
        return a->changed_unix_ms > b->changed_unix_ms ? -1 : 1;
    return -strcmp(a->name, b->name);
}

int64_t retention_last_pull(struct images *im, const char *repo, const struct digest *d,
                            int64_t pushed_unix_ms)
{
    int64_t used = used_get(im->used, repo, d);

    return used > pushed_unix_ms ? used : pushed_unix_ms;
}

static bool is_kept(struct tags *t, const struct tag *tag, size_t rank, int64_t now)
{
    const struct config_retention *r = tag->rule;

    if (r == NULL || rank < r->keep_last)
        return true;
    if (r->keep_pushed_ms >= 0 && tag->changed_unix_ms >= now - r->keep_pushed_ms)
        return true;
    return r->keep_pulled_ms >= 0 &&
           retention_last_pull(t->im, t->repo, &tag->manifest, tag->changed_unix_ms) >=
               now - r->keep_pulled_ms;
}

/* 1: it is gone (or would be); 0: it moved meanwhile. */
static int drop(struct op *op, struct tags *t, const struct tag *tag)
{
    struct tag_view view = {slice_str(tag->name), tag->manifest, tag->changed_unix_ms};
    bool dry_run = t->what->dry_run;
    int r = dry_run ? 0 : tag_delete_exact(op, t->im, t->repo, &view);

    if (r == -EAGAIN)
        return 0;
    if (r < 0)
        return r;
    if (t->what->out != NULL)
        buf_printf(t->what->out, "%s tag %s:%s\n", dry_run ? "would remove" : "removed", t->repo,
                   tag->name);
    if (!dry_run)
        hooks_emit(t->im, op, WEBHOOK_DELETE, t->repo, tag->name, NULL, NULL);
    if (!dry_run)
        log_event(LOG_INFO, op, "images.retired", "repo=%s tag=%s", t->repo, tag->name);
    ++*t->what->deleted;
    return 1;
}

static int decide(struct op *op, struct tags *t)
{
    int64_t now = clock_unix_ms();
    size_t rank = 0;

    for (size_t i = 0; i < t->n; i++) {
        const struct tag *tag = &t->list[i];
        int r = 0;

        rank = i > 0 && t->list[i - 1].rule == tag->rule ? rank + 1 : 0;
        if (!is_kept(t, tag, rank, now))
            r = drop(op, t, tag);
        if (r < 0)
            return r;
        t->what->each(t->what->ctx, &tag->manifest, r == 0);
    }
    return 0;
}

int retention_tags(struct op *op, struct images *im, const struct retention_tags *what)
{
    struct tags t = {.im = im, .repo = what->repo, .what = what};
    int r = tag_each(op, im, what->repo, "", load_tag, &t);

    if (r == 0 && t.n > 0) {
        qsort(t.list, t.n, sizeof *t.list, by_age);
        r = decide(op, &t);
    }
    for (size_t i = 0; i < t.n; i++)
        free(t.list[i].name);
    free(t.list);
    return r;
}
