/* images/ as folders: repositories, and tags as symlinks to manifests. */
#include "base/codec.h"
#include "identity/identity.h"
#include "images/hooks.h"
#include "images/images_web.h"
#include "images/tree_place.h"

#include <errno.h>
#include <stdio.h>
#include <uthash.h>

/* Paths. */

static int place_blobs(const char *rest, struct place *p)
{
    const char *slash = strchr(rest, '/');
    char text[DIGEST_TEXT_MAX];
    size_t n = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
    int w;

    if (rest[0] == 0) {
        p->kind = PLACE_BLOBS;
        return 0;
    }
    if (n == 6 && memcmp(rest, "sha256", 6) == 0)
        p->digest.algorithm = DIGEST_SHA256;
    else if (n == 6 && memcmp(rest, "sha512", 6) == 0)
        p->digest.algorithm = DIGEST_SHA512;
    else
        return -ENOENT;
    p->kind = PLACE_ALGORITHM;
    if (slash == NULL)
        return 0;
    p->kind = PLACE_BLOB;
    w = snprintf(text, sizeof text, "%.6s:%s", rest, slash + 1);
    return w < 0 || (size_t)w >= sizeof text || digest_parse(slice_str(text), &p->digest) < 0
               ? -ENOENT
               : 0;
}

static int place_manifests(struct op *op, const char *rest, struct place *p)
{
    const char *head;

    if (rest[0] == 0) {
        p->kind = PLACE_MANIFESTS;
        return 0;
    }
    p->kind = PLACE_MANIFEST;
    p->rest = path_head(op, rest, &head);
    return digest_file_parse(slice_str(head), &p->digest) < 0 ? -ENOENT : 0;
}

/* "team/app:1.0", as docker writes it: a tag of team/app, in the folder team. */
static void place_reference(struct op *op, struct place *p)
{
    const char *base = path_base(p->name);
    const char *colon = strchr(base, ':');

    if (colon == NULL)
        return;
    p->kind = PLACE_TAG;
    p->rest = colon + 1;
    p->name = op_strndup(op, p->name, (size_t)(colon - p->name));
    p->to_repo = op_printf(op, "%s/", path_base(p->name));
}

int place_parse(struct op *op, const char *path, struct place *ret)
{
    const char *rel = path[sizeof "images" - 1] == '/' ? path + sizeof "images" : "";
    const char *at = rel[0] == '@' ? rel : strstr(rel, "/@"), *head, *rest;
    struct place p = {.kind = PLACE_NAME, .name = rel, .rest = "", .to_repo = ""};
    int r = 0;

    if (at == NULL)
        place_reference(op, &p);
    if (at != NULL) {
        p.name = op_strndup(op, rel, (size_t)(at - rel));
        rest = path_head(op, at == rel ? at : at + 1, &head);
        p.rest = rest;
        if (strcmp(head, "@blobs") == 0 && p.name[0] == 0)
            r = place_blobs(rest, &p);
        else if (p.name[0] == 0)
            return -ENOENT;
        else if (strcmp(head, "@manifests") == 0)
            r = place_manifests(op, rest, &p);
        else if (strcmp(head, "@oci") == 0)
            p.kind = PLACE_OCI;
        else if (strcmp(head, "@tags") == 0)
            p.kind = rest[0] != 0 ? PLACE_TAG : PLACE_TAGS, p.to_repo = "../";
        else
            return -ENOENT;
    }
    if (r == 0)
        *ret = p;
    return r;
}

/* What may be seen. */

static bool may_read(struct op *op, const char *repo)
{
    return identity_may(op, POLICY_READ, "images/%s", repo);
}

static bool repo_visible(struct op *op, struct images *im, const char *repo)
{
    bool visible = repository_name_valid(slice_str(repo)) && may_read(op, repo) &&
                   images_check_repo(op, im, repo) == 0;

    op_forgive(op);
    return visible;
}

struct below {
    struct op *op;
    const char *prefix; /* "team/" */
};

static int is_below(void *ctx, const char *repo, const char **seek)
{
    struct below *b = ctx;

    (void)seek;
    if (strncmp(repo, b->prefix, strlen(b->prefix)) != 0)
        return -ENOENT;
    return may_read(b->op, repo);
}

