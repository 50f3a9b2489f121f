/* series/<metric>/<labels>: the newest sample, as "value time". */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "metrics/metrics_tree.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/print.h"
#include "metrics/query.h"

#include <errno.h>
#include <stdlib.h>

#define YEARS_MS (10ll * 365 * 86400 * 1000)

/* `a="1",b="2"`, or {} without labels. */
static void name_of(const struct labels *l, struct buf *out)
{
    autobuf text = {0};

    for (size_t i = 0; i < l->n; i++) {
        if (slice_eq(l->items[i].name, LABEL_NAME))
            continue;
        if (text.len > 0)
            buf_add_char(&text, ',');
        if (label_name_legacy(l->items[i].name))
            buf_add_slice(&text, l->items[i].name);
        else
            quote_go(&text, l->items[i].name);
        buf_add_char(&text, '=');
        quote_go(&text, l->items[i].value);
    }
    tree_name_encode(out, text.len > 0 ? buf_slice(&text) : SLICE("{}"));
}

static void print_sample(struct buf *out, int64_t ts_ms, uint64_t bits)
{
    if (bits == VALUE_STALE_BITS)
        buf_add_str(out, "stale");
    else
        print_value(out, bits_double(bits));
    buf_add_char(out, ' ');
    print_time(out, ts_ms);
    buf_add_char(out, '\n');
}

struct look {
    struct op *op;
    const char *metric; /* encoded */
    const char *name;   /* encoded labels; NULL: all of the metric */
    node_emit_fn *emit;
    void *ctx;
    bool found;
    uint32_t ref;
    bool in_head;
    int64_t ts_ms;
    uint64_t bits;
    /* what is emitted, when the index is no longer looked at */
    struct buf names; /* NUL-terminated, one after the other */
    struct node_stat *stats;
    size_t n, cap;
};

static void remember(struct look *l, struct slice name, const struct node_stat *st)
{
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : 2 * l->cap;
        l->stats = xrealloc(l->stats, l->cap * sizeof *l->stats);
    }
    l->stats[l->n++] = *st;
    buf_add_slice(&l->names, name);
    buf_add_char(&l->names, 0);
}

static void remember_metric(void *ctx, struct slice text, size_t n_series)
{
    autobuf name = {0};

    (void)n_series;
    tree_name_encode(&name, text);
    remember(ctx, buf_slice(&name), &(struct node_stat){.type = NODE_DIR, .flags = NODE_VOLATILE});
}

static void look_metrics(void *ctx, const struct index *ix)
{
    index_values(ix, LABEL_NAME, remember_metric, ctx);
}

struct metric_find {
    const char *wanted;
    struct slice found;
};

static void compare_metric(void *ctx, struct slice text, size_t n_series)
{
    struct metric_find *f = ctx;
    autobuf name = {0};

    (void)n_series;
    if (f->found.len > 0)
        return;
    tree_name_encode(&name, text);
    if (slice_eq(buf_slice(&name), slice_str(f->wanted)))
        f->found = text;
}

/* Most names stand for themselves; the rest are looked for. */
static struct slice find_metric(const struct index *ix, const char *encoded)
{
    struct metric_find f = {.wanted = encoded};

    if (metric_name_legacy(slice_str(encoded)) && strlen(encoded) <= TREE_NAME_MAX)
        return slice_str(encoded);
    index_values(ix, LABEL_NAME, compare_metric, &f);
    return f.found;
}

static void take_series(struct look *l, const struct index *ix, uint32_t ref)
{
    const struct series *s = index_series(ix, ref);
    struct label room[LABELS_MAX + 1];
    struct labels labels = index_labels(ix, s, room);
    struct node_stat st = {.type = NODE_FILE, .flags = NODE_VOLATILE};
    autobuf name = {0};
    autobuf text = {0};

    name_of(&labels, &name);
    if (l->name != NULL) {
        if (strcmp(name.data, l->name) != 0)
            return;
        l->found = true;
        l->ref = ref;
        l->in_head = s->open.last_ms > 0;
        l->ts_ms = s->open.last_ms;
        l->bits = s->open.last_bits;
        return;
    }
    l->found = true;
    if (s->open.last_ms > 0) {
        print_sample(&text, s->open.last_ms, s->open.last_bits);
        st.size_bytes = text.len;
        st.mtime_ns = s->open.last_ms * 1000000;
    } else {
        st.flags |= NODE_COMPUTED;
    }
    if (l->emit != NULL)
        remember(l, buf_slice(&name), &st);
}

/* Matchers from the name of a file, so that one of a million is not found by looking at all. The
 * array is the op's, what it holds is that of `metric` and `q`. */
static size_t matchers_of(struct look *l, const struct matcher *metric, struct promql *q,
                          struct matcher **ret)
{
    const struct selector *s;
    autobuf text = {0};
    autobuf why = {0};
    size_t n = strlen(l->name);

    if (strcmp(l->name, "{}") == 0 || (n > 17 && l->name[n - 17] == '~'))
        return 0;
    buf_add_char(&text, '{');
    if (percent_decode(&text, slice_str(l->name), false) < 0)
        return 0;
    buf_add_char(&text, '}');
    if (promql_parse_selector(l->op, op_slice(l->op, buf_slice(&text)), q, &why) < 0)
        return 0;
    s = q->root->selector;
    *ret = op_alloc(l->op, (s->n_matchers + 1) * sizeof **ret);
    memcpy(*ret, s->matchers, s->n_matchers * sizeof **ret);
    (*ret)[s->n_matchers] = *metric;
    return s->n_matchers + 1;
}

