/* policy_parse.c: HCL version 1 as far as Vault's policies use it, and the same as JSON. */
#include "base/alloc.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "base/yaml.h"
#include "identity/policy_rules.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>

#define TEXT_MAX  (1u << 20)
#define RULES_MAX 10000u

const char *const policy_right_names[] = {"create", "read", "update", "patch", "delete",
                                          "list",   "sudo", "deny",   "scan",  NULL};

unsigned policy_right(struct slice name)
{
    for (unsigned i = 0; policy_right_names[i] != NULL; i++)
        if (slice_eq(name, slice_str(policy_right_names[i])))
            return 1u << i;
    return 0;
}

unsigned policy_old_right(struct slice name)
{
    const unsigned read = POLICY_READ | POLICY_LIST;
    const unsigned write = read | POLICY_CREATE | POLICY_UPDATE | POLICY_DELETE;

    if (slice_eq(name, SLICE("read")))
        return read;
    if (slice_eq(name, SLICE("write")))
        return write;
    if (slice_eq(name, SLICE("sudo")))
        return write | POLICY_SUDO;
    return slice_eq(name, SLICE("deny")) ? POLICY_DENY : 0;
}

int policy_add(struct policy *p, struct slice pattern, unsigned rights,
               struct policy_limits *limits, struct buf *why)
{
    struct policy_rule rule = {.rights = rights & POLICY_DENY ? POLICY_DENY : rights,
                               .limits = limits};

    if (pattern.len > 0 && *(const char *)pattern.data == '/') /* Vault strips it */
        return policy_add(p, slice_skip(pattern, 1), rights, limits, why);
    if ((pattern.len > 0 && memmem(pattern.data, pattern.len, "+*", 2) != NULL) ||
        p->n_rules >= RULES_MAX) {
        policy_limits_free(limits);
        if (p->n_rules >= RULES_MAX)
            buf_printf(why, "more than %u paths", RULES_MAX);
        else
            buf_printf(why, "path '%.*s': '+*' is not allowed", (int)pattern.len,
                       (const char *)pattern.data);
        return -EINVAL;
    }
    rule.templated = pattern.len > 0 && memmem(pattern.data, pattern.len, "{{", 2) != NULL;
    if (rule.templated) {
        rule.pattern = xmemdup(pattern.data, pattern.len);
        rule.len = pattern.len;
    } else {
        policy_rule_pattern(&rule, pattern);
    }
    if ((p->n_rules & (p->n_rules - 1)) == 0)
        p->rules = xrealloc(p->rules, (p->n_rules > 0 ? 2 * p->n_rules : 1) * sizeof *p->rules);
    p->rules[p->n_rules++] = rule;
    return 0;
}

int hcl_fail_at(struct hcl *h, const char *at, const char *format, ...)
{
    va_list args;

    buf_printf(h->why, "line %u, column %zu: ", h->line, (size_t)(at - h->line_start) + 1);
    va_start(args, format);
    buf_vprintf(h->why, format, args);
    va_end(args);
    return -EINVAL;
}

static void hcl_newline(struct hcl *h)
{
    h->line++;
    h->line_start = h->at + 1;
}

/* A comment from `#` or `//` to the end of the line, or between slash-star and star-slash. */
static int skip_comment(struct hcl *h)
{
    const char *start = h->at;

    if (*h->at == '#' || h->at[1] == '/') {
        while (h->at < h->end && *h->at != '\n')
            h->at++;
        return 0;
    }
    h->at += 2;
    while (h->end - h->at >= 2 && !(h->at[0] == '*' && h->at[1] == '/')) {
        if (*h->at == '\n')
            hcl_newline(h);
        h->at++;
    }
    if (h->end - h->at < 2)
        return hcl_fail_at(h, h->line_start > start ? h->line_start : start,
                           "a comment is not closed");
    h->at += 2;
    return 0;
}

int hcl_skip_blank(struct hcl *h)
{
    while (h->at < h->end) {
        char c = *h->at;
        int r = 0;

        if (c == '\n')
            hcl_newline(h);
        if (isspace((unsigned char)c))
            h->at++;
        else if (c == '#' || (c == '/' && h->end - h->at > 1 && strchr("/*", h->at[1]) != NULL))
            r = skip_comment(h);
        else
            break;
        if (r < 0)
            return r;
    }
    return 0;
}

