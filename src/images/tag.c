/* Tags, and the list of repositories. */
#include "base/clock.h"
#include "base/scope.h"
#include "images/state.h"

#include <errno.h>

int tag_get(struct op *op, struct images *im, const char *repo, struct slice tag,
            struct digest *ret, int64_t *ret_changed_unix_ms)
{
    struct row_key key = key_tag(tag);
    struct store_value v = {0};
    struct tag_row row;
    struct part p;
    int r;

    r = store_get(im->store, part_of(repo, &p), key_slice(&key), &v);
    if (r == -ENOENT) {
        r = images_check_repo(op, im, repo);
        return r < 0 ? r
                     : op_fail(op, ENOENT, "'%s' has no tag '%.*s'", repo, (int)tag.len,
                               (const char *)tag.data);
    }
    if (r < 0)
        return r;
    r = tag_row_parse(v.data, &row);
    store_value_release(&v);
    if (r < 0)
        return images_damaged(op, repo, "tag");
    *ret = row.manifest;
    if (ret_changed_unix_ms != NULL)
        *ret_changed_unix_ms = row.changed_unix_ms;
    return 0;
}

/* The manifest's row is written again with another revision, so that a delete of the manifest that
 * runs beside it does not leave the tag behind. */
static int expect_manifest(struct op *op, struct images *im, const char *repo,
                           const struct digest *d, struct store_batch *batch)
{
    struct row_key key = key_manifest(d);
    char text[DIGEST_TEXT_MAX];
    struct manifest_row row;
    struct slice old;
    struct part p;
    autobuf value = {0};
    int r;

    r = images_row(op, im, part_of(repo, &p), key_slice(&key), &old);
    if (r == -ENOENT)
        return op_fail(op, ENOENT, "manifest %s is not in '%s'", digest_print(d, text), repo);
    if (r < 0)
        return r;
    if (manifest_row_parse(old, &row) < 0)
        return images_damaged(op, repo, "manifest");
    row.revision++;
    manifest_row_print(&row, &value);
    store_batch_expect(batch, key_slice(&key), old);
    store_batch_put(batch, key_slice(&key), buf_slice(&value));
    return 0;
}

static void put_tag(struct store_batch *batch, const char *tag, const struct digest *d)
{
    struct tag_row row = {.changed_unix_ms = clock_unix_ms(), .manifest = *d};
    struct row_key key = key_tag(slice_str(tag));
    autobuf value = {0};

    tag_row_print(&row, &value);
    store_batch_put(batch, key_slice(&key), buf_slice(&value));
}

static int tag_put_once(struct op *op, struct images *im, const char *repo, const char *tag,
                        const struct digest *d, bool fresh)
{
    struct row_key key = key_tag(slice_str(tag));
    struct store_batch *batch;
    struct part p;
    int r;

    batch = store_batch_new(im->store, part_of(repo, &p));
    r = expect_manifest(op, im, repo, d, batch);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    if (fresh)
        store_batch_expect_absent(batch, key_slice(&key));
    r = touch_left(op, im, p.name, tag, d, batch);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    put_tag(batch, tag, d);
    return store_commit(batch, STORE_DURABLE);
}

int tag_put(struct op *op, struct images *im, const char *repo, const char *tag,
            const struct digest *d, bool fresh)
{
    struct part p;
    autoturn turn = NULL;
    int r = -EAGAIN;

    if (!tag_valid(slice_str(tag)))
        return op_fail(op, EDOM, "'%s' is not a valid tag", tag);
    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        struct digest there;

        retry_in_turn(im, part_of(repo, &p), i, &turn);
        if (fresh && tag_get(op, im, repo, slice_str(tag), &there, NULL) == 0)
            return op_fail(op, EEXIST, "'%s' already has a tag '%s'", repo, tag);
        op_forgive(op);
        r = tag_put_once(op, im, repo, tag, d, fresh);
    }
    if (r == 0)
        tag_changed(op, repo, tag);
    return r;
}

int tag_delete(struct op *op, struct images *im, const char *repo, const char *tag)
{
    struct row_key key = key_tag(slice_str(tag));
    struct part p;
    autoturn turn = NULL;
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        struct store_batch *batch;
        struct digest there;
        struct slice old;

        retry_in_turn(im, part_of(repo, &p), i, &turn);
        r = tag_get(op, im, repo, slice_str(tag), &there, NULL);
        if (r < 0)
            return r;
        r = images_row(op, im, part_of(repo, &p), key_slice(&key), &old);
        if (r < 0)
            return r;
        batch = store_batch_new(im->store, p.name);
        store_batch_expect(batch, key_slice(&key), old);
        store_batch_delete(batch, key_slice(&key));
        touch_put(im, batch, &there);
        r = store_commit(batch, STORE_DURABLE);
    }
    if (r == 0)
        tag_changed(op, repo, tag);
    return r;
}

int tag_delete_exact(struct op *op, struct images *im, const char *repo,
                     const struct tag_view *tag)
{
    struct tag_row row = {.changed_unix_ms = tag->changed_unix_ms, .manifest = tag->manifest};
    struct row_key key = key_tag(tag->name);
    struct store_batch *batch;
    struct part p;
    autobuf value = {0};
    int r;

    batch = store_batch_new(im->store, part_of(repo, &p));
    tag_row_print(&row, &value);
    store_batch_expect(batch, key_slice(&key), buf_slice(&value));
    store_batch_delete(batch, key_slice(&key));
    touch_put(im, batch, &tag->manifest);
    r = store_commit(batch, STORE_DURABLE);
    if (r == 0)
        tag_changed(op, repo, op_strndup(op, tag->name.data, tag->name.len));
    return r;
}

