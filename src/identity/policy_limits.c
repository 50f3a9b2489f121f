/* policy_limits.c: what a rule says beyond rights: parameters, and how long answers are wrapped. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "identity/policy_rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

struct policy_limits *policy_limits_new(void)
{
    return xcalloc(1, sizeof(struct policy_limits));
}

static struct policy_parameters_of *list_of(struct policy_limits *l, enum policy_parameters kind)
{
    return kind == POLICY_ALLOWED  ? &l->allowed
           : kind == POLICY_DENIED ? &l->denied
                                   : &l->required;
}

static void free_parameter(struct policy_parameter *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->values[i].text);
    free(p->values);
    free(p->name);
}

void policy_limits_free(struct policy_limits *l)
{
    if (l == NULL)
        return;
    for (int kind = POLICY_ALLOWED; kind <= POLICY_REQUIRED; kind++) {
        struct policy_parameters_of *list = list_of(l, (enum policy_parameters)kind);

        for (size_t i = 0; i < list->n; i++)
            free_parameter(&list->items[i]);
        free(list->items);
    }
    free(l);
}

static struct policy_parameter *find(struct policy_parameters_of *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

void policy_limits_parameter(struct policy_limits *l, enum policy_parameters kind,
                             struct slice name)
{
    struct policy_parameters_of *list = list_of(l, kind);
    char *lower = xmemdup(name.data, name.len);

    for (size_t i = 0; i < name.len; i++) /* names are compared in lower case (Vault's rule) */
        lower[i] = (char)tolower((unsigned char)lower[i]);
    list->items = xrealloc(list->items, (list->n + 1) * sizeof *list->items);
    list->items[list->n++] = (struct policy_parameter){.name = lower};
}

static void add_value(struct policy_parameter *p, const char *text, size_t len, bool is_string)
{
    p->values = xrealloc(p->values, (p->n + 1) * sizeof *p->values);
    p->values[p->n++] =
        (struct policy_value){.text = xmemdup(text, len), .len = len, .is_string = is_string};
}

void policy_limits_value(struct policy_limits *l, enum policy_parameters kind, struct slice text,
                         bool is_string)
{
    struct policy_parameters_of *list = list_of(l, kind);

    add_value(&list->items[list->n - 1], text.data, text.len, is_string);
}

static void copy_values(struct policy_parameter *to, const struct policy_parameter *from)
{
    for (size_t i = 0; i < from->n; i++)
        add_value(to, from->values[i].text, from->values[i].len, from->values[i].is_string);
}

/* A parameter in both: the values of both; no values are all values. */
static void unite_list(struct policy_parameters_of *into, const struct policy_parameters_of *more)
{
    for (size_t i = 0; i < more->n; i++) {
        struct policy_parameter *there = find(into, more->items[i].name);

        if (there == NULL) {
            into->items = xrealloc(into->items, (into->n + 1) * sizeof *into->items);
            there = &into->items[into->n++];
            *there = (struct policy_parameter){.name = xstrdup(more->items[i].name)};
            copy_values(there, &more->items[i]);
        } else if (there->n > 0 && more->items[i].n > 0) {
            copy_values(there, &more->items[i]);
        } else {
            char *name = take(there->name);

            free_parameter(there);
            *there = (struct policy_parameter){.name = name};
        }
    }
}

static int64_t lower_of(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void unite(struct policy_limits *into, const struct policy_limits *more)
{
    unite_list(&into->allowed, &more->allowed);
    unite_list(&into->denied, &more->denied);
    unite_list(&into->required, &more->required);
    into->min_wrapping_s = lower_of(into->min_wrapping_s, more->min_wrapping_s);
    into->max_wrapping_s = lower_of(into->max_wrapping_s, more->max_wrapping_s);
}

struct policy_limits *policy_limits_copy(const struct policy_limits *l)
{
    struct policy_limits *copy = l != NULL ? policy_limits_new() : NULL;

    if (copy != NULL)
        unite(copy, l);
    return copy;
}

void policy_limits_unite(struct policy_limits **into, struct policy_limits *more)
{
    if (more == NULL)
        return;
    if (*into == NULL) {
        *into = more;
        return;
    }
    unite(*into, more);
    policy_limits_free(more);
}

int policy_limits_wrapping(struct policy_limits *l, bool max, struct slice text)
{
    int64_t *to = max ? &l->max_wrapping_s : &l->min_wrapping_s;
    uint64_t seconds;
    int64_t ms;

    if (parse_u64(text, 1u << 31, &seconds) == 0) {
        *to = (int64_t)seconds;
        return 0;
    }
    if (duration_parse_ms(text, &ms) < 0 || ms < 0)
        return -EINVAL;
    *to = ms / 1000;
    return 0;
}

int policy_limits_check(const struct policy_limits *l, struct buf *why)
{
    if (l->min_wrapping_s == 0 || l->max_wrapping_s == 0 || l->max_wrapping_s >= l->min_wrapping_s)
        return 0;
    buf_add_str(why, "max_wrapping_ttl cannot be less than min_wrapping_ttl");
    return -EINVAL;
}

const struct policy_parameter *policy_parameter_find(const struct policy_parameters_of *list,
                                                     const char *name)
{
    return find((struct policy_parameters_of *)(uintptr_t)list, name);
}
