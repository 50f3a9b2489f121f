#include "images/scope.h"

#include "images/reference.h"

#include <errno.h>

static unsigned action_of(struct slice word)
{
    static const struct {
        struct slice word;
        unsigned action;
    } known[] = {
        {SLICE("pull"), SCOPE_PULL},
        {SLICE("push"), SCOPE_PUSH},
        {SLICE("delete"), SCOPE_DELETE},
        {SLICE("*"), SCOPE_ALL},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_eq(word, known[i].word))
            return known[i].action;
    return 0;
}

static unsigned actions_of(struct slice list)
{
    unsigned actions = 0;

    while (list.len > 0) {
        const char *comma = memchr(list.data, ',', list.len);
        size_t n = comma != NULL ? (size_t)(comma - (const char *)list.data) : list.len;

        actions |= action_of(slice_of(list.data, n));
        list = slice_skip(list, comma != NULL ? n + 1 : n);
    }
    return actions;
}

/* The name may hold colons (a host and its port), so the actions are behind the last one. */
int scope_parse(struct slice text, struct scope *ret)
{
    const char *begin = text.data, *first, *last;
    struct slice type, name, actions;

    first = text.len > 0 ? memchr(text.data, ':', text.len) : NULL;
    last = text.len > 0 ? memrchr(text.data, ':', text.len) : NULL;
    if (first == NULL || first == last)
        return -EINVAL;
    type = slice_of(begin, (size_t)(first - begin));
    name = slice_of(first + 1, (size_t)(last - first - 1));
    actions = slice_skip(text, (size_t)(last - begin) + 1);
    if (slice_eq(type, SLICE("registry")) && slice_eq(name, SLICE("catalog"))) {
        *ret = (struct scope){.actions = slice_eq(actions, SLICE("*")) ? SCOPE_CATALOG : 0};
        return 0;
    }
    if (!slice_eq(type, SLICE("repository")))
        return -ENOTSUP;
    if (!repository_name_valid(name))
        return -EINVAL;
    *ret = (struct scope){.name = name, .actions = actions_of(actions)};
    return 0;
}
