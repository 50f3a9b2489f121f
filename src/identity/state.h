/* state.h: what identities_open holds. Private to src/identity/. */
#ifndef IDENTITY_STATE_H
#define IDENTITY_STATE_H

#include "config.h"
#include "identity/identity.h"
#include "store/store.h"

#include <pthread.h>

#define IDENTITY_KEY_BYTES 32

struct users;
struct tokens;
struct refusals;
struct named_set;

/* The identity of an entry of config.identities, made when it is first asked for. */
struct local_slot {
    struct identity *who;
    uint64_t users_generation; /* it was made with */
};

struct identities {
    const struct config *config;
    struct store *store;
    uint8_t salt[IDENTITY_KEY_BYTES]; /* of this installation: DATA/salt */
    struct identity *anonymous, *internal, *root;
    struct users *users;
    struct tokens *tokens;
    struct refusals *refusals;
    /* Guards the sets, the slots, and the changing of an identity's set. */
    pthread_mutex_t lock;
    struct named_set *sets;
    uint64_t generation; /* atomic; grows when a named policy changes */
    struct local_slot *slots;
};

/* Returns new: one reference. Copies names. */
struct identity *identity_new(struct identities *ids, enum identity_kind kind, const char *name,
                              const char *const *policies, const char *accessor,
                              const char *token_id);
/* The text of a policy in force: the stored one, else the built-in one. -ENOENT. */
int policy_text(struct identities *ids, const char *name, struct buf *ret);
/* The same for an entity (copied), of whom templates in policies speak; NULL: none. */
struct identity *identity_new_for(struct identities *ids, enum identity_kind kind, const char *name,
                                  const char *const *policies, const char *accessor,
                                  const char *token_id, const struct policy_entity *entity);
/* A user of the user file. Returns new. */
struct identity *identity_new_user(struct identities *ids, const char *name,
                                   const char *const *policies);
/* The set of these policies as they are now; a reference. ids->lock is held. */
struct policy_set *named_set_get(struct identities *ids, const char *const *names,
                                 const struct policy_entity *entity);
void named_sets_free(struct identities *ids);

/* DATA/<name>: 32 random bytes, made if they are not there. */
int salt_read(const char *data, uint8_t ret[IDENTITY_KEY_BYTES], struct buf *why);
/* HMAC-SHA256 under a key. */
void salt_hmac(const uint8_t key[IDENTITY_KEY_BYTES], struct slice value, uint8_t ret[32]);

int users_open(struct identities *ids, struct buf *why);
void users_close(struct identities *ids);
bool users_any(struct identities *ids);              /* is there any user? */
bool users_know(struct identities *ids, const char *name);
uint64_t users_generation(struct identities *ids);   /* grows when the file changed */
/* A user as he is in the file now, as a reference, and the hash of his line, new; NULL: not there. */
struct identity *users_find(struct identities *ids, const char *name, char **ret_hash);

int tokens_open(struct identities *ids, struct buf *why);
void tokens_close(struct identities *ids);
/* The caller that shows the token of this accessor, as a reference; NULL with a reason if there is
 * none that is alive. */
struct identity *tokens_find(struct identities *ids, struct op *op, const char *accessor);

/* scoped.c: is it of the form that scoped_issue() makes? Then scoped_verify() says whose. -EPERM. */
bool scoped_looks_like(struct slice token);
int scoped_verify(struct identities *ids, struct op *op, struct slice token, struct identity **ret);

struct refusals *refusals_new(void);
void refusals_free(struct refusals *r);

#endif
