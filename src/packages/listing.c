#include "packages/listing.h"

#include <errno.h>
#include <stdlib.h>

int listing_add(void *ctx, const struct package_file *file)
{
    struct listing *l = ctx;

    if (l->n == l->cap) {
        size_t cap = l->cap > 0 ? 2 * l->cap : 32;
        struct listed *items = realloc(l->items, cap * sizeof *items);

        if (items == NULL)
            return -ENOMEM;
        l->items = items;
        l->cap = cap;
    }
    if (version_parse(slice_str(file->version), &l->items[l->n].version) < 0)
        return -EIO;
    l->items[l->n++].file = *file;
    return 0;
}

static int by_version(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    int r = version_cmp(&x->version, &y->version);

    return r != 0 ? r : strcmp(x->file.name, y->file.name);
}

void listing_sort(struct listing *l)
{
    if (l->n > 0)
        qsort(l->items, l->n, sizeof *l->items, by_version);
}

void listing_done(struct listing *l)
{
    free(l->items);
    *l = (struct listing){0};
}
