/* vault_kv1.c: KV without versions, and cubbyholes: a secret with one version that is kept. */
#include "base/scope.h"
#include "secrets/vault.h"

#include <errno.h>

#define LEASE_S 2764800 /* what Vault says a v1 secret is good for */

/* A field `ttl` or `lease` says how often the reader should come again. */
static int64_t lease_of(struct op *op, struct slice text)
{
    static const char *const names[] = {"ttl", "lease"};
    struct object o;
    int64_t ns;

    if (object_parse(op, text, &o) < 0)
        return LEASE_S;
    for (size_t i = 0; i < array_size(names); i++) {
        struct slice value = object_value(&o, names[i]);

        if (value.len > 0 && vault_duration(op, value, &ns) == 0)
            return ns / INT64_C(1000000000);
    }
    return LEASE_S;
}

static int read_v1(struct kv_request *q)
{
    struct kv_content content;
    struct kv_version v;
    struct kv_entry e;
    struct vault_answer a;
    int r = identity_check(q->op, POLICY_READ, "%s", q->full);

    if (r == 0)
        r = kv_get(q->op, q->mount->kv, q->path, 0, &e, &v, &content);
    if (r == 0 && content.text.len == 0)
        r = -ENOENT;
    if (r < 0)
        return r;
    kv_note_read(q->mount->kv, e.id);
    secrets_note_content(q->s, q->op, &content);
    vault_answer_begin_lease(&a, q->req,
                             q->mount->kind == MOUNT_KV1 ? lease_of(q->op, content.text) : 0);
    json_raw(&a.json, content.text);
    vault_answer_end(&a, q->resp, 200);
    return 0;
}

static int write_v1(struct kv_request *q)
{
    struct kv_content content = {0};
    struct object body;
    int r = kv_check_write(q);

    if (r == 0)
        r = vault_body(q->req, &body);
    if (r == 0 && body.n == 0)
        r = op_fail(q->op, EINVAL, "missing data fields");
    if (r < 0)
        return r;
    content.text = body.text;
    r = kv_put(q->op, q->mount->kv, q->path, &content, -1, &q->resp->commit, NULL);
    if (r < 0)
        return r;
    secrets_note_content(q->s, q->op, &content);
    vault_answer_empty(q->resp);
    return 0;
}

static int delete_v1(struct kv_request *q)
{
    int r = identity_check(q->op, POLICY_DELETE, "%s", q->full);

    if (r == 0)
        r = kv_remove(q->op, q->mount->kv, q->path);
    if (r < 0 && r != -ENOENT)
        return r;
    op_forgive(q->op);
    vault_answer_empty(q->resp);
    return 0;
}

int kv1_handle(struct kv_request *q)
{
    const char *method = q->req->method;
    int r = 0;

    if (vault_is_list(q->req)) {
        r = vault_check_list(q->op, POLICY_LIST, q->full);
        return r == 0 ? kv_answer_list(q, false) : r;
    }
    if (vault_is_scan(q->req))
        return kv_answer_scan(q);
    if (q->path[0] == 0 && (strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0))
        return op_fail(q->op, EINVAL, "missing path");
    if (q->path[0] == 0)
        return -ENOTSUP;
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return read_v1(q);
    if (strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0)
        return write_v1(q);
    return strcmp(method, "DELETE") == 0 ? delete_v1(q) : -ENOTSUP;
}
