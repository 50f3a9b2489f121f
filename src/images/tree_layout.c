/* A repository as an OCI image layout (OCI image-spec 1.1, "Image Layout"): what `skopeo copy
 * oci:…/@oci:1.0` reads, and `cp -r` carries away. */
#include "base/json.h"
#include "images/tree_place.h"

#include <errno.h>
#include <stdio.h>

#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"

enum spot { AT_TOP, AT_VERSION, AT_INDEX, AT_BLOBS, AT_ALGORITHM, AT_BLOB };

static int find_blob(const char *rest, enum spot *ret, struct digest *ret_digest)
{
    char text[DIGEST_TEXT_MAX];
    int n;

    if (strcmp(rest, "sha256") == 0 || strcmp(rest, "sha512") == 0) {
        *ret_digest = (struct digest){
            .algorithm = rest[5] == '6' ? DIGEST_SHA256 : DIGEST_SHA512,
        };
        *ret = AT_ALGORITHM;
        return 0;
    }
    if (strncmp(rest, "sha256/", 7) != 0 && strncmp(rest, "sha512/", 7) != 0)
        return -ENOENT;
    n = snprintf(text, sizeof text, "%.6s:%s", rest, rest + 7);
    *ret = AT_BLOB;
    return n < 0 || (size_t)n >= sizeof text || digest_parse(slice_str(text), ret_digest) < 0
               ? -ENOENT
               : 0;
}

static int find(const char *rest, enum spot *ret, struct digest *ret_digest)
{
    *ret = AT_TOP;
    if (rest[0] == 0)
        return 0;
    *ret = AT_VERSION;
    if (strcmp(rest, "oci-layout") == 0)
        return 0;
    *ret = AT_INDEX;
    if (strcmp(rest, "index.json") == 0)
        return 0;
    *ret = AT_BLOBS;
    if (strcmp(rest, "blobs") == 0)
        return 0;
    return strncmp(rest, "blobs/", 6) == 0 ? find_blob(rest + 6, ret, ret_digest) : -ENOENT;
}

struct index_text {
    struct op *op;
    struct images *im;
    const char *repo;
    struct json json;
};

static int add_tag(void *ctx, const struct tag_view *tag)
{
    struct index_text *x = ctx;
    struct manifest_view view;
    char text[DIGEST_TEXT_MAX];

    if (manifest_stat(x->op, x->im, x->repo, &tag->manifest, &view) < 0) {
        op_forgive(x->op);
        return 0;
    }
    json_object(&x->json);
    json_kstr(&x->json, "mediaType", view.media_type);
    json_kstr(&x->json, "digest", digest_print(&tag->manifest, text));
    json_ku64(&x->json, "size", view.size_bytes);
    json_key(&x->json, "annotations");
    json_object(&x->json);
    json_kslice(&x->json, "org.opencontainers.image.ref.name", tag->name);
    json_object_end(&x->json);
    json_object_end(&x->json);
    return 0;
}

static int index_text(struct op *op, struct images *im, const char *repo, struct slice *ret)
{
    struct index_text x = {op, im, repo, {0}};
    autobuf out = {0};
    int r;

    json_init(&x.json, &out);
    json_object(&x.json);
    json_ku64(&x.json, "schemaVersion", 2);
    json_kstr(&x.json, "mediaType", MEDIA_OCI_INDEX);
    json_key(&x.json, "manifests");
    json_array(&x.json);
    r = tag_each(op, im, repo, "", add_tag, &x);
    if (r < 0)
        return r;
    json_array_end(&x.json);
    json_object_end(&x.json);
    *ret = op_slice(op, buf_slice(&out));
    return 0;
}

/* A blob of the layout is a blob of the repository or a manifest. */
static int blob_size_of(struct op *op, struct images *im, const char *repo, const struct digest *d,
                        uint64_t *ret_size, int64_t *ret_unix_ms)
{
    struct manifest_view view;
    int r;

    *ret_unix_ms = 0;
    r = link_get(op, im, repo, d, ret_size);
    if (r != -ENOENT)
        return r;
    op_forgive(op);
    r = manifest_stat(op, im, repo, d, &view);
    if (r < 0)
        return r;
    *ret_size = view.size_bytes;
    *ret_unix_ms = view.pushed_unix_ms;
    return 0;
}

