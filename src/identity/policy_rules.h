/* policy_rules.h: a parsed policy. Private to policy*.c. */
#ifndef IDENTITY_POLICY_RULES_H
#define IDENTITY_POLICY_RULES_H

#include "identity/policy.h"

struct policy_rule {
    char *pattern;     /* without the `*` at the end; NUL-terminated */
    size_t len;
    bool prefix;       /* it ended in `*` */
    bool templated;    /* "{{identity…}}" stands in it: `pattern` is as written, to be resolved */
    unsigned pluses;   /* segments that are `+` */
    unsigned rights;
    struct policy_limits *limits; /* NULL: none. Owned */
};

struct policy {
    struct policy_rule *rules;
    size_t n_rules;
};

/* Adds a rule, and takes its limits (may be NULL; also on failure); -EINVAL with a reason (no
 * place) for a pattern that is not allowed. */
int policy_add(struct policy *p, struct slice pattern, unsigned rights,
               struct policy_limits *limits, struct buf *why);
/* Fills pattern, len, prefix and pluses of a rule. Copies. */
void policy_rule_pattern(struct policy_rule *rule, struct slice pattern);
/* The pattern for this entity. -ENOENT: something in it does not resolve. */
int policy_resolve(const struct policy_rule *rule, const struct policy_entity *entity,
                   struct buf *out);
/* "read" to POLICY_READ; 0 if there is none of that name. */
unsigned policy_right(struct slice name);
/* The old form, `policy = "write"`; 0 if unknown. */
unsigned policy_old_right(struct slice name);
extern const char *const policy_right_names[]; /* NULL-terminated */

/* Does a pattern (without its final `*`) of segments, `+` being any one, match? */
bool policy_plus_matches(const struct policy_rule *rule, struct slice path);

struct policy_limits *policy_limits_new(void);
void policy_limits_free(struct policy_limits *l); /* NULL is fine */
struct policy_limits *policy_limits_copy(const struct policy_limits *l); /* NULL gives NULL */
/* Several policies say something of one path: *into has what both allow together. Takes `more`. */
void policy_limits_unite(struct policy_limits **into, struct policy_limits *more);
enum policy_parameters { POLICY_ALLOWED, POLICY_DENIED, POLICY_REQUIRED };
/* A parameter, and one value of it after the other. Copies. */
void policy_limits_parameter(struct policy_limits *l, enum policy_parameters kind,
                             struct slice name);
void policy_limits_value(struct policy_limits *l, enum policy_parameters kind, struct slice text,
                         bool is_string);
/* "1h", "60", of one of the two. -EINVAL. */
int policy_limits_wrapping(struct policy_limits *l, bool max, struct slice text);
/* -EINVAL: the minimum is over the maximum. */
int policy_limits_check(const struct policy_limits *l, struct buf *why);

/* HCL, where it stands. Shared by policy_parse.c and policy_parse_limits.c. */
struct hcl {
    const char *at, *end;
    const char *line_start;
    unsigned line;
    struct policy *policy;
    struct buf *why;
    struct buf word; /* the last string or name read */
};
int hcl_fail_at(struct hcl *h, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int hcl_skip_blank(struct hcl *h);
bool hcl_take(struct hcl *h, char c);
int hcl_string(struct hcl *h);                   /* behind h->at stands '"' */
int hcl_word(struct hcl *h, const char *what);   /* a name or a string */
struct slice hcl_last(const struct hcl *h);      /* the word */

/* Is this the key of a limit? */
bool policy_is_limit(const char *key);
/* The value of such a key. */
int hcl_limit(struct hcl *h, const char *key, struct policy_limits *l);
struct json_t;
int policy_json_limit(const char *key, struct json_t *value, struct policy_limits *l,
                      struct buf *why);

#endif
