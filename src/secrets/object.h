/* object.h: JSON objects kept as their client wrote them. A strict reader (RFC 8259, UTF-8 only)
 * that cuts an object into its members without turning values into anything: numbers of any size,
 * the order of keys and every blank inside a value stay. And the edits that a secret needs. */
#ifndef SECRETS_OBJECT_H
#define SECRETS_OBJECT_H

#include "base/buf.h"
#include "op/op.h"

#define OBJECT_DEPTH_MAX 128

struct member {
    struct slice key;   /* decoded; borrows the text, or the op's if it had escapes */
    struct slice value; /* JSON text without blanks around; borrows the text */
};

struct object {
    struct slice text;      /* from { to } */
    struct member *members; /* in the op */
    size_t n;
};

/* Cuts `text`, which must be one object with blanks around. -EINVAL with the reason in the op: not
 * JSON, no object, deeper than OBJECT_DEPTH_MAX, a key that is there twice or that is no UTF-8.
 * (Objects inside values are checked as JSON, but not for their keys.) */
int object_parse(struct op *op, struct slice text, struct object *ret);
/* Is this one JSON value, with blanks around? */
bool value_is_valid(struct slice text);
/* The text without JSON's blanks at either end. */
struct slice value_trim(struct slice text);

struct member *object_find(const struct object *o, struct slice key); /* NULL: absent */
/* The value of a key, empty if it is absent or null. */
struct slice object_value(const struct object *o, const char *key);

/* A JSON string with its quotes, decoded into the op (or borrowed, if it has no escape). -EINVAL:
 * no string; -EILSEQ: it has half a surrogate pair, so it has no bytes. */
int value_string(struct op *op, struct slice value, struct slice *ret);
/* Numbers and strings of digits, as Vault takes both. -EINVAL, -ERANGE. */
int value_integer(struct op *op, struct slice value, int64_t *ret);
int value_boolean(struct slice value, bool *ret); /* true, false, "true", "false", 1, 0 */

/* An array's elements, in the op. -EINVAL. */
int value_elements(struct op *op, struct slice value, struct slice **ret, size_t *ret_n);

/* Appends the object with `key` set to `value` (JSON text; empty: removed). The rest is verbatim.
 */
void object_edit(const struct object *o, struct slice key, struct slice value, struct buf *out);
/* RFC 7386: appends target with patch applied; empty target: there is none. Both are valid JSON. */
int value_merge(struct op *op, struct slice target, struct slice patch, struct buf *out);

#endif
