/* users.c: HTTP Basic against the user file: a password that was right costs a keyed hash, any
 * other costs what the file's hashes cost. */
#include "identity/users.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "identity/password.h"
#include "identity/userfile.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <sys/random.h>

#define LOGINS_WAITING_MAX 4u /* they hold threads that others need */

static const char *const team[] = {"default", "team", NULL};

static void free_user(struct user *user)
{
    identity_unref(user->who);
    explicit_bzero(user->mac, sizeof user->mac);
    free(user->name);
    free(user->hash);
    free(user);
}

static void free_table(struct user *table)
{
    struct user *user, *next;

    HASH_ITER(hh, table, user, next) {
        HASH_DEL(table, user);
        free_user(user);
    }
}

struct take {
    struct users *users;
    struct user *table;
};

/* The first line of a name counts, as with Apache. */
static int take_user(void *ctx, unsigned line, struct slice name, struct slice hash)
{
    struct take *take = ctx;
    struct user *user;

    HASH_FIND(hh, take->table, name.data, name.len, user);
    if (user != NULL) {
        log_line(LOG_WARN, NULL, "users.broken", "file=%s line=%u why=this user was given before",
                 take->users->path, line);
        return 0;
    }
    user = xcalloc(1, sizeof *user);
    user->name = xmemdup(name.data, name.len);
    user->hash = xmemdup(hash.data, hash.len);
    HASH_ADD_KEYPTR(hh, take->table, user->name, name.len, user);
    return 0;
}

static void take_bad(void *ctx, unsigned line, const char *reason)
{
    struct take *take = ctx;

    log_line(LOG_WARN, NULL, "users.broken", "file=%s line=%u why=%s", take->users->path, line,
             reason);
}

/* One of the kind (and cost) that most have. */
static struct user *pick_dummy(struct user *table)
{
    struct user *best = NULL;
    size_t best_count = 0, candidates = 0;

    for (struct user *a = table; a != NULL && candidates < 64; a = a->hh.next, candidates++) {
        size_t count = 0, looked = 0;

        for (struct user *b = table; b != NULL && looked < 1000; b = b->hh.next, looked++)
            count += strncmp(a->hash, b->hash, 6) == 0;
        if (count > best_count) {
            best = a;
            best_count = count;
        }
    }
    return best;
}

void users_take(struct users *u, struct slice text)
{
    struct take take = {.users = u};
    struct user *old;

    userfile_each(text, take_user, take_bad, &take);
    pthread_rwlock_wrlock(&u->lock);
    for (struct user *user = take.table; user != NULL; user = user->hh.next) {
        HASH_FIND_STR(u->table, user->name, old);
        if (old != NULL && old->who != NULL)
            user->who = identity_ref(old->who);
        if (old != NULL && old->verified && strcmp(old->hash, user->hash) == 0) {
            user->verified = true;
            memcpy(user->mac, old->mac, sizeof user->mac);
        }
    }
    old = u->table;
    u->table = take.table;
    u->dummy = pick_dummy(u->table);
    __atomic_store_n(&u->any, u->table != NULL, __ATOMIC_RELEASE);
    __atomic_add_fetch(&u->generation, 1, __ATOMIC_ACQ_REL);
    pthread_rwlock_unlock(&u->lock);
    log_line(LOG_INFO, NULL, "users.read", "file=%s users=%u", u->path, HASH_COUNT(take.table));
    free_table(old);
}

void users_mac(const struct users *u, const struct slice *parts, size_t n,
               uint8_t ret[USERS_MAC_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, u->key, sizeof u->key, USERS_MAC_BYTES);
    for (size_t i = 0; i < n; i++) {
        uint64_t len = parts[i].len;

        crypto_generichash_update(&state, (const uint8_t *)&len, sizeof len);
        crypto_generichash_update(&state, parts[i].data, parts[i].len);
    }
    crypto_generichash_final(&state, ret, USERS_MAC_BYTES);
}

static void mac_of(const struct users *u, struct slice user, struct slice password,
                   const char *hash, uint8_t ret[USERS_MAC_BYTES])
{
    users_mac(u, (struct slice[]){user, password, slice_str(hash)}, 3, ret);
}

