/* token_state.h: the tokens in memory. Private to token*.c. */
#ifndef IDENTITY_TOKEN_STATE_H
#define IDENTITY_TOKEN_STATE_H

#include "identity/state.h"
#include "identity/tokens.h"

#include <uthash.h>

#define QUICK_BYTES 16
#define CACHE_MAX   16384u
#define TEXT_MAX    4096u
#define ID_ROOT     "root"

struct cached {
    uint8_t quick[QUICK_BYTES];
    char id[65];            /* of a batch token: its parent's, or "" */
    int64_t expire_unix_ms; /* 0: never */
    struct cidr *cidrs;     /* where it may be used from; NULL: anywhere */
    size_t n_cidrs;
    struct identity *who;
    UT_hash_handle hh;
};

struct tokens {
    struct identities *ids;
    uint8_t key[IDENTITY_KEY_BYTES]; /* of this process */
    struct cached root;              /* the token in the file */
    char root_accessor[25];
    int64_t started_unix_s;
    pthread_rwlock_t lock;           /* guards cache */
    struct cached *cache;
    pthread_mutex_t write_lock;      /* held while the rows of a token change */
    void (*on_end)(void *ctx, const char *id);
    void *on_end_ctx;
    struct token_sealer sealer;      /* guarded by write_lock */
    pthread_t thread;
    pthread_mutex_t sleep_lock; /* guards: stop, made */
    pthread_cond_t sleep;
    bool started, stop;
    bool made; /* one that may be the next to expire, since the sweeper looked */
};

void token_id_of(const struct tokens *t, struct slice text, char ret[65]);
void token_random(char *ret, size_t n);
int token_bad(struct op *op); /* -EPERM */
/* Batch tokens begin so. */
#define BATCH_PREFIX "b."
bool token_is_batch(struct slice text);
/* What a batch token says; its parent, if any, is alive. -EPERM. */
int token_batch_open(struct tokens *t, struct op *op, struct slice text, struct token_info *ret);
int token_batch_make(struct tokens *t, struct op *op, const struct token_info *info,
                     const char **ret_text);
/* Drops what is remembered of a token. */
void token_forget(struct tokens *t, const char *id);
/* The thread that ends what has expired. */
void *token_sweeper(void *arg);

#endif