/* Is there a repository below the folder that the caller may see? */
static bool has_below(struct op *op, struct images *im, const char *folder)
{
    struct below b = {op, op_printf(op, "%s/", folder)};

    return repo_each(op, im, b.prefix, is_below, &b) == 1;
}

static bool is_folder(struct op *op, struct images *im, const char *name)
{
    return name[0] == 0 || repo_visible(op, im, name) || has_below(op, im, name);
}

/* A place as a tag: <repo>/<tag> or <repo>/@tags/<tag>. -ENOENT if it cannot be one that the caller
 * sees. */
static int tag_of(struct op *op, struct images *im, const struct place *p, const char **ret_repo,
                  const char **ret_tag)
{
    const char *repo = p->name, *tag = p->rest;

    if (p->kind == PLACE_NAME) {
        repo = path_folder(op, p->name);
        tag = path_base(p->name);
    } else if (p->kind != PLACE_TAG) {
        return -ENOENT;
    }
    if (!tag_valid(slice_str(tag)) || !repo_visible(op, im, repo))
        return -ENOENT;
    *ret_repo = repo;
    *ret_tag = tag;
    return 0;
}

static const char *tag_target(struct op *op, const struct place *p, const struct digest *d)
{
    char name[DIGEST_TEXT_MAX];

    return op_printf(op, "%s@manifests/%s", p->to_repo, digest_file_name(d, name));
}

static int find_tag(struct op *op, struct images *im, const struct place *p, struct digest *ret,
                    int64_t *ret_unix_ms)
{
    const char *repo, *tag;
    int r;

    if (p->kind == PLACE_NAME && is_folder(op, im, p->name))
        return -EISDIR;
    r = tag_of(op, im, p, &repo, &tag);
    if (r == 0)
        r = tag_get(op, im, repo, slice_str(tag), ret, ret_unix_ms);
    return r == -ENXIO ? -ENOENT : r;
}

/* Operations. */

static int64_t repo_time(struct op *op, struct images *im, const char *repo)
{
    struct slice value;

    if (repo[0] == 0 || images_row(op, im, PART_CATALOG, slice_str(repo), &value) < 0 ||
        value.len != 8)
        return 0;
    return (int64_t)be64_get(value.data);
}

static int stat_name(struct op *op, struct images *im, const struct place *p, struct node_stat *ret)
{
    struct digest d;
    int64_t when;
    int r;

    r = find_tag(op, im, p, &d, &when);
    if (r == -EISDIR) {
        node_fixed(NODE_DIR, 0, repo_time(op, im, p->name), ret);
        ret->mode = 0755;
        if (p->name[0] != 0 && identity_may(op, POLICY_CREATE, "images/%s", p->name))
            ret->flags |= NODE_WRITABLE;
        return 0;
    }
    if (r == 0)
        node_fixed(NODE_SYMLINK, strlen(tag_target(op, p, &d)), when, ret);
    return r;
}

static int tree_node_stat(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    struct images *im = self;
    struct place p;
    int r;

    r = place_parse(op, path, &p);
    if (r < 0)
        return r;
    if (p.kind == PLACE_NAME || p.kind == PLACE_TAG)
        return stat_name(op, im, &p, ret);
    if (p.name[0] == 0)
        return blob_node_stat(op, im, &p, ret);
    if (!repo_visible(op, im, p.name))
        return -ENOENT;
    if (p.kind == PLACE_MANIFEST)
        return manifest_node_stat(op, im, &p, ret);
    if (p.kind == PLACE_OCI)
        return layout_node_stat(op, im, &p, ret);
    node_fixed(NODE_DIR, 0, repo_time(op, im, p.name), ret);
    if (p.kind == PLACE_TAGS && identity_may(op, POLICY_CREATE, "images/%s", p.name))
        ret->flags |= NODE_WRITABLE;
    return 0;
}

struct child {
    UT_hash_handle hh;
    const char *name;
};

struct listing {
    struct op *op;
    struct images *im;
    const struct place *place;
    const char *prefix; /* "team/" or "" */
    node_emit_fn *emit;
    void *ctx;
    struct child *children; /* folders that were listed; a tag of that name is hidden */
};

