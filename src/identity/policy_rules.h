/* policy_rules.h: a parsed policy. Private to policy*.c. */
#ifndef IDENTITY_POLICY_RULES_H
#define IDENTITY_POLICY_RULES_H

#include "identity/policy.h"

struct policy_rule {
    char *pattern;     /* without the `*` at the end; NUL-terminated */
    size_t len;
    bool prefix;       /* it ended in `*` */
    unsigned pluses;   /* segments that are `+` */
    unsigned rights;
};

struct policy {
    struct policy_rule *rules;
    size_t n_rules;
};

/* Adds a rule; -EINVAL with a reason (no place) for a pattern that is not allowed. A pattern with a
 * template ("{{…}}") grants nothing: the templates of identities do not resolve here. */
int policy_add(struct policy *p, struct slice pattern, unsigned rights, struct buf *why);
/* "read" to POLICY_READ; 0 if there is none of that name. */
unsigned policy_right(struct slice name);
/* The old form, `policy = "write"`; 0 if unknown. */
unsigned policy_old_right(struct slice name);
extern const char *const policy_right_names[]; /* NULL-terminated */

/* Does a pattern (without its final `*`) of segments, `+` being any one, match? */
bool policy_plus_matches(const struct policy_rule *rule, struct slice path);

#endif