int tag_rename(struct op *op, struct images *im, const char *repo, const char *from, const char *to,
               bool fresh)
{
    struct row_key source = key_tag(slice_str(from)), target = key_tag(slice_str(to));
    struct part p;
    autoturn turn = NULL;
    int r = -EAGAIN;

    if (!tag_valid(slice_str(to)))
        return op_fail(op, EDOM, "'%s' is not a valid tag", to);
    if (strcmp(from, to) == 0)
        return 0;
    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        struct store_batch *batch;
        struct digest d, there;
        struct slice old;

        retry_in_turn(im, part_of(repo, &p), i, &turn);
        r = tag_get(op, im, repo, slice_str(from), &d, NULL);
        if (r == 0 && fresh && tag_get(op, im, repo, slice_str(to), &there, NULL) == 0)
            return op_fail(op, EEXIST, "'%s' already has a tag '%s'", repo, to);
        if (r == 0)
            r = images_row(op, im, part_of(repo, &p), key_slice(&source), &old);
        if (r < 0)
            return r;
        op_forgive(op);
        batch = store_batch_new(im->store, p.name);
        store_batch_expect(batch, key_slice(&source), old);
        if (fresh)
            store_batch_expect_absent(batch, key_slice(&target));
        r = expect_manifest(op, im, repo, &d, batch);
        if (r == 0)
            r = touch_left(op, im, p.name, to, &d, batch);
        if (r < 0) {
            store_batch_free(batch);
            return r;
        }
        store_batch_delete(batch, key_slice(&source));
        put_tag(batch, to, &d);
        r = store_commit(batch, STORE_DURABLE);
    }
    if (r == 0) {
        tag_changed(op, repo, from);
        tag_changed(op, repo, to);
    }
    return r;
}

int tag_each(struct op *op, struct images *im, const char *repo, const char *last,
             int (*f)(void *ctx, const struct tag_view *tag), void *ctx)
{
    struct row_key from = key_tag(slice_str(last));
    struct store_scan *scan;
    struct slice key, value;
    struct part p;
    int r;

    if (last[0] != 0)
        from.bytes[from.len++] = 0; /* the first behind it */
    r = store_scan(im->store, part_of(repo, &p), key_slice(&from), SLICE("u"), 0, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        struct tag_row row;
        struct tag_view view;

        if (tag_row_parse(value, &row) < 0) {
            r = images_damaged(op, repo, "tag");
            break;
        }
        view = (struct tag_view){.name = slice_skip(key, 1),
                                 .manifest = row.manifest,
                                 .changed_unix_ms = row.changed_unix_ms};
        r = f(ctx, &view);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

static int is_this(void *ctx, const struct tag_view *tag)
{
    return digest_eq(ctx, &tag->manifest);
}

bool tag_exists_for(struct op *op, struct images *im, const char *repo, const struct digest *d)
{
    struct digest copy = *d;

    return tag_each(op, im, repo, "", is_this, &copy) == 1;
}

int repo_each(struct op *op, struct images *im, const char *from,
              int (*f)(void *ctx, const char *repo, const char **seek), void *ctx)
{
    struct store_scan *scan;
    struct slice key, value;
    int r;

    (void)op;
    r = store_scan(im->store, PART_CATALOG, slice_str(from), slice_of(NULL, 0), STORE_KEYS_ONLY,
                   &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        char repo[IMAGES_NAME_MAX + 1];
        const char *seek = NULL;

        if (key.len > IMAGES_NAME_MAX)
            continue;
        memcpy(repo, key.data, key.len);
        repo[key.len] = 0;
        r = f(ctx, repo, &seek);
        if (r != 0)
            break;
        if (seek != NULL)
            store_scan_seek(scan, slice_str(seek));
    }
    store_scan_free(scan);
    return r;
}

static int any_row(struct images *im, struct slice part, struct slice from, struct slice to)
{
    struct store_scan *scan;
    struct slice key, value;
    int r;

    r = store_scan(im->store, part, from, to, STORE_KEYS_ONLY, &scan);
    if (r < 0)
        return r;
    r = store_scan_next(scan, &key, &value);
    store_scan_free(scan);
    return r;
}

int repo_delete(struct op *op, struct images *im, const char *repo)
{
    struct store_batch *batch;
    struct part p;
    int r;

    r = images_check_repo(op, im, repo);
    if (r < 0)
        return r;
    r = any_row(im, part_of(repo, &p), SLICE("m"), SLICE("n"));
    if (r > 0)
        return op_fail(op, ENOTEMPTY, "'%s' has manifests; rmdir them in @manifests first", repo);
    if (r < 0)
        return r;
    batch = store_batch_new(im->store, PART_CATALOG);
    store_batch_delete(batch, slice_str(repo));
    r = store_commit(batch, STORE_DURABLE);
    /* A push that came between has its row of the list back: it notes the repository last. */
    if (r == 0 && any_row(im, p.name, SLICE("m"), SLICE("n")) > 0)
        r = repo_note(op, im, repo);
    if (r == 0)
        repo_changed(op, repo);
    return r;
}
