/* config.h: the configuration, infrafs.yml and INFRAFS_… and flags, as one const struct; and the
 * limits on everything a client sizes. */
#ifndef CONFIG_H
#define CONFIG_H

#include "base/buf.h"

#include <sys/types.h>

enum config_area {
    AREA_SECRETS = 1,
    AREA_PACKAGES = 2,
    AREA_IMAGES = 4,
    AREA_METRICS = 8,
    AREA_TREE = 16,  /* /tree/ and the page */
    AREA_ALL = 31,
};

struct config_listen {
    char *address;          /* "127.0.0.1:8080", "[::1]:8080" */
    unsigned areas;         /* enum config_area; health and /metrics are everywhere */
    char *certificate, *key; /* PEM files; NULL: no TLS. Read again when they change */
};

struct config_identity {
    bool is_group;
    uint32_t id;            /* uid or gid */
    char *user;             /* acts as this user of the file; or NULL */
    char **policies;        /* NULL-terminated; or NULL */
};

/* A secret that a systemd unit gets as a credential. */
struct config_grant {
    char *unit;       /* "shop.service"; `*` stands for anything */
    char *credential; /* its name there; `*` likewise */
    char *secret;     /* a file below the services of the tree; {credential} is replaced */
};

/* What a client of the registry is sent to when it must log in. AUTO: tokens where the policy
 * "anonymous" gives something below images/ (docker pulls without a login only so), else Basic. */
enum images_auth { IMAGES_AUTH_AUTO, IMAGES_AUTH_BASIC, IMAGES_AUTH_BEARER };

/* Repositories <prefix>/<name> are those of another registry, kept here when they are pulled. */
struct config_mirror {
    char *prefix;         /* "docker.io" */
    char *upstream;       /* "https://registry-1.docker.io" */
    char *username;       /* NULL: nobody in particular */
    char *password_file;
    char *realm;          /* of another host, that may see the password too; or NULL */
    int64_t fresh_ms;     /* a tag is asked for again after this; -1: 1 m */
    bool is_default;      /* a name that nobody has here is asked for there */
};

/* The first rule whose patterns fit a tag says whether it stays. -1 and 0: no such condition. */
struct config_retention {
    char *repositories, *tags; /* globs */
    uint64_t keep_last;
    int64_t keep_pulled_ms, keep_pushed_ms;
    int64_t untagged_ms;  /* manifests without a tag go after this */
};

/* Of several rules the first whose selector fits a series says how long its samples stay. */
struct config_keep {
    char *match; /* a selector of PromQL */
    int64_t keep_ms;
};

enum config_webhook_actions {
    WEBHOOK_PUSH = 1,
    WEBHOOK_PULL = 2,
    WEBHOOK_DELETE = 4,
    WEBHOOK_MOUNT = 8,
    WEBHOOK_ALL = 15
};
/* What an endpoint does not want to hear of, as docker distribution's `ignore`. */
struct config_ignore {
    char **media_types;
    size_t n_media_types;
    unsigned actions; /* enum config_webhook_actions */
};
struct config_webhook {
    char *url;
    char *authorization_file; /* the value of the header; or NULL */
    char *repositories;       /* glob */
    unsigned actions;         /* enum config_webhook_actions */
    struct config_ignore ignore;
};

/* What a client may make us do or hold. One table; every limit has a test that goes one over. */
struct config_limits {
    uint64_t header_bytes;         /* 32 KiB: request line and headers */
    uint64_t json_bytes;           /* 32 MiB */
    uint64_t manifest_bytes;       /* 4 MiB */
    uint64_t secret_value_bytes;   /* 1 MiB: one field */
    uint64_t package_bytes;        /* 4 GiB: one file */
    uint64_t blob_bytes;           /* 64 GiB: one layer */
    uint64_t form_field_bytes;     /* 5 MiB: one text field of an upload */
    uint64_t form_bytes;           /* 16 MiB: all text fields together */
    uint64_t connections;          /* 4096 */
    uint64_t connections_per_address; /* 1024 */
    int64_t idle_timeout_ms;       /* 60 s: between requests, and while nothing moves */
    int64_t request_timeout_ms;    /* 0: none; whole request */
    uint64_t scrape_body_bytes;    /* 256 MiB */
    uint64_t disk_reserve_bytes;   /* 64 MiB */
};

