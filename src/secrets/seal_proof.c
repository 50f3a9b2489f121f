/* seal_proof.c: what is done for who shows the unseal key: another key, another root token. */
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "config.h"
#include "secrets/seal_internal.h"
#include "secrets/unseal.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#define ROOT_IDLE_MS (60 * 60 * 1000)

/* A piece of the present unseal key. 1: it was shown; 0: more are needed. */
static int prove(struct secrets *s, struct op *op, struct gather *g, struct slice piece)
{
    uint8_t key[KEYRING_KEY_BYTES];
    struct keyring_form form = {0};
    int r = keyring_get_form(s->keyring, &form);

    if (r == 0)
        r = check_pause(s, op, &form);
    if (r == 0)
        r = gather_add(op, g, &form, piece, key);
    if (r == 1) {
        r = keyring_fits(s->keyring, key);
        explicit_bzero(key, sizeof key);
        if (r == -EBADMSG) {
            s->seal->wrong_ms = clock_monotonic_ms();
            return op_fail(op, EINVAL, "the unseal key does not fit: begin again with the first");
        }
        return r < 0 ? r : 1;
    }
    return r;
}

static int check_nonce(struct op *op, const char *what, const char *is, const char *given)
{
    if (given != NULL && strcmp(is, given) == 0)
        return 0;
    return op_fail(op, EINVAL, "incorrect nonce supplied; nonce for this %s operation is \"%s\"",
                   what, is);
}

int rekey_get_status(struct secrets *s, struct rekey_status *ret)
{
    const struct rekey *k = &s->seal->rekey;
    struct keyring_form form = {0};
    int r = keyring_get_form(s->keyring, &form);

    guard(&s->seal->lock);
    *ret = (struct rekey_status){
        .started = k->started,
        .verifies = k->verifies,
        .shares = k->form.shares,
        .threshold = k->form.threshold,
        .progress = k->present.n,
        .verify_progress = k->shown.n,
        .required = form.threshold,
    };
    memcpy(ret->nonce, k->nonce, sizeof ret->nonce);
    memcpy(ret->verify_nonce, k->verify_nonce, sizeof ret->verify_nonce);
    return r;
}

static bool is_by_key(const struct secrets *s)
{
    return !unseal_by_people(s->config->unseal);
}

int rekey_begin(struct secrets *s, struct op *op, const struct seal_wish *wish, bool verifies)
{
    struct rekey *k = &s->seal->rekey;
    struct keyring_form form;
    int r;

    guard(&s->seal->lock);
    if (k->started)
        return op_fail(op, EINVAL, "rekey already in progress");
    r = wish_form(op, wish, is_by_key(s), &form);
    if (r < 0)
        return r;
    *k = (struct rekey){.started = true, .verifies = verifies, .form = form};
    nonce_make(k->nonce);
    if (form.kind == FORM_PASSPHRASE) {
        k->key = lockmem_new(KEYRING_KEY_BYTES);
        r = wish_key(op, wish, &form, k->key);
    }
    if (r < 0)
        rekey_drop(k);
    return r;
}

void rekey_cancel(struct secrets *s)
{
    guard(&s->seal->lock);

    rekey_drop(&s->seal->rekey);
}

/* Puts the new key in force. A keyfile is replaced with it; no other place can be written here. */
static int put_in_force(struct secrets *s, struct op *op)
{
    const struct rekey *k = &s->seal->rekey;
    const char *file =
        strncmp(s->config->unseal, "keyfile:", 8) == 0 ? s->config->unseal + 8 : NULL;
    bool to_file = file != NULL && k->form.kind == FORM_KEY;
    int r = to_file ? unseal_keyfile_stage(op, file, k->key) : 0;

    if (r < 0)
        return r;
    r = keyring_rekey(s->keyring, k->key, &k->form);
    if (r < 0)
        op_fail(op, -r, "the keyring was not stored: %s", strerror(-r));
    if (to_file && (unseal_keyfile_settle(op, file, r == 0) < 0) && r == 0)
        log_event(LOG_WARN, op, "secrets.keyfile_rename", "why=%s", op_why(op, -EIO));
    if (r == 0)
        log_event(LOG_INFO, op, "secrets.rekeyed", "shares=%u threshold=%u", k->form.shares,
                  k->form.threshold);
    if (r == 0 && is_by_key(s) && !to_file)
        log_event(LOG_WARN, op, "secrets.unseal_method",
                  "why=the configured key opens nothing any more: give the new one, or configure "
                  "'unseal: shamir' or 'unseal: passphrase'");
    return r;
}

int rekey_update(struct secrets *s, struct op *op, const char *nonce, struct slice piece,
                 struct shares *ret)
{
    struct rekey *k = &s->seal->rekey;
    int r;

    guard(&s->seal->lock);
    *ret = (struct shares){0};
    if (!k->started)
        return op_fail(op, EINVAL, "no rekey in progress");
    r = check_nonce(op, "rekey", k->nonce, nonce);
    if (r == 0 && k->verify_nonce[0] != 0)
        return op_fail(op, EINVAL, "the new key waits to be verified");
    if (r == 0)
        r = prove(s, op, &k->present, piece);
    if (r <= 0)
        return r;
    if (k->key == NULL) {
        k->key = lockmem_new(KEYRING_KEY_BYTES);
        randombytes_buf(k->key, KEYRING_KEY_BYTES);
    }
    if (k->verifies) {
        shares_make(op, k->key, &k->form, ret);
        nonce_make(k->verify_nonce);
        return 1;
    }
    r = put_in_force(s, op);
    if (r == 0)
        shares_make(op, k->key, &k->form, ret);
    rekey_drop(k);
    return r < 0 ? r : 1;
}

