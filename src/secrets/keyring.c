#include "secrets/keyring.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/keyring_internal.h"
#include "secrets/lockmem.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define FORMAT      2 /* Vault's barrier: 2 means that the row's key is authenticated too */
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define AAD_MAX     512
/* Counted ahead, so that a restart costs one row and no write is ever missed. */
#define RESERVE (UINT64_C(1) << 24)

struct keyring *keyring_new(struct store *store)
{
    struct keyring *k = xcalloc(1, sizeof *k);

    k->store = store;
    k->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (k->gcm == NULL || sodium_init() < 0)
        abort(); /* a libcrypto without AES, or no randomness: nothing can be promised */
    pthread_mutex_init(&k->lock, NULL);
    pthread_mutex_init(&k->change, NULL);
    return k;
}

static void cipher_free(struct cipher *c)
{
    EVP_CIPHER_CTX_free(c->ctx); /* wipes the expanded key */
    free(c);
}

void keyring_seal(struct keyring *k)
{
    guard(&k->lock);

    k->epoch++;
    for (size_t i = 0; i < k->n_terms; i++) {
        for (int way = 0; way < 2; way++) {
            while (k->terms[i].idle[way] != NULL) {
                struct cipher *c = k->terms[i].idle[way];

                k->terms[i].idle[way] = c->next;
                cipher_free(c);
            }
        }
    }
    k->n_terms = 0;
    lockmem_free(k->keys, sizeof *k->keys);
    k->keys = NULL;
}

void keyring_free(struct keyring *k)
{
    if (k == NULL)
        return;
    keyring_seal(k);
    EVP_CIPHER_free(k->gcm);
    pthread_mutex_destroy(&k->lock);
    pthread_mutex_destroy(&k->change);
    free(k);
}

bool keyring_is_sealed(struct keyring *k)
{
    guard(&k->lock);

    return k->keys == NULL;
}

void keyring_id(struct keyring *k, uint8_t ret[KEYRING_ID_BYTES])
{
    guard(&k->lock);

    memcpy(ret, k->id, KEYRING_ID_BYTES);
}

int keyring_exists(struct keyring *k)
{
    autoseal seal = {0};
    int r = keyring_rows_load_seal(k, &seal);

    return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

int keyring_get_form(struct keyring *k, struct keyring_form *ret)
{
    autoseal seal = {0};
    int r = keyring_rows_load_seal(k, &seal);

    if (r == 0)
        *ret = seal.form;
    return r;
}

int keyring_fits(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES])
{
    uint8_t root[KEYRING_KEY_BYTES], id[KEYRING_ID_BYTES];
    autoseal seal = {0};
    int r = keyring_rows_load_seal(k, &seal);

    if (r == 0)
        r = keyring_rows_unwrap_root(k, &seal, unseal, root, id);
    explicit_bzero(root, sizeof root);
    return r;
}

/* The template that keyring_blind copies. */
static void key_names(struct keys *keys)
{
    crypto_generichash_init(&keys->names_state, keys->names, sizeof keys->names,
                            KEYRING_BLIND_BYTES);
}

/* Puts new keys in force. Takes keys. */
static void install(struct keyring *k, struct keys *keys, const struct term_set *set, uint64_t used)
{
    guard(&k->lock);

    memcpy(k->terms, set->list, set->n * sizeof *set->list);
    k->n_terms = set->n;
    k->used = used;
    k->reserved = set->reserved;
    k->schedule = set->schedule;
    k->keys = keys;
}

int keyring_init(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES],
                 const struct keyring_form *form)
{
    struct keys *keys = lockmem_new(sizeof *keys);
    struct term first = {.number = 1, .installed_unix_ns = clock_unix_ns()};
    struct term_set set = {&first, 1, RESERVE, KEYRING_SCHEDULE_DEFAULT};
    struct keyring_wrap wrap = {unseal, {FORM_KEY, 1, 1, {0}, 0, 0}, true};
    int r;

    if (form != NULL)
        wrap.form = *form;
    guard(&k->change);
    r = keyring_exists(k);
    if (r == 1)
        r = -EEXIST;
    else if (r == 0)
        r = -EIO;
    if (r == -EIO && RAND_bytes(keys->root, sizeof keys->root) == 1 &&
        RAND_bytes(keys->names, sizeof keys->names) == 1 &&
        RAND_bytes(keys->terms[0], KEYRING_KEY_BYTES) == 1 && RAND_bytes(k->id, sizeof k->id) == 1)
        r = keyring_rows_store(k, keys, &set, &wrap);
    if (r < 0) {
        lockmem_free(keys, sizeof *keys);
        return r;
    }
    key_names(keys);
    install(k, keys, &set, 0);
    return 0;
}

