/* version.h: PEP 440 versions and specifier sets. Pure. */
#ifndef PACKAGES_VERSION_H
#define PACKAGES_VERSION_H

#include "base/buf.h"

#define VERSION_TEXT_MAX    200 /* bytes of a version as written */
#define VERSION_RELEASE_MAX 64

/* A parsed version. Numbers above 2^63 are refused, other texts of the grammar are not. */
struct version {
    uint64_t epoch;
    uint64_t release[VERSION_RELEASE_MAX];
    unsigned n_release; /* at least 1 */
    char pre;           /* 'a', 'b', 'r' (rc); 0: none */
    bool has_post, has_dev;
    uint64_t pre_number, post_number, dev_number;
    char local[VERSION_TEXT_MAX + 1]; /* lower case, separated by '.'; "" : none */
};

/* All of text, blanks around it ignored (PEP 440, appendix B). -EINVAL. */
int version_parse(struct slice text, struct version *ret);
/* The order of releases (PEP 440, "Summary of permitted suffixes and relative ordering"): <0, 0,
 * >0. 1.0 and 1.0.0 are equal. */
int version_cmp(const struct version *a, const struct version *b);
/* Do both texts parse, to equal versions? */
bool version_same(struct slice a, struct slice b);
/* Appends the canonical text: "1!1.0rc1.post2.dev3+local.1". */
void version_print(const struct version *v, struct buf *out);

/* Is text a specifier set, such as Requires-Python has: ">=3.8, !=3.9.*, <4"? Empty is. */
bool specifiers_valid(struct slice text);

#endif
