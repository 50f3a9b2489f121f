/* name.h: project names, as people write them and as they are compared. Pure. */
#ifndef PACKAGES_NAME_H
#define PACKAGES_NAME_H

#include "base/slice.h"

#define PROJECT_NAME_MAX 200

/* Letters, digits and `-_.`, beginning and ending with a letter or digit (PEP 508, "Names"). */
bool project_name_valid(struct slice name);
/* Lower case, each run of `-_.` becomes one `-` (PEP 503). name must be valid. Returns the length.
 */
size_t project_name_normalise(struct slice name, char ret[PROJECT_NAME_MAX + 1]);
/* Is name exactly its own normalised form? */
bool project_name_is_normalised(struct slice name);
/* Do both normalise to the same? False if either is not valid. */
bool project_name_same(struct slice a, struct slice b);

#endif
