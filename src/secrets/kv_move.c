/* kv_move.c: changes of the folders themselves. They are rare, commit at once, and empty the cache
 * of folders behind the commit. */
#include "base/clock.h"
#include "base/scope.h"
#include "node.h"
#include "secrets/kv_internal.h"

#include <errno.h>

DEFINE_SCOPE(batch, struct store_batch, store_batch_free)

static int commit_folders(struct kv *kv, struct store_batch *batch, unsigned flags)
{
    int r = store_commit(batch, flags);

    kv_folders_forget(kv);
    return r;
}

/* Replaces a folder's flags, if it is still what it was; then *e is as stored. */
static int set_flags(struct op *op, struct kv *kv, struct kv_entry *e, unsigned folder_flags,
                     unsigned commit_flags)
{
    scope_cleanup(scope_batch) struct store_batch *batch = store_batch_new(kv->store, kv->part);
    struct slice key = slice_of(e->key, sizeof e->key);
    struct store_value v = {0};
    int r;

    e->folder_flags = folder_flags;
    store_batch_expect(batch, key, e->raw);
    r = kv_row_put(kv, batch, e);
    if (r == 0)
        r = commit_folders(kv, take(batch), commit_flags);
    if (r == 0)
        r = store_get(kv->store, kv->part, key, &v);
    if (r == 0) {
        e->raw = op_slice(op, v.data);
        store_value_release(&v);
    }
    return r;
}

/* Removes the folder's row if nothing is in it: it is marked first, so that who adds to it and this
 * see each other. -ENOTEMPTY, -EAGAIN. */
static int drop_folder(struct op *op, struct kv *kv, struct kv_entry *e, unsigned flags)
{
    unsigned before = e->folder_flags;
    struct store_batch *batch;
    int r = kv_folder_has(op, kv, e->id, false);

    if (r != 0)
        return r == 1 ? -ENOTEMPTY : r;
    r = set_flags(op, kv, e, before | KV_DYING, flags);
    if (r == 0)
        r = kv_folder_has(op, kv, e->id, false);
    if (r == 1)
        r = set_flags(op, kv, e, before, flags) < 0 ? -EAGAIN : -ENOTEMPTY;
    if (r < 0)
        return r;
    batch = store_batch_new(kv->store, kv->part);
    store_batch_expect(batch, slice_of(e->key, sizeof e->key), e->raw);
    store_batch_delete(batch, slice_of(e->key, sizeof e->key));
    kv_name_delete(kv, batch, e);
    return commit_folders(kv, batch, flags);
}

/* Removes empty folders from the end of the path up, as far as nobody asked for them to stay. What
 * a crash leaves of this is an empty folder, which rmdir removes; so it need not be durable. */
static void prune(struct op *op, struct kv *kv, const char *folder)
{
    for (; folder[0] != 0; folder = path_folder(op, folder)) {
        struct kv_entry e;
        int r = kv_find_folder(op, kv, folder, &e);

        if (r == 0 && (e.folder_flags & KV_KEPT) != 0)
            return;
        if (r == 0)
            r = drop_folder(op, kv, &e, 0);
        if (r < 0 && r != -ENOENT)
            return;
    }
}

static int remove_once(struct op *op, struct kv *kv, const char *path)
{
    struct store_batch *batch;
    struct kv_entry e;
    int r = kv_find(op, kv, path, &e);

    if (r == 0)
        r = kv_check_unprotected(op, &e);
    if (r < 0)
        return r;
    batch = store_batch_new(kv->store, kv->part);
    store_batch_expect(batch, slice_of(e.key, sizeof e.key), e.raw);
    store_batch_delete(batch, slice_of(e.key, sizeof e.key));
    kv_name_delete(kv, batch, &e);
    for (size_t i = 0; i < e.n_versions; i++) {
        struct kv_version v;

        kv_version_at(&e, i, &v);
        kv_content_delete(batch, e.id, &v);
    }
    kv_reads_delete(kv, batch, e.id);
    return kv_commit(batch);
}

