/* push/<name>.prom: what is written there is scraped, so to speak, until it is too old. */
#include "base/alloc.h"
#include "identity/identity.h"
#include "metrics/metrics_tree.h"
#include "metrics/scrape/push.h"

#include <errno.h>
#include <stdlib.h>

#define SUFFIX ".prom"

/* The name without its suffix, in the op; NULL if no push can have it. */
static const char *name_of(struct op *op, const char *path)
{
    size_t n = strlen(path);

    if (n <= sizeof SUFFIX - 1 || n > PUSH_NAME_MAX || strchr(path, '/') != NULL ||
        path[0] == '.' || path[0] == '@' ||
        strcmp(path + n - (sizeof SUFFIX - 1), SUFFIX) != 0)
        return NULL;
    return op_strndup(op, path, n - (sizeof SUFFIX - 1));
}

struct look {
    const char *name; /* NULL: all */
    node_emit_fn *emit;
    void *ctx;
    struct buf *out;
    struct node_stat st;
    bool found;
};

static void stat_of(const struct push *push, struct node_stat *ret)
{
    *ret = (struct node_stat){.type = NODE_FILE,
                              .mode = 0644,
                              .size_bytes = push->text.len,
                              .mtime_ns = push->pushed_ms * 1000000};
}

static void look_one(void *ctx, const struct pushes *p)
{
    struct look *l = ctx;
    const struct push *push = pushes_find(p, l->name);

    if (push == NULL)
        return;
    l->found = true;
    stat_of(push, &l->st);
    if (l->out != NULL)
        buf_add_slice(l->out, buf_slice(&push->text));
}

static void look_all(void *ctx, const struct pushes *p)
{
    struct look *l = ctx;

    for (size_t i = 0; i < p->n; i++) {
        autobuf name = {0};

        buf_printf(&name, "%s" SUFFIX, p->items[i]->name);
        stat_of(p->items[i], &l->st);
        if (l->emit(l->ctx, name.data, &l->st) != 0)
            return;
    }
}

static int find(struct op *op, struct metrics *m, const char *path, struct look *l)
{
    l->name = name_of(op, path);
    if (l->name != NULL)
        scraper_look_pushes(m->scraper, look_one, l);
    return l->found ? 0 : -ENOENT;
}

int tree_push_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret)
{
    struct look l = {0};

    if (path[0] == 0) {
        bool may = tree_may(op, POLICY_UPDATE);

        *ret = (struct node_stat){.type = NODE_DIR,
                                  .flags = may ? NODE_WRITABLE : 0,
                                  .mode = may ? 0755 : 0,
                                  .mtime_ns = m->started_unix_ms * 1000000};
        return 0;
    }
    if (find(op, m, path, &l) < 0)
        return op_fail(op, ENOENT, "nothing was pushed as '%s'", path);
    *ret = l.st;
    return 0;
}

int tree_push_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                   void *ctx)
{
    struct look l = {.emit = emit, .ctx = ctx};

    if (path[0] != 0)
        return op_fail(op, ENOTDIR, "'%s' is a file", path);
    scraper_look_pushes(m->scraper, look_all, &l);
    return 0;
}

int tree_push_read(struct op *op, struct metrics *m, const char *path, struct buf *ret)
{
    struct look l = {.out = ret};

    return path[0] == 0 ? -EISDIR : find(op, m, path, &l);
}

struct pushing {
    struct metrics *m;
    char *name;
};

static void pushing_free(void *ctx)
{
    struct pushing *p = ctx;

    free(p->name);
    free(p);
}

static int publish_push(struct op *op, void *ctx, struct slice content)
{
    struct pushing *p = ctx;
    autobuf why = {0};
    int r = scraper_push(p->m->scraper, p->name, content, &why);

    if (r < 0)
        return op_fail(op, -r, "'metrics/push/%s" SUFFIX "' was not taken: %s", p->name,
                       why.len > 0 ? why.data : strerror(-r));
    op_changed(op, CHANGE_CONTENT | CHANGE_ENTRY, "/metrics/push/%s" SUFFIX, p->name);
    return 0;
}

int tree_push_write(struct op *op, struct metrics *m, const char *path, unsigned flags,
                    struct node_file **ret)
{
    autobuf old = {0};
    struct look l = {.out = &old};
    int r = path[0] == 0 ? -EISDIR : find(op, m, path, &l);
    struct pushing *p;

    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to push");
    if (r == -EISDIR)
        return op_fail(op, EISDIR, "'metrics/push' is a folder");
    if (l.name == NULL)
        return op_fail(op, EINVAL, "'%s' is not <name>" SUFFIX, path);
    if (r == 0 && (flags & NODE_EXCL) != 0)
        return op_fail(op, EEXIST, "'metrics/push/%s' exists", path);
    if (r < 0 && (flags & NODE_CREATE) == 0)
        return op_fail(op, ENOENT, "nothing was pushed as '%s'", path);
    if ((flags & NODE_TRUNC) != 0)
        buf_clear(&old);
    p = xcalloc(1, sizeof *p);
    *p = (struct pushing){m, xstrdup(l.name)};
    return node_buffer_open(&(struct node_buffer){.publish = publish_push,
                                                  .ctx = p,
                                                  .free_ctx = pushing_free,
                                                  .initial = buf_slice(&old),
                                                  .limit_bytes = PUSH_BYTES_MAX,
                                                  .dirty = r < 0 || (flags & NODE_TRUNC) != 0},
                            ret);
}

int tree_push_remove(struct op *op, struct metrics *m, const char *path)
{
    const char *name = path[0] != 0 ? name_of(op, path) : NULL;
    int r;

    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to remove what was pushed");
    r = name != NULL ? scraper_push_drop(m->scraper, name) : -ENOENT;
    if (r < 0)
        return op_fail(op, -r, "cannot remove '%s': %s", path,
                       r == -ENOENT ? "nothing was pushed as that" : strerror(-r));
    op_changed(op, CHANGE_ENTRY, "/metrics/push/%s", path);
    return 0;
}