/* Was this password right before, for the line as it is now? *ret_any: somebody is in the file. */
static struct identity *find_verified(struct users *u, struct slice name, struct slice password,
                                      bool *ret_any)
{
    uint8_t mac[USERS_MAC_BYTES];
    struct identity *who = NULL;
    struct user *user;

    pthread_rwlock_rdlock(&u->lock);
    *ret_any = u->table != NULL;
    HASH_FIND(hh, u->table, name.data, name.len, user);
    if (user != NULL && user->verified && user->who != NULL) {
        mac_of(u, name, password, user->hash, mac);
        if (sodium_memcmp(mac, user->mac, sizeof mac) == 0)
            who = identity_ref(user->who);
    }
    pthread_rwlock_unlock(&u->lock);
    return who;
}

/* The hash to compute: the user's, or for one who is not there another's. Returns new. */
static char *copy_hash(struct users *u, struct slice name, bool *ret_known)
{
    struct user *user;
    char *hash = NULL;

    pthread_rwlock_rdlock(&u->lock);
    HASH_FIND(hh, u->table, name.data, name.len, user);
    *ret_known = user != NULL;
    if (user == NULL)
        user = u->dummy;
    if (user != NULL)
        hash = xstrdup(user->hash);
    pthread_rwlock_unlock(&u->lock);
    return hash;
}

/* 1, 0, or -EBUSY if more than waiting_max threads wait to compute one. */
static int compute(struct users *u, const char *hash, struct slice password, unsigned waiting_max)
{
    bool right;

    pthread_mutex_lock(&u->check_lock);
    if (u->hashing >= u->hashing_max && u->waiting >= waiting_max) {
        pthread_mutex_unlock(&u->check_lock);
        return -EBUSY;
    }
    u->waiting++;
    while (u->hashing >= u->hashing_max)
        pthread_cond_wait(&u->check_done, &u->check_lock);
    u->waiting--;
    u->hashing++;
    pthread_mutex_unlock(&u->check_lock);
    right = password_verify(hash, password);
    pthread_mutex_lock(&u->check_lock);
    u->hashing--;
    pthread_cond_broadcast(&u->check_done);
    pthread_mutex_unlock(&u->check_lock);
    return right;
}

/* Of many requests that bring the same password at once, one computes. */
static bool check_once(struct users *u, struct slice name, const char *hash, struct slice password)
{
    uint8_t mac[USERS_MAC_BYTES];
    struct checking *c, **at;
    bool right;

    mac_of(u, name, password, hash, mac);
    pthread_mutex_lock(&u->check_lock);
    for (c = u->checks; c != NULL && memcmp(c->mac, mac, sizeof mac) != 0; c = c->next)
        ;
    if (c != NULL) {
        c->refs++;
        while (!c->done)
            pthread_cond_wait(&u->check_done, &u->check_lock);
    } else {
        c = xcalloc(1, sizeof *c);
        memcpy(c->mac, mac, sizeof mac);
        c->refs = 1;
        c->next = u->checks;
        u->checks = c;
        pthread_mutex_unlock(&u->check_lock);
        right = compute(u, hash, password, UINT_MAX) > 0; /* its callers have threads of their own */
        pthread_mutex_lock(&u->check_lock);
        c->right = right;
        c->done = true;
        for (at = &u->checks; *at != c; at = &(*at)->next)
            ;
        *at = c->next;
        pthread_cond_broadcast(&u->check_done);
    }
    right = c->right;
    if (--c->refs == 0)
        free(c);
    pthread_mutex_unlock(&u->check_lock);
    return right;
}

/* Remembers it, if the line is still the one that was checked; else NULL: check again. */
static struct identity *remember(struct users *u, struct slice name, const char *hash,
                                 struct slice password)
{
    autofree char *text = xmemdup(name.data, name.len);
    struct identity *fresh = identity_new_user(u->ids, text, team);
    struct identity *who = NULL;
    struct user *user;

