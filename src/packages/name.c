#include "packages/name.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_separator(char c)
{
    return c == '-' || c == '_' || c == '.';
}

bool project_name_valid(struct slice name)
{
    const char *s = name.data;

    if (name.len == 0 || name.len > PROJECT_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_alnum(s[i]) && !is_separator(s[i]))
            return false;
    return is_alnum(s[0]) && is_alnum(s[name.len - 1]);
}

size_t project_name_normalise(struct slice name, char ret[PROJECT_NAME_MAX + 1])
{
    const char *s = name.data;
    size_t n = 0;

    for (size_t i = 0; i < name.len && n < PROJECT_NAME_MAX; i++) {
        char c = s[i];

        if (is_separator(c)) {
            if (i > 0 && is_separator(s[i - 1]))
                continue;
            c = '-';
        } else if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        ret[n++] = c;
    }
    ret[n] = 0;
    return n;
}

bool project_name_is_normalised(struct slice name)
{
    char normal[PROJECT_NAME_MAX + 1];

    if (!project_name_valid(name))
        return false;
    return slice_eq(name, slice_of(normal, project_name_normalise(name, normal)));
}

bool project_name_same(struct slice a, struct slice b)
{
    char na[PROJECT_NAME_MAX + 1], nb[PROJECT_NAME_MAX + 1];

    if (!project_name_valid(a) || !project_name_valid(b))
        return false;
    return slice_eq(slice_of(na, project_name_normalise(a, na)),
                    slice_of(nb, project_name_normalise(b, nb)));
}
