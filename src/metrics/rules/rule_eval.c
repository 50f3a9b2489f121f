#include "metrics/rules/rule_eval.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "metrics/head/db.h"
#include "metrics/histogram.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/eval.h"
#include "metrics/promql/histogram_math.h"
#include "metrics/query.h"
#include "metrics/rules/template.h"

#include <errno.h>
#include <stdlib.h>

#define LOOKBACK_MS   (5 * 60 * 1000)
#define SAMPLES_MAX   50000000
#define TIMEOUT_MS    (2 * 60 * 1000)
#define RESTORE_MS    (60 * 60 * 1000) /* how long the daemon may have been away */

static int ask(const struct evaluation *ev, struct op *op, struct slice text, int64_t at_ms,
               struct result *ret, struct buf *why)
{
    struct promql q = {0};
    struct eval eval = {
        .db = ev->db,
        .text = text,
        .start_ms = at_ms,
        .end_ms = at_ms,
        .lookback_ms = LOOKBACK_MS,
        .subquery_step_ms = ev->config->evaluation_ms,
        .samples_max = SAMPLES_MAX,
        .deadline_ms = clock_monotonic_ms() + TIMEOUT_MS,
    };
    int r = promql_parse(op, text, &q, why);

    if (r < 0)
        return r;
    r = promql_prepare(&q, at_ms, at_ms, 0, why);
    if (r == 0)
        r = promql_eval(&eval, q.root, ret, why);
    promql_done(&q);
    if (r == 0 && ret->type != VALUE_VECTOR && ret->type != VALUE_SCALAR) {
        buf_add_str(why, "rule result is not a vector or scalar");
        result_done(ret);
        return -EINVAL;
    }
    if (r < 0 && why->len == 0)
        buf_add_str(why, r == -ETIMEDOUT ? "query timed out in expression evaluation"
                         : r == -E2BIG   ? "query processing would load too many samples into memory"
                                         : strerror(-r));
    return r;
}

/* {{ query "…" }} of a template. */
static int ask_for_template(void *ctx, struct op *op, struct slice text,
                            struct template_sample **ret, size_t *ret_n, struct buf *why)
{
    const struct evaluation *ev = ctx;
    struct result result = {0};
    int r = ask(ev, op, text, ev->ts_ms, &result, why);

    if (r < 0)
        return r;
    *ret = op_alloc(op, result.n * sizeof **ret);
    *ret_n = 0;
    for (size_t i = 0; i < result.n; i++) {
        const struct result_series *s = &result.series[i];
        struct template_sample *to = &(*ret)[*ret_n];

        if (s->n_points == 0)
            continue;
        to->labels.n = s->labels.n;
        to->labels.items = op_alloc(op, s->labels.n * sizeof *to->labels.items);
        for (size_t k = 0; k < s->labels.n; k++)
            to->labels.items[k] = (struct label){op_slice(op, s->labels.items[k].name),
                                                 op_slice(op, s->labels.items[k].value)};
        to->value = s->points[0].v;
        ++*ret_n;
    }
    result_done(&result);
    return 0;
}

/* What one evaluation writes. */
struct written {
    struct op *op;
    struct db_sample *samples;
    struct slice *payloads;
    size_t n, n_payloads;
};

static void write_value(struct written *w, uint32_t ref, int64_t ts_ms, const struct point *p)
{
    struct buf bytes = {0};

    w->samples[w->n++] = (struct db_sample){ref, ts_ms, double_bits(p->v)};
    if (p->h == NULL && double_bits(p->v) != HISTOGRAM_BITS)
        return;
    if (p->h != NULL) {
        w->samples[w->n - 1].bits = HISTOGRAM_BITS;
        histogram_encode(&bytes, p->h);
    }
    w->payloads[w->n_payloads++] = op_slice(w->op, buf_slice(&bytes));
    buf_done(&bytes);
}

static int flush(struct evaluation *ev, struct written *w)
{
    struct db_batch batch = {.samples = w->samples, .n = w->n, .payloads = w->payloads};
    struct db_result result;

    return w->n > 0 ? db_append_batch(ev->db, &batch, &result) : 0;
}