bool hcl_take(struct hcl *h, char c)
{
    if (h->at >= h->end || *h->at != c)
        return false;
    h->at++;
    return true;
}

static int read_escape(struct hcl *h)
{
    static const char from[] = "ntr\"\\", to[] = "\n\t\r\"\\";
    const char *found;

    if (h->end - h->at < 2)
        return hcl_fail_at(h, h->at, "a string is not closed");
    found = strchr(from, h->at[1]);
    if (found == NULL || h->at[1] == 0)
        return hcl_fail_at(h, h->at, "this escape is not known");
    buf_add_char(&h->word, to[found - from]);
    h->at += 2;
    return 0;
}

int hcl_string(struct hcl *h)
{
    const char *start = h->at++;

    buf_clear(&h->word);
    for (;;) {
        int r = 0;

        if (h->at >= h->end || *h->at == '\n')
            return hcl_fail_at(h, start, "a string is not closed");
        if (hcl_take(h, '"'))
            return 0;
        if (*h->at == '\\')
            r = read_escape(h);
        else if (*h->at == 0)
            r = hcl_fail_at(h, h->at, "a NUL byte");
        else
            buf_add_char(&h->word, *h->at++);
        if (r < 0)
            return r;
    }
}

/* A name or a string into h->word. */
int hcl_word(struct hcl *h, const char *what)
{
    const char *start = h->at;

    if (h->at < h->end && *h->at == '"')
        return hcl_string(h);
    while (h->at < h->end && (isalnum((unsigned char)*h->at) || strchr("_-.", *h->at) != NULL) &&
           *h->at != 0)
        h->at++;
    if (h->at == start)
        return hcl_fail_at(h, start, "expected %s", what);
    buf_clear(&h->word);
    buf_add(&h->word, start, (size_t)(h->at - start));
    return 0;
}

struct slice hcl_last(const struct hcl *h)
{
    return slice_of(h->word.data != NULL ? h->word.data : "", h->word.len);
}

static int fail_capability(struct hcl *h, const char *at)
{
    const char *name = hcl_last(h).data;
    const char *near = nearest_name(name, policy_right_names);

    if (near != NULL)
        return hcl_fail_at(h, at, "unknown capability '%s'; did you mean '%s'?", name, near);
    return hcl_fail_at(h, at, "unknown capability '%s'", name);
}

/* [ "read", "list", ] */
static int read_capabilities(struct hcl *h, unsigned *rights)
{
    int r;

    if (!hcl_take(h, '['))
        return hcl_fail_at(h, h->at, "expected a list, such as [\"read\", \"list\"]");
    for (;;) {
        const char *at;
        unsigned right;

        r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        if (hcl_take(h, ']'))
            return 0;
        at = h->at;
        if (h->at >= h->end || *h->at != '"')
            return hcl_fail_at(h, at, "expected a capability in quotes");
        r = hcl_string(h);
        if (r < 0)
            return r;
        right = policy_right(hcl_last(h));
        if (right == 0)
            return fail_capability(h, at);
        *rights |= right;
        r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        if (!hcl_take(h, ',') && (h->at >= h->end || *h->at != ']'))
            return hcl_fail_at(h, h->at, "expected ',' or ']'");
    }
}

static const char *const body_keys[] = {
    "capabilities",        "policy",           "comment",          "allowed_parameters",
    "denied_parameters",   "required_parameters", "min_wrapping_ttl", "max_wrapping_ttl",
    NULL,
};

/* A rule as it is read. */
struct reading {
    unsigned rights;
    struct policy_limits *limits; /* NULL until one is read */
};

static struct policy_limits *limits_of(struct reading *rule)
{
    if (rule->limits == NULL)
        rule->limits = policy_limits_new();
    return rule->limits;
}

