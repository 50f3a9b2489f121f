/* secrets.h: the domain's state, shared by its rules, its files and its Vault dialect. */
#ifndef SECRETS_SECRETS_H
#define SECRETS_SECRETS_H

#include "domain.h"
#include "secrets/keyring.h"
#include "secrets/mounts.h"

#define SECRETS_TREE_MOUNT "secret/" /* the mount that the tree shows */

struct secrets {
    const struct config *config;
    struct store *store;
    struct identities *identities;
    struct audit *audit;
    const struct daemon *daemon; /* all domains, for sys/metrics; NULL in tests */
    struct keyring *keyring;
    struct mounts *mounts;
    struct seal *seal;
    struct watches *watches;
    struct units *units;
    pthread_mutex_t lock; /* guards: sealed_why; one seal or unseal at a time */
    bool open;            /* atomic: unsealed, and the mounts are known */
    char *sealed_why;     /* why it did not unseal at start; NULL */
};

/* Opens with the unseal key. 0, also if it is open; -EBADMSG it does not fit. The reason is in the
 * op. */
int secrets_unseal(struct secrets *s, struct op *op, const uint8_t key[KEYRING_KEY_BYTES]);
void secrets_seal(struct secrets *s);
/* As at a start, with the key of the configuration. 0, also if it is open; -EACCES with the reason,
 * such as that people must bring the key. */
int secrets_unseal_again(struct secrets *s, struct op *op);
/* Finds out anew why it is sealed, for who asks. */
void secrets_explain(struct secrets *s);
bool secrets_is_sealed(const struct secrets *s);
/* -ESHUTDOWN with the reason in the op while sealed. */
int secrets_check(struct secrets *s, struct op *op);

/* The op's audit line tells which values these are, as HMACs (note.c). */
struct kv_content;
void secrets_note_content(struct secrets *s, struct op *op, const struct kv_content *content);
void secrets_note_value(struct secrets *s, struct op *op, struct slice value);

/* tree_watch.c: who reads @watch. Hears of changes from the feed (may be NULL: from nobody). */
struct watches *watches_new(struct feed *feed);
void watches_free(struct watches *w); /* no watch is open any more */
void watches_wake(struct watches *w); /* all look again: at a seal */

/* The mount behind the tree. Returns a reference. NULL: it is not there. */
struct mount *secrets_tree_mount(struct secrets *s);
/* Notes that a secret changed, if the tree shows it. `path` is inside the mount. */
void secrets_changed(struct op *op, const struct mount *mount, const char *path);

extern const struct node_ops secrets_tree;
extern const struct route secrets_routes[];
void secrets_render(void *self, struct web_request *req, int err, struct web_response *resp);

#endif
