/* The folder of one manifest, and @blobs: everything in them is named by a digest and never
 * changes. */
#include "identity/identity.h"
#include "images/rootfs/rootfs.h"
#include "images/tree_place.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

void node_fixed(enum node_type type, uint64_t size_bytes, int64_t unix_ms, struct node_stat *ret)
{
    *ret = (struct node_stat){
        .type = type,
        .flags = type == NODE_FILE ? NODE_IMMUTABLE : 0,
        .mode = type == NODE_SYMLINK ? 0777
                : type == NODE_DIR   ? 0555
                                     : 0444,
        .size_bytes = size_bytes,
        .mtime_ns = unix_ms * 1000000,
    };
}

/* What is in the folder. */
enum inside {
    IN_FOLDER,
    IN_MANIFEST,
    IN_CONFIG,
    IN_SIZE,
    IN_LAYERS,
    IN_LAYER,
    IN_PLATFORM,
    IN_REFERRERS,
    IN_REFERRER,
};

struct spot {
    struct manifest_view view;
    struct manifest *m;
    enum inside inside;
    const struct descriptor *item; /* CONFIG, LAYER, PLATFORM */
    struct digest referrer;
};

static const char *own_name(const struct spot *s)
{
    return s->view.is_index ? "index.json" : "manifest.json";
}

static bool ends_with(const char *s, const char *end)
{
    size_t a = strlen(s), b = strlen(end);

    return a >= b && strcmp(s + a - b, end) == 0;
}

static const char *extension(const char *media_type)
{
    if (ends_with(media_type, "gzip"))
        return "tar.gz";
    if (ends_with(media_type, "zstd"))
        return "tar.zst";
    if (ends_with(media_type, "tar"))
        return "tar";
    if (ends_with(media_type, "json"))
        return "json";
    return "bin";
}

/* "3-0123456789ab.tar.gz"; numbers are as wide as the largest, so that names sort as layers do. */
static const char *layer_name(struct op *op, const struct manifest *m, size_t i)
{
    const struct descriptor *d = &m->items[i];
    char hex[DIGEST_TEXT_MAX];
    int width = snprintf(NULL, 0, "%zu", m->n_items > 0 ? m->n_items - 1 : 0);

    digest_print(&d->digest, hex);
    return op_printf(op, "%0*zu-%.12s.%s", width, i, strchr(hex, ':') + 1,
                     extension(d->media_type));
}

static void add_part(struct buf *out, const char *text)
{
    for (; text != NULL && *text != 0; text++)
        buf_add_char(out,
                     isalnum((unsigned char)*text) || strchr("._", *text) != NULL ? *text : '_');
}

static const char *platform_base(struct op *op, const struct descriptor *d)
{
    autobuf out = {0};
    char hex[DIGEST_TEXT_MAX];

    digest_print(&d->digest, hex);
    if (d->os == NULL || d->architecture == NULL)
        return op_printf(op, "%.12s", strchr(hex, ':') + 1);
    add_part(&out, d->os);
    buf_add_char(&out, '-');
    add_part(&out, d->architecture);
    if (d->variant != NULL && d->variant[0] != 0) {
        buf_add_char(&out, '-');
        add_part(&out, d->variant);
    }
    if (out.len > 200)
        return op_printf(op, "%.12s", strchr(hex, ':') + 1);
    return op_strndup(op, out.data, out.len);
}

/* "linux-amd64", "linux-arm-v7"; a second one of that name has a piece of its digest behind it. */
static const char *platform_name(struct op *op, const struct manifest *m, size_t i)
{
    const char *base = platform_base(op, &m->items[i]);
    char hex[DIGEST_TEXT_MAX];

    for (size_t k = 0; k < i && i < 1000; k++)
        if (strcmp(platform_base(op, &m->items[k]), base) == 0) {
            digest_print(&m->items[i].digest, hex);
            return op_printf(op, "%s-%.12s", base, strchr(hex, ':') + 1);
        }
    return base;
}

static int find_below(struct op *op, struct spot *s, const char *rest)
{
    const char *head, *below = path_head(op, rest, &head);

    if (strcmp(head, "layers") == 0 && !s->view.is_index) {
        for (size_t i = 0; i < s->m->n_items; i++)
            if (strcmp(layer_name(op, s->m, i), below) == 0) {
                s->inside = IN_LAYER;
                s->item = &s->m->items[i];
                return 0;
            }
    } else if (strcmp(head, "referrers") == 0) {
        s->inside = IN_REFERRER;
        return digest_file_parse(slice_str(below), &s->referrer) < 0 ? -ENOENT : 0;
    }
    return -ENOENT;
}

