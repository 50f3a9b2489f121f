#include "metrics/metrics.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "identity/identity.h"
#include "metrics/api/known.h"
#include "metrics/keeps.h"
#include "metrics/rules/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct domain metrics_domain;

/* Files may have been edited on the host: what the mount shows of them is old. */
static void tell(struct metrics *m, const char *const *paths, const unsigned *what, size_t n)
{
    struct op op;

    if (m->env.feed == NULL)
        return;
    op_init(&op, DOOR_INTERNAL,
            m->env.identities != NULL ? identity_internal(m->env.identities) : NULL);
    for (size_t i = 0; i < n; i++)
        op_changed(&op, what[i], "%s", paths[i]);
    feed_publish(m->env.feed, &op, false);
    op_done(&op);
}

static void config_changed(void *ctx)
{
    static const char *const paths[] = {"/metrics/prometheus.yml", "/metrics/targets"};
    static const unsigned what[] = {CHANGE_CONTENT, CHANGE_SUBTREE};

    tell(ctx, paths, what, 2);
}

static void rules_changed(void *ctx)
{
    static const char *const paths[] = {"/metrics/rules"};
    static const unsigned what[] = {CHANGE_SUBTREE};

    tell(ctx, paths, what, 1);
}

static void metrics_close(void *self)
{
    struct metrics *m = self;

    rules_stop(m->rules);
    scraper_stop(m->scraper);
    exemplars_close(m->exemplars);
    db_close(m->db);
    keeps_free(m->keeps);
    metadata_free(m->metadata);
    known_free(m->known);
    gate_done(&m->gate);
    free(m->external_url);
    free(m);
}

static int start_rules(struct metrics *m, struct buf *why)
{
    const struct config *c = m->env.config;
    struct rules_options options = {
        .db = m->db,
        .scraper = m->scraper,
        .config_file = c->prometheus,
        .folder = c->rules,
        .webhook = c->webhook,
        .changed = rules_changed,
        .ctx = m,
    };
    const char *port = c->n_listen > 0 ? strrchr(c->listen[0].address, ':') : NULL;
    bool tls = c->n_listen > 0 && c->listen[0].certificate != NULL;
    char host[256] = "localhost";
    struct buf url = {0};

    gethostname(host, sizeof host - 1);
    if (c->external_url != NULL)
        buf_add_str(&url, c->external_url);
    else
        buf_printf(&url, "http%s://%s%s", tls ? "s" : "", host, port != NULL ? port : "");
    while (url.len > 0 && url.data[url.len - 1] == '/')
        url.data[--url.len] = 0;
    m->external_url = buf_take(&url, NULL);
    options.external_url = m->external_url;
    return rules_start(&options, &m->rules, why);
}

static int metrics_open(const struct domain_env *env, void **ret_self, struct buf *why)
{
    struct metrics *m = xcalloc(1, sizeof *m);
    const struct config *c = env->config;
    struct db_options db = {
        .retention_ms = c->retention_ms,
        .retention_bytes = c->retention_bytes,
        .downsample_ms = c->downsample_ms,
        .downsample_keep_ms = c->downsample_keep_ms,
        .out_of_order_ms = c->out_of_order_ms,
    };
    struct scraper_options scraper = {
        .file = c->prometheus,
        .body_bytes_max = c->limits.scrape_body_bytes,
        .push_age_ms = c->push_age_ms,
        .changed = config_changed,
        .ctx = m,
    };
    int r;

    m->env = *env;
    m->started_unix_ms = clock_unix_ms();
    gate_init(&m->gate);
    m->metadata = metadata_new();
    m->known = known_new();
    r = keeps_read(c, &m->keeps, why);
    if (r == 0) {
        db.keeps = m->keeps->items;
        db.n_keeps = m->keeps->n;
        r = db_open(env->store, &db, &m->db, why);
    }
    if (r == 0)
        r = exemplars_open(env->store, m->db, EXEMPLARS_MAX, &m->exemplars);
    if (r == 0) {
        scraper.into = (struct ingest_into){m->db, m->metadata, m->exemplars,
                                             c->created_timestamps > 0};
        scraper.store = env->store;
        r = scraper_start(&scraper, &m->scraper, why);
    }
    if (r == 0)
        r = start_rules(m, why);
    if (r < 0) {
        metrics_close(m);
        return r;
    }
    *ret_self = m;
    return 0;
}

static int metrics_reload(void *self, struct op *op)
{
    struct metrics *m = self;
    autobuf why = {0};
    int r = scraper_reload(m->scraper, &why);

    if (r < 0)
        return op_fail(op, -r, "%s: %s", m->env.config->prometheus, why.data);
    rules_refresh(m->rules);
    return 0;
}

static void count_targets(void *ctx, const struct targets *t)
{
    size_t *counts = ctx;

    for (size_t i = 0; i < t->n; i++)
        counts[t->items[i]->health]++;
}

