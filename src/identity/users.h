/* users.h: the users of the file, in memory. Private to users*.c. */
#ifndef IDENTITY_USERS_H
#define IDENTITY_USERS_H

#include "base/digest.h"
#include "identity/state.h"

#include <sys/stat.h>
#include <uthash.h>

#define USERS_MAC_BYTES  32
#define USERS_REMEMBERED 1024u

struct user {
    char *name;
    char *hash;                         /* the line's second field */
    bool verified;
    uint8_t mac[USERS_MAC_BYTES];       /* of the password that was right for this hash */
    struct identity *who;               /* NULL until the first login */
    UT_hash_handle hh;
};

/* A password check under way; the same one asked for again waits for it. */
struct checking {
    uint8_t mac[USERS_MAC_BYTES];
    bool done, right;
    unsigned refs;
    struct checking *next;
};

struct users {
    struct identities *ids;
    char *path;
    uint8_t key[IDENTITY_KEY_BYTES];    /* of this process */

    pthread_rwlock_t lock;              /* guards table and dummy */
    struct user *table;
    struct user *dummy;                 /* its hash is computed for users that are not there */
    uint64_t generation;                /* atomic */
    bool any;                           /* atomic: the table is not empty */

    pthread_mutex_t check_lock;         /* guards checks and hashing */
    pthread_cond_t check_done;
    struct checking *checks;
    unsigned hashing, hashing_max;      /* threads that compute a hash now, and may */
    unsigned waiting;                   /* threads that wait to compute one */
    /* Of passwords and the hashes that they were right for, at the place that their first bytes
     * name: the next login costs no hash. */
    uint8_t right[USERS_REMEMBERED][USERS_MAC_BYTES];

    pthread_mutex_t watch_lock;         /* guards all below */
    struct stat seen;                   /* of the file as it was read */
    uint8_t text_mac[USERS_MAC_BYTES];  /* of what was read */
    bool missing;                       /* it was not there */
    bool unsure;                        /* read so soon after its mtime that it may change unseen */
    struct stat pending;                /* changed, but the edit has not ended as far as we know */
    int64_t pending_ms;                 /* since when; 0: none */
    int inotify, file_watch, folder_watch;
    int wake;                           /* eventfd: the thread shall end */
    int64_t looked_tick;                /* atomic; the clock's tick of the last look */
    bool looking;                       /* atomic; a thread is at it */
    pthread_t thread;
    bool started, stop;                 /* stop is atomic */
};

/* Replaces the table by what the text holds; passwords verified for the same line stay so. */
void users_take(struct users *u, struct slice text);
/* Keyed BLAKE2b over the parts, each behind its length. */
void users_mac(const struct users *u, const struct slice *parts, size_t n,
               uint8_t ret[USERS_MAC_BYTES]);
/* Looks whether the file was edited, and reads it if so. Cheap. `now`: look in any case, else only
 * if inotify has something, or the clock has ticked since the last look. */
void users_look(struct users *u, bool now);
int users_watch_start(struct users *u);
void users_watch_stop(struct users *u);

#endif
