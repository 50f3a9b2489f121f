#include "secrets/tree_change.h"

#include "base/scope.h"
#include "base/utf8.h"
#include "secrets/tree_file.h"

#include <errno.h>

static int find(struct op *op, void *self, const char *path, struct place *ret)
{
    int r = place_find(op, self, path, ret);

    op->wiped = true;
    return r;
}

static int make_folder(struct op *op, struct place *p)
{
    int r;

    if (p->kind != PLACE_ABSENT || p->child == NULL)
        return -EEXIST;
    if (!place_may_add(op, p->child))
        return op_fail(op, EACCES, "'%s' may not create '" SECRETS_TREE_MOUNT "data/%s'",
                       op->who->name, p->child);
    r = kv_mkdir(op, p->mount->kv, p->child);
    if (r == 0)
        secrets_changed(op, p->mount, p->child);
    return r;
}

int tree_mkdir_folder(struct op *op, void *self, const char *path, mode_t mode)
{
    struct place p;
    int r = find(op, self, path, &p);

    (void)mode;
    if (r < 0)
        return r;
    r = make_folder(op, &p);
    place_done(&p);
    return r == -ESHUTDOWN ? -EACCES : r;
}

/* -ENOTEMPTY if the secret of the folder has fields. */
static int check_no_fields(struct op *op, struct place *p)
{
    int r = place_load(op, p);

    if (r == -ENOENT)
        return 0;
    return r == 0 && p->object.n > 0 ? -ENOTEMPTY : r;
}

/* The secret of an emptied folder stays where Vault's clients can undelete it; the tree does not
 * show it any more. */
static int end_secret(struct op *op, const struct place *p)
{
    struct store_batch *batch = NULL;
    unsigned tries = 0;
    int r;

    do {
        r = kv_doom(op, p->mount->kv, p->path, KV_DELETE, NULL, 0, &batch);
        if (r == 0)
            r = kv_commit(batch);
    } while (kv_again(r, &tries));
    return r == -ENOENT ? 0 : r;
}

static int remove_folder(struct op *op, struct place *p)
{
    int r = p->is_root ? -EBUSY : place_check_visible(op, p);

    if (r < 0)
        return r;
    if (p->kind != PLACE_FOLDER)
        return p->kind == PLACE_FIELD ? -ENOTDIR : -EROFS;
    if (!place_may_add(op, p->path))
        r = place_check(op, p, POLICY_DELETE);
    if (r == 0 && p->has_secret)
        r = check_no_fields(op, p);
    if (r == 0 && p->has_folder)
        r = kv_rmdir(op, p->mount->kv, p->path);
    if (r == 0 && p->has_secret)
        r = end_secret(op, p);
    if (r == 0)
        secrets_changed(op, p->mount, p->path);
    return r;
}

int tree_rmdir_folder(struct op *op, void *self, const char *path)
{
    struct place p;
    int r = find(op, self, path, &p);

    if (r < 0)
        return r;
    r = remove_folder(op, &p);
    place_done(&p);
    return r == -ESHUTDOWN ? -EACCES : r;
}

static int unlink_once(struct op *op, void *self, const char *path)
{
    struct kv_content content;
    struct place p;
    int r = find(op, self, path, &p);

    if (r < 0)
        return r;
    if (p.kind == PLACE_FOLDER)
        r = -EISDIR;
    else
        r = place_check_visible(op, &p);
    if (r == 0 && p.kind != PLACE_FIELD)
        r = op_fail(op, EROFS, "'%s' is computed, not stored", path);
    if (r == 0)
        r = place_check(op, &p, POLICY_UPDATE);
    if (r == 0) {
        content_edit(op, &p.content, &p.object, p.field, slice_of(NULL, 0), false, &content);
        r = secret_put(op, &p, &content);
    }
    place_done(&p);
    return r == -ESHUTDOWN ? -EACCES : r;
}

int tree_unlink_field(struct op *op, void *self, const char *path)
{
    unsigned tries = 0;
    int r;

    do
        r = unlink_once(op, self, path);
    while (kv_again(r, &tries));
    return r;
}

/* Renames the field inside one secret: one version. */
static int rename_within(struct op *op, struct place *from, const struct place *to)
{
    bool binary = value_is_binary(&from->content, from->field);
    struct kv_content without, content;
    struct object o;
    int r;

    content_edit(op, &from->content, &from->object, from->field, slice_of(NULL, 0), false,
                 &without);
    r = object_parse(op, without.text, &o);
    if (r < 0)
        return r;
    content_edit(op, &without, &o, to->field, from->member->value, binary, &content);
    return secret_put(op, from, &content);
}

