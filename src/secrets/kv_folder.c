/* kv_folder.c: from paths to folders. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "node.h"
#include "secrets/kv_internal.h"

#include <errno.h>
#include <uthash.h>

struct folder_cache {
    UT_hash_handle hh;
    struct kv_entry folder; /* its name is not kept; raw points into `bytes` */
    char *path;
    char bytes[]; /* path, NUL, raw */
};

struct slice kv_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slice_str(slash != NULL ? slash + 1 : path);
}

int kv_path_check(struct op *op, const char *path)
{
    size_t len = strlen(path);

    if (len > KV_PATH_BYTES)
        return op_fail(op, EINVAL, "a path is up to %d bytes", KV_PATH_BYTES);
    if (!utf8_valid(slice_of(path, len)))
        return op_fail(op, EINVAL, "a path is UTF-8");
    for (const char *p = path; *p != 0;) {
        size_t n = strcspn(p, "/");

        if (n == 0 || n > KV_NAME_BYTES || (n == 1 && p[0] == '.') ||
            (n == 2 && p[0] == '.' && p[1] == '.'))
            return op_fail(op, EINVAL, "a path has components of 1 to %d bytes, not '.' or '..'",
                           KV_NAME_BYTES);
        p += n;
        if (*p == '/' && *++p == 0)
            return op_fail(op, EINVAL, "a secret's path does not end in '/'");
    }
    return 0;
}

/* Called with the lock. */
static void empty_cache(struct kv *kv)
{
    struct folder_cache *c, *next;

    HASH_ITER(hh, kv->folders, c, next) {
        HASH_DEL(kv->folders, c);
        explicit_bzero(c->bytes, strlen(c->path));
        free(c);
    }
    kv->generation++;
}

void kv_folders_forget(struct kv *kv)
{
    pthread_rwlock_wrlock(&kv->folders_lock);
    empty_cache(kv);
    pthread_rwlock_unlock(&kv->folders_lock);
}

void kv_forget(struct kv *kv)
{
    kv_folders_forget(kv);
    kv_listings_forget(kv->listings);
}

static bool cache_get(struct op *op, struct kv *kv, const char *path, size_t len,
                      struct kv_entry *ret)
{
    struct folder_cache *c;

    pthread_rwlock_rdlock(&kv->folders_lock);
    HASH_FIND(hh, kv->folders, path, len, c);
    if (c != NULL) {
        *ret = c->folder;
        ret->raw = op_slice(op, c->folder.raw);
    }
    pthread_rwlock_unlock(&kv->folders_lock);
    return c != NULL;
}

static unsigned cache_generation(struct kv *kv)
{
    unsigned generation;

    pthread_rwlock_rdlock(&kv->folders_lock);
    generation = kv->generation;
    pthread_rwlock_unlock(&kv->folders_lock);
    return generation;
}

static void cache_put(struct kv *kv, const char *path, size_t len, const struct kv_entry *folder,
                      unsigned generation)
{
    struct folder_cache *c, *old;

    if ((folder->folder_flags & (KV_HIDDEN | KV_DYING)) != 0)
        return;
    c = xcalloc(1, sizeof *c + len + 1 + folder->raw.len);
    c->folder = *folder;
    c->path = c->bytes;
    memcpy(c->path, path, len);
    memcpy(c->bytes + len + 1, folder->raw.data, folder->raw.len);
    c->folder.raw = slice_of(c->bytes + len + 1, folder->raw.len);
    c->folder.name = slice_of(NULL, 0);
    pthread_rwlock_wrlock(&kv->folders_lock);
    if (kv->generation == generation && HASH_COUNT(kv->folders) < FOLDERS_CACHED) {
        HASH_FIND(hh, kv->folders, path, len, old);
        if (old == NULL) {
            HASH_ADD_KEYPTR(hh, kv->folders, c->path, len, c);
            c = NULL;
        }
    } else if (kv->generation == generation) {
        empty_cache(kv);
    }
    pthread_rwlock_unlock(&kv->folders_lock);
    free(c);
}