int layout_node_stat(struct op *op, struct images *im, const struct place *p, struct node_stat *ret)
{
    struct slice text = SLICE(LAYOUT_TEXT);
    struct digest d = {0};
    int64_t when = 0;
    enum spot spot;
    uint64_t size;
    int r;

    r = find(p->rest, &spot, &d);
    if (r < 0)
        return r;
    switch (spot) {
    case AT_INDEX:
        r = index_text(op, im, p->name, &text);
        /* fall through */
    case AT_VERSION:
        node_fixed(NODE_FILE, text.len, 0, ret);
        ret->flags = spot == AT_INDEX ? 0 : NODE_IMMUTABLE;
        return r;
    case AT_BLOB:
        r = blob_size_of(op, im, p->name, &d, &size, &when);
        if (r == 0)
            node_fixed(NODE_FILE, size, when, ret);
        return r;
    default:
        node_fixed(NODE_DIR, 0, 0, ret);
        return 0;
    }
}

struct blob_list {
    uint8_t algorithm;
    node_emit_fn *emit;
    void *ctx;
};

static int emit_one(const struct blob_list *l, const struct digest *d, uint64_t size, int64_t when)
{
    char text[DIGEST_TEXT_MAX];
    struct node_stat st;

    if (d->algorithm != l->algorithm)
        return 0;
    node_fixed(NODE_FILE, size, when, &st);
    return l->emit(l->ctx, strchr(digest_print(d, text), ':') + 1, &st);
}

static int emit_link(void *ctx, const struct digest *d, uint64_t size_bytes)
{
    return emit_one(ctx, d, size_bytes, 0);
}

static int emit_manifest(void *ctx, const struct manifest_view *view)
{
    return emit_one(ctx, &view->digest, view->size_bytes, view->pushed_unix_ms);
}

static int emit_names(const char *const *names, node_emit_fn *emit, void *ctx)
{
    for (int stop = 0; *names != NULL && stop == 0; names++)
        stop = emit(ctx, *names, NULL);
    return 0;
}

int layout_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                     void *ctx)
{
    static const char *const top[] = {"oci-layout", "index.json", "blobs", NULL};
    static const char *const algorithms[] = {"sha256", "sha512", NULL};
    struct digest d = {0};
    struct blob_list l = {0, emit, ctx};
    enum spot spot;
    int r;

    r = find(p->rest, &spot, &d);
    if (r < 0)
        return r;
    l.algorithm = d.algorithm;
    switch (spot) {
    case AT_TOP:
        return emit_names(top, emit, ctx);
    case AT_BLOBS:
        return emit_names(algorithms, emit, ctx);
    case AT_ALGORITHM:
        r = link_each(op, im, p->name, emit_link, &l);
        if (r == 0)
            r = manifest_each(op, im, p->name, emit_manifest, &l);
        return r < 0 ? r : 0;
    default:
        return -ENOTDIR;
    }
}

static int open_blob(struct op *op, struct images *im, const char *repo, const struct digest *d,
                     struct node_file **ret)
{
    struct reference ref = {.is_digest = true, .digest = *d};
    struct manifest_view view = {0};
    struct blob *blob;
    uint64_t size;
    int r;

    if (link_get(op, im, repo, d, &size) == 0) {
        r = blob_open(im->store, d, &blob);
        return r < 0 ? r : node_blob_open(blob, NODE_IMMUTABLE, ret);
    }
    op_forgive(op);
    r = manifest_get(op, im, repo, &ref, &view);
    if (r < 0)
        return r;
    if (view.blob != NULL)
        return node_blob_open(view.blob, NODE_IMMUTABLE, ret);
    return node_bytes_open(view.bytes, NODE_IMMUTABLE, ret);
}

int layout_node_open(struct op *op, struct images *im, const struct place *p,
                     struct node_file **ret)
{
    struct digest d = {0};
    struct slice text;
    enum spot spot;
    int r;

    r = find(p->rest, &spot, &d);
    if (r < 0)
        return r;
    switch (spot) {
    case AT_VERSION:
        return node_bytes_open(SLICE(LAYOUT_TEXT), NODE_IMMUTABLE, ret);
    case AT_INDEX:
        r = index_text(op, im, p->name, &text);
        return r < 0 ? r : node_bytes_open(text, 0, ret);
    case AT_BLOB:
        return open_blob(op, im, p->name, &d, ret);
    default:
        return -EISDIR;
    }
}
