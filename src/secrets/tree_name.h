/* tree_name.h: names of folders and fields as file names, and back.
 *
 * A name that begins with '@' is shown with one more '@'. In the name of a field, '/' is %2F and
 * NUL is %00; a '%' that could be mistaken for such an escape is %25; "." and ".." are %2E and
 * %2E%2E. What comes back from tree_… lives in the op. */
#ifndef SECRETS_TREE_NAME_H
#define SECRETS_TREE_NAME_H

#include "op/op.h"

#define TREE_KEY_PREFIX "@key:" /* a field, where a folder has its name */

/* NULL: over 255 bytes, so it has no place in a file tree. */
const char *tree_folder_name(struct op *op, struct slice name);
const char *tree_field_name(struct op *op, struct slice name);
/* A file name read as the name of a folder, or of a field. A leading "@@" is one '@'. */
const char *tree_folder_of(struct op *op, const char *file_name);
struct slice tree_field_of(struct op *op, const char *file_name);

/* Paths of folders, component by component: "app/@x" is "app/@@x". NULL: one is too long. */
const char *tree_node_path(struct op *op, const char *path);

#endif
