/* targets/<job>/<instance>: what is known of a target, as key=value lines. */
#include "base/clock.h"
#include "metrics/metrics_tree.h"

#include <errno.h>

struct look {
    struct op *op;
    const char *job;      /* encoded; "" lists jobs */
    const char *instance; /* encoded; NULL lists instances */
    node_emit_fn *emit;
    void *ctx;
    struct buf *out; /* the text of the instance */
    uint64_t size_bytes;
    int64_t mtime_ns;
    int result; /* 0 if it was found; a stop of emit */
};

static void print_target(const struct target *t, struct buf *out)
{
    static const char *const health[] = {"unknown", "up", "down"};
    char text[CLOCK_TEXT_MAX];

    buf_printf(out, "health=%s\nurl=%s\nscrape_interval_seconds=", health[t->health], t->url);
    print_value(out, (double)t->interval_ms / 1000);
    buf_printf(out, "\nlast_scrape=%s\nlast_duration_seconds=",
               t->last_scrape_ns > 0 ? clock_print_ns(t->last_scrape_ns, 3, text) : "");
    print_value(out, t->last_duration_s);
    buf_printf(out, "\nlast_samples=%" PRIu64 "\nlast_error=%s\n", t->last_samples,
               t->last_error != NULL ? t->last_error : "");
    for (size_t i = 0; i < t->labels.n; i++)
        buf_printf(out, "label.%s=%s\n", t->labels.items[i].name, t->labels.items[i].value);
}

static bool same_place(const struct target *a, const struct target *b)
{
    const char *x = pairs_get(&a->labels, "instance");
    const char *y = pairs_get(&b->labels, "instance");

    return strcmp(a->job->name, b->job->name) == 0 && x != NULL && y != NULL && strcmp(x, y) == 0;
}

/* Its instance; where several targets of the job have the same one, with a hash of the URL. */
static void name_of(const struct targets *all, const struct target *t, struct buf *out)
{
    const char *instance = pairs_get(&t->labels, "instance");
    unsigned same = 0;

    buf_clear(out);
    tree_name_encode(out, slice_str(instance != NULL ? instance : t->url));
    for (size_t i = 0; i < all->n && same < 2; i++)
        same += same_place(all->items[i], t);
    if (same > 1)
        buf_printf(out, "~%08" PRIx64, hash_bytes(t->url, strlen(t->url), 0) & 0xffffffff);
}

static void note(struct look *l, const struct target *t)
{
    autobuf text = {0};

    print_target(t, &text);
    l->size_bytes = text.len;
    l->mtime_ns = t->last_scrape_ns;
    if (l->out != NULL)
        buf_add_slice(l->out, buf_slice(&text));
}

static void look_instances(void *ctx, const struct targets *all)
{
    struct look *l = ctx;
    autobuf name = {0};

    for (size_t i = 0; i < all->n; i++) {
        const struct target *t = all->items[i];

        buf_clear(&name);
        tree_name_encode(&name, slice_str(t->job->name));
        if (strcmp(name.data, l->job) != 0)
            continue;
        if (l->instance == NULL && l->emit == NULL) {
            l->result = 0;
            return;
        }
        name_of(all, t, &name);
        if (l->instance != NULL) {
            if (strcmp(name.data, l->instance) == 0) {
                l->result = 0;
                note(l, t);
                return;
            }
            continue;
        }
        l->result = 0;
        note(l, t);
        if (l->emit(l->ctx, name.data,
                    &(struct node_stat){.type = NODE_FILE,
                                        .flags = NODE_VOLATILE,
                                        .size_bytes = l->size_bytes,
                                        .mtime_ns = l->mtime_ns}) != 0)
            return;
    }
}

static void look_jobs(void *ctx, const struct targets *all)
{
    struct look *l = ctx;
    const char *before = "";
    autobuf name = {0};

    l->result = 0;
    for (size_t i = 0; i < all->n; i++) { /* those of one job stand together */
        const char *job = all->items[i]->job->name;

        if (strcmp(job, before) == 0)
            continue;
        before = job;
        buf_clear(&name);
        tree_name_encode(&name, slice_str(job));
        if (l->emit(l->ctx, name.data,
                    &(struct node_stat){.type = NODE_DIR, .flags = NODE_VOLATILE}) != 0)
            return;
    }
}

static int find(struct op *op, struct metrics *m, const char *path, struct look *l)
{
    l->op = op;
    l->result = -ENOENT;
    l->instance = path_head(op, path, &l->job);
    if (l->instance[0] == 0)
        l->instance = NULL;
    else if (strchr(l->instance, '/') != NULL)
        return -ENOENT;
    scraper_look(m->scraper, look_instances, l);
    return l->result;
}

int tree_targets_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret)
{
    struct look l = {0};
    int r = path[0] == 0 ? 0 : find(op, m, path, &l);

    if (r < 0)
        return op_fail(op, ENOENT, "there is no target '%s'", path);
    *ret = (struct node_stat){
        .type = l.instance != NULL ? NODE_FILE : NODE_DIR,
        .flags = NODE_VOLATILE,
        .size_bytes = l.size_bytes,
        .mtime_ns = l.instance != NULL ? l.mtime_ns : m->started_unix_ms * 1000000,
    };
    return 0;
}

int tree_targets_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                      void *ctx)
{
    struct look l = {.emit = emit, .ctx = ctx};

    if (path[0] == 0) {
        scraper_look(m->scraper, look_jobs, &l);
        return 0;
    }
    if (strchr(path, '/') != NULL || find(op, m, path, &l) < 0)
        return op_fail(op, ENOENT, "there is no job '%s'", path);
    return 0;
}

int tree_targets_read(struct op *op, struct metrics *m, const char *path, struct buf *ret)
{
    struct look l = {.out = ret};
    int r = path[0] == 0 ? -EISDIR : find(op, m, path, &l);

    if (r == 0 && l.instance == NULL)
        r = -EISDIR;
    return r;
}
