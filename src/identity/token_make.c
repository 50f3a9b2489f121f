/* token_make.c: new tokens. */
#include "base/clock.h"
#include "base/codec.h"
#include "identity/cidr.h"
#include "identity/token_rows.h"
#include "identity/token_state.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *lower(struct op *op, const char *name)
{
    char *text = op_strndup(op, name, strlen(name));

    for (char *c = text; *c != 0; c++)
        *c = (char)tolower((unsigned char)*c);
    return text;
}

/* Sorted, in lower case, each once, with "default" unless it is not wanted or there is "root". */
static const char *const *wish_policies(struct op *op, const struct token_wish *wish)
{
    size_t n = 0, kept = 0;
    const char **names;
    bool root = false;

    while (wish->policies != NULL && wish->policies[n] != NULL)
        n++;
    names = op_alloc(op, (n + 2) * sizeof *names);
    for (size_t i = 0; i < n; i++) {
        names[i] = lower(op, wish->policies[i]);
        root = root || strcmp(names[i], "root") == 0;
    }
    if (!wish->no_default_policy && !root)
        names[n++] = "default";
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    names[kept] = NULL;
    return names;
}

/* What was wished, within what is allowed (Vault, "Token Time-To-Live"). */
static int64_t first_ttl(const struct token_wish *wish)
{
    int64_t ttl = wish->period_s != 0 ? wish->period_s : wish->ttl_s;
    int64_t most = wish->max_ttl_s != 0 ? wish->max_ttl_s : TOKEN_TTL_S;

    if (ttl == 0)
        ttl = wish->default_ttl_s != 0 ? wish->default_ttl_s : TOKEN_TTL_S;
    if (wish->period_s == 0 && ttl > most)
        ttl = most;
    if (wish->explicit_max_ttl_s != 0 && ttl > wish->explicit_max_ttl_s)
        ttl = wish->explicit_max_ttl_s;
    return ttl;
}

static const char *or_empty(const char *s)
{
    return s != NULL ? s : "";
}

static int check_batch(struct op *op, const struct token_wish *wish)
{
    if (wish->num_uses != 0)
        return op_fail(op, EINVAL, "batch tokens cannot have \"num_uses\" set");
    if (wish->period_s != 0)
        return op_fail(op, EINVAL, "batch tokens cannot have \"period\" set");
    if (wish->explicit_max_ttl_s != 0)
        return op_fail(op, EINVAL, "batch tokens cannot have \"explicit_max_ttl\" set");
    for (size_t i = 0; wish->policies != NULL && wish->policies[i] != NULL; i++)
        if (strcmp(wish->policies[i], "root") == 0)
            return op_fail(op, EINVAL, "batch tokens cannot be root tokens");
    return wish->token.len > 0 ? op_fail(op, EINVAL, "batch tokens cannot have \"id\" set") : 0;
}

static int check_wish(struct op *op, const struct token_wish *wish)
{
    const int64_t most = 100ll * 365 * 86400;
    struct cidr range;

    if (wish->ttl_s < 0 || wish->period_s < 0 || wish->explicit_max_ttl_s < 0 ||
        wish->ttl_s > most || wish->period_s > most || wish->explicit_max_ttl_s > most)
        return op_fail(op, EINVAL, "a token lives from 0 seconds to 100 years");
    if (wish->token.len > 256 || (wish->token.len > 0 && wish->token.len < 8))
        return op_fail(op, EINVAL, "a chosen token has 8 to 256 bytes");
    for (size_t i = 0; wish->cidrs != NULL && wish->cidrs[i] != NULL; i++)
        if (cidr_parse(wish->cidrs[i], &range) < 0)
            return op_fail(op, EINVAL, "'%s' is no range of addresses", wish->cidrs[i]);
    return wish->batch ? check_batch(op, wish) : 0;
}

static struct token_info info_of(struct op *op, const struct token_wish *wish, const char *id,
                                 const char *accessor)
{
    int64_t now_ms = clock_unix_ms(), ttl = wish->lasting ? 0 : first_ttl(wish);
    struct token_info info = {
        .id = id,
        .accessor = accessor,
        .policies = wish_policies(op, wish),
        .parent = or_empty(wish->parent),
        .display_name = wish->display_name != NULL ? wish->display_name : "token",
        .path = wish->path != NULL ? wish->path : "auth/token/create",
        .user = or_empty(wish->user),
        .meta = wish->meta,
        .created_unix_s = now_ms / 1000,
        .creation_ttl_s = ttl,
        .expire_unix_ms = ttl > 0 ? now_ms + ttl * 1000 : 0,
        .explicit_max_ttl_s = wish->explicit_max_ttl_s,
        .period_s = wish->period_s,
        .num_uses = wish->num_uses,
        .max_ttl_s = wish->max_ttl_s,
        .renewable = !wish->not_renewable && !wish->batch && ttl > 0,
        .batch = wish->batch,
        .role = or_empty(wish->role),
        .lease = "",
        .cidrs = wish->cidrs,
        .entity = {.id = "", .name = "", .alias_accessor = "", .alias_name = ""},
    };

    if (wish->entity != NULL)
        info.entity = *wish->entity;
    return info;
}

/* Vault's form: the path, 'h', and a hash that only this installation can make of the token. */
static const char *lease_of(const struct tokens *t, struct op *op, const struct token_info *info)
{
    uint8_t mac[32];
    char hex[65];

    if (info->expire_unix_ms == 0)
        return "";
    salt_hmac(t->ids->salt, slice_str(op_printf(op, "lease/%s", info->id)), mac);
    hex_encode(slice_of(mac, sizeof mac), hex);
    return op_printf(op, "%s/h%s", info->path, hex);
}

static int store_token(struct tokens *t, struct op *op, const struct token_info *info)
{
    struct store_batch *batch = store_batch_new(t->ids->store, TOKEN_PARTITION);
    char key[80];
    int r;

    snprintf(key, sizeof key, "t/%s", info->id);
    store_batch_expect_absent(batch, slice_str(key));
    token_rows_put(batch, info, 0);
    r = store_commit(batch, STORE_DURABLE);
    if (r == -EAGAIN)
        return op_fail(op, EEXIST, "cannot create a token with a duplicate ID");
    if (r < 0)
        return op_fail(op, -r, "the token was not stored: %s", strerror(-r));
    pthread_mutex_lock(&t->sleep_lock);
    t->made = true;
    pthread_cond_signal(&t->sleep);
    pthread_mutex_unlock(&t->sleep_lock);
    return 0;
}

int token_create(struct identities *ids, struct op *op, const struct token_wish *wish,
                 const char **ret_token, struct token_info *ret)
{
    char *text = op_alloc(op, 27), *id = op_alloc(op, 65), *accessor = op_alloc(op, 25);
    struct tokens *t = ids->tokens;
    struct token_info info;
    int r = check_wish(op, wish);

    if (r < 0)
        return r;
    op->wiped = true;
    if (wish->batch) {
        info = info_of(op, wish, "", "");
        r = token_batch_make(t, op, &info, ret_token);
        if (r == 0)
            token_record_copy(op, &info, ret);
        return r;
    }
    memcpy(text, "s.", 2);
    token_random(text + 2, 24);
    if (wish->token.len > 0)
        text = op_strndup(op, wish->token.data, wish->token.len);
    token_random(accessor, 24);
    token_id_of(t, slice_str(text), id);
    info = info_of(op, wish, id, accessor);
    info.lease = lease_of(t, op, &info);
    r = store_token(t, op, &info);
    if (r < 0)
        return r;
    *ret_token = text;
    token_record_copy(op, &info, ret);
    return 0;
}
