/* policy_template.c: "{{identity.entity.name}}" in the path of a rule, for one caller. */
#include "identity/policy_rules.h"

#include <errno.h>

static struct slice trim(struct slice s)
{
    const char *p = s.data;

    while (s.len > 0 && (*p == ' ' || *p == '\t'))
        p++, s.len--;
    while (s.len > 0 && (p[s.len - 1] == ' ' || p[s.len - 1] == '\t'))
        s.len--;
    return slice_of(p, s.len);
}

static const char *pair_value(const struct policy_pair *pairs, size_t n, struct slice key)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq(slice_str(pairs[i].key), key))
            return pairs[i].value;
    return NULL;
}

/* "aliases.ACCESSOR.name", ".id" and ".metadata.K" of the alias the caller logged in with. */
static const char *alias_value(const struct policy_entity *e, struct slice rest)
{
    struct slice accessor = slice_str(e->alias_accessor);

    if (accessor.len == 0 || !slice_starts(rest, accessor) || rest.len == accessor.len ||
        ((const char *)rest.data)[accessor.len] != '.')
        return NULL;
    rest = slice_skip(rest, accessor.len + 1);
    if (slice_eq(rest, SLICE("name")))
        return e->alias_name;
    if (slice_eq(rest, SLICE("id")))
        return e->id;
    if (slice_starts(rest, SLICE("metadata.")))
        return pair_value(e->metadata, e->n_metadata, slice_skip(rest, 9));
    return NULL;
}

static const char *value_of(const struct policy_entity *e, struct slice name)
{
    if (slice_eq(name, SLICE("identity.entity.name")))
        return e->name;
    if (slice_eq(name, SLICE("identity.entity.id")))
        return e->id;
    if (slice_starts(name, SLICE("identity.entity.metadata.")))
        return pair_value(e->metadata, e->n_metadata, slice_skip(name, 25));
    if (slice_starts(name, SLICE("identity.entity.aliases.")))
        return alias_value(e, slice_skip(name, 24));
    return NULL;
}

/* A value with one of these would make another pattern than was written. */
static bool is_plain(const char *value)
{
    return value[0] != 0 && strpbrk(value, "*+/") == NULL;
}

int policy_resolve(const struct policy_rule *rule, const struct policy_entity *entity,
                   struct buf *out)
{
    struct slice rest = slice_of(rule->pattern, rule->len);

    while (rest.len > 0) {
        const char *open = memmem(rest.data, rest.len, "{{", 2), *close;
        size_t before = open != NULL ? (size_t)(open - (const char *)rest.data) : rest.len;
        const char *value;

        buf_add(out, rest.data, before);
        rest = slice_skip(rest, before);
        if (open == NULL)
            break;
        close = memmem(rest.data, rest.len, "}}", 2);
        if (close == NULL || entity == NULL)
            return -ENOENT;
        value = value_of(entity, trim(slice_of(open + 2, (size_t)(close - open) - 2)));
        if (value == NULL || !is_plain(value))
            return -ENOENT;
        buf_add_str(out, value);
        rest = slice_skip(rest, (size_t)(close - open) + 2);
    }
    return 0;
}
