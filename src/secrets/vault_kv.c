/* vault_kv.c: secrets over HTTP: data/, subkeys/ and what belongs to versions of a secret. */
#include "base/scope.h"
#include "secrets/tree_value.h"
#include "secrets/vault.h"

#include <errno.h>

void json_version_metadata(struct json *j, const struct kv_version *v, struct slice custom)
{
    json_ktime(j, "created_time", v->created_ns);
    json_key(j, "custom_metadata");
    if (custom.len > 0)
        json_raw(j, custom);
    else
        json_null(j);
    json_ktime(j, "deletion_time", v->deletion_ns);
    json_kbool(j, "destroyed", v->destroyed);
    json_ku64(j, "version", v->number);
}

static void json_metadata(struct json *j, const struct kv_version *v, struct slice custom)
{
    json_key(j, "metadata");
    json_object(j);
    json_version_metadata(j, v, custom);
    json_object_end(j);
}

/* The secret, the version that ?version= names, and its content if it is live. */
static int get_version(struct kv_request *q, struct kv_entry *ret_entry, struct kv_version *ret,
                       struct kv_content *ret_content)
{
    const char *text = web_query(q->req, "version");
    int64_t number = 0;

    if (text != NULL && text[0] != 0 && value_integer(q->op, slice_str(text), &number) < 0)
        return vault_refuse_field(q->op, "version", "int");
    if (number > UINT32_MAX)
        return -ENOENT;
    number = number > 0 ? number : 0; /* the latest, as for no version at all */
    return kv_get(q->op, q->mount->kv, q->path, (uint32_t)number, ret_entry, ret, ret_content);
}

static int read_data(struct kv_request *q)
{
    struct kv_content content;
    struct kv_version v;
    struct kv_entry e;
    struct vault_answer a;
    bool live;
    int r = identity_check(q->op, POLICY_READ, "%s", q->full);

    if (r == 0)
        r = get_version(q, &e, &v, &content);
    if (r < 0)
        return r;
    live = content.text.len > 0;
    if (live) {
        kv_note_read(q->mount->kv, e.id);
        secrets_note_content(q->s, q->op, &content);
    }
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_key(&a.json, "data");
    if (live)
        json_raw(&a.json, content.text);
    else
        json_null(&a.json);
    json_metadata(&a.json, &v, e.custom);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp,
                     live ? 200 : 404); /* CLI, hvac and Terraform read the body of this 404 */
    return 0;
}

/* Create or update, by whether the secret is there. Who may do neither is refused without a look,
 * so that it takes as long for what is there as for what is not. */
int kv_check_write(struct kv_request *q)
{
    unsigned rights = identity_rights(q->op->who, slice_str(q->full));
    bool may_create = (rights & POLICY_CREATE) != 0, may_update = (rights & POLICY_UPDATE) != 0;
    struct kv_entry e;
    int r;

    if ((rights & POLICY_DENY) != 0 || may_create == may_update)
        return identity_check(q->op, POLICY_CREATE | POLICY_UPDATE, "%s", q->full);
    r = kv_find(q->op, q->mount->kv, q->path, &e);
    if (r < 0 && r != -ENOENT)
        return r;
    op_forgive(q->op);
    return identity_check(q->op, r == 0 ? POLICY_UPDATE : POLICY_CREATE, "%s", q->full);
}

static int read_cas(struct op *op, const struct object *body, int64_t *ret)
{
    struct slice options = object_value(body, "options");
    struct object o;
    struct slice cas;
    int r;

    *ret = -1;
    if (options.len == 0)
        return 0;
    if (*(const char *)options.data != '{')
        return op_fail(op, EINVAL, "error converting input for field \"options\": expected a map");
    r = object_parse(op, options, &o);
    if (r < 0)
        return r;
    cas = object_value(&o, "cas");
    if (cas.len == 0) { /* null counts as 0: there must be no secret yet */
        *ret = object_find(&o, SLICE("cas")) != NULL ? 0 : -1;
        return 0;
    }
    if (value_integer(op, cas, ret) < 0)
        return op_fail(op, EINVAL, "error parsing check-and-set parameter");
    if (*ret < 0)
        return op_fail(op, EINVAL, "check-and-set parameter did not match the current version");
    return 0;
}