int kv_remove(struct op *op, struct kv *kv, const char *path)
{
    unsigned tries = 0;
    int r;

    do
        r = remove_once(op, kv, path);
    while (kv_again(r, &tries));
    if (r == 0)
        prune(op, kv, path);
    return r;
}

/* Recursion ends where the folders do: a path has a limit. */
int kv_remove_all(struct op *op, struct kv *kv, const char *path)
{
    struct kv_entry *list = NULL;
    size_t n = 0;
    int r = kv_list(op, kv, path, &list, &n);

    for (size_t i = 0; i < n && r == 0; i++)
        r = kv_remove_all(
            op, kv,
            op_printf(op, "%s/%.*s", path, (int)list[i].name.len, (const char *)list[i].name.data));
    if (r == 0 || r == -ENOENT)
        r = kv_remove(op, kv, path);
    return r == -ENOENT ? 0 : r;
}

static int mkdir_once(struct op *op, struct kv *kv, const char *path)
{
    scope_cleanup(scope_batch) struct store_batch *batch = store_batch_new(kv->store, kv->part);
    struct chain c;
    struct kv_entry *last;
    int r = kv_chain_walk(op, kv, path, &c);

    if (r < 0)
        return r;
    last = &c.folders[c.n - 1];
    if (c.n_existing == c.n && (last->folder_flags & KV_HIDDEN) == 0)
        return -EEXIST;
    last->folder_flags |= KV_KEPT;
    r = kv_chain_claim(kv, batch, &c);
    return r == 0 ? commit_folders(kv, take(batch), STORE_DURABLE) : r;
}

int kv_mkdir(struct op *op, struct kv *kv, const char *path)
{
    unsigned tries = 0;
    int r = kv_path_check(op, path);

    if (r < 0)
        return r;
    if (path[0] == 0)
        return -EEXIST;
    do
        r = mkdir_once(op, kv, path);
    while (kv_again(r, &tries));
    return r;
}

/* A folder with only deleted secrets and hidden folders in it. */
static int hide(struct op *op, struct kv *kv, struct kv_entry *e)
{
    unsigned before = e->folder_flags;
    int r = kv_folder_has(op, kv, e->id, true);

    if (r != 0)
        return r == 1 ? -ENOTEMPTY : r;
    r = set_flags(op, kv, e, (before | KV_HIDDEN) & ~(unsigned)KV_KEPT, STORE_DURABLE);
    if (r == 0)
        r = kv_folder_has(op, kv, e->id, true);
    if (r == 1)
        r = set_flags(op, kv, e, before, STORE_DURABLE) < 0 ? -EAGAIN : -ENOTEMPTY;
    return r;
}

static int rmdir_once(struct op *op, struct kv *kv, const char *path)
{
    struct kv_entry e;
    int r = kv_find_folder(op, kv, path, &e);

    if (r < 0)
        return r;
    if ((e.folder_flags & KV_HIDDEN) != 0)
        return -ENOENT;
    r = drop_folder(op, kv, &e, STORE_DURABLE);
    return r == -ENOTEMPTY ? hide(op, kv, &e) : r;
}

int kv_rmdir(struct op *op, struct kv *kv, const char *path)
{
    unsigned tries = 0;
    int r;

    do
        r = rmdir_once(op, kv, path);
    while (kv_again(r, &tries));
    return r;
}

/* Moves one row, a folder's or a secret's, to a name that is free. */
static int move_row(struct kv *kv, struct store_batch *batch, const struct kv_entry *from,
                    const uint8_t parent[KV_ID_BYTES], struct slice name, bool expect_free)
{
    struct kv_entry e = *from;
    int r;

    e.name = name;
    e.folder_flags &= ~(unsigned)KV_DYING;
    r = kv_row_key(kv, parent, e.kind, name, e.key);
    if (r < 0)
        return r;
    store_batch_expect(batch, slice_of(from->key, sizeof from->key), from->raw);
    store_batch_delete(batch, slice_of(from->key, sizeof from->key));
    kv_name_delete(kv, batch, from);
    if (expect_free)
        store_batch_expect_absent(batch, slice_of(e.key, sizeof e.key));
    r = kv_name_put(kv, batch, &e);
    return r == 0 ? kv_row_put(kv, batch, &e) : r;
}