int rekey_verify(struct secrets *s, struct op *op, const char *nonce, struct slice piece)
{
    struct rekey *k = &s->seal->rekey;
    uint8_t key[KEYRING_KEY_BYTES];
    int r;

    guard(&s->seal->lock);
    if (k->verify_nonce[0] == 0)
        return op_fail(op, EINVAL, "no rekey verification in progress");
    r = check_nonce(op, "verify", k->verify_nonce, nonce);
    if (r == 0)
        r = check_pause(s, op, &k->form);
    if (r == 0)
        r = gather_add(op, &k->shown, &k->form, piece, key);
    if (r <= 0)
        return r;
    r = sodium_memcmp(key, k->key, sizeof key) == 0 ? 0 : -EINVAL;
    explicit_bzero(key, sizeof key);
    if (r < 0) {
        nonce_make(k->verify_nonce);
        return op_fail(op, EINVAL, "rekey verification failed; incorrect key shares supplied");
    }
    r = put_in_force(s, op);
    rekey_drop(k);
    return r < 0 ? r : 1;
}

int rekey_verify_restart(struct secrets *s, struct op *op)
{
    struct rekey *k = &s->seal->rekey;

    guard(&s->seal->lock);
    if (k->verify_nonce[0] == 0)
        return op_fail(op, EINVAL, "no rekey verification in progress");
    gather_reset(&k->shown);
    nonce_make(k->verify_nonce);
    return 0;
}

/* Anybody may begin one, as in Vault: so it does not last. Called with the lock. */
static struct root_attempt *root_now(struct secrets *s)
{
    struct root_attempt *a = &s->seal->root;

    if (a->started && clock_monotonic_ms() - a->touched_ms > ROOT_IDLE_MS)
        root_drop(a);
    return a;
}

int root_get_status(struct secrets *s, struct root_status *ret)
{
    struct keyring_form form = {0};
    int r = keyring_get_form(s->keyring, &form);
    const struct root_attempt *a;

    guard(&s->seal->lock);
    a = root_now(s);
    *ret = (struct root_status){
        .started = a->started,
        .progress = a->present.n,
        .required = form.threshold,
    };
    memcpy(ret->nonce, a->nonce, sizeof ret->nonce);
    return r;
}

static void make_otp(char otp[ROOT_TOKEN_BYTES + 1])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    for (unsigned i = 0; i < ROOT_TOKEN_BYTES; i++)
        otp[i] = letters[randombytes_uniform(sizeof letters - 1)];
    otp[ROOT_TOKEN_BYTES] = 0;
}

int root_begin(struct secrets *s, struct op *op, const char *otp, const char **ret_otp)
{
    struct root_attempt *a;

    guard(&s->seal->lock);
    a = root_now(s);
    if (a->started)
        return op_fail(op, EINVAL, "root generation already in progress");
    if (otp[0] != 0 && strlen(otp) != ROOT_TOKEN_BYTES)
        return op_fail(op, EINVAL, "OTP string has incorrect length");
    a->started = true;
    a->touched_ms = clock_monotonic_ms();
    nonce_make(a->nonce);
    if (otp[0] != 0)
        memcpy(a->otp, otp, sizeof a->otp);
    else
        make_otp(a->otp);
    op->wiped = true;
    *ret_otp = op_strdup(op, otp[0] != 0 ? "" : a->otp);
    return 0;
}

void root_cancel(struct secrets *s)
{
    guard(&s->seal->lock);

    root_drop(&s->seal->root);
}

static const char *encode_token(struct op *op, const char *token, const char *otp)
{
    char mixed[ROOT_TOKEN_BYTES];
    autobuf text = {0};

    for (unsigned i = 0; i < ROOT_TOKEN_BYTES; i++)
        mixed[i] = (char)(token[i] ^ otp[i]);
    base64_encode(&text, slice_of(mixed, sizeof mixed));
    while (text.len > 0 && text.data[text.len - 1] == '=')
        text.data[--text.len] = 0;
    return op_strdup(op, text.data);
}

int root_update(struct secrets *s, struct op *op, const char *nonce, struct slice piece,
                const char **ret_encoded)
{
    const char *token = NULL;
    struct root_attempt *a;
    int r;

    guard(&s->seal->lock);
    a = root_now(s);
    if (!a->started)
        return op_fail(op, EINVAL, "no root generation in progress");
    r = check_nonce(op, "root generation", a->nonce, nonce);
    if (r == 0)
        r = prove(s, op, &a->present, piece);
    a->touched_ms = clock_monotonic_ms();
    if (r <= 0)
        return r;
    r = root_token_make(s, op, "auth/token/root", &token);
    if (r == 0) {
        *ret_encoded = encode_token(op, token, a->otp);
        log_event(LOG_WARN, op, "secrets.root_token", "why=made for who showed the unseal key");
    }
    root_drop(a);
    return r < 0 ? r : 1;
}