static int read_write(struct kv_request *q, struct slice *ret_data, int64_t *ret_cas)
{
    struct object body, data;
    int r = vault_body(q->req, &body);

    if (r == 0)
        r = read_cas(q->op, &body, ret_cas);
    if (r < 0)
        return r;
    *ret_data = object_value(&body, "data");
    if (ret_data->len == 0)
        return op_fail(q->op, EINVAL, "no data provided");
    if (*(const char *)ret_data->data != '{')
        return op_fail(q->op, EINVAL, "error converting input for field \"data\": expected a map");
    return object_parse(q->op, *ret_data, &data);
}

/* A field that holds bytes which are no UTF-8 is shown as base64. A client that reads and writes
 * the whole secret sends that text back: as long as it is unchanged, it stays bytes. */
static int keep_binary(struct kv_request *q, const struct kv_entry *e, struct kv_content *content)
{
    struct kv_content old = {0};
    struct kv_version v;
    int r;

    if (kv_version_find(e, 0, &v) < 0 || !kv_version_is_live(&v))
        return 0;
    r = kv_read(q->op, q->mount->kv, e, &v, &old);
    if (r == -ESTALE)
        r = -EAGAIN;
    return r == 0 ? content_keep_binary(q->op, &old, content) : r;
}

static int write_content(struct kv_request *q, struct slice text, int64_t cas,
                         const struct kv_entry *old)
{
    struct kv_content content = {.text = text};
    struct kv_version v;
    struct kv_entry now = {0};
    struct vault_answer a;
    int r = 0;

    if (old == NULL && kv_find(q->op, q->mount->kv, q->path, &now) == 0)
        old = &now;
    op_forgive(q->op);
    if (old != NULL)
        r = keep_binary(q, old, &content);
    if (r == 0)
        r = kv_put(q->op, q->mount->kv, q->path, &content, cas, &q->resp->commit, &v);
    if (r < 0)
        return r;
    secrets_changed(q->op, q->mount, q->path);
    secrets_note_content(q->s, q->op, &content);
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_version_metadata(&a.json, &v, old != NULL ? old->custom : slice_of(NULL, 0));
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 200);
    return 0;
}

static int write_data(struct kv_request *q)
{
    struct slice data;
    int64_t cas;
    int r = kv_check_write(q);

    if (r == 0)
        r = read_write(q, &data, &cas);
    return r == 0 ? write_content(q, data, cas, NULL) : r;
}

/* Of a version that is deleted or destroyed only what is known of it is told, as OpenBao does. */
static int refuse_dead_patch(struct kv_request *q, const struct kv_entry *e,
                             const struct kv_version *v)
{
    struct vault_answer a;

    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_version_metadata(&a.json, v, e->custom);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 404);
    return 0;
}

/* 1: the body is a patch; 0: it was answered that it is none. */
int vault_take_patch(struct kv_request *q)
{
    const char *type = web_header(q->req, "Content-Type");
    const char *text = "PATCH requires Content-Type of application/merge-patch+json";

    if (type != NULL && strncmp(type, "application/merge-patch+json", 28) == 0)
        return 1;
    if (type != NULL)
        text = op_printf(q->op, "%s, provided %s", text, type);
    return vault_answer_error(q->req, q->resp, 415, text);
}

/* There is nothing to patch: alone of all answers, this 404 has no body. */
int vault_nothing_to_patch(struct kv_request *q)
{
    op_forgive(q->op);
    vault_answer_empty(q->resp);
    q->resp->status = 404;
    return 0;
}

