/* packages_tree.h: projects as folders and release files as files, below packages/. */
#ifndef PACKAGES_PACKAGES_TREE_H
#define PACKAGES_PACKAGES_TREE_H

#include "node.h"

struct packages;
struct package_file;

extern const struct node_ops packages_tree;

/* tree_file.c: a handle that publishes what is written through it under the file's name.
 * `published` is what stands there already; NULL: nothing. */
int tree_file_open(struct op *op, struct packages *pk, const char *name,
                   const struct package_file *published, unsigned flags, struct node_file **ret);

#endif
