#include "images/hook_event.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "identity/identity.h"

#include <sys/random.h>

static const char *action_name(enum config_webhook_actions action)
{
    switch (action) {
    case WEBHOOK_PUSH:
        return "push";
    case WEBHOOK_PULL:
        return "pull";
    case WEBHOOK_MOUNT:
        return "mount";
    default:
        return "delete";
    }
}

static const char *url_of(struct op *op, const struct hook_event *e, struct web_request *req)
{
    const char *base = req != NULL && req->host != NULL ? web_base_url(req) : "";
    char text[DIGEST_TEXT_MAX];

    return op_printf(op, "%s/v2/%s/%s/%s", base, e->repo, e->is_blob ? "blobs" : "manifests",
                     e->digest != NULL ? digest_print(e->digest, text) : e->tag);
}

static void print_target(struct json *j, struct op *op, const struct hook_event *e,
                         struct web_request *req)
{
    char text[DIGEST_TEXT_MAX];

    json_key(j, "target");
    json_object(j);
    if (e->media_type != NULL)
        json_kstr(j, "mediaType", e->media_type);
    if (e->media_type != NULL) {
        json_ku64(j, "size", e->size_bytes);
        json_ku64(j, "length", e->size_bytes);
    }
    if (e->digest != NULL)
        json_kstr(j, "digest", digest_print(e->digest, text));
    json_kstr(j, "repository", e->repo);
    if (e->from != NULL)
        json_kstr(j, "fromRepository", e->from);
    json_kstr(j, "url", url_of(op, e, req));
    if (e->tag != NULL)
        json_kstr(j, "tag", e->tag);
    json_object_end(j);
}

static void print_request(struct json *j, struct op *op, struct web_request *req)
{
    const char *agent = req != NULL ? web_header(req, "User-Agent") : NULL;

    json_key(j, "request");
    json_object(j);
    json_kstr(j, "id", op_id(op));
    json_kstr(j, "addr", op->remote != NULL ? op->remote : "");
    json_kstr(j, "host", req != NULL && req->host != NULL ? req->host : "");
    json_kstr(j, "method", req != NULL ? req->method : "");
    json_kstr(j, "useragent", agent != NULL ? agent : "");
    json_object_end(j);
}

void hook_event_print(struct op *op, const struct hook_event *e, struct web_request *req,
                      struct buf *out)
{
    uint8_t random[16] = {0};
    char id[2 * sizeof random + 1], time[CLOCK_TEXT_MAX];
    struct json j;

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        be64_put(random, (uint64_t)clock_unix_ns()); /* it need not be secret */
    hex_encode(slice_of(random, sizeof random), id);
    json_init(&j, out);
    json_object(&j);
    json_kstr(&j, "id", id);
    json_kstr(&j, "timestamp", clock_print_ns(clock_unix_ns(), 9, time));
    json_kstr(&j, "action", action_name(e->action));
    print_target(&j, op, e, req);
    print_request(&j, op, req);
    json_key(&j, "actor");
    json_object(&j);
    json_kstr(&j, "name", op->who->kind == IDENTITY_ANONYMOUS ? "" : op->who->name);
    json_object_end(&j);
    json_key(&j, "source");
    json_object(&j);
    json_kstr(&j, "addr", req != NULL && req->host != NULL ? req->host : "");
    json_kstr(&j, "instanceID", "infrafs");
    json_object_end(&j);
    json_object_end(&j);
}
