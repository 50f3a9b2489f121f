#include "metrics/scrape/target.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define TARGET_LABELS_MAX       64
#define TARGET_LABELS_BYTES_MAX (8u << 10)

const char *pairs_get(const struct pairs *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->items[i].name, name) == 0)
            return p->items[i].value;
    return NULL;
}

void target_free(struct target *t)
{
    if (t == NULL)
        return;
    pairs_done(&t->labels);
    pairs_done(&t->discovered);
    cache_done(&t->cache);
    free(t->url);
    free(t->key);
    free(t->last_error);
    jobs_unref(t->jobs);
    free(t);
}

void targets_done(struct targets *t)
{
    HASH_CLEAR(hh, t->by_key);
    for (size_t i = 0; i < t->n; i++)
        target_free(t->items[i]);
    for (size_t i = 0; i < t->n_dropped; i++)
        pairs_done(&t->dropped[i].discovered);
    free(t->items);
    free(t->dropped);
    *t = (struct targets){0};
}

static void set_default(struct label_builder *b, const char *name, const char *value)
{
    if (label_builder_get(b, slice_str(name)).len == 0)
        label_builder_set(b, slice_str(name), op_slice(b->op, slice_str(value)));
}

static const char *duration_text(struct op *op, int64_t ms)
{
    if (ms % 60000 == 0)
        return op_printf(op, "%" PRId64 "m", ms / 60000);
    if (ms % 1000 == 0)
        return op_printf(op, "%" PRId64 "s", ms / 1000);
    return op_printf(op, "%" PRId64 "ms", ms);
}

/* The labels before relabeling: those of the group, then what the job says. */
static void discover(struct label_builder *b, const struct job *j, const char *address,
                     const struct pairs *labels)
{
    label_builder_set(b, SLICE("__address__"), slice_str(address));
    for (size_t i = 0; i < labels->n; i++)
        label_builder_set(b, slice_str(labels->items[i].name), slice_str(labels->items[i].value));
    set_default(b, "job", j->name);
    set_default(b, "__scrape_interval__", duration_text(b->op, j->interval_ms));
    set_default(b, "__scrape_timeout__", duration_text(b->op, j->timeout_ms));
    set_default(b, "__metrics_path__", j->metrics_path);
    set_default(b, "__scheme__", j->scheme);
    set_default(b, "__scrape_native_histograms__", j->native_histograms ? "true" : "false");
    set_default(b, "__always_scrape_classic_histograms__",
                j->classic_histograms ? "true" : "false");
    set_default(b, "__convert_classic_histograms_to_nhcb__",
                j->convert_histograms ? "true" : "false");
    for (size_t i = 0; i < j->params.n; i++)
        set_default(b, op_printf(b->op, "__param_%s", j->params.items[i].name),
                    j->params.items[i].value);
}

static void copy_pairs(struct pairs *to, struct op *op, const struct labels *from, bool all)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct label *l = &from->items[i];

        if (all || !slice_starts(l->name, SLICE("__")))
            pairs_add(to, op_strndup(op, l->name.data, l->name.len),
                      op_strndup(op, l->value.data, l->value.len));
    }
}

static struct slice get(const struct labels *l, const char *name)
{
    return labels_get(l, slice_str(name));
}

static void add_param(struct buf *url, bool *first, struct slice name, struct slice value)
{
    buf_add_char(url, *first ? '?' : '&');
    *first = false;
    percent_encode(url, name, "");
    buf_add_char(url, '=');
    percent_encode(url, value, "");
}

/* __param_<name> replaces the first value of a parameter; further values stay. */
static char *make_url(const struct job *j, const struct labels *l)
{
    struct buf url = {0};
    struct slice path = get(l, "__metrics_path__");
    bool first = true;

    buf_add_slice(&url, get(l, "__scheme__"));
    buf_add_str(&url, "://");
    buf_add_slice(&url, get(l, "__address__"));
    if (path.len == 0 || *(const char *)path.data != '/')
        buf_add_char(&url, '/');
    buf_add_slice(&url, path);
    first = memchr(path.data, '?', path.len) == NULL;
    for (size_t i = 0; i < l->n; i++)
        if (slice_starts(l->items[i].name, SLICE("__param_")))
            add_param(&url, &first, slice_skip(l->items[i].name, 8), l->items[i].value);
    for (size_t i = 0; i < j->params.n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(j->params.items[k].name, j->params.items[i].name) == 0) {
                add_param(&url, &first, slice_str(j->params.items[i].name),
                          slice_str(j->params.items[i].value));
                break;
            }
    return buf_take(&url, NULL);
}

static uint64_t place_seed(const struct jobs *jobs)
{
    char host[256] = "";
    uint64_t h;

    gethostname(host, sizeof host - 1);
    h = hash_bytes(host, strlen(host), 1);
    for (size_t i = 0; i < jobs->external_labels.n; i++) {
        const struct pair *p = &jobs->external_labels.items[i];

        h = hash_bytes(p->name, strlen(p->name), h);
        h = hash_bytes(p->value, strlen(p->value), h);
    }
    return h;
}

