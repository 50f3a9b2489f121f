/* vault_metadata.c: metadata/, detailed-metadata/ and config of a KV mount; lists. */
#include "base/scope.h"
#include "config.h"
#include "secrets/vault.h"

#include <errno.h>
#include <stdio.h>

static void json_versions(struct json *j, const struct kv_entry *e)
{
    json_key(j, "versions");
    json_object(j);
    for (size_t i = 0; i < e->n_versions; i++) {
        struct kv_version v;
        char number[16];

        kv_version_at(e, i, &v);
        snprintf(number, sizeof number, "%u", v.number);
        json_key(j, number);
        json_object(j);
        json_ktime(j, "created_time", v.created_ns);
        json_ktime(j, "deletion_time", v.deletion_ns);
        json_kbool(j, "destroyed", v.destroyed);
        json_object_end(j);
    }
    json_object_end(j);
}

static void json_settings(struct op *op, struct json *j, const struct kv_entry *e)
{
    json_kbool(j, "cas_required", e->cas_required);
    json_ktime(j, "created_time", e->created_ns);
    json_ku64(j, "current_metadata_version", e->metadata_version);
    json_ku64(j, "current_version", e->current);
    json_key(j, "custom_metadata");
    if (e->custom.len > 0)
        json_raw(j, e->custom);
    else
        json_null(j);
    json_kstr(j, "delete_version_after", vault_duration_text(op, e->delete_after_ns));
    json_ku64(j, "max_versions", e->max_versions);
    json_kbool(j, "metadata_cas_required", e->metadata_cas_required);
    json_ku64(j, "oldest_version", e->oldest);
    json_ktime(j, "updated_time", e->updated_ns);
}

static int read_metadata(struct kv_request *q)
{
    struct kv_entry e;
    struct vault_answer a;
    int r = identity_check(q->op, POLICY_READ, "%s", q->full);

    if (r == 0)
        r = kv_find(q->op, q->mount->kv, q->path, &e);
    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_settings(q->op, &a.json, &e);
    json_versions(&a.json, &e);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 200);
    return 0;
}

static int refuse_field(struct op *op, const char *field, const char *want)
{
    return op_fail(op, EINVAL, "error converting input for field \"%s\": expected %s", field, want);
}

static int read_metadata_cas(struct op *op, const struct object *body, struct kv_change *ret)
{
    struct slice required = object_value(body, "metadata_cas_required");
    struct slice cas = object_value(body, "metadata_cas");

    if (required.len > 0 && value_boolean(required, &ret->metadata_cas_required) < 0)
        return vault_refuse_field(op, "metadata_cas_required", "bool");
    if (cas.len > 0 && value_integer(op, cas, &ret->metadata_cas) < 0)
        return vault_refuse_field(op, "metadata_cas", "int");
    ret->set_metadata_cas_required = required.len > 0;
    ret->has_metadata_cas = cas.len > 0;
    return 0;
}

static int read_change(struct op *op, const struct object *body, struct kv_change *ret)
{
    struct slice max = object_value(body, "max_versions");
    struct slice cas = object_value(body, "cas_required");
    struct slice after = object_value(body, "delete_version_after");
    int64_t n = 0;
    int r;

    *ret = (struct kv_change){0};
    r = read_metadata_cas(op, body, ret);
    if (r < 0)
        return r;
    if (max.len > 0) {
        if (value_integer(op, max, &n) < 0)
            return vault_refuse_field(op, "max_versions", "int");
        if (n < 0)
            return refuse_field(op, "max_versions", "0 or more");
        if (n > KV_VERSIONS_LIMIT)
            return op_fail(op, EINVAL, "max_versions is at most %d", KV_VERSIONS_LIMIT);
        ret->set_max_versions = true;
        ret->max_versions = (uint32_t)n;
    }
    if (cas.len > 0) {
        if (value_boolean(cas, &ret->cas_required) < 0)
            return vault_refuse_field(op, "cas_required", "bool");
        ret->set_cas_required = true;
    }
    if (after.len > 0) {
        if (vault_duration(op, after, &ret->delete_after_ns) < 0)
            return op_fail(op, EINVAL,
                           "Field validation failed: error converting input for field "
                           "\"delete_version_after\": time: invalid duration %.*s",
                           (int)after.len, (const char *)after.data);
        ret->set_delete_after = true;
    }
    return 0;
}

