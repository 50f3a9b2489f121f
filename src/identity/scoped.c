/* scoped.c: see scoped.h. A token names its caller by kind, name, and a mark: of a user the MAC of
 * the line in the user file, of a token its accessor. */
#include "identity/scoped.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "identity/policy_rules.h"
#include "identity/state.h"
#include "identity/tokens.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/random.h>

/* base64url of {"alg":"HS256","typ":"JWT"} and a dot */
#define HEAD "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."

#define SKEW_S    60 /* a clock that was set back does not make a fresh token one of the future */
#define MARK_TEXT 65

static void sign(struct identities *ids, struct slice text, struct buf *out)
{
    uint8_t key[IDENTITY_KEY_BYTES], mac[32];

    salt_hmac(ids->salt, SLICE("scoped tokens, 1"), key);
    salt_hmac(key, text, mac);
    base64url_encode(out, slice_of(mac, sizeof mac));
    explicit_bzero(key, sizeof key);
}

static void mark_of_user(struct identities *ids, const char *name, const char *hash,
                         char ret[MARK_TEXT])
{
    autobuf text = {0};
    uint8_t mac[32];

    buf_printf(&text, "mark of user %zu:%s %s", strlen(name), name, hash);
    salt_hmac(ids->salt, buf_slice(&text), mac);
    hex_encode(slice_of(mac, sizeof mac), ret);
    buf_wipe(&text);
}

/* What a later request is compared with, in the op. -EINVAL: nothing is. */
static int mark_of(struct identities *ids, struct op *op, const struct identity *who,
                   const char **ret)
{
    struct identity *found;
    char mark[MARK_TEXT];
    char *hash = NULL;

    if (who->within != NULL)
        return op_fail(op, EINVAL, "a token does not make others; send a user and password");
    *ret = "";
    if (who->kind == IDENTITY_ANONYMOUS)
        return 0;
    if (identity_is_batch(who))
        return op_fail(op, EINVAL, "a batch token makes no others");
    if (who->kind == IDENTITY_TOKEN) {
        *ret = who->accessor;
        return 0;
    }
    found = users_find(ids, who->name, &hash);
    if (found == NULL)
        return op_fail(op, EINVAL, "'%s' is not a user of the file", who->name);
    mark_of_user(ids, who->name, hash, mark);
    *ret = op_strdup(op, mark);
    identity_unref(found);
    free(hash);
    return 0;
}

static void print_access(struct json *j, const struct scoped_access *access, size_t n)
{
    json_key(j, "access");
    json_array(j);
    for (size_t i = 0; i < n; i++) {
        json_object(j);
        json_kstr(j, "path", access[i].path);
        json_ku64(j, "rights", access[i].rights);
        json_object_end(j);
    }
    json_array_end(j);
}

static int issue(struct identities *ids, struct op *op, const struct identity *who, const char *use,
                 const struct scoped_access *access, size_t n, int64_t ttl_s, const char **ret)
{
    int64_t now = clock_unix_ms() / 1000;
    uint8_t random[12];
    char id[2 * sizeof random + 1];
    const char *mark;
    autobuf claims = {0};
    struct buf text = {0};
    struct json j;
    int r = mark_of(ids, op, who, &mark);

    if (r < 0)
        return r;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return -EIO;
    hex_encode(slice_of(random, sizeof random), id);
    json_init(&j, &claims);
    json_object(&j);
    json_kstr(&j, "iss", "infrafs");
    json_kstr(&j, "sub", who->name);
    json_ku64(&j, "kind", who->kind);
    json_kstr(&j, "use", use);
    json_kstr(&j, "mark", mark);
    json_ki64(&j, "iat", now);
    json_ki64(&j, "nbf", now);
    json_ki64(&j, "exp", now + ttl_s);
    json_kstr(&j, "jti", id);
    print_access(&j, access, n);
    json_object_end(&j);
    buf_add_str(&text, HEAD);
    base64url_encode(&text, buf_slice(&claims));
    claims.len = 0;
    sign(ids, buf_slice(&text), &claims);
    buf_add_char(&text, '.');
    buf_add_slice(&text, buf_slice(&claims));
    op->wiped = true;
    *ret = op_strndup(op, text.data, text.len);
    buf_wipe(&text);
    return 0;
}

int scoped_issue(struct identities *ids, struct op *op, const struct identity *who,
                 const struct scoped_access *access, size_t n, int64_t ttl_s, const char **ret)
{
    return issue(ids, op, who, "access", access, n, ttl_s, ret);
}

int scoped_issue_refresh(struct identities *ids, struct op *op, const struct identity *who,
                         int64_t ttl_s, const char **ret)
{
    if (who->kind == IDENTITY_ANONYMOUS)
        return op_fail(op, EINVAL, "nobody in particular needs no refresh token");
    return issue(ids, op, who, "refresh", NULL, 0, ttl_s, ret);
}