int keyring_unseal(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES])
{
    struct keys *keys = lockmem_new(sizeof *keys);
    autofree struct term *terms = xcalloc(TERMS_MAX, sizeof *terms);
    struct term_set set = {.list = terms};
    autoseal seal = {0};
    int r;

    guard(&k->change);
    r = keyring_rows_load_seal(k, &seal);
    if (r == 0)
        r = keyring_rows_unwrap_root(k, &seal, unseal, keys->root, k->id);
    if (r == 0)
        r = keyring_rows_load_terms(k, keys, &set);
    if (r < 0 || !keyring_is_sealed(k)) {
        lockmem_free(keys, sizeof *keys);
        return r;
    }
    key_names(keys);
    install(k, keys, &set, set.reserved);
    return 0;
}

/* A lent cipher: it goes back with cipher_return. */
struct lent {
    struct cipher *cipher;
    unsigned epoch;
    uint32_t number;
};

static struct term *find_term(struct keyring *k, uint32_t number, size_t *ret_index)
{
    for (size_t i = k->n_terms; i-- > 0;) {
        if (k->terms[i].number == number) {
            *ret_index = i;
            return &k->terms[i];
        }
    }
    return NULL;
}

static struct cipher *cipher_new(struct keyring *k, const uint8_t *key, bool encrypts)
{
    struct cipher *c = xcalloc(1, sizeof *c);

    c->ctx = EVP_CIPHER_CTX_new();
    if (c->ctx == NULL || EVP_CipherInit_ex2(c->ctx, k->gcm, key, NULL, encrypts, NULL) != 1) {
        cipher_free(c);
        return NULL;
    }
    return c;
}

/* Called with the lock. */
static int lend(struct keyring *k, struct term *term, size_t index, bool encrypts, struct lent *ret)
{
    struct cipher *c = term->idle[encrypts];

    if (c != NULL)
        term->idle[encrypts] = c->next;
    else
        c = cipher_new(k, k->keys->terms[index], encrypts);
    if (c == NULL)
        return -EIO;
    *ret = (struct lent){.cipher = c, .epoch = k->epoch, .number = term->number};
    return 0;
}

static void cipher_return(struct keyring *k, struct lent *l, bool encrypts)
{
    size_t index = 0;
    struct term *term;

    guard(&k->lock);
    term = k->epoch == l->epoch ? find_term(k, l->number, &index) : NULL;
    if (term == NULL) {
        cipher_free(l->cipher);
        return;
    }
    l->cipher->next = term->idle[encrypts];
    term->idle[encrypts] = l->cipher;
}

/* Is the last term to be followed by another? Called with the lock. Beyond TERMS_MAX terms only
 * what must be is done. */
static bool is_due(const struct keyring *k)
{
    const struct keyring_schedule *s = &k->schedule;
    int64_t installed = k->terms[k->n_terms - 1].installed_unix_ns;

    if (k->used >= KEYRING_OPERATIONS_MAX)
        return true;
    if (!s->enabled || k->n_terms == TERMS_MAX)
        return false;
    return k->used >= s->max_operations ||
           (s->interval_s > 0 && clock_unix_ns() - installed >= s->interval_s * 1000000000);
}

/* How far the count of the last term is written ahead: not past where it ends. */
static uint64_t next_reserve(uint64_t reserved, const struct keyring_schedule *schedule)
{
    uint64_t end = schedule->enabled ? schedule->max_operations : KEYRING_OPERATIONS_MAX;
    uint64_t step = end / 16 < RESERVE ? end / 16 : RESERVE;

    if (reserved < end)
        return reserved + step < end ? reserved + step : end;
    return reserved + RESERVE < KEYRING_OPERATIONS_MAX ? reserved + RESERVE
                                                       : KEYRING_OPERATIONS_MAX;
}

/* The last term's cipher. 1: the reserve is used up or the term's end has come, call reserve()
 * first. */
static int lend_current(struct keyring *k, struct lent *ret)
{
    guard(&k->lock);

    if (k->keys == NULL)
        return -ESHUTDOWN;
    if (k->used >= k->reserved || is_due(k))
        return 1;
    k->used++;
    return lend(k, &k->terms[k->n_terms - 1], k->n_terms - 1, true, ret);
}

/* A private copy of the keys, to store them without the lock. NULL: sealed. Returns new; set->list
 * is new too. */
static struct keys *copy_keys(struct keyring *k, struct term_set *set)
{
    struct keys *keys = lockmem_new(sizeof *keys);

