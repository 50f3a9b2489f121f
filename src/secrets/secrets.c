#include "secrets/secrets.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "config.h"
#include "identity/tokens.h"
#include "secrets/lockmem.h"
#include "secrets/seal.h"
#include "secrets/tree_name.h"
#include "secrets/units.h"
#include "secrets/unseal.h"

#include <errno.h>

/* The keyring is open: so is all that was closed with it. Called with the lock. */
static int open_all(struct secrets *s, struct op *op)
{
    int r = mounts_load(s->mounts, op);

    if (r < 0) {
        keyring_seal(s->keyring);
        return r;
    }
    __atomic_store_n(&s->open, true, __ATOMIC_RELEASE);
    free(take(s->sealed_why));
    log_event(LOG_INFO, op, "secrets.unsealed", "memory=%s",
              lockmem_is_hidden() ? "hidden" : "locked");
    return 0;
}

int secrets_unseal(struct secrets *s, struct op *op, const uint8_t key[KEYRING_KEY_BYTES])
{
    int r;

    guard(&s->lock);
    if (!secrets_is_sealed(s))
        return 0;
    r = keyring_unseal(s->keyring, key);
    if (r < 0)
        return op_fail(op, -r, "%s", r == -EBADMSG ? "the key does not fit" : strerror(-r));
    return open_all(s, op);
}

int secrets_unseal_again(struct secrets *s, struct op *op)
{
    autobuf why = {0};
    int r;

    guard(&s->lock);
    if (!secrets_is_sealed(s))
        return 0;
    r = unseal_open(s->keyring, s->config->unseal, &why);
    if (r == 0)
        return open_all(s, op);
    return op_fail(op, EACCES, "secrets stay sealed: %s", why.len > 0 ? why.data : strerror(-r));
}

void secrets_seal(struct secrets *s)
{
    guard(&s->lock);

    __atomic_store_n(&s->open, false, __ATOMIC_RELEASE);
    mounts_forget(s->mounts); /* writes when secrets were read last */
    keyring_seal(s->keyring);
    mounts_forget(s->mounts); /* a list that was read meanwhile */
    watches_wake(s->watches);
    log_line(LOG_INFO, NULL, "secrets.sealed", "by=request");
}

void secrets_explain(struct secrets *s)
{
    autobuf why = {0};

    guard(&s->lock);
    if (secrets_is_sealed(s) && unseal_open(s->keyring, s->config->unseal, &why) == -ENOKEY) {
        free(s->sealed_why);
        s->sealed_why = xstrdup(why.data);
    }
}

bool secrets_is_sealed(const struct secrets *s)
{
    return !__atomic_load_n(&s->open, __ATOMIC_ACQUIRE);
}

int secrets_check(struct secrets *s, struct op *op)
{
    if (!secrets_is_sealed(s))
        return 0;
    guard(&s->lock);
    if (s->sealed_why != NULL)
        return op_fail(op, ESHUTDOWN, "secrets are sealed: %s", s->sealed_why);
    return op_fail(op, ESHUTDOWN, "secrets are sealed; unseal them with 'bao operator unseal'");
}

struct mount *secrets_tree_mount(struct secrets *s)
{
    const char *rest;

    return mount_find(s->mounts, SECRETS_TREE_MOUNT, &rest);
}

void secrets_changed(struct op *op, const struct mount *mount, const char *path)
{
    const char *shown;

    if (strcmp(mount->path, SECRETS_TREE_MOUNT) != 0)
        return;
    shown = tree_node_path(op, path);
    if (shown == NULL)
        return;
    op_changed(op, CHANGE_CONTENT | CHANGE_ENTRY | CHANGE_SUBTREE, "/%s", shown);
    op_changed(op, CHANGE_CONTENT | CHANGE_ENTRY | CHANGE_SUBTREE, "/.infra/secrets/%s", shown);
}

/* A cubbyhole dies with its token. While sealed it cannot be found; nobody can read it either. */
static void end_cubbyhole(void *ctx, const char *token_id)
{
    struct secrets *s = ctx;
    const char *rest;
    struct mount *mount = mount_find(s->mounts, "cubbyhole/", &rest);
    struct op op;
    int r;

    if (mount == NULL || mount->kv == NULL) {
        mount_unref(mount);
        return;
    }
    op_init(&op, DOOR_INTERNAL, identity_internal(s->identities));
    r = kv_remove_all(&op, mount->kv, token_id);
    if (r < 0)
        log_event(LOG_WARN, &op, "secrets.cubbyhole", "why=%s", op_why(&op, r));
    op_done(&op);
    mount_unref(mount);
}