    pthread_rwlock_wrlock(&u->lock);
    HASH_FIND(hh, u->table, name.data, name.len, user);
    if (user != NULL && strcmp(user->hash, hash) == 0) {
        if (user->who == NULL)
            user->who = take(fresh);
        mac_of(u, name, password, hash, user->mac);
        user->verified = true;
        who = identity_ref(user->who);
    }
    pthread_rwlock_unlock(&u->lock);
    identity_unref(fresh);
    return who;
}

/* An old hash is replaced now that the password is here: nobody has to be asked for it. */
static void upgrade(struct users *u, struct slice name, const char *hash, struct slice password)
{
    enum password_kind kind = password_kind_of(hash);
    autofree char *text = xmemdup(name.data, name.len), *fresh = NULL;
    autobuf why = {0};
    int r;

    if ((kind != PASSWORD_APR1 && kind != PASSWORD_SHA1) || users_hash(password, &fresh) < 0)
        return;
    r = userfile_edit(u->path, USERFILE_CHANGE, text, fresh, hash, &why);
    if (r == 0)
        users_reload(u->ids);
    if (r == 0)
        log_line(LOG_INFO, NULL, "users.upgraded", "user=%s from=%s", text,
                 password_kind_name(kind));
    else
        log_line(LOG_WARN, NULL, "users.not_upgraded", "user=%s why=%s", text,
                 why.len > 0 ? why.data : strerror(-r));
}

static int check_slow(struct users *u, struct op *op, struct slice name, struct slice password,
                      struct identity **ret)
{
    for (int tries = 0; tries < 5; tries++) {
        bool known = false;
        autofree char *hash = copy_hash(u, name, &known);
        struct identity *who;

        if (hash == NULL || !check_once(u, name, hash, password) || !known)
            break;
        who = remember(u, name, hash, password);
        if (who == NULL)
            continue;
        upgrade(u, name, hash, password);
        *ret = who;
        return 0;
    }
    return op_fail(op, EPERM, "wrong user or password");
}

int identity_basic(struct identities *ids, struct op *op, struct slice user, struct slice password,
                   unsigned flags, struct identity **ret)
{
    struct users *u = ids->users;
    struct identity *who;
    bool any;

    if (slice_eq(user, SLICE("__token__")))
        return identity_token(ids, op, password, ret);
    users_look(u, false);
    who = find_verified(u, user, password, &any);
    if (who == NULL) { /* what was just written counts before somebody is refused */
        users_look(u, true);
        who = find_verified(u, user, password, &any);
    }
    if (who != NULL) {
        *ret = who;
        return 0;
    }
    if (!any)
        return op_fail(op, EPERM, "no users yet: run 'infrafs user add NAME'");
    if (user.len == 0 || user.len > USER_NAME_MAX || password.len == 0 ||
        password.len > PASSWORD_MAX)
        return op_fail(op, EPERM, "wrong user or password");
    if (flags & IDENTITY_QUICK)
        return -EAGAIN;
    return check_slow(u, op, user, password, ret);
}

static int refuse_busy(struct op *op)
{
    return op_fail(op, EBUSY, "too many logins at this moment; try again");
}

/* 0 if the password was right for this very hash before, or is now. */
static int verify_hash(struct users *u, struct op *op, const char *hash, struct slice password)
{
    uint8_t mac[USERS_MAC_BYTES], *place;
    bool known;
    int r;

    users_mac(u, (struct slice[]){password, slice_str(hash)}, 2, mac);
    place = u->right[(mac[0] | (unsigned)mac[1] << 8) % USERS_REMEMBERED];
    pthread_mutex_lock(&u->check_lock);
    known = sodium_memcmp(place, mac, sizeof mac) == 0;
    pthread_mutex_unlock(&u->check_lock);
    if (known)
        return 0;
    r = compute(u, hash, password, LOGINS_WAITING_MAX);
    if (r < 0)
        return refuse_busy(op);
    if (r == 0)
        return op_fail(op, EPERM, "wrong user or password");
    pthread_mutex_lock(&u->check_lock);
    memcpy(place, mac, sizeof mac);
    pthread_mutex_unlock(&u->check_lock);
    return 0;
}

