/* kv_write.c: new versions, their fate, and settings; each as one batch. */
#include "base/clock.h"
#include "base/json.h"
#include "base/scope.h"
#include "node.h"
#include "secrets/kv_internal.h"
#include "secrets/tree_value.h"
#include "secrets/object.h"

#include <errno.h>

DEFINE_SCOPE(batch, struct store_batch, store_batch_free)

/* A secret that is about to change. */
struct target {
    struct chain chain; /* the folders above */
    struct kv_entry entry;
    bool exists, was_live;
};

static int find_target(struct op *op, struct kv *kv, const char *path, struct target *ret)
{
    int r = kv_path_check(op, path);

    if (r == 0 && path[0] == 0)
        r = op_fail(op, EINVAL, "a secret needs a path");
    if (r == 0)
        r = kv_chain_walk(op, kv, path_folder(op, path), &ret->chain);
    if (r == 0)
        r = kv_row_get(op, kv, kv_chain_last_id(kv, &ret->chain), KV_SECRET, kv_path_name(path),
                       &ret->entry);
    ret->exists = r == 0;
    ret->was_live = ret->exists && kv_is_live(&ret->entry);
    if (r == -ENOENT) {
        kv_new_id(ret->entry.id);
        ret->entry.created_ns = ret->entry.updated_ns = clock_unix_ns();
        r = 0;
    }
    return r;
}

static bool any_flagged(const struct chain *c)
{
    for (size_t i = 0; i < c->n_existing; i++) {
        if ((c->folders[i].folder_flags & (KV_HIDDEN | KV_DYING)) != 0)
            return true;
    }
    return false;
}

/* Guards and the row itself. A secret that appears in the tree needs its folders to be there. */
static int put_target(struct kv *kv, struct store_batch *batch, const struct target *t)
{
    struct slice key = slice_of(t->entry.key, sizeof t->entry.key);
    int r = 0;

    if (t->exists)
        store_batch_expect(batch, key, t->entry.raw);
    else
        store_batch_expect_absent(batch, key);
    if (!t->exists || !t->was_live || any_flagged(&t->chain))
        r = kv_chain_claim(kv, batch, &t->chain);
    if (r == 0 && !t->exists)
        r = kv_name_put(kv, batch, &t->entry);
    return r == 0 ? kv_row_put(kv, batch, &t->entry) : r;
}

static uint32_t versions_kept(const struct kv_entry *e, const struct kv_config *config)
{
    if (e->max_versions > 0)
        return e->max_versions;
    return config->max_versions > 0 ? config->max_versions : KV_MAX_VERSIONS;
}

static int64_t deletion_time(const struct kv_entry *e, const struct kv_config *config, int64_t now)
{
    int64_t after = e->delete_after_ns;

    if (after == 0 || (config->delete_after_ns > 0 && config->delete_after_ns < after))
        after = config->delete_after_ns;
    return after > 0 && now <= INT64_MAX - after ? now + after : 0;
}

/* Texts of Vault's kv engine, path_data.go; clients look for them. */
static int check_cas(struct op *op, const struct kv_entry *e, const struct kv_config *config,
                     int64_t cas)
{
    if (cas < 0 && (e->cas_required || config->cas_required))
        return op_fail(op, EINVAL, "check-and-set parameter required for this call");
    if (cas >= 0 && cas != e->current)
        return op_fail(op, EINVAL, "check-and-set parameter did not match the current version");
    return 0;
}

/* A limit of bytes as files have them: escapes and base64 are not counted. */
static int check_fields(struct op *op, struct kv *kv, const struct kv_content *content)
{
    uint64_t limit = kv->field_limit_bytes;
    struct object o;
    int r = object_parse(op, content->text, &o);

    if (r == 0 && o.n > KV_FIELDS_LIMIT)
        return op_fail(op, EFBIG, "a secret has up to %d fields", KV_FIELDS_LIMIT);
    for (size_t i = 0; r == 0 && i < o.n; i++) {
        if (o.members[i].value.len > limit && value_bytes(op, content, &o.members[i]).len > limit)
            r = op_fail(op, EFBIG, "a field holds up to %" PRIu64 " bytes", limit);
        if (o.members[i].key.len > KV_NAME_BYTES)
            r = op_fail(op, EFBIG, "a field's name has up to %d bytes", KV_NAME_BYTES);
    }
    return r;
}

/* Appends v to the packed versions, and drops the oldest above `keep` with their content. */
static void add_version(struct op *op, struct kv_entry *e, const struct kv_version *v,
                        uint32_t keep, struct store_batch *batch)
{
    size_t drop = e->n_versions + 1 > keep ? e->n_versions + 1 - keep : 0;
    uint8_t *packed = op_alloc(op, (e->n_versions + 1) * VERSION_BYTES);
    size_t left = e->n_versions - drop;

    for (size_t i = 0; i < drop; i++) {
        struct kv_version old;

        kv_version_at(e, i, &old);
        kv_content_delete(batch, e->id, &old);
    }
    if (left > 0)
        memcpy(packed, e->versions + drop * VERSION_BYTES, left * VERSION_BYTES);
    kv_version_pack(v, packed + left * VERSION_BYTES);
    e->versions = packed;
    e->n_versions = left + 1;
    e->current = v->number;
    e->updated_ns = v->created_ns;
    if (drop > 0) {
        struct kv_version first;

        kv_version_at(e, 0, &first);
        e->oldest = first.number;
    }
}

