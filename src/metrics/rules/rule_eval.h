/* rule_eval.h: one evaluation of one rule. */
#ifndef METRICS_RULES_RULE_EVAL_H
#define METRICS_RULES_RULE_EVAL_H

#include "metrics/rules/rules.h"

struct evaluation {
    struct db *db;
    const struct jobs *config; /* external labels, evaluation interval */
    const char *external_url;
    int64_t ts_ms;
    struct notice *notices, **last; /* what is to be sent; appended */
};

/* Evaluates, writes the series, and notes the outcome in `s`, under the group's lock. 0, or a
 * negative errno: the reason is in s->error. */
int rule_evaluate(struct evaluation *ev, struct group_state *g, struct rule_state *s);
/* Markers for series that are not written any more. */
void rule_mark_stale(struct db *db, const uint32_t *refs, size_t n, int64_t ts_ms);

#endif
