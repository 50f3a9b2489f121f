/* tree.h: the whole tree, put together from the domains; what fs/ and http/ serve. The functions are
 * those of node_ops with the domain found by path; see node.h for paths, errors and ownership. */
#ifndef TREE_H
#define TREE_H

#include "node.h"

struct tree;
struct domain_instance;

struct tree *tree_new(struct domain_instance *domains, size_t n); /* returns new; borrows domains */
void tree_free(struct tree *t);

int tree_stat(struct tree *t, struct op *op, const char *path, struct node_stat *ret);
int tree_list(struct tree *t, struct op *op, const char *path, node_emit_fn *emit, void *ctx);
int tree_open(struct tree *t, struct op *op, const char *path, unsigned flags,
              struct node_file **ret);
int tree_readlink(struct tree *t, struct op *op, const char *path, const char **ret);
int tree_mkdir(struct tree *t, struct op *op, const char *path, mode_t mode);
int tree_rmdir(struct tree *t, struct op *op, const char *path);
int tree_unlink(struct tree *t, struct op *op, const char *path);
int tree_rename(struct tree *t, struct op *op, const char *from, const char *to, unsigned flags); /* -EXDEV between domains */
int tree_symlink(struct tree *t, struct op *op, const char *path, const char *target);
int tree_setattr(struct tree *t, struct op *op, const char *path, const mode_t *mode,
                 const uid_t *uid, const gid_t *gid, const int64_t *mtime_ns);
int tree_getxattr(struct tree *t, struct op *op, const char *path, const char *name,
                  struct slice *ret);
int tree_setxattr(struct tree *t, struct op *op, const char *path, const char *name,
                  struct slice value);
int tree_listxattr(struct tree *t, struct op *op, const char *path, node_emit_fn *emit, void *ctx);

/* Is this a valid path as node.h has it? -EINVAL, -ENAMETOOLONG (a component over 255 bytes, or the
 * whole over 4095). */
int tree_path_check(struct slice path);

#endif