/* From one secret to another: a version of each, in one batch. */
static int rename_across(struct op *op, struct place *from, struct place *to)
{
    bool binary = value_is_binary(&from->content, from->field);
    struct kv_content without, with;
    struct store_batch *batch = NULL;
    int r;

    if (!to->has_secret)
        to->content.text = to->object.text = SLICE("{}");
    content_edit(op, &from->content, &from->object, from->field, slice_of(NULL, 0), false,
                 &without);
    content_edit(op, &to->content, &to->object, to->field, from->member->value, binary, &with);
    r = kv_replace(op, to->mount->kv, to->path, &with, to->secret.current, &batch);
    if (r == 0)
        r = kv_replace(op, from->mount->kv, from->path, &without, from->secret.current, &batch);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    r = kv_commit(batch);
    if (r == 0) {
        secrets_changed(op, from->mount, from->path);
        secrets_changed(op, to->mount, to->path);
    }
    return r;
}

static int rename_field(struct op *op, struct place *from, struct place *to, unsigned flags)
{
    int r = place_check(op, from, POLICY_UPDATE);

    if (to->kind == PLACE_FOLDER)
        return -EISDIR;
    if (to->kind != PLACE_FIELD && to->kind != PLACE_ABSENT)
        return op_fail(op, EROFS, "the target is computed, not stored");
    if (to->kind == PLACE_FIELD && (flags & NODE_NOREPLACE) != 0)
        return -EEXIST;
    if (r == 0 && to->path[0] == 0)
        r = op_fail(op, EPERM, "a secret's fields lie in a folder of their own: mkdir first");
    if (r == 0 && !utf8_valid(to->field))
        r = op_fail(op, EINVAL, "a field's name is UTF-8");
    if (r == 0)
        r = place_check(op, to, to->has_secret ? POLICY_UPDATE : POLICY_CREATE);
    if (r < 0)
        return r;
    if (strcmp(from->path, to->path) != 0)
        return rename_across(op, from, to);
    return slice_eq(from->field, to->field) ? 0 : rename_within(op, from, to);
}

/* A folder moves with all below it, also what the mover may not see: so each secret is asked for.
 * Recursion ends where the folders do: a path has a limit. */
static int check_subtree(struct op *op, struct place *p, const char *from, const char *to)
{
    struct kv_entry *list = NULL;
    size_t n = 0;
    int r = kv_list(op, p->mount->kv, from, &list, &n);

    if (r == -ENOENT)
        n = 0, r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        const char *name = op_strndup(op, list[i].name.data, list[i].name.len);
        const char *old = op_printf(op, "%s/%s", from, name);
        const char *new = op_printf(op, "%s/%s", to, name);

        if (list[i].kind == KV_FOLDER)
            r = check_subtree(op, p, old, new);
        else if (!place_may(op, old, POLICY_UPDATE) || !place_may(op, new, POLICY_CREATE))
            r = op_fail(op, EACCES, "'%s' may not move '" SECRETS_TREE_MOUNT "data/%s'",
                        op->who->name, old);
    }
    return r;
}

static int rename_folder(struct op *op, struct place *from, struct place *to, unsigned flags)
{
    const char *target = to->kind == PLACE_FOLDER ? to->path : to->child;
    int r = place_check_visible(op, from);

    if (from->is_root || to->is_root)
        return -EBUSY;
    if (to->kind == PLACE_FIELD)
        return -ENOTDIR;
    if (target == NULL)
        return -EROFS;
    if (to->kind == PLACE_FOLDER && (flags & NODE_NOREPLACE) != 0)
        return -EEXIST;
    if (r == 0 && (!place_may_add(op, from->path) || !place_may_add(op, target)))
        r = op_fail(op, EACCES, "'%s' may not move '%s' to '%s'", op->who->name, from->path,
                    target);
    if (r == 0 && from->has_secret)
        r = place_check(op, from, POLICY_UPDATE);
    if (r == 0)
        r = check_subtree(op, from, from->path, target);
    if (r == 0 && to->kind == PLACE_FOLDER && to->has_secret) { /* without a field it gives way */
        r = check_no_fields(op, to);
        if (r == 0)
            r = end_secret(op, to);
    }
    if (r == 0)
        r = kv_rename(op, from->mount->kv, from->path, target);
    if (r == 0) {
        secrets_changed(op, from->mount, from->path);
        secrets_changed(op, from->mount, target);
    }
    return r;
}

static int rename_once(struct op *op, void *self, const char *from_path, const char *to_path,
                       unsigned flags)
{
    struct place from, to;
    int r = find(op, self, from_path, &from);

    if (r < 0)
        return r;
    r = find(op, self, to_path, &to);
    if (r < 0) {
        place_done(&from);
        return r;
    }
    r = place_check_visible(op, &from);
    if (r == 0 && from.kind == PLACE_FIELD)
        r = rename_field(op, &from, &to, flags);
    else if (r == 0 && from.kind == PLACE_FOLDER)
        r = rename_folder(op, &from, &to, flags);
    else if (r == 0)
        r = op_fail(op, EROFS, "'%s' is computed, not stored", from_path);
    place_done(&from);
    place_done(&to);
    return r == -ESHUTDOWN ? -EACCES : r;
}

int tree_rename_place(struct op *op, void *self, const char *from, const char *to, unsigned flags)
{
    unsigned tries = 0;
    int r;

    do
        r = rename_once(op, self, from, to, flags);
    while (kv_again(r, &tries));
    return r;
}
