/* notifier.h: sends alerts to Alertmanagers (API v2) and to a plain webhook, from a thread of its
 * own: what cannot be delivered is tried again, with growing pauses. Any thread. */
#ifndef METRICS_RULES_NOTIFIER_H
#define METRICS_RULES_NOTIFIER_H

#include "metrics/rules/alert.h"

/* A copy of an alert as it is sent. */
struct notice {
    struct notice *next;
    struct pairs labels, annotations;
    int64_t starts_ms, ends_ms;
    bool resolved;
    char *generator_url;
};

struct notifier;
/* `webhook`: a URL that gets what Alertmanager's webhook receivers get; NULL: none. */
struct notifier *notifier_new(const char *webhook);
void notifier_free(struct notifier *n); /* what is not sent is dropped; NULL is fine */
/* The Alertmanagers, alert_relabel_configs and external labels of this configuration count from now
 * on: takes a reference. */
void notifier_configure(struct notifier *n, struct jobs *config);
void notifier_send(struct notifier *n, struct notice *list); /* takes the list */
void notices_free(struct notice *list);

struct notifier_state {
    uint64_t sent, dropped, errors, queued;
};
void notifier_state(struct notifier *n, struct notifier_state *ret);
/* f is called with the URL of each Alertmanager that is in use. */
void notifier_each(struct notifier *n, void (*f)(void *ctx, const char *url), void *ctx);

#endif