/* Batch tokens are sealed under the keyring, bound to a place of their own. */
#define BATCH_PART SLICE("secrets/batch")
#define BATCH_KEY  SLICE("token")

static int seal_batch(void *ctx, struct slice plain, struct buf *out)
{
    struct secrets *s = ctx;

    return keyring_encrypt(s->keyring, BATCH_PART, BATCH_KEY, plain, out);
}

static int open_batch(void *ctx, struct slice sealed, struct buf *out)
{
    struct secrets *s = ctx;
    int r;

    if (sealed.len < KEYRING_OVERHEAD_BYTES)
        return -EIO;
    buf_reserve(out, sealed.len);
    r = keyring_decrypt(s->keyring, BATCH_PART, BATCH_KEY, sealed, out->data);
    if (r == 0)
        out->len = sealed.len - KEYRING_OVERHEAD_BYTES;
    return r;
}

/* A key that is missing or cut must not keep the other areas from serving: they start, secrets stay
 * sealed, and every door says why. */
static void unseal_at_start(struct secrets *s)
{
    autobuf why = {0};
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, identity_internal(s->identities));
    r = unseal_open(s->keyring, s->config->unseal, &why);
    if (r < 0)
        op_fail(&op, -r, "%s", why.len > 0 ? why.data : strerror(-r));
    else
        r = open_all(s, &op);
    if (r < 0) {
        s->sealed_why = xstrdup(op_why(&op, r));
        log_event(r == -ENOKEY ? LOG_WARN : LOG_ERROR, &op, "secrets.stay_sealed", "why=%s",
                  s->sealed_why);
    }
    op_done(&op);
}

static void secrets_close(void *self)
{
    struct secrets *s = self;

    units_stop(s->units);
    tokens_on_end(s->identities, NULL, NULL);
    watches_free(s->watches);
    tokens_seal_with(s->identities, NULL);
    mounts_free(s->mounts);
    keyring_free(s->keyring);
    seal_free(s->seal);
    pthread_mutex_destroy(&s->lock);
    free(s->sealed_why);
    free(s);
}

static int secrets_open(const struct domain_env *env, void **ret_self, struct buf *why)
{
    struct secrets *s = xcalloc(1, sizeof *s);
    int r;

    s->config = env->config;
    s->store = env->store;
    s->identities = env->identities;
    s->audit = env->audit;
    s->daemon = env->daemon;
    pthread_mutex_init(&s->lock, NULL);
    s->seal = seal_new();
    s->watches = watches_new(env->feed);
    s->keyring = keyring_new(s->store);
    s->mounts = mounts_new(s->store, s->keyring, s->config->limits.secret_value_bytes);
    unseal_at_start(s);
    tokens_on_end(s->identities, end_cubbyhole, s);
    tokens_seal_with(s->identities, &(struct token_sealer){seal_batch, open_batch, s});
    r = units_start(s, &s->units, why);
    if (r < 0)
        secrets_close(s);
    else
        *ret_self = s;
    return r;
}

static void secrets_status(void *self, struct buf *out)
{
    struct secrets *s = self;
    struct keyring_status status;

    guard(&s->lock);
    if (keyring_status(s->keyring, &status) == 0)
        buf_printf(out, "secrets: unsealed, key term %u\n", status.term);
    else
        buf_printf(out, "secrets: sealed%s%s\n", s->sealed_why != NULL ? ": " : "",
                   s->sealed_why != NULL ? s->sealed_why : "");
}

static void secrets_metrics(void *self, struct buf *out)
{
    struct secrets *s = self;
    struct keyring_status status = {0};
    bool unsealed = keyring_status(s->keyring, &status) == 0;

    buf_printf(out,
               "# HELP infrafs_secrets_unsealed Whether secrets can be read.\n"
               "# TYPE infrafs_secrets_unsealed gauge\ninfrafs_secrets_unsealed %d\n",
               unsealed);
}

static const char *const roots[] = {"", ".infra/secrets", ".infra/seal", NULL};

const struct domain secrets_domain = {
    .name = "secrets",
    .open = secrets_open,
    .close = secrets_close,
    .tree = &secrets_tree,
    .roots = roots,
    .routes = secrets_routes,
    .render = secrets_render,
    .metrics = secrets_metrics,
    .status = secrets_status,
};
