/* tree_change.h: the calls of node_ops that change folders and remove fields (node.h). */
#ifndef SECRETS_TREE_CHANGE_H
#define SECRETS_TREE_CHANGE_H

#include "op/op.h"

int tree_mkdir_folder(struct op *op, void *self, const char *path, mode_t mode);
/* A folder without visible entries. The secret of that path, if it has no field left, is deleted as
 * Vault deletes: it can be undeleted there. */
int tree_rmdir_folder(struct op *op, void *self, const char *path);
/* A new version without the field. */
int tree_unlink_field(struct op *op, void *self, const char *path);
/* Fields to fields, folders (with the secret of that path and all below) to folders: one batch. */
int tree_rename_place(struct op *op, void *self, const char *from, const char *to, unsigned flags);

#endif
