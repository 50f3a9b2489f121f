/* rule_files and alerting of prometheus.yml. */
#include "metrics/scrape/jobs_read.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <stdlib.h>

#define TIMEOUT_MS (10 * 1000)

static int check_keys(const struct yaml *y, struct buf *why)
{
    static const char *const keys[] = {
        "scheme", "path_prefix", "timeout", "api_version", "static_configs", "file_sd_configs",
        "relabel_configs", "alert_relabel_configs", "basic_auth", "authorization", "bearer_token",
        "bearer_token_file", "tls_config", "proxy_url", "http_headers", "follow_redirects",
        "enable_http2", NULL};

    if (y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected the keys of an Alertmanager");
    for (size_t i = 0; i < y->n_items; i++) {
        const char *key = y->items[i]->key->text;
        size_t n = strlen(key);

        if (n > 11 && strcmp(key + n - 11, "_sd_configs") == 0 &&
            strcmp(key, "file_sd_configs") != 0)
            return yaml_fail(y->items[i]->key, why,
                             "'%s' " REFUSE "; static_configs and file_sd_configs are", key);
        if (strcmp(key, "sigv4") == 0 || strcmp(key, "oauth2") == 0)
            return yaml_fail(y->items[i]->key, why, "'%s' " REFUSE "; authorization is", key);
    }
    return yaml_check_map(y, keys, why);
}

static int check_version(const struct yaml *y, struct buf *why)
{
    const struct yaml *version = job_value(y, "api_version");
    const char *text = "v2";

    if (version == NULL)
        return 0;
    if (yaml_string(version, &text, why) < 0)
        return -EINVAL;
    return strcmp(text, "v2") == 0
               ? 0
               : yaml_fail(version, why, "expected Alertmanager api version to be v2 but got %s",
                           text);
}

/* An Alertmanager is reached as a target is. */
static int read_manager(const struct yaml *y, size_t number, struct job *j, struct buf *why)
{
    const struct yaml *own = job_value(y, "alert_relabel_configs");
    autofree char *prefix = NULL;
    struct buf path = {0};
    size_t n;

    if (check_keys(y, why) < 0 || check_version(y, why) < 0)
        return -EINVAL;
    if (own != NULL)
        return yaml_fail(own->key, why,
                         "'alert_relabel_configs' of one Alertmanager " REFUSE
                         "; those of 'alerting' are");
    j->follow_redirects = true;
    j->honor_timestamps = true;
    j->interval_ms = 60 * 1000;
    j->timeout_ms = TIMEOUT_MS;
    j->scheme = xstrdup("http");
    buf_printf(&path, "alertmanager-%zu", number);
    j->name = buf_take(&path, NULL);
    if (job_text(y, "path_prefix", &prefix, why) < 0)
        return -EINVAL;
    n = prefix != NULL ? strlen(prefix) : 0;
    while (n > 0 && prefix[n - 1] == '/')
        n--;
    if (n > 0 && prefix[0] != '/')
        buf_add_char(&path, '/');
    buf_add(&path, prefix, n);
    buf_add_str(&path, "/api/v2/alerts");
    j->metrics_path = buf_take(&path, NULL);
    if (job_text(y, "scheme", &j->scheme, why) < 0 ||
        job_duration(y, "timeout", &j->timeout_ms, why) < 0 || job_auth(y, j, why) < 0 ||
        job_text(y, "proxy_url", &j->proxy_url, why) < 0 ||
        job_bool(y, "follow_redirects", &j->follow_redirects, why) < 0 ||
        job_headers(job_value(y, "http_headers"), &j->headers, why) < 0 ||
        relabels_read(job_value(y, "relabel_configs"), &j->relabel, why) < 0 ||
        groups_read(job_value(y, "static_configs"), &j->groups, why) < 0 ||
        job_file_sd(job_value(y, "file_sd_configs"), j, why) < 0)
        return -EINVAL;
    if (strcmp(j->scheme, "http") != 0 && strcmp(j->scheme, "https") != 0)
        return yaml_fail(job_value(y, "scheme"), why, "scheme '%s' is neither http nor https",
                         j->scheme);
    return 0;
}

static int read_managers(const struct yaml *list, struct jobs *all, struct buf *why)
{
    struct jobs *managers;

    if (list == NULL)
        return 0;
    if (list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list of Alertmanagers");
    managers = all->alertmanagers = xcalloc(1, sizeof *managers);
    managers->refs = 1;
    managers->interval_ms = managers->timeout_ms = 60 * 1000;
    managers->items = xcalloc(list->n_items + 1, sizeof *managers->items);
    for (size_t i = 0; i < list->n_items; i++) {
        struct job *j = managers->items[managers->n++] = xcalloc(1, sizeof *j);
        autobuf text = {0};

        if (read_manager(list->items[i], i, j, why) < 0)
            return -EINVAL;
        job_resolve(all->folder, j);
        all->has_secrets |= j->password != NULL || j->credentials != NULL || j->headers.n > 0;
        job_print(j, true, &text);
        j->text = buf_take(&text, NULL);
    }
    return 0;
}

int alerting_read(const struct yaml *top, struct jobs *all, struct buf *why)
{
    static const char *const keys[] = {"alert_relabel_configs", "alertmanagers", NULL};
    const struct yaml *alerting = job_value(top, "alerting");

    if (job_patterns(job_value(top, "rule_files"), "rule_files", &all->rule_files, why) < 0)
        return -EINVAL;
    if (alerting == NULL)
        return 0;
    if (yaml_check_map(alerting, keys, why) < 0 ||
        relabels_read(job_value(alerting, "alert_relabel_configs"), &all->alert_relabel, why) < 0)
        return -EINVAL;
    return read_managers(job_value(alerting, "alertmanagers"), all, why);
}