static int emit_child(struct listing *l, const char *name)
{
    struct child *c;

    HASH_FIND_STR(l->children, name, c);
    if (c != NULL)
        return 0;
    c = op_alloc(l->op, sizeof *c);
    c->name = name;
    HASH_ADD_KEYPTR(hh, l->children, c->name, strlen(c->name), c);
    return l->emit(l->ctx, name, NULL);
}

/* Each folder once: behind the first repository in it that may be seen, on to the next folder. */
static int list_child(void *ctx, const char *repo, const char **seek)
{
    struct listing *l = ctx;
    size_t n = strlen(l->prefix);
    const char *name, *slash;

    if (strncmp(repo, l->prefix, n) != 0)
        return 1;
    if (!may_read(l->op, repo))
        return 0;
    slash = strchr(repo + n, '/');
    name =
        op_strndup(l->op, repo + n, slash != NULL ? (size_t)(slash - repo) - n : strlen(repo + n));
    if (slash != NULL)
        *seek = op_printf(l->op, "%s%s0", l->prefix, name); /* '0' comes after '/' */
    return emit_child(l, name);
}

static int list_tag(void *ctx, const struct tag_view *tag)
{
    struct listing *l = ctx;
    const char *name = op_strndup(l->op, tag->name.data, tag->name.len);
    struct node_stat st;
    struct child *c;

    HASH_FIND_STR(l->children, name, c);
    if (c != NULL)
        return 0;
    node_fixed(NODE_SYMLINK, strlen(tag_target(l->op, l->place, &tag->manifest)),
               tag->changed_unix_ms, &st);
    return l->emit(l->ctx, name, &st);
}

static int list_manifest(void *ctx, const struct manifest_view *view)
{
    struct listing *l = ctx;
    char name[DIGEST_TEXT_MAX];
    struct node_stat st;

    node_fixed(NODE_DIR, 0, view->pushed_unix_ms, &st);
    return l->emit(l->ctx, digest_file_name(&view->digest, name), &st);
}

static int list_name(struct listing *l, const struct place *p)
{
    int r;

    if (!is_folder(l->op, l->im, p->name))
        return -ENOENT;
    l->prefix = p->name[0] != 0 ? op_printf(l->op, "%s/", p->name) : "";
    r = repo_each(l->op, l->im, l->prefix, list_child, l);
    if (r >= 0 && p->name[0] != 0 && repo_visible(l->op, l->im, p->name))
        r = tag_each(l->op, l->im, p->name, "", list_tag, l);
    HASH_CLEAR(hh, l->children);
    return r < 0 ? r : 0;
}

static int tree_node_list(struct op *op, void *self, const char *path, node_emit_fn *emit,
                          void *ctx)
{
    struct images *im = self;
    struct place p;
    struct listing l = {.op = op, .im = im, .place = &p, .emit = emit, .ctx = ctx};
    int r;

    r = place_parse(op, path, &p);
    if (r < 0)
        return r;
    if (p.kind == PLACE_NAME)
        return list_name(&l, &p);
    if (p.name[0] == 0)
        return blob_node_list(op, im, &p, emit, ctx);
    if (!repo_visible(op, im, p.name))
        return -ENOENT;
    if (p.kind == PLACE_MANIFEST)
        return manifest_node_list(op, im, &p, emit, ctx);
    if (p.kind == PLACE_OCI)
        return layout_node_list(op, im, &p, emit, ctx);
    if (p.kind == PLACE_TAG)
        return -ENOTDIR;
    r = p.kind == PLACE_TAGS ? tag_each(op, im, p.name, "", list_tag, &l)
                             : manifest_each(op, im, p.name, list_manifest, &l);
    return r < 0 ? r : 0;
}

static int tree_node_open(struct op *op, void *self, const char *path, unsigned flags,
                          struct node_file **ret)
{
    struct images *im = self;
    struct place p;
    int r;

    if (flags & (NODE_WRITE | NODE_CREATE))
        return op_fail(op, EROFS, "images come by push only (docker, podman, skopeo)");
    r = place_parse(op, path, &p);
    if (r < 0)
        return r;
    if (p.name[0] == 0 && p.kind != PLACE_NAME)
        return blob_node_open(op, im, &p, ret);
    if ((p.kind != PLACE_MANIFEST && p.kind != PLACE_OCI) || !repo_visible(op, im, p.name))
        return -ENOENT;
    return p.kind == PLACE_OCI ? layout_node_open(op, im, &p, ret)
                               : manifest_node_open(op, im, &p, ret);
}

