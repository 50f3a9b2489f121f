/* rules.h: the groups of rules: read from files, evaluated on time, remembered. Any thread. */
#ifndef METRICS_RULES_RULES_H
#define METRICS_RULES_RULES_H

#include "metrics/rules/alert.h"
#include "metrics/rules/notifier.h"

struct db;
struct scraper;
struct rules;

struct rules_options {
    struct db *db;
    struct scraper *scraper;  /* its configuration names the files, the Alertmanagers, the interval */
    const char *config_file;  /* prometheus.yml: names in it are relative to its folder */
    const char *folder;       /* own files: <name>.yml; made if it is not there */
    const char *external_url; /* in links of alerts */
    const char *webhook;      /* NULL: none */
    /* Called after a change of the files, from any thread; may be NULL. */
    void (*changed)(void *ctx);
    void *ctx;
};

int rules_start(const struct rules_options *options, struct rules **ret, struct buf *why);
void rules_stop(struct rules *r); /* NULL is fine */
/* Reads the files again if any changed, and the configuration. */
void rules_refresh(struct rules *r);

/* The own files: `name` ends in .yml or .yaml. */
const char *rules_folder(const struct rules *r);
/* Checks the text and replaces the file: in force when it returns. -EINVAL with the reason. */
int rules_write(struct rules *r, const char *name, struct slice text, struct buf *why);
int rules_remove(struct rules *r, const char *name); /* -ENOENT */

enum rule_health { RULE_UNKNOWN, RULE_OK, RULE_ERR };

struct rule_state {
    const struct rule *rule;
    enum rule_health health;
    char *error; /* NULL: none */
    int64_t evaluated_ns;
    double duration_s;
    struct alert *alerts;
    bool restored;  /* alerts: what was pending before the start is known */
    uint32_t *refs; /* series of the last evaluation, ascending */
    size_t n_refs;
};

struct group_state {
    struct rule_group *def;
    struct rule_state *rules; /* def->n */
    int64_t interval_ms, offset_ms, query_offset_ms;
    int64_t due_ms;
    bool running; /* being evaluated; it is not changed or freed meanwhile */
    int64_t evaluated_ns;
    double duration_s;
    uint64_t iterations, missed;
    pthread_mutex_t lock; /* guards: rules[] and the three before, against those who look */
};

/* f looks at each group, in order, under the locks. */
void rules_look(struct rules *r, void (*f)(void *ctx, const struct group_state *g), void *ctx);
struct notifier *rules_notifier(struct rules *r);
uint64_t rules_failures(const struct rules *r);    /* evaluations that failed */
uint64_t rules_evaluations(const struct rules *r); /* all */
/* The files that were refused, and why; "" if none. Copies. */
void rules_error(struct rules *r, struct buf *ret);

#endif
