/* The configuration as YAML again, with its defaults: what /api/v1/status/config shows, and by
 * which two versions of a job are compared. */
#include "base/clock.h"
#include "metrics/scrape/jobs.h"

#include "base/json.h"

#include <stdio.h>

/* JSON's quoted string is one of YAML's too. */
static void put_text(struct buf *out, const char *text)
{
    if (text[0] != 0 &&
        text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_."
                          "0123456789-")] == 0 &&
        strpbrk(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/") == text) {
        buf_add_str(out, text);
        return;
    }
    buf_add_char(out, '"');
    json_escape(out, slice_str(text));
    buf_add_char(out, '"');
}

static void put(struct buf *out, const char *indent, const char *key, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, "%s%s: ", indent, key);
    put_text(out, value);
    buf_add_char(out, '\n');
}

static void put_flag(struct buf *out, const char *key, bool v)
{
    buf_printf(out, "  %s: %s\n", key, v ? "true" : "false");
}

static void put_limit(struct buf *out, const char *key, uint64_t v)
{
    if (v > 0)
        buf_printf(out, "  %s: %" PRIu64 "\n", key, v);
}

/* As Go prints a duration of the model: 1m, 1h30m, 15s, 250ms. */
static void put_duration(struct buf *out, const char *indent, const char *key, int64_t ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
        bool exact; /* only when nothing smaller follows */
    } units[] = {{"y", 31536000000, true}, {"w", 604800000, true}, {"d", 86400000, false},
                 {"h", 3600000, false},    {"m", 60000, false},    {"s", 1000, false},
                 {"ms", 1, false}};

    buf_printf(out, "%s%s: ", indent, key);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (ms < units[i].ms || (units[i].exact && ms % units[i].ms != 0))
            continue;
        buf_printf(out, "%" PRId64 "%s", ms / units[i].ms, units[i].unit);
        ms %= units[i].ms;
    }
    buf_add_char(out, '\n');
}

static void put_secret(struct buf *out, const char *indent, const char *key, const char *value,
                       bool secrets)
{
    if (value != NULL && !secrets)
        buf_printf(out, "%s%s: <secret>\n", indent, key);
    else
        put(out, indent, key, value);
}

static void put_tls(struct buf *out, const struct job *j, const char *indent, const char *inner)
{
    static const char *const versions[] = {NULL, "TLS10", "TLS11", "TLS12", "TLS13"};

    buf_printf(out, "%stls_config:\n", indent);
    put(out, inner, "ca_file", j->ca_file);
    put(out, inner, "cert_file", j->cert_file);
    put(out, inner, "key_file", j->key_file);
    put(out, inner, "server_name", j->server_name);
    put(out, inner, "min_version", versions[j->tls_min]);
    put(out, inner, "max_version", versions[j->tls_max]);
    buf_printf(out, "%sinsecure_skip_verify: %s\n", inner,
               j->insecure_skip_verify ? "true" : "false");
}

/* How something is reached. */
static void put_auth(struct buf *out, const struct job *j, bool secrets, const char *indent)
{
    char inner[16];

    snprintf(inner, sizeof inner, "%s  ", indent);
    if (j->username != NULL) {
        buf_printf(out, "%sbasic_auth:\n", indent);
        if (j->username_file == NULL)
            put(out, inner, "username", j->username);
        put(out, inner, "username_file", j->username_file);
        put_secret(out, inner, "password", j->password, secrets);
        put(out, inner, "password_file", j->password_file);
    }
    if (j->credentials != NULL || j->credentials_file != NULL) {
        buf_printf(out, "%sauthorization:\n", indent);
        put(out, inner, "type", j->auth_type != NULL ? j->auth_type : "Bearer");
        put_secret(out, inner, "credentials", j->credentials, secrets);
        put(out, inner, "credentials_file", j->credentials_file);
    }
    if (j->ca_file != NULL || j->cert_file != NULL || j->server_name != NULL ||
        j->insecure_skip_verify || j->tls_min > 0 || j->tls_max > 0)
        put_tls(out, j, indent, inner);
    put(out, indent, "proxy_url", j->proxy_url);
    if (j->headers.n > 0)
        buf_printf(out, "%shttp_headers:\n", indent);
    for (size_t i = 0; i < j->headers.n; i++) {
        buf_add_str(out, inner);
        put_text(out, j->headers.items[i].name);
        buf_printf(out, ":\n%s  secrets:\n%s  - ", inner, inner);
        put_text(out, secrets ? j->headers.items[i].value : "<secret>");
        buf_add_char(out, '\n');
    }
}