static int tree_node_readlink(struct op *op, void *self, const char *path, const char **ret)
{
    struct images *im = self;
    struct digest d;
    struct place p;
    int r;

    r = place_parse(op, path, &p);
    if (r < 0)
        return r;
    if (p.kind == PLACE_MANIFEST)
        return repo_visible(op, im, p.name) ? manifest_node_readlink(op, im, &p, ret) : -ENOENT;
    r = find_tag(op, im, &p, &d, NULL);
    if (r == 0)
        *ret = tag_target(op, &p, &d);
    return r == -EISDIR ? -EINVAL : r;
}

/* The tag, or why it cannot be changed: rights for what must be seen, and no folder in its way. */
static int tag_to_change(struct op *op, struct images *im, const char *path,
                         struct place *ret_place, const char **ret_repo, const char **ret_tag)
{
    int r;

    r = place_parse(op, path, ret_place);
    if (r < 0)
        return r == -ENOENT ? op_fail(op, EROFS, "nothing can be made here") : r;
    if (ret_place->kind != PLACE_NAME && ret_place->kind != PLACE_TAG)
        return op_fail(op, EROFS, "manifests and blobs come by push only");
    if (ret_place->kind == PLACE_NAME && is_folder(op, im, ret_place->name))
        return op_fail(op, EISDIR, "'%s' is a folder", ret_place->name);
    return tag_of(op, im, ret_place, ret_repo, ret_tag);
}

static int check_tag_right(struct op *op, struct images *im, const char *repo, const char *tag)
{
    struct digest d;
    int r = tag_get(op, im, repo, slice_str(tag), &d, NULL);

    op_forgive(op);
    return identity_check(op, r == 0 ? POLICY_UPDATE : POLICY_CREATE, "images/%s", repo);
}

/* What a symlink says, as a manifest of the same repository. */
static int target_digest(struct op *op, struct images *im, const char *repo, const char *target,
                         struct digest *ret)
{
    const char *mount = im->config->mount;
    const char *own = op_printf(op, "%s/images/%s/", mount != NULL ? mount : "", repo);
    int r;

    if (mount != NULL && strncmp(target, own, strlen(own)) == 0)
        target += strlen(own);
    while (strncmp(target, "./", 2) == 0)
        target += 2;
    if (strncmp(target, "../@", 4) == 0) /* from within @tags */
        target += 3;
    if (strncmp(target, "@tags/", 6) == 0)
        target += 6;
    if (strncmp(target, "@manifests/", 11) == 0)
        return digest_file_parse(slice_str(target + 11), ret) < 0
                   ? op_fail(op, ENOENT, "'%s' is not a manifest", target)
                   : 0;
    if (digest_parse(slice_str(target), ret) == 0)
        return 0;
    if (!tag_valid(slice_str(target)))
        return op_fail(op, EINVAL,
                       "a tag points to a tag or a manifest of its own repository, "
                       "not to '%s'",
                       target);
    r = tag_get(op, im, repo, slice_str(target), ret, NULL);
    return r == -ENXIO ? -ENOENT : r;
}

static int tree_node_symlink(struct op *op, void *self, const char *path, const char *target)
{
    struct images *im = self;
    const char *repo, *tag;
    struct digest d;
    struct place p;
    int r;

    r = tag_to_change(op, im, path, &p, &repo, &tag);
    if (r == -EISDIR)
        return -EEXIST;
    if (r == 0)
        r = check_tag_right(op, im, repo, tag);
    if (r == 0)
        r = target_digest(op, im, repo, target, &d);
    if (r == 0)
        r = tag_put(op, im, repo, tag, &d, !identity_may(op, POLICY_UPDATE, "images/%s", repo));
    if (r == 0)
        hooks_emit(im, op, WEBHOOK_PUSH, repo, tag, &d, NULL);
    return r == -ENXIO ? -ENOENT : r;
}

/* May the manifest be deleted here? What a tag points at may not. */
static int check_untagged(struct op *op, struct images *im, const struct place *p)
{
    struct node_stat st;
    int r;

    if (!repo_visible(op, im, p->name))
        return -ENOENT;
    r = manifest_node_stat(op, im, p, &st);
    if (r == 0)
        r = identity_check(op, POLICY_DELETE, "images/%s", p->name);
    if (r == 0 && tag_exists_for(op, im, p->name, &p->digest))
        r = op_fail(op, EBUSY, "a tag points at this manifest; remove the tag first");
    return r;
}

