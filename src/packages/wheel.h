/* wheel.h: is a wheel what its name says? (PEP 427, PEP 491). Pure but for the read callback. */
#ifndef PACKAGES_WHEEL_H
#define PACKAGES_WHEEL_H

#include "packages/filename.h"
#include "packages/metadata.h"
#include "packages/zip.h"

#define METADATA_BYTES_MAX (16u << 20)

/* A strict zip with exactly one *.dist-info, of the name's project and version, in which METADATA,
 * WHEEL and RECORD are; METADATA agrees with the name. Appends the text of METADATA to `text`, and
 * *ret points into it. -EINVAL with a reason in why, or what read said. */
int wheel_check(const struct zip_source *source, const struct package_filename *name,
                struct buf *text, struct metadata *ret, struct buf *why);

/* Do the project and version of metadata and of the file's name agree? An sdist's name may be read
 * another way to make them: *name then holds that. -EINVAL with a reason in why. */
int metadata_agrees(const struct metadata *m, struct package_filename *name, struct buf *why);

#endif
