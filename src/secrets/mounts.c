#include "secrets/mounts.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>
#include <stdio.h>

#define PART      SLICE("secrets/mounts")
#define FORMAT    1
#define HEAD      (1 + 1 + 8 + 8 + 4 + 1 + 8 + 2 + 2)
#define PATH_MAX_ 1024

#define FLAG_CAS          1
#define FLAG_METADATA_CAS 2

struct mounts {
    struct store *store;
    struct keyring *keyring;
    struct kv_listings *listings;
    uint64_t field_limit_bytes;
    pthread_mutex_t change; /* one change at a time; before `lock` */
    pthread_rwlock_t lock;  /* guards: first */
    struct mount *first;    /* longest path first */
};

DEFINE_SCOPE(batch, struct store_batch, store_batch_free)
DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

const char *mount_type(enum mount_kind kind)
{
    switch (kind) {
    case MOUNT_KV2:
    case MOUNT_KV1:
        return "kv";
    case MOUNT_CUBBYHOLE:
        return "cubbyhole";
    case MOUNT_SYSTEM:
        return "system";
    case MOUNT_IDENTITY:
        return "identity";
    case MOUNT_TRANSIT:
        return "transit";
    case MOUNT_TOKEN:
        return "token";
    case MOUNT_APPROLE:
        return "approle";
    default:
        return "userpass";
    }
}

bool mount_is_auth(const struct mount *mount)
{
    return mount->kind >= MOUNT_TOKEN;
}

struct mounts *mounts_new(struct store *store, struct keyring *keyring, uint64_t field_limit_bytes)
{
    struct mounts *m = xcalloc(1, sizeof *m);

    m->store = store;
    m->keyring = keyring;
    m->listings = kv_listings_new();
    m->field_limit_bytes = field_limit_bytes;
    pthread_mutex_init(&m->change, NULL);
    pthread_rwlock_init(&m->lock, NULL);
    return m;
}

void mounts_free(struct mounts *m)
{
    if (m == NULL)
        return;
    mounts_forget(m);
    kv_listings_unref(m->listings);
    pthread_mutex_destroy(&m->change);
    pthread_rwlock_destroy(&m->lock);
    free(m);
}