/* What a new version must follow: what a client said, or what its writer has read. */
struct base {
    int64_t cas; /* -1: nothing was said */
    bool was_read;
    uint32_t current;
};

static int check_base(struct op *op, const struct kv_entry *e, const struct kv_config *config,
                      const struct base *base)
{
    if (!base->was_read)
        return check_cas(op, e, config, base->cas);
    return e->current == base->current ? 0 : -EAGAIN;
}

static int put_into(struct op *op, struct kv *kv, const char *path,
                    const struct kv_content *content, const struct base *base,
                    struct store_batch *batch, struct kv_version *ret_version)
{
    struct kv_config config = kv_get_config(kv);
    struct kv_version v = {.created_ns = clock_unix_ns()};
    struct target t = {0};
    int r = check_fields(op, kv, content);

    if (r == 0)
        r = find_target(op, kv, path, &t);
    if (r == 0)
        r = kv_check_unprotected(op, &t.entry);
    if (r == 0)
        r = check_base(op, &t.entry, &config, base);
    if (r == 0 && t.entry.current == UINT32_MAX)
        r = op_fail(op, EOVERFLOW, "this secret has all the versions there can be");
    if (r < 0)
        return r;
    v.number = t.entry.current + 1;
    v.deletion_ns = deletion_time(&t.entry, &config, v.created_ns);
    r = kv_content_put(op, kv, batch, t.entry.id, &v, content);
    if (r < 0)
        return r;
    add_version(op, &t.entry, &v, versions_kept(&t.entry, &config), batch);
    r = put_target(kv, batch, &t);
    if (r == 0 && ret_version != NULL)
        *ret_version = v;
    return r;
}

static int put_over(struct op *op, struct kv *kv, const char *path,
                    const struct kv_content *content, const struct base *base,
                    struct store_batch **ret, struct kv_version *ret_version)
{
    bool given = *ret != NULL; /* then it stays the caller's, on failure too */
    struct store_batch *batch = given ? *ret : store_batch_new(kv->store, kv->part);
    int r = put_into(op, kv, path, content, base, batch, ret_version);

    if (r < 0 && !given)
        store_batch_free(batch);
    if (r == 0)
        *ret = batch;
    return r;
}

int kv_put(struct op *op, struct kv *kv, const char *path, const struct kv_content *content,
           int64_t cas, struct store_batch **ret, struct kv_version *ret_version)
{
    return put_over(op, kv, path, content, &(struct base){.cas = cas}, ret, ret_version);
}

int kv_replace(struct op *op, struct kv *kv, const char *path, const struct kv_content *content,
               uint32_t current, struct store_batch **ret)
{
    return put_over(op, kv, path, content, &(struct base){.was_read = true, .current = current},
                    ret, NULL);
}

static bool is_listed(uint32_t number, const uint32_t *versions, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (versions[i] == number)
            return true;
    }
    return false;
}

/* Returns true if the version changes. */
static bool apply_fate(struct kv_entry *e, struct kv_version *v, enum kv_fate fate, int64_t now,
                       int64_t again, struct store_batch *batch)
{
    if (v->destroyed)
        return false;
    switch (fate) {
    case KV_DELETE:
        if (!kv_version_is_live(v))
            return false;
        v->deletion_ns = now;
        return true;
    case KV_UNDELETE:
        if (v->deletion_ns == 0)
            return false;
        v->deletion_ns = again; /* delete_version_after counts from now on */
        return true;
    default:
        kv_content_delete(batch, e->id, v);
        v->destroyed = true;
        return true;
    }
}

int kv_doom(struct op *op, struct kv *kv, const char *path, enum kv_fate fate,
            const uint32_t *versions, size_t n, struct store_batch **ret)
{
    scope_cleanup(scope_batch) struct store_batch *batch = store_batch_new(kv->store, kv->part);
    struct kv_config config = kv_get_config(kv);
    int64_t now = clock_unix_ns();
    struct target t = {0};
    bool changed = false;
    uint8_t *packed;
    int r = find_target(op, kv, path, &t);

    *ret = NULL;
    if (r == 0)
        r = t.exists ? kv_check_unprotected(op, &t.entry) : -ENOENT;
    if (r < 0)
        return r;
    packed = op_alloc(op, t.entry.n_versions * VERSION_BYTES + 1);
    for (size_t i = 0; i < t.entry.n_versions; i++) {
        struct kv_version v;
        bool meant;

        kv_version_at(&t.entry, i, &v);
        meant = n == 0 ? v.number == t.entry.current : is_listed(v.number, versions, n);
        if (meant &&
            apply_fate(&t.entry, &v, fate, now, deletion_time(&t.entry, &config, now), batch))
            changed = true;
        kv_version_pack(&v, packed + i * VERSION_BYTES);
    }
    if (!changed)
        return 0;
    t.entry.versions = packed;
    t.entry.updated_ns = now;
    t.was_live = fate != KV_UNDELETE;
    r = put_target(kv, batch, &t);
    if (r == 0)
        *ret = take(batch);
    return r;
}

