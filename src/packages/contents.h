/* contents.h: <project>/@contents/<file>/…: the inside of release files, in the tree. */
#ifndef PACKAGES_CONTENTS_H
#define PACKAGES_CONTENTS_H

#include "packages/place.h"

/* The archives looked at last, kept open. */
struct contents;
struct contents *contents_new(void); /* returns new */
void contents_free(struct contents *c);

/* node_ops of PLACE_CONTENTS. */
int contents_stat(struct op *op, struct packages *pk, const struct place *p, struct node_stat *ret);
int contents_list(struct op *op, struct packages *pk, const struct place *p, node_emit_fn *emit,
                  void *ctx);
int contents_open(struct op *op, struct packages *pk, const struct place *p,
                  struct node_file **ret);

#endif
