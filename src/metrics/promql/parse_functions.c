#include "metrics/promql/functions.h"

#include <stdlib.h>

#define F(id, name, args, variadic, returns, experimental)                                         \
    {FN_##id, name, args, variadic, returns, experimental},
static const struct function functions[] = {PROMQL_FUNCTIONS(F)};
#undef F

static int by_name(const void *key, const void *item)
{
    const struct slice *name = key;
    const struct function *f = item;

    return slice_cmp(*name, slice_str(f->name));
}

const struct function *function_find(struct slice name)
{
    return bsearch(&name, functions, FUNCTIONS_COUNT, sizeof functions[0], by_name);
}

enum value_type function_arg(const struct function *f, size_t i)
{
    size_t n = strlen(f->args);

    switch (f->args[i < n ? i : n - 1]) {
    case 'v':
        return VALUE_VECTOR;
    case 'm':
        return VALUE_MATRIX;
    case 's':
        return VALUE_SCALAR;
    default:
        return VALUE_STRING;
    }
}