    *set = (struct term_set){.list = xcalloc(TERMS_MAX, sizeof *set->list)};
    guard(&k->lock);
    if (k->keys == NULL) {
        lockmem_free(keys, sizeof *keys);
        return NULL;
    }
    memcpy(keys, k->keys, sizeof *keys);
    for (size_t i = 0; i < k->n_terms; i++)
        set->list[i] =
            (struct term){k->terms[i].number, k->terms[i].installed_unix_ns, {NULL, NULL}};
    set->n = k->n_terms;
    set->reserved = k->reserved;
    set->schedule = k->schedule;
    return keys;
}

static int add_term(struct keys *keys, struct term_set *set)
{
    if (set->n == TERMS_MAX)
        return -EOVERFLOW;
    set->list[set->n] = (struct term){
        .number = set->list[set->n - 1].number + 1,
        .installed_unix_ns = clock_unix_ns(),
    };
    return RAND_bytes(keys->terms[set->n++], KEYRING_KEY_BYTES) == 1 ? 0 : -EIO;
}

/* What changes, in the store and then in force: a term more, the next reserve, another root key,
 * another schedule. Called with `change`. */
enum advance { ADVANCE_RESERVE, ADVANCE_TERM, ADVANCE_ROOT, ADVANCE_SCHEDULE };

static void put_in_force(struct keyring *k, enum advance what, const struct keys *keys,
                         const struct term_set *set)
{
    size_t last = set->n - 1;

    k->reserved = set->reserved;
    k->schedule = set->schedule;
    memcpy(k->keys->root, keys->root, sizeof keys->root);
    if (what != ADVANCE_TERM)
        return;
    memcpy(k->keys->terms[last], keys->terms[last], KEYRING_KEY_BYTES);
    k->terms[last] = set->list[last];
    k->n_terms = set->n;
    k->used = 0;
}

static int advance(struct keyring *k, enum advance what, const struct keyring_schedule *schedule,
                   const struct keyring_wrap *wrap)
{
    struct term_set set;
    struct keys *keys = copy_keys(k, &set);
    autofree struct term *list = set.list;
    int r = 0;

    if (keys == NULL)
        return -ESHUTDOWN;
    if (schedule != NULL)
        set.schedule = *schedule;
    if (what == ADVANCE_RESERVE || what == ADVANCE_TERM)
        set.reserved = next_reserve(what == ADVANCE_TERM ? 0 : set.reserved, &set.schedule);
    if (what == ADVANCE_TERM)
        r = add_term(keys, &set);
    if (what == ADVANCE_ROOT)
        r = RAND_bytes(keys->root, sizeof keys->root) == 1 ? 0 : -EIO;
    if (r == 0)
        r = keyring_rows_store(k, keys, &set, wrap);
    pthread_mutex_lock(&k->lock);
    if (r == 0 && k->keys == NULL)
        r = -ESHUTDOWN;
    if (r == 0)
        put_in_force(k, what, keys, &set);
    pthread_mutex_unlock(&k->lock);
    lockmem_free(keys, sizeof *keys);
    return r;
}

int keyring_rotate(struct keyring *k)
{
    guard(&k->change);

    return advance(k, ADVANCE_TERM, NULL, NULL);
}

int keyring_rekey(struct keyring *k, const uint8_t unseal[KEYRING_KEY_BYTES],
                  const struct keyring_form *form)
{
    struct keyring_wrap wrap = {unseal, *form, false};

    guard(&k->change);
    return advance(k, ADVANCE_ROOT, NULL, &wrap);
}

int keyring_get_schedule(struct keyring *k, struct keyring_schedule *ret)
{
    guard(&k->lock);

    *ret = k->schedule;
    return k->keys != NULL ? 0 : -ESHUTDOWN;
}

int keyring_set_schedule(struct keyring *k, const struct keyring_schedule *schedule)
{
    guard(&k->change);

    return advance(k, ADVANCE_SCHEDULE, schedule, NULL);
}

static int reserve(struct keyring *k)
{
    bool full, needed;

    guard(&k->change);
    pthread_mutex_lock(&k->lock);
    full = k->keys != NULL && is_due(k); /* unless another thread has done it */
    needed = full || (k->keys != NULL && k->used >= k->reserved);
    pthread_mutex_unlock(&k->lock);
    return needed ? advance(k, full ? ADVANCE_TERM : ADVANCE_RESERVE, NULL, NULL) : 0;
}

int keyring_status(struct keyring *k, struct keyring_status *ret)
{
    const struct term *last;

    guard(&k->lock);
    if (k->keys == NULL)
        return -ESHUTDOWN;
    last = &k->terms[k->n_terms - 1];
    *ret = (struct keyring_status){last->number, last->installed_unix_ns, k->used};
    return 0;
}

