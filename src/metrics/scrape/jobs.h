/* jobs.h: prometheus.yml as structs. Strict: an unknown key, a value of the wrong kind, or a
 * discovery that is not supported is refused with its line and column. */
#ifndef METRICS_SCRAPE_JOBS_H
#define METRICS_SCRAPE_JOBS_H

#include "metrics/scrape/exposition.h"
#include "metrics/scrape/relabel.h"

struct pair {
    char *name, *value;
};
struct pairs {
    struct pair *items;
    size_t n;
};

/* One entry of static_configs; or of a file of file_sd_configs. */
struct target_group {
    char **addresses; /* NULL-terminated */
    struct pairs labels;
};
struct target_groups {
    struct target_group *items;
    size_t n;
};

struct job {
    char *name;
    int64_t interval_ms, timeout_ms;
    char *metrics_path, *scheme;
    struct pairs params; /* a name may stand several times */
    bool honor_labels, honor_timestamps, track_timestamps_staleness;
    bool pushed; /* written as files: there are no reports on scrapes */
    bool enable_compression, follow_redirects, extra_scrape_metrics;
    bool native_histograms, classic_histograms; /* scrape_…, always_scrape_classic_… */
    bool convert_histograms;                    /* convert_classic_histograms_to_nhcb */
    char *accept; /* what scrape_protocols ask for, as the header has it */
    bool has_fallback;
    enum exposition_format fallback;                    /* fallback_scrape_protocol */
    char *username, *password, *password_file;          /* basic_auth; NULL where absent */
    char *username_file;
    char *auth_type, *credentials, *credentials_file;   /* authorization */
    char *ca_file, *cert_file, *key_file, *server_name; /* tls_config */
    bool insecure_skip_verify;
    unsigned tls_min, tls_max; /* 1: TLS 1.0, … 4: TLS 1.3; 0: not given */
    char *proxy_url;
    struct pairs headers; /* http_headers */
    struct relabels relabel, metric_relabel;
    uint64_t sample_limit, body_size_limit, label_limit, label_name_length_limit,
        label_value_length_limit, target_limit; /* 0: none */
    struct target_groups groups;
    char **sd_files; /* file_sd_configs: globs; NULL-terminated */
    /* http_sd_configs: of each, how to reach it, interval_ms and sd_url are set. */
    struct job **http_sd;
    size_t n_http_sd;
    char *sd_url;    /* NULL: this is a job that scrapes */
    char *text;      /* all but the targets as YAML, to compare jobs by; secrets included */
};

/* Shared by reference count: a scrape under way keeps the one it began with. */
struct jobs {
    unsigned refs; /* atomic */
    int64_t interval_ms, timeout_ms, evaluation_ms;
    bool native_histograms, classic_histograms, convert_histograms;
    char **protocols; /* scrape_protocols; NULL: those of Prometheus */
    struct pairs external_labels;
    int64_t query_offset_ms;    /* rule_query_offset */
    char **rule_files;          /* patterns, NULL-terminated; or NULL */
    char **config_files;        /* scrape_config_files, likewise */
    const char *folder;         /* of the file, while it is parsed */
    struct relabels alert_relabel;
    struct jobs *alertmanagers; /* each reached as the targets of a job are; NULL: none */
    struct job **items;
    size_t n;
    bool has_secrets; /* a password or token stands in the text */
    char *yaml;       /* as /api/v1/status/config shows it: secrets masked */
};

/* -EINVAL with "line L, column C: reason" in why. Paths are relative to the folder; NULL: they stay
 * as they are, and no other file is read. Returns new, with one reference. */
int jobs_parse(struct slice text, const char *folder, struct jobs **ret, struct buf *why);
/* The patterns of scrape_config_files, though the rest may not be valid; NULL-terminated, or NULL.
 * Returns new: job_strings_free. */
char **jobs_included(struct slice text, const char *folder);
void job_strings_free(char **list);
/* f for each file that the patterns name now. */
void sd_files_each(char **patterns, void (*f)(void *ctx, const char *file), void *ctx);
/* Adds the groups of the job's files. -EINVAL: some do not parse, which is logged. */
int sd_files_read(const struct job *j, struct target_groups *ret);
struct jobs *jobs_ref(struct jobs *j);
void jobs_unref(struct jobs *j); /* NULL is fine */

/* A file of file_sd_configs, JSON or YAML: a list of {targets, labels}. Groups are appended. */
int target_groups_parse(struct slice text, struct target_groups *ret, struct buf *why);
void target_groups_done(struct target_groups *g);
void target_group_copy(struct target_groups *to, const struct target_group *g); /* behind them */

/* For the files of the parser. */
void pairs_add(struct pairs *p, const char *name, const char *value); /* copies */
void pairs_done(struct pairs *p);
void job_free(struct job *j);
struct yaml;
int groups_read(const struct yaml *list, struct target_groups *ret, struct buf *why);
int relabels_read(const struct yaml *list, struct relabels *ret, struct buf *why);
void job_print(const struct job *j, bool secrets, struct buf *out);
void http_sd_print(const struct job *sd, bool secrets, struct buf *out);
void jobs_print(const struct jobs *j, struct buf *out);

#endif
