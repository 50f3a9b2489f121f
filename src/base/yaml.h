/* yaml.h: a YAML document as a tree that remembers where each value stood, read from libyaml's
 * events; and the strict checks both configuration files use. Aliases and anchors work, expansion
 * is capped; merge keys and tags other than the core ones are refused. */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include "base/buf.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml {
    enum yaml_kind kind;
    unsigned line, column;   /* from 1 */
    char *text;              /* scalar: its text, NUL-terminated; NULL for an empty (null) value */
    size_t text_len;
    bool quoted;             /* scalar: was written in quotes, so it is a string */
    struct yaml *key;        /* in a map: the key's scalar of this value */
    struct yaml **items;     /* list and map: values in order */
    size_t n_items;
};

/* Returns new a tree, or NULL for an empty document. -EINVAL with "line L, column C: reason" in
 * why; a duplicate key is one such reason. Depth is at most 32. */
int yaml_parse(struct slice text, struct yaml **ret, struct buf *why);
/* Hidden: libyaml exports a function of this name, and would call ours. */
void yaml_free(struct yaml *y) __attribute__((visibility("hidden")));

struct yaml *yaml_get(const struct yaml *map, const char *key); /* borrowed; NULL if absent */

/* Appends "line L, column C: " and the formatted reason to why (if it is empty); returns -EINVAL. */
int yaml_fail(const struct yaml *at, struct buf *why, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is y a map all whose keys are in the NULL-terminated list? Else -EINVAL: "unknown key 'x'; did
 * you mean 'y'?" with the nearest name where there is one. A NULL y passes. */
int yaml_check_map(const struct yaml *y, const char *const *keys, struct buf *why);

/* Typed scalars; -EINVAL with a reason. *ret is written only on success. */
int yaml_string(const struct yaml *y, const char **ret, struct buf *why); /* lives as long as y */
int yaml_bool(const struct yaml *y, bool *ret, struct buf *why);
int yaml_u64(const struct yaml *y, uint64_t max, uint64_t *ret, struct buf *why);
int yaml_duration_ms(const struct yaml *y, int64_t *ret, struct buf *why); /* "15s", "1h30m" */
int yaml_size(const struct yaml *y, uint64_t *ret, struct buf *why);       /* "100MiB", "1GB", 5 */

/* Of the NULL-terminated names the one nearest to `name`, or NULL if none is near. */
const char *nearest_name(const char *name, const char *const *names);

#endif