bool scoped_looks_like(struct slice token)
{
    return slice_starts(token, SLICE(HEAD));
}

/* Its claims, if it is ours; else NULL. */
static json_t *open_token(struct identities *ids, struct slice token)
{
    const char *dot = memrchr(token.data, '.', token.len);
    size_t signed_len = dot != NULL ? (size_t)(dot - (const char *)token.data) : 0;
    struct slice shown, body;
    autobuf mac = {0};
    autobuf text = {0};
    autobuf claims = {0};

    if (!scoped_looks_like(token) || signed_len < sizeof HEAD - 1)
        return NULL;
    sign(ids, slice_of(token.data, signed_len), &mac);
    shown = slice_skip(token, signed_len + 1);
    if (shown.len != mac.len || sodium_memcmp(shown.data, mac.data, mac.len) != 0)
        return NULL;
    body = slice_of((const char *)token.data + sizeof HEAD - 1, signed_len - (sizeof HEAD - 1));
    buf_add_slice(&text, body);
    for (size_t i = 0; i < text.len; i++)
        text.data[i] = text.data[i] == '-' ? '+' : text.data[i] == '_' ? '/' : text.data[i];
    while (text.len % 4 != 0)
        buf_add_char(&text, '=');
    if (base64_decode(&claims, buf_slice(&text)) < 0)
        return NULL;
    return json_loadb(claims.data, claims.len, 0, NULL);
}

static const char *text_of(const json_t *claims, const char *key)
{
    const char *text = json_string_value(json_object_get(claims, key));

    return text != NULL ? text : "";
}

/* The caller it was made for, as that one is now; NULL if there is none any more. */
static struct identity *caller_of(struct identities *ids, struct op *op, const json_t *claims)
{
    json_int_t kind = json_integer_value(json_object_get(claims, "kind"));
    const char *name = text_of(claims, "sub"), *mark = text_of(claims, "mark");
    struct identity *who;
    char now[MARK_TEXT];
    char *hash = NULL;

    if (kind == IDENTITY_ANONYMOUS)
        return identity_ref(ids->anonymous);
    if (kind == IDENTITY_TOKEN)
        return tokens_find(ids, op, mark);
    if (kind != IDENTITY_USER)
        return NULL;
    who = users_find(ids, name, &hash);
    if (who == NULL)
        return NULL;
    mark_of_user(ids, name, hash, now);
    free(hash);
    if (strcmp(now, mark) == 0)
        return who;
    identity_unref(who);
    return NULL;
}

/* Checked all but for what it opens. */
static int check(struct identities *ids, struct op *op, const json_t *claims, const char *use,
                 struct identity **ret)
{
    int64_t now = clock_unix_ms() / 1000;
    struct identity *who;

    if (strcmp(text_of(claims, "use"), use) != 0)
        return op_fail(op, EPERM, "bad token: it is not one for %s", use);
    if (json_integer_value(json_object_get(claims, "exp")) <= now)
        return op_fail(op, EPERM, "the token has expired");
    if (json_integer_value(json_object_get(claims, "nbf")) > now + SKEW_S)
        return op_fail(op, EPERM, "the token is of the future; look at this machine's clock");
    who = caller_of(ids, op, claims);
    if (who == NULL) {
        op_forgive(op);
        return op_fail(op, EPERM, "bad token: its user or token changed or is gone");
    }
    *ret = who;
    return 0;
}

static struct policy_set *scope_of(const json_t *claims)
{
    const json_t *list = json_object_get(claims, "access"), *item;
    struct policy *policy = xcalloc(1, sizeof *policy);
    struct policy_set *set;
    autobuf why = {0};
    size_t i;

    json_array_foreach(list, i, item) {
        const char *path = text_of(item, "path");

        policy_add(policy, slice_str(path),
                   (unsigned)json_integer_value(json_object_get(item, "rights")), NULL, &why);
    }
    set = policy_set_new(&policy, 1);
    policy_free(policy);
    return set;
}

int scoped_verify(struct identities *ids, struct op *op, struct slice token, struct identity **ret)
{
    static const char *const names[] = {NULL};
    json_t *claims = open_token(ids, token);
    struct identity *whole, *who;
    int r;

    if (claims == NULL)
        return op_fail(op, EPERM, "bad token");
    r = check(ids, op, claims, "access", &whole);
    if (r == 0) {
        who = identity_new(ids, whole->kind, whole->name, names, whole->accessor, "");
        policy_set_unref(who->policies);
        who->policies = scope_of(claims);
        who->within = whole;
        *ret = who;
    }
    json_decref(claims);
    return r;
}

int scoped_refresh(struct identities *ids, struct op *op, struct slice token, struct identity **ret)
{
    json_t *claims = token.len > 0 ? open_token(ids, token) : NULL;
    int r;

    if (claims == NULL)
        return op_fail(op, EPERM, "bad refresh token");
    r = check(ids, op, claims, "refresh", ret);
    json_decref(claims);
    return r;
}