static int patch_data(struct kv_request *q)
{
    struct kv_content content = {0};
    struct kv_version v;
    struct kv_entry e;
    struct buf merged = {0};
    struct slice data, text;
    int64_t cas;
    int r;

    r = identity_check(q->op, POLICY_PATCH, "%s", q->full);
    if (r == 0 && vault_take_patch(q) == 0)
        return 0;
    if (r == 0)
        r = read_write(q, &data, &cas);
    if (r == 0)
        r = kv_get(q->op, q->mount->kv, q->path, 0, &e, &v, &content);
    if (r == -ENOENT)
        return vault_nothing_to_patch(q);
    if (r == 0 && content.text.len == 0)
        return refuse_dead_patch(q, &e, &v);
    if (r == 0)
        r = value_merge(q->op, content.text, data, &merged);
    text = op_slice(q->op, buf_slice(&merged));
    buf_wipe(&merged);
    return r == 0 ? write_content(q, text, cas, &e) : r;
}

static int delete_data(struct kv_request *q)
{
    int r = identity_check(q->op, POLICY_DELETE, "%s", q->full);

    if (r == 0)
        r = kv_doom(q->op, q->mount->kv, q->path, KV_DELETE, NULL, 0, &q->resp->commit);
    if (r < 0 && r != -ENOENT)
        return r;
    op_forgive(q->op);
    secrets_changed(q->op, q->mount, q->path);
    vault_answer_empty(q->resp);
    return 0;
}

