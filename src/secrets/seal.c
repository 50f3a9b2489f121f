#include "secrets/seal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "config.h"
#include "identity/tokens.h"
#include "secrets/seal_internal.h"
#include "secrets/shamir.h"
#include "secrets/unseal.h"

#include <errno.h>
#include <sodium.h>

#define WRONG_PAUSE_MS 1000

struct seal *seal_new(void)
{
    struct seal *seal = xcalloc(1, sizeof *seal);

    pthread_mutex_init(&seal->lock, NULL);
    return seal;
}

void rekey_drop(struct rekey *k)
{
    gather_reset(&k->present);
    gather_reset(&k->shown);
    lockmem_free(k->key, KEYRING_KEY_BYTES);
    *k = (struct rekey){0};
}

void root_drop(struct root_attempt *a)
{
    gather_reset(&a->present);
    explicit_bzero(a, sizeof *a);
}

static void drop_all(struct seal *seal)
{
    gather_reset(&seal->unseal);
    rekey_drop(&seal->rekey);
    root_drop(&seal->root);
}

void seal_free(struct seal *seal)
{
    if (seal == NULL)
        return;
    drop_all(seal);
    pthread_mutex_destroy(&seal->lock);
    free(seal);
}

void seal_forget(struct secrets *s)
{
    guard(&s->seal->lock);

    drop_all(s->seal);
}

int seal_get_status(struct secrets *s, struct seal_status *ret)
{
    int r;

    guard(&s->seal->lock);
    *ret = (struct seal_status){.sealed = secrets_is_sealed(s)};
    r = keyring_get_form(s->keyring, &ret->form);
    ret->initialized = r == 0;
    ret->progress = s->seal->unseal.n;
    memcpy(ret->nonce, s->seal->unseal.nonce, sizeof ret->nonce);
    return r == -ENOENT ? 0 : r;
}

int wish_form(struct op *op, const struct seal_wish *wish, bool by_key, struct keyring_form *ret)
{
    if (wish->passphrase.data != NULL) {
        if (wish->passphrase.len < PASSPHRASE_MIN || wish->passphrase.len > PASSPHRASE_MAX)
            return op_fail(op, EINVAL, "a passphrase has %u to %u bytes", PASSPHRASE_MIN,
                           PASSPHRASE_MAX);
        unseal_passphrase_form(ret);
        return 0;
    }
    if (wish->shares < 1)
        return op_fail(op, EINVAL, "invalid seal configuration: shares must be at least one");
    if (wish->threshold < 1)
        return op_fail(op, EINVAL, "invalid seal configuration: threshold must be at least one");
    if (wish->shares > SHAMIR_SHARES_MAX)
        return op_fail(op, EINVAL, "invalid seal configuration: shares must be less than 256");
    if (wish->shares > 1 && wish->threshold == 1)
        return op_fail(op, EINVAL,
                       "invalid seal configuration: threshold must be greater than one "
                       "for multiple shares");
    if (wish->threshold > wish->shares)
        return op_fail(op, EINVAL,
                       "invalid seal configuration: threshold cannot be larger than shares");
    *ret = (struct keyring_form){
        .kind = by_key && wish->shares == 1 ? FORM_KEY : FORM_SHARES,
        .shares = (uint8_t)wish->shares,
        .threshold = (uint8_t)wish->threshold,
    };
    return 0;
}

int wish_key(struct op *op, const struct seal_wish *wish, const struct keyring_form *form,
             uint8_t ret[KEYRING_KEY_BYTES])
{
    if (form->kind == FORM_PASSPHRASE) {
        int r = unseal_passphrase_key(form, wish->passphrase, ret);

        return r < 0 ? op_fail(op, -r, "the passphrase cannot be taken: %s", strerror(-r)) : 0;
    }
    randombytes_buf(ret, KEYRING_KEY_BYTES);
    return 0;
}

