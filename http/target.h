/* target.h: the request's target: its path, decoded by our own rules, and its query. Pure. */
#ifndef HTTP_TARGET_H
#define HTTP_TARGET_H

#include "op/op.h"

#define TARGET_PATH_MAX 8192

struct target {
    const char *path;     /* decoded; begins with '/' */
    const char *raw_path; /* as it came */
    struct slice query;   /* what stands behind '?', not decoded */
};

/* Copies into the op. -EINVAL with a reason (also in the op) for what two readers could read in two
 * ways: %00, empty segments, "." and "..", control bytes, a bad escape; and for a path that is too
 * long. A target in absolute form is accepted (RFC 9112 section 3.2.2). */
int target_parse(struct op *op, const char *uri, struct target *ret);

#endif