/* What the mount demands, a secret cannot take back. */
static void answer_change(struct kv_request *q, const struct kv_change *change)
{
    struct kv_config config = kv_get_config(q->mount->kv);
    const char *mandated[3] = {NULL};
    struct vault_answer a;
    size_t n = 0;

    if (change->set_cas_required && !change->cas_required && config.cas_required)
        mandated[n++] = "\"cas_required\" set to false, but is mandated by backend config. This "
                        "value will be ignored.";
    if (change->set_metadata_cas_required && !change->metadata_cas_required &&
        config.metadata_cas_required)
        mandated[n++] = "\"metadata_cas_required\" set to false, but is mandated by backend config. "
                        "This value will be ignored.";
    if (n == 0) {
        vault_answer_empty(q->resp);
        return;
    }
    vault_answer_begin(&a, q->req);
    json_null(&a.json);
    vault_answer_end_warned(&a, q->resp, 200, mandated);
}

static int write_change(struct kv_request *q, struct kv_change *change)
{
    int r = kv_custom_check(q->op, &change->custom);

    change->checks_cas = true;
    if (r == 0)
        r = kv_configure(q->op, q->mount->kv, q->path, change, &q->resp->commit);
    if (r < 0)
        return r;
    secrets_changed(q->op, q->mount, q->path);
    answer_change(q, change);
    return 0;
}

static bool sets_anything(const struct kv_change *c)
{
    return c->set_max_versions || c->set_cas_required || c->set_delete_after || c->set_custom ||
           c->set_metadata_cas_required;
}

static int write_metadata(struct kv_request *q)
{
    struct kv_change change;
    struct object body;
    int r = kv_check_write(q);

    if (r == 0)
        r = vault_body(q->req, &body);
    if (r == 0)
        r = read_change(q->op, &body, &change);
    if (r < 0)
        return r;
    change.custom = object_value(&body, "custom_metadata");
    change.set_custom = change.custom.len > 0;
    if (!sets_anything(&change)) { /* OpenBao makes nothing of it either */
        vault_answer_empty(q->resp);
        return 0;
    }
    return write_change(q, &change);
}

static bool is_null(const struct object *body, const char *key)
{
    return object_value(body, key).len == 0 && object_find(body, slice_str(key)) != NULL;
}

/* In a patch, null takes a setting back. */
static void reset_nulls(const struct object *body, struct kv_change *change)
{
    change->set_max_versions = change->set_max_versions || is_null(body, "max_versions");
    change->set_cas_required = change->set_cas_required || is_null(body, "cas_required");
    change->set_delete_after = change->set_delete_after || is_null(body, "delete_version_after");
    change->set_metadata_cas_required =
        change->set_metadata_cas_required || is_null(body, "metadata_cas_required");
}

static int patch_metadata(struct kv_request *q)
{
    struct buf merged = {0};
    struct kv_change change;
    struct object body;
    struct kv_entry e;
    int r;

    r = identity_check(q->op, POLICY_PATCH, "%s", q->full);
    if (r == 0 && vault_take_patch(q) == 0)
        return 0;
    if (r == 0)
        r = vault_body(q->req, &body);
    if (r == 0)
        r = read_change(q->op, &body, &change);
    if (r == 0)
        r = kv_find(q->op, q->mount->kv, q->path, &e);
    if (r == -ENOENT)
        return vault_nothing_to_patch(q);
    if (r < 0)
        return r;
    reset_nulls(&body, &change);
    if (object_find(&body, SLICE("custom_metadata")) != NULL) {
        struct slice patch = object_value(&body, "custom_metadata");

        change.set_custom = true;
        if (patch.len > 0)
            r = value_merge(q->op, e.custom, patch, &merged);
        change.custom = op_slice(q->op, buf_slice(&merged));
        buf_done(&merged);
    }
    return r == 0 ? write_change(q, &change) : r;
}

static int delete_metadata(struct kv_request *q)
{
    int r = identity_check(q->op, POLICY_DELETE, "%s", q->full);

    if (r == 0)
        r = kv_remove(q->op, q->mount->kv, q->path);
    if (r < 0 && r != -ENOENT)
        return r;
    op_forgive(q->op);
    secrets_changed(q->op, q->mount, q->path);
    vault_answer_empty(q->resp);
    return 0;
}

static bool is_before(const struct kv_name *name, const char *after)
{
    size_t len = strlen(after);
    int r;

    if (name->kind == KV_FOLDER && len > 0 && after[len - 1] == '/')
        len--;
    r = slice_cmp(name->name, slice_of(after, len));
    return r < 0 || (r == 0 && (name->kind == KV_SECRET || after[len] == '/'));
}

