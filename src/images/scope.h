/* scope.h: the scopes that clients ask tokens for: "repository:team/app:pull,push" (docker
 * distribution, "Token Scope Documentation"). Pure: bytes in, struct out. */
#ifndef IMAGES_SCOPE_H
#define IMAGES_SCOPE_H

#include "base/slice.h"

enum scope_action {
    SCOPE_PULL = 1,
    SCOPE_PUSH = 2,
    SCOPE_DELETE = 4,
    SCOPE_ALL = 7,      /* "*" */
    SCOPE_CATALOG = 8,  /* "registry:catalog:*" */
};

struct scope {
    struct slice name; /* of the repository, borrowed; empty for the catalog */
    unsigned actions;  /* enum scope_action; what is not known is left out */
};

/* One scope, without blanks. -EINVAL: it has not the form TYPE:NAME:ACTIONS, or the name is none of
 * a repository; -ENOTSUP: a type that is not known (it grants nothing, and is no error). */
int scope_parse(struct slice text, struct scope *ret);

#endif
