#include "images/rootfs/view.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>

#define VIEWS_MAX     64u
#define VIEW_REST_MS  30000
#define LAYER_REST_MS 10000

struct rootfs *rootfs_new(struct store *store)
{
    struct rootfs *fs = xcalloc(1, sizeof *fs);

    fs->layers = layers_new(store);
    pthread_mutex_init(&fs->lock, NULL);
    return fs;
}

static void view_free(struct view *v)
{
    for (unsigned i = 0; v->opened && i < v->merge.n_layers; i++)
        layer_unref(v->layers[i]);
    free(v->digests);
    free(v->layers);
    free(v->indexes);
    free(v);
}

/* One that nobody uses, not since then; out of the table. With the lock held. */
static struct view *take_idle(struct rootfs *fs, int64_t before_ms)
{
    struct view *v, *next;

    HASH_ITER(hh, fs->views, v, next)
        if (v->refs == 0 && v->used_ms <= before_ms) {
            HASH_DELETE(hh, fs->views, v);
            return v;
        }
    return NULL;
}

static void drop_idle(struct rootfs *fs, int64_t before_ms)
{
    struct view *v;

    do {
        pthread_mutex_lock(&fs->lock);
        v = take_idle(fs, before_ms);
        pthread_mutex_unlock(&fs->lock);
        if (v != NULL)
            view_free(v);
    } while (v != NULL);
}

void rootfs_stop(struct rootfs *fs)
{
    layers_stop(fs->layers);
}

void rootfs_free(struct rootfs *fs)
{
    if (fs == NULL)
        return;
    drop_idle(fs, INT64_MAX);
    layers_free(fs->layers);
    pthread_mutex_destroy(&fs->lock);
    free(fs);
}

void rootfs_rest(struct rootfs *fs, int64_t now_ms)
{
    drop_idle(fs, now_ms - VIEW_REST_MS);
    layers_rest(fs->layers, now_ms - LAYER_REST_MS);
}

void rootfs_sweep(struct rootfs *fs)
{
    int r = layers_sweep(fs->layers);

    if (r < 0)
        log_line(LOG_WARN, NULL, "images.sweep_indexes", "error=%s", strerror(-r));
}

static bool ends_with(const char *s, const char *end)
{
    size_t a = strlen(s), b = strlen(end);

    return a >= b && strcmp(s + a - b, end) == 0;
}

static bool is_archive(const char *media_type)
{
    return ends_with(media_type, "tar") || ends_with(media_type, "tar+gzip") ||
           ends_with(media_type, "tar.gzip") || ends_with(media_type, "tar+zstd") ||
           ends_with(media_type, "tar.zstd");
}

bool rootfs_is_shown(const struct manifest *m)
{
    if (m->kind != MANIFEST_IMAGE || m->n_items == 0)
        return false;
    for (size_t i = 0; i < m->n_items; i++)
        if (!is_archive(m->items[i].media_type))
            return false;
    return true;
}

const char *rootfs_path(const char *rest)
{
    if (strncmp(rest, "rootfs", 6) != 0)
        return NULL;
    return rest[6] == 0 ? "" : rest[6] == '/' ? rest + 7 : NULL;
}

/* The key of a place: "<repo>\0<digest>". */
static char *key_of(struct op *op, const struct place *p, size_t *ret_len)
{
    char text[DIGEST_TEXT_MAX];
    size_t n = strlen(p->name) + 1, m = strlen(digest_print(&p->digest, text)) + 1;
    char *key = op_alloc(op, n + m);

    memcpy(key, p->name, n);
    memcpy(key + n, text, m);
    *ret_len = n + m;
    return key;
}

static struct view *find(struct rootfs *fs, const char *key, size_t len)
{
    struct view *v = NULL;

    HASH_FIND(hh, fs->views, key, len, v);
    if (v != NULL) {
        v->refs++;
        v->used_ms = clock_monotonic_ms();
    }
    return v;
}