static int tree_node_unlink(struct op *op, void *self, const char *path)
{
    struct images *im = self;
    const char *repo, *tag;
    struct place p;
    int r;

    /* `rm -r` of a manifest's folder empties it before its rmdir, which deletes the manifest: its
     * parts cannot go one by one, and stay till then. */
    if (place_parse(op, path, &p) == 0 && p.kind == PLACE_MANIFEST)
        return check_untagged(op, im, &p);
    r = tag_to_change(op, im, path, &p, &repo, &tag);
    if (r == 0) {
        struct digest d;

        r = tag_get(op, im, repo, slice_str(tag), &d, NULL);
    }
    if (r == 0)
        r = identity_check(op, POLICY_DELETE, "images/%s", repo);
    if (r == 0)
        r = tag_delete(op, im, repo, tag);
    if (r == 0)
        hooks_emit(im, op, WEBHOOK_DELETE, repo, tag, NULL, NULL);
    return r == -ENXIO ? -ENOENT : r;
}

static int remove_repo(struct op *op, struct images *im, const char *name)
{
    int r;

    if (!is_folder(op, im, name))
        return -ENOENT;
    if (name[0] == 0 || has_below(op, im, name))
        return op_fail(op, ENOTEMPTY, "there are repositories below '%s'", name);
    r = identity_check(op, POLICY_DELETE, "images/%s", name);
    return r < 0 ? r : repo_delete(op, im, name);
}

static int tree_node_rmdir(struct op *op, void *self, const char *path)
{
    struct images *im = self;
    struct place p;
    int r;

    r = place_parse(op, path, &p);
    if (r < 0)
        return r;
    if (p.kind == PLACE_NAME)
        return remove_repo(op, im, p.name);
    if (p.kind != PLACE_MANIFEST)
        return op_fail(op, EROFS, "this folder is not stored, and cannot be removed");
    r = check_untagged(op, im, &p);
    if (r < 0 || p.rest[0] != 0)
        return r;
    r = manifest_delete(op, im, p.name, &p.digest, MANIFEST_KEEP_TAGGED);
    if (r == 0)
        hooks_emit(im, op, WEBHOOK_DELETE, p.name, NULL, &p.digest, NULL);
    return r;
}

static int tree_node_rename(struct op *op, void *self, const char *from, const char *to,
                            unsigned flags)
{
    struct images *im = self;
    const char *repo, *tag, *to_repo, *to_tag;
    struct place p;
    int r;

    r = tag_to_change(op, im, from, &p, &repo, &tag);
    if (r == -EISDIR)
        return op_fail(op, EROFS, "repositories cannot be renamed; push under the new name");
    if (r == 0)
        r = tag_to_change(op, im, to, &p, &to_repo, &to_tag);
    if (r < 0)
        return r;
    if (strcmp(repo, to_repo) != 0)
        return op_fail(op, EXDEV, "a tag stays in its repository; push the image to '%s'", to_repo);
    r = identity_check(op, POLICY_DELETE, "images/%s", repo);
    if (r == 0)
        r = check_tag_right(op, im, repo, to_tag);
    if (r == 0)
        r = tag_rename(op, im, repo, tag, to_tag,
                       (flags & NODE_NOREPLACE) != 0 ||
                           !identity_may(op, POLICY_UPDATE, "images/%s", repo));
    if (r == 0) {
        hooks_emit(im, op, WEBHOOK_DELETE, repo, tag, NULL, NULL);
        hooks_emit(im, op, WEBHOOK_PUSH, repo, to_tag, NULL, NULL);
    }
    return r == -ENXIO ? -ENOENT : r;
}

const struct node_ops images_tree = {
    .stat = tree_node_stat,
    .list = tree_node_list,
    .open = tree_node_open,
    .readlink = tree_node_readlink,
    .symlink = tree_node_symlink,
    .unlink = tree_node_unlink,
    .rmdir = tree_node_rmdir,
    .rename = tree_node_rename,
    .getxattr = tree_node_getxattr,
    .listxattr = tree_node_listxattr,
};
