/* filename.h: the names of release files: wheels (PEP 427, PEP 491) and sdists (PEP 625). Pure. */
#ifndef PACKAGES_FILENAME_H
#define PACKAGES_FILENAME_H

#include "packages/name.h"
#include "packages/version.h"

#define PACKAGE_FILENAME_MAX                                                                       \
    220 /* leaves room for ".metadata" and scratch names under NAME_MAX                            \
         */

enum package_kind { PACKAGE_WHEEL = 1, PACKAGE_SDIST_TAR = 2, PACKAGE_SDIST_ZIP = 3 };

/* All slices point into the text that was parsed. */
struct package_filename {
    enum package_kind kind;
    struct slice text;
    struct slice project; /* as written */
    struct slice version;
    struct slice python, abi, platform; /* wheels */
    struct slice build;                 /* wheels, optional: begins with a digit */
    char normal[PROJECT_NAME_MAX + 1];  /* the project, normalised */
};

/* -EINVAL, with a reason in why (NULL: none wanted). Of an sdist the last dash that leaves a valid
 * version divides project and version. */
int package_filename_parse(struct slice text, struct package_filename *ret, struct buf *why);
/* The next reading of an sdist's name, which is ambiguous: "a-1-2.tar.gz" is 2 of a-1, or 1-2 of a.
 * False when there is none. */
bool package_filename_next(struct package_filename *f);
/* Does the name end as those of release files do? */
bool package_filename_looks(struct slice text);

#endif