static void look_series(void *ctx, const struct index *ix)
{
    struct look *l = ctx;
    struct slice metric = find_metric(ix, l->metric);
    struct matcher m;
    struct promql q = {0};
    struct matcher *matchers = NULL;
    struct refs refs;
    size_t n = 0;

    if (metric.len == 0)
        return;
    matcher_init(&m, MATCH_EQ, LABEL_NAME, metric, NULL);
    if (l->name != NULL)
        n = matchers_of(l, &m, &q, &matchers);
    if (n > 0)
        index_select(ix, matchers, n, &refs);
    else
        index_select(ix, &m, 1, &refs);
    for (size_t i = 0; i < refs.n && !(l->found && (l->name != NULL || l->emit == NULL)); i++)
        take_series(l, ix, refs.items[i]);
    refs_done(&refs);
    promql_done(&q);
    matcher_done(&m);
}

static int find(struct op *op, struct metrics *m, const char *path, struct look *l)
{
    l->op = op;
    l->name = path_head(op, path, &l->metric);
    if (l->name[0] == 0)
        l->name = NULL;
    else if (strchr(l->name, '/') != NULL)
        return -ENOENT;
    db_look(m->db, look_series, l);
    return l->found ? 0 : -ENOENT;
}

struct ref_look {
    uint32_t ref;
    struct op *op;
    struct labels labels;
};

static void look_labels(void *ctx, const struct index *ix)
{
    struct ref_look *l = ctx;
    const struct series *s = index_series(ix, l->ref);

    l->labels = index_labels(ix, s, op_alloc(l->op, (s->n_labels + 1) * sizeof(struct label)));
}

/* The head knows nothing of it since the start: the newest of the runs. */
static int read_runs(struct op *op, struct metrics *m, struct look *l)
{
    struct ref_look labels = {.ref = l->ref, .op = op};
    int64_t now_ms = clock_unix_ms();
    struct query *q = NULL;
    struct query_item item;
    struct matcher *matchers;
    int r;

    db_look(m->db, look_labels, &labels);
    matchers = op_alloc(op, (labels.labels.n + 1) * sizeof *matchers);
    for (size_t i = 0; i < labels.labels.n; i++)
        matcher_init(&matchers[i], MATCH_EQ, labels.labels.items[i].name,
                     labels.labels.items[i].value, NULL);
    r = query_open(m->db, matchers, labels.labels.n, now_ms - YEARS_MS, now_ms + 86400000,
                   QUERY_LAST, &q);
    while (r >= 0 && (r = query_next(q, &item)) > 0)
        if (item.ref == l->ref) {
            l->ts_ms = item.ts[item.n - 1];
            l->bits = item.bits[item.n - 1];
        }
    query_close(q);
    for (size_t i = 0; i < labels.labels.n; i++)
        matcher_done(&matchers[i]);
    return r;
}

int tree_series_read(struct op *op, struct metrics *m, const char *path, struct buf *ret)
{
    struct look l = {0};
    int r = path[0] == 0 ? -EISDIR : find(op, m, path, &l);

    if (r == 0 && l.name == NULL)
        r = -EISDIR;
    if (r == 0 && !l.in_head)
        r = read_runs(op, m, &l);
    if (r < 0)
        return r;
    if (l.ts_ms > 0)
        print_sample(ret, l.ts_ms, l.bits);
    return 0;
}

int tree_series_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret)
{
    struct look l = {0};
    autobuf text = {0};
    int r = path[0] == 0 ? 0 : find(op, m, path, &l);

    if (r < 0)
        return op_fail(op, ENOENT, "there is no series '%s'", path);
    *ret = (struct node_stat){
        .type = NODE_DIR, .flags = NODE_VOLATILE, .mtime_ns = m->started_unix_ms * 1000000};
    if (path[0] == 0 || l.name == NULL)
        return 0;
    ret->type = NODE_FILE;
    if (!l.in_head && read_runs(op, m, &l) < 0)
        return op_fail(op, EIO, "cannot read the samples of '%s'", path);
    if (l.ts_ms > 0)
        print_sample(&text, l.ts_ms, l.bits);
    ret->size_bytes = text.len;
    ret->mtime_ns = l.ts_ms * 1000000;
    return 0;
}

int tree_series_list(struct op *op, struct metrics *m, const char *path, node_emit_fn *emit,
                     void *ctx)
{
    struct look l = {.emit = emit, .ctx = ctx};
    const char *name;
    int r = 0;

    if (path[0] == 0)
        db_look(m->db, look_metrics, &l);
    else if (strchr(path, '/') != NULL || find(op, m, path, &l) < 0)
        r = op_fail(op, ENOENT, "there is no metric '%s'", path);
    name = l.names.data;
    for (size_t i = 0; i < l.n; i++) {
        if (emit(ctx, name, (l.stats[i].flags & NODE_COMPUTED) != 0 ? NULL : &l.stats[i]) != 0)
            break;
        name += strlen(name) + 1;
    }
    free(l.stats);
    buf_done(&l.names);
    return r;
}
