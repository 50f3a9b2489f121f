/* /api/v1/targets/metadata: what is known of the metrics of each target. */
#include "base/alloc.h"
#include "metrics/api/api.h"

#include <errno.h>
#include <stdlib.h>

/* One target that meets match_target, with the metrics of its last scrapes. */
struct scraped {
    struct label *labels; /* strings in the op */
    size_t n_labels;
    uint32_t *refs;
    size_t n_refs;
};

struct look {
    struct op *op;
    const struct promql *match; /* root NULL: all targets */
    struct scraped *targets;
    size_t n;
};

static bool target_meets(const struct look *l, const struct target *t)
{
    const struct selector *s;

    if (l->match->root == NULL)
        return true;
    s = l->match->root->selector;
    for (size_t i = 0; i < s->n_matchers; i++) {
        const char *value = pairs_get(&t->labels, s->matchers[i].name);

        if (!matcher_holds(&s->matchers[i], slice_str(value != NULL ? value : "")))
            return false;
    }
    return true;
}

static void look_targets(void *ctx, const struct targets *all)
{
    struct look *l = ctx;

    l->targets = op_alloc(l->op, (all->n + 1) * sizeof *l->targets);
    for (size_t i = 0; i < all->n; i++) {
        const struct target *t = all->items[i];
        struct scraped *s = &l->targets[l->n];

        if (!target_meets(l, t))
            continue;
        *s = (struct scraped){.labels = op_alloc(l->op, (t->labels.n + 1) * sizeof *s->labels),
                              .refs = xmalloc((t->cache.n + 1) * sizeof *s->refs)};
        for (size_t k = 0; k < t->labels.n; k++)
            s->labels[s->n_labels++] =
                (struct label){slice_str(op_strdup(l->op, t->labels.items[k].name)),
                               slice_str(op_strdup(l->op, t->labels.items[k].value))};
        for (uint32_t k = 0; k < t->cache.n; k++)
            if (t->cache.entries[k].ref < CACHE_DROPPED)
                s->refs[s->n_refs++] = t->cache.entries[k].ref;
        l->n++;
    }
}

struct names_look {
    const struct scraped *target;
    struct slice *names; /* of its metrics, each once in a row */
    size_t n;
};

static void look_names(void *ctx, const struct index *ix)
{
    struct names_look *l = ctx;

    for (size_t i = 0; i < l->target->n_refs; i++) {
        struct label room[LABELS_MAX + 1];
        struct labels labels;
        struct slice name;

        if (l->target->refs[i] >= index_count(ix))
            continue;
        labels = index_labels(ix, index_series(ix, l->target->refs[i]), room);
        name = labels_get(&labels, LABEL_NAME);
        if (name.len > 0 && (l->n == 0 || !slice_eq(l->names[l->n - 1], name)))
            l->names[l->n++] = name;
    }
}

static int by_text(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* Does the target expose the family, by its name or with one of the suffixes that belong to it? */
static bool exposes(const struct names_look *l, const char *family)
{
    static const char *const suffixes[] = {"", "_total", "_bucket", "_count", "_sum", "_info"};

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        autobuf name = {0};
        struct slice wanted;

        buf_printf(&name, "%s%s", family, suffixes[i]);
        wanted = buf_slice(&name);
        if (bsearch(&wanted, l->names, l->n, sizeof *l->names, by_text) != NULL)
            return true;
    }
    return false;
}

struct putting {
    struct json *json;
    const struct scraped *target;
    const struct names_look *names;
    const char *metric; /* NULL: all */
    size_t n;
};

static int put_one(void *ctx, const char *metric, const struct metadata_item *items, size_t n)
{
    struct putting *p = ctx;
    const struct metadata_item *newest = &items[n - 1];

    if ((p->metric != NULL && strcmp(p->metric, metric) != 0) || !exposes(p->names, metric))
        return 0;
    json_object(p->json);
    json_key(p->json, "target");
    json_labels(p->json, p->target->labels, p->target->n_labels);
    if (p->metric == NULL)
        json_kstr(p->json, "metric", metric);
    json_kstr(p->json, "type", metric_type_name(newest->type));
    json_kstr(p->json, "help", newest->help);
    json_kstr(p->json, "unit", newest->unit);
    json_object_end(p->json);
    p->n++;
    return 0;
}

static size_t put_target(struct answer *a, const struct scraped *target, const char *metric)
{
    struct names_look names = {.target = target};
    struct putting p = {.json = &a->json, .target = target, .names = &names, .metric = metric};

    names.names = xmalloc((target->n_refs + 1) * sizeof *names.names);
    db_look(a->m->db, look_names, &names);
    if (names.n > 1)
        qsort(names.names, names.n, sizeof *names.names, by_text);
    metadata_each(a->m->metadata, put_one, &p);
    free(names.names);
    return p.n;
}

static int read_match(struct web_request *req, struct promql *ret)
{
    const char *text = web_query(req, "match_target");
    autobuf why = {0};

    *ret = (struct promql){0};
    if (text == NULL || text[0] == 0)
        return 0;
    if (promql_parse_selector(req->op, slice_str(text), ret, &why) < 0)
        return op_fail(req->op, EINVAL, "invalid parameter \"match_target\": %s", why.data);
    return 0;
}

int api_targets_metadata(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct promql match;
    struct look look = {.op = req->op, .match = &match};
    const char *metric = web_query(req, "metric");
    uint64_t limit = 0;
    size_t n = 0;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = param_limit(req, &limit);
    if (r == 0)
        r = read_match(req, &match);
    if (r < 0)
        return prom_fail(&a, r);
    scraper_look(a.m->scraper, look_targets, &look);
    json_array(&a.json);
    for (size_t i = 0; i < look.n; i++) {
        if (limit == 0 || n < limit)
            n += put_target(&a, &look.targets[i], metric != NULL && metric[0] != 0 ? metric : NULL);
        free(look.targets[i].refs);
    }
    json_array_end(&a.json);
    promql_done(&match);
    if (n == 0)
        return prom_fail(&a, op_fail(req->op, ENOENT, "specified metadata not found"));
    return prom_end(&a, false);
}