void http_sd_print(const struct job *sd, bool secrets, struct buf *out)
{
    put(out, "  - ", "url", sd->sd_url);
    put_duration(out, "    ", "refresh_interval", sd->interval_ms);
    buf_printf(out, "    follow_redirects: %s\n", sd->follow_redirects ? "true" : "false");
    put_auth(out, sd, secrets, "    ");
}

static void put_relabels(struct buf *out, const char *key, const struct relabels *r)
{
    if (r->n > 0)
        buf_printf(out, "  %s:\n", key);
    for (size_t i = 0; i < r->n; i++) {
        const struct relabel *c = &r->items[i];
        bool equal = c->action == RELABEL_KEEPEQUAL || c->action == RELABEL_DROPEQUAL;

        if (c->action == RELABEL_LABELDROP || c->action == RELABEL_LABELKEEP) {
            put(out, "  - ", "regex", c->regex_text); /* Prometheus takes no other key with these */
            put(out, "    ", "action", relabel_action_names[c->action]);
            continue;
        }
        buf_add_str(out, "  - source_labels: [");
        for (char **l = c->source_labels; l != NULL && *l != NULL; l++) {
            buf_add_str(out, l != c->source_labels ? ", " : "");
            put_text(out, *l);
        }
        buf_add_str(out, "]\n");
        if (!equal) {
            put(out, "    ", "separator", c->separator);
            put(out, "    ", "regex", c->regex_text);
        }
        if (c->target_label[0] != 0)
            put(out, "    ", "target_label", c->target_label);
        if (c->modulus > 0)
            buf_printf(out, "    modulus: %" PRIu64 "\n", c->modulus);
        if (!equal)
            put(out, "    ", "replacement", c->replacement);
        put(out, "    ", "action", relabel_action_names[c->action]);
    }
}

static void put_groups(struct buf *out, const struct target_groups *groups)
{
    if (groups->n > 0)
        buf_add_str(out, "  static_configs:\n");
    for (size_t i = 0; i < groups->n; i++) {
        const struct target_group *g = &groups->items[i];

        buf_add_str(out, "  - targets:\n");
        for (char **a = g->addresses; *a != NULL; a++) {
            buf_add_str(out, "    - ");
            put_text(out, *a);
            buf_add_char(out, '\n');
        }
        if (g->labels.n > 0)
            buf_add_str(out, "    labels:\n");
        for (size_t k = 0; k < g->labels.n; k++)
            put(out, "      ", g->labels.items[k].name, g->labels.items[k].value);
    }
}

/* Whom it reaches, but for those that a server names. */
static void put_found(struct buf *out, const struct job *j)
{
    put_groups(out, &j->groups);
    for (char **f = j->sd_files; f != NULL && *f != NULL; f++) {
        buf_add_str(out, f == j->sd_files ? "  file_sd_configs:\n  - files:\n    - " : "    - ");
        put_text(out, *f);
        buf_add_char(out, '\n');
    }
}