static int read_versions(struct op *op, const struct object *body, bool destroys, uint32_t **ret,
                         size_t *ret_n)
{
    struct slice value = object_value(body, "versions");
    struct slice *elements = NULL;
    size_t n = 0;
    uint32_t *list;

    if (value.len > 0 && *(const char *)value.data != '[') { /* one, or "1,2" */
        const char **parts;

        if (*(const char *)value.data != '"') {
            elements = op_alloc(op, sizeof *elements);
            elements[n++] = value;
        } else if (vault_strings(op, value, &parts) == 0) {
            for (size_t i = 0; parts[i] != NULL; i++)
                n++;
            elements = op_alloc(op, (n + 1) * sizeof *elements);
            for (size_t i = 0; i < n; i++)
                elements[i] = slice_str(parts[i]);
        }
    } else if (value.len > 0 && value_elements(op, value, &elements, &n) < 0) {
        n = 0;
    }
    if (n == 0)
        return op_fail(op, EINVAL, "%co version number provided", destroys ? 'n' : 'N'); /* theirs */
    list = op_alloc(op, n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        int64_t number;

        if (value_integer(op, elements[i], &number) < 0 || number < 0 || number > UINT32_MAX)
            return vault_refuse_field(op, "versions", "int");
        list[i] = (uint32_t)number;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int kv2_fate(struct kv_request *q)
{
    enum kv_fate fate = strcmp(q->noun, "delete") == 0     ? KV_DELETE
                        : strcmp(q->noun, "undelete") == 0 ? KV_UNDELETE
                                                           : KV_DESTROY;
    struct object body;
    uint32_t *versions;
    size_t n;
    int r;

    if (strcmp(q->req->method, "PUT") != 0 && strcmp(q->req->method, "POST") != 0)
        return -ENOTSUP;
    r = identity_check(q->op, POLICY_UPDATE, "%s", q->full);
    if (r == 0)
        r = vault_body(q->req, &body);
    if (r == 0)
        r = read_versions(q->op, &body, fate == KV_DESTROY, &versions, &n);
    if (r == 0)
        r = kv_doom(q->op, q->mount->kv, q->path, fate, versions, n, &q->resp->commit);
    if (r < 0 && r != -ENOENT)
        return r;
    op_forgive(q->op);
    secrets_changed(q->op, q->mount, q->path);
    vault_answer_empty(q->resp);
    return 0;
}

/* The shape of a value: objects down to `depth` (0: all), everything else as null. */
static int json_shape(struct op *op, struct json *j, struct slice value, int64_t depth)
{
    struct object o;
    int r = object_parse(op, value, &o);

    if (r < 0)
        return r;
    json_object(j);
    for (size_t i = 0; i < o.n && r == 0; i++) {
        bool deeper = *(const char *)o.members[i].value.data == '{' && depth != 1 && j->depth < 60;

        json_key_slice(j, o.members[i].key);
        if (deeper)
            r = json_shape(op, j, o.members[i].value, depth > 0 ? depth - 1 : 0);
        else
            json_null(j);
    }
    json_object_end(j);
    return r;
}

/* Rights are looked at first. */
static int answer_404(struct kv_request *q, const char *warning)
{
    int r = identity_check(q->op, POLICY_READ, "%s", q->full);

    if (r == 0)
        vault_answer_warning(q->req, q->resp, 404, warning);
    return r;
}

int kv_nothing(struct kv_request *q)
{
    return answer_404(q, "Non-listing operations on the root of a K/V v2 mount are not supported.");
}

/* A client that takes this for a mount without versions is told so. */
int kv_wrong_path(struct kv_request *q)
{
    const char *method = q->req->method;
    const char *verb = vault_is_list(q->req)           ? "list"
                       : strcmp(method, "PUT") == 0    ? "put"
                       : strcmp(method, "POST") == 0   ? "put"
                       : strcmp(method, "DELETE") == 0 ? "delete"
                                                       : "get";

    return answer_404(q, op_printf(q->op,
                                   "Invalid path for a versioned K/V secrets engine. See the API "
                                   "docs for the appropriate API endpoints to use. If using the "
                                   "OpenBao CLI, use 'bao kv %s' for this operation.",
                                   verb));
}

static int read_subkeys(struct kv_request *q)
{
    const char *text = web_query(q->req, "depth");
    struct kv_content content = {0};
    struct kv_version v;
    struct kv_entry e;
    struct vault_answer a;
    int64_t depth = 0;
    int r;

    if (strcmp(q->req->method, "GET") != 0 && strcmp(q->req->method, "HEAD") != 0)
        return -ENOTSUP;
    if (q->path[0] == 0)
        return kv_wrong_path(q);
    r = identity_check(q->op, POLICY_READ, "%s", q->full);
    if (r == 0 && text != NULL && value_integer(q->op, slice_str(text), &depth) < 0)
        r = vault_refuse_field(q->op, "depth", "int");
    if (r == 0)
        r = get_version(q, &e, &v, &content);
    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_metadata(&a.json, &v, e.custom);
    json_key(&a.json, "subkeys");
    if (content.text.len > 0)
        r = json_shape(q->op, &a.json, content.text, depth);
    else
        json_null(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, content.text.len > 0 ? 200 : 404);
    return r;
}

static int handle_data(struct kv_request *q)
{
    const char *method = q->req->method;

    if (vault_is_list(q->req))
        return -ENOTSUP;
    if (q->path[0] == 0)
        return kv_nothing(q);
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return read_data(q);
    if (strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0)
        return write_data(q);
    if (strcmp(method, "PATCH") == 0)
        return patch_data(q);
    return strcmp(method, "DELETE") == 0 ? delete_data(q) : -ENOTSUP;
}

int kv2_handle(struct kv_request *q)
{
    static const struct {
        const char *noun;
        int (*handle)(struct kv_request *q);
    } nouns[] = {
        {"data", handle_data},    {"metadata", kv2_metadata},
        {"delete", kv2_fate},     {"undelete", kv2_fate},
        {"destroy", kv2_fate},    {"subkeys", read_subkeys},
        {"config", kv2_metadata}, {"detailed-metadata", kv2_metadata},
    };

    for (size_t i = 0; i < array_size(nouns); i++) {
        if (strcmp(q->noun, nouns[i].noun) == 0)
            return nouns[i].handle(q);
    }
    return kv_wrong_path(q);
}
