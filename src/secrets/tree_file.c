/* tree_file.c: fields as files. */
#include "secrets/tree_file.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "config.h"
#include "secrets/vault.h"

#include <errno.h>

int secret_put(struct op *op, struct place *p, const struct kv_content *content)
{
    struct store_batch *batch = NULL;
    int r = kv_replace(op, p->mount->kv, p->path, content, p->secret.current, &batch);

    if (r == 0)
        r = kv_commit(batch);
    if (r == 0)
        secrets_changed(op, p->mount, p->path);
    return r;
}

/* What a writer holds until it commits: names only, so that it lands on what is there then. */
struct pending {
    struct secrets *s;
    char *path;
    struct slice field; /* its own memory */
    enum place_kind kind;
};

static void pending_free(void *ctx)
{
    struct pending *w = ctx;

    free(w->path);
    free((void *)(uintptr_t)w->field.data);
    free(w);
}

static struct pending *pending_new(const struct place *p)
{
    struct pending *w = xcalloc(1, sizeof *w);

    w->s = p->s;
    w->path = xstrdup(p->path);
    w->field = slice_of(xmemdup(p->field.data, p->field.len), p->field.len);
    w->kind = p->kind;
    return w;
}

/* The secret as it is now; none, or one that cannot be read, is empty. */
static int load_now(struct op *op, const struct pending *w, struct place *ret)
{
    int r;

    *ret = (struct place){.s = w->s, .path = w->path, .field = w->field, .kind = w->kind};
    r = secrets_check(w->s, op);
    if (r < 0)
        return -EACCES;
    ret->mount = secrets_tree_mount(w->s);
    if (ret->mount == NULL)
        return -ENOENT;
    r = place_load(op, ret);
    if (r != -ENOENT)
        return r;
    op_forgive(op);
    ret->content.text = ret->object.text = SLICE("{}");
    return 0;
}

static int publish_once(struct op *op, const struct pending *w, struct slice bytes)
{
    struct kv_content content;
    const struct member *old;
    struct slice value;
    struct place p;
    bool binary, was_binary;
    int r = load_now(op, w, &p);

    if (r < 0) {
        place_done(&p);
        return r;
    }
    secrets_note_value(w->s, op, bytes);
    old = object_find(&p.object, p.field);
    was_binary = value_is_binary(&p.content, p.field);
    if (old == NULL || !slice_eq(value_bytes(op, &p.content, old), bytes)) {
        value_of_bytes(op, old, was_binary, bytes, &value, &binary);
        if (old == NULL || binary != was_binary || !slice_eq(old->value, value)) {
            content_edit(op, &p.content, &p.object, p.field, value, binary, &content);
            r = secret_put(op, &p, &content);
        }
    }
    place_done(&p);
    return r == -ESHUTDOWN ? -EACCES : r;
}

static int publish_field(struct op *op, void *ctx, struct slice bytes)
{
    unsigned tries = 0;
    int r;

    op->wiped = true;
    if (!place_may(op, ((struct pending *)ctx)->path, POLICY_UPDATE) &&
        !place_may(op, ((struct pending *)ctx)->path, POLICY_CREATE))
        return op_fail(op, EACCES, "the right to write was withdrawn");
    do
        r = publish_once(op, ctx, bytes);
    while (kv_again(r, &tries));
    return r;
}

static int check_new_field(struct op *op, const struct place *p, unsigned flags)
{
    if ((flags & NODE_CREATE) == 0)
        return -ENOENT;
    if (p->path[0] == 0)
        return op_fail(op, EPERM, "a secret's fields lie in a folder of their own: mkdir first");
    if (p->field.len > KV_NAME_BYTES)
        return op_fail(op, ENAMETOOLONG, "a field's name has up to %d bytes", KV_NAME_BYTES);
    if (!utf8_valid(p->field))
        return op_fail(op, EINVAL, "a field's name is UTF-8");
    return place_check(op, p, p->has_secret ? POLICY_UPDATE : POLICY_CREATE);
}

static int open_writer(struct op *op, struct place *p, unsigned flags, struct node_file **ret)
{
    bool exists = p->kind == PLACE_FIELD;
    struct node_buffer buffer = {
        .publish = publish_field,
        .free_ctx = pending_free,
        .limit_bytes = p->s->config->limits.secret_value_bytes,
        .flags = NODE_SECRET | NODE_AUDIT,
        .dirty = !exists || (flags & NODE_TRUNC) != 0,
    };
    int r = exists ? place_check(op, p, POLICY_UPDATE) : check_new_field(op, p, flags);

    if (r == 0 && exists && (flags & NODE_READ) != 0)
        r = place_check(op, p, POLICY_READ);
    if (r == 0 && exists && (flags & NODE_EXCL) != 0)
        r = -EEXIST;
    if (r < 0)
        return r;
    if (exists && (flags & NODE_TRUNC) == 0)
        buffer.initial = value_bytes(op, &p->content, p->member);
    buffer.ctx = pending_new(p);
    return node_buffer_open(&buffer, ret);
}