static int by_ref(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

void rule_mark_stale(struct db *db, const uint32_t *refs, size_t n, int64_t ts_ms)
{
    autofree struct db_sample *samples = xcalloc(n + 1, sizeof *samples);
    struct db_result result;

    for (size_t i = 0; i < n; i++)
        samples[i] = (struct db_sample){refs[i], ts_ms, VALUE_STALE_BITS};
    if (n > 0)
        (void)db_append(db, samples, n, &result);
}

/* The series of this time, ascending, take the place of those of last time, which end if they are
 * not among them. Takes refs. */
static void replace_refs(struct evaluation *ev, struct rule_state *s, uint32_t *refs, size_t n)
{
    autofree uint32_t *ended = xcalloc(s->n_refs + 1, sizeof *ended);
    size_t n_ended = 0, at = 0;

    for (size_t i = 0; i < s->n_refs; i++) {
        while (at < n && refs[at] < s->refs[i])
            at++;
        if (at == n || refs[at] != s->refs[i])
            ended[n_ended++] = s->refs[i];
    }
    rule_mark_stale(ev->db, ended, n_ended, ev->ts_ms);
    free(s->refs);
    s->refs = refs;
    s->n_refs = n;
}

static int too_many(struct buf *why, uint64_t limit, size_t n, const char *what)
{
    buf_printf(why, "exceeded limit of %" PRIu64 " with %zu %s", limit, n, what);
    return -EINVAL;
}

static int evaluate_recording(struct evaluation *ev, struct op *op, const struct group_state *g,
                              struct rule_state *s, const struct result *result, struct buf *why)
{
    const struct rule *rule = s->rule;
    struct written w = {.op = op};
    uint32_t *refs = xcalloc(result->n + 1, sizeof *refs);
    size_t n = 0;
    int r = 0;

    if (g->def->limit > 0 && result->n > g->def->limit) {
        free(refs);
        return too_many(why, g->def->limit, result->n, "series");
    }
    w.samples = op_alloc(op, result->n * sizeof *w.samples);
    w.payloads = op_alloc(op, result->n * sizeof *w.payloads);
    for (size_t i = 0; i < result->n; i++) {
        const struct result_series *from = &result->series[i];
        struct label_builder b;
        struct labels labels;

        if (from->n_points == 0)
            continue;
        label_builder_init(&b, op);
        for (size_t k = 0; k < from->labels.n; k++)
            label_builder_set(&b, from->labels.items[k].name, from->labels.items[k].value);
        label_builder_set(&b, LABEL_NAME, slice_str(rule->name));
        for (size_t k = 0; k < rule->labels.n; k++)
            label_builder_set(&b, slice_str(rule->labels.items[k].name),
                              slice_str(rule->labels.items[k].value));
        labels = label_builder_finish(&b);
        refs[n] = db_series(ev->db, &labels);
        write_value(&w, refs[n++], ev->ts_ms, &from->points[0]);
    }
    qsort(refs, n, sizeof *refs, by_ref);
    for (size_t i = 1; i < n && r == 0; i++)
        if (refs[i] == refs[i - 1])
            r = -EINVAL;
    if (r < 0) {
        buf_add_str(why, "vector contains metrics with the same labelset after applying rule "
                         "labels");
        free(refs);
        return r;
    }
    r = flush(ev, &w);
    if (r < 0)
        buf_printf(why, "cannot store the result: %s", strerror(-r));
    replace_refs(ev, s, refs, n);
    return r;
}

/* A label or an annotation; where it fails, its text says so. */
static const char *expand(struct op *op, const struct rule *rule, const struct template_env *env,
                          const char *text)
{
    const char *name = op_printf(op, "__alert_%s", rule->name);
    autobuf out = {0};
    autobuf why = {0};

    if (strstr(text, "{{") == NULL)
        return text;
    if (template_expand(op, name, env, slice_str(text), &out, &why) < 0)
        return op_printf(op, "<error expanding template: %s>", why.data);
    return op_strndup(op, out.data != NULL ? out.data : "", out.len);
}

/* Labels of the sample without its name, then the rule's. */
static void find_labels(struct op *op, const struct rule *rule, const struct template_env *env,
                        const struct result_series *from, struct pairs *ret)
{
    for (size_t i = 0; i < from->labels.n; i++) {
        const struct label *l = &from->labels.items[i];

        if (!slice_eq(l->name, LABEL_NAME))
            pairs_add(ret, op_strndup(op, l->name.data, l->name.len),
                      op_strndup(op, l->value.data, l->value.len));
    }
    for (size_t i = 0; i < rule->labels.n; i++)
        pairs_set(ret, rule->labels.items[i].name,
                  expand(op, rule, env, rule->labels.items[i].value));
    pairs_set(ret, "alertname", rule->name);
}

static struct labels as_labels(struct op *op, const struct pairs *pairs)
{
    struct labels l = {op_alloc(op, pairs->n * sizeof(struct label)), pairs->n};

    for (size_t i = 0; i < pairs->n; i++)
        l.items[i] =
            (struct label){slice_str(pairs->items[i].name), slice_str(pairs->items[i].value)};
    return l;
}

static const char *histogram_text(struct op *op, const struct histogram *h)
{
    autobuf text = {0};

    histogram_print(&text, h);
    return op_strndup(op, text.data, text.len);
}

static struct alert_found *find_alerts(struct evaluation *ev, struct op *op,
                                       const struct rule *rule, const struct result *result,
                                       size_t *ret_n)
{
    struct alert_found *found = op_alloc(op, result->n * sizeof *found);

    *ret_n = 0;
    for (size_t i = 0; i < result->n; i++) {
        const struct result_series *from = &result->series[i];
        struct alert_found *f = &found[*ret_n];
        struct template_env env = {
            .labels = from->labels,
            .external_labels = as_labels(op, &ev->config->external_labels),
            .external_url = ev->external_url,
            .now_ms = ev->ts_ms,
            .query = ask_for_template,
            .ctx = ev,
        };

        if (from->n_points == 0)
            continue;
        f->value = env.value = from->points[0].v;
        if (from->points[0].h != NULL)
            env.histogram = histogram_text(op, from->points[0].h);
        find_labels(op, rule, &env, from, &f->labels);
        for (size_t k = 0; k < rule->annotations.n; k++)
            pairs_add(&f->annotations, rule->annotations.items[k].name,
                      expand(op, rule, &env, rule->annotations.items[k].value));
        ++*ret_n;
    }
    return found;
}

/* The series ALERTS{alertstate=…} and ALERTS_FOR_STATE of one alert. */
static uint32_t alert_series(struct evaluation *ev, struct op *op, const struct alert *a,
                             const char *name, const char *state)
{
    struct label_builder b;
    struct labels labels;

    label_builder_init(&b, op);
    for (size_t i = 0; i < a->labels.n; i++)
        label_builder_set(&b, slice_str(a->labels.items[i].name),
                          slice_str(a->labels.items[i].value));
    label_builder_set(&b, LABEL_NAME, slice_str(name));
    if (state != NULL)
        label_builder_set(&b, SLICE("alertstate"), slice_str(state));
    labels = label_builder_finish(&b);
    return db_series(ev->db, &labels);
}

static int write_alerts(struct evaluation *ev, struct op *op, struct rule_state *s)
{
    size_t n = HASH_COUNT(s->alerts), n_refs = 0;
    uint32_t *refs = xcalloc(2 * n + 1, sizeof *refs);
    struct written w = {.op = op,
                        .samples = op_alloc(op, 2 * n * sizeof(struct db_sample)),
                        .payloads = op_alloc(op, 2 * n * sizeof(struct slice))};
    int r;

    for (const struct alert *a = s->alerts; a != NULL; a = a->hh.next) {
        struct point one = {.v = 1}, since = {.v = (double)(a->active_ms / 1000)};

        if (a->state == ALERT_INACTIVE)
            continue;
        refs[n_refs] = alert_series(ev, op, a, "ALERTS", alert_state_text(a->state));
        write_value(&w, refs[n_refs++], ev->ts_ms, &one);
        refs[n_refs] = alert_series(ev, op, a, "ALERTS_FOR_STATE", NULL);
        write_value(&w, refs[n_refs++], ev->ts_ms, &since);
    }
    qsort(refs, n_refs, sizeof *refs, by_ref);
    r = flush(ev, &w);
    replace_refs(ev, s, refs, n_refs);
    return r;
}

/* What ALERTS_FOR_STATE said before the daemon went away. */
static void restore(struct evaluation *ev, struct op *op, struct group_state *g,
                    struct rule_state *s)
{
    for (struct alert *a = s->alerts; a != NULL; a = a->hh.next) {
        struct labels with_name;
        struct label_builder b;
        struct matcher *matchers;
        struct query *q = NULL;
        struct query_item item;

        label_builder_init(&b, op);
        for (size_t i = 0; i < a->labels.n; i++)
            label_builder_set(&b, slice_str(a->labels.items[i].name),
                              slice_str(a->labels.items[i].value));
        label_builder_set(&b, LABEL_NAME, SLICE("ALERTS_FOR_STATE"));
        with_name = label_builder_finish(&b);
        if (db_find(ev->db, &with_name) == SERIES_NONE)
            continue;
        matchers = op_alloc(op, with_name.n * sizeof *matchers);
        for (size_t i = 0; i < with_name.n; i++)
            (void)matcher_init(&matchers[i], MATCH_EQ, with_name.items[i].name,
                               with_name.items[i].value, NULL);
        if (query_open(ev->db, matchers, with_name.n, ev->ts_ms - RESTORE_MS, ev->ts_ms - 1,
                       QUERY_LAST, &q) == 0) {
            while (query_next(q, &item) == 1) {
                guard(&g->lock);
                if (labels_eq(&item.labels, &with_name) && item.bits[0] != VALUE_STALE_BITS)
                    alert_restore(a, s->rule, (int64_t)bits_double(item.bits[0]) * 1000,
                                  item.ts[0], ev->ts_ms);
            }
            query_close(q);
        }
        for (size_t i = 0; i < with_name.n; i++)
            matcher_done(&matchers[i]);
    }
}

static void copy_pairs(struct pairs *to, const struct pairs *from)
{
    for (size_t i = 0; i < from->n; i++)
        pairs_add(to, from->items[i].name, from->items[i].value);
}

static char *link_of(const struct evaluation *ev, const struct rule *rule)
{
    struct buf url = {0};

    buf_printf(&url, "%s/graph?g0.expr=", ev->external_url);
    percent_encode(&url, slice_str(rule->expression), "");
    buf_add_str(&url, "&g0.tab=1");
    return buf_take(&url, NULL);
}

/* Those that are due are noted for the notifier. */
static void note_due(struct evaluation *ev, const struct group_state *g, struct rule_state *s)
{
    int64_t step = g->interval_ms > ALERT_RESEND_MS ? g->interval_ms : ALERT_RESEND_MS;

    for (struct alert *a = s->alerts; a != NULL; a = a->hh.next) {
        struct notice *n;

        if (!alert_is_due(a, ev->ts_ms))
            continue;
        a->sent_ms = ev->ts_ms;
        n = xcalloc(1, sizeof *n);
        copy_pairs(&n->labels, &a->labels);
        copy_pairs(&n->annotations, &a->annotations);
        n->starts_ms = a->fired_ms;
        n->resolved = a->state == ALERT_INACTIVE;
        n->ends_ms = n->resolved ? a->resolved_ms : ev->ts_ms + 4 * step;
        n->generator_url = link_of(ev, s->rule);
        *ev->last = n;
        ev->last = &n->next;
    }
}

/* Under the group's lock. */
static int take_alerts(struct evaluation *ev, const struct group_state *g, struct rule_state *s,
                       struct alert_found *found, size_t n, struct buf *why)
{
    size_t active;
    int r = alerts_update(&s->alerts, s->rule, ev->ts_ms, found, n);

    if (r < 0) {
        buf_add_str(why, "vector contains metrics with the same labelset after applying alert "
                         "labels");
        return r;
    }
    active = alerts_active(s->alerts);
    if (g->def->limit == 0 || active <= g->def->limit)
        return 0;
    alerts_free(&s->alerts);
    return too_many(why, g->def->limit, active, "alerts");
}

/* Nobody else changes the alerts: the lock is for those who look. */
static int evaluate_alerting(struct evaluation *ev, struct op *op, struct group_state *g,
                             struct rule_state *s, const struct result *result, struct buf *why)
{
    size_t n = 0;
    struct alert_found *found = find_alerts(ev, op, s->rule, result, &n);
    int r;

    pthread_mutex_lock(&g->lock);
    r = take_alerts(ev, g, s, found, n, why);
    pthread_mutex_unlock(&g->lock);
    if (r < 0)
        return r;
    if (!s->restored)
        restore(ev, op, g, s);
    s->restored = true;
    r = write_alerts(ev, op, s);
    if (r < 0)
        buf_printf(why, "cannot store the state: %s", strerror(-r));
    note_due(ev, g, s);
    return r;
}

int rule_evaluate(struct evaluation *ev, struct group_state *g, struct rule_state *s)
{
    int64_t start_ns = clock_unix_ns();
    struct result result = {0};
    autobuf why = {0};
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, NULL);
    r = ask(ev, &op, slice_str(s->rule->expression), ev->ts_ms - g->query_offset_ms, &result, &why);
    if (r == 0) {
        r = s->rule->alerting ? evaluate_alerting(ev, &op, g, s, &result, &why)
                              : evaluate_recording(ev, &op, g, s, &result, &why);
        result_done(&result);
    }
    op_done(&op);
    guard(&g->lock);
    free(s->error);
    s->error = r < 0 ? buf_take(&why, NULL) : NULL;
    s->health = r < 0 ? RULE_ERR : RULE_OK;
    s->evaluated_ns = start_ns;
    s->duration_s = (double)(clock_unix_ns() - start_ns) / 1e9;
    return r;
}