void mount_unref(struct mount *mount)
{
    if (mount == NULL || __atomic_sub_fetch(&mount->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    kv_free(mount->kv);
    pthread_mutex_destroy(&mount->lock);
    free((char *)(uintptr_t)mount->path);
    free(mount);
}

void mounts_forget(struct mounts *m)
{
    struct mount *mount;

    pthread_rwlock_wrlock(&m->lock);
    mount = m->first;
    m->first = NULL;
    pthread_rwlock_unlock(&m->lock);
    while (mount != NULL) {
        struct mount *next = mount->next;

        mount_unref(mount);
        mount = next;
    }
    kv_listings_forget(m->listings);
}

static void name_mount(struct mount *mount)
{
    char hex[2 * KV_ID_BYTES + 1];

    hex_encode(slice_of(mount->id, sizeof mount->id), hex);
    snprintf(mount->uuid, sizeof mount->uuid, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);
    snprintf(mount->accessor, sizeof mount->accessor, "%s%s_%.8s",
             mount->kind > MOUNT_TOKEN ? "auth_" : "", mount_type(mount->kind), hex);
}

static struct mount *mount_new(struct mounts *m, enum mount_kind kind, const char *path,
                               const uint8_t id[KV_ID_BYTES], const struct mount_tune *tune,
                               const struct kv_config *config)
{
    struct mount *mount = xcalloc(1, sizeof *mount);

    mount->refs = 1;
    mount->kind = kind;
    mount->path = xstrdup(path);
    mount->path_len = strlen(path);
    memcpy(mount->id, id, KV_ID_BYTES);
    name_mount(mount);
    mount->tune = *tune;
    pthread_mutex_init(&mount->lock, NULL);
    if (kind == MOUNT_KV2 || kind == MOUNT_KV1 || kind == MOUNT_CUBBYHOLE)
        mount->kv = kv_new(m->store, m->keyring, m->listings, id, config, m->field_limit_bytes);
    return mount;
}

static void insert(struct mounts *m, struct mount *mount)
{
    struct mount **at = &m->first;

    pthread_rwlock_wrlock(&m->lock);
    while (*at != NULL &&
           ((*at)->path_len > mount->path_len ||
            ((*at)->path_len == mount->path_len && strcmp((*at)->path, mount->path) < 0)))
        at = &(*at)->next;
    mount->next = *at;
    *at = mount;
    pthread_rwlock_unlock(&m->lock);
}

/* Takes it out of the table; its reference is the caller's. NULL: not there. */
static struct mount *extract(struct mounts *m, const char *path)
{
    struct mount **at = &m->first;
    struct mount *found;

    pthread_rwlock_wrlock(&m->lock);
    while (*at != NULL && strcmp((*at)->path, path) != 0)
        at = &(*at)->next;
    found = *at;
    if (found != NULL)
        *at = found->next;
    pthread_rwlock_unlock(&m->lock);
    return found;
}

struct mount *mount_find(struct mounts *m, const char *path, const char **ret_rest)
{
    struct mount *found;

    pthread_rwlock_rdlock(&m->lock);
    for (found = m->first; found != NULL; found = found->next) {
        if (strncmp(path, found->path, found->path_len) == 0)
            break;
    }
    if (found != NULL) {
        __atomic_add_fetch(&found->refs, 1, __ATOMIC_RELAXED);
        *ret_rest = path + found->path_len;
    }
    pthread_rwlock_unlock(&m->lock);
    return found;
}

struct mount_tune mount_get_tune(struct mount *mount)
{
    guard(&mount->lock);

    return mount->tune;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp((*(struct mount *const *)a)->path, (*(struct mount *const *)b)->path);
}

size_t mounts_list(struct mounts *m, struct op *op, struct mount ***ret)
{
    struct mount **list;
    size_t n = 0, i = 0;

    pthread_rwlock_rdlock(&m->lock);
    for (struct mount *mount = m->first; mount != NULL; mount = mount->next)
        n++;
    list = op_alloc(op, (n + 1) * sizeof(struct mount *));
    for (struct mount *mount = m->first; mount != NULL; mount = mount->next) {
        __atomic_add_fetch(&mount->refs, 1, __ATOMIC_RELAXED);
        list[i++] = mount;
    }
    pthread_rwlock_unlock(&m->lock);
    qsort(list, n, sizeof(struct mount *), compare_paths);
    *ret = list;
    return n;
}

/* Row: format 1 · kind (1) · default ttl (8) · max ttl (8) · max versions (4) · flags (1) ·
 * delete after (8) · path length (2) · description length (2) · path · description ·
 * further settings (JSON, or nothing). Key: the id. */
static int put_row(struct mounts *m, struct store_batch *batch, const struct mount *mount,
                   const char *path, const struct mount_tune *tune, const struct kv_config *config)
{
    struct slice key = slice_of(mount->id, sizeof mount->id);
    size_t n_path = strlen(path), n_description = strlen(tune->description);
    uint8_t head[HEAD] = {FORMAT, (uint8_t)mount->kind};
    autobuf plain = {0}, record = {0};
    int r;

    be64_put(head + 2, (uint64_t)tune->default_ttl_s);
    be64_put(head + 10, (uint64_t)tune->max_ttl_s);
    be32_put(head + 18, config->max_versions);
    head[22] = (uint8_t)((config->cas_required ? FLAG_CAS : 0) |
                         (config->metadata_cas_required ? FLAG_METADATA_CAS : 0));
    be64_put(head + 23, (uint64_t)config->delete_after_ns);
    head[31] = (uint8_t)(n_path >> 8);
    head[32] = (uint8_t)n_path;
    head[33] = (uint8_t)(n_description >> 8);
    head[34] = (uint8_t)n_description;
    buf_add(&plain, head, sizeof head);
    buf_add_str(&plain, path);
    buf_add_str(&plain, tune->description);
    buf_add_str(&plain, tune->config);
    r = keyring_encrypt(m->keyring, PART, key, buf_slice(&plain), &record);
    if (r == 0)
        store_batch_put(batch, key, buf_slice(&record));
    return r;
}

static int store_mount(struct mounts *m, const struct mount *mount, const char *path,
                       const struct mount_tune *tune, const struct kv_config *config)
{
    struct store_batch *batch = store_batch_new(m->store, PART);
    int r = put_row(m, batch, mount, path, tune, config);

    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    return store_commit(batch, STORE_DURABLE);
}

static struct kv_config config_of(const struct mount *mount)
{
    return mount->kv != NULL ? kv_get_config(mount->kv) : (struct kv_config){0};
}

static int load_row(struct mounts *m, struct op *op, struct slice key, struct slice raw)
{
    struct mount_tune tune = {0};
    struct kv_config config;
    size_t len = raw.len - KEYRING_OVERHEAD_BYTES, n_path, n_description, n_config;
    uint8_t *p;
    int r;

    if (key.len != KV_ID_BYTES || raw.len < KEYRING_OVERHEAD_BYTES + HEAD)
        return -EIO;
    p = op_alloc(op, len);
    r = keyring_decrypt(m->keyring, PART, key, raw, p);
    if (r < 0)
        return r;
    n_path = (size_t)p[31] << 8 | p[32];
    n_description = (size_t)p[33] << 8 | p[34];
    if (p[0] != FORMAT || len < HEAD + n_path + n_description ||
        n_description >= sizeof tune.description)
        return -EIO;
    n_config = len - HEAD - n_path - n_description;
    if (n_config >= sizeof tune.config)
        return -EIO;
    tune.default_ttl_s = (int64_t)be64_get(p + 2);
    tune.max_ttl_s = (int64_t)be64_get(p + 10);
    memcpy(tune.description, p + HEAD + n_path, n_description);
    memcpy(tune.config, p + HEAD + n_path + n_description, n_config);
    config = (struct kv_config){
        .max_versions = be32_get(p + 18),
        .cas_required = (p[22] & FLAG_CAS) != 0,
        .metadata_cas_required = (p[22] & FLAG_METADATA_CAS) != 0,
        .delete_after_ns = (int64_t)be64_get(p + 23),
    };
    insert(m, mount_new(m, p[1], op_strndup(op, p + HEAD, n_path), key.data, &tune, &config));
    return 0;
}

static int make_defaults(struct mounts *m, struct op *op)
{
    static const struct {
        enum mount_kind kind;
        const char *path, *description;
    } defaults[] = {
        {MOUNT_KV2, "secret/", "key/value secret storage"},
        {MOUNT_CUBBYHOLE, "cubbyhole/", "per-token private secret storage"},
        {MOUNT_SYSTEM, "sys/", "system endpoints used for control, policy and debugging"},
        {MOUNT_IDENTITY, "identity/", "identity store"},
        {MOUNT_TOKEN, "auth/token/", "token based credentials"},
        {MOUNT_USERPASS, "auth/userpass/", "users of the htpasswd file"},
    };

    for (size_t i = 0; i < array_size(defaults); i++) {
        struct mount_tune tune = {0};
        const char *rest = "";
        struct mount *there = mount_find(m, defaults[i].path, &rest);
        int r = 0;

        if (there == NULL) {
            snprintf(tune.description, sizeof tune.description, "%s", defaults[i].description);
            r = mount_add(m, op, defaults[i].kind, defaults[i].path, &tune);
        }
        mount_unref(there);
        if (r < 0)
            return r;
    }
    return 0;
}

struct orphans {
    struct mounts *mounts;
    struct op *op;
    struct slice parts[16]; /* the rest at the next start */
    size_t n;
};

static int note_orphan(void *ctx, struct slice part)
{
    struct orphans *o = ctx;
    bool known = false;

    pthread_rwlock_rdlock(&o->mounts->lock);
    for (struct mount *mount = o->mounts->first; mount != NULL && !known; mount = mount->next)
        known = mount->kv != NULL && slice_eq(mount->kv->part, part);
    pthread_rwlock_unlock(&o->mounts->lock);
    if (!known)
        o->parts[o->n++] = op_slice(o->op, part);
    return o->n == array_size(o->parts);
}

/* A mount that was disabled just before a crash: its row is gone, its content is not. */
static void drop_orphans(struct mounts *m, struct op *op)
{
    struct orphans o = {.mounts = m, .op = op};

    store_partitions(m->store, SLICE("secrets/kv/"), note_orphan, &o);
    for (size_t i = 0; i < o.n; i++)
        store_drop(m->store, o.parts[i]);
}

int mounts_load(struct mounts *m, struct op *op)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice key, raw;
    bool any = false;
    int r = store_scan(m->store, PART, slice_of(NULL, 0), slice_of(NULL, 0), 0, &scan);

    mounts_forget(m);
    while (r == 0 && (r = store_scan_next(scan, &key, &raw)) == 1) {
        r = load_row(m, op, key, raw);
        any = true;
    }
    if (r < 0)
        return op_fail(op, -r, "the table of mounts is damaged");
    r = any ? 0 : make_defaults(m, op);
    if (r == 0)
        drop_orphans(m, op);
    return r;
}

static int check_path(struct op *op, const char *path)
{
    size_t len = strlen(path);

    if (len < 2 || len > PATH_MAX_ || path[len - 1] != '/' || path[0] == '/')
        return op_fail(op, EINVAL, "'%s' is no path for a mount", path);
    return 0;
}

static int refuse_overlap(struct mounts *m, struct op *op, const char *path)
{
    size_t len = strlen(path);
    int r = 0;

    pthread_rwlock_rdlock(&m->lock);
    for (struct mount *at = m->first; at != NULL && r == 0; at = at->next) {
        if (strncmp(at->path, path, len < at->path_len ? len : at->path_len) == 0)
            r = op_fail(op, EINVAL, "path is already in use at %s", at->path);
    }
    pthread_rwlock_unlock(&m->lock);
    return r;
}

static bool is_reserved(const char *path)
{
    static const char *const reserved[] = {"sys/", "cubbyhole/", "identity/", "auth/token/"};

    for (size_t i = 0; i < array_size(reserved); i++)
        if (strncmp(path, reserved[i], strlen(reserved[i])) == 0)
            return true;
    return strcmp(path, "auth/") == 0;
}

int mount_add(struct mounts *m, struct op *op, enum mount_kind kind, const char *path,
              const struct mount_tune *tune)
{
    struct kv_config config = {.max_versions = kind == MOUNT_KV2 ? 0 : 1};
    uint8_t id[KV_ID_BYTES];
    struct mount *mount;
    int r = check_path(op, path);

    guard(&m->change);
    if (r == 0)
        r = refuse_overlap(m, op, path);
    if (r < 0)
        return r;
    kv_new_id(id);
    mount = mount_new(m, kind, path, id, tune, &config);
    r = store_mount(m, mount, path, tune, &config);
    if (r < 0)
        mount_unref(mount);
    else
        insert(m, mount);
    return r;
}

int mount_save(struct mounts *m, struct mount *mount, const struct mount_tune *tune,
               const struct kv_config *config)
{
    struct mount_tune new_tune;
    struct kv_config new_config;
    int r;

    guard(&m->change);
    new_tune = tune != NULL ? *tune : mount_get_tune(mount);
    new_config = config != NULL ? *config : config_of(mount);
    r = store_mount(m, mount, mount->path, &new_tune, &new_config);
    if (r < 0)
        return r;
    if (mount->kv != NULL)
        kv_set_config(mount->kv, &new_config);
    pthread_mutex_lock(&mount->lock);
    mount->tune = new_tune;
    pthread_mutex_unlock(&mount->lock);
    return 0;
}

static struct mount *find_exact(struct mounts *m, const char *path)
{
    const char *rest = "";
    struct mount *mount = mount_find(m, path, &rest);

    if (mount != NULL && (rest[0] != 0 || strcmp(mount->path, path) != 0)) {
        mount_unref(mount);
        mount = NULL;
    }
    return mount;
}

static bool is_builtin(const struct mount *mount)
{
    return mount->kind == MOUNT_CUBBYHOLE || mount->kind == MOUNT_SYSTEM ||
           mount->kind == MOUNT_IDENTITY || mount->kind == MOUNT_TOKEN ||
           strcmp(mount->path, "secret/") == 0;
}

int mount_remove(struct mounts *m, struct op *op, const char *path)
{
    struct store_batch *batch;
    struct mount *mount;
    int r;

    guard(&m->change);
    mount = find_exact(m, path);
    if (mount == NULL)
        return -ENOENT;
    if (is_builtin(mount)) {
        mount_unref(mount);
        return op_fail(op, EINVAL, "cannot unmount \"%s\"", path);
    }
    /* First nobody can reach it, then its rows go. */
    batch = store_batch_new(m->store, PART);
    store_batch_delete(batch, slice_of(mount->id, sizeof mount->id));
    r = store_commit(batch, STORE_DURABLE);
    if (r == 0) {
        mount_unref(extract(m, path));
        if (mount->kv != NULL)
            r = kv_drop(mount->kv);
    }
    mount_unref(mount);
    return r;
}

int mount_move(struct mounts *m, struct op *op, const char *from, const char *to)
{
    struct mount_tune tune;
    struct kv_config config;
    struct mount *mount;
    bool auth = strncmp(from, "auth/", 5) == 0;
    int r = check_path(op, to);

    guard(&m->change);
    if (r == 0 && (is_reserved(to) || (strncmp(to, "auth/", 5) == 0) != auth))
        r = op_fail(op, EINVAL, "cannot remount to destination %s", to);
    if (r == 0)
        r = refuse_overlap(m, op, to);
    if (r < 0)
        return r;
    mount = find_exact(m, from);
    if (mount == NULL)
        return op_fail(op, EINVAL, "no matching mount at \"%s\"", from);
    tune = mount_get_tune(mount);
    config = config_of(mount);
    r = is_builtin(mount) ? op_fail(op, EINVAL, "cannot remount \"%s\"", from)
                          : store_mount(m, mount, to, &tune, &config);
    if (r == 0) {
        mount_unref(extract(m, from));
        insert(m, mount_new(m, mount->kind, to, mount->id, &tune, &config));
    }
    mount_unref(mount);
    return r;
}

int mount_upgrade(struct mounts *m, struct op *op, const char *path)
{
    struct mount *mount, *fresh;
    struct mount_tune tune;
    struct kv_config config;
    int r;

    guard(&m->change);
    mount = find_exact(m, path);
    if (mount == NULL || mount->kind != MOUNT_KV1) {
        mount_unref(mount);
        return op_fail(op, EINVAL, "'%s' is no KV mount of version 1", path);
    }
    tune = mount_get_tune(mount);
    config = config_of(mount);
    config.max_versions = 0;
    fresh = mount_new(m, MOUNT_KV2, path, mount->id, &tune, &config);
    r = store_mount(m, fresh, path, &tune, &config);
    if (r == 0) {
        mount_unref(extract(m, path));
        insert(m, fresh);
    } else {
        mount_unref(fresh);
    }
    mount_unref(mount);
    return r;
}
