/* targets/<job>/<instance>: what is known of a target, as key=value lines. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "identity/identity.h"
#include "metrics/metrics_tree.h"
#include "metrics/promql/print.h"
#include "metrics/scrape/own.h"

#include <errno.h>
#include <stdlib.h>

struct look {
    struct op *op;
    const char *job;      /* encoded; "" lists jobs */
    const char *instance; /* encoded; NULL lists instances */
    node_emit_fn *emit;
    void *ctx;
    struct buf *out; /* the text of the instance */
    uint64_t size_bytes;
    int64_t mtime_ns;
    bool own; /* made here; then its job and address, in the op */
    const char *job_name, *address;
    bool stopped;
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

static const char *instance_of(const struct target *t)
{
    const char *instance = pairs_get(&t->labels, "instance");

    return instance != NULL ? instance : t->url;
}

/* The instances of one job, sorted: which stand for several targets? */
struct instances {
    const char **items;
    size_t n;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void instances_of(struct op *op, const struct targets *all, const struct job *j,
                         struct instances *ret)
{
    *ret = (struct instances){.items = op_alloc(op, (all->n + 1) * sizeof(char *))};
    for (size_t i = 0; i < all->n; i++)
        if (all->items[i]->job == j || strcmp(all->items[i]->job->name, j->name) == 0)
            ret->items[ret->n++] = instance_of(all->items[i]);
    if (ret->n > 1)
        qsort(ret->items, ret->n, sizeof *ret->items, by_text);
}

static bool is_shared(const struct instances *in, const char *instance)
{
    const char **found = bsearch(&instance, in->items, in->n, sizeof *in->items, by_text);
    size_t at = found != NULL ? (size_t)(found - in->items) : 0;

    return found != NULL && ((at > 0 && strcmp(found[-1], instance) == 0) ||
                             (at + 1 < in->n && strcmp(found[1], instance) == 0));
}

/* Its instance; where several targets of the job have the same one, with a hash of the URL. */
static void name_of(const struct instances *in, const struct target *t, struct buf *out)
{
    buf_clear(out);
    tree_name_encode(out, slice_str(instance_of(t)));
    if (is_shared(in, instance_of(t)))
        buf_printf(out, "~%08" PRIx64, hash_bytes(t->url, strlen(t->url), 0) & 0xffffffff);
}

static void note(struct look *l, const struct target *t)
{
    autobuf text = {0};

    print_target(t, &text);
    l->own = pairs_get(&t->discovered, OWN_LABEL) != NULL;
    l->job_name = op_strdup(l->op, t->job->name);
    l->address = op_strdup(l->op, pairs_get(&t->discovered, "__address__"));
    l->size_bytes = text.len;
    l->mtime_ns = t->last_scrape_ns;
    if (l->out != NULL)
        buf_add_slice(l->out, buf_slice(&text));
}

static void emit_target(struct look *l, const struct target *t, const char *name)
{
    struct node_stat st = {.type = NODE_FILE, .flags = NODE_VOLATILE};

    note(l, t);
    st.mode = l->own ? 0644 : 0;
    st.size_bytes = l->size_bytes;
    st.mtime_ns = l->mtime_ns;
    l->stopped = l->emit(l->ctx, name, &st) != 0;
}

/* Could this target have the name that is looked for? */
static bool may_be(const struct look *l, const struct target *t)
{
    autobuf name = {0};

    tree_name_encode(&name, slice_str(instance_of(t)));
    return strncmp(l->instance, name.data, name.len) == 0;
}

static void look_instances(void *ctx, const struct targets *all)
{
    struct look *l = ctx;
    struct instances in = {0};
    const struct job *known = NULL; /* the job, once its name was compared */
    autobuf name = {0};

    for (size_t i = 0; i < all->n && !l->stopped; i++) {
        const struct target *t = all->items[i];

        if (t->job != known) {
            buf_clear(&name);
            tree_name_encode(&name, slice_str(t->job->name));
            if (strcmp(name.data, l->job) != 0)
                continue;
            known = t->job;
        }
        if (l->instance == NULL)
            l->result = 0;
        if ((l->instance == NULL && l->emit == NULL) || (l->instance != NULL && !may_be(l, t)))
            continue;
        if (in.items == NULL)
            instances_of(l->op, all, t->job, &in);
        name_of(&in, t, &name);
        if (l->instance == NULL) {
            emit_target(l, t, name.data);
        } else if (strcmp(name.data, l->instance) == 0) {
            l->result = 0;
            l->stopped = true;
            note(l, t);
        }
    }
}

/* The job of that name as the tree spells it; NULL. In the op. */
static const char *job_of(struct op *op, struct metrics *m, const char *encoded)
{
    struct scraper_state state;
    const char *found = NULL;

    scraper_state(m->scraper, &state);
    for (size_t i = 0; i < state.jobs->n && found == NULL; i++) {
        autobuf name = {0};

        tree_name_encode(&name, slice_str(state.jobs->items[i]->name));
        if (strcmp(name.data, encoded) == 0)
            found = op_strdup(op, state.jobs->items[i]->name);
    }
    jobs_unref(state.jobs);
    return found;
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

    if (r < 0 && (l.instance != NULL || job_of(op, m, l.job) == NULL))
        return op_fail(op, ENOENT, "there is no target '%s'", path);
    *ret = (struct node_stat){
        .type = l.instance != NULL ? NODE_FILE : NODE_DIR,
        .flags = NODE_VOLATILE,
        .mode = l.instance != NULL && l.own ? 0644 : 0,
        .size_bytes = l.size_bytes,
        .mtime_ns = l.instance != NULL ? l.mtime_ns : m->started_unix_ms * 1000000,
    };
    if (path[0] != 0 && l.instance == NULL && tree_may(op, POLICY_UPDATE)) {
        ret->flags |= NODE_WRITABLE;
        ret->mode = 0755;
    }
    return 0;
}

int tree_targets_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                      void *ctx)
{
    struct look l = {.emit = emit, .ctx = ctx};
    struct scraper_state state;

    if (path[0] != 0) {
        if (strchr(path, '/') != NULL || (find(op, m, path, &l) < 0 && job_of(op, m, path) == NULL))
            return op_fail(op, ENOENT, "there is no job '%s'", path);
        return 0;
    }
    scraper_state(m->scraper, &state);
    for (size_t i = 0; i < state.jobs->n; i++) {
        struct node_stat st = {
            .type = NODE_DIR, .flags = NODE_VOLATILE, .mtime_ns = m->started_unix_ms * 1000000};
        autobuf name = {0};

        tree_name_encode(&name, slice_str(state.jobs->items[i]->name));
        if (emit(ctx, name.data, &st) != 0)
            break;
    }
    jobs_unref(state.jobs);
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

static void changed(struct op *op, struct metrics *m, const char *path)
{
    scraper_refresh(m->scraper);
    op_changed(op, CHANGE_CONTENT | CHANGE_ENTRY, "/metrics/targets/%s", path);
}

struct making {
    struct metrics *m;
    char *path, *job, *address;
};

static void making_free(void *ctx)
{
    struct making *k = ctx;

    free(k->path);
    free(k->job);
    free(k->address);
    free(k);
}

static int publish_target(struct op *op, void *ctx, struct slice content)
{
    struct making *k = ctx;
    autobuf why = {0};
    int r = own_check(content, &why);

    if (r < 0)
        return op_fail(op, EINVAL, "the labels of a target are name=value lines: %s", why.data);
    r = own_put(k->m->env.store, k->job, k->address, content);
    if (r < 0)
        return op_fail(op, -r, "cannot store the target: %s", strerror(-r));
    changed(op, k->m, k->path);
    return 0;
}

/* A name that can be an address: what prometheus.yml would take. */
static int address_of(struct op *op, const char *name, struct buf *out)
{
    if (strlen(name) > TREE_NAME_MAX || percent_decode(out, slice_str(name), false) < 0 ||
        out->len == 0 || strpbrk(out->data, "/ \n") != NULL || strlen(out->data) != out->len)
        return op_fail(op, EINVAL, "'%s' is not a host and port", name);
    return 0;
}

int tree_targets_write(struct op *op, struct metrics *m, const char *path, unsigned flags,
                       struct node_file **ret)
{
    struct look l = {0};
    autobuf address = {0};
    struct making *k;
    const char *job;
    int r = path[0] == 0 ? -EISDIR : find(op, m, path, &l);

    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to make or change targets");
    job = l.job != NULL ? job_of(op, m, l.job) : NULL;
    if (job == NULL || l.instance == NULL)
        return op_fail(op, r == -EISDIR || job != NULL ? EISDIR : ENOENT,
                       "there is no job '%s' in prometheus.yml", path);
    if (r == 0 && !l.own)
        return op_fail(op, EPERM, "'%s' comes from the configuration, not from here", path);
    if (r == 0 && (flags & NODE_EXCL) != 0)
        return op_fail(op, EEXIST, "'%s' exists", path);
    if (r < 0 && (flags & NODE_CREATE) == 0)
        return op_fail(op, ENOENT, "there is no target '%s'", path);
    if (r < 0) {
        r = address_of(op, l.instance, &address);
        if (r < 0)
            return r;
    }
    k = xcalloc(1, sizeof *k);
    *k = (struct making){.m = m, .path = xstrdup(path), .job = xstrdup(job)};
    k->address = xstrdup(address.len > 0 ? address.data : l.address);
    return node_buffer_open(&(struct node_buffer){.publish = publish_target,
                                                  .ctx = k,
                                                  .free_ctx = making_free,
                                                  .limit_bytes = OWN_TEXT_MAX,
                                                  .dirty = address.len > 0},
                            ret);
}

int tree_targets_remove(struct op *op, struct metrics *m, const char *path)
{
    struct look l = {0};
    int r = path[0] == 0 ? -EISDIR : find(op, m, path, &l);

    if (r < 0 || l.instance == NULL)
        return op_fail(op, r < 0 ? -r : EISDIR, "there is no target '%s'", path);
    if (!tree_may(op, POLICY_UPDATE))
        return op_fail(op, EACCES, "no right to remove targets");
    if (!l.own)
        return op_fail(op, EPERM, "'%s' comes from the configuration, not from here", path);
    r = own_delete(m->env.store, l.job_name, l.address);
    if (r < 0)
        return op_fail(op, -r, "cannot remove '%s': %s", path, strerror(-r));
    changed(op, m, path);
    return 0;
}