static int verify_known(struct users *u, struct op *op, struct slice user, const char *hash,
                        struct slice password)
{
    int r = verify_hash(u, op, hash, password);

    if (r == 0)
        upgrade(u, user, hash, password);
    return r;
}

int users_verify(struct identities *ids, struct op *op, struct slice user, struct slice password)
{
    struct users *u = ids->users;
    autofree char *hash = NULL;
    bool known;
    int r;

    users_look(u, true);
    hash = copy_hash(u, user, &known);
    if (hash == NULL)
        return op_fail(op, EPERM, "no users yet: run 'infrafs user add NAME'");
    if (password.len == 0 || password.len > PASSWORD_MAX)
        return op_fail(op, EPERM, "wrong user or password");
    if (known)
        return verify_known(u, op, user, hash, password);
    r = compute(u, hash, password, LOGINS_WAITING_MAX);
    return r < 0 ? refuse_busy(op) : op_fail(op, EPERM, "wrong user or password");
}

int users_verify_hash(struct identities *ids, struct op *op, const char *hash,
                      struct slice password)
{
    if (password.len == 0 || password.len > PASSWORD_MAX)
        return op_fail(op, EPERM, "wrong user or password");
    return verify_hash(ids->users, op, hash, password);
}

bool users_any(struct identities *ids)
{
    return __atomic_load_n(&ids->users->any, __ATOMIC_ACQUIRE);
}

bool users_know(struct identities *ids, const char *name)
{
    struct users *u = ids->users;
    struct user *user;

    pthread_rwlock_rdlock(&u->lock);
    HASH_FIND_STR(u->table, name, user);
    pthread_rwlock_unlock(&u->lock);
    return user != NULL;
}

struct identity *users_find(struct identities *ids, const char *name, char **ret_hash)
{
    struct users *u = ids->users;
    struct identity *who = NULL;
    struct user *user;

    users_look(u, false);
    pthread_rwlock_rdlock(&u->lock);
    HASH_FIND_STR(u->table, name, user);
    if (user != NULL) {
        *ret_hash = xstrdup(user->hash);
        who = user->who != NULL ? identity_ref(user->who) : NULL;
    }
    pthread_rwlock_unlock(&u->lock);
    if (user == NULL)
        return NULL;
    return who != NULL ? who : identity_new(ids, IDENTITY_USER, name, team, "", "");
}

uint64_t users_generation(struct identities *ids)
{
    users_look(ids->users, false);
    return __atomic_load_n(&ids->users->generation, __ATOMIC_ACQUIRE);
}

const char *users_path(struct identities *ids)
{
    return ids->users->path;
}

int users_open(struct identities *ids, struct buf *why)
{
    struct users *u = xcalloc(1, sizeof *u);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int r;

    ids->users = u;
    u->ids = ids;
    u->path = xstrdup(ids->config->users);
    u->inotify = u->wake = -1;
    u->hashing_max = cores > 2 ? (unsigned)cores - 1 : 2;
    pthread_rwlock_init(&u->lock, NULL);
    pthread_mutex_init(&u->check_lock, NULL);
    pthread_mutex_init(&u->watch_lock, NULL);
    pthread_cond_init(&u->check_done, NULL);
    if (sodium_init() < 0 || getrandom(u->key, sizeof u->key, 0) != (ssize_t)sizeof u->key)
        return -EIO;
    r = users_watch_start(u);
    if (r < 0)
        buf_printf(why, "user file '%s': %s", u->path, strerror(-r));
    return r;
}

void users_close(struct identities *ids)
{
    struct users *u = ids->users;

    if (u == NULL)
        return;
    users_watch_stop(u);
    free_table(u->table);
    pthread_rwlock_destroy(&u->lock);
    pthread_mutex_destroy(&u->check_lock);
    pthread_mutex_destroy(&u->watch_lock);
    pthread_cond_destroy(&u->check_done);
    explicit_bzero(u->key, sizeof u->key);
    free(u->path);
    free(u);
    ids->users = NULL;
}
