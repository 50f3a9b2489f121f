/* listing.h: the files of a project in the order in which they are shown: by version, then name. */
#ifndef PACKAGES_LISTING_H
#define PACKAGES_LISTING_H

#include "packages/state.h"

struct listed {
    struct package_file file;
    struct version version;
};

struct listing {
    struct listed *items;
    size_t n, cap;
};

/* For package_each and mirror_each; ctx: a struct listing. Borrows what the file points to. */
int listing_add(void *ctx, const struct package_file *file);
void listing_sort(struct listing *l);
void listing_done(struct listing *l);

#endif
