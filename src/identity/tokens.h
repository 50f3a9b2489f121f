/* tokens.h: tokens in Vault's model: policies, ttl, parent, accessor. The text of a token is never
 * stored: its row stands under an HMAC of it, which is the token's id. Expiry is checked when a
 * token is used; a parent's end is the end of its children. Any thread; durable on return. */
#ifndef IDENTITY_TOKENS_H
#define IDENTITY_TOKENS_H

#include "identity/identity.h"

#define TOKEN_TTL_S 2764800 /* 768 h: the default, and the most without a period (Vault's) */

/* What a new token shall be; zeroed members are the defaults. All borrowed. */
struct token_wish {
    const char *const *policies;  /* NULL-terminated; "default" is added unless no_default_policy */
    bool no_default_policy;
    const char *parent;           /* id of the token that makes it; NULL or "": an orphan */
    const char *display_name;     /* "token", "userpass-bob" */
    const char *path;             /* "auth/token/create", "auth/userpass/login/bob" */
    const char *user;             /* acts in the name of this user; NULL: of the display name */
    struct slice meta;            /* a JSON object; empty: null */
    int64_t ttl_s;                /* 0: TOKEN_TTL_S; cut to explicit_max_ttl_s and TOKEN_TTL_S */
    int64_t explicit_max_ttl_s;   /* 0: none */
    int64_t period_s;             /* not 0: renewed for ever, to this each time */
    int64_t num_uses;             /* 0: no limit */
    int64_t default_ttl_s;        /* of the mount; 0: TOKEN_TTL_S */
    int64_t max_ttl_s;            /* of the mount or the role; 0: TOKEN_TTL_S */
    bool not_renewable;
    bool lasting;                 /* never expires; ttls must be 0 */
    bool batch;                   /* not stored: the text is the token, under the keyring */
    const char *role;             /* of auth/token/create/ROLE; NULL */
    const char *const *cidrs;     /* where it may be used from, NULL-terminated; NULL: anywhere */
    const struct policy_entity *entity; /* who logged in; NULL */
    struct slice token;           /* a text of the caller's choice; empty: a random one */
};

/* A token as it is stored. Strings live in the op. */
struct token_info {
    const char *id;               /* private key of the row; never leaves the daemon */
    const char *accessor;
    const char *const *policies;  /* NULL-terminated, sorted */
    const char *parent;           /* "": orphan */
    const char *display_name, *path, *user;
    struct slice meta;            /* JSON object, or empty */
    int64_t created_unix_s;
    int64_t creation_ttl_s;       /* 0: never expires (root) */
    int64_t expire_unix_ms;       /* 0: never */
    int64_t explicit_max_ttl_s, period_s;
    int64_t renewed_unix_s;       /* 0: never */
    int64_t num_uses;             /* left; 0: no limit; -1: this is the last one */
    int64_t max_ttl_s;            /* of the mount or the role; 0: TOKEN_TTL_S */
    int64_t spent_unix_ms;        /* its last use was counted; 0 */
    bool renewable, batch;
    const char *role;
    const char *lease;            /* "auth/token/create/h…"; "": it has none */
    const char *const *cidrs;     /* NULL-terminated */
    struct policy_entity entity;  /* metadata is not set: it is `meta` */
};

/* *ret_token is the text, in the op (which is wiped): the only time it is seen. -EINVAL for a wish
 * that makes no sense, -EEXIST for a chosen text in use. */
int token_create(struct identities *ids, struct op *op, const struct token_wish *wish,
                 const char **ret_token, struct token_info *ret);
/* -EPERM: unknown, expired or revoked ("bad token"). Counts no use. */
int token_lookup(struct identities *ids, struct op *op, struct slice token,
                 struct token_info *ret);
int token_lookup_id(struct identities *ids, struct op *op, const char *id,
                    struct token_info *ret);          /* identity.token_id of the caller */
int token_lookup_accessor(struct identities *ids, struct op *op, const char *accessor,
                          struct token_info *ret);    /* -ENOENT */
/* From now on for increment_s (0: its creation ttl, or its period), within its limits. -EINVAL: it
 * cannot be renewed. */
int token_renew(struct identities *ids, struct op *op, const char *id, int64_t increment_s,
                struct token_info *ret);
/* Ends a token; its children too, or they become orphans. -EINVAL for the root token: it lives in
 * the file DATA/root-token. */
int token_revoke(struct identities *ids, struct op *op, const char *id, bool orphan_children);
/* As token_revoke, for who must be the only one: -EPERM if it has ended already. */
int token_consume(struct identities *ids, struct op *op, const char *id);
/* Leases: each token that expires has one, named by the path it was made at. -ENOENT. */
int token_by_lease(struct identities *ids, struct op *op, const char *lease,
                   struct token_info *ret);
/* Every lease below a prefix ("" or ending in '/'), in order. f's non-zero result ends it. */
int token_each_lease(struct identities *ids, const char *prefix,
                     int (*f)(void *ctx, const char *lease, const char *id), void *ctx);
/* How batch tokens are sealed and opened: under keys that only the domain of secrets has. While it
 * has none, open and seal are -ESHUTDOWN. */
struct token_sealer {
    int (*seal)(void *ctx, struct slice plain, struct buf *out);
    int (*open)(void *ctx, struct slice sealed, struct buf *out); /* -EIO: not one of ours */
    void *ctx;
};
void tokens_seal_with(struct identities *ids, const struct token_sealer *sealer); /* NULL: none */
/* Every accessor, in no order; f's non-zero result ends it and is returned. */
int token_each_accessor(struct identities *ids, struct op *op,
                        int (*f)(void *ctx, const char *accessor), void *ctx);
/* Called with the id of each token that ended (revoked or expired), for what dies with it (a
 * cubbyhole). NULL ends it: no call is under way when it returns. */
void tokens_on_end(struct identities *ids, void (*f)(void *ctx, const char *id), void *ctx);

#endif
