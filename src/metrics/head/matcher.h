/* matcher.h: one condition on a label: =, !=, =~, !~. A missing label is the empty string. */
#ifndef METRICS_HEAD_MATCHER_H
#define METRICS_HEAD_MATCHER_H

#include "base/buf.h"

enum match_op { MATCH_EQ, MATCH_NE, MATCH_RE, MATCH_NRE };

/* What a pattern turned out to be; only the last needs RE2. */
enum match_kind { MATCH_SET, MATCH_PREFIX, MATCH_REGEX };

struct regex;
struct matcher {
    enum match_op op;
    enum match_kind kind;
    char *name, *value; /* as written; NUL-terminated copies */
    size_t name_len, value_len;
    struct slice *set; /* SET: the alternatives, sorted; PREFIX: one, the prefix */
    size_t n_set;
    size_t longer; /* PREFIX: at least so many bytes after it */
    char *text;    /* what set points into */
    struct regex *regex;
    bool matches_empty; /* the condition holds for a missing label */
};

/* Copies name and value. -EINVAL with RE2's reason in why. */
int matcher_init(struct matcher *m, enum match_op op, struct slice name, struct slice value,
                 struct buf *why);
void matcher_done(struct matcher *m);
/* Does the condition hold for this value? */
bool matcher_holds(const struct matcher *m, struct slice value);
bool matcher_is_positive(const struct matcher *m); /* = or =~ */

#endif
