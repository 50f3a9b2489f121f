/* policy.h: Vault's policies (HCL or JSON), compiled once per set.
 *
 * Paths: secrets "secret/data/…", "secret/metadata/…" as Vault; "packages/<project>",
 * "images/<repo>", "metrics/…", "tree/…", "sys/…". Of the patterns that match only the best counts;
 * the same pattern in several policies unites; deny wins inside it. */
#ifndef IDENTITY_POLICY_H
#define IDENTITY_POLICY_H

#include "base/buf.h"
#include "base/slice.h"

enum policy_right {
    POLICY_CREATE = 1,
    POLICY_READ = 2,
    POLICY_UPDATE = 4,
    POLICY_PATCH = 8,
    POLICY_DELETE = 16,
    POLICY_LIST = 32,
    POLICY_SUDO = 64,
    POLICY_DENY = 128,
    POLICY_SCAN = 256,
    POLICY_ALL = 2 + 1 + 4 + 8 + 16 + 32 + 64 + 256,
};

/* What a rule says beyond rights (Vault, "Parameter constraints" and "Required response wrapping
 * TTLs"). Whoever lets a request through must have looked at it. */
struct policy_value {
    char *text;     /* a string, which may begin or end in `*`; else JSON text */
    size_t len;
    bool is_string;
};
struct policy_parameter {
    char *name; /* lower case; "*": any other */
    struct policy_value *values;
    size_t n; /* 0: any value */
};
struct policy_parameters_of {
    struct policy_parameter *items;
    size_t n;
};
struct policy_limits {
    struct policy_parameters_of allowed, denied, required;
    int64_t min_wrapping_s, max_wrapping_s; /* 0: none */
};
const struct policy_parameter *policy_parameter_find(const struct policy_parameters_of *list,
                                                     const char *name); /* NULL */

/* Whom a rule with a template is resolved for. All borrowed; "" where there is none. */
struct policy_pair {
    const char *key, *value;
};
struct policy_entity {
    const char *id, *name;
    const char *alias_accessor, *alias_name; /* the mount logged in at, and the name there */
    const struct policy_pair *metadata;      /* of the login */
    size_t n_metadata;
};

struct policy;     /* one parsed text */
struct policy_set; /* several, compiled; immutable, shared, reference-counted */

/* Parses HCL or JSON. -EINVAL with "line L, column C: reason" in why. Returns new. */
int policy_parse(struct slice text, struct policy **ret, struct buf *why);
void policy_free(struct policy *p);

struct policy_set *policy_set_new(struct policy *const *policies, size_t n); /* copies what it needs */
/* Rules with templates are resolved for the entity; those that do not resolve grant nothing. */
struct policy_set *policy_set_new_for(struct policy *const *policies, size_t n,
                                      const struct policy_entity *entity);
/* Was there any rule with a template: is the set another one for another entity? */
bool policy_set_is_templated(const struct policy_set *set);
struct policy_set *policy_set_root(void); /* everything, everywhere */
struct policy_set *policy_set_ref(struct policy_set *set);
void policy_set_unref(struct policy_set *set);

/* The rights on a path, or-ed; 0 or POLICY_DENY: none. */
unsigned policy_set_rights(const struct policy_set *set, struct slice path);
/* The limits of the rule that counts for a path, borrowed; NULL: none. */
const struct policy_limits *policy_set_limits(const struct policy_set *set, struct slice path);
/* Calls f for each rule in the set; `path` ends in `*` for a prefix. */
void policy_set_each(const struct policy_set *set,
                     void (*f)(void *ctx, struct slice path, bool prefix, unsigned rights),
                     void *ctx);
bool policy_set_is_root(const struct policy_set *set);
/* Is there any rule with a right for something at or below prefix? (For lists and preflights.) */
bool policy_set_touches(const struct policy_set *set, struct slice prefix);

#endif
