/* identity.h: who asks. Users of the htpasswd file, tokens, callers of the mount, nobody.
 *
 * The file counts as it is on disk: any edit is in force at the next request. A verified password
 * is remembered as HMAC(process key, user, password, hash line): it costs microseconds until the
 * line changes; a wrong one is never remembered, an unknown user costs the same as a wrong
 * password. */
#ifndef IDENTITY_IDENTITY_H
#define IDENTITY_IDENTITY_H

#include "identity/policy.h"
#include "op/op.h"

struct store;
struct config;
struct identities;

enum identity_kind { IDENTITY_ANONYMOUS, IDENTITY_USER, IDENTITY_TOKEN, IDENTITY_INTERNAL };

/* Immutable once made but for its policies; shared by reference count. */
struct identity {
    enum identity_kind kind;
    const char *name;                 /* "alice", "root", "anonymous", "uid:1000", a token's display name */
    struct policy_set *policies;      /* as asked for last: read it by identity_policies */
    const char *const *policy_names;  /* NULL-terminated; read it by identity_policy_names */
    const char *accessor;             /* tokens: safe to log; else "" */
    const char *token_id;             /* tokens: private key of the token's row; else "" */
    const struct policy_entity *entity; /* for templates in policies; NULL: nobody's */
    struct identity *within;          /* of a scoped token (scoped.h): who it is narrowed from, whose
                                         rights count too; else NULL. A reference */
    unsigned refs;                    /* private, as all below; zero in one made by hand */
    struct identities *ids;
    uint64_t generation;              /* of the named policies that `policies` was compiled from */
    const char *const *given_names;   /* before "user-<name>" took the place of "team" */
    struct policy_set **retired;      /* sets and names that a caller under way may still hold */
    const char *const **retired_names;
    size_t n_retired;
};

/* A token that is stored nowhere: it has no row, so no children and no cubbyhole. */
static inline bool identity_is_batch(const struct identity *who)
{
    return who->kind == IDENTITY_TOKEN && who->token_id[0] == 0 && who->accessor[0] == 0;
}

/* Opens users, policies and tokens. Creates DATA/root-token (0600) at the first start, and watches
 * the user file. -errno with a reason in why. */
int identities_open(const struct config *config, struct store *store, struct identities **ret,
                    struct buf *why);
void identities_close(struct identities *ids);

const struct identity *identity_anonymous(struct identities *ids); /* borrowed, lives as long as ids */
const struct identity *identity_internal(struct identities *ids);  /* the daemon itself: every right */
struct identity *identity_ref(const struct identity *who);
void identity_unref(struct identity *who); /* NULL is fine */

/* HTTP Basic. `*ret` is a new reference. 0; -EPERM wrong (with op_fail); with IDENTITY_QUICK also
 * -EAGAIN: a hash must be computed, call again without it from a worker. User "__token__" takes a
 * token as password. */
enum identity_flags { IDENTITY_QUICK = 1 };
int identity_basic(struct identities *ids, struct op *op, struct slice user, struct slice password,
                   unsigned flags, struct identity **ret);
/* Bearer and X-Vault-Token. -EPERM if unknown or expired. */
int identity_token(struct identities *ids, struct op *op, struct slice token,
                   struct identity **ret);
/* Whoever has the token of this accessor: for questions about it. Counts no use. -ENOENT, -EPERM. */
int identity_accessor(struct identities *ids, struct op *op, const char *accessor,
                      struct identity **ret);
/* A caller of the mount: by uid, then by gids, as configured; root is "root"; else anonymous. The
 * primary gid is gids[0]. Cached. */
int identity_local(struct identities *ids, uid_t uid, const gid_t *gids, size_t n_gids,
                   struct identity **ret);

/* What the caller's policies say of a request to path beyond rights; NULL: nothing. The door of
 * Vault's dialect holds the request against it, and then sets op->limits_kept; every other door is
 * refused what is limited. */
const struct policy_limits *identity_limits(const struct identity *who, struct slice path);
/* As they are now: a policy "user-<name>" may come and go. Lives as long as the identity. */
static inline const char *const *identity_policy_names(const struct identity *who)
{
    return __atomic_load_n(&who->policy_names, __ATOMIC_ACQUIRE);
}

unsigned identity_rights(const struct identity *who, struct slice path);
/* The policies that give them, as they are now; they live as long as `who`. */
const struct policy_set *identity_policies(const struct identity *who);
/* Do they say anything of a path that begins so? */
bool identity_touches(const struct identity *who, struct slice prefix);
/* May the op's caller do this to path? 0, or op_fail: -EPERM if it is not known who asks over HTTP,
 * or a scoped token is too narrow (401), -EACCES otherwise (403). All bits of `rights` are
 * needed. */
int identity_check(struct op *op, unsigned rights, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same as a question, without a refusal. */
bool identity_may(struct op *op, unsigned rights, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));

/* The id of an entity: of a name at a mount (its uuid), or of a user of the user file (""). */
void identity_entity_id(struct identities *ids, const char *mount, const char *name, char ret[37]);

/* The user file, for the tree and the command line. */
const char *users_path(struct identities *ids);
/* Is this text a valid user file? -EINVAL with "line L: reason". */
int users_check(struct slice text, struct buf *why);
/* Reads the file again now (called after an edit through the tree). */
int users_reload(struct identities *ids);
/* "$2y$11$…" for a password; returns new in *ret. -EINVAL if it is empty or over 72 bytes. */
int users_hash(struct slice password, char **ret);
/* Checks user and password by the file alone: for logins that issue a token. */
int users_verify(struct identities *ids, struct op *op, struct slice user, struct slice password);
/* The same for a hash that is kept elsewhere. -EPERM; -EBUSY: too many are computed already. */
int users_verify_hash(struct identities *ids, struct op *op, const char *hash,
                      struct slice password);

/* Named policies: built in (team, anonymous, root, default) and those kept in the store. A user of
 * the file has "team", or in place of it "user-<name>" (in lower case) where there is one. */
void user_policy(struct identities *ids, const char *user, struct buf *ret); /* its name */
int policies_get(struct identities *ids, struct op *op, const char *name, struct slice *ret_text);
int policies_put(struct identities *ids, struct op *op, const char *name, struct slice text);
int policies_delete(struct identities *ids, struct op *op, const char *name);
int policies_list(struct identities *ids, int (*f)(void *ctx, const char *name), void *ctx);

#endif