static int64_t time_of(const struct labels *l, const char *name, int64_t otherwise)
{
    int64_t ms = 0;

    return duration_parse_ms(get(l, name), &ms) == 0 && ms > 0 ? ms : otherwise;
}

static struct target *target_new(struct op *op, struct jobs *jobs, const struct job *j,
                                 const struct labels *discovered, const struct labels *l)
{
    struct target *t = xcalloc(1, sizeof *t);
    struct buf key = {0};

    t->jobs = jobs_ref(jobs);
    t->job = j;
    copy_pairs(&t->discovered, op, discovered, true);
    copy_pairs(&t->labels, op, l, false);
    t->url = make_url(j, l);
    t->interval_ms = time_of(l, "__scrape_interval__", j->interval_ms);
    t->timeout_ms = time_of(l, "__scrape_timeout__", j->timeout_ms);
    if (t->timeout_ms > t->interval_ms)
        t->timeout_ms = t->interval_ms;
    for (unsigned i = 0; i < REPORTS; i++)
        t->report_refs[i] = UINT32_MAX;
    t->note_metadata = true;
    buf_add_str(&key, t->url);
    for (size_t i = 0; i < t->labels.n; i++)
        buf_printf(&key, "\n%s\n%s", t->labels.items[i].name, t->labels.items[i].value);
    t->offset_ms =
        (int64_t)((hash_bytes(key.data, key.len, 7) ^ place_seed(jobs)) % (uint64_t)t->interval_ms);
    buf_printf(&key, "\n%" PRId64 " %" PRId64 "\n", t->interval_ms, t->timeout_ms);
    buf_add_str(&key, j->text);
    t->key = buf_take(&key, NULL);
    return t;
}

static void add_dropped(struct targets *all, struct op *op, const struct job *j,
                        const struct labels *discovered)
{
    all->dropped = xrealloc(all->dropped, (all->n_dropped + 1) * sizeof *all->dropped);
    all->dropped[all->n_dropped] = (struct dropped){.job = j};
    copy_pairs(&all->dropped[all->n_dropped++].discovered, op, discovered, true);
}

/* Too many or too long labels, which no series could have with its own beside them. */
static bool too_large(const struct labels *l, const struct job *j)
{
    if (l->n <= TARGET_LABELS_MAX && labels_bytes(l) <= TARGET_LABELS_BYTES_MAX)
        return false;
    log_line(LOG_ERROR, NULL, "metrics.target.refused", "job=%s labels=%zu bytes=%zu", j->name,
             l->n, labels_bytes(l));
    return true;
}

static void add_target(struct targets *all, struct jobs *jobs, const struct job *j,
                       const char *address, const struct pairs *group)
{
    struct op op;
    struct label_builder b;
    struct labels before;
    struct labels after;
    struct label *copy;

    op_init(&op, DOOR_INTERNAL, NULL);
    label_builder_init(&b, &op);
    discover(&b, j, address, group);
    before = label_builder_finish(&b);
    copy = op_alloc(&op, (before.n + 1) * sizeof *copy);
    memcpy(copy, before.items, before.n * sizeof *copy);
    before.items = copy;
    if (!relabel_apply(&j->relabel, &b) || label_builder_get(&b, SLICE("__address__")).len == 0) {
        add_dropped(all, &op, j, &before);
    } else {
        struct target *twin;
        struct target *t;

        if (label_builder_get(&b, SLICE("instance")).len == 0)
            label_builder_set(&b, SLICE("instance"), label_builder_get(&b, SLICE("__address__")));
        after = label_builder_finish(&b);
        if (too_large(&after, j)) {
            add_dropped(all, &op, j, &before);
            op_done(&op);
            return;
        }
        t = target_new(&op, jobs, j, &before, &after);
        if (all->n == all->cap) {
            all->cap = all->cap == 0 ? 16 : 2 * all->cap;
            all->items = xrealloc(all->items, all->cap * sizeof *all->items);
        }
        HASH_FIND_STR(all->by_key, t->key, twin);
        if (twin != NULL) {
            target_free(t);
        } else {
            HASH_ADD_KEYPTR(hh, all->by_key, t->key, strlen(t->key), t);
            all->items[all->n++] = t;
        }
    }
    op_done(&op);
}

static void add_groups(struct targets *all, struct jobs *jobs, const struct job *j,
                       const struct target_groups *groups)
{
    for (size_t i = 0; i < groups->n; i++)
        for (char **a = groups->items[i].addresses; *a != NULL; a++)
            add_target(all, jobs, j, *a, &groups->items[i].labels);
}

void targets_build(struct jobs *jobs, const struct target_groups *extra, struct targets *ret)
{
    *ret = (struct targets){0};
    for (size_t i = 0; i < jobs->n; i++) {
        size_t before = ret->n;

        add_groups(ret, jobs, jobs->items[i], &jobs->items[i]->groups);
        if (extra != NULL)
            add_groups(ret, jobs, jobs->items[i], &extra[i]);
        for (size_t k = before; jobs->items[i]->target_limit > 0 && k < ret->n; k++)
            ret->items[k]->over_limit = ret->n - before > jobs->items[i]->target_limit;
    }
}