int root_token_make(struct secrets *s, struct op *op, const char *path, const char **ret)
{
    static const char *const root[] = {"root", NULL};
    struct token_wish wish = {
        .policies = root,
        .no_default_policy = true,
        .display_name = "root",
        .path = path,
        .lasting = true,
    };
    struct token_info info;

    return token_create(s->identities, op, &wish, ret, &info);
}

static int check_may_init(struct secrets *s, struct op *op, const struct seal_wish *wish)
{
    bool wants_passphrase = strcmp(s->config->unseal, "passphrase") == 0;
    int exists = keyring_exists(s->keyring);

    if (exists != 0)
        return exists < 0 ? exists : op_fail(op, EINVAL, "Vault is already initialized");
    if (!unseal_by_people(s->config->unseal))
        return op_fail(op, EINVAL,
                       "the daemon initializes itself at its start ('unseal: %.10s…' is "
                       "configured), see its log",
                       s->config->unseal);
    if (wants_passphrase && wish->passphrase.data == NULL)
        return op_fail(op, EINVAL, "'unseal: passphrase' is configured: 'infrafs unseal' sets it");
    if (!wants_passphrase && wish->passphrase.data != NULL)
        return op_fail(op, EINVAL,
                       "'unseal: shamir' is configured: 'bao operator init' makes shares");
    return 0;
}

/* The token first: should the daemon die in between, it is one that nobody has seen. */
int seal_init(struct secrets *s, struct op *op, const struct seal_wish *wish, struct shares *ret,
              const char **ret_token)
{
    uint8_t key[KEYRING_KEY_BYTES];
    struct keyring_form form;
    int r;

    guard(&s->seal->lock);
    r = check_may_init(s, op, wish);
    if (r == 0)
        r = wish_form(op, wish, false, &form);
    if (r == 0)
        r = wish_key(op, wish, &form, key);
    if (r == 0)
        r = root_token_make(s, op, "auth/token/root", ret_token);
    if (r == 0)
        r = keyring_init(s->keyring, key, &form);
    if (r == 0) {
        keyring_seal(s->keyring);
        secrets_explain(s);
        shares_make(op, key, &form, ret);
        log_event(LOG_INFO, op, "secrets.initialized", "shares=%u threshold=%u passphrase=%s",
                  form.shares, form.threshold, form.kind == FORM_PASSPHRASE ? "yes" : "no");
    }
    explicit_bzero(key, sizeof key);
    return r < 0 && op->why == NULL
               ? op_fail(op, -r, "the keyring was not stored: %s", strerror(-r))
               : r;
}

/* Argon2id costs 0.1 s, and anybody may ask: guesses come one a second. */
int check_pause(struct secrets *s, struct op *op, const struct keyring_form *form)
{
    if (form->kind == FORM_PASSPHRASE && s->seal->wrong_ms != 0 &&
        clock_monotonic_ms() - s->seal->wrong_ms < WRONG_PAUSE_MS)
        return op_fail(op, EBUSY, "a passphrase was wrong a moment ago; try again in a second");
    return 0;
}

int seal_unseal(struct secrets *s, struct op *op, struct slice piece)
{
    uint8_t key[KEYRING_KEY_BYTES];
    struct keyring_form form = {0};
    int r;

    guard(&s->seal->lock);
    if (!secrets_is_sealed(s))
        return 0; /* as Vault: there is nothing to open */
    r = keyring_get_form(s->keyring, &form);
    if (r == -ENOENT)
        return op_fail(op, EINVAL, "Vault is not initialized");
    if (r == 0)
        r = check_pause(s, op, &form);
    if (r == 0)
        r = gather_add(op, &s->seal->unseal, &form, piece, key);
    if (r <= 0)
        return r;
    r = secrets_unseal(s, op, key);
    explicit_bzero(key, sizeof key);
    if (r == -EBADMSG)
        s->seal->wrong_ms = clock_monotonic_ms();
    return r;
}

void seal_unseal_reset(struct secrets *s)
{
    guard(&s->seal->lock);

    gather_reset(&s->seal->unseal);
}
