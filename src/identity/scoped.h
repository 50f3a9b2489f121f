/* scoped.h: tokens that are kept nowhere: a caller narrowed to a few paths for a short time, signed
 * by us (a JWT of RFC 7519, HS256 under a key of this installation). What such a token opens is
 * what it says AND what its caller may at the moment of use; it ends at once with its user, a
 * change of the user's password, or the token it was made from. identity_token() takes them. Any
 * thread. */
#ifndef IDENTITY_SCOPED_H
#define IDENTITY_SCOPED_H

#include "identity/identity.h"

struct scoped_access {
    const char *path; /* of policies, such as "images/team/app"; may end in '*' */
    unsigned rights;
};

/* *ret is the text, in the op (which is wiped). -EINVAL: nobody can be made of this caller later (a
 * scoped token, a caller of the mount). */
int scoped_issue(struct identities *ids, struct op *op, const struct identity *who,
                 const struct scoped_access *access, size_t n, int64_t ttl_s, const char **ret);
/* A token that opens nothing but can be traded for others of the same caller. */
int scoped_issue_refresh(struct identities *ids, struct op *op, const struct identity *who,
                         int64_t ttl_s, const char **ret);
/* Who it is that shows one. -EPERM. */
int scoped_refresh(struct identities *ids, struct op *op, struct slice token,
                   struct identity **ret);

#endif
