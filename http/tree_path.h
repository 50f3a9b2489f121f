/* tree_path.h: from a request's path to a node of the tree. */
#ifndef HTTP_TREE_PATH_H
#define HTTP_TREE_PATH_H

#include "tree.h"
#include "web.h"

/* "/tree/a/b/" to "a/b"; *ret_folder: it ended in a slash. In the op. -EINVAL if it does not begin
 * with /tree/, or what tree_path_check says. */
int url_tree_path(struct web_request *req, const char *url_path, const char **ret,
                  bool *ret_folder);
/* Follows symlinks, as the kernel does for the mount: *path becomes what it leads to. -ELOOP. */
int url_tree_follow(struct tree *t, struct op *op, const char **path, struct node_stat *ret);

#endif
