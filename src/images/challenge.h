/* challenge.h: what a registry asks for in WWW-Authenticate (RFC 9110 section 11.6.1). Pure: bytes
 * in, struct out. */
#ifndef IMAGES_CHALLENGE_H
#define IMAGES_CHALLENGE_H

#include "base/slice.h"

#define CHALLENGE_TEXT_MAX 1024

enum challenge_scheme { CHALLENGE_OTHER, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
    enum challenge_scheme scheme;
    char realm[CHALLENGE_TEXT_MAX]; /* "" where absent, as the others */
    char service[CHALLENGE_TEXT_MAX];
    char scope[CHALLENGE_TEXT_MAX];
};

/* The first challenge of a header. -EINVAL: it cannot be read, or a part is too long. */
int challenge_parse(struct slice text, struct challenge *ret);

#endif
