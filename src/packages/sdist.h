/* sdist.h: is a source distribution what its name says? (PEP 517 and PEP 625 sdists, also .zip.)
 * Pure but for the read callback. */
#ifndef PACKAGES_SDIST_H
#define PACKAGES_SDIST_H

#include "packages/wheel.h"

/* A gzipped tar (or a strict zip) with exactly one folder at the top, in which PKG-INFO is, which
 * agrees with the name. Appends the text of PKG-INFO to `text`, *ret points into it; *name may be
 * read another way, see metadata_agrees. -EINVAL with a reason in why, or what read said. */
int sdist_check(const struct zip_source *source, struct package_filename *name, struct buf *text,
                struct metadata *ret, struct buf *why);

#endif
