/* alert.h: the alerts of one rule: from pending to firing to resolved. The caller locks. */
#ifndef METRICS_RULES_ALERT_H
#define METRICS_RULES_ALERT_H

#include "metrics/rules/rule_file.h"

#include <uthash.h>

enum alert_state { ALERT_INACTIVE, ALERT_PENDING, ALERT_FIRING };

struct alert {
    UT_hash_handle hh;
    char *key; /* its labels as text */
    struct pairs labels; /* sorted; with alertname */
    struct pairs annotations;
    enum alert_state state;
    double value;
    int64_t active_ms; /* since when the expression has been true */
    int64_t fired_ms, resolved_ms, sent_ms, keep_since_ms; /* 0: not */
    bool seen; /* in this evaluation */
};

#define ALERT_KEPT_MS   (15 * 60 * 1000) /* a resolved one is told of for so long */
#define ALERT_RESEND_MS (60 * 1000)

/* One sample of the answer, with what the rule makes of it. All are taken. */
struct alert_found {
    struct pairs labels, annotations;
    double value;
};

/* An evaluation at ts_ms: alerts begin, go on, fire, resolve. -EEXIST: two samples have the same
 * labels; then nothing has changed. Takes what was found. */
int alerts_update(struct alert **alerts, const struct rule *rule, int64_t ts_ms,
                  struct alert_found *found, size_t n);
/* Those that are pending or firing. */
size_t alerts_active(const struct alert *alerts);
enum alert_state alerts_state(const struct alert *alerts); /* the highest */
/* Is it to be sent now? */
bool alert_is_due(const struct alert *a, int64_t ts_ms);
/* It was pending since since_ms when the daemon was last alive, at alive_ms: what was left of its
 * time goes on now. */
void alert_restore(struct alert *a, const struct rule *rule, int64_t since_ms, int64_t alive_ms,
                   int64_t now_ms);
void alerts_free(struct alert **alerts);
const char *alert_state_text(enum alert_state state);

void pairs_sort(struct pairs *p);
void pairs_set(struct pairs *p, const char *name, const char *value); /* replaces; copies */

#endif