/* Length-prefixed, so that no two pairs give the same bytes. */
static int make_aad(struct slice part, struct slice key, uint8_t aad[AAD_MAX], int *ret_len)
{
    if (part.len + key.len + 4 > AAD_MAX)
        return -EINVAL;
    be32_put(aad, (uint32_t)part.len);
    memcpy(aad + 4, part.data, part.len);
    memcpy(aad + 4 + part.len, key.data, key.len);
    *ret_len = (int)(4 + part.len + key.len);
    return 0;
}

int keyring_encrypt(struct keyring *k, struct slice part, struct slice key, struct slice plain,
                    struct buf *out)
{
    uint8_t aad[AAD_MAX];
    struct lent l = {0};
    int aad_len = 0, n = 0;
    uint8_t *p;
    int r = make_aad(part, key, aad, &aad_len);

    while (r == 0 && (r = lend_current(k, &l)) == 1)
        r = reserve(k);
    if (r < 0)
        return r;
    buf_reserve(out, plain.len + KEYRING_OVERHEAD_BYTES);
    p = (uint8_t *)out->data + out->len;
    be32_put(p, l.number);
    p[4] = FORMAT;
    if (RAND_bytes(p + 5, NONCE_BYTES) != 1 ||
        EVP_EncryptInit_ex2(l.cipher->ctx, NULL, NULL, p + 5, NULL) != 1 ||
        EVP_EncryptUpdate(l.cipher->ctx, NULL, &n, aad, aad_len) != 1 ||
        EVP_EncryptUpdate(l.cipher->ctx, p + 17, &n, plain.data, (int)plain.len) != 1 ||
        EVP_EncryptFinal_ex(l.cipher->ctx, p + 17 + n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(l.cipher->ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, p + 17 + plain.len) !=
            1)
        r = -EIO;
    else
        out->len += plain.len + KEYRING_OVERHEAD_BYTES;
    cipher_return(k, &l, true);
    return r;
}

static int lend_numbered(struct keyring *k, uint32_t number, struct lent *ret)
{
    size_t index = 0;
    struct term *term;

    guard(&k->lock);
    if (k->keys == NULL)
        return -ESHUTDOWN;
    term = find_term(k, number, &index);
    return term != NULL ? lend(k, term, index, false, ret) : -EIO;
}

int keyring_decrypt(struct keyring *k, struct slice part, struct slice key, struct slice record,
                    void *ret)
{
    const uint8_t *p = record.data;
    uint8_t aad[AAD_MAX];
    OSSL_PARAM params[2];
    struct lent l = {0};
    size_t len = record.len - KEYRING_OVERHEAD_BYTES;
    int aad_len = 0, n = 0;
    int r = make_aad(part, key, aad, &aad_len);

    if (r < 0)
        return r;
    if (record.len < KEYRING_OVERHEAD_BYTES || p[4] != FORMAT)
        return keyring_is_sealed(k) ? -ESHUTDOWN : -EIO;
    r = lend_numbered(k, be32_get(p), &l);
    if (r < 0)
        return r;
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG,
                                                  (void *)(uintptr_t)(p + 17 + len), TAG_BYTES);
    params[1] = OSSL_PARAM_construct_end();
    if (EVP_DecryptInit_ex2(l.cipher->ctx, NULL, NULL, p + 5, params) != 1 ||
        EVP_DecryptUpdate(l.cipher->ctx, NULL, &n, aad, aad_len) != 1 ||
        EVP_DecryptUpdate(l.cipher->ctx, ret, &n, p + 17, (int)len) != 1 ||
        EVP_DecryptFinal_ex(l.cipher->ctx, (uint8_t *)ret + n, &n) != 1) {
        explicit_bzero(ret, len);
        r = -EIO;
    }
    cipher_return(k, &l, false);
    return r;
}

int keyring_blind(struct keyring *k, struct slice scope, uint8_t kind, struct slice name,
                  uint8_t ret[KEYRING_BLIND_BYTES])
{
    crypto_generichash_state state;

    pthread_mutex_lock(&k->lock);
    if (k->keys == NULL) {
        pthread_mutex_unlock(&k->lock);
        return -ESHUTDOWN;
    }
    memcpy(&state, &k->keys->names_state, sizeof state);
    pthread_mutex_unlock(&k->lock);
    crypto_generichash_update(&state, scope.data, scope.len); /* of one length everywhere */
    crypto_generichash_update(&state, &kind, 1);
    crypto_generichash_update(&state, name.data, name.len);
    crypto_generichash_final(&state, ret, KEYRING_BLIND_BYTES);
    explicit_bzero(&state, sizeof state);
    return 0;
}
