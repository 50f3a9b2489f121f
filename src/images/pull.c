/* Manifests and referrers, read. */
#include "base/scope.h"
#include "images/state.h"

#include <errno.h>
#include <stdlib.h>

static int missing(struct op *op, struct images *im, const char *repo, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];
    int r = images_check_repo(op, im, repo);

    return r < 0 ? r
                 : op_fail(op, ENOENT, "manifest %s is not in '%s'", digest_print(d, text), repo);
}

/* The view of a row, without its bytes. */
static void view_of(struct op *op, const struct digest *d, const struct manifest_row *row,
                    struct manifest_view *ret)
{
    *ret = (struct manifest_view){
        .digest = *d,
        .media_type = op_strndup(op, row->media_type.data, row->media_type.len),
        .size_bytes = row->size_bytes,
        .pushed_unix_ms = row->pushed_unix_ms,
        .is_index = row->is_index,
    };
}

static int get_by_digest(struct op *op, struct images *im, const char *repo, const struct digest *d,
                         bool with_bytes, struct manifest_view *ret)
{
    struct row_key key = key_manifest(d);
    struct store_value v = {0};
    struct manifest_row row;
    struct part p;
    int r;

    r = store_get(im->store, part_of(repo, &p), key_slice(&key), &v);
    if (r < 0)
        return r;
    r = manifest_row_parse(v.data, &row);
    if (r < 0) {
        r = images_damaged(op, repo, "manifest");
    } else {
        view_of(op, d, &row, ret);
        if (with_bytes && row.is_inline)
            ret->bytes = op_slice(op, row.bytes);
        else if (with_bytes)
            r = blob_open(im->store, d, &ret->blob);
    }
    store_value_release(&v);
    return r;
}

int manifest_get(struct op *op, struct images *im, const char *repo, const struct reference *ref,
                 struct manifest_view *ret)
{
    struct digest d = ref->digest;
    int r;

    if (!ref->is_digest) {
        r = tag_get(op, im, repo, ref->tag, &d, NULL);
        if (r < 0)
            return r;
    }
    r = get_by_digest(op, im, repo, &d, true, ret);
    return r == -ENOENT ? missing(op, im, repo, &d) : r;
}

int manifest_stat(struct op *op, struct images *im, const char *repo, const struct digest *d,
                  struct manifest_view *ret)
{
    int r = get_by_digest(op, im, repo, d, false, ret);

    return r == -ENOENT ? missing(op, im, repo, d) : r;
}

int manifest_bytes(struct op *op, struct manifest_view *view, struct slice *ret)
{
    char *bytes;
    ssize_t n;

    if (view->blob == NULL) {
        *ret = view->bytes;
        return 0;
    }
    if (view->size_bytes > MANIFEST_BYTES_MAX)
        return op_fail(op, EFBIG, "the manifest is too large");
    bytes = op_alloc(op, view->size_bytes + 1);
    n = blob_read(view->blob, 0, bytes, view->size_bytes);
    if (n < 0)
        return (int)n;
    if ((uint64_t)n != view->size_bytes)
        return op_fail(op, EIO, "a manifest is cut");
    *ret = slice_of(bytes, (size_t)n);
    return 0;
}

int manifest_each(struct op *op, struct images *im, const char *repo,
                  int (*f)(void *ctx, const struct manifest_view *view), void *ctx)
{
    struct store_scan *scan;
    struct slice key, value;
    struct part p;
    int r;

    r = store_scan(im->store, part_of(repo, &p), SLICE("m"), SLICE("n"), 0, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        struct manifest_view view;
        struct manifest_row row;
        struct digest d;

        if (key_last_digest(key, &d) < 0 || manifest_row_parse(value, &row) < 0) {
            r = images_damaged(op, repo, "manifest");
            break;
        }
        view_of(op, &d, &row, &view);
        r = f(ctx, &view);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

/* A descriptor that was too long for its row, from the manifest itself. */
static int remake_descriptor(struct op *op, struct images *im, const char *repo,
                             const struct digest *d, struct buf *out)
{
    struct reference ref = {.is_digest = true, .digest = *d};
    struct manifest_view view = {0};
    struct manifest *m = NULL;
    autobuf why = {0};
    struct slice bytes;
    int r;

    r = manifest_get(op, im, repo, &ref, &view);
    if (r < 0)
        return r;
    r = manifest_bytes(op, &view, &bytes);
    if (r == 0)
        r = manifest_parse(bytes, view.media_type, &m, &why);
    if (r == 0)
        manifest_print_descriptor(m, d, view.size_bytes, out);
    manifest_free(m);
    blob_close(view.blob);
    return r;
}

int referrer_each(struct op *op, struct images *im, const char *repo, const struct digest *subject,
                  const struct digest *last,
                  int (*f)(void *ctx, const struct digest *d, struct slice json), void *ctx)
{
    struct row_key from = key_referrer(subject, last);
    struct row_key prefix = key_referrer(subject, NULL);
    struct row_key to = key_after(prefix);
    struct store_scan *scan;
    struct slice key, value;
    struct part p;
    int r;

    if (last != NULL)
        from = key_after(from);
    r = store_scan(im->store, part_of(repo, &p), key_slice(&from), key_slice(&to), 0, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        autobuf json = {0};
        struct digest d;

        if (key_last_digest(key, &d) < 0) {
            r = images_damaged(op, repo, "referrer");
            break;
        }
        if (value.len == 0 && remake_descriptor(op, im, repo, &d, &json) < 0) {
            op_forgive(op);
            continue; /* just deleted */
        }
        r = f(ctx, &d, value.len > 0 ? value : buf_slice(&json));
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}