struct config {
    char *file;             /* where it was read from; NULL: defaults */
    char *data;             /* /var/lib/infrafs */
    char *mount;            /* /mnt/infra; NULL with --no-mount */
    char *store;            /* "rocks:DATA/store" */
    uint64_t memory_bytes;  /* caches and buffers; 0: the store's default */
    struct config_listen *listen;
    size_t n_listen;
    char *users;            /* DATA/htpasswd */
    char *prometheus;       /* DATA/prometheus.yml */
    char *rules;            /* metrics.rules, DATA/rules: the folder of files of rules */
    char *external_url;     /* metrics.external_url: in links of alerts; NULL: the host's name */
    char *webhook;          /* metrics.alert_webhook: a URL that alerts are posted to; NULL: none */
    char *unseal;           /* "keyfile:DATA/unseal.key" */
    struct config_identity *identities;
    size_t n_identities;
    char *audit_file;       /* DATA/audit.log; "" with audit: off */
    uint64_t audit_rotate_bytes;  /* 100 MiB */
    unsigned audit_keep;    /* 10 */
    unsigned secrets_filter_lists; /* 1: lists over HTTP, too, hide what the caller may not read */
    char *credentials_socket; /* where systemd asks for credentials; "": nowhere */
    struct config_grant *grants;
    size_t n_grants;
    char *run_as;           /* user to become after mount and ports are open; NULL: stay */
    bool packages_overwrite;      /* false, and stays so: releases are immutable */
    char *packages_mirror;        /* packages.mirror: the simple index behind ours; NULL: none */
    char **packages_mirror_allow; /* names and patterns of what may come from it, NULL-terminated */
    int64_t packages_mirror_refresh_ms; /* 10 m: after that it is asked again */
    int64_t packages_mirror_keep_ms;    /* 0: for good; else as long as somebody asks for it */
    uint64_t packages_mirror_size_bytes; /* 0: any; else what was not asked for longest goes */
    char *packages_mirror_credentials;  /* a file, "user:password"; "": none */
    char *packages_mirror_ca;           /* a file of certificates; "": the system's */
    int64_t gc_grace_ms;    /* images.gc_grace, 1 h */
    int64_t upload_idle_ms; /* images.upload_idle, 24 h: an upload that nobody goes on with ends */
    enum images_auth images_auth;
    struct config_mirror *mirrors;       /* images.mirrors */
    size_t n_mirrors;
    struct config_retention *retention;  /* images.retention */
    size_t n_retention;
    struct config_webhook *webhooks;     /* images.webhooks */
    size_t n_webhooks;
    int64_t scrub_every_ms;     /* scrub.every, 30 d; 0: only when asked */
    uint64_t scrub_rate_bytes;  /* scrub.rate, 32 MiB a second; 0: as fast as it goes */
    int64_t retention_ms;   /* metrics.retention, 15 d; 0: for ever */
    struct config_keep *keeps; /* metrics.retention_rules */
    size_t n_keeps;
    uint64_t retention_bytes; /* metrics.retention_size, 0: no limit */
    /* metrics.downsample: of days that are over, one sample in so long stands beside all, and alone
     * behind retention; 0: none does. downsample_keep, 1 y: for as long as this. */
    int64_t downsample_ms, downsample_keep_ms;
    int64_t push_age_ms;      /* metrics.push_age, 1 d: what was pushed is stale after it */
    int64_t out_of_order_ms;  /* metrics.out_of_order_window, 1 h */
    unsigned created_timestamps; /* metrics.created_timestamps, 0; 1: counters begin with a zero */
    struct config_limits limits;
};

/* What the command line said; NULL and 0 where it said nothing. */
struct config_flags {
    const char *config, *data, *mount, *htpasswd, *prometheus;
    bool no_mount;
    const char *const *listen;
    size_t n_listen;
};

/* Flags beat the environment (INFRAFS_METRICS_RETENTION is metrics.retention), that beats the file,
 * that beats the defaults. -EINVAL, or the errno of reading the file, with the reason in why:
 * "FILE: line L, column C: unknown key 'x'; did you mean 'y'?". Returns new. */
int config_load(const struct config_flags *flags, struct config **ret, struct buf *why);
void config_free(struct config *c);
/* The same from a text alone, with no environment: for checks and tests. */
int config_parse(struct slice text, struct config **ret, struct buf *why);
void config_dump(const struct config *c, struct buf *out); /* as YAML that config_parse reads back */

#endif
