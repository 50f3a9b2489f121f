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

struct policy;     /* one parsed text */
struct policy_set; /* several, compiled; immutable, shared, reference-counted */

/* Parses HCL or JSON. -EINVAL with "line L, column C: reason" in why. Returns new. */
int policy_parse(struct slice text, struct policy **ret, struct buf *why);
void policy_free(struct policy *p);

struct policy_set *policy_set_new(struct policy *const *policies, size_t n); /* copies what it needs */
struct policy_set *policy_set_root(void); /* everything, everywhere */
struct policy_set *policy_set_ref(struct policy_set *set);
void policy_set_unref(struct policy_set *set);

/* The rights on a path, or-ed; 0 or POLICY_DENY: none. */
unsigned policy_set_rights(const struct policy_set *set, struct slice path);
/* Is there any rule with a right for something at or below prefix? (For lists and preflights.) */
bool policy_set_touches(const struct policy_set *set, struct slice prefix);

#endif
