/* policy.c: several policies compiled for the question "what may be done with this path".
 *
 * One pass over the path: a running hash is looked up in a table at each length some prefix pattern
 * has, and at the end for the exact patterns. Patterns with `+` are few; they are tried in order of
 * priority, until they cannot beat what was found. */
#include "identity/policy.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "identity/policy_rules.h"

#include <stdlib.h>

struct slot {
    uint64_t hash;
    const struct policy_rule *rule; /* NULL: free */
};

struct policy_set {
    unsigned refs;
    bool root;
    bool limited;   /* some rule has limits */
    bool templated; /* some rule had a template */
    struct policy_rule *rules; /* one for each pattern, best priority first */
    size_t n_rules;
    struct slot *slots; /* those without `+`; a power of two, at most half full */
    size_t mask;
    uint8_t *lengths;                  /* bit set: some prefix pattern has this length */
    size_t longest;                    /* of the prefix patterns */
    const struct policy_rule **pluses; /* those with `+`, best first */
    size_t n_pluses;
};

#define HASH_START 0xcbf29ce484222325ull
#define HASH_PRIME 0x100000001b3ull

static uint64_t hash_of(struct slice s)
{
    const uint8_t *p = s.data;
    uint64_t h = HASH_START;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ p[i]) * HASH_PRIME;
    return h;
}

static size_t first_wildcard(const struct policy_rule *r)
{
    size_t start = 0;

    for (size_t i = 0; r->pluses > 0 && i <= r->len; i++) {
        if (i < r->len && r->pattern[i] != '/')
            continue;
        if (i - start == 1 && r->pattern[start] == '+')
            return start;
        start = i + 1;
    }
    return r->prefix ? r->len : SIZE_MAX;
}

/* Vault's order of patterns that match the same path (docs "policies", priority matching): negative
 * if a counts before b. Equal patterns give 0. */
static int compare_rules(const struct policy_rule *a, const struct policy_rule *b)
{
    size_t x = first_wildcard(a), y = first_wildcard(b);
    int r;

    if (x != y)
        return x > y ? -1 : 1;
    if (a->prefix != b->prefix)
        return a->prefix ? 1 : -1;
    if (a->pluses != b->pluses)
        return a->pluses < b->pluses ? -1 : 1;
    if (a->len != b->len)
        return a->len > b->len ? -1 : 1;
    r = memcmp(a->pattern, b->pattern, a->len);
    return r > 0 ? -1 : r < 0;
}

static int compare_for_sort(const void *a, const void *b)
{
    return compare_rules(a, b);
}

bool policy_plus_matches(const struct policy_rule *rule, struct slice path)
{
    const char *p = rule->pattern, *p_end = p + rule->len;
    const char *t = path.data, *t_end = t + path.len;

    for (;;) {
        const char *slash = memchr(p, '/', (size_t)(p_end - p));
        const char *next = memchr(t, '/', (size_t)(t_end - t));
        size_t p_len = (size_t)((slash != NULL ? slash : p_end) - p);
        size_t t_len = (size_t)((next != NULL ? next : t_end) - t);
        bool any = p_len == 1 && *p == '+';

        if (slash == NULL && rule->prefix) /* the last piece may be cut: "a/b*" */
            return (size_t)(t_end - t) >= p_len && memcmp(p, t, p_len) == 0;
        if (!any && (p_len != t_len || memcmp(p, t, p_len) != 0))
            return false;
        if (slash == NULL || next == NULL)
            return slash == NULL && next == NULL;
        p = slash + 1;
        t = next + 1;
    }
}

static void add_slot(struct policy_set *set, const struct policy_rule *rule)
{
    uint64_t hash = hash_of(slice_of(rule->pattern, rule->len));
    size_t i = hash & set->mask;

    while (set->slots[i].rule != NULL)
        i = (i + 1) & set->mask;
    set->slots[i] = (struct slot){.hash = hash, .rule = rule};
}

static void index_rules(struct policy_set *set)
{
    size_t size = 4;

    while (size < 2 * set->n_rules)
        size *= 2;
    set->slots = xcalloc(size, sizeof *set->slots);
    set->mask = size - 1;
    set->pluses = xcalloc(set->n_rules + 1, sizeof *set->pluses);
    for (size_t i = 0; i < set->n_rules; i++)
        if (set->rules[i].prefix && set->rules[i].len > set->longest)
            set->longest = set->rules[i].len;
    set->lengths = xcalloc(set->longest / 8 + 1, 1);
    for (size_t i = 0; i < set->n_rules; i++) {
        const struct policy_rule *rule = &set->rules[i];

        if (rule->pluses > 0) {
            set->pluses[set->n_pluses++] = rule;
            continue;
        }
        add_slot(set, rule);
        if (rule->prefix)
            set->lengths[rule->len / 8] |= (uint8_t)(1u << rule->len % 8);
    }
}

