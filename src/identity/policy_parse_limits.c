/* policy_parse_limits.c: allowed_parameters and its sisters, in HCL and in JSON. */
#include "base/scope.h"
#include "identity/policy_rules.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>

static const struct {
    const char *key;
    enum policy_parameters kind;
} parameter_keys[] = {
    {"allowed_parameters", POLICY_ALLOWED},
    {"denied_parameters", POLICY_DENIED},
    {"required_parameters", POLICY_REQUIRED},
};

static const char *const wrapping_keys[] = {"min_wrapping_ttl", "max_wrapping_ttl"};

static int kind_of(const char *key)
{
    for (size_t i = 0; i < array_size(parameter_keys); i++)
        if (strcmp(parameter_keys[i].key, key) == 0)
            return (int)parameter_keys[i].kind;
    return -1;
}

bool policy_is_limit(const char *key)
{
    return kind_of(key) >= 0 || strcmp(key, wrapping_keys[0]) == 0 ||
           strcmp(key, wrapping_keys[1]) == 0;
}

/* A string, a number, true or false. */
static int hcl_value(struct hcl *h, struct policy_limits *l, enum policy_parameters kind)
{
    bool is_string = h->at < h->end && *h->at == '"';
    int r = is_string ? hcl_string(h) : hcl_word(h, "a value");

    if (r < 0)
        return r;
    if (kind == POLICY_REQUIRED)
        policy_limits_parameter(l, kind, hcl_last(h));
    else
        policy_limits_value(l, kind, hcl_last(h), is_string);
    return 0;
}

/* [ "a", 1 ] */
static int hcl_list(struct hcl *h, struct policy_limits *l, enum policy_parameters kind)
{
    int r;

    if (!hcl_take(h, '['))
        return hcl_fail_at(h, h->at, "expected a list, such as [\"a\", \"b\"]");
    for (;;) {
        r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        if (hcl_take(h, ']'))
            return 0;
        r = hcl_value(h, l, kind);
        if (r == 0)
            r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        if (!hcl_take(h, ',') && (h->at >= h->end || *h->at != ']'))
            return hcl_fail_at(h, h->at, "expected ',' or ']'");
    }
}

/* { "a" = ["x"], b = [] } */
static int hcl_map(struct hcl *h, struct policy_limits *l, enum policy_parameters kind)
{
    int r;

    if (!hcl_take(h, '{'))
        return hcl_fail_at(h, h->at, "expected '{'");
    for (;;) {
        r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        if (hcl_take(h, '}'))
            return 0;
        if (h->at < h->end && *h->at == '*') { /* every other parameter */
            h->at++;
            buf_clear(&h->word);
            buf_add_char(&h->word, '*');
        } else {
            r = hcl_word(h, "a parameter or '}'");
        }
        if (r < 0)
            return r;
        policy_limits_parameter(l, kind, hcl_last(h));
        r = hcl_skip_blank(h);
        if (r == 0 && !hcl_take(h, '='))
            r = hcl_fail_at(h, h->at, "expected '='");
        if (r == 0)
            r = hcl_skip_blank(h);
        if (r == 0)
            r = hcl_list(h, l, kind);
        if (r == 0)
            r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        hcl_take(h, ',');
    }
}

int hcl_limit(struct hcl *h, const char *key, struct policy_limits *l)
{
    const char *at = h->at;
    int kind = kind_of(key), r;

    if (kind == POLICY_REQUIRED)
        return hcl_list(h, l, POLICY_REQUIRED);
    if (kind >= 0)
        return hcl_map(h, l, (enum policy_parameters)kind);
    r = hcl_word(h, "a duration");
    if (r == 0 && policy_limits_wrapping(l, key[1] == 'a', hcl_last(h)) < 0)
        r = hcl_fail_at(h, at, "'%s' is no duration, such as \"1h\"", h->word.data);
    return r;
}

static int refuse(struct buf *why, const char *key)
{
    buf_printf(why, "line 1, column 1: unknown value of '%s'", key);
    return -EINVAL;
}

static int json_list_values(const char *key, json_t *list, struct policy_limits *l,
                            enum policy_parameters kind, struct buf *why)
{
    json_t *item;
    size_t i;

    if (!json_is_array(list))
        return refuse(why, key);
    json_array_foreach(list, i, item) {
        bool is_string = json_is_string(item);
        char *text = is_string ? NULL : json_dumps(item, JSON_ENCODE_ANY | JSON_COMPACT);
        struct slice s = is_string ? slice_of(json_string_value(item), json_string_length(item))
                                   : slice_str(text);

        if (kind == POLICY_REQUIRED && is_string)
            policy_limits_parameter(l, kind, s);
        else if (kind != POLICY_REQUIRED)
            policy_limits_value(l, kind, s, is_string);
        free(text);
        if (kind == POLICY_REQUIRED && !is_string)
            return refuse(why, key);
    }
    return 0;
}

int policy_json_limit(const char *key, json_t *value, struct policy_limits *l, struct buf *why)
{
    int kind = kind_of(key), r = 0;
    const char *name;
    json_t *list;

    if (kind == POLICY_REQUIRED)
        return json_list_values(key, value, l, POLICY_REQUIRED, why);
    if (kind < 0) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        struct slice s = json_is_string(value) ? slice_str(json_string_value(value))
                                               : slice_str(text);

        r = policy_limits_wrapping(l, key[1] == 'a', s);
        free(text);
        return r < 0 ? refuse(why, key) : 0;
    }
    if (!json_is_object(value))
        return refuse(why, key);
    json_object_foreach(value, name, list) {
        policy_limits_parameter(l, (enum policy_parameters)kind, slice_str(name));
        if (r == 0)
            r = json_list_values(key, list, l, (enum policy_parameters)kind, why);
    }
    return r;
}