static int find(struct op *op, struct spot *s, const char *rest)
{
    if (strchr(rest, '/') != NULL)
        return find_below(op, s, rest);
    if (rest[0] == 0)
        s->inside = IN_FOLDER;
    else if (strcmp(rest, own_name(s)) == 0)
        s->inside = IN_MANIFEST;
    else if (strcmp(rest, "size") == 0)
        s->inside = IN_SIZE;
    else if (strcmp(rest, "referrers") == 0)
        s->inside = IN_REFERRERS;
    else if (strcmp(rest, "layers") == 0 && !s->view.is_index)
        s->inside = IN_LAYERS;
    else if (strcmp(rest, "config.json") == 0 && s->m->has_config) {
        s->inside = IN_CONFIG;
        s->item = &s->m->config;
    } else {
        for (size_t i = 0; s->view.is_index && i < s->m->n_items; i++)
            if (strcmp(platform_name(op, s->m, i), rest) == 0) {
                s->inside = IN_PLATFORM;
                s->item = &s->m->items[i];
                return 0;
            }
        return -ENOENT;
    }
    return 0;
}

static void spot_done(struct spot *s)
{
    manifest_free(s->m);
    blob_close(s->view.blob);
}

static int spot_open(struct op *op, struct images *im, const struct place *p, struct spot *ret)
{
    struct reference ref = {.is_digest = true, .digest = p->digest};
    struct spot s = {0};
    autobuf why = {0};
    struct slice bytes;
    int r;

    r = manifest_get(op, im, p->name, &ref, &s.view);
    if (r < 0)
        return r == -ENXIO ? -ENOENT : r;
    r = manifest_bytes(op, &s.view, &bytes);
    if (r == 0 && manifest_parse(bytes, s.view.media_type, &s.m, &why) < 0)
        r = images_damaged(op, p->name, "manifest");
    if (r == 0)
        r = find(op, &s, p->rest);
    if (r < 0) {
        spot_done(&s);
        return r;
    }
    *ret = s;
    return 0;
}

/* Of what the image consists: its own bytes, its config, its layers. */
static const char *size_text(struct op *op, const struct spot *s)
{
    uint64_t sum = s->view.size_bytes + (s->m->has_config ? s->m->config.size_bytes : 0);

    for (size_t i = 0; i < s->m->n_items; i++)
        if (__builtin_add_overflow(sum, s->m->items[i].size_bytes, &sum))
            sum = UINT64_MAX;
    return op_printf(op, "%" PRIu64 "\n", sum);
}

static const char *link_text(struct op *op, const struct spot *s)
{
    char name[DIGEST_TEXT_MAX];

    if (s->inside == IN_PLATFORM)
        return op_printf(op, "../%s", digest_file_name(&s->item->digest, name));
    return op_printf(op, "../../%s", digest_file_name(&s->referrer, name));
}

static int referrer_check(struct op *op, struct images *im, const struct place *p,
                          const struct spot *s)
{
    struct row_key key = key_referrer(&p->digest, &s->referrer);
    struct slice value;
    struct part part;

    return images_row(op, im, part_of(p->name, &part), key_slice(&key), &value);
}

static int stat_spot(struct op *op, struct images *im, const struct place *p, const struct spot *s,
                     struct node_stat *ret)
{
    int64_t when = s->view.pushed_unix_ms;

    switch (s->inside) {
    case IN_FOLDER:
    case IN_LAYERS:
    case IN_REFERRERS:
        node_fixed(NODE_DIR, 0, when, ret);
        return 0;
    case IN_MANIFEST:
        node_fixed(NODE_FILE, s->view.size_bytes, when, ret);
        return 0;
    case IN_SIZE:
        node_fixed(NODE_FILE, strlen(size_text(op, s)), when, ret);
        return 0;
    case IN_CONFIG:
    case IN_LAYER:
        node_fixed(NODE_FILE, s->item->size_bytes, when, ret);
        return 0;
    case IN_REFERRER:
        if (referrer_check(op, im, p, s) < 0)
            return -ENOENT;
        node_fixed(NODE_SYMLINK, strlen(link_text(op, s)), when, ret);
        return 0;
    case IN_PLATFORM:
        node_fixed(NODE_SYMLINK, strlen(link_text(op, s)), when, ret);
        return 0;
    }
    return -ENOENT;
}

