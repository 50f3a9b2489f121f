/* hooks.h: webhooks (images.webhooks) in docker distribution's form ("Notifications"): who pushed,
 * pulled, mounted or deleted which manifest, tag or blob. An event of a change is durable before
 * the client's answer; it is sent until it is taken with 2xx, in order, by a thread of its
 * endpoint; also behind a restart, where the last one may come twice. Any thread. */
#ifndef IMAGES_HOOKS_H
#define IMAGES_HOOKS_H

#include "images/state.h"
#include "web.h"

#define HOOK_QUEUE_MAX 100000u /* events that wait for one endpoint; further ones are dropped */

struct hooks;

int hooks_start(struct images *im, struct hooks **ret); /* returns new */
void hooks_stop(struct hooks *h);                       /* NULL is fine */

/* Either tag or digest may be NULL; `req` NULL: it did not come over HTTP. Does not fail: what
 * cannot be kept is logged. Costs nothing without webhooks. */
void hooks_emit(struct images *im, struct op *op, enum config_webhook_actions action,
                const char *repo, const char *tag, const struct digest *digest,
                struct web_request *req);

/* The same of a blob; `from` is the repository that it was mounted from, or NULL. */
void hooks_emit_blob(struct images *im, struct op *op, enum config_webhook_actions action,
                     const char *repo, const struct digest *digest, uint64_t size_bytes,
                     const char *from, struct web_request *req);

void hooks_metrics(struct hooks *h, struct buf *out);

#endif
