/* tree_seal.h: the file `.infra/seal`. */
#ifndef SECRETS_TREE_SEAL_H
#define SECRETS_TREE_SEAL_H

#include "secrets/secrets.h"

bool tree_is_seal(const char *path);
int seal_stat(struct op *op, struct secrets *s, struct node_stat *ret);
int seal_open(struct op *op, struct secrets *s, unsigned flags, struct node_file **ret);

#endif