static void rules_own(struct metrics *m, struct buf *out)
{
    struct notifier_state n;

    notifier_state(rules_notifier(m->rules), &n);
    buf_printf(out,
               "# HELP infrafs_metrics_rule_evaluations_total Rules evaluated.\n"
               "# TYPE infrafs_metrics_rule_evaluations_total counter\n"
               "infrafs_metrics_rule_evaluations_total %" PRIu64 "\n"
               "# HELP infrafs_metrics_rule_failures_total Rules whose evaluation failed.\n"
               "# TYPE infrafs_metrics_rule_failures_total counter\n"
               "infrafs_metrics_rule_failures_total %" PRIu64 "\n"
               "# HELP infrafs_metrics_alerts_sent_total Alerts delivered.\n"
               "# TYPE infrafs_metrics_alerts_sent_total counter\n"
               "infrafs_metrics_alerts_sent_total %" PRIu64 "\n"
               "# HELP infrafs_metrics_alerts_dropped_total Alerts that nobody took.\n"
               "# TYPE infrafs_metrics_alerts_dropped_total counter\n"
               "infrafs_metrics_alerts_dropped_total %" PRIu64 "\n"
               "# HELP infrafs_metrics_alerts_queued Alerts that wait for delivery.\n"
               "# TYPE infrafs_metrics_alerts_queued gauge\n"
               "infrafs_metrics_alerts_queued %" PRIu64 "\n",
               rules_evaluations(m->rules), rules_failures(m->rules), n.sent, n.dropped, n.queued);
}

static void metrics_own(void *self, struct buf *out)
{
    struct metrics *m = self;
    size_t targets[3] = {0};
    struct db_stats s;

    db_stats(m->db, &s);
    scraper_look(m->scraper, count_targets, targets);
    buf_printf(
        out,
        "# HELP infrafs_metrics_series Series that are indexed.\n"
        "# TYPE infrafs_metrics_series gauge\ninfrafs_metrics_series %" PRIu64 "\n"
        "# HELP infrafs_metrics_head_samples Samples in memory.\n"
        "# TYPE infrafs_metrics_head_samples gauge\ninfrafs_metrics_head_samples %" PRIu64 "\n"
        "# HELP infrafs_metrics_head_bytes Memory of the samples.\n"
        "# TYPE infrafs_metrics_head_bytes gauge\ninfrafs_metrics_head_bytes %" PRIu64 "\n"
        "# HELP infrafs_metrics_log_bytes Size of the log of the head.\n"
        "# TYPE infrafs_metrics_log_bytes gauge\ninfrafs_metrics_log_bytes %" PRIu64 "\n"
        "# HELP infrafs_metrics_runs Sorted runs on disk.\n"
        "# TYPE infrafs_metrics_runs gauge\ninfrafs_metrics_runs %" PRIu64 "\n"
        "# HELP infrafs_metrics_read_bytes Memory of what queries read of the runs lately.\n"
        "# TYPE infrafs_metrics_read_bytes gauge\ninfrafs_metrics_read_bytes %" PRIu64 "\n"
        "# HELP infrafs_metrics_samples_total Samples taken.\n"
        "# TYPE infrafs_metrics_samples_total counter\ninfrafs_metrics_samples_total %" PRIu64 "\n"
        "# HELP infrafs_metrics_samples_refused_total Samples refused: too old, or another value "
        "at the same time.\n"
        "# TYPE infrafs_metrics_samples_refused_total counter\n"
        "infrafs_metrics_samples_refused_total{reason=\"duplicate\"} %" PRIu64 "\n"
        "infrafs_metrics_samples_refused_total{reason=\"out_of_order\"} %" PRIu64 "\n",
        s.series, s.head_samples, s.head_bytes, s.log_bytes, s.runs, s.group_bytes, s.appended,
        s.duplicate, s.out_of_order);
    buf_printf(out,
               "# HELP infrafs_metrics_queries Queries that run.\n"
               "# TYPE infrafs_metrics_queries gauge\ninfrafs_metrics_queries %u\n",
               gate_running(&m->gate));
    buf_printf(out,
               "# HELP infrafs_metrics_targets Targets by their health.\n"
               "# TYPE infrafs_metrics_targets gauge\ninfrafs_metrics_targets{health=\"up\"} %zu\n"
               "infrafs_metrics_targets{health=\"down\"} %zu\n"
               "infrafs_metrics_targets{health=\"unknown\"} %zu\n",
               targets[TARGET_UP], targets[TARGET_DOWN], targets[TARGET_UNKNOWN]);
    rules_own(m, out);
}

static void metrics_status(void *self, struct buf *out)
{
    struct metrics *m = self;
    size_t targets[3] = {0};
    struct scraper_state state;
    struct db_stats s;

    db_stats(m->db, &s);
    scraper_look(m->scraper, count_targets, targets);
    scraper_state(m->scraper, &state);
    buf_printf(out,
               "metrics: %zu targets up, %zu down, %zu not scraped; %" PRIu64 " series, %" PRIu64
               " samples taken since the start\n",
               targets[TARGET_UP], targets[TARGET_DOWN], targets[TARGET_UNKNOWN], s.series,
               s.appended);
    if (!state.reload_ok)
        buf_printf(out, "metrics: %s is not in force: %s\n", m->env.config->prometheus,
                   state.error);
    jobs_unref(state.jobs);
}

const struct domain metrics_domain = {
    .name = "metrics",
    .open = metrics_open,
    .close = metrics_close,
    .tree = &metrics_tree,
    .routes = metrics_routes,
    .render = metrics_render,
    .reload = metrics_reload,
    .metrics = metrics_own,
    .status = metrics_status,
};
