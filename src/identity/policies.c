/* policies.c: named policies, built in or kept in the store, and the sets made of them. */
#include "base/alloc.h"
#include "base/scope.h"
#include "identity/policy.h"
#include "identity/state.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <uthash.h>

#define PARTITION SLICE("identity/policies")
#define TEXT_MAX  (60u << 10) /* one row */
#define NAME_MAX_ 128u

struct built_in {
    const char *name, *text;
};

static const char team_text[] =
    "# What users of the user file may do: everything but sys.\n"
    "path \"secret/*\"   { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"packages\"   { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"packages/*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"images\"     { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"images/*\"   { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"metrics\"    { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"metrics/*\"  { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"tree\"       { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n"
    "path \"tree/*\"     { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }\n";

static const char anonymous_text[] =
    "# What a caller may do who has not said who it is.\n"
    "path \"metrics\"   { capabilities = [\"read\", \"list\"] }\n"
    "path \"metrics/*\" { capabilities = [\"read\", \"list\"] }\n";

/* The paths are those of Vault's own default policy. */
static const char default_text[] =
    "# What every token may do: look at itself, and end itself.\n"
    "path \"auth/token/lookup-self\"        { capabilities = [\"read\"] }\n"
    "path \"auth/token/renew-self\"         { capabilities = [\"update\"] }\n"
    "path \"auth/token/revoke-self\"        { capabilities = [\"update\"] }\n"
    "path \"sys/capabilities-self\"         { capabilities = [\"update\"] }\n"
    "path \"sys/internal/ui/resultant-acl\" { capabilities = [\"read\"] }\n"
    "path \"sys/renew\"                     { capabilities = [\"update\"] }\n"
    "path \"sys/leases/renew\"              { capabilities = [\"update\"] }\n"
    "path \"sys/leases/lookup\"             { capabilities = [\"update\"] }\n"
    "path \"cubbyhole/*\"                   { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\"] }\n"
    "path \"sys/wrapping/wrap\"             { capabilities = [\"update\"] }\n"
    "path \"sys/wrapping/lookup\"           { capabilities = [\"update\"] }\n"
    "path \"sys/wrapping/unwrap\"           { capabilities = [\"update\"] }\n"
    "path \"sys/tools/hash\"                { capabilities = [\"update\"] }\n"
    "path \"sys/tools/hash/*\"              { capabilities = [\"update\"] }\n";

/* What the token of a wrapped answer may do (Vault's policy of that name). */
static const char wrapping_text[] =
    "path \"cubbyhole/response\"  { capabilities = [\"create\", \"read\"] }\n"
    "path \"sys/wrapping/unwrap\" { capabilities = [\"update\"] }\n";

static const struct built_in built_ins[] = {
    {"anonymous", anonymous_text},
    {"default", default_text},
    {"response-wrapping", wrapping_text},
    {"root", ""},
    {"team", team_text},
    {NULL, NULL},
};

struct named_set {
    char *key; /* the names, sorted, each with a newline */
    uint64_t generation;
    struct policy_set *set;
    UT_hash_handle hh;
};

static const char *built_in_text(const char *name)
{
    for (const struct built_in *b = built_ins; b->name != NULL; b++)
        if (strcmp(b->name, name) == 0)
            return b->text;
    return NULL;
}