int manifest_node_stat(struct op *op, struct images *im, const struct place *p,
                       struct node_stat *ret)
{
    struct spot s;
    int r;

    if (rootfs_path(p->rest) != NULL)
        return rootfs_node_stat(op, im, p, ret);
    r = spot_open(op, im, p, &s);
    if (r < 0)
        return r;
    r = stat_spot(op, im, p, &s, ret);
    spot_done(&s);
    return r;
}

/* A blob is listed if it is here: layers may be foreign, or deleted. */
static bool has_blob(struct op *op, struct images *im, const char *repo, const struct descriptor *d)
{
    uint64_t size;
    bool has = link_get(op, im, repo, &d->digest, &size) == 0;

    op_forgive(op);
    return has;
}

struct referrer_list {
    struct op *op;
    node_emit_fn *emit;
    void *ctx;
    int64_t when;
};

static int emit_referrer(void *arg, const struct digest *d, struct slice json)
{
    struct referrer_list *l = arg;
    char name[DIGEST_TEXT_MAX];
    struct node_stat st;

    (void)json;
    digest_file_name(d, name);
    node_fixed(NODE_SYMLINK, strlen(name) + 6, l->when, &st);
    return l->emit(l->ctx, name, &st);
}

static int list_layers(struct op *op, struct images *im, const struct place *p,
                       const struct spot *s, node_emit_fn *emit, void *ctx)
{
    struct node_stat st;
    int stop = 0;

    for (size_t i = 0; stop == 0 && i < s->m->n_items; i++) {
        if (!has_blob(op, im, p->name, &s->m->items[i]))
            continue;
        node_fixed(NODE_FILE, s->m->items[i].size_bytes, s->view.pushed_unix_ms, &st);
        stop = emit(ctx, layer_name(op, s->m, i), &st);
    }
    return 0;
}

static int list_platforms(struct op *op, struct images *im, const struct place *p,
                          const struct spot *s, node_emit_fn *emit, void *ctx)
{
    struct manifest_view item;
    int stop = 0;

    for (size_t i = 0; stop == 0 && i < s->m->n_items; i++) {
        struct spot at = *s;
        struct node_stat st;

        if (manifest_stat(op, im, p->name, &s->m->items[i].digest, &item) < 0) {
            op_forgive(op);
            continue; /* a sparse index */
        }
        at.inside = IN_PLATFORM;
        at.item = &s->m->items[i];
        node_fixed(NODE_SYMLINK, strlen(link_text(op, &at)), s->view.pushed_unix_ms, &st);
        stop = emit(ctx, platform_name(op, s->m, i), &st);
    }
    return 0;
}

static int list_folder(struct op *op, struct images *im, const struct place *p,
                       const struct spot *s, node_emit_fn *emit, void *ctx)
{
    int64_t when = s->view.pushed_unix_ms;
    struct node_stat st;
    int stop;

    node_fixed(NODE_FILE, s->view.size_bytes, when, &st);
    stop = emit(ctx, own_name(s), &st);
    node_fixed(NODE_FILE, strlen(size_text(op, s)), when, &st);
    stop = stop != 0 ? stop : emit(ctx, "size", &st);
    node_fixed(NODE_DIR, 0, when, &st);
    stop = stop != 0 ? stop : emit(ctx, "referrers", &st);
    if (stop == 0 && !s->view.is_index)
        stop = emit(ctx, "layers", &st);
    if (stop == 0 && rootfs_is_shown(s->m)) {
        st.mode = 0755;
        stop = emit(ctx, "rootfs", &st);
    }
    if (stop == 0 && s->m->has_config && has_blob(op, im, p->name, &s->m->config)) {
        node_fixed(NODE_FILE, s->m->config.size_bytes, when, &st);
        stop = emit(ctx, "config.json", &st);
    }
    return stop == 0 && s->view.is_index ? list_platforms(op, im, p, s, emit, ctx) : 0;
}

int manifest_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                       void *ctx)
{
    struct referrer_list l = {op, emit, ctx, 0};
    struct spot s;
    int r;

    if (rootfs_path(p->rest) != NULL)
        return rootfs_node_list(op, im, p, emit, ctx);
    r = spot_open(op, im, p, &s);
    if (r < 0)
        return r;
    l.when = s.view.pushed_unix_ms;
    if (s.inside == IN_FOLDER)
        r = list_folder(op, im, p, &s, emit, ctx);
    else if (s.inside == IN_LAYERS)
        r = list_layers(op, im, p, &s, emit, ctx);
    else if (s.inside == IN_REFERRERS)
        r = referrer_each(op, im, p->name, &p->digest, NULL, emit_referrer, &l);
    else
        r = -ENOTDIR;
    spot_done(&s);
    return r < 0 ? r : 0;
}

