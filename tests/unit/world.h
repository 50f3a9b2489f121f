/* world.h: what the worlds of the domains share: policies from text. */
#ifndef WORLD_H
#define WORLD_H

#include "base/scope.h"
#include "identity/identity.h"
#include "identity/policy.h"

#include <stdlib.h>

/* Returns new. */
static inline struct policy_set *world_policy(const char *text)
{
    struct policy *p;
    struct policy_set *set;
    autobuf why = {0};

    if (policy_parse(slice_str(text), &p, &why) < 0)
        abort();
    set = policy_set_new(&p, 1);
    policy_free(p);
    return set;
}

#endif
