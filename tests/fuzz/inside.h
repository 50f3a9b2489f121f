/* inside.h: a walk over what is inside a wheel or an sdist. */
#ifndef FUZZ_INSIDE_H
#define FUZZ_INSIDE_H

#include "base/scope.h"
#include "bytes.h"
#include "packages/inside.h"

#include <stdlib.h>

/* Every entry, from the top down; each folder that is listed must be found. */
static inline int visit(void *ctx, const char *name, const struct inside_entry *e)
{
    struct inside *in = ctx;
    autobuf out = {0}, why = {0};

    if (name[0] == 0 || inside_find(in, e->path) == NULL)
        abort();
    if (e->is_folder)
        return inside_list(in, e->path, visit, in);
    inside_read(in, e, &out, &why);
    return 0;
}

static inline void look_inside(const struct zip_source *source, enum package_kind kind)
{
    struct inside *in = NULL;
    autobuf why = {0};

    if (inside_open(source, kind, &in, &why) == 0)
        inside_list(in, "", visit, in);
    inside_close(in);
}

#endif