/* These would restrict what a path allows: to take them and not to keep them would be a lie. */
static bool is_unkept(const char *key)
{
    static const char *const keys[] = {
        "control_group",
        "mfa_methods",
        "expiration",
        "pagination_limit",
        "response_keys_filter_path",
        NULL,
    };

    for (size_t i = 0; keys[i] != NULL; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static int fail_key(struct hcl *h, const char *at, const char *const *known)
{
    const char *name = hcl_last(h).data;
    const char *near = nearest_name(name, known);

    if (is_unkept(name))
        return hcl_fail_at(h, at, "'%s' is not supported: it would not be enforced", name);
    if (near != NULL)
        return hcl_fail_at(h, at, "unknown key '%s'; did you mean '%s'?", name, near);
    return hcl_fail_at(h, at, "unknown key '%s'", name);
}

static int read_body_value(struct hcl *h, const char *key, const char *key_at,
                           struct reading *rule)
{
    const char *at = h->at;
    unsigned old;
    int r;

    if (strcmp(key, "capabilities") == 0)
        return read_capabilities(h, &rule->rights);
    if (policy_is_limit(key))
        return hcl_limit(h, key, limits_of(rule));
    if (strcmp(key, "policy") != 0 && strcmp(key, "comment") != 0)
        return fail_key(h, key_at, body_keys);
    if (h->at >= h->end || *h->at != '"')
        return hcl_fail_at(h, at, "expected a text in quotes");
    r = hcl_string(h);
    if (r < 0 || strcmp(key, "comment") == 0)
        return r;
    old = policy_old_right(hcl_last(h));
    if (old == 0)
        return hcl_fail_at(h, at, "policy is read, write, sudo or deny");
    rule->rights |= old;
    return 0;
}

static bool is_body_key(const char *key)
{
    for (size_t i = 0; body_keys[i] != NULL; i++)
        if (strcmp(key, body_keys[i]) == 0)
            return true;
    return false;
}

/* { capabilities = ["read"] } */
static int read_body(struct hcl *h, struct reading *rule)
{
    int r;

    if (!hcl_take(h, '{'))
        return hcl_fail_at(h, h->at, "expected '{'");
    for (;;) {
        const char *at;
        autofree char *key = NULL;

        r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        if (hcl_take(h, '}'))
            return 0;
        at = h->at;
        r = hcl_word(h, "a key or '}'");
        if (r < 0)
            return r;
        if (!is_body_key(hcl_last(h).data))
            return fail_key(h, at, body_keys);
        key = xstrdup(hcl_last(h).data);
        r = hcl_skip_blank(h);
        if (r == 0 && !hcl_take(h, '='))
            r = hcl_fail_at(h, h->at, "expected '='");
        if (r == 0)
            r = hcl_skip_blank(h);
        if (r == 0)
            r = read_body_value(h, key, at, rule);
        if (r == 0)
            r = hcl_skip_blank(h);
        if (r < 0)
            return r;
        hcl_take(h, ',');
    }
}

/* path "P" { … }, or name = "…" */
static int read_item(struct hcl *h)
{
    static const char *const keys[] = {"path", "name", NULL};
    const char *at = h->at, *pattern_at;
    autofree char *pattern = NULL;
    autobuf reason = {0};
    size_t pattern_len;
    struct reading rule = {0};
    bool is_path;
    int r = hcl_word(h, "'path'");

    if (r < 0)
        return r;
    is_path = strcmp(hcl_last(h).data, "path") == 0;
    if (!is_path && strcmp(hcl_last(h).data, "name") != 0)
        return fail_key(h, at, keys);
    r = hcl_skip_blank(h);
    if (r == 0 && !is_path && !hcl_take(h, '='))
        r = hcl_fail_at(h, h->at, "expected '='");
    if (r == 0)
        r = hcl_skip_blank(h);
    pattern_at = h->at;
    if (r == 0 && (h->at >= h->end || *h->at != '"'))
        r = hcl_fail_at(h, h->at, "expected %s in quotes", is_path ? "a path" : "a name");
    if (r == 0)
        r = hcl_string(h);
    if (r < 0 || !is_path)
        return r;
    pattern = xmemdup(hcl_last(h).data, hcl_last(h).len);
    pattern_len = hcl_last(h).len;
    if (strstr(pattern, "+*") != NULL)
        return hcl_fail_at(h, pattern_at, "path '%s': '+*' is not allowed", pattern);
    r = hcl_skip_blank(h);
    if (r == 0)
        r = read_body(h, &rule);
    if (r == 0 && rule.limits != NULL)
        r = policy_limits_check(rule.limits, &reason);
    if (r < 0) {
        policy_limits_free(rule.limits);
        return reason.len > 0 ? hcl_fail_at(h, pattern_at, "path '%s': %s", pattern, reason.data)
                              : r;
    }
    r = policy_add(h->policy, slice_of(pattern, pattern_len), rule.rights, rule.limits, &reason);
    return r < 0 ? hcl_fail_at(h, h->at, "%s", reason.data) : 0;
}

static int read_hcl(struct slice text, struct policy *p, struct buf *why)
{
    struct hcl h = {.at = text.data, .line_start = text.data, .line = 1, .policy = p, .why = why};
    int r = 0;

    h.end = h.at + text.len;
    while (r == 0) {
        r = hcl_skip_blank(&h);
        if (r < 0 || h.at >= h.end)
            break;
        r = read_item(&h);
    }
    buf_done(&h.word);
    return r;
}

static int json_refuse(struct buf *why, const char *path, const char *what, const char *name)
{
    buf_printf(why, "line 1, column 1: path '%s': %s '%s'", path, what, name);
    return -EINVAL;
}

static int read_json_body(const char *path, json_t *body, struct reading *rule,
                          struct buf *why)
{
    const char *key;
    json_t *value, *item;
    size_t i;

    if (!json_is_object(body))
        return json_refuse(why, path, "expected an object, not", "something else");
    json_object_foreach(body, key, value) {
        const char *text = json_string_value(value);

        if (is_unkept(key))
            return json_refuse(why, path, "not supported, it would not be enforced:", key);
        if (strcmp(key, "comment") == 0)
            continue;
        if (strcmp(key, "policy") == 0 && text != NULL && policy_old_right(slice_str(text)) != 0) {
            rule->rights |= policy_old_right(slice_str(text));
            continue;
        }
        if (policy_is_limit(key)) {
            if (policy_json_limit(key, value, limits_of(rule), why) < 0)
                return -EINVAL;
            continue;
        }
        if (strcmp(key, "capabilities") != 0 || !json_is_array(value))
            return json_refuse(why, path, "unknown key or value", key);
        json_array_foreach(value, i, item) {
            const char *name = json_string_value(item);

            if (name == NULL || policy_right(slice_str(name)) == 0)
                return json_refuse(why, path, "unknown capability", name != NULL ? name : "?");
            rule->rights |= policy_right(slice_str(name));
        }
    }
    return 0;
}

static int read_json_paths(json_t *paths, struct policy *p, struct buf *why)
{
    const char *pattern;
    json_t *body, *item;
    size_t i;
    int r = 0;

    if (json_is_array(paths)) {
        json_array_foreach(paths, i, item)
            if (r == 0)
                r = json_is_object(item) ? read_json_paths(item, p, why)
                                         : json_refuse(why, "", "unknown value of", "path");
        return r;
    }
    if (!json_is_object(paths))
        return json_refuse(why, "", "expected an object in", "path");
    json_object_foreach(paths, pattern, body) {
        struct reading rule = {0};

        r = read_json_body(pattern, body, &rule, why);
        if (r == 0 && rule.limits != NULL)
            r = policy_limits_check(rule.limits, why);
        if (r == 0)
            r = policy_add(p, slice_str(pattern), rule.rights, rule.limits, why);
        else
            policy_limits_free(rule.limits);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_json(struct slice text, struct policy *p, struct buf *why)
{
    json_error_t error;
    json_t *top = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    const char *key;
    json_t *value;
    int r = 0;

    if (top == NULL) {
        buf_printf(why, "line %d, column %d: %s", error.line, error.column, error.text);
        return -EINVAL;
    }
    json_object_foreach(top, key, value) {
        if (strcmp(key, "path") == 0)
            r = read_json_paths(value, p, why);
        else if (strcmp(key, "name") != 0)
            r = json_refuse(why, "", "unknown key", key);
        if (r < 0)
            break;
    }
    json_decref(top);
    return r;
}

int policy_parse(struct slice text, struct policy **ret, struct buf *why)
{
    struct policy *p;
    const char *first = text.data, *end = first + text.len;
    int r;

    if (text.len > TEXT_MAX || !utf8_valid(text)) {
        buf_printf(why, "line 1, column 1: %s",
                   text.len > TEXT_MAX ? "the policy is over 1 MiB" : "the text is not UTF-8");
        return -EINVAL;
    }
    p = xcalloc(1, sizeof *p);
    while (first < end && isspace((unsigned char)*first))
        first++;
    r = first < end && *first == '{' ? read_json(text, p, why) : read_hcl(text, p, why);
    if (r < 0)
        policy_free(p);
    else
        *ret = p;
    return r;
}

void policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_rules; i++) {
        free(p->rules[i].pattern);
        policy_limits_free(p->rules[i].limits);
    }
    free(p->rules);
    free(p);
}