void job_print(const struct job *j, bool secrets, struct buf *out)
{
    put(out, "- ", "job_name", j->name);
    put_flag(out, "honor_labels", j->honor_labels);
    put_flag(out, "honor_timestamps", j->honor_timestamps);
    put_flag(out, "track_timestamps_staleness", j->track_timestamps_staleness);
    for (size_t i = 0; i < j->params.n; i++) {
        if (i == 0)
            buf_add_str(out, "  params:\n");
        if (i == 0 || strcmp(j->params.items[i].name, j->params.items[i - 1].name) != 0) {
            buf_add_str(out, "    ");
            put_text(out, j->params.items[i].name);
            buf_add_str(out, ":\n");
        }
        buf_add_str(out, "    - ");
        put_text(out, j->params.items[i].value);
        buf_add_char(out, '\n');
    }
    put_duration(out, "  ", "scrape_interval", j->interval_ms);
    put_duration(out, "  ", "scrape_timeout", j->timeout_ms);
    put_flag(out, "scrape_native_histograms", j->native_histograms);
    put_flag(out, "always_scrape_classic_histograms", j->classic_histograms);
    put_flag(out, "convert_classic_histograms_to_nhcb", j->convert_histograms);
    if (secrets) /* for comparing */
        put(out, "  ", "accept", j->accept);
    if (j->has_fallback)
        put(out, "  ", "fallback_scrape_protocol",
            j->fallback == EXPOSITION_TEXT ? "PrometheusText0.0.4" : "OpenMetricsText1.0.0");
    put(out, "  ", "metrics_path", j->metrics_path);
    put(out, "  ", "scheme", j->scheme);
    put_flag(out, "enable_compression", j->enable_compression);
    put_flag(out, "extra_scrape_metrics", j->extra_scrape_metrics);
    put_limit(out, "sample_limit", j->sample_limit);
    put_limit(out, "body_size_limit", j->body_size_limit);
    put_limit(out, "label_limit", j->label_limit);
    put_limit(out, "label_name_length_limit", j->label_name_length_limit);
    put_limit(out, "label_value_length_limit", j->label_value_length_limit);
    put_limit(out, "target_limit", j->target_limit);
    put_flag(out, "follow_redirects", j->follow_redirects);
    put_auth(out, j, secrets, "  ");
    put_relabels(out, "relabel_configs", &j->relabel);
    put_relabels(out, "metric_relabel_configs", &j->metric_relabel);
    if (secrets) /* for comparing: what is scraped does not change how */
        return;
    put_found(out, j);
    if (j->n_http_sd > 0)
        buf_add_str(out, "  http_sd_configs:\n");
    for (size_t i = 0; i < j->n_http_sd; i++)
        http_sd_print(j->http_sd[i], false, out);
}

/* A list of patterns of files. */
static void put_patterns(struct buf *out, const char *key, char **patterns)
{
    if (patterns != NULL && *patterns != NULL)
        buf_printf(out, "%s:\n", key);
    for (; patterns != NULL && *patterns != NULL; patterns++) {
        buf_add_str(out, "- ");
        put_text(out, *patterns);
        buf_add_char(out, '\n');
    }
}

#define ALERTS_PATH "/api/v2/alerts"

static void put_manager(struct buf *out, const struct job *j)
{
    size_t n = strlen(j->metrics_path) - strlen(ALERTS_PATH);
    autobuf prefix = {0};

    put(out, "- ", "scheme", j->scheme);
    buf_add(&prefix, j->metrics_path, n);
    if (n > 0)
        put(out, "  ", "path_prefix", prefix.data);
    put_duration(out, "  ", "timeout", j->timeout_ms);
    put(out, "  ", "api_version", "v2");
    put_flag(out, "follow_redirects", j->follow_redirects);
    put_auth(out, j, false, "  ");
    put_relabels(out, "relabel_configs", &j->relabel);
    put_found(out, j);
}

static void put_alerting(struct buf *out, const struct jobs *j)
{
    autobuf inner = {0};
    const char *line;

    if (j->alert_relabel.n > 0)
        put_relabels(&inner, "alert_relabel_configs", &j->alert_relabel);
    if (j->alertmanagers != NULL && j->alertmanagers->n > 0) {
        buf_add_str(&inner, "  alertmanagers:\n");
        for (size_t i = 0; i < j->alertmanagers->n; i++) {
            autobuf one = {0};

            put_manager(&one, j->alertmanagers->items[i]);
            for (line = one.data; line != NULL && *line != 0; line = strchr(line, '\n') + 1)
                buf_printf(&inner, "  %.*s\n", (int)strcspn(line, "\n"), line);
        }
    }
    if (inner.len > 0)
        buf_printf(out, "alerting:\n%s", inner.data);
}

void jobs_print(const struct jobs *j, struct buf *out)
{
    buf_add_str(out, "global:\n");
    put_duration(out, "  ", "scrape_interval", j->interval_ms);
    put_duration(out, "  ", "scrape_timeout", j->timeout_ms);
    put_duration(out, "  ", "evaluation_interval", j->evaluation_ms);
    if (j->external_labels.n > 0)
        buf_add_str(out, "  external_labels:\n");
    for (size_t i = 0; i < j->external_labels.n; i++)
        put(out, "    ", j->external_labels.items[i].name, j->external_labels.items[i].value);
    put_alerting(out, j);
    put_patterns(out, "rule_files", j->rule_files);
    put_patterns(out, "scrape_config_files", j->config_files);
    if (j->n > 0)
        buf_add_str(out, "scrape_configs:\n");
    for (size_t i = 0; i < j->n; i++)
        job_print(j->items[i], false, out);
}
