#include "base/alloc.h"
#include "metrics/scrape/jobs_read.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define INTERVAL_MS 60000
#define TIMEOUT_MS  10000

void pairs_add(struct pairs *p, const char *name, const char *value)
{
    p->items = xrealloc(p->items, (p->n + 1) * sizeof *p->items);
    p->items[p->n++] = (struct pair){xstrdup(name), xstrdup(value)};
}

void pairs_done(struct pairs *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].name);
        free(p->items[i].value);
    }
    free(p->items);
    *p = (struct pairs){0};
}

void target_groups_done(struct target_groups *g)
{
    for (size_t i = 0; i < g->n; i++) {
        job_strings_free(g->items[i].addresses);
        pairs_done(&g->items[i].labels);
    }
    free(g->items);
    *g = (struct target_groups){0};
}

void target_group_copy(struct target_groups *to, const struct target_group *g)
{
    struct target_group *copy;
    size_t n = 0;

    to->items = xrealloc(to->items, (to->n + 1) * sizeof *to->items);
    copy = &to->items[to->n++];
    *copy = (struct target_group){0};
    while (g->addresses[n] != NULL)
        n++;
    copy->addresses = xcalloc(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        copy->addresses[i] = xstrdup(g->addresses[i]);
    for (size_t i = 0; i < g->labels.n; i++)
        pairs_add(&copy->labels, g->labels.items[i].name, g->labels.items[i].value);
}

void job_free(struct job *j)
{
    char *const texts[] = {
        j->name,          j->metrics_path, j->scheme,      j->username,         j->password,
        j->password_file, j->auth_type,    j->credentials, j->credentials_file, j->ca_file,
        j->cert_file,     j->key_file,     j->server_name, j->proxy_url,        j->text,
        j->username_file, j->sd_url,       j->accept};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    pairs_done(&j->params);
    pairs_done(&j->headers);
    relabels_done(&j->relabel);
    relabels_done(&j->metric_relabel);
    target_groups_done(&j->groups);
    job_strings_free(j->sd_files);
    for (size_t i = 0; i < j->n_http_sd; i++)
        job_free(j->http_sd[i]);
    free(j->http_sd);
    free(j);
}

struct jobs *jobs_ref(struct jobs *j)
{
    __atomic_add_fetch(&j->refs, 1, __ATOMIC_RELAXED);
    return j;
}

void jobs_unref(struct jobs *j)
{
    if (j == NULL || __atomic_sub_fetch(&j->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < j->n; i++)
        job_free(j->items[i]);
    free(j->items);
    pairs_done(&j->external_labels);
    job_strings_free(j->rule_files);
    job_strings_free(j->config_files);
    relabels_done(&j->alert_relabel);
    jobs_unref(j->alertmanagers);
    job_strings_free(j->protocols);
    free(j->yaml);
    free(j);
}

int groups_read(const struct yaml *list, struct target_groups *ret, struct buf *why)
{
    static const char *const keys[] = {"targets", "labels", NULL};
    int r = 0;

    if (list == NULL)
        return 0;
    if (list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list of targets");
    for (size_t i = 0; i < list->n_items && r == 0; i++) {
        const struct yaml *y = list->items[i];
        struct target_group *g;

        r = yaml_check_map(y, keys, why);
        if (r < 0)
            return r;
        ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof *ret->items);
        g = &ret->items[ret->n++];
        *g = (struct target_group){0};
        r = job_strings(job_value(y, "targets"), &g->addresses, why);
        if (r == 0)
            r = job_labels(job_value(y, "labels"), &g->labels, why);
        for (size_t k = 0; r == 0 && g->addresses != NULL && g->addresses[k] != NULL; k++)
            if (strpbrk(g->addresses[k], "/ ") != NULL || g->addresses[k][0] == 0)
                r = yaml_fail(yaml_get(y, "targets")->items[k], why,
                              "'%s' is not a host and port; the path is metrics_path",
                              g->addresses[k]);
        if (r == 0 && g->addresses == NULL)
            g->addresses = xcalloc(1, sizeof *g->addresses);
    }
    return r;
}

int target_groups_parse(struct slice text, struct target_groups *ret, struct buf *why)
{
    struct yaml *y = NULL;
    int r = yaml_parse(text, &y, why);

    if (r == 0)
        r = groups_read(y, ret, why);
    yaml_free(y);
    return r;
}

static int read_params(const struct yaml *y, struct pairs *ret, struct buf *why)
{
    if (y != NULL && y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected names with lists of values");
    for (size_t i = 0; y != NULL && i < y->n_items; i++) {
        char **values = NULL;

        if (job_strings(y->items[i], &values, why) < 0)
            return -EINVAL;
        for (char **v = values; *v != NULL; v++)
            pairs_add(ret, y->items[i]->key->text, *v);
        job_strings_free(values);
    }
    return 0;
}

/* Keys of Prometheus that change nothing here as long as they have these values. */
static int check_inert(const struct yaml *map, struct buf *why)
{
    static const char *const off[] = {"enable_http3", NULL};

    for (const char *const *key = off; *key != NULL; key++) {
        bool on = false;

        if (job_bool(map, *key, &on, why) < 0)
            return -EINVAL;
        if (on)
            return yaml_fail(yaml_get(map, *key), why, "'%s' " REFUSE, *key);
    }
    return 0;
}

static int read_limits(const struct yaml *map, struct job *j, struct buf *why)
{
    const struct yaml *size = job_value(map, "body_size_limit");

    if (job_count(map, "sample_limit", &j->sample_limit, why) < 0 ||
        job_count(map, "label_limit", &j->label_limit, why) < 0 ||
        job_count(map, "label_name_length_limit", &j->label_name_length_limit, why) < 0 ||
        job_count(map, "label_value_length_limit", &j->label_value_length_limit, why) < 0 ||
        job_count(map, "target_limit", &j->target_limit, why) < 0)
        return -EINVAL;
    return size != NULL ? yaml_size(size, &j->body_size_limit, why) : 0;
}

static int read_fallback(const struct yaml *map, struct job *j, struct buf *why)
{
    static const char *const words[] = {"PrometheusText0.0.4", "PrometheusText1.0.0",
                                        "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", NULL};
    const struct yaml *y = job_value(map, "fallback_scrape_protocol");
    const char *text = NULL;

    if (y == NULL)
        return 0;
    if (yaml_string(y, &text, why) < 0)
        return -EINVAL;
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0) {
            j->has_fallback = true;
            j->fallback = i < 2 ? EXPOSITION_TEXT : EXPOSITION_OPENMETRICS;
            return 0;
        }
    return yaml_fail(y, why, "'%s' is not a format that is read here; 'PrometheusText0.0.4' is",
                     text);
}

static int check_times(const struct yaml *map, struct job *j, bool given, struct buf *why)
{
    if (!given && j->timeout_ms > j->interval_ms)
        j->timeout_ms = j->interval_ms;
    if (j->timeout_ms > j->interval_ms)
        return yaml_fail(map, why, "scrape timeout greater than scrape interval for job '%s'",
                         j->name);
    return 0;
}

static int check_scheme(const struct yaml *map, const struct job *j, struct buf *why)
{
    if (strcmp(j->scheme, "http") != 0 && strcmp(j->scheme, "https") != 0)
        return yaml_fail(yaml_get(map, "scheme"), why, "scheme '%s' is neither http nor https",
                         j->scheme);
    return 0;
}

static const char *const job_keys[] = {
    "job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "params",
    "honor_labels", "honor_timestamps", "track_timestamps_staleness", "enable_compression",
    "follow_redirects", "extra_scrape_metrics", "basic_auth", "authorization", "bearer_token",
    "bearer_token_file", "tls_config", "proxy_url", "http_headers", "relabel_configs",
    "metric_relabel_configs", "static_configs", "file_sd_configs", "http_sd_configs",
    "sample_limit",
    "body_size_limit", "label_limit", "label_name_length_limit", "label_value_length_limit",
    "target_limit", "fallback_scrape_protocol",
    /* without effect */
    "keep_dropped_targets", "enable_http2", "enable_http3", "scrape_protocols",
    "scrape_native_histograms", "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb", "metric_name_validation_scheme",
    "metric_name_escaping_scheme", "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor", NULL};

static int check_job_keys(const struct yaml *y, struct buf *why)
{
    if (y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected the keys of a job");
    for (size_t i = 0; i < y->n_items; i++) {
        const char *key = y->items[i]->key->text;
        size_t n = strlen(key);

        if (n > 11 && strcmp(key + n - 11, "_sd_configs") == 0 &&
            strcmp(key, "file_sd_configs") != 0 && strcmp(key, "http_sd_configs") != 0)
            return yaml_fail(y->items[i]->key, why,
                             "'%s' " REFUSE "; static_configs, file_sd_configs and "
                             "http_sd_configs are",
                             key);
        if (strcmp(key, "oauth2") == 0)
            return yaml_fail(y->items[i]->key, why, "'oauth2' " REFUSE "; authorization is");
    }
    return yaml_check_map(y, job_keys, why);
}

static int read_job(const struct yaml *y, const struct jobs *all, struct job *j, struct buf *why)
{
    int r = check_job_keys(y, why);

    if (r < 0)
        return r;
    j->interval_ms = all->interval_ms;
    j->timeout_ms = all->timeout_ms;
    j->honor_timestamps = j->enable_compression = j->follow_redirects = true;
    j->native_histograms = all->native_histograms;
    j->classic_histograms = all->classic_histograms;
    j->convert_histograms = all->convert_histograms;
    j->metrics_path = xstrdup("/metrics");
    j->scheme = xstrdup("http");
    if (job_text(y, "job_name", &j->name, why) < 0)
        return -EINVAL;
    if (j->name == NULL || j->name[0] == 0)
        return yaml_fail(y, why, "the job has no job_name");
    if (job_duration(y, "scrape_interval", &j->interval_ms, why) < 0 ||
        job_duration(y, "scrape_timeout", &j->timeout_ms, why) < 0 ||
        check_times(y, j, job_value(y, "scrape_timeout") != NULL, why) < 0 ||
        job_text(y, "metrics_path", &j->metrics_path, why) < 0 ||
        job_text(y, "scheme", &j->scheme, why) < 0 || check_scheme(y, j, why) < 0 ||
        read_params(job_value(y, "params"), &j->params, why) < 0 ||
        job_bool(y, "honor_labels", &j->honor_labels, why) < 0 ||
        job_bool(y, "honor_timestamps", &j->honor_timestamps, why) < 0 ||
        job_bool(y, "track_timestamps_staleness", &j->track_timestamps_staleness, why) < 0 ||
        job_bool(y, "enable_compression", &j->enable_compression, why) < 0 ||
        job_bool(y, "follow_redirects", &j->follow_redirects, why) < 0 ||
        job_bool(y, "extra_scrape_metrics", &j->extra_scrape_metrics, why) < 0 ||
        job_auth(y, j, why) < 0 || job_text(y, "proxy_url", &j->proxy_url, why) < 0 ||
        job_headers(job_value(y, "http_headers"), &j->headers, why) < 0 ||
        read_limits(y, j, why) < 0 || read_fallback(y, j, why) < 0 ||
        job_bool(y, "convert_classic_histograms_to_nhcb", &j->convert_histograms, why) < 0 ||
        check_inert(y, why) < 0 ||
        job_protocols(y, all->protocols, j, why) < 0 ||
        relabels_read(job_value(y, "relabel_configs"), &j->relabel, why) < 0 ||
        relabels_read(job_value(y, "metric_relabel_configs"), &j->metric_relabel, why) < 0 ||
        groups_read(job_value(y, "static_configs"), &j->groups, why) < 0 ||
        job_file_sd(job_value(y, "file_sd_configs"), j, why) < 0 ||
        job_http_sd(job_value(y, "http_sd_configs"), j, why) < 0)
        return -EINVAL;
    return 0;
}

static bool has_secrets(const struct job *j)
{
    return j->password != NULL || j->credentials != NULL || j->headers.n > 0;
}

int jobs_read(const struct yaml *list, struct jobs *all, struct buf *why)
{
    if (list == NULL)
        return 0;
    if (list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list of jobs");
    all->items = xrealloc(all->items, (all->n + list->n_items + 1) * sizeof *all->items);
    for (size_t i = 0; i < list->n_items; i++) {
        struct job *j = all->items[all->n++] = xcalloc(1, sizeof *j);
        autobuf text = {0};

        if (read_job(list->items[i], all, j, why) < 0)
            return -EINVAL;
        for (size_t k = 0; k + 1 < all->n; k++)
            if (strcmp(all->items[k]->name, j->name) == 0)
                return yaml_fail(list->items[i], why,
                                 "found multiple scrape configs with job name '%s'", j->name);
        job_resolve(all->folder, j);
        all->has_secrets |= has_secrets(j);
        for (size_t k = 0; k < j->n_http_sd; k++)
            all->has_secrets |= has_secrets(j->http_sd[k]);
        job_print(j, true, &text);
        j->text = buf_take(&text, NULL);
    }
    return 0;
}

static int read_global(const struct yaml *y, struct jobs *all, struct buf *why)
{
    static const char *const keys[] = {"scrape_interval",
                                       "scrape_timeout",
                                       "evaluation_interval",
                                       "external_labels",
                                       "scrape_protocols",
                                       "rule_query_offset",
                                       "query_log_file",
                                       "scrape_failure_log_file",
                                       "metric_name_validation_scheme",
                                       "metric_name_escaping_scheme",
                                       "scrape_native_histograms",
                                       "always_scrape_classic_histograms",
                                       "convert_classic_histograms_to_nhcb",
                                       "extra_scrape_metrics",
                                       "keep_dropped_targets",
                                       NULL};

    if (y == NULL)
        return 0;
    if (yaml_check_map(y, keys, why) < 0 ||
        job_duration(y, "scrape_interval", &all->interval_ms, why) < 0 ||
        job_duration(y, "scrape_timeout", &all->timeout_ms, why) < 0 ||
        job_duration(y, "evaluation_interval", &all->evaluation_ms, why) < 0 ||
        job_duration(y, "rule_query_offset", &all->query_offset_ms, why) < 0 ||
        job_labels(job_value(y, "external_labels"), &all->external_labels, why) < 0 ||
        job_bool(y, "scrape_native_histograms", &all->native_histograms, why) < 0 ||
        job_bool(y, "always_scrape_classic_histograms", &all->classic_histograms, why) < 0 ||
        job_bool(y, "convert_classic_histograms_to_nhcb", &all->convert_histograms, why) < 0 ||
        job_protocol_names(y, &all->protocols, why) < 0 ||
        check_inert(y, why) < 0)
        return -EINVAL;
    if (job_value(y, "scrape_timeout") == NULL && all->timeout_ms > all->interval_ms)
        all->timeout_ms = all->interval_ms;
    if (all->timeout_ms > all->interval_ms)
        return yaml_fail(y, why, "global scrape timeout greater than scrape interval");
    return 0;
}

static int check_top(const struct yaml *y, struct buf *why)
{
    static const char *const keys[] = {"global",
                                       "scrape_configs",
                                       "rule_files",
                                       "alerting",
                                       "remote_write",
                                       "remote_read",
                                       "scrape_config_files",
                                       "storage",
                                       "tracing",
                                       "otlp",
                                       "runtime",
                                       NULL};
    static const char *const refused[] = {
        "remote_write", "remote_read", "tracing", "otlp", NULL};

    if (yaml_check_map(y, keys, why) < 0)
        return -EINVAL;
    for (const char *const *key = refused; *key != NULL; key++) {
        const struct yaml *v = job_value(y, *key);

        if (v != NULL && (v->kind == YAML_SCALAR || v->n_items > 0))
            return yaml_fail(v->key, why, "'%s' " REFUSE, *key);
    }
    return 0;
}

int jobs_parse(struct slice text, const char *folder, struct jobs **ret, struct buf *why)
{
    struct jobs *all = xcalloc(1, sizeof *all);
    struct yaml *y = NULL;
    autobuf yaml = {0};
    int r = yaml_parse(text, &y, why);

    all->refs = 1;
    all->folder = folder;
    all->interval_ms = all->evaluation_ms = INTERVAL_MS;
    all->timeout_ms = TIMEOUT_MS;
    if (r == 0)
        r = check_top(y, why);
    if (r == 0)
        r = read_global(job_value(y, "global"), all, why);
    if (r == 0)
        r = jobs_read(job_value(y, "scrape_configs"), all, why);
    if (r == 0)
        r = jobs_read_files(y, all, why);
    if (r == 0)
        r = alerting_read(y, all, why);
    yaml_free(y);
    if (r < 0) {
        jobs_unref(all);
        return r;
    }
    jobs_print(all, &yaml);
    all->yaml = buf_take(&yaml, NULL);
    all->folder = NULL;
    *ret = all;
    return 0;
}
