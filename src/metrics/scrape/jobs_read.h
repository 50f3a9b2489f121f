/* jobs_read.h: for the files that read prometheus.yml: one key each. The readers leave *ret alone
 * where the key is absent; -EINVAL with a reason in why. */
#ifndef METRICS_SCRAPE_JOBS_READ_H
#define METRICS_SCRAPE_JOBS_READ_H

#include "metrics/scrape/jobs.h"

#include "base/yaml.h"

#define REFUSE "is not supported here"

/* The value of a key; NULL if it is absent or empty. */
const struct yaml *job_value(const struct yaml *map, const char *key);
int job_text(const struct yaml *map, const char *key, char **ret, struct buf *why);
int job_bool(const struct yaml *map, const char *key, bool *ret, struct buf *why);
int job_duration(const struct yaml *map, const char *key, int64_t *ret, struct buf *why);
int job_count(const struct yaml *map, const char *key, uint64_t *ret, struct buf *why);
int job_strings(const struct yaml *list, char ***ret, struct buf *why); /* NULL-terminated */
int job_labels(const struct yaml *map, struct pairs *ret, struct buf *why);

/* How to reach something: basic_auth, authorization, tls_config, proxy_url, follow_redirects. */
int job_auth(const struct yaml *map, struct job *j, struct buf *why);
int job_headers(const struct yaml *map, struct pairs *ret, struct buf *why);
/* rule_files and alerting; jobs_alerting.c. */
int alerting_read(const struct yaml *top, struct jobs *all, struct buf *why);
/* What is asked of a target: scrape_protocols, scrape_native_histograms; `otherwise`: the global
 * ones. */
int job_protocols(const struct yaml *map, char **const otherwise, struct job *j, struct buf *why);
int job_protocol_names(const struct yaml *map, char ***ret, struct buf *why);
/* Paths of files: jobs_files.c. */
int job_patterns(const struct yaml *list, const char *key, char ***ret, struct buf *why);
void jobs_resolve(const char *folder, char **paths);
void job_resolve(const char *folder, struct job *j);
int jobs_read(const struct yaml *list, struct jobs *all, struct buf *why); /* scrape_configs */
int jobs_read_files(const struct yaml *top, struct jobs *all, struct buf *why);
/* Discovery. */
int job_file_sd(const struct yaml *list, struct job *j, struct buf *why);
int job_http_sd(const struct yaml *list, struct job *j, struct buf *why);

#endif
