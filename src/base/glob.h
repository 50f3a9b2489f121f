/* glob.h: patterns of `*` (any run, also empty) and literal text; no other character is special. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include "base/slice.h"

bool glob_match(struct slice pattern, struct slice text); /* linear in text for each `*` */

#endif