/* OpenBao: ?after=NAME&limit=N. */
static int page(struct kv_request *q, struct kv_name **list, size_t *n)
{
    const char *after = web_query(q->req, "after");
    const char *text = web_query(q->req, "limit");
    int64_t limit = 0;

    while (after != NULL && after[0] != 0 && *n > 0 && is_before(*list, after)) {
        ++*list;
        --*n;
    }
    if (text != NULL && text[0] != 0 && value_integer(q->op, slice_str(text), &limit) < 0)
        return vault_refuse_field(q->op, "limit", "int");
    if (limit > 0 && (uint64_t)limit < *n)
        *n = (size_t)limit;
    return 0;
}

static int json_key_info(struct kv_request *q, struct json *j, const struct kv_name *shown,
                         size_t n_shown)
{
    struct kv_entry *list = NULL;
    size_t n = 0, at = 0;
    int r = kv_list(q->op, q->mount->kv, q->path, &list, &n);

    json_key(j, "key_info");
    json_object(j);
    for (size_t i = 0; i < n && r == 0; i++) {
        while (at < n_shown && slice_cmp(shown[at].name, list[i].name) < 0)
            at++;
        if (list[i].kind != KV_SECRET || at == n_shown || !slice_eq(shown[at].name, list[i].name))
            continue;
        json_key_slice(j, list[i].name);
        json_object(j);
        json_settings(q->op, j, &list[i]);
        json_versions(j, &list[i]);
        json_object_end(j);
    }
    json_object_end(j);
    return r;
}

static void json_names(struct json *j, const struct kv_name *list, size_t n)
{
    json_key(j, "keys");
    json_array(j);
    for (size_t i = 0; i < n; i++) {
        json_slice(j, list[i].name);
        if (list[i].kind == KV_FOLDER) { /* before the quote */
            j->out->len--;
            buf_add_str(j->out, "/\"");
        }
    }
    json_array_end(j);
}

/* May the caller read this secret, or something in this folder? */
static bool is_shown(struct kv_request *q, const struct kv_name *n)
{
    const char *folder = q->path, *slash = folder[0] != 0 ? "/" : "";
    const char *noun = q->mount->kind == MOUNT_KV2 ? "data/" : "";
    const char *full = op_printf(q->op, "%s%s%s%s%.*s", q->mount->path, noun, folder, slash,
                                 (int)n->name.len, (const char *)n->name.data);
    unsigned read = POLICY_READ | POLICY_CREATE | POLICY_UPDATE | POLICY_PATCH | POLICY_DELETE;

    if (n->kind == KV_FOLDER)
        return identity_touches(q->op->who, slice_str(op_printf(q->op, "%s/", full)));
    if ((identity_rights(q->op->who, slice_str(full)) & read) != 0)
        return true;
    return q->mount->kind == MOUNT_KV2 &&
           identity_may(q->op, POLICY_READ, "%smetadata/%s%s%.*s", q->mount->path, folder, slash,
                        (int)n->name.len, (const char *)n->name.data);
}

static void hide_unread(struct kv_request *q, struct kv_name *list, size_t *n)
{
    size_t kept = 0;

    if (!q->s->config->secrets_filter_lists || q->mount->kind == MOUNT_CUBBYHOLE)
        return;
    for (size_t i = 0; i < *n; i++)
        if (is_shown(q, &list[i]))
            list[kept++] = list[i];
    *n = kept;
}

/* At once: a buffer that grows leaves names behind in what it grew out of. */
static void reserve_names(struct buf *out, const struct kv_name *list, size_t n)
{
    size_t bytes = 256;

    for (size_t i = 0; i < n; i++)
        bytes += list[i].name.len + 4; /* quotes, comma, slash */
    buf_reserve(out, bytes);
}

int kv_answer_list(struct kv_request *q, bool detailed)
{
    struct kv_name *list = NULL;
    struct vault_answer a;
    size_t n = 0;
    int r = kv_names(q->op, q->mount->kv, q->path, &list, &n);

    if (r < 0)
        return r;
    hide_unread(q, list, &n);
    r = page(q, &list, &n);
    if (r < 0 || n == 0)
        return r < 0 ? r : -ENOENT;
    vault_answer_begin(&a, q->req);
    reserve_names(&a.out, list, n);
    json_object(&a.json);
    json_names(&a.json, list, n);
    if (detailed)
        r = json_key_info(q, &a.json, list, n);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 200);
    return r;
}

struct scanned {
    struct kv_name *list; /* in the op */
    size_t n, cap;
};

static void add_scanned(struct op *op, struct scanned *s, const char *name)
{
    if (s->n == s->cap) {
        struct kv_name *more = op_alloc(op, (s->cap = 2 * s->cap + 64) * sizeof *more);

        if (s->n > 0)
            memcpy(more, s->list, s->n * sizeof *more);
        s->list = more;
    }
    s->list[s->n++] = (struct kv_name){slice_str(name), KV_SECRET};
}