static int get_folder(struct op *op, struct kv *kv, const uint8_t *parent, const char *path,
                      size_t len, struct kv_entry *ret)
{
    const char *start = path + len;
    unsigned generation;
    int r;

    while (start > path && start[-1] != '/')
        start--;
    if (cache_get(op, kv, path, len, ret)) {
        ret->name = slice_of(start, (size_t)(path + len - start));
        return 0;
    }
    generation = cache_generation(kv);
    r = kv_row_get(op, kv, parent, KV_FOLDER, slice_of(start, (size_t)(path + len - start)), ret);
    if (r == 0)
        cache_put(kv, path, len, ret, generation);
    return r;
}

static size_t count_components(const char *path)
{
    size_t n = *path != 0;

    for (; *path != 0; path++)
        n += *path == '/';
    return n;
}

int kv_chain_walk(struct op *op, struct kv *kv, const char *folder, struct chain *ret)
{
    const uint8_t *parent = kv->root;
    const char *end = folder;
    struct chain c = {.n = count_components(folder)};
    int r = 0;

    c.folders = op_alloc(op, (c.n + 1) * sizeof *c.folders);
    for (size_t i = 0; i < c.n; i++) {
        struct kv_entry *e = &c.folders[i];
        const char *start = end + (i > 0);

        end = start + strcspn(start, "/");
        if (r == 0)
            r = get_folder(op, kv, parent, folder, (size_t)(end - folder), e);
        if (r == 0)
            c.n_existing++;
        if (r < 0 && r != -ENOENT)
            return r;
        if (r == -ENOENT) {
            *e = (struct kv_entry){.kind = KV_FOLDER,
                                   .created_ns = clock_unix_ns(),
                                   .name = slice_of(start, (size_t)(end - start))};
            kv_new_id(e->id);
            if (kv_row_key(kv, parent, KV_FOLDER, e->name, e->key) < 0)
                return -ESHUTDOWN;
        }
        parent = e->id;
    }
    *ret = c;
    return 0;
}

const uint8_t *kv_chain_last_id(const struct kv *kv, const struct chain *c)
{
    return c->n > 0 ? c->folders[c->n - 1].id : kv->root;
}

int kv_chain_claim(struct kv *kv, struct store_batch *batch, const struct chain *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct kv_entry *e = &c->folders[i];
        bool dirty = (e->folder_flags & (KV_HIDDEN | KV_DYING)) != 0;
        int r = 0;

        if (i >= c->n_existing)
            store_batch_expect_absent(batch, slice_of(e->key, sizeof e->key));
        else
            store_batch_expect(batch, slice_of(e->key, sizeof e->key), e->raw);
        e->folder_flags &= ~(unsigned)(KV_HIDDEN | KV_DYING);
        if (i >= c->n_existing) {
            kv_listings_make(kv, batch, e->id);
            r = kv_name_put(kv, batch, e);
        }
        if (r == 0 && (dirty || i >= c->n_existing))
            r = kv_row_put(kv, batch, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int kv_folder_id(struct op *op, struct kv *kv, const char *folder, uint8_t ret[KV_ID_BYTES])
{
    struct kv_entry e;
    int r = 0;

    if (folder[0] == 0)
        memcpy(ret, kv->root, KV_ID_BYTES);
    else
        r = kv_find_folder(op, kv, folder, &e);
    if (r == 0 && folder[0] != 0)
        memcpy(ret, e.id, KV_ID_BYTES);
    return r;
}

int kv_find_folder(struct op *op, struct kv *kv, const char *path, struct kv_entry *ret)
{
    struct chain c;
    size_t len = strlen(path);
    int r;

    if (cache_get(op, kv, path, len, ret)) {
        ret->name = kv_path_name(path);
        return 0;
    }
    if (path[0] == 0)
        return -ENOENT;
    r = kv_chain_walk(op, kv, path, &c);
    if (r < 0)
        return r;
    if (c.n_existing < c.n)
        return -ENOENT;
    *ret = c.folders[c.n - 1];
    return 0;
}

int kv_find(struct op *op, struct kv *kv, const char *path, struct kv_entry *ret)
{
    uint8_t parent[KV_ID_BYTES];
    int r = kv_path_check(op, path);

    if (r == 0 && path[0] == 0)
        r = -ENOENT;
    if (r == 0)
        r = kv_folder_id(op, kv, path_folder(op, path), parent);
    if (r == 0)
        r = kv_row_get(op, kv, parent, KV_SECRET, kv_path_name(path), ret);
    return r;
}
