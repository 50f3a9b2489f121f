/* shim.h: the two things C++ does better: RE2, and shortest doubles. The only C++ here. */
#ifndef BASE_SHIM_H
#define BASE_SHIM_H

#include "base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

struct regex;
/* An RE2 pattern, anchored at both ends, `.` matches newline too (Prometheus 3). -EINVAL with the
 * reason appended to why. Linear time; at most 8 MiB a pattern. */
int regex_new(struct slice pattern, struct regex **ret, struct buf *why);
void regex_free(struct regex *r);
bool regex_match(const struct regex *r, struct slice text);
/* If it matches, appends `replacement` to out with $1, ${1}, $name, ${name} and $$ expanded as Go's
 * regexp.Expand does, and returns true. */
bool regex_replace(const struct regex *r, struct slice text, struct slice replacement,
                   struct buf *out);

/* Go's regexp.MatchString and ReplaceAllString: anywhere in the text, `.` matches no newline. 1 or 0;
 * -EINVAL with the reason appended to why. */
int regex_search(struct slice pattern, struct slice text, struct buf *why);
int regex_replace_all(struct slice pattern, struct slice text, struct slice replacement,
                      struct buf *out, struct buf *why);

#define DOUBLE_TEXT_MAX 32
/* The shortest text that reads back to v, as Prometheus prints it in JSON: plain digits, and an
 * exponent below 1e-06 and from 1e+21 on; NaN, +Inf, -Inf. Returns the length. */
size_t double_print(double v, char text[DOUBLE_TEXT_MAX]);
/* All of s as a decimal double, correctly rounded (from_chars); no hex, no blanks, a leading + is
 * accepted. -EINVAL; -ERANGE on overflow. */
int double_parse(struct slice s, double *ret);

#ifdef __cplusplus
}
#endif
#endif