static int open_link(struct op *op, struct images *im, const char *repo, const struct digest *d,
                     struct node_file **ret)
{
    struct blob *blob;
    uint64_t size;
    int r;

    r = link_get(op, im, repo, d, &size);
    if (r == 0)
        r = blob_open(im->store, d, &blob);
    return r < 0 ? r : node_blob_open(blob, NODE_IMMUTABLE, ret);
}

int manifest_node_open(struct op *op, struct images *im, const struct place *p,
                       struct node_file **ret)
{
    struct slice bytes;
    struct spot s;
    int r;

    if (rootfs_path(p->rest) != NULL)
        return rootfs_node_open(op, im, p, ret);
    r = spot_open(op, im, p, &s);
    if (r < 0)
        return r;
    switch (s.inside) {
    case IN_MANIFEST:
        r = manifest_bytes(op, &s.view, &bytes);
        if (r == 0)
            r = node_bytes_open(bytes, NODE_IMMUTABLE, ret);
        break;
    case IN_SIZE:
        r = node_bytes_open(slice_str(size_text(op, &s)), NODE_IMMUTABLE, ret);
        break;
    case IN_CONFIG:
    case IN_LAYER:
        r = open_link(op, im, p->name, &s.item->digest, ret);
        break;
    default:
        r = -EISDIR;
    }
    spot_done(&s);
    return r;
}

int manifest_node_readlink(struct op *op, struct images *im, const struct place *p,
                           const char **ret)
{
    struct spot s;
    int r;

    if (rootfs_path(p->rest) != NULL)
        return rootfs_node_readlink(op, im, p, ret);
    r = spot_open(op, im, p, &s);
    if (r < 0)
        return r;
    r = s.inside == IN_PLATFORM || s.inside == IN_REFERRER ? 0 : -EINVAL;
    if (r == 0)
        *ret = link_text(op, &s);
    spot_done(&s);
    return r;
}

/* @blobs: what the caller may read in some repository. */

int blob_node_stat(struct op *op, struct images *im, const struct place *p, struct node_stat *ret)
{
    struct blob_stat st;
    uint64_t size;
    int r;

    if (p->kind != PLACE_BLOB) {
        node_fixed(NODE_DIR, 0, 0, ret);
        return 0;
    }
    r = blob_stat(im->store, &p->digest, &st);
    if (r < 0)
        return r;
    if (link_find(op, im, &p->digest, &size) == NULL)
        return -ENOENT;
    node_fixed(NODE_FILE, st.size_bytes, st.sealed_unix_ms, ret);
    return 0;
}

struct blob_list {
    struct op *op;
    struct images *im;
    uint8_t algorithm;
    node_emit_fn *emit;
    void *ctx;
};

static int emit_blob(void *arg, const struct digest *d, const struct blob_stat *blob)
{
    struct blob_list *l = arg;
    char text[DIGEST_TEXT_MAX];
    struct node_stat st;
    uint64_t size;

    if (d->algorithm != l->algorithm || !blob->held || link_find(l->op, l->im, d, &size) == NULL)
        return 0;
    node_fixed(NODE_FILE, blob->size_bytes, blob->sealed_unix_ms, &st);
    return l->emit(l->ctx, strchr(digest_print(d, text), ':') + 1, &st);
}

int blob_node_list(struct op *op, struct images *im, const struct place *p, node_emit_fn *emit,
                   void *ctx)
{
    struct blob_list l = {op, im, p->digest.algorithm, emit, ctx};
    int r = 0;

    if (p->kind == PLACE_BLOB)
        return -ENOTDIR;
    if (p->kind == PLACE_ALGORITHM)
        r = blob_each(im->store, emit_blob, &l);
    else if (emit(ctx, "sha256", NULL) == 0)
        emit(ctx, "sha512", NULL);
    return r < 0 ? r : 0;
}

int blob_node_open(struct op *op, struct images *im, const struct place *p, struct node_file **ret)
{
    struct blob *blob;
    uint64_t size;
    int r;

    if (p->kind != PLACE_BLOB)
        return -EISDIR;
    if (link_find(op, im, &p->digest, &size) == NULL)
        return -ENOENT;
    r = blob_open(im->store, &p->digest, &blob);
    return r < 0 ? r : node_blob_open(blob, NODE_IMMUTABLE, ret);
}