/* OpenBao: metadata_cas. */
static int check_metadata_cas(struct op *op, struct kv *kv, const struct target *t,
                              const struct kv_change *change)
{
    bool required = kv_get_config(kv).metadata_cas_required || t->entry.metadata_cas_required;

    if (required && !change->has_metadata_cas)
        return op_fail(op, EINVAL, "metadata check-and-set parameter required for this call");
    if (!change->has_metadata_cas || change->metadata_cas == (int64_t)t->entry.metadata_version)
        return 0;
    return op_fail(op, EINVAL,
                   !t->exists ? "metadata_cas must be 0 when creating new metadata"
                             : "metadata check-and-set parameter does not match the current version");
}

int kv_configure(struct op *op, struct kv *kv, const char *path, const struct kv_change *change,
                 struct store_batch **ret)
{
    scope_cleanup(scope_batch) struct store_batch *batch = store_batch_new(kv->store, kv->part);
    struct target t = {0};
    int r = find_target(op, kv, path, &t);

    if (r < 0)
        return r;
    if (change->checks_cas)
        r = check_metadata_cas(op, kv, &t, change);
    if (r < 0)
        return r;
    t.entry.metadata_version++;
    if (change->set_metadata_cas_required)
        t.entry.metadata_cas_required = change->metadata_cas_required;
    if (change->set_max_versions)
        t.entry.max_versions = change->max_versions;
    if (change->set_cas_required)
        t.entry.cas_required = change->cas_required;
    if (change->set_delete_after)
        t.entry.delete_after_ns = change->delete_after_ns;
    if (change->set_protected)
        t.entry.is_protected = change->is_protected;
    if (change->set_custom)
        t.entry.custom = change->custom;
    t.entry.updated_ns = clock_unix_ns();
    r = put_target(kv, batch, &t);
    if (r == 0)
        *ret = take(batch);
    return r;
}

/* What is no string becomes one, as Go's clients rely on. */
static int custom_value(struct op *op, const struct member *m, struct slice *ret)
{
    char first = m->value.len > 0 ? *(const char *)m->value.data : 0;

    if (first == '{' || first == '[')
        return op_fail(op, EINVAL,
                       "custom_metadata validation failed: '' expected type 'string', got "
                       "unconvertible type '%s'",
                       first == '{' ? "map[string]interface {}" : "[]interface {}");
    if (value_string(op, m->value, ret) == 0)
        return 0;
    *ret = first == 't' ? SLICE("1") : first == 'f' ? SLICE("0") : m->value;
    if (first == 'n')
        *ret = SLICE("");
    return 0;
}

static int check_custom(struct op *op, const struct object *o, struct json *j)
{
    for (size_t i = 0; i < o->n; i++) {
        struct slice key = o->members[i].key, value;
        int r = custom_value(op, &o->members[i], &value);

        if (r < 0)
            return r;
        if (key.len == 0 || key.len > 128)
            return op_fail(op, EINVAL,
                           "custom_metadata validation failed: length of key \"%.*s\" is %zu but "
                           "must be 0 < len(key) <= 128",
                           (int)key.len, (const char *)key.data, key.len);
        if (value.len == 0 || value.len > 512)
            return op_fail(op, EINVAL,
                           "custom_metadata validation failed: length of value for key \"%.*s\" "
                           "is %zu but must be 0 < len(value) <= 512",
                           (int)key.len, (const char *)key.data, value.len);
        json_key_slice(j, key);
        json_slice(j, value);
    }
    return 0;
}

/* Vault's kv engine, custom_metadata.go. */
int kv_custom_check(struct op *op, struct slice *text)
{
    struct buf out = {0};
    struct object o;
    struct json j;
    int r;

    if (text->len == 0)
        return 0;
    if (*(const char *)text->data != '{')
        return op_fail(op, EINVAL,
                       "error converting input for field \"custom_metadata\": expected a map");
    r = object_parse(op, *text, &o);
    if (r < 0)
        return r;
    if (o.n > 64)
        return op_fail(op, EINVAL,
                       "custom_metadata validation failed: payload must contain at most "
                       "64 keys, provided %zu",
                       o.n);
    if (text->len > KV_CUSTOM_BYTES)
        return op_fail(op, EINVAL, "custom_metadata validation failed: payload is over %d bytes",
                       KV_CUSTOM_BYTES);
    json_init(&j, &out);
    json_object(&j);
    r = check_custom(op, &o, &j);
    json_object_end(&j);
    if (r == 0) /* none at all is shown as null */
        *text = o.n > 0 ? op_slice(op, buf_slice(&out)) : slice_of(NULL, 0);
    buf_wipe(&out);
    return r;
}