/* Reads the manifest. Not in the table yet. */
static int view_new(struct op *op, struct images *im, const struct place *p, const char *key,
                    size_t key_len, struct view **ret)
{
    struct reference ref = {.is_digest = true, .digest = p->digest};
    struct manifest_view manifest = {0};
    struct manifest *m = NULL;
    autobuf why = {0};
    struct slice bytes;
    struct view *v;
    int r = manifest_get(op, im, p->name, &ref, &manifest);

    if (r < 0)
        return r == -ENXIO ? -ENOENT : r;
    r = manifest_bytes(op, &manifest, &bytes);
    blob_close(manifest.blob);
    if (r == 0 && manifest_parse(bytes, manifest.media_type, &m, &why) < 0)
        r = images_damaged(op, p->name, "manifest");
    if (r < 0 || !rootfs_is_shown(m)) {
        manifest_free(m);
        return r < 0 ? r : -ENOENT;
    }
    v = xcalloc(1, sizeof *v + key_len);
    memcpy(v->key, key, key_len);
    v->key_len = key_len;
    v->fs = im->rootfs;
    v->refs = 1;
    v->used_ms = clock_monotonic_ms();
    v->pushed_unix_ms = manifest.pushed_unix_ms;
    v->merge.n_layers = (unsigned)m->n_items;
    v->digests = xcalloc(m->n_items, sizeof *v->digests);
    for (size_t i = 0; i < m->n_items; i++)
        v->digests[i] = m->items[m->n_items - 1 - i].digest;
    manifest_free(m);
    *ret = v;
    return 0;
}

/* Into the table, unless somebody was faster; then that one. */
static struct view *install(struct rootfs *fs, struct view *v)
{
    struct view *other, *old = NULL;

    pthread_mutex_lock(&fs->lock);
    other = find(fs, v->key, v->key_len);
    if (other == NULL) {
        if (HASH_COUNT(fs->views) >= VIEWS_MAX)
            old = take_idle(fs, INT64_MAX);
        HASH_ADD_KEYPTR(hh, fs->views, v->key, v->key_len, v);
    } else {
        old = v;
        v = other;
    }
    pthread_mutex_unlock(&fs->lock);
    if (old != NULL)
        view_free(old);
    return v;
}

int view_get(struct op *op, struct images *im, const struct place *p, struct view **ret)
{
    struct manifest_view now;
    size_t len;
    char *key = key_of(op, p, &len);
    int r = manifest_stat(op, im, p->name, &p->digest, &now);

    if (r < 0)
        return r == -ENXIO ? -ENOENT : r;
    pthread_mutex_lock(&im->rootfs->lock);
    *ret = find(im->rootfs, key, len);
    pthread_mutex_unlock(&im->rootfs->lock);
    if (*ret != NULL)
        return 0;
    r = view_new(op, im, p, key, len, ret);
    if (r == 0)
        *ret = install(im->rootfs, *ret);
    return r;
}

void view_unref(struct view *v)
{
    guard(&v->fs->lock);

    v->refs--;
}

/* Has the repository all of the layers? Asked again whenever something changed in it. */
static int check_links(struct op *op, struct images *im, const struct place *p, struct view *v)
{
    uint64_t generation = images_generation(im, p->name), size;
    bool good;

    pthread_mutex_lock(&v->fs->lock);
    good = v->linked && v->links_generation == generation;
    pthread_mutex_unlock(&v->fs->lock);
    for (unsigned i = 0; !good && i < v->merge.n_layers; i++) {
        int r = link_get(op, im, p->name, &v->digests[i], &size);

        if (r < 0)
            return r;
    }
    guard(&v->fs->lock);
    v->linked = true;
    v->links_generation = generation;
    return 0;
}

static bool is_opened(struct view *v)
{
    guard(&v->fs->lock);

    return v->opened;
}

/* Without the lock: a layer may have to be read first. Who is late gives his back. */
static int open_layers(struct op *op, struct view *v)
{
    unsigned n = v->merge.n_layers, i = 0;
    struct layer **layers = xcalloc(n, sizeof *layers);
    const struct layer_index **indexes = xcalloc(n, sizeof *indexes);
    int r = 0;

    while (r == 0 && i < n) {
        r = layer_open(op, v->fs->layers, &v->digests[i], &layers[i]);
        if (r == 0)
            indexes[i] = &layers[i]->index, i++;
    }
    pthread_mutex_lock(&v->fs->lock);
    if (r == 0 && !v->opened) {
        v->layers = take(layers);
        v->indexes = take(indexes);
        v->merge.layers = v->indexes;
        v->opened = true;
        i = 0;
    }
    pthread_mutex_unlock(&v->fs->lock);
    while (i > 0)
        layer_unref(layers[--i]);
    free(layers);
    free(indexes);
    return r;
}

int view_open(struct op *op, struct images *im, const struct place *p, struct view *v)
{
    int r;

    if (v->merge.n_layers > ROOTFS_LAYERS_MAX)
        return op_fail(op, EFBIG, "an image of more than %u layers is not shown as files",
                       ROOTFS_LAYERS_MAX);
    r = check_links(op, im, p, v);
    return r == 0 && !is_opened(v) ? open_layers(op, v) : r;
}