int field_open(struct op *op, struct place *p, unsigned flags, struct node_file **ret)
{
    struct slice bytes;
    int r;

    if ((flags & NODE_WRITE) != 0)
        return p->kind == PLACE_OLD_FIELD ? op_fail(op, EROFS, "an old version stays as it was")
                                          : open_writer(op, p, flags, ret);
    r = place_check_visible(op, p);
    if (r < 0)
        return r;
    bytes = value_bytes(op, &p->content, p->member);
    kv_note_read(p->mount->kv, p->secret.id);
    secrets_note_value(p->s, op, bytes);
    return node_bytes_open(bytes, NODE_SECRET | NODE_AUDIT, ret);
}

static int write_settings(struct op *op, struct place *p, struct slice text);

static int replace_once(struct op *op, const struct pending *w, struct slice text)
{
    struct kv_content content = {0};
    struct slice now = {0};
    struct place p;
    int r = load_now(op, w, &p);

    if (r == 0 && w->kind == PLACE_META)
        r = write_settings(op, &p, text);
    else if (r == 0)
        r = alias_parse(op, &p, text, &content);
    if (r == 0 && w->kind != PLACE_META) {
        secrets_note_content(w->s, op, &content);
        if (p.has_secret)
            r = alias_render(op, &p, &now);
        if (r == 0 && (!p.has_secret || !slice_eq(now, text)))
            r = secret_put(op, &p, &content);
    }
    place_done(&p);
    return r == -ESHUTDOWN ? -EACCES : r;
}

static int publish_alias(struct op *op, void *ctx, struct slice text)
{
    unsigned tries = 0;
    int r;

    op->wiped = true;
    do
        r = replace_once(op, ctx, text);
    while (kv_again(r, &tries));
    return r;
}

int alias_open(struct op *op, struct place *p, unsigned flags, struct node_file **ret)
{
    struct node_buffer buffer = {
        .publish = publish_alias,
        .free_ctx = pending_free,
        .limit_bytes = KV_CONTENT_BYTES,
        .flags = NODE_SECRET | NODE_AUDIT,
        .dirty = (flags & NODE_TRUNC) != 0,
    };
    bool absent = place_is_whole(p) && !p->has_secret;
    struct slice text = {0};
    int r = 0;

    if (absent && (flags & NODE_CREATE) == 0)
        return -ENOENT;
    if (!absent && ((flags & NODE_READ) != 0 || (flags & NODE_TRUNC) == 0)) {
        if (!place_may(op, p->path, POLICY_READ))
            return -ENOENT;
        r = alias_render(op, p, &text);
    }
    if (r < 0)
        return r;
    if ((flags & NODE_WRITE) == 0 && place_is_whole(p)) {
        kv_note_read(p->mount->kv, p->secret.id);
        secrets_note_content(p->s, op, &p->content);
    }
    if ((flags & NODE_WRITE) == 0)
        return node_bytes_open(text, NODE_SECRET | NODE_AUDIT, ret);
    r = place_check(op, p, absent ? POLICY_CREATE : POLICY_UPDATE);
    if (r < 0)
        return r;
    if ((flags & NODE_TRUNC) == 0)
        buffer.initial = text;
    buffer.ctx = pending_new(p);
    return node_buffer_open(&buffer, ret);
}

/* What may be set in @meta; the rest of what it shows is left alone when it is written back. */
static int read_settings(struct op *op, struct slice text, struct kv_change *ret)
{
    struct object o;
    struct slice v;
    int64_t n = 0;
    int r = object_parse(op, text, &o);

    if (r < 0)
        return r;
    v = object_value(&o, "max_versions");
    ret->set_max_versions = v.len > 0;
    if (v.len > 0 && (value_integer(op, v, &n) < 0 || n < 0 || n > KV_VERSIONS_LIMIT))
        return op_fail(op, EINVAL, "max_versions is a number up to %d", KV_VERSIONS_LIMIT);
    ret->max_versions = (uint32_t)n;
    v = object_value(&o, "cas_required");
    ret->set_cas_required = v.len > 0;
    if (v.len > 0 && value_boolean(v, &ret->cas_required) < 0)
        return op_fail(op, EINVAL, "cas_required is true or false");
    v = object_value(&o, "delete_version_after");
    ret->set_delete_after = v.len > 0;
    if (v.len > 0 && vault_duration(op, v, &ret->delete_after_ns) < 0)
        return op_fail(op, EINVAL, "delete_version_after is a duration, such as \"720h\"");
    v = object_value(&o, "protect");
    ret->set_protected = v.len > 0;
    if (v.len > 0 && value_boolean(v, &ret->is_protected) < 0)
        return op_fail(op, EINVAL, "protect is true or false");
    ret->custom = object_value(&o, "custom_metadata");
    ret->set_custom = object_find(&o, SLICE("custom_metadata")) != NULL;
    return kv_custom_check(op, &ret->custom);
}

static int write_settings(struct op *op, struct place *p, struct slice text)
{
    struct store_batch *batch = NULL;
    struct kv_change change = {0};
    int r = read_settings(op, text, &change);

    if (r == 0)
        r = kv_configure(op, p->mount->kv, p->path, &change, &batch);
    if (r == 0)
        r = kv_commit(batch);
    if (r == 0)
        secrets_changed(op, p->mount, p->path);
    return r;
}
