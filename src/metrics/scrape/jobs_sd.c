/* file_sd_configs and http_sd_configs. */
#include "base/alloc.h"
#include "metrics/scrape/jobs_read.h"

#include <errno.h>
#include <stdlib.h>

#define HTTP_SD_REFRESH_MS 60000

int job_file_sd(const struct yaml *list, struct job *j, struct buf *why)
{
    static const char *const keys[] = {"files", "refresh_interval", NULL};
    size_t n = 0;

    if (list != NULL && list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list");
    for (size_t i = 0; list != NULL && i < list->n_items; i++) {
        char **files = NULL;
        size_t more = 0;

        if (yaml_check_map(list->items[i], keys, why) < 0 ||
            job_strings(job_value(list->items[i], "files"), &files, why) < 0)
            return -EINVAL;
        while (files != NULL && files[more] != NULL)
            more++;
        j->sd_files = xrealloc(j->sd_files, (n + more + 1) * sizeof *j->sd_files);
        for (size_t k = 0; k < more; k++)
            j->sd_files[n++] = files[k];
        j->sd_files[n] = NULL;
        free(files);
    }
    return 0;
}

static int read_http_sd(const struct yaml *y, struct job *sd, struct buf *why)
{
    static const char *const keys[] = {
        "url",        "refresh_interval", "basic_auth",    "authorization", "bearer_token",
        "tls_config", "bearer_token_file", "http_headers", "proxy_url",     "follow_redirects",
        "enable_http2", NULL};
    autobuf text = {0};

    sd->interval_ms = HTTP_SD_REFRESH_MS;
    sd->enable_compression = sd->follow_redirects = true;
    if (yaml_check_map(y, keys, why) < 0 || job_text(y, "url", &sd->sd_url, why) < 0 ||
        job_duration(y, "refresh_interval", &sd->interval_ms, why) < 0 ||
        job_bool(y, "follow_redirects", &sd->follow_redirects, why) < 0 ||
        job_text(y, "proxy_url", &sd->proxy_url, why) < 0 || job_auth(y, sd, why) < 0 ||
        job_headers(job_value(y, "http_headers"), &sd->headers, why) < 0)
        return -EINVAL;
    if (sd->sd_url == NULL)
        return yaml_fail(y, why, "URL is missing");
    if (strncmp(sd->sd_url, "http://", 7) != 0 && strncmp(sd->sd_url, "https://", 8) != 0)
        return yaml_fail(yaml_get(y, "url"), why, "URL scheme must be 'http' or 'https'");
    sd->timeout_ms = sd->interval_ms;
    http_sd_print(sd, true, &text);
    sd->text = buf_take(&text, NULL);
    return 0;
}

int job_http_sd(const struct yaml *list, struct job *j, struct buf *why)
{
    if (list != NULL && list->kind != YAML_LIST)
        return yaml_fail(list, why, "expected a list");
    if (list == NULL)
        return 0;
    j->http_sd = xcalloc(list->n_items + 1, sizeof *j->http_sd);
    for (size_t i = 0; i < list->n_items; i++) {
        j->http_sd[i] = xcalloc(1, sizeof **j->http_sd);
        j->n_http_sd++;
        if (read_http_sd(list->items[i], j->http_sd[i], why) < 0)
            return -EINVAL;
    }
    return 0;
}