/* The secrets below a folder, by their path from where the scan began. */
static int scan_folder(struct kv_request *q, const char *folder, const char *shown,
                       struct scanned *found)
{
    struct kv_request at = *q;
    struct kv_name *list = NULL;
    size_t n = 0;
    int r = kv_names(q->op, q->mount->kv, folder, &list, &n);

    if (r < 0)
        return r;
    at.path = folder;
    hide_unread(&at, list, &n);
    for (size_t i = 0; i < n && r == 0; i++) {
        const char *name = op_printf(q->op, "%s%.*s", shown, (int)list[i].name.len,
                                     (const char *)list[i].name.data);

        if (list[i].kind == KV_SECRET) {
            add_scanned(q->op, found, name);
            continue;
        }
        r = scan_folder(q,
                        op_printf(q->op, "%s%s%.*s", folder, folder[0] != 0 ? "/" : "",
                                  (int)list[i].name.len, (const char *)list[i].name.data),
                        op_printf(q->op, "%s/", name), found);
    }
    return r == -ENOENT ? 0 : r; /* it went meanwhile */
}

int kv_answer_scan(struct kv_request *q)
{
    struct scanned found = {0};
    struct vault_answer a;
    int r = vault_check_list(q->op, POLICY_SCAN, q->full);

    if (r == 0)
        r = scan_folder(q, q->path, "", &found);
    if (r == -ENOENT) {
        op_forgive(q->op);
        r = 0;
    }
    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    reserve_names(&a.out, found.list, found.n);
    json_object(&a.json);
    if (found.n > 0)
        json_names(&a.json, found.list, found.n);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 200);
    return 0;
}

static int list_metadata(struct kv_request *q)
{
    int r = vault_check_list(q->op, POLICY_LIST, q->full);

    return r == 0 ? kv_answer_list(q, strcmp(q->noun, "detailed-metadata") == 0) : r;
}

static int read_config(struct kv_request *q)
{
    struct kv_config config = kv_get_config(q->mount->kv);
    struct vault_answer a;
    int r = identity_check(q->op, POLICY_READ, "%s", q->full);

    if (r < 0)
        return r;
    vault_answer_begin(&a, q->req);
    json_object(&a.json);
    json_kbool(&a.json, "cas_required", config.cas_required);
    json_kstr(&a.json, "delete_version_after", vault_duration_text(q->op, config.delete_after_ns));
    json_ku64(&a.json, "max_versions", config.max_versions);
    json_kbool(&a.json, "metadata_cas_required", config.metadata_cas_required);
    json_object_end(&a.json);
    vault_answer_end(&a, q->resp, 200);
    return 0;
}

static int write_config(struct kv_request *q)
{
    struct kv_config config = kv_get_config(q->mount->kv);
    struct kv_change change;
    struct object body;
    int r;

    if (!q->req->may_wait) /* it commits by itself */
        return -EINPROGRESS;
    r = identity_check(q->op, POLICY_UPDATE, "%s", q->full);
    if (r == 0)
        r = vault_body(q->req, &body);
    if (r == 0)
        r = read_change(q->op, &body, &change);
    if (r < 0)
        return r;
    if (change.set_max_versions)
        config.max_versions = change.max_versions;
    if (change.set_cas_required)
        config.cas_required = change.cas_required;
    if (change.set_delete_after)
        config.delete_after_ns = change.delete_after_ns;
    if (change.set_metadata_cas_required)
        config.metadata_cas_required = change.metadata_cas_required;
    r = mount_save(q->s->mounts, q->mount, NULL, &config);
    if (r == 0)
        vault_answer_empty(q->resp);
    return r;
}

static int handle_config(struct kv_request *q)
{
    const char *method = q->req->method;

    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return read_config(q);
    return strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0 ? write_config(q) : -ENOTSUP;
}

int kv2_metadata(struct kv_request *q)
{
    const char *method = q->req->method;

    if (strcmp(q->noun, "config") == 0)
        return q->path[0] == 0 ? handle_config(q) : kv_nothing(q);
    if (vault_is_list(q->req))
        return list_metadata(q);
    if (strcmp(q->noun, "metadata") != 0)
        return -ENOTSUP;
    if (vault_is_scan(q->req))
        return kv_answer_scan(q);
    if (q->path[0] == 0)
        return kv_nothing(q);
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return read_metadata(q);
    if (strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0)
        return write_metadata(q);
    if (strcmp(method, "PATCH") == 0)
        return patch_metadata(q);
    return strcmp(method, "DELETE") == 0 ? delete_metadata(q) : -ENOTSUP;
}