void policy_rule_pattern(struct policy_rule *rule, struct slice pattern)
{
    const char *text = pattern.data;
    size_t start = 0;

    rule->len = pattern.len;
    rule->prefix = pattern.len > 0 && text[pattern.len - 1] == '*' &&
                   memchr(text, '*', pattern.len) == text + pattern.len - 1;
    if (rule->prefix)
        rule->len--;
    rule->pluses = 0;
    for (size_t i = 0; i <= rule->len; i++) {
        if (i < rule->len && text[i] != '/')
            continue;
        rule->pluses += i - start == 1 && text[start] == '+';
        start = i + 1;
    }
    rule->pattern = xmemdup(text, rule->len);
}

static void copy_rule(struct policy_set *set, const struct policy_rule *from,
                      const struct policy_entity *entity)
{
    struct policy_rule rule = *from;
    autobuf resolved = {0};

    set->templated = set->templated || from->templated;
    if (from->templated) {
        if (policy_resolve(from, entity, &resolved) < 0)
            return;
        policy_rule_pattern(&rule, buf_slice(&resolved));
        rule.templated = false;
    } else {
        rule.pattern = xmemdup(from->pattern, from->len);
    }
    rule.limits = policy_limits_copy(from->limits);
    set->limited = set->limited || rule.limits != NULL;
    set->rules[set->n_rules++] = rule;
}

struct policy_set *policy_set_new(struct policy *const *policies, size_t n)
{
    return policy_set_new_for(policies, n, NULL);
}

/* A right without limits in one policy, and the same with limits in another: together both say what
 * is allowed, as Vault has it. */
static void unite_rules(struct policy_rule *last, struct policy_rule *more)
{
    last->rights |= more->rights;
    if (last->rights & POLICY_DENY)
        last->rights = POLICY_DENY;
    policy_limits_unite(&last->limits, take(more->limits));
    free(more->pattern);
}

struct policy_set *policy_set_new_for(struct policy *const *policies, size_t n,
                                      const struct policy_entity *entity)
{
    struct policy_set *set = xcalloc(1, sizeof *set);
    size_t total = 0, kept = 0;

    set->refs = 1;
    for (size_t i = 0; i < n; i++)
        total += policies[i]->n_rules;
    set->rules = xcalloc(total + 1, sizeof *set->rules);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < policies[i]->n_rules; k++)
            copy_rule(set, &policies[i]->rules[k], entity);
    qsort(set->rules, set->n_rules, sizeof *set->rules, compare_for_sort);
    for (size_t i = 0; i < set->n_rules; i++) { /* unite equal patterns; deny wins among them */
        struct policy_rule *last = kept > 0 ? &set->rules[kept - 1] : NULL;

        if (last == NULL || compare_rules(last, &set->rules[i]) != 0) {
            set->rules[kept++] = set->rules[i];
            continue;
        }
        unite_rules(last, &set->rules[i]);
    }
    set->n_rules = kept;
    index_rules(set);
    return set;
}

struct policy_set *policy_set_root(void)
{
    struct policy_set *set = xcalloc(1, sizeof *set);

    set->refs = 1;
    set->root = true;
    return set;
}

struct policy_set *policy_set_ref(struct policy_set *set)
{
    __atomic_add_fetch(&set->refs, 1, __ATOMIC_RELAXED);
    return set;
}