int policy_text(struct identities *ids, const char *name, struct buf *ret)
{
    const char *text = built_in_text(name);
    struct store_value value = {0};
    int r = store_get(ids->store, PARTITION, slice_str(name), &value);

    if (r == 0) {
        buf_add_slice(ret, value.data);
        store_value_release(&value);
        return 0;
    }
    if (r != -ENOENT || text == NULL)
        return r;
    buf_add_str(ret, text);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *set_key(const char *const *names)
{
    size_t n = 0;
    autofree const char **sorted = NULL;
    autobuf key = {0};

    while (names[n] != NULL)
        n++;
    sorted = xmemdup(names, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_names);
    for (size_t i = 0; i < n; i++)
        buf_printf(&key, "%s\n", sorted[i]);
    return buf_take(&key, NULL);
}

/* A policy that is not there, or does not parse (which policies_put keeps out), grants nothing. */
static struct policy_set *compile(struct identities *ids, const char *const *names,
                                  const struct policy_entity *entity)
{
    struct policy *parsed[64];
    struct policy_set *set;
    size_t n = 0;

    for (size_t i = 0; names[i] != NULL && n < array_size(parsed); i++) {
        autobuf text = {0}, why = {0};

        if (strcmp(names[i], "root") == 0) {
            while (n > 0)
                policy_free(parsed[--n]);
            return policy_set_root();
        }
        if (policy_text(ids, names[i], &text) == 0 &&
            policy_parse(buf_slice(&text), &parsed[n], &why) == 0)
            n++;
    }
    set = policy_set_new_for(parsed, n, entity);
    while (n > 0)
        policy_free(parsed[--n]);
    return set;
}

struct policy_set *named_set_get(struct identities *ids, const char *const *names,
                                 const struct policy_entity *entity)
{
    uint64_t now = __atomic_load_n(&ids->generation, __ATOMIC_ACQUIRE);
    autofree char *key = set_key(names);
    struct named_set *entry;

    HASH_FIND_STR(ids->sets, key, entry);
    if (entry != NULL && entry->generation == now) {
        if (entity != NULL && policy_set_is_templated(entry->set))
            return compile(ids, names, entity);
        return policy_set_ref(entry->set);
    }
    if (entry == NULL) {
        entry = xcalloc(1, sizeof *entry);
        entry->key = take(key);
        HASH_ADD_KEYPTR(hh, ids->sets, entry->key, strlen(entry->key), entry);
    }
    policy_set_unref(entry->set);
    entry->set = compile(ids, names, NULL);
    entry->generation = now;
    return named_set_get(ids, names, entity);
}

void named_sets_free(struct identities *ids)
{
    struct named_set *entry, *next;

    HASH_ITER(hh, ids->sets, entry, next) {
        HASH_DEL(ids->sets, entry);
        policy_set_unref(entry->set);
        free(entry->key);
        free(entry);
    }
}

static int check_name(struct op *op, const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > NAME_MAX_ || name[0] == '.')
        return op_fail(op, EINVAL, "'%s' is not a name for a policy", name);
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
            strchr("-_. +@:", name[i]) == NULL)
            return op_fail(op, EINVAL,
                           "'%s' is not a name for a policy: lower-case letters, digits, '-', '_', "
                           "'.', '+', '@' and ':'", name);
    return 0;
}

int policies_get(struct identities *ids, struct op *op, const char *name, struct slice *ret_text)
{
    autobuf text = {0};
    int r = policy_text(ids, name, &text);

    if (r == -ENOENT)
        return op_fail(op, ENOENT, "no policy named '%s'", name);
    if (r < 0)
        return r;
    *ret_text = op_slice(op, buf_slice(&text));
    return 0;
}

static int commit(struct identities *ids, struct op *op, const char *name,
                  struct store_batch *batch)
{
    int r = store_commit(batch, STORE_DURABLE);

    if (r < 0)
        return op_fail(op, -r, "policy '%s' was not stored: %s", name, strerror(-r));
    __atomic_add_fetch(&ids->generation, 1, __ATOMIC_ACQ_REL);
    return 0;
}

int policies_put(struct identities *ids, struct op *op, const char *name, struct slice text)
{
    struct store_batch *batch;
    struct policy *parsed;
    autobuf why = {0};
    int r = check_name(op, name);

    if (r < 0)
        return r;
    if (strcmp(name, "root") == 0 || strcmp(name, "response-wrapping") == 0)
        return op_fail(op, EINVAL, "cannot update \"%s\" policy", name);
    if (text.len > TEXT_MAX)
        return op_fail(op, EFBIG, "policy '%s' is over %u bytes", name, TEXT_MAX);
    if (policy_parse(text, &parsed, &why) < 0)
        return op_fail(op, EINVAL, "%s", why.data);
    policy_free(parsed);
    batch = store_batch_new(ids->store, PARTITION);
    store_batch_put(batch, slice_str(name), text);
    return commit(ids, op, name, batch);
}

int policies_delete(struct identities *ids, struct op *op, const char *name)
{
    struct store_batch *batch;

    if (built_in_text(name) != NULL)
        return op_fail(op, EINVAL,
                       strcmp(name, "root") == 0 ? "cannot delete \"%s\" policy"
                                                 : "cannot delete %s policy",
                       name);
    batch = store_batch_new(ids->store, PARTITION);
    store_batch_delete(batch, slice_str(name));
    return commit(ids, op, name, batch);
}

/* Both lists are in order: they are merged. */
int policies_list(struct identities *ids, int (*f)(void *ctx, const char *name), void *ctx)
{
    const struct built_in *b = built_ins;
    struct store_scan *scan;
    struct slice key, value;
    int r = store_scan(ids->store, PARTITION, SLICE(""), SLICE(""), STORE_KEYS_ONLY, &scan);
    int more;

    if (r < 0)
        return r;
    while ((more = store_scan_next(scan, &key, &value)) > 0 && r == 0) {
        autofree char *name = xmemdup(key.data, key.len);

        for (; r == 0 && b->name != NULL && strcmp(b->name, name) <= 0; b++)
            if (strcmp(b->name, name) != 0 && b->text != wrapping_text)
                r = f(ctx, b->name);
        if (r == 0)
            r = f(ctx, name);
    }
    store_scan_free(scan);
    for (; more >= 0 && r == 0 && b->name != NULL; b++)
        if (b->text != wrapping_text)
            r = f(ctx, b->name);
    return more < 0 ? more : r;
}
