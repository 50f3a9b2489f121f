/* hook_event.h: one event of docker distribution's form ("Notifications") as JSON. */
#ifndef IMAGES_HOOK_EVENT_H
#define IMAGES_HOOK_EVENT_H

#include "base/buf.h"
#include "base/digest.h"
#include "config.h"
#include "op/op.h"
#include "web.h"

#define HOOK_MEDIA_BLOB "application/octet-stream" /* of any blob, as there */

struct hook_event {
    enum config_webhook_actions action;
    const char *repo, *tag;
    const struct digest *digest;
    const char *media_type; /* NULL: not known, nor is the size */
    uint64_t size_bytes;
    bool is_blob;
    const char *from; /* where a blob was mounted from; or NULL */
};

/* Appends it. `req` NULL: it did not come over HTTP. */
void hook_event_print(struct op *op, const struct hook_event *e, struct web_request *req,
                      struct buf *out);

#endif
