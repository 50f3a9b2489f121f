/* rule_file.h: a file of recording and alerting rules, as Prometheus has them. Strict: an unknown
 * key, an expression or a template that does not parse is refused with its line and column. */
#ifndef METRICS_RULES_RULE_FILE_H
#define METRICS_RULES_RULE_FILE_H

#include "metrics/scrape/jobs.h"

struct rule {
    bool alerting;
    char *name; /* of the series, or of the alert */
    char *expression; /* as the API shows it: printed from its tree */
    int64_t for_ms, keep_firing_ms;
    struct pairs labels;      /* the group's too; an alert's are templates */
    struct pairs annotations; /* templates */
};

struct rule_group {
    char *name;
    char *file;
    int64_t interval_ms;     /* 0: the global one */
    int64_t query_offset_ms; /* -1: the global one */
    uint64_t limit;          /* of series or alerts a rule may make; 0: none */
    struct rule *rules;
    size_t n;
    uint64_t mark; /* of all that stands in it: groups with the same one are alike */
};

struct rule_groups {
    struct rule_group **items;
    size_t n, cap;
};

/* Appends the groups of one file. -EINVAL with "line L, column C: reason" in why; then nothing is
 * appended. */
int rule_file_parse(struct slice text, const char *file, struct rule_groups *ret, struct buf *why);
void rule_group_free(struct rule_group *g);
void rule_groups_done(struct rule_groups *g);

#endif
