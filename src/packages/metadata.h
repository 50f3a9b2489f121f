/* metadata.h: core metadata, the text of METADATA and PKG-INFO (packaging.python.org, "Core
 * metadata specifications"; headers as RFC 822, body is the description). Pure. */
#ifndef PACKAGES_METADATA_H
#define PACKAGES_METADATA_H

#include "base/buf.h"

/* Slices point into the text that was parsed. Those of absent fields are empty. */
struct metadata {
    struct slice metadata_version;
    struct slice name;
    struct slice version;
    struct slice requires_python;
    struct slice summary;
};

/* -EINVAL with a reason in why: not UTF-8, a line that is no header, a field that must be and is
 * not, or is twice, or does not hold what it must (name, version, Requires-Python). */
int metadata_parse(struct slice text, struct metadata *ret, struct buf *why);

/* "1.0" to "2.9": readers must refuse a major version they do not know. */
bool metadata_version_valid(struct slice text);

/* One header after the other: 1 and the field, folded lines and all, or 0 at the body or the end
 * (then *text is the body), or -EINVAL. `line` counts up. */
int metadata_next(struct slice *text, struct slice *ret_name, struct slice *ret_value,
                  unsigned *line);

#endif