void policy_set_unref(struct policy_set *set)
{
    if (set == NULL || __atomic_sub_fetch(&set->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < set->n_rules; i++) {
        free(set->rules[i].pattern);
        policy_limits_free(set->rules[i].limits);
    }
    free(set->rules);
    free(set->slots);
    free(set->lengths);
    free(set->pluses);
    free(set);
}

static const struct policy_rule *find(const struct policy_set *set, uint64_t hash,
                                      struct slice pattern, bool prefix)
{
    for (size_t i = hash & set->mask; set->slots[i].rule != NULL; i = (i + 1) & set->mask) {
        const struct policy_rule *rule = set->slots[i].rule;

        if (set->slots[i].hash == hash && rule->prefix == prefix && rule->len == pattern.len &&
            memcmp(rule->pattern, pattern.data, pattern.len) == 0)
            return rule;
    }
    return NULL;
}

static const struct policy_rule *best_plus(const struct policy_set *set, struct slice path,
                                           const struct policy_rule *best)
{
    for (size_t i = 0; i < set->n_pluses; i++) {
        if (best != NULL && compare_rules(best, set->pluses[i]) < 0)
            break;
        if (policy_plus_matches(set->pluses[i], path))
            return set->pluses[i];
    }
    return best;
}

/* The rule that counts for a path; *ret_trimmed the exact one for it without its trailing slash,
 * which counts for lists (Vault's rule). Both NULL if there is none. */
static const struct policy_rule *best_rule(const struct policy_set *set, struct slice path,
                                           const struct policy_rule **ret_trimmed)
{
    const uint8_t *p = path.data;
    const struct policy_rule *best = NULL, *exact;
    uint64_t h = HASH_START, before = HASH_START;

    *ret_trimmed = NULL;
    for (size_t i = 0;; i++) {
        if (i <= set->longest && (set->lengths[i / 8] >> i % 8 & 1) != 0) {
            const struct policy_rule *found = find(set, h, slice_of(p, i), true);

            best = found != NULL ? found : best; /* the longest counts */
        }
        if (i == path.len)
            break;
        before = h;
        h = (h ^ p[i]) * HASH_PRIME;
    }
    exact = find(set, h, path, false);
    if (exact != NULL)
        return exact;
    if (path.len > 0 && p[path.len - 1] == '/')
        *ret_trimmed = find(set, before, slice_of(p, path.len - 1), false);
    return best_plus(set, path, best);
}

unsigned policy_set_rights(const struct policy_set *set, struct slice path)
{
    const unsigned lists = POLICY_LIST | POLICY_SCAN;
    const struct policy_rule *rule, *trimmed;
    unsigned rights, denied;

    if (set->root)
        return POLICY_ALL;
    if (path.len == 0)
        path.data = "";
    rule = best_rule(set, path, &trimmed);
    rights = rule != NULL ? rule->rights : 0;
    if (rule == NULL && trimmed == NULL && path.len > 0 &&
        ((const char *)path.data)[path.len - 1] == '/')
        trimmed = best_plus(set, slice_of(path.data, path.len - 1), NULL);
    if (trimmed == NULL)
        return rights;
    denied = (rights | trimmed->rights) & POLICY_DENY;
    rights = (rights & POLICY_DENY ? 0 : rights & ~lists) | (trimmed->rights & lists);
    return rights != 0 ? rights : denied;
}

bool policy_set_is_templated(const struct policy_set *set)
{
    return set->templated;
}

bool policy_set_is_root(const struct policy_set *set)
{
    return set->root;
}

const struct policy_limits *policy_set_limits(const struct policy_set *set, struct slice path)
{
    const struct policy_rule *rule, *trimmed;

    if (!set->limited)
        return NULL;
    if (path.len == 0)
        path.data = "";
    rule = best_rule(set, path, &trimmed);
    return rule != NULL ? rule->limits : NULL;
}

void policy_set_each(const struct policy_set *set,
                     void (*f)(void *ctx, struct slice path, bool prefix, unsigned rights),
                     void *ctx)
{
    for (size_t i = 0; i < set->n_rules; i++)
        f(ctx, slice_of(set->rules[i].pattern, set->rules[i].len), set->rules[i].prefix,
          set->rules[i].rights);
}

/* Is the rule about something at or below prefix, and not about more than that? */
static bool is_below(const struct policy_rule *rule, struct slice prefix)
{
    const char *p = rule->pattern, *p_end = p + rule->len;
    const char *t = prefix.data, *t_end = t + prefix.len;

    while (t < t_end) {
        const char *slash = memchr(p, '/', (size_t)(p_end - p));
        const char *next = memchr(t, '/', (size_t)(t_end - t));
        size_t p_len = (size_t)((slash != NULL ? slash : p_end) - p);
        size_t t_len = (size_t)((next != NULL ? next : t_end) - t);
        bool any = p_len == 1 && *p == '+';

        if (slash == NULL && rule->prefix) /* covers it: policy_set_rights answers for that */
            return false;
        if (!any && (p_len != t_len || memcmp(p, t, p_len) != 0))
            return false;
        if (next == NULL || next + 1 == t_end)
            return true;
        if (slash == NULL)
            return false;
        p = slash + 1;
        t = next + 1;
    }
    return true;
}

bool policy_set_touches(const struct policy_set *set, struct slice prefix)
{
    unsigned char small[512];
    unsigned rights;

    if (set->root)
        return true;
    if (prefix.len == 0)
        prefix.data = "";
    for (size_t i = 0; i < set->n_rules; i++) {
        bool grants = set->rules[i].rights != 0 && set->rules[i].rights != POLICY_DENY;

        if (grants && is_below(&set->rules[i], prefix))
            return true;
    }
    rights = policy_set_rights(set, prefix);
    if (rights != 0 && rights != POLICY_DENY)
        return true;
    if (prefix.len == 0 || prefix.len + 1 > sizeof small)
        return false;
    memcpy(small, prefix.data, prefix.len);
    small[prefix.len] = '/'; /* what a pattern for everything below says */
    rights = policy_set_rights(set, slice_of(small, prefix.len + 1));
    return rights != 0 && rights != POLICY_DENY;
}
