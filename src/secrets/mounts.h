/* mounts.h: what stands where below /v1/: secret engines, and ways to log in below auth/.
 *
 * Kept encrypted, one row each, in partition "secrets/mounts"; in memory while unsealed. A mount is
 * immutable but for its settings; references keep it alive after it was disabled. Any thread. */
#ifndef SECRETS_MOUNTS_H
#define SECRETS_MOUNTS_H

#include "secrets/kv.h"

enum mount_kind {
    MOUNT_KV2 = 1,
    MOUNT_KV1 = 2,
    MOUNT_CUBBYHOLE = 3,
    MOUNT_SYSTEM = 4,
    MOUNT_IDENTITY = 5,
    MOUNT_TRANSIT = 6,
    MOUNT_TOKEN = 16, /* from here on: auth */
    MOUNT_USERPASS = 17,
    MOUNT_APPROLE = 18,
}; /* stored on disk: never renumber */

#define MOUNT_CONFIG_BYTES 4096

struct mount_tune {
    char description[512];
    int64_t default_ttl_s, max_ttl_s; /* 0: the server's */
    char config[MOUNT_CONFIG_BYTES];  /* further settings, a JSON object; "": none */
};

struct mount {
    struct mount *next;
    unsigned refs; /* atomic */
    enum mount_kind kind;
    const char *path; /* "secret/", "auth/userpass/" */
    size_t path_len;
    uint8_t id[KV_ID_BYTES];
    char uuid[37], accessor[40];
    struct kv *kv;        /* KV and cubbyhole; else NULL */
    pthread_mutex_t lock; /* guards: tune */
    struct mount_tune tune;
};

struct mounts;
struct mounts *mounts_new(struct store *store, struct keyring *keyring, uint64_t field_limit_bytes);
void mounts_free(struct mounts *m);
/* After unsealing: reads the table, and makes secret/, cubbyhole/, token/ and userpass/ the first
 * time. -errno with the reason in the op. */
int mounts_load(struct mounts *m, struct op *op);
void mounts_forget(struct mounts *m); /* at a seal */

/* The mount whose path begins `path`, the longest; *ret_rest is what follows. Returns a reference,
 * or NULL. */
struct mount *mount_find(struct mounts *m, const char *path, const char **ret_rest);
void mount_unref(struct mount *mount); /* NULL is fine */
struct mount_tune mount_get_tune(struct mount *mount);
/* References to all, sorted by path, in the op. */
size_t mounts_list(struct mounts *m, struct op *op, struct mount ***ret);

/* path ends in '/'. -EINVAL with Vault's text: in use, or a bad path. */
int mount_add(struct mounts *m, struct op *op, enum mount_kind kind, const char *path,
              const struct mount_tune *tune);
int mount_save(struct mounts *m, struct mount *mount, const struct mount_tune *tune,
               const struct kv_config *config); /* both may be NULL: as they are */
int mount_remove(struct mounts *m, struct op *op,
                 const char *path); /* with all it holds; -ENOENT */
int mount_move(struct mounts *m, struct op *op, const char *from, const char *to);

/* A KV mount of version 1 keeps versions from now on. What it holds stays where it is. */
int mount_upgrade(struct mounts *m, struct op *op, const char *path);

const char *mount_type(enum mount_kind kind); /* "kv", "system", "userpass" */
bool mount_is_auth(const struct mount *mount);

#endif