/* What stands at the target of a rename but is not seen in the tree, a hidden folder or a secret
 * that was deleted, is kept beside it under a name of its own: nothing deleted is lost. Returns 1
 * if it was moved. */
static int set_aside(struct op *op, struct kv *kv, struct store_batch *batch,
                     const uint8_t parent[KV_ID_BYTES], const struct kv_entry *e)
{
    const char *name = op_printf(op, "%.*s.deleted-%" PRId64, (int)e->name.len,
                                 (const char *)e->name.data, clock_unix_ms());
    int r = move_row(kv, batch, e, parent, slice_str(name), true);

    return r < 0 ? r : 1;
}

/* Makes room at the target. 1 if something was set aside, 0 if there was nothing. */
static int clear_target(struct op *op, struct kv *kv, struct store_batch *batch,
                        const struct chain *chain, const char *to, enum kv_kind kind)
{
    const uint8_t *parent = kv_chain_last_id(kv, chain);
    struct kv_entry e;
    int r = kv_row_get(op, kv, parent, kind, kv_path_name(to), &e);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (kind == KV_FOLDER ? (e.folder_flags & KV_HIDDEN) == 0 : kv_is_live(&e))
        return op_fail(op, ENOTEMPTY, "'%s' is not empty", to);
    return set_aside(op, kv, batch, parent, &e);
}

static int rename_once(struct op *op, struct kv *kv, const char *from, const char *to)
{
    scope_cleanup(scope_batch) struct store_batch *batch = store_batch_new(kv->store, kv->part);
    struct kv_entry folder, secret;
    struct chain chain;
    int has_folder = kv_find_folder(op, kv, from, &folder);
    int has_secret = kv_find(op, kv, from, &secret);
    int folder_aside, secret_aside;
    int r;

    if (has_folder < 0 && has_secret < 0)
        return has_folder != -ENOENT ? has_folder : has_secret;
    if (has_secret == 0 && kv_check_unprotected(op, &secret) < 0)
        return -EPERM;
    r = kv_rmdir(op, kv, to); /* an empty folder gives way */
    if (r < 0 && r != -ENOENT)
        return r;
    r = kv_chain_walk(op, kv, path_folder(op, to), &chain);
    if (r == 0)
        r = kv_chain_claim(kv, batch, &chain);
    if (r < 0)
        return r;
    folder_aside = clear_target(op, kv, batch, &chain, to, KV_FOLDER);
    secret_aside = clear_target(op, kv, batch, &chain, to, KV_SECRET);
    if (folder_aside < 0 || secret_aside < 0)
        return folder_aside < 0 ? folder_aside : secret_aside;
    if (has_folder == 0)
        r = move_row(kv, batch, &folder, kv_chain_last_id(kv, &chain), kv_path_name(to),
                     folder_aside == 0);
    if (r == 0 && has_secret == 0)
        r = move_row(kv, batch, &secret, kv_chain_last_id(kv, &chain), kv_path_name(to),
                     secret_aside == 0);
    return r == 0 ? commit_folders(kv, take(batch), STORE_DURABLE) : r;
}

int kv_rename(struct op *op, struct kv *kv, const char *from, const char *to)
{
    size_t len = strlen(from);
    unsigned tries = 0;
    int r = kv_path_check(op, to);

    if (r < 0)
        return r;
    if (from[0] == 0 || to[0] == 0)
        return op_fail(op, EBUSY, "the root of a mount stays where it is");
    if (strcmp(from, to) == 0)
        return 0;
    if (strncmp(to, from, len) == 0 && to[len] == '/')
        return op_fail(op, EINVAL, "'%s' lies in '%s'", to, from);
    do
        r = rename_once(op, kv, from, to);
    while (kv_again(r, &tries));
    return r;
}
