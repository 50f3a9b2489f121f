/* approle.h: roles, and the secret ids that programs log in with.
 *
 * Rows of partition "secrets/approle" (vault_auth.h): a role by its name; its name by its role id;
 * a secret id's settings by its accessor; the accessor by role and secret id. The secret id itself
 * stands only in a blinded key. Each object says in "is" which of them it is. */
#ifndef SECRETS_APPROLE_H
#define SECRETS_APPROLE_H

#include "secrets/vault_auth.h"

#define APPROLE_PART SLICE("secrets/approle")

enum approle_row { APPROLE_ROLE, APPROLE_ID, APPROLE_ACCESSOR, APPROLE_SECRET };
extern const struct vault_rows approle_rows[4];

struct approle {
    struct secrets *s;
    struct mount *mount;
    struct op *op;
};

struct role {
    const char *name;
    struct object settings; /* as sent, and "name", "role_id" */
    struct slice raw;       /* the guard */
};
int role_load(const struct approle *a, const char *name, struct role *ret); /* -ENOENT */
int role_by_id(const struct approle *a, const char *role_id, struct role *ret);
const char *role_id_of(const struct approle *a, const struct role *role);

struct secret_id {
    const char *role, *accessor, *key; /* key: what its row is named by */
    int64_t uses;                      /* left; 0: no limit */
    int64_t ttl_s, created_ns, updated_ns, expires_ns; /* 0: never */
    struct slice metadata;             /* an object; "{}" */
    const char *const *cidrs, *const *token_cidrs;
    struct slice raw;
};
/* What a secret id of this role is called in its row. */
const char *secret_id_key(const struct approle *a, const char *role, const char *secret_id);
/* -ENOENT, also if it has expired. */
int secret_id_by_accessor(const struct approle *a, const char *accessor, struct secret_id *ret);
int secret_id_find(const struct approle *a, const char *role, const char *secret_id,
                   struct secret_id *ret);
int secret_id_add(const struct approle *a, const struct secret_id *id); /* -EEXIST */
int secret_id_use(const struct approle *a, const struct secret_id *id); /* -EAGAIN: try again */
int secret_id_remove(const struct approle *a, const struct secret_id *id);
/* Every one of a role (NULL: of all), expired ones too. */
int secret_id_each(const struct approle *a, const char *role,
                   int (*f)(void *ctx, const struct secret_id *id), void *ctx);

void approle_uuid(char ret[37]);
int approle_secret_ids(struct kv_request *q, const struct role *role, const char *verb,
                       const char *rest);

#endif
